//! Looks at what goes into a sink and what comes back: delivery latency and acknowledged records.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::report::AnswerTimes;
use migration::{Failure, Histogram};
use pipeline::{Delivered, Group, Sink, SinkLimits};

/// What was seen since the clock began.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// From hand-over to delivery report, by record.
    pub(crate) latency: Histogram,
    /// Records that a report confirmed.
    pub(crate) acknowledged: u64,
}

/// A sink with a meter.
pub(crate) struct TimedSink {
    inner: Box<dyn Sink>,
    meter: Rc<RefCell<Meter>>,
    /// When the group in flight of each partition was handed over.
    handed: Vec<Instant>,
}

impl TimedSink {
    pub(crate) fn new(inner: Box<dyn Sink>, meter: Rc<RefCell<Meter>>) -> Self {
        let handed = vec![Instant::now(); inner.partitions() as usize];
        TimedSink { inner, meter, handed }
    }
}

impl Sink for TimedSink {
    fn partitions(&self) -> u32 {
        self.inner.partitions()
    }

    fn limits(&self) -> SinkLimits {
        self.inner.limits()
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        self.handed[partition as usize] = Instant::now();
        self.inner.hand_over(partition, group)
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        let before = done.len();
        self.inner.poll(timeout, done)?;
        if done.len() > before {
            let now = Instant::now();
            let mut meter = self.meter.borrow_mut();
            for delivered in &done[before..] {
                let took = now.saturating_duration_since(self.handed[delivered.partition as usize]);
                let records = delivered.acknowledged as u64;
                meter.latency.record_many(took.as_micros() as u64, records);
                meter.acknowledged += records;
            }
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.inner.outstanding()
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        self.inner.leader(partition)
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.inner.deliveries()
    }

    fn quickest_us(&self) -> Option<u64> {
        self.inner.quickest_us()
    }

    fn answers(&self) -> AnswerTimes {
        self.inner.answers()
    }

    fn held_back(&self) -> AnswerTimes {
        self.inner.held_back()
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        self.inner.finish()
    }
}
