//! One producer for several workers on one thread.
//!
//! Responsible for: a slot for each worker, with partitions of its own or with records that travel together with
//! others' (`together`), and that each poll serves all slots: each gets back its own groups, whichever slot's call took
//! the reports off the client's queue. Not responsible for: who waits how ([`SharedProducer::when_ready`] says who has
//! something to fetch), or anything that a single [`Producer`] does.
//!
//! Why slices of the partitions: a partition has at most one group in flight, and two workers can't know of each other.

mod together;

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};
use std::{io, mem};

use migration::{Failure, FailureKind};
use pipeline::{Delivered, Group, Sink, SinkLimits};

use crate::ffi::{Wakeup, monotonic_micros};
use crate::producer::{Gathering, Producer, ProducerOptions};
use together::Together;

/// Called with the number of each slot that has groups (or a failure) to fetch.
type WhenReady = Box<dyn Fn(u32)>;

/// What all slots have in common.
struct Shared {
    producer: RefCell<Producer>,
    slots: Vec<Slot>,
    when_ready: RefCell<Option<WhenReady>>,
    when_waiting: RefCell<Option<Box<dyn Fn()>>>,
    /// What slots handed over and whose it is, where their records travel together.
    together: Option<RefCell<Together>>,
}

/// A place for one worker.
#[derive(Default)]
struct Slot {
    partitions: Range<u32>,
    taken: Cell<bool>,
    ready: RefCell<Vec<Delivered>>,
    /// First and last served report that acknowledged a record of it.
    deliveries: Cell<Option<(u64, u64)>>,
}

/// A producer with several slots.
#[derive(Clone)]
pub struct SharedProducer(Rc<Shared>);

impl SharedProducer {
    /// Creates the client and cuts the topic's partitions into one slice for each of `slots` slots, as equal as can be.
    /// Only after the last fork of this process.
    pub fn create(options: &ProducerOptions, slots: u32) -> Result<SharedProducer, Failure> {
        let producer = Producer::create(options)?;
        let partitions = producer.partitions();
        if partitions < slots {
            let message = format!(
                "topic {:?} has {partitions} partitions, but {slots} workers are to share one producer, each with partitions of \
                 its own: take a topic with at least {slots} partitions, or fewer workers",
                options.topic
            );
            return Err(Failure::new(FailureKind::Permanent, message));
        }
        let slots = (0..slots).map(|slot| Slot { partitions: slice(partitions, slots, slot), ..Slot::default() });
        Ok(Self::new(producer, slots.collect(), None))
    }

    /// Creates the client with `slots` slots whose records travel together: what they handed over waits for
    /// [`SharedProducer::send_waiting`]. Each slot has one of the topic's `partitions`, which others share. Only after
    /// the last fork of this process.
    pub fn create_together(options: &ProducerOptions, slots: u32, partitions: u32) -> Result<SharedProducer, Failure> {
        let producer = Producer::create(&Self::options_together(options, slots, partitions))?;
        let together = Together::new(slots, producer.partitions(), producer.limits().batch_bytes);
        let slots = (0..slots).map(|slot| {
            let partition = together.partition_of(slot);
            Slot { partitions: partition..partition + 1, ..Slot::default() }
        });
        Ok(Self::new(producer, slots.collect(), Some(RefCell::new(together))))
    }

    /// The options with which [`SharedProducer::create_together`] creates the client.
    pub fn options_together(options: &ProducerOptions, slots: u32, partitions: u32) -> ProducerOptions {
        let gathering = match options.gathering {
            Gathering::Nothing => Gathering::Slots(slots / together::lanes(slots, partitions)),
            other => other,
        };
        ProducerOptions { gathering, ..options.clone() }
    }

    fn new(producer: Producer, slots: Vec<Slot>, together: Option<RefCell<Together>>) -> SharedProducer {
        SharedProducer(Rc::new(Shared {
            producer: RefCell::new(producer),
            slots,
            when_ready: RefCell::default(),
            when_waiting: RefCell::default(),
            together,
        }))
    }

    /// How many slots there are.
    pub fn slots(&self) -> u32 {
        self.0.slots.len() as u32
    }

