//! A sink that acknowledges everything and keeps nothing.

use std::time::Duration;

use migration::Failure;

use crate::{Delivered, Group, Sink, SinkLimits};

/// Acknowledges each group at the next poll.
#[derive(Debug)]
pub struct NullSink {
    partitions: u32,
    handed: Vec<(u32, Group)>,
    outstanding: usize,
}

impl NullSink {
    /// A sink of `partitions` partitions with the limits of a default topic.
    pub fn new(partitions: u32) -> Self {
        NullSink { partitions, handed: Vec::new(), outstanding: 0 }
    }
}

impl Sink for NullSink {
    fn partitions(&self) -> u32 {
        self.partitions
    }

    fn limits(&self) -> SinkLimits {
        SinkLimits { record_bytes: 1_000_000, batch_bytes: 1_000_000, batch_records: crate::lanes::GROUP_RECORDS, alone: None }
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        self.outstanding += group.len();
        self.handed.push((partition, group));
        Ok(())
    }

    fn poll(&mut self, _timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        for (partition, group) in self.handed.drain(..) {
            self.outstanding -= group.len();
            done.push(Delivered { partition, acknowledged: group.len(), group, refused: Vec::new() });
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.outstanding
    }

    fn leader(&self, _partition: u32) -> Option<i32> {
        None
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        None
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        Ok(())
    }
}
