//! What a user should do, in sentences, each from the figures.

use migration::job::FlushPolicy;
use migration::units::show_count;

use super::model::workers_until_full;
use crate::conclusion::overlap;
use crate::figures::{Comparison, Model, Setting, Summary, Variant};

/// Above this the stepping thread has no more time to give.
const SATURATED: f64 = 0.9;
/// A gain below this is none.
const GAIN: f64 = 1.5;
/// Workers are proportional as long as they reach this part of the ideal.
const PROPORTIONAL: f64 = 0.85;
/// Tasks that reach this part of the ideal are not held up by each other.
const OVERLAPPED: f64 = 0.6;

/// The sentences, the most important first. One round is no fact: it says nothing.
pub fn advice(comparison: &Comparison) -> Vec<String> {
    let Some(found) = AdviceFigures::of(comparison).filter(|found| found.reference.rounds > 1) else { return Vec::new() };
    [found.flush(), found.chunk(), found.green_blocking(), found.saturated(), found.stock(), found.best()]
        .into_iter()
        .flatten()
        .collect()
}

/// The figures that advice is about.
struct AdviceFigures<'a> {
    comparison: &'a Comparison,
    reference: &'a Summary,
}

impl<'a> AdviceFigures<'a> {
    fn of(comparison: &'a Comparison) -> Option<AdviceFigures<'a>> {
        let reference = comparison.results.iter().find(|result| Some(result.setting) == comparison.reference)?;
        Some(AdviceFigures { comparison, reference })
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

    /// The rows of a variant that flush each record, several workers each.
    fn by_record(&self, variant: Variant) -> impl Iterator<Item = (&'a Setting, &'a Summary, f64)> {
        self.rows(move |setting| setting.variant == variant && setting.flush == FlushPolicy::Record && setting.workers > 1)
    }

    /// The model, which speaks of a reference that flushes each record.
    fn model(&self) -> Option<&'a Model> {
        self.comparison.model.as_ref().filter(|_| self.flush_of_reference() == FlushPolicy::Record)
    }

    fn flush_of_reference(&self) -> FlushPolicy {
        self.comparison.settings[self.reference.setting as usize].flush
    }

    /// How much of the time is flush, and how far processes go.
    fn flush(&self) -> Option<String> {
        let share = self.reference.flush_share.median * 100.0;
        let model = self.model()?;
        let scale = fastest(self.by_record(Variant::Processes)).map_or_else(String::new, |(setting, result, speed)| {
            let workers = f64::from(setting.workers);
            let processors = self.comparison.environment.processors;
            // What already falls behind has met another limit than this one.
            let limit = workers_until_full(model, result.cpu_us_per_record.median, processors)
                .filter(|&limit| speed >= PROPORTIONAL * workers && limit > workers)
                .map_or_else(String::new, |limit| {
                    format!("; counting only the client's CPU, about {limit:.0} processes would fill this machine's processors")
                });
            format!(": {workers} processes gave {} times the speed{limit}", times(speed))
        });
        Some(format!("{share:.0} % of the time of one worker is flush{scale}."))
    }

    /// What waiting less often gives one worker.
    fn chunk(&self) -> Option<String> {
        let model = self.model()?;
        if self.comparison.settings.iter().any(|setting| setting.flush == FlushPolicy::Chunk) {
            let (_, _, speed) = fastest(self.rows(|row| row.variant == Variant::Single && row.flush == FlushPolicy::Chunk))?;
            return (speed >= GAIN).then(|| {
                format!("one flush for each chunk gives one worker {} times the speed, with the same guarantee.", times(speed))
            });
        }
        if self.comparison.conditions.wait_us + self.comparison.conditions.cpu_us == 0 {
            return (self.reference.flush_share.median > 0.5)
                .then(|| "see what one flush for each chunk gives on this data: --flush record,chunk.".to_owned());
        }
        let own = model.wait_us + model.cpu_us;
        let gain = (own + model.flush_us) / own;
        (gain >= GAIN).then(|| {
            format!(
                "without a flush for each record (flush = \"chunk\") one worker would be up to {} times as fast: the rest is its own \
                 waits and CPU.",
                times(gain)
            )
        })
    }

    /// Green threads with a blocking flush: those with the most tasks show it best.
    fn green_blocking(&self) -> Option<String> {
        self.model()?;
        let (setting, result, speed) = self.by_record(Variant::GreenBlocking).max_by_key(|(setting, ..)| setting.workers)?;
        let held_up = speed < OVERLAPPED * f64::from(setting.workers) && result.flush_share.median >= 0.5;
        held_up.then(|| {
            format!(
                "{} green threads with a blocking flush give {speed:.2} times the speed: the flush stops the one thread that they share.",
                setting.workers
            )
        })
    }

    /// Cooperative flushes whose one thread is full.
    fn saturated(&self) -> Option<String> {
        let flush = self.flush_of_reference();
        let one_thread = |setting: &Setting| {
            matches!(setting.variant, Variant::GreenCooperative | Variant::GreenWakeup) && setting.flush == flush
        };
        let (setting, result, speed) = fastest(self.rows(one_thread))?;
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
        let flush = self.flush_of_reference();
        let (_, _, speed) = fastest(self.rows(|setting| setting.variant == Variant::StockFlush && setting.flush == flush))?;
        (speed > 0.0 && 1.0 / speed >= GAIN).then(|| {
            format!("the binding's own flush is {} times slower than waiting for the report itself.", times(1.0 / speed))
        })
    }

    /// What is fastest of all.
    fn best(&self) -> Option<String> {
        let all = || self.rows(|_| true);
        let by_rate = |a: &&Summary, b: &&Summary| a.records_per_second.median.total_cmp(&b.records_per_second.median);
        let (setting, result, speed) = all().max_by(|a, b| by_rate(&a.1, &b.1))?;
        let others = all().filter(|(_, other, _)| other.setting != result.setting && overlap(other, result));
        let close = others
            .max_by(|a, b| by_rate(&a.1, &b.1))
            .map_or_else(String::new, |(other, ..)| format!(" (not told apart from {}: their rounds overlap)", name(other)));
        (speed >= GAIN).then(|| {
            format!(
                "fastest here: {}, {} records a second, {} times the reference, {} microseconds of CPU for each record{close}.",
                name(setting),
                show_count(result.records_per_second.median.round() as u64),
                times(speed),
                three_digits(result.cpu_us_per_record.median)
            )
        })
    }
}

/// The row with the greatest relative speed.
fn fastest<'a>(rows: impl Iterator<Item = (&'a Setting, &'a Summary, f64)>) -> Option<(&'a Setting, &'a Summary, f64)> {
    rows.max_by(|a, b| a.2.total_cmp(&b.2))
}

/// A figure that may be far below 1: "0.0432", "1.87", "104".
fn three_digits(figure: f64) -> String {
    let before = if figure > 0.0 { figure.log10().floor() } else { 0.0 };
    format!("{figure:.*}", (2.0 - before).clamp(0.0, 9.0) as usize)
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
    }
}

#[cfg(test)]
mod tests;
