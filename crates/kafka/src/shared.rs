//! One producer for several workers on one thread.
//!
//! Responsible for: a seat for each worker, with partitions of its own, and that whoever polls serves everybody: each seat gets
//! back its own groups, whichever seat's call took the reports off the client's queue. Not responsible for: who waits how
//! ([`SharedProducer::when_ready`] says who has something to fetch), or anything that a single [`Producer`] does.
//!
//! Why slices of the partitions: a partition has at most one group in flight, and two workers can't know of each other.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, mem};

use migration::{Failure, FailureKind};
use pipeline::{Delivered, Group, Sink, SinkLimits};

use crate::ffi::{Wakeup, monotonic_micros};
use crate::producer::{Producer, ProducerOptions};

/// Called with the number of each seat that has groups (or a failure) to fetch.
type WhenReady = Box<dyn Fn(u32)>;

/// What all seats have in common.
struct Shared {
    producer: RefCell<Producer>,
    slots: Vec<Slot>,
    when_ready: RefCell<Option<WhenReady>>,
}

/// A place for one worker.
struct Slot {
    partitions: Range<u32>,
    taken: Cell<bool>,
    ready: RefCell<Vec<Delivered>>,
    /// First and last served report that acknowledged a record of it.
    deliveries: Cell<Option<(u64, u64)>>,
}

/// A producer with several seats.
#[derive(Clone)]
pub struct SharedProducer(Rc<Shared>);

impl SharedProducer {
    /// Creates the client and cuts the topic's partitions into one slice for each of `seats` seats, as equal as can be. Only
    /// after the last fork of this process.
    pub fn create(options: &ProducerOptions, seats: u32) -> Result<SharedProducer, Failure> {
        let producer = Producer::create(options)?;
        let partitions = producer.partitions();
        if partitions < seats {
            let message = format!(
                "topic {:?} has {partitions} partitions, but {seats} workers are to share one producer, each with partitions of \
                 its own: take a topic with at least {seats} partitions, or fewer workers",
                options.topic
            );
            return Err(Failure::new(FailureKind::Refused, message));
        }
        let slots = (0..seats).map(|seat| Slot {
            partitions: slice(partitions, seats, seat),
            taken: Cell::new(false),
            ready: RefCell::default(),
            deliveries: Cell::new(None),
        });
        let (producer, slots) = (RefCell::new(producer), slots.collect());
        Ok(SharedProducer(Rc::new(Shared { producer, slots, when_ready: RefCell::default() })))
    }

    /// How many seats there are.
    pub fn seats(&self) -> u32 {
        self.0.slots.len() as u32
    }

    /// The seat with this number, from 0. One at a time: dropped, it is free again as soon as nothing of it is in flight.
    pub fn seat(&self, seat: u32) -> Result<Seat, Failure> {
        let refused = |what: &str| Failure::new(FailureKind::Retry, format!("seat {seat} of the shared producer {what}"));
        let slot = self.0.slots.get(seat as usize).ok_or_else(|| refused("does not exist"))?;
        if slot.taken.get() {
            return Err(refused("is taken"));
        }
        if self.0.producer.borrow().waiting_in(slot.partitions.clone()) > 0 {
            return Err(refused("has records in flight"));
        }
        // What a worker that gave its seat up did not fetch is nobody's any more.
        slot.ready.borrow_mut().clear();
        slot.taken.set(true);
        slot.deliveries.set(None);
        Ok(Seat { shared: Rc::clone(&self.0), seat })
    }

    /// From now on `tell` is called with the number of each seat that has something to fetch with [`Sink::poll`], by whoever
    /// serves the client: also for the seat that polls. It must not poll.
    pub fn when_ready(&self, tell: impl Fn(u32) + 'static) {
        *self.0.when_ready.borrow_mut() = Some(Box::new(tell));
    }

    /// Serves everything that waits in the client's queue, for all seats, and waits up to `timeout` for the first of it.
    pub fn serve(&self, timeout: Duration) -> Result<(), Failure> {
        self.0.serve_all(timeout);
        self.0.producer.borrow().fail_if_failed()
    }

    /// A descriptor that becomes readable when there is something to serve.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        self.0.producer.borrow().wakeup()
    }

    /// How many things are not served yet: records of all seats without a served report, and events. This is what a flush of
    /// the client waits for.
    pub fn queue_length(&self) -> usize {
        self.0.producer.borrow().queue_length()
    }

    /// How many records of all seats were handed over and have no served report, or are in groups that no seat has fetched.
    pub fn outstanding(&self) -> usize {
        self.0.slots.iter().map(|slot| self.0.outstanding(slot)).sum()
    }
}

/// The partitions of one seat.
fn slice(partitions: u32, seats: u32, seat: u32) -> Range<u32> {
    let cut = |seat: u32| u32::try_from(u64::from(partitions) * u64::from(seat) / u64::from(seats)).unwrap_or(partitions);
    cut(seat)..cut(seat + 1)
}