    /// The slot with this number, from 0. One at a time: dropped, it is free again as soon as nothing of it is in
    /// flight.
    pub fn slot(&self, slot: u32) -> Result<SlotSink, Failure> {
        let refused = |what: &str| Failure::new(FailureKind::Retry, format!("slot {slot} of the shared producer {what}"));
        let state = self.0.slots.get(slot as usize).ok_or_else(|| refused("does not exist"))?;
        if state.taken.get() {
            return Err(refused("is taken"));
        }
        if self.0.flying(slot) > 0 {
            return Err(refused("has records in flight"));
        }
        // What a worker that gave its slot up did not fetch belongs to no slot any more.
        state.ready.borrow_mut().clear();
        state.taken.set(true);
        state.deliveries.set(None);
        Ok(SlotSink { shared: Rc::clone(&self.0), slot })
    }

    /// From now on `tell` is called with the number of each slot that has something to fetch with [`Sink::poll`], from
    /// the call that serves the client: also for the slot that polls. It must not poll.
    pub fn when_ready(&self, tell: impl Fn(u32) + 'static) {
        *self.0.when_ready.borrow_mut() = Some(Box::new(tell));
    }

    /// From now on `tell` is called whenever a slot handed something over that waits for
    /// [`SharedProducer::send_waiting`].
    pub fn when_waiting(&self, tell: impl Fn() + 'static) {
        *self.0.when_waiting.borrow_mut() = Some(Box::new(tell));
    }

    /// Sends what was handed over to travel together, to each partition that has nothing in flight.
    pub fn send_waiting(&self) -> Result<(), Failure> {
        self.0.send_waiting()
    }

    /// Serves everything that waits in the client's queue, for all slots, and waits up to `timeout` for the first of
    /// it.
    pub fn serve(&self, timeout: Duration) -> Result<(), Failure> {
        self.0.serve_all(timeout);
        self.0.producer.borrow().fail_if_failed()
    }

    /// A descriptor that becomes readable when there is something to serve.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        self.0.producer.borrow().wakeup()
    }

    /// How many things are not served yet: records of all slots without a served report, and events. This is what a
    /// flush of the client waits for.
    pub fn queue_length(&self) -> usize {
        self.0.producer.borrow().queue_length()
    }

    /// How many records of all slots were handed over and have no served report, or are in groups that no slot has
    /// fetched.
    pub fn outstanding(&self) -> usize {
        (0..self.slots()).map(|slot| self.0.outstanding(slot)).sum()
    }
}

/// The partitions of one slot.
fn slice(partitions: u32, slots: u32, slot: u32) -> Range<u32> {
    let cut = |slot: u32| u32::try_from(u64::from(partitions) * u64::from(slot) / u64::from(slots)).unwrap_or(partitions);
    cut(slot)..cut(slot + 1)
}

impl Shared {
    /// Serves the client once, waiting up to `timeout` for something, and gives each slot its groups. False: nothing
    /// came.
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

    /// Gives each slot the groups that are complete. A failure is that of each slot.
    fn distribute(&self, complete: Vec<Delivered>, failed: bool) {
        if complete.is_empty() && !failed {
            return;
        }
        let now = monotonic_micros();
        let mut told = vec![failed; self.slots.len()];
        for (slot, delivered) in complete.into_iter().flat_map(|delivered| self.parts(delivered)) {
            let state = &self.slots[slot as usize];
            if delivered.acknowledged > 0 {
                state.deliveries.set(Some((state.deliveries.get().map_or(now, |(first, _)| first), now)));
            }
            state.ready.borrow_mut().push(delivered);
            told[slot as usize] = true;
        }
        if let Some(tell) = &*self.when_ready.borrow() {
            told.iter().enumerate().filter(|(_, told)| **told).for_each(|(slot, _)| tell(slot as u32));
        }
        if self.together.as_ref().is_some_and(|together| together.borrow().is_waiting()) {
            // What had to wait for a partition may go now.
            self.tell_waiting();
        }
    }

    fn tell_waiting(&self) {
        if let Some(tell) = &*self.when_waiting.borrow() {
            tell();
        }
    }

    /// Whose a group is that came back: one slot's, or several slots' together.
    fn parts(&self, mut delivered: Delivered) -> Vec<(u32, Delivered)> {
        if let Some(together) = &self.together {
            return together.borrow_mut().arrive(&delivered);
        }
        let slot = self.slots.partition_point(|slot| slot.partitions.end <= delivered.partition);
        delivered.partition -= self.slots[slot].partitions.start;
        vec![(slot as u32, delivered)]
    }

