//! What goes into the machine and what comes out of it.

use std::time::Duration;

use migration::job::Delivery;
use migration::report::{AttemptOutcome, Resent};
use migration::steer::Steer;
use migration::{
    BoundTopic, Causes, Chunk, Control, Damage, Division, LedgerEntry, Level, Plan, Position, Rate, RefusedRecord, ShardId,
    TopicChange, Work, WorkerEvent,
};
use serde::{Deserialize, Serialize};

/// One attempt of one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptId {
    /// The shard.
    pub shard: ShardId,
    /// Its number within the shard, from 1, over all runs.
    pub number: u32,
}

impl std::fmt::Display for AttemptId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "shard {}, attempt {}", self.shard, self.number)
    }
}

/// What the machine decides by.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// How many workers run at once.
    pub slots: u32,
    /// Whether the job finds the number of its workers itself, beginning with `slots`.
    pub search: bool,
    /// What [`Scale::Auto`](migration::steer::Scale::Auto) begins with.
    pub auto_slots: u32,
    /// The most workers that a search tries.
    pub most_auto_slots: u32,
    /// More can't be asked for; 1: the job runs in one process.
    pub most_slots: u32,
    /// Begins with a pause in which workers are started all the same: they connect, then wait for `continue` before
    /// their first record.
    pub paused: bool,
    /// Whether the next shard's worker may connect while the one before it in its slot ends.
    pub early: bool,
    /// Whether a shard that has much left may be split for slots that nothing waits for.
    pub split: bool,
    /// Whether what lies behind a place that can't be read waits until it can be: a set of partitions keeps the order
    /// of its keys. Else a set may be cut by place there, as any other shard.
    pub keep_order: bool,
    /// The number of deaths at one position that quarantines the shard.
    pub max_without_progress: u32,
    /// The first pause before a successor.
    pub backoff_min: Duration,
    /// The longest.
    pub backoff_max: Duration,
    /// No frame for this time: kill and replace. `None`: never.
    pub heartbeat_timeout: Option<Duration>,
    /// A shard whose attempts find no broker and that comes no further for this time stops the job.
    pub give_up_after: Duration,
    /// How long a drain may take, kills included.
    pub drain_timeout: Duration,
    /// More dead letters than this (over all runs) stop the job.
    pub max_bad_records: u64,
    /// The most rows of a chunk.
    pub chunk_records: u64,
    /// For all workers together.
    pub rate: Rate,
    /// Whether an attempt that ended badly has a successor; without, its end stops the job (single-process mode).
    pub retry: bool,
    /// The topic that the job belongs to: what a worker or a watching helper sees is compared with it.
    pub topic: Option<BoundTopic>,
    /// How far away the brokers were before the run began, for its first workers.
    pub round_trip: Option<Duration>,
    /// Where workers commit. With exactly-once that is Kafka: what an attempt says of its shard when it starts is taken
    /// over, no shard is divided, and nothing of what an attempt did not commit can be read.
    pub delivery: Delivery,
}

/// How many partitions a shard has, and of how many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SetSize {
    /// Partitions in its set.
    pub partitions: u32,
    /// Partitions of which the plan's shards have sets.
    pub of: u32,
}

/// What lies before a place of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Rows.
    pub records: u64,
    /// Bytes of the source; 0 where its places don't tell.
    pub bytes: u64,
}

/// How large a shard is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of what it reads, as stored; `None` where that is not known.
    pub bytes: Option<u64>,
    /// How many records it probably reads.
    pub records_estimate: u64,
    /// What of these lies before its start: it was passed by the shard that it was parted from.
    pub before: Before,
    /// If only the records of some partitions are its own: how many these are.
    pub set: Option<SetSize>,
    /// Of how many segments it consists.
    pub segments: u32,
    /// All of its objects can be cut inside: what is read of it are its stored bytes.
    pub splittable: bool,
}

