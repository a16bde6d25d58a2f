//! The narrow waist towards Kafka: groups go in, groups come back when every record in them has its delivery report.

use std::time::Duration;

use migration::Failure;

use crate::Group;

/// What the topic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SinkLimits {
    /// The largest record (key, value, headers) that the client lets through.
    pub record_bytes: usize,
    /// The largest batch.
    pub batch_bytes: usize,
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
    /// Records that were refused for good, by ascending index. Everything worse (timed out, fenced, fatal) is an error of
    /// [`Sink::poll`] instead.
    pub refused: Vec<Refusal>,
}

/// A record that was refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its index in the group.
    pub index: usize,
    /// Why: the client's or broker's words.
    pub reason: String,
    /// True: the client refused this very record before sending it. False: the broker refused its batch, and the culprit may be
    /// a neighbour.
    pub local: bool,
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

    /// How many records the client itself says have no served report yet, and those of groups that the next poll gives back. Zero while a group is still missing reports means
    /// that a report was lost: the worker fails then.
    fn outstanding(&self) -> usize;

    /// The broker that leads a partition, if known; for messages only.
    fn leader(&self, partition: u32) -> Option<i32>;

    /// First and last served report that acknowledged a record, microseconds of the monotonic clock.
    fn deliveries(&self) -> Option<(u64, u64)>;

    /// Ends the client. Must only be called with nothing in flight; dropping a sink without it is what happens on a failure.
    fn finish(self: Box<Self>) -> Result<(), Failure>;
}