    fn send_waiting(&self) -> Result<(), Failure> {
        let Some(together) = &self.together else { return Ok(()) };
        let batches = together.borrow_mut().depart();
        batches.into_iter().try_for_each(|(partition, batch)| self.hand_over(partition, batch))
    }

    fn hand_over(&self, partition: u32, group: Group) -> Result<(), Failure> {
        let mut producer = self.producer.borrow_mut();
        let result = producer.hand_over(partition, group);
        // Others' reports may have been served to make room, and a group of which nothing was taken is complete.
        let complete = mem::take(producer.ready());
        drop(producer);
        self.distribute(complete, result.is_err());
        result
    }

    /// Records of a slot that wait to be sent with others'.
    fn waiting(&self, slot: u32) -> usize {
        self.together.as_ref().map_or(0, |together| together.borrow().records_of(slot).0)
    }

    /// Records of a slot that are in flight.
    fn flying(&self, slot: u32) -> usize {
        match &self.together {
            Some(together) => together.borrow().records_of(slot).1,
            None => self.producer.borrow().waiting_in(self.slots[slot as usize].partitions.clone()),
        }
    }

    /// Records of a slot that came back and that it has not fetched.
    fn ready(&self, slot: u32) -> usize {
        self.slots[slot as usize].ready.borrow().iter().map(|delivered| delivered.group.len()).sum()
    }

    fn outstanding(&self, slot: u32) -> usize {
        self.waiting(slot) + self.flying(slot) + self.ready(slot)
    }
}

/// One worker's share of a [`SharedProducer`]: a [`Sink`] with its own partitions.
pub struct SlotSink {
    shared: Rc<Shared>,
    slot: u32,
}

impl SlotSink {
    fn slot(&self) -> &Slot {
        &self.shared.slots[self.slot as usize]
    }
}

impl Sink for SlotSink {
    fn partitions(&self) -> u32 {
        self.slot().partitions.len() as u32
    }

    fn limits(&self) -> SinkLimits {
        self.shared.producer.borrow().limits()
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        if partition >= self.partitions() {
            let message = format!("slot {} has no partition {partition} (a bug of this program)", self.slot);
            return Err(Failure::new(FailureKind::Retry, message));
        }
        let Some(together) = &self.shared.together else {
            return self.shared.hand_over(self.slot().partitions.start + partition, group);
        };
        self.shared.producer.borrow().fail_if_failed()?;
        together.borrow_mut().put(self.slot, group);
        self.shared.tell_waiting();
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let nothing = || self.slot().ready.borrow().is_empty();
        let mut wait = if nothing() { timeout } else { Duration::ZERO };
        loop {
            if deadline.is_some() {
                // Who waits here for its own records waits for them to be sent, too.
                self.shared.send_waiting()?;
            }
            if !self.shared.serve(wait) {
                break;
            }
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
        // As for a producer of one's own: when a report was lost, the client's number comes down to 0, at the latest
        // when all slots are idle.
        let SlotSink { shared, slot } = self;
        let in_client = shared.producer.borrow().queue_length();
        shared.waiting(*slot) + in_client.min(shared.flying(*slot)) + shared.ready(*slot)
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        self.shared.producer.borrow().leader(self.slot().partitions.start + partition)
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.slot().deliveries.get()
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let outstanding = self.shared.outstanding(self.slot);
        if outstanding > 0 {
            let what = format!("slot {} of the shared producer was left with {outstanding} records in flight", self.slot);
            return Err(Failure::new(FailureKind::Retry, what));
        }
        self.shared.producer.borrow().fail_if_failed()
    }
}

impl Drop for SlotSink {
    fn drop(&mut self) {
        self.slot().taken.set(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_are_disjoint_and_as_equal_as_can_be() {
        for (partitions, slots) in [(16, 1), (16, 16), (16, 7), (1_000, 64), (5, 4)] {
            let slices: Vec<_> = (0..slots).map(|slot| slice(partitions, slots, slot)).collect();
            assert_eq!((slices[0].start, slices[slices.len() - 1].end), (0, partitions));
            assert!(slices.windows(2).all(|pair| pair[0].end == pair[1].start));
            let (least, most) = (partitions / slots, partitions.div_ceil(slots));
            assert!(slices.iter().all(|slice| (least..=most).contains(&(slice.len() as u32))), "{slices:?}");
        }
    }
}
