//! A made-up job for tests: two runs, two workers, a death.

use std::time::Duration;

use migration::job::{ChunkLimits, FlushPolicy};
use migration::report::{
    AttemptOutcome, AttemptReport, Binding, JobReport, Outcome, Resent, RunReport, RunRules, Sample, Samples, ShardReport,
    ShardStatus, ShardTotals, WorkerTotals,
};
use migration::steer::{Pace, SteerEvent};
use migration::{Counts, Exit, Order, Phase, Phases, Position, ShardId, Work};

/// When the first run began.
const BEGAN: i64 = 1_795_000_000_000;
const HOUR: i64 = 3_600_000;

/// (shard, number, run, begins after ms, lasts ms, how it ended)
const ATTEMPTS: [(u32, u32, u32, i64, u64, AttemptOutcome); 6] = [
    (0, 1, 1, 10, 4_000, AttemptOutcome::Finished),
    (1, 1, 1, 20, 5_000, AttemptOutcome::Died),
    (2, 1, 1, 4_020, 5_900, AttemptOutcome::Finished),
    (1, 2, 1, 5_400, 4_600, AttemptOutcome::Drained),
    (1, 3, 2, 10, 3_000, AttemptOutcome::Finished),
    (3, 1, 2, 15, 9_900, AttemptOutcome::Finished),
];

/// The report.
pub(crate) fn report() -> JobReport {
    let attempts: Vec<AttemptReport> = ATTEMPTS.into_iter().map(attempt).collect();
    let mut work = Work::default();
    attempts.iter().for_each(|attempt| work.add(&attempt.work));
    let run = |number: u32, started_ms: i64, exit_code: u8| RunReport {
        number,
        started_ms,
        elapsed_us: 10_000_000,
        slots: 2,
        exit_code: Some(exit_code),
        reasons: Vec::new(),
        cpu_supervisor_us: 50_000,
        accepted: if number == 2 { vec!["partitions".into()] } else { Vec::new() },
        command: "shardlift run -w 2".into(),
        rules: None,
    };
    let shard = |id: u32| ShardReport {
        id: ShardId(id),
        status: ShardStatus::Done,
        position: Position::default(),
        counts: Counts::default(),
        deaths: 0,
        letters: 0,
        elapsed_us: 4_000_000,
        attempts: 1,
    };
    let read = attempts.iter().map(|attempt| attempt.counts.read).sum();
    JobReport {
        name: "orders-backfill".into(),
        outcome: Outcome::Done,
        exit: Some(Exit::Done),
        reasons: Vec::new(),
        plan_id: 7,
        binding: Binding { topic: "orders".into(), source: "data/<orders>-*.jsonl".into(), ..Binding::default() },
        source_bytes: 1 << 30,
        records_estimate: 40_000,
        counts: Counts { read, acknowledged: read, ..Counts::default() },
        here: Some(Counts { read, acknowledged: read, ..Counts::default() }),
        progress_topic: None,
        resent: Some(Resent::at_most(120)),
        accepted: vec!["partitions".into()],
        shards: ShardTotals { total: 4, done: 4, quarantined: 0 },
        workers: WorkerTotals { count: 2, forked: 6, restarts: 1 },
        elapsed_us: 20_000_000,
        cpu_supervisor_us: 100_000,
        cpu_workers_us: attempts.iter().filter_map(|attempt| attempt.cpu_us).sum(),
        peak_worker_memory_bytes: Some(50 << 20),
        work,
        order: Some(Order::Shard),
        keyed: Some(true),
        shard_reports: (0..4).map(shard).collect(),
        attempts,
        runs: vec![run(1, BEGAN, 75), run(2, BEGAN + HOUR, 0)],
        verified: None,
        steering: vec![SteerEvent {
            unix_ms: (BEGAN + HOUR + 2_000).unsigned_abs(),
            text: "scaled 1 -> 2".into(),
            before: Pace { records_per_second: 501.0, flush_share: 0.4 },
            after: Some(Pace { records_per_second: 998.0, flush_share: 0.41 }),
        }],
        events: vec![
            (BEGAN + 5_020, "shard 1 attempt 1 died: killed by signal 9".into()),
            (BEGAN + HOUR + 2_000, "scaled 1 -> 2".into()),
        ],
        outages: Vec::new(),
        notices: vec!["/data/a.gz: 512 zero bytes behind the gzip stream were taken as padding".into()],
    }
}

