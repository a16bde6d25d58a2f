//! The binding's own producer and flush, to show what they cost: for comparisons only.
//!
//! Responsible for: the same groups, properties and counting as [`Producer`](crate::Producer), sent by
//! `BaseProducer::send` and waited for by its `flush`. Not responsible for being fast: that flush lasts 100 ms whenever
//! something is in flight, because it polls for that time and its poll does not end early.

use std::sync::Mutex;
use std::time::Duration;

use migration::{Failure, FailureKind};
use pipeline::{Blame, Delivered, Group, RejectedRecord, Sink, SinkLimits};
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext};

use crate::classify::{Verdict, verdict};
use crate::ffi::{Code, monotonic_micros};
use crate::producer::ProducerOptions;

/// How long a flush may take; it ends as soon as nothing is in flight, give or take its 100 ms.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(10);
/// Bits of a message's opaque value that hold its index in the group; the rest is the partition.
const INDEX_BITS: u32 = 32;

/// The reports that the binding has called back with and that are not yet looked at.
#[derive(Default)]
struct Reports(Mutex<Vec<(usize, Result<(), Code>)>>);

impl ClientContext for Reports {
    // Comparisons look at reports only; what a failure says is in the report.
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {}
    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Reports {
    type DeliveryOpaque = usize;

    fn delivery(&self, result: &DeliveryResult<'_>, opaque: usize) {
        let result = result.as_ref().map(|_| ()).map_err(|(error, _)| code_of(error));
        self.0.lock().expect("no holder of this lock panics").push((opaque, result));
    }
}

/// A group with reports missing.
struct StockGroup {
    group: Group,
    /// For each record: it has its report.
    reported: Vec<bool>,
    waiting: usize,
    refused: Vec<RejectedRecord>,
}

/// A [`Sink`] made of the binding's `BaseProducer`.
pub struct StockFlush {
    producer: BaseProducer<Reports>,
    topic: String,
    limits: SinkLimits,
    headers: Vec<(String, String)>,
    in_flight: Vec<Option<StockGroup>>,
    deliveries: Option<(u64, u64)>,
}

impl StockFlush {
    /// Creates the client, and waits for the topic's metadata. Only after the last fork of this process.
    pub fn create(options: &ProducerOptions) -> Result<StockFlush, Failure> {
        let mut config = ClientConfig::new();
        config.extend(options.all_properties());
        let producer: BaseProducer<Reports> = config
            .create_with_context(Reports::default())
            .map_err(|e| Failure::new(FailureKind::Permanent, format!("can't create a Kafka producer: {e}")))?;
        let unreachable = |e: &dyn std::fmt::Display| {
            Failure::new(FailureKind::Unreachable, format!("no metadata of topic {:?}: {e}", options.topic))
        };
        let metadata =
            producer.client().fetch_metadata(Some(&options.topic), options.metadata_timeout).map_err(|e| unreachable(&e))?;
        let partitions = metadata.topics().first().map_or(0, |topic| topic.partitions().len());
        if partitions == 0 {
            return Err(unreachable(&"it has no partitions, or does not exist"));
        }
        Ok(StockFlush {
            producer,
            topic: options.topic.clone(),
            limits: options.limits(),
            headers: options.headers.clone(),
            in_flight: (0..partitions).map(|_| None).collect(),
            deliveries: None,
        })
    }

    fn send(&self, group: &Group, index: usize, partition: u32) -> Result<(), Code> {
        let message = group.message(index);
        let opaque = ((partition as usize) << INDEX_BITS) | index;
        let mut record: BaseRecord<'_, [u8], [u8], usize> = BaseRecord::with_opaque_to(&self.topic, opaque);
        record = record.partition(partition as i32).payload(message.value);
        if let Some(key) = message.key {
            record = record.key(key);
        }
        if let Some(timestamp) = message.timestamp {
            record = record.timestamp(timestamp);
        }
        if !self.headers.is_empty() {
            let headers = self
                .headers
                .iter()
                .fold(OwnedHeaders::new(), |headers, (key, value)| headers.insert(Header { key, value: Some(value) }));
            record = record.headers(headers);
        }
        self.producer.send(record).map_err(|(error, _)| code_of(&error))
    }

