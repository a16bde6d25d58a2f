//! Figures over the rounds of a setting: medians with their spread, relative speed with its error, and what is odd
//! about them.

use migration::units::show_things;
use migration::{Histogram, Phase};

use crate::figures::{Round, Setting, Spread, Summary, Variant};

/// A round is far from the others above this modified z-score: its distance from the median, in units of the median
/// distance, scaled so that it compares with standard deviations.
const FAR: f64 = 3.5;
const SCALE: f64 = 0.6745;
/// Fewer rounds can't tell which of them is far from the others.
const ENOUGH: usize = 4;
/// A worker's round trip may differ by so much between rounds.
const MOVED: f64 = 1.2;
/// And by less than this anyway: on loopback a fifth is the scheduler's.
const MOVED_US: u64 = 300;

/// A line for each setting that has a round with figures.
pub fn summaries(settings: &[Setting], reference: Option<u32>, rounds: &[Round]) -> Vec<Summary> {
    let of = |setting: u32| -> Vec<&Round> {
        rounds.iter().filter(|round| round.setting == setting && round.failure.is_none()).collect()
    };
    let references = reference.map(of).unwrap_or_default();
    (0..settings.len() as u32)
        .map(|setting| (setting, of(setting)))
        .filter(|(_, good)| !good.is_empty())
        .map(|(setting, good)| {
            let mut summary = summary(setting, settings[setting as usize].variant, &good);
            let ratios = relative_speeds(&good, &references);
            summary.relative_speed = spread(&ratios);
            summary.relative_speed_error = standard_error(&ratios);
            summary
        })
        .collect()
}

fn summary(setting: u32, variant: Variant, good: &[&Round]) -> Summary {
    let over = |figure: &dyn Fn(&Round) -> f64| -> Spread {
        spread(&good.iter().map(|round| figure(round)).collect::<Vec<_>>()).unwrap_or_default()
    };
    let merged = |of: &dyn Fn(&Round) -> &Histogram| {
        let mut all = Histogram::default();
        good.iter().for_each(|round| all.merge(of(round)));
        all
    };
    let speeds: Vec<f64> = good.iter().map(|round| records_per_second(round)).collect();
    let middle = median_round(good, &speeds);
    let ticks: u64 = good.iter().map(|round| round.ticks_in_flush).sum();
    let flush_us: u64 = good.iter().map(|round| round.flush_us).sum();
    let elapsed = |round: &Round| round.elapsed_us.max(1) as f64;
    Summary {
        setting,
        rounds: good.len() as u32,
        records: middle.records,
        elapsed_us: middle.elapsed_us,
        records_per_second: over(&records_per_second),
        flush_share: over(&|round| flush_share(variant, round)),
        cpu_cores: over(&|round| round.cpu_us as f64 / elapsed(round)),
        thread_cpu_cores: over(&|round| round.thread_cpu_us as f64 / elapsed(round)),
        cpu_us_per_record: over(&|round| round.cpu_us as f64 / round.records.max(1) as f64),
        latency: merged(&|round| &round.latency),
        heartbeat: merged(&|round| &round.heartbeat),
        ticks_per_flush_ms: if flush_us == 0 { 0.0 } else { ticks as f64 * 1000.0 / flush_us as f64 },
        peak_memory_bytes: over(&|round| round.peak_memory_bytes as f64).median as u64,
        notes: notes(good, &speeds),
        ..Summary::default()
    }
}

/// Records acknowledged a second.
pub fn records_per_second(round: &Round) -> f64 {
    round.records as f64 * 1e6 / round.elapsed_us.max(1) as f64
}

/// The part of the workers' time that was flush. Green threads with a blocking flush: of their one thread's time, for a
/// task that waits until another's flush is over is in no flush of its own.
fn flush_share(variant: Variant, round: &Round) -> f64 {
    if variant == Variant::GreenBlocking {
        return (round.flush_us as f64 / round.elapsed_us.max(1) as f64).min(1.0);
    }
    round.phases.get(Phase::Flush) as f64 / round.phases.total().max(1) as f64
}

/// Each round against the reference's of the same number: what hits a whole round hits both.
fn relative_speeds(good: &[&Round], references: &[&Round]) -> Vec<f64> {
    let ratio = |round: &&Round| {
        let reference = references.iter().find(|reference| reference.round == round.round)?;
        let speed = records_per_second(reference);
        (speed > 0.0).then(|| records_per_second(round) / speed)
    };
    good.iter().filter_map(ratio).collect()
}

/// Median, least and greatest; `None` of nothing.
pub fn spread(figures: &[f64]) -> Option<Spread> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    Some(Spread { median: middle(&sorted), least, most })
}

fn middle(sorted: &[f64]) -> f64 {
    let half = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[half] } else { (sorted[half - 1] + sorted[half]) / 2.0 }
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    spread(&figures.collect::<Vec<_>>()).unwrap_or_default().median
}

