//! What a run shows while it goes on: values for a display, and rates measured between heartbeats.

use std::time::Duration;

use migration::report::ShardTotals;
use migration::steer::{Standing, Steer, SteerEvent};
use migration::units::{show_count, show_size};
use migration::{Counts, Histogram, Level, Outage, Phase, Progress, TopicChange, WaitingFor};
use serde::{Deserialize, Serialize};

use crate::machine::{AttemptId, AttemptView, Machine};

/// Sees a run go on. Called from the supervisor's only thread: be quick, and never start a thread.
pub trait Watcher {
    /// How things stand; about five times a second and once at the end.
    fn tick(&mut self, snapshot: &Snapshot);

    /// A line to print. Without control characters.
    fn log(&mut self, level: Level, text: &str);

    /// What the watcher wants of the job; asked for after each tick.
    fn wishes(&mut self) -> Vec<Wish> {
        Vec::new()
    }

    /// A child ended that is no worker: the caller's own helper, or an orphan that came to process 1. It is reaped. An
    /// answer is the reason why the job can't go on without it: the job stops, and running it again continues.
    fn other_child_ended(&mut self, pid: i32, how: &str) -> Option<String> {
        let _ = (pid, how);
        None
    }
}

/// What a watcher wants of the job that it watches.
#[derive(Clone, Debug, PartialEq)]
pub enum Wish {
    /// Turn a knob.
    Steer(Steer),
    /// Stop the job for this reason; running it again continues.
    Stop(String),
    /// The topic changed.
    Topic(TopicChange),
}

/// How a run stands.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// Since the run began.
    pub elapsed: Duration,
    /// Committed over all runs, and in progress as far as the last heartbeats told.
    pub counts: Counts,
    /// Committed over all runs.
    pub committed: Counts,
    /// What of it was committed elsewhere, and taken over in this run: no rate counts it.
    pub taken_over: Counts,
    /// Shards.
    pub shards: ShardTotals,
    /// The dataset's size in bytes as stored.
    pub source_bytes: u64,
    /// How much of it is through, committed or in progress: of a compressed shard judged by its records.
    pub source_bytes_done: u64,
    /// How many workers may run.
    pub slots: u32,
    /// What was asked of the job, and how it stands.
    pub standing: Standing,
    /// Whether the job stops.
    pub draining: bool,
    /// Those that run, in slot order.
    pub workers: Vec<WorkerView>,
    /// The last turns of the knobs in this run, oldest first.
    pub steering: Vec<SteerEvent>,
    /// How many records the plan expects; 0: that is not known.
    pub records_estimate: u64,
    /// That brokers don't answer, while it lasts.
    pub outage: Option<Outage>,
}

/// How many workers are shown to another process; no reader looks at more.
const MOST_SHOWN: usize = 1_000;

impl Snapshot {
    /// Without what a display does not need and what may be large, for another process.
    pub(crate) fn without_details(mut self) -> Self {
        self.workers.truncate(MOST_SHOWN);
        for worker in &mut self.workers {
            let work = &mut worker.progress.work;
            (work.flush, work.partitions) = (Histogram::default(), Vec::new());
            worker.progress.no_answer = None;
        }
        self
    }
}

/// How a worker stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WorkerView {
    /// Its slot, from 0.
    pub slot: u32,
    /// Its process.
    pub pid: i32,
    /// Its shard and the attempt's number.
    pub attempt: AttemptId,
    /// Whether its producer is connected and records can move.
    pub started: bool,
    /// Its last heartbeat.
    pub progress: Progress,
    /// How much of its shard is through, 0 to 1, judged by records.
    pub shard_done: f64,
    /// Records read a second, over its last heartbeats.
    pub records_per_second: f64,
    /// Bytes read a second.
    pub bytes_per_second: f64,
    /// The part of its time that it waited in flush, 0 to 1.
    pub flush_share: f64,
    /// What it waits for, if it does not move.
    pub waiting_for: Option<WaitingFor>,
}

/// Measures one worker's speed from heartbeat to heartbeat.
#[derive(Clone, Debug)]
pub(crate) struct Speed {
    since: Duration,
    counts: Counts,
    records: f64,
    bytes: f64,
}

/// Between two measurements at least.
const SPEED_OVER: Duration = Duration::from_millis(900);

impl Speed {
    pub(crate) fn new(now: Duration) -> Self {
        Speed { since: now, counts: Counts::default(), records: 0.0, bytes: 0.0 }
    }

    pub(crate) fn heartbeat(&mut self, counts: Counts, now: Duration) {
        let over = now.saturating_sub(self.since);
        if over >= SPEED_OVER {
            let speed = |new: u64, old: u64| new.saturating_sub(old) as f64 / over.as_secs_f64();
            self.records = speed(counts.read, self.counts.read);
            self.bytes = speed(counts.bytes_read, self.counts.bytes_read);
            (self.since, self.counts) = (now, counts);
        }
    }

    /// `records`: how many the plan expects in its shard.
    pub(crate) fn view(&self, view: &AttemptView<'_>, pid: i32, records: u64) -> WorkerView {
        let phases = &view.progress.work.phases;
        WorkerView {
            slot: view.slot,
            pid,
            attempt: view.attempt,
            started: view.started,
            progress: view.progress.clone(),
            shard_done: (view.progress.position.records as f64 / records.max(1) as f64).min(1.0),
            records_per_second: self.records,
            bytes_per_second: self.bytes,
            flush_share: phases.get(Phase::Flush) as f64 / (phases.total() as f64).max(1.0),
            waiting_for: view.progress.waiting_for.clone(),
        }
    }
}

/// A worker in one line of the log.
pub(crate) fn worker_line(worker: &WorkerView) -> String {
    let AttemptId { shard, number } = worker.attempt;
    let doing = match &worker.waiting_for {
        Some(waiting_for) => format!("waiting for {waiting_for}"),
        None if worker.started => "working".to_owned(),
        None => "connecting".to_owned(),
    };
    format!(
        "shard {shard} attempt {number}: process {}, record {} ({:.0} %), {} records/s, flush {:.0} %, {doing}, peak memory {}",
        worker.pid,
        show_count(worker.progress.position.records),
        worker.shard_done * 100.0,
        show_count(worker.records_per_second as u64),
        worker.flush_share * 100.0,
        show_size(worker.progress.peak_memory_bytes),
    )
}

pub(crate) fn shard_totals(machine: &Machine) -> ShardTotals {
    let totals = machine.totals();
    ShardTotals { total: totals.shards, done: totals.done, quarantined: totals.quarantined }
}