impl Extent {
    /// That of a shard of the plan.
    pub fn of(plan: &Plan, shard: &migration::Shard) -> Extent {
        let splittable = plan.segments(shard).iter().all(|segment| plan.object(segment).splittable);
        let (partitions, of) = plan.part(shard);
        Extent {
            bytes: shard.bytes,
            records_estimate: shard.records_estimate,
            before: Before {
                records: shard.start.records,
                bytes: if splittable { bytes_before_start(plan, shard) } else { 0 },
            },
            set: shard.partitions.is_some().then_some(SetSize { partitions, of }),
            segments: shard.segments.len() as u32,
            splittable,
        }
    }

    /// Which part of what it reads is probably its own.
    pub(super) fn part(&self) -> f64 {
        self.set.map_or(1.0, |set| f64::from(set.partitions) / f64::from(set.of.max(1)))
    }

    /// A part of what it reads that stands for its own: of a set its partitions' part, so that the sets of a plan add
    /// up to what they all read.
    pub(super) fn own(&self, bytes: u64) -> u64 {
        match self.set {
            Some(SetSize { partitions, of }) => (u128::from(bytes) * u128::from(partitions) / u128::from(of.max(1))) as u64,
            None => bytes,
        }
    }
}

/// What a shard whose places are bytes has before its start.
fn bytes_before_start(plan: &Plan, shard: &migration::Shard) -> u64 {
    let (segments, start) = (plan.segments(shard), shard.start);
    let through: u64 = segments.iter().take(start.segment as usize).filter_map(|segment| segment.bytes).sum();
    let inside = segments.get(start.segment as usize).map_or(0, |segment| start.place.saturating_sub(segment.start));
    through + inside
}

impl ShardStart {
    /// A shard of the plan that no worker had yet.
    pub fn fresh(plan: &Plan, shard: &migration::Shard) -> ShardStart {
        let entry = LedgerEntry { position: shard.start, ..LedgerEntry::default() };
        ShardStart { extent: Extent::of(plan, shard), entry, done: false, last_attempt: 0 }
    }
}

/// Where a shard stands when a run begins.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardStart {
    /// How large it is.
    pub extent: Extent,
    /// How far it is committed.
    pub entry: LedgerEntry,
    /// Whether it is at its end.
    pub done: bool,
    /// The number of its last attempt; 0 if there was none.
    pub last_attempt: u32,
}

/// A shard of which the plan has several now.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// How large the shard itself still is.
    pub shard: Extent,
    /// The others, which got the next free numbers.
    pub added: Vec<ShardStart>,
}

/// What happens to the machine.
#[expect(clippy::large_enum_variant, reason = "an input is taken as soon as it is made, and most are events")]
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// Time passed.
    Tick,
    /// The fork that was asked for did not happen.
    ForkFailed {
        /// Which.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// The store could not note that the attempt begins, so its worker was not started.
    NotBegun {
        /// Which.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// A worker said something.
    Event {
        /// Which worker.
        attempt: AttemptId,
        /// What.
        event: WorkerEvent,
    },
    /// A worker's frames make no sense; nothing more is read from it.
    Broken {
        /// Which worker.
        attempt: AttemptId,
        /// What was wrong.
        reason: String,
    },
    /// A worker closed its pipe; its end should follow at once.
    Silent {
        /// Which worker.
        attempt: AttemptId,
    },
    /// A worker ended, and all it said was handed in before.
    Ended {
        /// Which worker.
        attempt: AttemptId,
        /// How.
        ending: Ending,
    },
    /// The chunk that was to be recorded is on disk.
    Recorded {
        /// Whose.
        attempt: AttemptId,
    },
    /// The end of the attempt is on disk.
    Closed {
        /// Which.
        attempt: AttemptId,
        /// What became of its division: `None` if there was none, or the plan could not take it.
        split: Option<Split>,
    },
    /// The store could not write what was asked.
    StoreFailed {
        /// What for.
        attempt: AttemptId,
        /// Why.
        reason: String,
    },
    /// The job's folder is not where it was: nothing can be kept any more.
    StateLost {
        /// What was seen.
        reason: String,
    },
    /// SIGINT, SIGTERM or SIGHUP came.
    Signal {
        /// Its number.
        number: u8,
    },
    /// The job can't go on here, for a reason that is neither a worker's nor the state's; running it again continues.
    Stop {
        /// Why.
        reason: String,
    },
    /// The topic that the job belongs to changed, as the helper that watches it saw.
    Topic(TopicChange),
    /// A user turns a knob. What [`Machine::objection`](super::Machine::objection) has something against is left alone.
    Steer(Steer),
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl std::fmt::Display for Ending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ending::Code(code) => write!(f, "exit code {code}"),
            Ending::Signal(number) => write!(f, "signal {number} ({})", signal_name(*number)),
        }
    }
}