/// The same of a job that another folder had begun: `elsewhere` records are from there.
pub(crate) fn shared(elsewhere: u64) -> JobReport {
    let mut report = report();
    report.progress_topic = Some("shardlift-progress".into());
    let counts = &mut report.counts;
    (counts.read, counts.acknowledged) = (counts.read + elsewhere, counts.acknowledged + elsewhere);
    report
}

/// A job of `workers` workers of which `percent` per cent of a minute were `phase`, and the rest its own work, with two
/// processors: 60,000 records with keys to a topic of eight partitions, in 60 chunks of one attempt.
pub(crate) fn waiting(phase: Phase, percent: u64, workers: u64) -> JobReport {
    let mut report = report();
    report.attempts.truncate(1);
    let (work, second) = (&mut report.work, 1_000_000_000);
    *work = Work { partitions: vec![7_500; 8], ..Work::default() };
    work.phases.spend(phase, workers * 60 * second / 100 * percent);
    work.phases.spend(Phase::Map, workers * 60 * second / 100 * (100 - percent));
    (0..60).for_each(|_| work.flush.record(9_000));
    report.cpu_workers_us = workers * 60 * 1_000_000 / 100 * (100 - percent);
    report.counts =
        Counts { read: 60_000, acknowledged: 60_000, bytes_read: 12_000_000, bytes_sent: 12_000_000, ..Counts::default() };
    report.here = Some(report.counts);
    (report.elapsed_us, report.workers.count) = (60_000_000, workers);
    report.binding.end_offsets = vec![0; 8];
    let chunk = ChunkLimits { records: 1_000, bytes: 256 << 20, interval: Duration::from_secs(1) };
    let rules =
        RunRules { auto: false, most_workers: 64, bounded_by_config: true, processors: 2, flush: FlushPolicy::Chunk, chunk };
    report.runs.iter_mut().for_each(|run| run.rules = Some(rules));
    report
}

/// A job that was done elsewhere: its one attempt here found nothing left to send.
pub(crate) fn done_elsewhere(records: u64) -> JobReport {
    let mut report = report();
    report.attempts.truncate(1);
    report.attempts[0].counts = Counts::default();
    report.progress_topic = Some("shardlift-progress".into());
    report.work = Work::default();
    report.here = Some(Counts::default());
    report.counts = Counts { read: records, acknowledged: records, ..Counts::default() };
    report
}

fn attempt((shard, number, run, after, lasts, outcome): (u32, u32, u32, i64, u64, AttemptOutcome)) -> AttemptReport {
    let quickest_us = Some(5_300);
    let mut work =
        Work { quickest_us, phases: phases(lasts), partitions: (0..8).map(|p| 100 + p * 17).collect(), ..Work::default() };
    (0..lasts / 500).for_each(|i| work.flush.record(8_000 + i * 900));
    AttemptReport {
        shard: ShardId(shard),
        number,
        run,
        pid: 1000 + shard as i32,
        started_ms: BEGAN + if run == 2 { HOUR } else { 0 } + after,
        elapsed_us: lasts * 1000,
        outcome,
        reason: if outcome == AttemptOutcome::Died { "killed by signal 9 (<not> asked for)".into() } else { String::new() },
        cpu_us: Some(lasts * 300),
        peak_memory_bytes: Some(50 << 20),
        first_delivery_us: Some(60_000),
        counts: Counts { read: lasts, acknowledged: lasts, ..Counts::default() },
        resent: if outcome == AttemptOutcome::Died { Resent::at_most(120) } else { Resent::NONE },
        restart: (shard, number) == (1, 2),
        work,
    }
}

/// After `ms` milliseconds.
fn phases(ms: u64) -> Phases {
    let mut phases = Phases::default();
    let parts =
        [(Phase::Start, 3), (Phase::Read, 12), (Phase::Map, 20), (Phase::Enqueue, 10), (Phase::Flush, 40), (Phase::Wait, 15)];
    parts.into_iter().for_each(|(phase, percent)| phases.spend(phase, ms * 10_000 * percent));
    phases
}

/// One a second, and one at each attempt's end.
pub(crate) fn samples() -> Samples {
    let of = |lasts: u64| {
        let at = |at_ms: u64| Sample { at_ms, acknowledged: at_ms, cpu_us: at_ms * 300, phases: phases(at_ms) };
        (0..lasts).step_by(1_000).chain([lasts]).map(at).collect()
    };
    ATTEMPTS.into_iter().map(|(shard, number, _, _, lasts, _)| ((ShardId(shard), number), of(lasts))).collect()
}
