//! What a run is given, and the machine's rules that follow from it and from what this system has room for.

use std::collections::BTreeSet;
use std::time::Duration;

use migration::job::{Delivery, Limits, WorkerRules};
use migration::report::RunRules;
use migration::{Accept, BoundTopic, Plan, Rate};

use crate::machine::Rules;
use crate::state_dir::StateDir;
use crate::store::Store;

/// More workers are never asked for in earnest: each is a process with threads and connections of its own.
const MOST_SLOTS: u32 = 1_000;
/// Descriptors of the supervisor besides the two of each worker: standard streams, locks, signals, SQLite, helpers,
/// clients.
const OWN_DESCRIPTORS: u64 = 64;

/// Processes and threads of a worker: itself, and of its client the main thread and at least two for brokers.
pub const TASKS_OF_A_WORKER: u64 = 4;

/// What a job does that finds the number of its workers itself: `workers.count = "auto"` and `scale auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AutoSlots {
    /// Whether it begins so.
    pub on: bool,
    /// The number that it begins with.
    pub first: u32,
    /// The largest that it tries.
    pub most: u32,
}

/// What a run needs.
pub struct Setup<'a> {
    /// The frozen plan: the one that the store holds.
    pub plan: &'a Plan,
    /// How workers are started, restarted and stopped.
    pub workers: &'a WorkerRules,
    /// How many run at once.
    pub slots: u32,
    /// How the job finds that number itself, if it is told to.
    pub auto: AutoSlots,
    /// Begin with a pause: workers are started and connect, then wait for `continue` before their first record.
    pub paused: bool,
    /// Whether a shard that has much left may be split for workers that have nothing to do.
    pub split: bool,
    /// Whether shards with sets of partitions keep the order of keys at any price: what lies behind a place that can't
    /// be read then waits. Means nothing to other shards.
    pub keep_order: bool,
    /// No broker answers for this time: stop.
    pub give_up_after: Duration,
    /// Limits of the whole job.
    pub limits: &'a Limits,
    /// What is let pass although a check would refuse it; kept with the run.
    pub accept: &'a BTreeSet<Accept>,
    /// What was typed, without secrets; kept with the run.
    pub command: &'a str,
    /// Where workers commit.
    pub delivery: Delivery,
    /// The topic that the job belongs to; `None`: whatever topic the workers find.
    pub topic: Option<&'a BoundTopic>,
    /// How far away the brokers are, as preflight found; `None`: that is not known.
    pub round_trip: Option<Duration>,
    /// The job's folder, with both locks held.
    pub state: &'a StateDir,
    /// The job's checkpoint.
    pub store: &'a mut Store,
    /// For pauses, and for the seeds of the workers.
    pub seed: u64,
}

impl Setup<'_> {
    /// How many workers run at once. `shared`: whether they are processes of their own that may be replaced.
    pub(crate) fn slots_at_once(&self, shared: bool) -> u32 {
        if shared { self.slots.max(1) } else { 1 }
    }

    /// What of its settings is kept with the run.
    pub(crate) fn kept(&self, shared: bool) -> RunRules {
        RunRules {
            auto: self.auto.on && shared,
            most_workers: self.auto.most.min(most_slots()),
            bounded_by_config: self.auto.most.min(most_slots()) >= self.workers.max,
            processors: self.auto.first,
            flush: self.workers.flush,
            chunk: self.workers.chunk,
        }
    }

    /// The machine's rules.
    pub(crate) fn rules(&self, shared: bool) -> Rules {
        let (workers, limits, slots) = (self.workers, self.limits, self.slots_at_once(shared));
        let rate = |limit: Option<u64>| limit.map_or(f64::INFINITY, |rate| rate as f64);
        Rules {
            slots,
            search: self.auto.on && shared,
            auto_slots: self.auto.first,
            most_auto_slots: self.auto.most.min(most_slots()),
            most_slots: if shared { most_slots().max(slots) } else { 1 },
            paused: self.paused,
            early: shared,
            // A shard's end would have to stand in Kafka, too.
            split: self.split && shared && self.delivery == Delivery::AtLeastOnce,
            keep_order: self.keep_order,
            max_without_progress: workers.restart.max_without_progress,
            backoff_min: workers.restart.backoff_min,
            backoff_max: workers.restart.backoff_max,
            heartbeat_timeout: shared.then_some(workers.heartbeat_timeout),
            give_up_after: self.give_up_after,
            drain_timeout: workers.drain_timeout,
            max_bad_records: limits.max_bad_records,
            chunk_records: workers.chunk.records,
            rate: Rate { records: rate(limits.rate_records), bytes: rate(limits.rate_bytes) },
            retry: shared,
            topic: self.topic.cloned(),
            round_trip: self.round_trip,
            delivery: self.delivery,
        }
    }
}

/// Why the system has no room for `more` workers, as far as that is certain.
pub(crate) fn no_room(more: u64) -> Option<String> {
    process::require_processes(TASKS_OF_A_WORKER * more).err().map(|error| error.to_string())
}

/// How many workers this process can have at once, by its descriptors: both pipes of each and of the early one behind
/// it, and its own.
fn most_slots() -> u32 {
    let by_descriptors =
        process::descriptor_limit().map_or(u64::from(MOST_SLOTS), |limit| limit.saturating_sub(OWN_DESCRIPTORS) / 4);
    by_descriptors.clamp(1, MOST_SLOTS.into()) as u32
}