fn signal_name(number: i32) -> &'static str {
    match number {
        1 => "SIGHUP",
        2 => "SIGINT",
        4 => "SIGILL",
        6 => "SIGABRT: it gave up, out of memory perhaps",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL: another process or the kernel's memory limit killed it",
        11 => "SIGSEGV",
        15 => "SIGTERM",
        _ => "see `kill -l`",
    }
}

/// What a new worker is to do.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkOrder {
    /// The shard.
    pub shard: ShardId,
    /// The attempt's number.
    pub attempt: u32,
    /// Its slot, from 0.
    pub slot: u32,
    /// Where to start: how far the shard is committed, as far as the supervisor knows.
    pub from: LedgerEntry,
    /// Records behind that place which the brokers refused for good: they are set aside.
    pub refused: Vec<RefusedRecord>,
    /// How many records the job may still set aside.
    pub letters_left: u64,
    /// For how long the shard's attempts before this one have found no broker.
    pub unreachable_for: Duration,
    /// How far away the brokers are, as far as that is known.
    pub round_trip: Option<Duration>,
    /// For everything random in the worker: generators repeat themselves after a fork.
    pub seed: u64,
    /// What it would be told first.
    pub control: Control,
}

impl WorkOrder {
    /// Which attempt this is.
    pub fn id(&self) -> AttemptId {
        AttemptId { shard: self.shard, number: self.attempt }
    }
}

/// What the machine wants done, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a worker.
    Fork(WorkOrder),
    /// Tell a worker; replaces what it was told before.
    Tell(AttemptId, Control),
    /// Kill a worker with SIGKILL.
    Kill(AttemptId),
    /// Put on disk how far Kafka says that the shard of an attempt is.
    Adopt(AttemptId, LedgerEntry),
    /// Put a chunk on disk, then answer with [`Input::Recorded`].
    Record(AttemptId, Chunk),
    /// Put the end of an attempt on disk, then answer with [`Input::Closed`].
    Close(Box<AttemptEnd>),
    /// Print a line.
    Log {
        /// Its level.
        level: Level,
        /// Without control characters.
        text: String,
        /// Whether the line belongs into the job's history too.
        keep: bool,
    },
    /// Print a warning about the source or about what was set aside. Belongs into the job's history, and into the
    /// report's list of such.
    Notice(String),
    /// A user's wish changed this: "scaled 2 -> 8". Belongs into the job's history.
    Steered(String),
    /// The run is over; nothing follows.
    End(Ended),
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Everything that speaks against 0; a stop is none when every shard is done.
    pub causes: Causes,
}

/// What becomes of the shard after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// A successor goes on from the committed position.
    Waiting,
    /// It is done; this is its end.
    Done(Position),
    /// It is given up for this run.
    Quarantined,
}

/// The end of an attempt, as the store keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct AttemptEnd {
    /// Which attempt.
    pub attempt: AttemptId,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// Why, if it did not end well.
    pub reason: String,
    /// What becomes of its shard.
    pub after: After,
    /// The shard's deaths at its position, this one included.
    pub deaths: u32,
    /// What it may have sent beyond what it committed, and what may be there twice although nothing died.
    pub resent: Resent,
    /// What it took, committed or not.
    pub work: Work,
    /// Peak resident memory in bytes, as far as it told.
    pub peak_memory_bytes: u64,
    /// How what is left of the shard is to be divided.
    pub division: Option<Division>,
    /// Before which segment the shard is to be cut as well, so that what can be read does not wait for what can't.
    pub apart: Option<u32>,
    /// What it said of a segment that can't be read.
    pub damage: Option<Damage>,
}