/// Of the mean of these figures; `None` of fewer than two.
pub fn standard_error(figures: &[f64]) -> Option<f64> {
    if figures.len() < 2 {
        return None;
    }
    let count = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / count;
    let squares: f64 = figures.iter().map(|figure| (figure - mean).powi(2)).sum();
    Some((squares / (count - 1.0) / count).sqrt())
}

/// The round whose speed is the median, or the one just below it.
fn median_round<'a>(good: &[&'a Round], speeds: &[f64]) -> &'a Round {
    let mut order: Vec<usize> = (0..good.len()).collect();
    order.sort_by(|&a, &b| speeds[a].total_cmp(&speeds[b]));
    good[order[(good.len() - 1) / 2]]
}

/// What is odd about these rounds, in sentences.
fn notes(good: &[&Round], speeds: &[f64]) -> Vec<String> {
    far_from_the_others(good, speeds)
        .into_iter()
        .chain(moved_round_trip(good))
        .chain(ran_out(good))
        .chain(set_aside(good))
        .collect()
}

/// A source can be repeated only so often.
fn ran_out(good: &[&Round]) -> Option<String> {
    good.iter().any(|round| round.ran_out).then(|| "the records ran out before the clock did: take a longer source".to_owned())
}

/// A run of the job may stop for these.
fn set_aside(good: &[&Round]) -> Option<String> {
    let most = good.iter().map(|round| round.set_aside).max().filter(|&most| most > 0)?;
    let records = show_things(most, "record");
    Some(format!(
        "{records} set aside in a round: a run of the job makes dead letters of them (`shardlift run --limit 100` shows why)"
    ))
}

fn far_from_the_others(good: &[&Round], speeds: &[f64]) -> Vec<String> {
    if good.len() < ENOUGH {
        return Vec::new();
    }
    let usual = median(speeds.iter().copied());
    let distance = median(speeds.iter().map(|speed| (speed - usual).abs()));
    // Rounds that agree nearly everywhere make any other one look far away; a hundredth is not worth a word.
    let distance = distance.max(usual * 0.01 * SCALE / FAR);
    let far = good.iter().zip(speeds).filter(|(_, speed)| SCALE * (*speed - usual).abs() > FAR * distance);
    far.map(|(round, speed)| {
        let percent = (speed / usual - 1.0) * 100.0;
        format!("round {} is far from the others ({percent:+.0} % records/s)", round.round)
    })
    .collect()
}

/// The worker whose round trip moved most between rounds, if it moved by more than a fifth and not by next to nothing.
fn moved_round_trip(good: &[&Round]) -> Option<String> {
    let workers = good.iter().map(|round| round.rtt_us.len()).min()?;
    let moved = (0..workers).filter_map(|worker| {
        let times: Vec<u64> = good.iter().map(|round| round.rtt_us[worker]).filter(|&us| us > 0).collect();
        let (least, most) = (*times.iter().min()?, *times.iter().max()?);
        (most as f64 > least as f64 * MOVED && most - least >= MOVED_US).then_some((worker, least, most))
    });
    let (worker, least, most) = moved.max_by(|a, b| (a.2 as f64 / a.1 as f64).total_cmp(&(b.2 as f64 / b.1 as f64)))?;
    let ms = |us: u64| us as f64 / 1000.0;
    Some(format!(
        "the round trip of worker {} moved between {:.2} and {:.2} ms from round to round",
        worker + 1,
        ms(least),
        ms(most)
    ))
}

#[cfg(test)]
mod tests {
    use migration::Phases;
    use migration::job::FlushPolicy;

    use super::*;

    fn setting(variant: Variant, workers: u32) -> Setting {
        Setting { variant, workers, flush: FlushPolicy::Record, shared_producer: false }
    }

    fn round(setting: u32, round: u32, records: u64) -> Round {
        let mut phases = Phases::default();
        phases.spend(Phase::Flush, 750);
        phases.spend(Phase::Map, 250);
        Round {
            setting,
            round,
            records,
            elapsed_us: 1_000_000,
            cpu_us: 500_000,
            phases,
            rtt_us: vec![5_000],
            ..Round::default()
        }
    }

    #[test]
    fn relative_speed_pairs_the_rounds() {
        let settings = [setting(Variant::Single, 1), setting(Variant::Processes, 2)];
        // The machine was half as fast in round 2, for both.
        let rounds = [round(0, 1, 100), round(1, 1, 200), round(1, 2, 100), round(0, 2, 50), round(0, 3, 90), round(1, 3, 180)];
        let found = summaries(&settings, Some(0), &rounds);
        assert_eq!(found[1].relative_speed, Some(Spread { median: 2.0, least: 2.0, most: 2.0 }));
        assert_eq!(found[1].relative_speed_error, Some(0.0));
        assert_eq!(found[1].records_per_second, Spread { median: 180.0, least: 100.0, most: 200.0 });
        assert_eq!((found[1].records, found[1].rounds), (180, 3));
        assert_eq!(found[0].relative_speed, Some(Spread { median: 1.0, least: 1.0, most: 1.0 }));
        assert_eq!(found[1].flush_share.median, 0.75);
        assert_eq!(found[1].cpu_cores.median, 0.5);
        assert_eq!(found[1].cpu_us_per_record.least, 2_500.0);
    }

