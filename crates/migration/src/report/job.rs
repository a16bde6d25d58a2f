//! What a job did, over all its runs: the value that the report and `status` are made of. Every figure comes from the
//! checkpoint store; nothing here knows how it is shown.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::verify::KeptVerdict;
use crate::job::{ChunkLimits, Delivery, FlushPolicy};
use crate::steer::SteerEvent;
use crate::{Counts, Exit, Order, Phases, Position, RoundTrips, ShardId, Work};

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A supervisor holds the lock and works.
    Running,
    /// Every shard is done.
    Done,
    /// Something needs a look before it is run again.
    Failed,
    /// It can be run again to continue.
    Stopped,
}

impl Outcome {
    /// Its name in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Outcome::Running => "running",
            Outcome::Done => "done",
            Outcome::Failed => "failed",
            Outcome::Stopped => "stopped",
        }
    }
}

impl From<Exit> for Outcome {
    fn from(exit: Exit) -> Self {
        match exit {
            Exit::Done => Outcome::Done,
            Exit::Stopped | Exit::Signal(_) => Outcome::Stopped,
            _ => Outcome::Failed,
        }
    }
}

/// Everything a report says about a job, over all its runs.
#[derive(Clone, Debug, PartialEq)]
pub struct JobReport {
    /// The job's name.
    pub name: String,
    /// How it stands.
    pub outcome: Outcome,
    /// How the last run ended; `None` while a run is under way, before the first, and if its end is not in the state:
    /// then its supervisor was killed, or could not write there.
    pub exit: Option<Exit>,
    /// Why it ended so, one sentence for each reason.
    pub reasons: Vec<String>,
    /// The plan's id.
    pub plan_id: u128,
    /// What the state is bound to.
    pub binding: Binding,
    /// The dataset's size as stored, in bytes.
    pub source_bytes: u64,
    /// How many records the plan expects.
    pub records_estimate: u64,
    /// Committed records; never more than the source has.
    pub counts: Counts,
    /// What of it attempts in this folder committed, as far as they lived to tell: every rate is made of this. With
    /// exactly-once the rest is known from the progress topic. `None` if the state that knows it can't be read.
    pub here: Option<Counts>,
    /// The progress topic of a job that delivers exactly once; `None`: it delivers at least once.
    pub progress_topic: Option<String>,
    /// Records that may be in the topic twice; `None` if the state that knows it can't be read.
    pub resent: Option<Resent>,
    /// Names of the checks that any of its runs was told to let pass (`--accept`), whether one had something to refuse
    /// or not.
    pub accepted: Vec<String>,
    /// How many shards are where.
    pub shards: ShardTotals,
    /// How many workers there were.
    pub workers: WorkerTotals,
    /// Wall time of all runs, microseconds.
    pub elapsed_us: u64,
    /// CPU time of the supervisor in all runs, microseconds (user and system).
    pub cpu_supervisor_us: u64,
    /// CPU time of all workers that ended, microseconds (user and system).
    pub cpu_workers_us: u64,
    /// The largest peak of resident memory of any worker that is known, bytes.
    pub peak_worker_memory_bytes: Option<u64>,
    /// Work of all attempts, whether it was committed or not.
    pub work: Work,
    /// Which order its records keep; `None`: the plan can't be read.
    pub order: Option<Order>,
    /// Whether its records have keys; `None` if the state that knows it can't be read.
    pub keyed: Option<bool>,
    /// Each shard, in plan order.
    pub shard_reports: Vec<ShardReport>,
    /// Each attempt, in the order in which they began.
    pub attempts: Vec<AttemptReport>,
    /// Each run, oldest first.
    pub runs: Vec<RunReport>,
    /// What happened that was worth a line, oldest first: time (milliseconds since 1970) and text.
    pub events: Vec<(i64, String)>,
    /// Of these what a user should know of the source and of what was set aside: files that took another one's place,
    /// padding, last lines that were cut off, letters that are gone. Each text once.
    pub notices: Vec<String>,
    /// Times in which brokers did not answer, oldest first.
    pub outages: Vec<OutageReport>,
    /// Turns of the knobs while it ran, oldest first.
    pub steering: Vec<SteerEvent>,
    /// What the last comparison of topic and source found, if there was one.
    pub verified: Option<KeptVerdict>,
}

impl JobReport {
    /// How far away the brokers are, as the last run's attempts measured it; `None` if that is not known.
    pub fn round_trip(&self) -> Option<Duration> {
        let last = self.attempts.last()?.run;
        let measured =
            self.attempts.iter().filter(|attempt| attempt.run == last).filter_map(|attempt| attempt.work.quickest_us);
        measured.map(Duration::from_micros).collect::<RoundTrips>().distance()
    }

    /// The settings of the last run, as far as they are known.
    pub fn rules(&self) -> Option<RunRules> {
        self.runs.last()?.rules
    }

    /// Records committed here (acknowledged, filtered or set aside) for each second of wall time; `None` if there are
    /// none, or no time has passed.
    pub fn records_per_second(&self) -> Option<f64> {
        self.per_second(|here| here.read)
    }

