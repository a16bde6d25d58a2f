//! What was done and what it took: figures that add up over chunks, attempts and runs.

use serde::{Deserialize, Serialize};

use crate::Histogram;

pub mod job;
pub mod letters;
pub mod receipts;
pub mod verify;

pub use job::{
    AttemptOutcome, AttemptReport, Binding, JobReport, OutageReport, Outcome, Resent, RunReport, RunRules, Sample, Samples,
    ShardReport, ShardStatus, ShardTotals, WorkerTotals,
};
pub use letters::{
    GoneLetters, LetterListing, LetterReason, LettersShown, ListedReason, RetryReport, RetryStanding, SeenLetters, ShownLetter,
    still_set_aside,
};

/// How many records went where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Lines read from the source, blank ones included; without the `others`.
    pub read: u64,
    /// Records that a delivery report confirmed.
    pub acknowledged: u64,
    /// Blank lines.
    pub filtered: u64,
    /// Records set aside with a reason.
    pub dead_lettered: u64,
    /// Lines of another shard that reads the same: passed over.
    pub others: u64,
    /// Bytes of what was read (decompressed), line ends included; without those of the others.
    pub bytes_read: u64,
    /// Bytes of the others.
    pub bytes_others: u64,
    /// Bytes of keys and values that a delivery report confirmed.
    pub bytes_sent: u64,
}

impl Counts {
    /// Whether every record read is accounted for.
    pub fn balance(&self) -> bool {
        let parts = self.acknowledged.checked_add(self.filtered).and_then(|sum| sum.checked_add(self.dead_lettered));
        parts == Some(self.read)
    }

    /// How many of those read went to the client, or are about to.
    pub fn to_be_sent(&self) -> u64 {
        self.read.saturating_sub(self.filtered + self.dead_lettered)
    }

    /// How many lines were passed, one's own and others': by how much a position grew.
    pub fn passed(&self) -> u64 {
        self.read + self.others
    }

    /// How many bytes of the source (decompressed) were passed.
    pub fn bytes_passed(&self) -> u64 {
        self.bytes_read + self.bytes_others
    }

    /// What came to it since it was another.
    #[must_use]
    pub fn since(&self, before: &Counts) -> Counts {
        Counts {
            read: self.read.saturating_sub(before.read),
            acknowledged: self.acknowledged.saturating_sub(before.acknowledged),
            filtered: self.filtered.saturating_sub(before.filtered),
            dead_lettered: self.dead_lettered.saturating_sub(before.dead_lettered),
            others: self.others.saturating_sub(before.others),
            bytes_read: self.bytes_read.saturating_sub(before.bytes_read),
            bytes_others: self.bytes_others.saturating_sub(before.bytes_others),
            bytes_sent: self.bytes_sent.saturating_sub(before.bytes_sent),
        }
    }

    /// Adds another's counts.
    pub fn add(&mut self, other: &Counts) {
        self.read += other.read;
        self.acknowledged += other.acknowledged;
        self.filtered += other.filtered;
        self.dead_lettered += other.dead_lettered;
        self.others += other.others;
        self.bytes_read += other.bytes_read;
        self.bytes_others += other.bytes_others;
        self.bytes_sent += other.bytes_sent;
    }
}

/// What a worker's one thread can be busy with. The order is the pass's order and the JSON's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[repr(usize)]
pub enum Phase {
    /// From the fork until records can move.
    Start,
    /// Reading and decompressing.
    Read,
    /// Waiting for what a record needs from outside first: the waits that a comparison adds.
    Outside,
    /// Finding lines, keys and timestamps; choosing lanes; the CPU that a comparison adds.
    Map,
    /// Handing groups to the client.
    Enqueue,
    /// Waiting for delivery reports because `in_flight` is full.
    Wait,
    /// Waiting for delivery reports because the flush policy says so.
    Flush,
    /// Waiting for the rate limit, or paused.
    Throttled,
    /// Syncing dead letters, waiting for `Recorded`.
    Commit,
    /// Everything else: heartbeats, control, shutting the producer down.
    Other,
}

