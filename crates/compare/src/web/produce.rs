//! How a request waits for its record: one of the flushes of the story, on a slot of its own at a producer.
//!
//! Responsible for: handing one record over and returning when its delivery report is there. Not responsible for HTTP.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use kafka::compare::{SharedProducer, SlotSink};
use kafka::{ProducerOptions, Wakeup};
use migration::{Failure, FailureKind, Job, Plan};
use pipeline::{Delivered, Group, Sink};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use super::meter::Meter;
use super::records::Records;
use crate::wakeup::{watch, woken};
use crate::web::figures::WebFlush;

/// How long one call into the client blocks at most; a report ends it sooner.
const BLOCK: Duration = Duration::from_millis(100);

/// How long the cooperative flush lets others run between two looks.
const YIELD: Duration = Duration::from_millis(1);

/// How the produce route is to work.
#[derive(Clone)]
pub struct ProduceSettings {
    /// How a request waits for its record.
    pub flush: WebFlush,
    /// How many requests can wait at a time.
    pub slots: u32,
    /// One producer for all of them instead of one each.
    pub shared_producer: bool,
    /// The producers' options.
    pub producer: ProducerOptions,
}

/// Where requests bring their records. A request has a slot while it waits.
pub struct ProduceHandler {
    flush: WebFlush,
    records: Records,
    /// Free slots.
    slots: RefCell<VecDeque<RequestSlot>>,
    producers: Vec<SharedProducer>,
    /// What it counts.
    pub meter: Rc<Meter>,
}

/// Where one request at a time waits.
struct RequestSlot {
    sink: SlotSink,
    producer: SharedProducer,
    /// Notified when the slot has something to fetch.
    waker: Rc<Notify>,
}

impl ProduceHandler {
    /// Creates the producers and reads the records.
    pub fn open(settings: &ProduceSettings, job: &Job, plan: &Plan) -> Result<ProduceHandler, Failure> {
        let (producers, slots) = if settings.shared_producer { (1, settings.slots) } else { (settings.slots, 1) };
        let create = |_| SharedProducer::create(&settings.producer, slots);
        let producers: Vec<SharedProducer> = (0..producers).map(create).collect::<Result<_, _>>()?;
        let mut slots = VecDeque::new();
        for producer in &producers {
            slots.extend(slots_of(producer)?);
        }
        let record_bytes = slots.front().map_or(0, |slot: &RequestSlot| slot.sink.limits().record_bytes);
        let records = Records::read(job, plan, record_bytes)?;
        Ok(ProduceHandler { flush: settings.flush, records, slots: RefCell::new(slots), producers, meter: Rc::default() })
    }

    /// Sends a record from each slot, one after the other: connections and producer ids are there when the clock
    /// starts.
    pub fn warm_up(&self) -> Result<(), Failure> {
        for slot in self.slots.borrow_mut().iter_mut() {
            let (partition, group) = self.records.take(slot.sink.partitions());
            slot.sink.hand_over(partition, group)?;
            verdict(&slot.wait_blocking()?)?;
            self.meter.delivered();
        }
        Ok(())
    }

    /// Starts what wakes the slots, where requests are woken by their reports. Inside the server's executor.
    pub fn start_waking(&self) -> io::Result<()> {
        if self.flush == WebFlush::Wakeup {
            for producer in &self.producers {
                spawn_local(serve_when_woken(producer.clone(), watch(producer.wakeup()?)?));
            }
        }
        Ok(())
    }

    /// Sends the next record and returns when it was delivered.
    pub async fn produce(&self) -> Result<(), Failure> {
        // First come, first served: each slot gets its turn even where one would do.
        let slot = self.slots.borrow_mut().pop_front();
        let Some(mut slot) = slot else {
            return Err(Failure::new(FailureKind::Retry, "more requests at a time than slots at a producer"));
        };
        let (partition, group) = self.records.take(slot.sink.partitions());
        let delivered = self.deliver(&mut slot, partition, group).await;
        self.slots.borrow_mut().push_back(slot);
        verdict(&delivered?)?;
        self.meter.delivered();
        Ok(())
    }

    async fn deliver(&self, slot: &mut RequestSlot, partition: u32, group: Group) -> Result<Delivered, Failure> {
        slot.sink.hand_over(partition, group)?;
        let _waits = self.meter.waits();
        match self.flush {
            WebFlush::Blocking => slot.wait_blocking(),
            WebFlush::Cooperative => slot.wait_cooperatively().await,
            WebFlush::Wakeup => slot.wait_until_woken().await,
        }
    }
}

impl RequestSlot {
    /// Stops the thread until the report is there.
    fn wait_blocking(&mut self) -> Result<Delivered, Failure> {
        let mut done = Vec::new();
        loop {
            self.sink.poll(BLOCK, &mut done)?;
            if let Some(delivered) = done.pop() {
                return Ok(delivered);
            }
            self.not_lost()?;
        }
    }

    /// The published fix: looks without waiting, then lets others run for a millisecond, until the producer's queue is
    /// empty. Of a shared producer that is the queue of all tasks.
    async fn wait_cooperatively(&mut self) -> Result<Delivered, Failure> {
        let mut done = Vec::new();
        loop {
            self.sink.poll(Duration::ZERO, &mut done)?;
            if self.producer.queue_length() == 0 {
                return done.pop().ok_or_else(lost);
            }
            tokio::time::sleep(YIELD).await;
        }
    }

    /// Sleeps until the own report is there.
    async fn wait_until_woken(&mut self) -> Result<Delivered, Failure> {
        let mut done = Vec::new();
        loop {
            self.sink.poll(Duration::ZERO, &mut done)?;
            if let Some(delivered) = done.pop() {
                return Ok(delivered);
            }
            self.not_lost()?;
            self.waker.notified().await;
        }
    }

    fn not_lost(&self) -> Result<(), Failure> {
        if self.sink.outstanding() == 0 { Err(lost()) } else { Ok(()) }
    }
}

/// What a request needs, for each slot of a producer.
fn slots_of(producer: &SharedProducer) -> Result<Vec<RequestSlot>, Failure> {
    let wakers: Vec<Rc<Notify>> = (0..producer.slots()).map(|_| Rc::default()).collect();
    let to_wake = wakers.clone();
    producer.when_ready(move |slot| to_wake[slot as usize].notify_one());
    let slot = |(waker, number)| Ok(RequestSlot { sink: producer.slot(number)?, producer: producer.clone(), waker });
    wakers.into_iter().zip(0..).map(slot).collect()
}

/// Serves a producer whenever it has something, which wakes the slots. It ends when the producer fails: what waits
/// learns it from its slot.
async fn serve_when_woken(producer: SharedProducer, wakeup: AsyncFd<Wakeup>) {
    loop {
        if woken(&wakeup).await.is_err() || producer.serve(Duration::ZERO).is_err() {
            return;
        }
    }
}

fn lost() -> Failure {
    Failure::new(FailureKind::Retry, "a delivery report was lost")
}

fn verdict(delivered: &Delivered) -> Result<(), Failure> {
    match delivered.refused.first() {
        None if delivered.acknowledged == 1 => Ok(()),
        None => Err(lost()),
        Some(refusal) => {
            let what = format!("a record was refused for partition {}: {}", delivered.partition, refusal.reason);
            Err(Failure::new(FailureKind::Permanent, what))
        }
    }
}