    /// Any other of the counts for each second of wall time.
    pub fn per_second(&self, of: fn(&Counts) -> u64) -> Option<f64> {
        let here = self.here.filter(|here| here.read > 0 && self.elapsed_us > 0)?;
        Some(of(&here) as f64 * 1e6 / self.elapsed_us as f64)
    }

    /// What of the counts was not committed here; `None` if that is not known.
    pub fn elsewhere(&self) -> Option<Counts> {
        self.here.map(|here| self.counts.since(&here))
    }

    /// Whether a part of the counts was committed elsewhere.
    pub fn is_shared(&self) -> bool {
        self.elsewhere().is_some_and(|elsewhere| elsewhere.read > 0)
    }

    /// What it promises about duplicates.
    pub fn delivery(&self) -> Delivery {
        if self.progress_topic.is_some() { Delivery::ExactlyOnce } else { Delivery::AtLeastOnce }
    }

    /// The shard on which attempts spent the most wall time.
    pub fn slowest_shard(&self) -> Option<&ShardReport> {
        self.shard_reports.iter().filter(|s| s.elapsed_us > 0).max_by_key(|s| s.elapsed_us)
    }
}

/// A time in which brokers did not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutageReport {
    /// The run, from 1.
    pub run: u32,
    /// Since when, milliseconds since 1970.
    pub began_ms: i64,
    /// Since when none did; `None`: some always did.
    pub all_ms: Option<i64>,
    /// Until when; `None`: it lasts, or the run ended in it.
    pub ended_ms: Option<i64>,
}

/// What a job's state belongs to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    /// The cluster's id.
    pub cluster_id: String,
    /// The topic's id; empty where brokers have none.
    pub topic_id: String,
    /// The topic's name.
    pub topic: String,
    /// The source as the config names it, for messages.
    pub source: String,
    /// Each partition's end offset at the job's start; index = partition.
    pub end_offsets: Vec<i64>,
}

impl Binding {
    /// The topic's id, if the brokers told one.
    pub fn known_topic_id(&self) -> Option<String> {
        Some(&self.topic_id).filter(|id| !id.is_empty()).cloned()
    }

    /// How many partitions the topic had.
    pub fn partitions(&self) -> u32 {
        u32::try_from(self.end_offsets.len()).unwrap_or(u32::MAX)
    }
}

/// How many shards are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardTotals {
    /// All of the plan.
    pub total: u64,
    /// At their end.
    pub done: u64,
    /// Given up for this run.
    pub quarantined: u64,
}

/// Records that may be in the topic twice: an attempt may have sent them beyond its last commit, so that its successor
/// sends them again, or a batch of them was in flight when a broker refused another record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resent {
    /// No more than this.
    pub most: u64,
    /// And no fewer.
    pub exact: bool,
}

impl Resent {
    /// Nothing is sent again.
    pub const NONE: Resent = Resent { most: 0, exact: true };

    /// No more than this; that there are none is exact.
    pub const fn at_most(most: u64) -> Resent {
        Resent { most, exact: most == 0 }
    }

    /// This and another.
    #[must_use]
    pub const fn plus(self, other: Resent) -> Resent {
        Resent { most: self.most.saturating_add(other.most), exact: self.exact && other.exact }
    }

    /// The same, knowing from elsewhere that there are no more than `most`.
    #[must_use]
    pub const fn bounded(self, most: u64) -> Resent {
        if most < self.most { Resent::at_most(most) } else { self }
    }
}

/// How many workers there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerTotals {
    /// Slots of the last run.
    pub count: u64,
    /// Attempts begun, over all runs.
    pub forked: u64,
    /// Attempts that followed one that died, found no broker or lost its supervisor.
    pub restarts: u64,
}

/// How a shard stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardStatus {
    /// To be worked on.
    Waiting,
    /// At its end.
    Done,
    /// Its worker died too often at one position; the next run tries again.
    Quarantined,
}

impl ShardStatus {
    /// Its name in the JSON.
    pub const fn name(self) -> &'static str {
        match self {
            ShardStatus::Waiting => "waiting",
            ShardStatus::Done => "done",
            ShardStatus::Quarantined => "quarantined",
        }
    }
}

/// One shard.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardReport {
    /// Its number.
    pub id: ShardId,
    /// How it stands.
    pub status: ShardStatus,
    /// Up to where it is committed.
    pub position: Position,
    /// What was committed.
    pub counts: Counts,
    /// Deaths at this position.
    pub deaths: u32,
    /// How long its file of dead letters is by its last commit, bytes.
    pub letters: u64,
    /// Wall time of all its attempts, microseconds.
    pub elapsed_us: u64,
    /// How many attempts it took.
    pub attempts: u32,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// Not yet.
    Running,
    /// The shard is done.
    Finished,
    /// It was told to drain, and did.
    Drained,
    /// It counts as a death.
    Died,
    /// It found no broker: no death.
    Unreachable,
    /// It ended because the job stops: killed at the drain's end, or its failure stops the job. No death.
    Stopped,
    /// Its supervisor was killed.
    Orphaned,
    /// A file of its shard can't be read, or changed: that file is set aside for this run. No death.
    Unreadable,
    /// Another producer had its shard's transactional id, or the brokers said so. No death.
    Fenced,
    /// The brokers refused records for good, and its transaction was lost with them. No death.
    Refused,
}