    #[test]
    fn a_failed_round_gives_no_figure() {
        let settings = [setting(Variant::Single, 1)];
        let failed = Round { failure: Some("no".into()), ..round(0, 1, 0) };
        assert_eq!(summaries(&settings, Some(0), std::slice::from_ref(&failed)), []);
        let found = summaries(&settings, Some(0), &[failed, round(0, 2, 70)]);
        assert_eq!((found[0].rounds, found[0].records_per_second.least), (1, 70.0));
        assert_eq!(found[0].relative_speed_error, None);
    }

    #[test]
    fn a_blocking_flush_takes_the_time_of_all_tasks() {
        let settings = [setting(Variant::GreenBlocking, 28), setting(Variant::GreenCooperative, 28)];
        // Of 28 tasks' time a 28th each was an own flush, but nearly always one of them was in it.
        let mut phases = Phases::default();
        phases.spend(Phase::Flush, 35);
        phases.spend(Phase::Outside, 965);
        let with = |setting: u32| Round { phases, flush_us: 970_000, ..round(setting, 1, 100) };
        let found = summaries(&settings, None, &[with(0), with(1)]);
        assert_eq!((found[0].flush_share.median, found[1].flush_share.median), (0.97, 0.035));
    }

    #[test]
    fn the_error_is_that_of_a_mean() {
        assert_eq!(standard_error(&[1.0]), None);
        // Standard deviation of 1, 2, 3 is 1; of a mean of three it is a square root of three less.
        assert!((standard_error(&[1.0, 2.0, 3.0]).unwrap() - 1.0 / 3f64.sqrt()).abs() < 1e-12);
    }

    #[test]
    fn medians_of_even_numbers_lie_between() {
        assert_eq!(spread(&[4.0, 1.0, 2.0, 3.0]), Some(Spread { median: 2.5, least: 1.0, most: 4.0 }));
        assert_eq!(spread(&[]), None);
    }

    #[test]
    fn a_round_far_from_the_others_is_named() {
        let settings = [setting(Variant::Single, 1)];
        let speeds = [100, 101, 99, 100, 60];
        let rounds: Vec<Round> = (1..).zip(speeds).map(|(number, records)| round(0, number, records)).collect();
        let notes = &summaries(&settings, Some(0), &rounds)[0].notes;
        assert_eq!(notes.as_slice(), ["round 5 is far from the others (-40 % records/s)"]);
        // Three rounds can't tell which of them is the odd one, and small differences are no news.
        assert_eq!(summaries(&settings, Some(0), &rounds[2..])[0].notes.as_slice(), [""; 0]);
        let alike: Vec<Round> = (1..).zip([1000, 1000, 1000, 1000, 1008]).map(|(n, records)| round(0, n, records)).collect();
        assert_eq!(summaries(&settings, Some(0), &alike)[0].notes.as_slice(), [""; 0]);
    }

    #[test]
    fn records_that_ran_out_or_were_set_aside_are_named() {
        let settings = [setting(Variant::Single, 1)];
        let odd = Round { ran_out: true, set_aside: 7, ..round(0, 2, 100) };
        let notes = &summaries(&settings, None, &[round(0, 1, 100), odd])[0].notes;
        assert!(notes[0].contains("ran out"), "{notes:?}");
        assert!(notes[1].starts_with("7 records set aside"), "{notes:?}");
    }

    #[test]
    fn a_round_trip_that_moved_is_named() {
        let settings = [setting(Variant::Processes, 2)];
        let with = |number: u32, rtt_us: Vec<u64>| Round { rtt_us, ..round(0, number, 100) };
        let steady = [with(1, vec![5_000, 5_100]), with(2, vec![5_400, 5_900])];
        assert_eq!(summaries(&settings, None, &steady)[0].notes.as_slice(), [""; 0]);
        let tiny = [with(1, vec![200, 150]), with(2, vec![290, 440])];
        assert_eq!(summaries(&settings, None, &tiny)[0].notes.as_slice(), [""; 0]);
        let moved = [with(1, vec![5_000, 5_100]), with(2, vec![5_400, 6_500])];
        let notes = &summaries(&settings, None, &moved)[0].notes;
        assert_eq!(notes.as_slice(), ["the round trip of worker 2 moved between 5.10 and 6.50 ms from round to round"]);
    }
}
