//! What a worker says (events) and what it is told (control). Values only: the codec is the supervisor crate's
//! `protocol`.

use serde::{Deserialize, Serialize};

use crate::units::{show_count, show_size};
use crate::{Counts, Cut, LedgerEntry, Level, NoAnswer, Position, Receipt, SeenTopic, Token, Work};

/// Everything a worker can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WorkerEvent {
    /// Source opened, producer created, topic metadata received: records can move.
    Started(Started),
    /// A heartbeat with how far the attempt has come. Sent at least once a second.
    Progress(Progress),
    /// A chunk is closed: every record up to `position` was delivered or dead-lettered.
    Committed(Chunk),
    /// A line for the log.
    Log {
        /// Its level.
        level: Level,
        /// What to print.
        text: String,
    },
    /// The attempt can't go on; the process ends with a non-zero code right after.
    Failed(Failure),
    /// The attempt ended well; the process ends with code 0 right after.
    Finished(Finished),
    /// What a user should know of the source or of what was set aside: a warning that belongs into the job's history,
    /// too.
    Notice(String),
    /// Everything of the shard was taken; what is left is its last chunk's end. The next shard's worker may begin to
    /// connect.
    AtEnd,
}

/// How an attempt begins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    /// The topic as this worker sees it.
    pub topic: SeenTopic,
    /// From where it goes on, by its ledger.
    pub from: LedgerEntry,
}

/// A heartbeat. All figures are the attempt's so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Up to where records were taken.
    pub position: Position,
    /// Everything taken so far, committed or not; `acknowledged` counts what delivery reports confirmed.
    pub counts: Counts,
    /// The same for time and flushes.
    pub work: Work,
    /// Peak resident memory (VmHWM) in bytes.
    pub peak_memory_bytes: u64,
    /// What the worker waits for, if it does not move.
    pub waiting_for: Option<WaitingFor>,
    /// What it sees of brokers that don't answer, if it waits for one.
    pub no_answer: Option<Box<NoAnswer>>,
    /// How many lines its client wrote into the log that are not shown.
    pub lines_not_shown: u32,
}

/// What a worker waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum WaitingFor {
    /// No partition took a record for a while; this one has the oldest record in flight.
    Partition {
        /// The partition.
        partition: u32,
        /// Its leader's broker id, if known.
        leader: Option<i32>,
    },
    /// Any broker: none answers.
    Broker,
    /// The supervisor's `Recorded`.
    Recorded,
    /// The rate limit.
    Rate,
    /// `continue` after a pause.
    Continue,
    /// Its slot, in which the worker before it ends.
    Slot,
}

impl std::fmt::Display for WaitingFor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            WaitingFor::Partition { partition, leader: Some(leader) } => write!(f, "partition {partition}, leader {leader}"),
            WaitingFor::Partition { partition, leader: None } => write!(f, "partition {partition}, no leader known"),
            WaitingFor::Broker => f.write_str("a broker"),
            WaitingFor::Recorded => f.write_str("the state to be written"),
            WaitingFor::Rate => f.write_str("the rate limit"),
            WaitingFor::Continue => f.write_str("continue"),
            WaitingFor::Slot => f.write_str("its slot"),
        }
    }
}

/// A closed chunk. Figures are the chunk's own, not sums: the store adds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Chunk {
    /// Its number in this attempt, from 1.
    pub number: u64,
    /// Up to where every record was delivered or dead-lettered.
    pub position: Position,
    /// What the source needs beside the position to go on there.
    pub token: Option<Token>,
    /// What the chunk held; always balances.
    pub counts: Counts,
    /// What it took.
    pub work: Work,
    /// How long the shard's file of dead letters is with those of this chunk, bytes.
    pub letters: u64,
    /// What of the chunk was delivered.
    pub receipt: Receipt,
}

/// How an attempt ended well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Finished {
    /// Up to where the shard is committed.
    pub position: Position,
    /// True: the shard is at its end. False: the worker drained because it was told to; the rest is for a successor.
    pub complete: bool,
    /// Where the rest can be cut, as [`Control::pieces`] asked for: empty where it can't, `None` if that was not asked.
    pub cuts: Option<Vec<Cut>>,
    /// Work since the last chunk (producer shut down and the like).
    pub work: Work,
    /// Peak resident memory (VmHWM) in bytes.
    pub peak_memory_bytes: u64,
}

/// Why an attempt ended badly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What the supervisor does about it.
    pub kind: FailureKind,
    /// What happened, for people: what failed, where, what was seen.
    pub message: String,
    /// With [`FailureKind::Source`]: which part of the shard can't be read, if it is one. Everything before it is
    /// committed.
    pub damage: Option<Damage>,
    /// With [`FailureKind::Refused`]: which records the brokers refused for good.
    pub refused: Vec<RefusedRecord>,
}