impl AttemptOutcome {
    /// All.
    pub const ALL: [AttemptOutcome; 10] = [
        AttemptOutcome::Running,
        AttemptOutcome::Finished,
        AttemptOutcome::Drained,
        AttemptOutcome::Died,
        AttemptOutcome::Unreachable,
        AttemptOutcome::Stopped,
        AttemptOutcome::Orphaned,
        AttemptOutcome::Unreadable,
        AttemptOutcome::Fenced,
        AttemptOutcome::Refused,
    ];

    /// Its name in the JSON and in the state.
    pub const fn name(self) -> &'static str {
        match self {
            AttemptOutcome::Running => "running",
            AttemptOutcome::Finished => "finished",
            AttemptOutcome::Drained => "drained",
            AttemptOutcome::Died => "died",
            AttemptOutcome::Unreachable => "unreachable",
            AttemptOutcome::Stopped => "stopped",
            AttemptOutcome::Orphaned => "orphaned",
            AttemptOutcome::Unreadable => "unreadable",
            AttemptOutcome::Fenced => "fenced",
            AttemptOutcome::Refused => "refused",
        }
    }
}

/// One attempt.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptReport {
    /// Its shard.
    pub shard: ShardId,
    /// Its number within the shard, from 1.
    pub number: u32,
    /// The run it belongs to, from 1.
    pub run: u32,
    /// Its process; the caller's own in single-process mode.
    pub pid: i32,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
    /// How long it lasted, microseconds.
    pub elapsed_us: u64,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why, if it did not end well.
    pub reason: String,
    /// CPU time, microseconds (user and system); `None` if it is not known: of a killed supervisor's workers only what
    /// was sampled is.
    pub cpu_us: Option<u64>,
    /// Peak resident memory, bytes, as far as it was heard of; `None` if it never was.
    pub peak_memory_bytes: Option<u64>,
    /// From the fork, or from when it had a slot if that was later, to the first delivery report, microseconds.
    pub first_delivery_us: Option<u64>,
    /// What it committed.
    pub counts: Counts,
    /// What it may have sent beyond what it committed; none while it runs.
    pub resent: Resent,
    /// Whether it took the place of one that died, found no broker or lost its supervisor.
    pub restart: bool,
    /// What it took.
    pub work: Work,
}

/// An attempt at one moment. All figures are since its start, so that samples between two others can be left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sample {
    /// Milliseconds since the attempt's start.
    pub at_ms: u64,
    /// Records that a delivery report confirmed.
    pub acknowledged: u64,
    /// CPU time, microseconds (user and system, the client's threads included).
    pub cpu_us: u64,
    /// Wall time of the worker's one thread.
    pub phases: Phases,
}

/// Each attempt's samples, in the order of time.
pub type Samples = BTreeMap<(ShardId, u32), Vec<Sample>>;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunReport {
    /// Its number, from 1.
    pub number: u32,
    /// When it began, milliseconds since 1970.
    pub started_ms: i64,
    /// How long it lasted, microseconds; of a killed one, up to its last sign of life in the state.
    pub elapsed_us: u64,
    /// How many slots it had at its end.
    pub slots: u32,
    /// The exit code; `None` while it runs or when it was killed.
    pub exit_code: Option<u8>,
    /// Why it ended so.
    pub reasons: Vec<String>,
    /// CPU time of the supervisor, microseconds (user and system).
    pub cpu_supervisor_us: u64,
    /// Names of the checks that it was told to let pass.
    pub accepted: Vec<String>,
    /// What was typed, without secrets: those are in no command line.
    pub command: String,
    /// Of its settings those that advice may be about; `None`: not known.
    pub rules: Option<RunRules>,
}

/// Settings of a run that advice may be about: none asks for what the run already had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRules {
    /// Whether it finds the number of its workers itself, as it stands at its end.
    pub auto: bool,
    /// The most workers that it tries then: `workers.max`, or fewer where memory ends before.
    pub most_workers: u32,
    /// Whether `workers.max` is what bounds them, and not memory or descriptors.
    pub bounded_by_config: bool,
    /// How many processors it has.
    pub processors: u32,
    /// When a worker waits for all its delivery reports.
    pub flush: FlushPolicy,
    /// The records between two commits.
    pub chunk: ChunkLimits,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_follow_the_exit() {
        assert_eq!(Outcome::from(Exit::Done), Outcome::Done);
        assert_eq!(Outcome::from(Exit::Signal(2)), Outcome::Stopped);
        assert_eq!(Outcome::from(Exit::Stopped), Outcome::Stopped);
        for exit in [Exit::Failed, Exit::Source, Exit::State, Exit::Internal] {
            assert_eq!(Outcome::from(exit), Outcome::Failed);
        }
    }
}
