//! What the figures should be by three numbers of one record: waits d, CPU of the stepping thread c, flush f.
//!
//! One worker takes d + c + f for a record. Green threads with a blocking flush overlap only their waits: the one
//! thread is busy for c + f of each record. Workers with processors of their own overlap everything, until those are
//! full. What flushes cooperatively is bound by the CPU of its one thread.

use migration::Phase;
use migration::job::FlushPolicy;

use super::statistics::spread;
use crate::figures::{Conditions, Model, Round, Setting, Summary, Variant};

/// What a cooperative flush adds to a record: it looks each millisecond, on a clock with a grain of a millisecond.
const LOOK_US: f64 = 1_000.0;

/// The three numbers, from the reference's runs without waits and CPU (`apart`), or from its own if it has neither.
/// `None` where there is no reference that flushes each record, or it has no round.
pub fn of(
    conditions: &Conditions,
    reference: Option<u32>,
    settings: &[Setting],
    rounds: &[Round],
    apart: Vec<Round>,
) -> Option<Model> {
    let reference = reference.filter(|&index| settings[index as usize].flush == FlushPolicy::Record)?;
    let beside = conditions.wait_us > 0 || conditions.cpu_us > 0;
    let own = rounds.iter().filter(|round| round.setting == reference);
    let from: Vec<&Round> = if beside { apart.iter().collect() } else { own.collect() };
    let good: Vec<&Round> = from.into_iter().filter(|round| round.failure.is_none() && round.records > 0).collect();
    let each = |round: &Round, nanos: u64| nanos as f64 / 1000.0 / round.records as f64;
    let flushes: Vec<f64> = good.iter().map(|round| each(round, round.phases.get(Phase::Flush))).collect();
    let others: Vec<f64> = good.iter().map(|r| each(r, r.phases.total() - r.phases.get(Phase::Flush))).collect();
    Some(Model {
        wait_us: conditions.wait_us as f64,
        cpu_us: conditions.cpu_us as f64 + spread(&others)?.median,
        flush_us: spread(&flushes)?.median,
        rounds: apart,
    })
}

/// Writes the predictions beside the figures.
pub fn predict(model: &Model, settings: &[Setting], reference: Option<u32>, processors: u32, results: &mut [Summary]) {
    let single = results.iter().find(|result| Some(result.setting) == reference).map(|result| Costs {
        all_us: result.cpu_us_per_record.median,
        thread_us: result.thread_cpu_cores.median / (result.records_per_second.median.max(1e-9) / 1e6),
    });
    let Some(costs) = single else { return };
    for result in results {
        let setting = &settings[result.setting as usize];
        result.predicted_records_per_second = records_per_second(model, setting, &costs, processors);
        result.predicted_flush_share = flush_share(model, setting);
    }
}

/// CPU that the reference uses for a record.
struct Costs {
    /// The client's threads included.
    all_us: f64,
    /// Of the stepping thread.
    thread_us: f64,
}

fn records_per_second(model: &Model, setting: &Setting, costs: &Costs, processors: u32) -> Option<f64> {
    if setting.flush != FlushPolicy::Record || setting.shared_producer {
        return None;
    }
    let Model { wait_us: d, cpu_us: c, flush_us: f, .. } = model;
    let n = f64::from(setting.workers);
    let at_most = |bound_us: f64| if bound_us > 0.0 { 1e6 / bound_us } else { f64::INFINITY };
    let overlapped = n * 1e6 / (d + c + f);
    match setting.variant {
        Variant::Single => Some(overlapped),
        Variant::GreenBlocking => Some(overlapped.min(at_most(c + f))),
        Variant::GreenCooperative => Some((n * 1e6 / (d + c + f + LOOK_US)).min(at_most(costs.thread_us))),
        Variant::GreenWakeup => Some(overlapped.min(at_most(costs.thread_us))),
        Variant::Threads | Variant::Processes => Some(overlapped.min(f64::from(processors) * at_most(costs.all_us))),
        Variant::StockFlush => None,
    }
}

fn flush_share(model: &Model, setting: &Setting) -> Option<f64> {
    let Model { wait_us, cpu_us, flush_us, .. } = model;
    let alone = matches!(setting.variant, Variant::Single | Variant::Threads | Variant::Processes);
    (alone && setting.flush == FlushPolicy::Record).then(|| flush_us / (wait_us + cpu_us + flush_us))
}

