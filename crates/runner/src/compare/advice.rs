//! What a user should do, in sentences, each from the figures.

use migration::compare::{Comparison, Setting, Summary, Variant};
use migration::job::FlushPolicy;
use migration::units::show_count;

use super::model::workers_until_full;

/// Above this the stepping thread has no more time to give.
const SATURATED: f64 = 0.9;
/// A gain below this is none.
const GAIN: f64 = 1.5;

/// The sentences, the most important first.
pub fn advice(comparison: &Comparison) -> Vec<String> {
    let Some(found) = Found::of(comparison) else { return Vec::new() };
    [found.flush(), found.chunk(), found.green_blocking(), found.saturated(), found.stock(), found.best()]
        .into_iter()
        .flatten()
        .collect()
}

/// The figures that advice is about.
struct Found<'a> {
    comparison: &'a Comparison,
    reference: &'a Summary,
}

impl<'a> Found<'a> {
    fn of(comparison: &'a Comparison) -> Option<Found<'a>> {
        let reference = comparison.results.iter().find(|result| Some(result.setting) == comparison.reference)?;
        Some(Found { comparison, reference })
    }

    /// All rows with their relative speeds, that satisfy something.
    fn rows(&self, wanted: impl Fn(&Setting) -> bool) -> impl Iterator<Item = (&'a Setting, &'a Summary, f64)> {
        let comparison = self.comparison;
        comparison.results.iter().filter_map(move |result| {
            let setting = &comparison.settings[result.setting as usize];
            let speed = result.relative_speed?.median;
            wanted(setting).then_some((setting, result, speed))
        })
    }

    /// The fastest of some rows.
    fn fastest(&self, wanted: impl Fn(&Setting) -> bool) -> Option<(&'a Setting, &'a Summary, f64)> {
        self.rows(wanted).max_by(|a, b| a.2.total_cmp(&b.2))
    }

    /// How much of the time is flush, and how far processes go.
    fn flush(&self) -> Option<String> {
        let share = self.reference.flush_share.median * 100.0;
        let by_record = |variant| move |setting: &Setting| setting.variant == variant && setting.flush == FlushPolicy::Record;
        let measured = self.fastest(by_record(Variant::Processes));
        let model = self.comparison.model.as_ref()?;
        let limit = measured.and_then(|(_, result, _)| {
            workers_until_full(model, result.cpu_us_per_record.median, self.comparison.environment.processors)
        });
        let scale = match (measured, limit) {
            (Some((setting, _, speed)), Some(limit)) if limit >= 2.0 => format!(
                ": {} processes gave {speed:.1} times the speed, and they scale to about {:.0} on this machine and these brokers",
                setting.workers, limit
            ),
            (Some((setting, _, speed)), _) => format!(": {} processes gave {speed:.1} times the speed", setting.workers),
            _ => String::new(),
        };
        Some(format!("{share:.0} % of the time of one worker is flush{scale}."))
    }

    /// What waiting less often gives.
    fn chunk(&self) -> Option<String> {
        let less_often = |setting: &Setting| setting.flush != FlushPolicy::Record;
        if let Some((setting, _, speed)) = self.fastest(less_often).filter(|(_, _, speed)| *speed >= GAIN) {
            let how = match setting.flush {
                FlushPolicy::Chunk => "one flush for each chunk",
                FlushPolicy::Window | FlushPolicy::Record => "no flush at all (window)",
            };
            return Some(format!(
                "{how} gives {} times the speed with {} {}, with the same guarantee.",
                times(speed),
                setting.workers,
                if setting.workers == 1 { "worker" } else { "workers" }
            ));
        }
        let model = self.comparison.model.as_ref()?;
        let own = f64::from(
            u32::try_from(self.comparison.conditions.wait_us + self.comparison.conditions.cpu_us).unwrap_or(u32::MAX),
        );
        let record = model.wait_us + model.cpu_us + model.flush_us;
        if own > 0.0 && record / own >= GAIN {
            return Some(format!(
                "without a flush for each record (flush = \"chunk\") one worker would be up to {} times as fast: the rest is its own waits \
                 and CPU.",
                times(record / own)
            ));
        }
        (own == 0.0 && self.reference.flush_share.median > 0.5)
            .then(|| "see what one flush for each chunk gives on this data: --flush record,chunk.".to_owned())
    }

    /// Green threads with a blocking flush.
    fn green_blocking(&self) -> Option<String> {
        let (setting, _, speed) = self.fastest(|setting| setting.variant == Variant::GreenBlocking && setting.workers > 1)?;
        (speed < GAIN * 2.0).then(|| {
            format!(
                "{} green threads with a blocking flush give {speed:.2} times the speed: the flush stops the one thread that they share.",
                setting.workers
            )
        })
    }

    /// Cooperative flushes whose one thread is full.
    fn saturated(&self) -> Option<String> {
        let one_thread = |setting: &Setting| matches!(setting.variant, Variant::GreenCooperative | Variant::GreenWakeup);
        let (setting, result, speed) = self.fastest(one_thread)?;
        let cores = result.thread_cpu_cores.median;
        (cores >= SATURATED).then(|| {
            format!(
                "{} with {} tasks gives {} times the speed and keeps its one thread busy for {:.0} % of the time: more tasks can't help.",
                setting.variant.name(),
                setting.workers,
                times(speed),
                cores * 100.0
            )
        })
    }

    /// The binding's own flush.
    fn stock(&self) -> Option<String> {
        let (_, _, speed) = self.fastest(|setting| setting.variant == Variant::StockFlush)?;
        (speed > 0.0 && 1.0 / speed >= GAIN).then(|| {
            format!("the binding's own flush is {} times slower than waiting for the report itself.", times(1.0 / speed))
        })
    }

    /// What is fastest of all.
    fn best(&self) -> Option<String> {
        let (setting, result, speed) = self.fastest(|_| true)?;
        (speed >= GAIN).then(|| {
            format!(
                "fastest here: {}, {} records a second, {} times the reference, {:.0} microseconds of CPU for each record.",
                name(setting),
                show_count(result.records_per_second.median as u64),
                times(speed),
                result.cpu_us_per_record.median
            )
        })
    }
}

/// A ratio for people.
fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.1}") } else { show_count(ratio.round() as u64) }
}

/// A setting for people.
fn name(setting: &Setting) -> String {
    let mut name = setting.variant.name().to_owned();
    if !setting.variant.is_alone() {
        name += &format!(" × {}", setting.workers);
    }
    if setting.shared_producer {
        name += " with one producer";
    }
    match setting.flush {
        FlushPolicy::Record => name,
        FlushPolicy::Chunk => name + ", flush = \"chunk\"",
        FlushPolicy::Window => name + ", flush = \"window\"",
    }
}