impl Phase {
    /// All, in order.
    pub const ALL: [Phase; 10] = [
        Phase::Start,
        Phase::Read,
        Phase::Outside,
        Phase::Map,
        Phase::Enqueue,
        Phase::Wait,
        Phase::Flush,
        Phase::Throttled,
        Phase::Commit,
        Phase::Other,
    ];

    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Phase::Start => "start",
            Phase::Read => "read",
            Phase::Outside => "outside",
            Phase::Map => "map",
            Phase::Enqueue => "enqueue",
            Phase::Wait => "wait",
            Phase::Flush => "flush",
            Phase::Throttled => "throttled",
            Phase::Commit => "commit",
            Phase::Other => "other",
        }
    }
}

/// Wall time by phase, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases(pub [u64; Phase::ALL.len()]);

impl Phases {
    /// Time spent in one phase.
    pub fn get(&self, phase: Phase) -> u64 {
        self.0[phase as usize]
    }

    /// Adds time to one phase.
    pub fn spend(&mut self, phase: Phase, nanos: u64) {
        self.0[phase as usize] += nanos;
    }

    /// Adds another's times.
    pub fn add(&mut self, other: &Phases) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }

    /// The sum over all phases: the wall time.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

/// How often something happened, and how long it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnswerTimes {
    /// How often.
    pub count: u64,
    /// All of them together, microseconds.
    pub total_us: u64,
    /// The longest, microseconds.
    pub longest_us: u64,
}

impl AnswerTimes {
    /// Adds one.
    pub fn note(&mut self, us: u64) {
        self.add(&AnswerTimes { count: 1, total_us: us, longest_us: us });
    }

    /// Adds others.
    pub fn add(&mut self, other: &AnswerTimes) {
        self.count = self.count.saturating_add(other.count);
        self.total_us = self.total_us.saturating_add(other.total_us);
        self.longest_us = self.longest_us.max(other.longest_us);
    }

    /// What came to it since it was another. Which was the longest since then is not known: that of all stays.
    #[must_use]
    pub fn since(&self, before: &AnswerTimes) -> AnswerTimes {
        AnswerTimes {
            count: self.count.saturating_sub(before.count),
            total_us: self.total_us.saturating_sub(before.total_us),
            longest_us: self.longest_us,
        }
    }

    /// How long one takes on average, microseconds; `None` if there is none.
    pub fn mean_us(&self) -> Option<u64> {
        self.total_us.checked_div(self.count)
    }
}

/// What some work took.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// Wall time of the worker's one thread.
    pub phases: Phases,
    /// Duration of each flush.
    pub flush: Histogram,
    /// Acknowledged records by partition; index = partition. May be shorter than the topic has partitions.
    pub partitions: Vec<u64>,
    /// First and last delivery report, microseconds of the machine's monotonic clock; `None` before the first.
    pub deliveries: Option<(u64, u64)>,
    /// The quickest answer to a group of records, microseconds: from its hand-over to its last report. `None`: there
    /// was none.
    pub quickest_us: Option<u64>,
    /// How long the answers to groups took. One that had to wait in the client until others of its broker were answered
    /// counts as a part of that time: as long as each of these took.
    pub answers: AnswerTimes,
    /// For how long brokers held back what they were sent, because of a quota: by their answers to records.
    pub held_back: AnswerTimes,
    /// Records that may be in the topic twice although nothing died: a broker refused a batch for good while they were
    /// in flight, and a connection broke.
    pub perhaps_doubled: u64,
}

impl Work {
    /// Adds another's work.
    pub fn add(&mut self, other: &Work) {
        self.phases.add(&other.phases);
        self.flush.merge(&other.flush);
        if self.partitions.len() < other.partitions.len() {
            self.partitions.resize(other.partitions.len(), 0);
        }
        for (mine, theirs) in self.partitions.iter_mut().zip(&other.partitions) {
            *mine += theirs;
        }
        self.deliveries = match (self.deliveries, other.deliveries) {
            (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
            (one, other) => one.or(other),
        };
        self.quickest_us = self.quickest_us.into_iter().chain(other.quickest_us).min();
        self.answers.add(&other.answers);
        self.held_back.add(&other.held_back);
        self.perhaps_doubled += other.perhaps_doubled;
    }
}