/// A record that the brokers refused for good while it was part of a transaction, which is lost with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRecord {
    /// Index into the shard's list of segments.
    pub segment: u32,
    /// The place of its first byte.
    pub start: u64,
    /// Why, in the broker's words.
    pub reason: String,
}

impl RefusedRecord {
    /// With more of them in a chunk the job stops.
    pub const MOST: usize = 1_000;
    /// The longest reason, in characters.
    pub const LONGEST_REASON: usize = 200;

    /// That `count` of a chunk are too many. `first`: why one of them was refused.
    pub fn too_many(count: usize, first: &str) -> String {
        format!(
            "the brokers refuse {} records of one chunk for good, and no more than {} are set aside at once: {first}. Mend the \
             topic's settings, or lower workers.chunk.records",
            show_count(count as u64),
            show_count(Self::MOST as u64)
        )
    }
}

/// A segment of a shard whose object can't be read, or is not as planned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// Index into the shard's list of segments.
    pub segment: u32,
    /// If the shard is committed up to a place in this segment: 128-bit hash of the object's bytes (decompressed)
    /// before that place, as far as the object could be read again. Proves that another object begins with the same
    /// records.
    pub hash: Option<[u8; 16]>,
}

impl Failure {
    /// A failure of `kind` with a message.
    pub fn new(kind: FailureKind, message: impl Into<String>) -> Self {
        Failure { kind, message: message.into(), damage: None, refused: Vec::new() }
    }
}

/// Kinds of failure, by what the supervisor does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FailureKind {
    /// Start a successor at the committed position; counts as a death.
    Retry,
    /// No broker answers, or the brokers are not ready: a successor, which waits for an answer; never counts as a
    /// death.
    Unreachable,
    /// Unreachable for longer than `give_up_after`: the job stops with 75.
    GaveUp,
    /// The source can't be read or changed since the plan: 7. With [`Failure::damage`] the rest of the job goes on,
    /// else it stops.
    Source,
    /// A retry can't help (authorisation, unknown topic, policy): the job stops with 5.
    Permanent,
    /// The attempt set aside more records than the job has left of `max_bad_records`: the job stops with 5.
    TooManyBad,
    /// The dead-letter file or another file of the state directory can't be written: the job stops with 74.
    State,
    /// Another producer has the shard's transactional id, or the brokers take this one for an older one: a successor
    /// after a pause that grows until something is committed; never counts as a death.
    Fenced,
    /// The brokers refused [`Failure::refused`] for good: a successor sets these aside; never counts as a death.
    Refused,
    /// The shard's progress in Kafka is behind what was committed, or belongs to a later start of the job: the job
    /// stops, with 4.
    Ledger,
    /// The topic is gone: deleted, or deleted and made again. The job stops at once, with 4.
    Topic,
}

/// What a worker is told: the whole state each time, so that the newest frame replaces all before it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Control {
    /// The newest chunk that is on disk; 0 before the first.
    pub recorded: u64,
    /// Close the chunk, report it and end.
    pub drain: bool,
    /// Into how many pieces of about the same size the rest is to be cut when the worker has drained; 0: not at all.
    pub pieces: u32,
    /// Close the chunk, then take nothing until this is false again.
    pub paused: bool,
    /// The worker came early: it connects, and takes nothing before its slot is free.
    pub hold: bool,
    /// For how long after its start it had none, microseconds: known when `hold` is over.
    pub held_us: u64,
    /// This worker's share of the job's limits.
    pub rate: Rate,
}

impl Default for Control {
    fn default() -> Self {
        Control { recorded: 0, drain: false, pieces: 0, paused: false, hold: false, held_us: 0, rate: Rate::UNLIMITED }
    }
}

/// A rate limit; `f64::INFINITY` is none.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Records a second.
    pub records: f64,
    /// Bytes (key and value) a second.
    pub bytes: f64,
}

impl Default for Rate {
    fn default() -> Self {
        Rate::UNLIMITED
    }
}

impl std::fmt::Display for Rate {
    /// "50,000 records/s and 20.0 MiB/s"; "no limit".
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = self.records.fract() == 0.0 || self.records >= 10.0;
        let records = if whole { show_count(self.records.round() as u64) } else { self.records.to_string() };
        match (self.records.is_finite(), self.bytes.is_finite()) {
            (true, true) => write!(f, "{records} records/s and {}/s", show_size(self.bytes as u64)),
            (true, false) => write!(f, "{records} records/s"),
            (false, true) => write!(f, "{}/s", show_size(self.bytes as u64)),
            (false, false) => f.write_str("no limit"),
        }
    }
}

impl Rate {
    /// No limit.
    pub const UNLIMITED: Rate = Rate { records: f64::INFINITY, bytes: f64::INFINITY };
}