impl Shared {
    /// Serves the client once, waiting up to `timeout` for something, and gives each seat its groups. False: nothing came.
    fn serve(&self, timeout: Duration) -> bool {
        let mut producer = self.producer.borrow_mut();
        let served = producer.fail_if_failed().is_ok() && producer.serve(timeout);
        let failed = served && producer.fail_if_failed().is_err();
        let complete = mem::take(producer.ready());
        drop(producer);
        self.distribute(complete, failed);
        served
    }

    fn serve_all(&self, timeout: Duration) {
        let mut wait = timeout;
        while self.serve(wait) {
            wait = Duration::ZERO;
        }
    }

    /// Gives each seat the groups that are complete. A failure is everybody's.
    fn distribute(&self, complete: Vec<Delivered>, failed: bool) {
        if complete.is_empty() && !failed {
            return;
        }
        let now = monotonic_micros();
        let mut told = vec![failed; self.slots.len()];
        for mut delivered in complete {
            let seat = self.slots.partition_point(|slot| slot.partitions.end <= delivered.partition);
            let slot = &self.slots[seat];
            if delivered.acknowledged > 0 {
                slot.deliveries.set(Some((slot.deliveries.get().map_or(now, |(first, _)| first), now)));
            }
            delivered.partition -= slot.partitions.start;
            slot.ready.borrow_mut().push(delivered);
            told[seat] = true;
        }
        if let Some(tell) = &*self.when_ready.borrow() {
            told.iter().enumerate().filter(|(_, told)| **told).for_each(|(seat, _)| tell(seat as u32));
        }
    }

    /// What one seat has in flight, and what it has not fetched.
    fn outstanding(&self, slot: &Slot) -> usize {
        let ready: usize = slot.ready.borrow().iter().map(|delivered| delivered.group.len()).sum();
        self.producer.borrow().waiting_in(slot.partitions.clone()) + ready
    }
}

/// One worker's share of a [`SharedProducer`]: a [`Sink`] with its own partitions.
pub struct Seat {
    shared: Rc<Shared>,
    seat: u32,
}

impl Seat {
    fn slot(&self) -> &Slot {
        &self.shared.slots[self.seat as usize]
    }
}

impl Sink for Seat {
    fn partitions(&self) -> u32 {
        self.slot().partitions.len() as u32
    }

    fn limits(&self) -> SinkLimits {
        self.shared.producer.borrow().limits()
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        if partition >= self.partitions() {
            let message = format!("seat {} has no partition {partition} (a bug of this program)", self.seat);
            return Err(Failure::new(FailureKind::Retry, message));
        }
        let mut producer = self.shared.producer.borrow_mut();
        let result = producer.hand_over(self.slot().partitions.start + partition, group);
        // Others' reports may have been served to make room, and a group of which nothing was taken is complete.
        let complete = mem::take(producer.ready());
        drop(producer);
        self.shared.distribute(complete, result.is_err());
        result
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let nothing = || self.slot().ready.borrow().is_empty();
        let mut wait = if nothing() { timeout } else { Duration::ZERO };
        while self.shared.serve(wait) {
            // Others' groups do not end the wait, an own one does.
            wait = match deadline {
                Some(deadline) if nothing() => deadline.saturating_duration_since(Instant::now()),
                _ => Duration::ZERO,
            };
        }
        self.shared.producer.borrow().fail_if_failed()?;
        done.append(&mut self.slot().ready.borrow_mut());
        Ok(())
    }

    fn outstanding(&self) -> usize {
        // As for a producer of one's own: when a report was lost, the client's number comes down to 0, at the latest when all
        // seats are idle.
        let slot = self.slot();
        let producer = self.shared.producer.borrow();
        let ready: usize = slot.ready.borrow().iter().map(|delivered| delivered.group.len()).sum();
        producer.queue_length().min(producer.waiting_in(slot.partitions.clone())) + ready
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        self.shared.producer.borrow().leader(self.slot().partitions.start + partition)
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.slot().deliveries.get()
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let outstanding = self.shared.outstanding(self.slot());
        if outstanding > 0 {
            let what = format!("seat {} of the shared producer was left with {outstanding} records in flight", self.seat);
            return Err(Failure::new(FailureKind::Retry, what));
        }
        self.shared.producer.borrow().fail_if_failed()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.slot().taken.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_disjoint_and_as_equal_as_can_be() {
        for (partitions, seats) in [(16, 1), (16, 16), (16, 7), (1_000, 64), (5, 4)] {
            let slices: Vec<_> = (0..seats).map(|seat| slice(partitions, seats, seat)).collect();
            assert_eq!((slices[0].start, slices[slices.len() - 1].end), (0, partitions));
            assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start));
            let (least, most) = (partitions / seats, partitions.div_ceil(seats));
            assert!(slices.iter().all(|slice| (least..=most).contains(&(slice.len() as u32))), "{slices:?}");
        }
    }
}