/// How many workers with a processor's time each until the processors are full; `None` where they never are.
pub(super) fn workers_until_full(model: &Model, cpu_us_per_record: f64, processors: u32) -> Option<f64> {
    let record_us = model.wait_us + model.cpu_us + model.flush_us;
    (cpu_us_per_record > 0.0).then(|| f64::from(processors) * record_us / cpu_us_per_record)
}

#[cfg(test)]
mod tests {
    use crate::figures::Spread;
    use migration::Phases;

    use super::*;

    const MODEL: Model = Model { wait_us: 2_500.0, cpu_us: 300.0, flush_us: 10_200.0, rounds: Vec::new() };
    const COSTS: Costs = Costs { all_us: 500.0, thread_us: 400.0 };

    fn rate(variant: Variant, workers: u32) -> f64 {
        let setting = Setting { variant, workers, flush: FlushPolicy::Record, shared_producer: false };
        records_per_second(&MODEL, &setting, &COSTS, 2).expect("the model speaks of it")
    }

    #[test]
    fn green_threads_overlap_only_their_waits() {
        let single = rate(Variant::Single, 1);
        assert!((single - 1e6 / 13_000.0).abs() < 1e-6);
        assert_eq!(rate(Variant::GreenBlocking, 1), single);
        assert!((rate(Variant::GreenBlocking, 7) / single - 13_000.0 / 10_500.0).abs() < 1e-9);
        assert_eq!(rate(Variant::GreenBlocking, 7), rate(Variant::GreenBlocking, 28));
    }

    #[test]
    fn processes_are_proportional_until_the_processors_are_full() {
        let single = rate(Variant::Single, 1);
        assert!((rate(Variant::Processes, 14) / single - 14.0).abs() < 1e-9);
        assert_eq!(rate(Variant::Processes, 1000), 2.0 * 1e6 / 500.0);
        assert!((workers_until_full(&MODEL, 500.0, 2).unwrap() - 52.0).abs() < 1e-9);
    }

    #[test]
    fn cooperative_flushes_are_bound_by_one_thread() {
        assert_eq!(rate(Variant::GreenCooperative, 1000), 2_500.0);
        assert_eq!(rate(Variant::GreenWakeup, 1000), 2_500.0);
        assert!(rate(Variant::GreenCooperative, 4) < rate(Variant::GreenWakeup, 4));
    }

    #[test]
    fn nothing_is_said_about_shared_producers_and_other_flushes() {
        for (flush, shared_producer) in [(FlushPolicy::Record, true), (FlushPolicy::Chunk, false)] {
            let setting = Setting { variant: Variant::GreenBlocking, workers: 4, flush, shared_producer };
            assert_eq!(records_per_second(&MODEL, &setting, &COSTS, 2), None);
        }
    }

    #[test]
    fn the_flush_is_measured_apart() {
        let conditions = Conditions { wait_us: 2_000, cpu_us: 100, ..Conditions::default() };
        let settings = [Setting { variant: Variant::Single, workers: 1, flush: FlushPolicy::Record, shared_producer: false }];
        let with = |flush_us: u64, other_us: u64| {
            let mut phases = Phases::default();
            phases.spend(Phase::Flush, flush_us * 1000 * 10);
            phases.spend(Phase::Enqueue, other_us * 1000 * 10);
            Round { records: 10, phases, ..Round::default() }
        };
        let found = of(&conditions, Some(0), &settings, &[with(1, 1)], vec![with(10_000, 50)]).expect("there is a reference");
        assert_eq!((found.wait_us, found.cpu_us, found.flush_us), (2_000.0, 150.0, 10_000.0));
        let alone = Conditions { wait_us: 0, cpu_us: 0, ..conditions };
        let found = of(&alone, Some(0), &settings, &[with(9_000, 60)], Vec::new()).expect("there is a reference");
        assert_eq!((found.cpu_us, found.flush_us), (60.0, 9_000.0));
        assert_eq!(of(&alone, None, &settings, &[with(1, 1)], Vec::new()), None);
        assert_eq!(of(&alone, Some(0), &settings, &[], Vec::new()), None);
        let mut results = [Summary { records_per_second: Spread { median: 100.0, ..Spread::default() }, ..Summary::default() }];
        predict(&found, &settings, Some(0), 2, &mut results);
        assert!((results[0].predicted_flush_share.unwrap() - 9_000.0 / 9_060.0).abs() < 1e-9);
    }
}
