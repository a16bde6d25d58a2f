//! The narrow waist towards Kafka: groups go in, groups come back when every record in them has its delivery report.

use std::time::Duration;

use migration::report::AnswerTimes;
use migration::topic::batch_bytes_of_one;
use migration::{Failure, FailureKind, LedgerEntry};

use crate::Group;
use crate::dead_letter::OutgoingLetter;

/// What the topic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkLimits {
    /// The largest record (key, value, headers) that the client lets through.
    pub record_bytes: usize,
    /// The largest batch.
    pub batch_bytes: usize,
    /// The most records of a batch: one that has as many is sent at once.
    pub batch_records: usize,
    /// What a record that is alone in its batch has to fit into; `None`: only the brokers can tell (compression).
    pub alone: Option<Alone>,
}

/// The limit of a batch, as brokers count it, for one that holds a single record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alone {
    /// The most bytes.
    pub bytes: usize,
    /// How many headers each record has.
    pub headers: usize,
    /// Their bytes in the batch.
    pub header_bytes: usize,
}

impl SinkLimits {
    /// Key and value together of a record that surely fits, in bytes. A larger one may fit: see [`SinkLimits::takes`].
    pub fn surely_fits(&self, headers_bytes: usize) -> usize {
        // Lengths and the like of one record in a batch of its own take 61 bytes and at most 30 more.
        let alone = self.alone.map_or(usize::MAX, |alone| alone.bytes.saturating_sub(alone.header_bytes + 100));
        self.record_bytes.saturating_sub(headers_bytes).min(alone)
    }

    /// Whether a record of these sizes fits.
    pub fn takes(&self, key: Option<usize>, value: usize, headers_bytes: usize) -> bool {
        let batch = |alone: Alone| batch_bytes_of_one(key, value, (alone.headers, alone.header_bytes)) <= alone.bytes;
        key.unwrap_or(0) + value + headers_bytes <= self.record_bytes && self.alone.is_none_or(batch)
    }
}

/// A group whose every record has its report.
#[derive(Debug)]
pub struct Delivered {
    /// The partition it was handed over for.
    pub partition: u32,
    /// The group itself.
    pub group: Group,
    /// How many records were acknowledged. `acknowledged + refused.len()` is the group's length, or a report was lost.
    pub acknowledged: usize,
    /// Records that were refused for good, by ascending index. Everything worse (timed out, fenced, fatal) is an error
    /// of [`Sink::poll`] instead.
    pub refused: Vec<RejectedRecord>,
}

/// A record that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedRecord {
    /// Its index in the group.
    pub index: usize,
    /// Why: the client's or broker's words.
    pub reason: String,
    /// Whose fault it is.
    pub blame: Blame,
}

/// Because of which record a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// Itself: the client refused it before sending it, or the broker named it.
    Own,
    /// Others of its batch, which the broker named: it can be sent again at once.
    Others,
    /// It, or others of its batch: the broker did not say.
    Unknown,
}

/// What a client says of brokers that don't answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// It has no connection to any of them.
    pub all: bool,
    /// Why, as far as it says.
    pub cause: Option<String>,
}

/// Dead letters that were handed over and not reported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LettersInFlight {
    /// How many.
    pub count: usize,
    /// Their bytes.
    pub bytes: usize,
}

/// Where groups go.
///
/// At most one group of a partition is in flight at a time; that is the caller's duty ([`crate::lanes`]).
pub trait Sink {
    /// How many partitions the topic has.
    fn partitions(&self) -> u32;

    /// What the topic takes.
    fn limits(&self) -> SinkLimits;

    /// Takes a non-empty group for `partition` and starts sending it.
    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure>;

    /// Serves delivery reports, waiting up to `timeout` for the first, and appends the groups that are complete.
    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure>;

    /// How many records the client itself says have no served report yet, and those of groups that the next poll gives
    /// back. Zero while a group is still missing reports means that a report was lost: the worker fails then. A sink
    /// that looks for the records because of which a batch was refused says how many trials are left at most.
    fn outstanding(&self) -> usize;

    /// The broker that leads a partition, if known; for messages only.
    fn leader(&self, partition: u32) -> Option<i32>;

    /// What the client says of brokers that don't answer, as far as nothing was acknowledged since.
    fn trouble(&self) -> Trouble {
        Trouble::default()
    }

    /// How many lines the client wrote into the log that are not shown.
    fn lines_not_shown(&self) -> u32 {
        0
    }

    /// First and last served report that acknowledged a record, microseconds of the monotonic clock.
    fn deliveries(&self) -> Option<(u64, u64)>;

    /// The quickest answer to a group so far, microseconds: from its hand-over to the last of its reports.
    fn quickest_us(&self) -> Option<u64> {
        None
    }

    /// How long the answers to groups took so far.
    fn answers(&self) -> AnswerTimes {
        AnswerTimes::default()
    }

    /// For how long brokers said so far that they hold back what they are sent.
    fn held_back(&self) -> AnswerTimes {
        AnswerTimes::default()
    }

    /// How many records may be in the topic twice although nothing died: the client had to begin a new producer epoch
    /// while they were in flight on connections that broke. Some may be in flight still: it becomes less where these
    /// are not acknowledged.
    fn perhaps_doubled(&self) -> u64 {
        0
    }

    /// Starts sending a dead letter to the topic of dead letters, within the same transaction as the records. One that
    /// can't be delivered is an error of [`Sink::poll`].
    fn set_aside(&mut self, _letter: OutgoingLetter) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Permanent, "this sink has no topic of dead letters (a bug of this program)"))
    }

    /// The dead letters that have no report yet; they are among the [`Sink::outstanding`].
    fn letters_in_flight(&self) -> LettersInFlight {
        LettersInFlight::default()
    }

    /// Commits everything that was handed over since the last commit together with how far the shard is then: both or
    /// neither. Only called with nothing in flight, and only where the worker's ledger is the progress topic. After an
    /// error, nothing is known of the commit: the attempt ends, and its successor reads the ledger.
    fn commit(&mut self, _entry: &LedgerEntry) -> Result<(), Failure> {
        Err(Failure::new(FailureKind::Permanent, "this sink knows no transactions (a bug of this program)"))
    }

    /// Ends the client. Must only be called with nothing in flight; dropping a sink without it is what happens on a
    /// failure.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}