    /// Counts one report.
    fn count(&mut self, opaque: usize, result: Result<(), Code>) -> Result<(), Failure> {
        let (partition, index) = (opaque >> INDEX_BITS, opaque & ((1 << INDEX_BITS) - 1));
        let place = || format!("topic {:?}, partition {partition}, record {index} of its group", self.topic);
        let flight = self.in_flight.get_mut(partition).and_then(Option::as_mut);
        let Some(flight) = flight.filter(|flight| flight.reported.get(index) == Some(&false)) else {
            let message = format!("{}: a report for a record that is not in flight", place());
            return Err(Failure::new(FailureKind::Retry, message));
        };
        flight.reported[index] = true;
        flight.waiting -= 1;
        match result {
            Ok(()) => {
                let now = monotonic_micros();
                self.deliveries = Some((self.deliveries.map_or(now, |(first, _)| first), now));
            }
            Err(code) if verdict(code) == Verdict::RecordRejected => {
                flight.refused.push(RejectedRecord { index, reason: code.to_string(), blame: Blame::Unknown });
            }
            Err(code) => return Err(failure(&place(), code)),
        }
        Ok(())
    }
}

fn failure(place: &str, code: Code) -> Failure {
    let kind = match verdict(code) {
        Verdict::AllRejected => FailureKind::Permanent,
        Verdict::Unreachable => FailureKind::Unreachable,
        Verdict::Delivered | Verdict::RecordRejected | Verdict::Retry => FailureKind::Retry,
    };
    Failure::new(kind, format!("{place}: {code}"))
}

fn code_of(error: &KafkaError) -> Code {
    Code(error.rdkafka_error_code().map_or(-1, |code| code as i32))
}

impl Sink for StockFlush {
    fn partitions(&self) -> u32 {
        self.in_flight.len() as u32
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        let slot = self.in_flight.get(partition as usize);
        if !slot.is_some_and(Option::is_none) {
            let message = format!("partition {partition}: unknown, or its last group is in flight (a bug of this program)");
            return Err(Failure::new(FailureKind::Retry, message));
        }
        let mut reported = vec![false; group.len()];
        let mut refused = Vec::new();
        for (index, reported) in reported.iter_mut().enumerate() {
            match self.send(&group, index, partition) {
                Ok(()) => {}
                Err(code) if verdict(code) == Verdict::RecordRejected => {
                    *reported = true;
                    refused.push(RejectedRecord { index, reason: code.to_string(), blame: Blame::Own });
                }
                Err(code) => return Err(failure(&format!("topic {:?}, partition {partition}", self.topic), code)),
            }
        }
        let waiting = group.len() - refused.len();
        self.in_flight[partition as usize] = Some(StockGroup { group, reported, waiting, refused });
        Ok(())
    }

    /// A timeout other than zero flushes, however long that takes: that is what is to be seen.
    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        if self.in_flight.iter().all(Option::is_none) {
            return Ok(());
        }
        if timeout.is_zero() {
            self.producer.poll(Duration::ZERO);
        } else {
            // Whether it says Ok does not matter: only reports count.
            let _ = self.producer.flush(FLUSH_TIMEOUT);
        }
        let reports = std::mem::take(&mut *self.producer.context().0.lock().expect("no holder of this lock panics"));
        for (opaque, result) in reports {
            self.count(opaque, result)?;
        }
        for (partition, slot) in self.in_flight.iter_mut().enumerate() {
            if let Some(StockGroup { group, mut refused, .. }) = slot.take_if(|flight| flight.waiting == 0) {
                refused.sort_by_key(|refusal| refusal.index);
                let acknowledged = group.len() - refused.len();
                done.push(Delivered { partition: partition as u32, group, acknowledged, refused });
            }
        }
        Ok(())
    }

    fn outstanding(&self) -> usize {
        self.in_flight.iter().flatten().map(|flight| flight.group.len()).sum()
    }

    fn leader(&self, _partition: u32) -> Option<i32> {
        None
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.deliveries
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let outstanding = self.outstanding();
        if outstanding > 0 {
            let message = format!("the binding's producer was ended with {outstanding} records in flight");
            return Err(Failure::new(FailureKind::Retry, message));
        }
        Ok(())
    }
}
