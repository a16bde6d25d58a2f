//! The producer: groups in, delivery reports counted one by one, groups out.
//!
//! Responsible for: the client's settings for a worker, one metadata call at the start (it also wakes the request for a producer
//! id, which else waits for half a second), counting every report, telling a record's refusal from a failure of the attempt, and
//! ending quickly. Not responsible for: which group goes when (at most one of a partition is in flight, by the lanes), halving
//! a refused group, or dead letters.

use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use migration::job::FlushPolicy;
use migration::{Failure, FailureKind, Job};
use pipeline::{Delivered, Group, Refusal, Sink, SinkLimits};
use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{Code, Kind, MOST_RECORDS, Notice, Sender, Served, Topic, Wakeup, keep_freed_memory, monotonic_micros};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_id, client_properties, configure};

/// The most records in one group that the client sends as one batch; the lanes cut groups no longer than this.
pub const BATCH_RECORDS: usize = 2_500;
/// The largest `batch.size` (bytes).
const BATCH_BYTES: u32 = 1_000_000;
/// The smallest `message.max.bytes` that the client accepts.
const LEAST_MESSAGE_BYTES: u32 = 1_000;
/// What the client counts for a record besides key, value and headers when it compares with `message.max.bytes`.
const RECORD_OVERHEAD: u32 = 36;
/// How long a dropped producer waits for the reports of what it purged.
const PURGE_TIMEOUT: Duration = Duration::from_millis(500);
/// How long "is any broker there?" may take once records have failed.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);

/// What a producer needs to know.
#[derive(Clone)]
pub struct ProducerOptions {
    /// Properties of the client, see [`client_properties`]; what this type owns is set after them.
    pub properties: Vec<(String, String)>,
    /// The name that brokers see.
    pub client_id: String,
    /// The topic.
    pub topic: String,
    /// Headers of every record.
    pub headers: Vec<(String, String)>,
    /// What a record waits for in the client.
    pub gathering: Gathering,
    /// Bytes of records that are handed over and not delivered, at most.
    pub in_flight_bytes: u64,
    /// The topic's `max.message.bytes`: the limit of a batch, hence of a record.
    pub max_message_bytes: u32,
    /// How long the first metadata may take.
    pub metadata_timeout: Duration,
}

/// What a record waits for in the client before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Nothing: one record at a time, at once.
    Nothing,
    /// Up to 5 ms for a group to be complete.
    Group,
    /// Up to 1 ms for the records of so many seats. The client sends as soon as it has as many; without that number the first
    /// would leave alone, and the rest of a group waits for its answer.
    Seats(u32),
}

impl Gathering {
    fn linger_ms(self) -> u32 {
        match self {
            Gathering::Nothing => 0,
            Gathering::Group => 5,
            Gathering::Seats(_) => 1,
        }
    }

    fn records(self) -> usize {
        match self {
            Gathering::Nothing | Gathering::Group => BATCH_RECORDS,
            Gathering::Seats(seats) => (seats as usize).clamp(1, BATCH_RECORDS),
        }
    }
}

impl ProducerOptions {
    /// Options for a shard of a job whose brokers are addresses by now. `max_message_bytes` is what preflight found.
    pub fn for_job(job: &Job, shard: &str, max_message_bytes: u32) -> ProducerOptions {
        ProducerOptions {
            properties: client_properties(job, Role::Producer),
            client_id: client_id(&job.name, Some(shard)),
            topic: job.kafka.topic.clone(),
            headers: job.record.headers.clone(),
            gathering: if job.workers.flush == FlushPolicy::Record { Gathering::Nothing } else { Gathering::Group },
            in_flight_bytes: job.workers.in_flight,
            max_message_bytes,
            metadata_timeout: Duration::from_secs(10).min(job.kafka.give_up_after),
        }
    }

    /// What matters for its speed and may be shown: what this type owns, and of the rest what `shown` names.
    pub fn properties_for_speed(&self, shown: &[String]) -> Vec<(String, String)> {
        const OWNED: [&str; 6] =
            ["acks", "enable.idempotence", "linger.ms", "batch.num.messages", "batch.size", "message.max.bytes"];
        let mut properties: Vec<(String, String)> = Vec::new();
        for (name, value) in self.all_properties() {
            if !OWNED.contains(&name.as_str()) && !shown.contains(&name) {
                continue;
            }
            // What is set later counts.
            properties.retain(|(earlier, _)| *earlier != name);
            properties.push((name, value));
        }
        properties
    }

    /// The limit of a batch and of a record.
    fn message_bytes(&self) -> u32 {
        self.max_message_bytes.clamp(LEAST_MESSAGE_BYTES, 1_000_000_000)
    }

    /// What a record and a batch may have.
    pub(crate) fn limits(&self) -> SinkLimits {
        let message_bytes = self.message_bytes();
        SinkLimits {
            record_bytes: (message_bytes - RECORD_OVERHEAD) as usize,
            batch_bytes: message_bytes.min(BATCH_BYTES) as usize,
        }
    }

    /// All properties in the order in which they are set.
    pub(crate) fn all_properties(&self) -> Vec<(String, String)> {
        let message_bytes = self.message_bytes();
        // The queue's own limit is far above what the worker lets in flight: it is there for the case that the worker errs.
        let queue_kbytes = (self.in_flight_bytes.saturating_mul(2) + u64::from(message_bytes)) / 1024 + 65_536;
        let owned = [
            ("client.id", self.client_id.clone()),
            ("allow.auto.create.topics", "false".into()),
            ("acks", "all".into()),
            ("enable.idempotence", "true".into()),
            ("linger.ms", self.gathering.linger_ms().to_string()),
            ("message.max.bytes", message_bytes.to_string()),
            ("batch.size", message_bytes.min(BATCH_BYTES).to_string()),
            ("batch.num.messages", self.gathering.records().to_string()),
            ("queue.buffering.max.messages", "0".into()),
            ("queue.buffering.max.kbytes", queue_kbytes.min(2_147_483_647).to_string()),
        ];
        let owned = owned.into_iter().map(|(name, value)| (name.to_owned(), value));
        self.properties.iter().cloned().chain(owned).collect()
    }
}

/// What the reports of a partition's group said so far.
#[derive(Debug, Default)]
struct Tally {
    acknowledged: usize,
    refused: Vec<Refusal>,
}

/// A [`Sink`] into a Kafka topic.
pub struct Producer {
    sender: Sender,
    topic: String,
    limits: SinkLimits,
    leaders: Vec<Option<i32>>,
    tallies: Vec<Tally>,
    ready: Vec<Delivered>,
    complaints: Complaints,
    deliveries: Option<(u64, u64)>,
    failure: Option<Failure>,
}

impl Producer {
    /// Creates the client, and waits for the topic's metadata. Only after the last fork of this process: the client's threads
    /// would be missing in a child.
    pub fn create(options: &ProducerOptions) -> Result<Producer, Failure> {
        let refused = |what: String| Failure::new(FailureKind::Refused, what);
        keep_freed_memory();
        let conf = configure(&options.all_properties()).map_err(refused)?;
        let client = conf
            .into_client(Kind::Producer)
            // The settings were taken one by one and tried before the run: what is missing now is a thread or memory.
            .map_err(|e| Failure::new(FailureKind::Retry, format!("can't create a Kafka producer: {e}")))?;
        let topic = Topic::new(&client, &options.topic)
            .map_err(|e| Failure::new(FailureKind::Refused, format!("can't use topic {:?}: {e}", options.topic)))?;
        let mut complaints = Complaints::default();
        let answer = until_answered(&client, options.metadata_timeout, Patience::UntilTimeout, &mut complaints, |timeout| {
            let found = client.metadata(Some(&topic), timeout)?;
            match Code(found.code) {
                Code::NONE if found.partitions.is_empty() => Err(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)),
                Code::NONE => Ok(found),
                error => Err(error),
            }
        });
        let metadata = answer.map_err(|code| {
            if complaints.unresolved {
                client.abandon();
            }
            no_metadata(&options.topic, code, &complaints, options.metadata_timeout)
        })?;
        // The answer wakes the request for a producer id, but the connection that the client wants for it may have come up only
        // because of this answer: the next answer finds it. Without it the first delivery waits for a timer of 500 ms.
        let _ = client.metadata(Some(&topic), PROBE_TIMEOUT);
        let partitions = metadata.partitions.len() as u32;
        let sender = Sender::new(topic, partitions, &options.headers).map_err(|e| Failure::new(FailureKind::Refused, e))?;
        Ok(Producer {
            sender,
            topic: options.topic.clone(),
            limits: options.limits(),
            leaders: metadata.partitions.iter().map(|&(_, leader)| (leader >= 0).then_some(leader)).collect(),
            tallies: (0..partitions).map(|_| Tally::default()).collect(),
            ready: Vec::new(),
            complaints,
            deliveries: None,
            failure: None,
        })
    }

    /// A descriptor that becomes readable when there is something to serve; see [`Wakeup`] for the order of things.
    pub fn wakeup(&self) -> io::Result<Wakeup> {
        self.sender.client().wakeup()
    }

    /// How many things are not served yet: records without a served report, and events.
    pub fn queue_length(&self) -> usize {
        self.sender.client().queue_length()
    }

    /// How many records of some partitions the client took and has not reported.
    pub(crate) fn waiting_in(&self, partitions: Range<u32>) -> usize {
        self.sender.waiting_in(partitions)
    }

    /// Groups that are complete and not given back yet.
    pub(crate) fn ready(&mut self) -> &mut Vec<Delivered> {
        &mut self.ready
    }

    /// Serves one event. False: none came within `timeout`.
    pub(crate) fn serve(&mut self, timeout: Duration) -> bool {
        let Producer { sender, tallies, complaints, failure, topic, .. } = self;
        let mut acknowledged = false;
        let mut complete: Vec<u32> = Vec::new();
        let mut failed: Option<(Code, u32, usize)> = None;
        let served = sender.serve(timeout, &mut |served| match served {
            Served::Delivered { partition, records } => {
                tallies[partition as usize].acknowledged += records;
                acknowledged = true;
                touched(&mut complete, partition);
            }
            Served::Failed { partition, index, code } => {
                match verdict(code) {
                    Verdict::Refusal => {
                        let refusal = Refusal { index, reason: code.to_string(), local: false };
                        tallies[partition as usize].refused.push(refusal);
                    }
                    Verdict::Delivered | Verdict::Refused | Verdict::Unreachable | Verdict::Retry => {
                        failed.get_or_insert((code, partition, index));
                    }
                }
                touched(&mut complete, partition);
            }
            Served::Stray { partition, index, code } => {
                let what = format!(
                    "the client reported record {index} of partition {partition} of {topic:?} a second time, or after its \
                     group was complete ({code})"
                );
                failure.get_or_insert(Failure::new(FailureKind::Retry, what));
            }
            Served::Notice(notice) => {
                complaints.hear(&notice);
                // Any other error is one of a connection, which the client cures by itself or nobody does: then no report comes.
                if let Notice::Error { code, fatal: true, text } = notice {
                    let kind = if verdict(code) == Verdict::Refused { FailureKind::Refused } else { FailureKind::Retry };
                    failure.get_or_insert(Failure::new(kind, format!("the producer can't go on: {text} ({code})")));
                }
            }
        });
        if acknowledged {
            let now = monotonic_micros();
            self.deliveries = Some((self.deliveries.map_or(now, |(first, _)| first), now));
        }
        if let Some((code, partition, index)) = failed
            && self.failure.is_none()
        {
            self.failure = Some(self.failure_of(code, partition, index));
        }
        for partition in complete {
            Self::complete(&mut self.sender, &mut self.tallies, &mut self.ready, partition);
        }
        served
    }

    /// Moves a group with all its reports to the ones that are ready to be given back.
    fn complete(sender: &mut Sender, tallies: &mut [Tally], ready: &mut Vec<Delivered>, partition: u32) {
        if let Some(group) = sender.take(partition) {
            let mut tally = std::mem::take(&mut tallies[partition as usize]);
            tally.refused.sort_by_key(|r| r.index);
            ready.push(Delivered { partition, group, acknowledged: tally.acknowledged, refused: tally.refused });
        }
    }

    /// What a record's failure means for the attempt.
    fn failure_of(&mut self, code: Code, partition: u32, index: usize) -> Failure {
        let place = format!("topic {:?}, partition {partition}, record {index} of its group", self.topic);
        if let Some((cause, text)) = self.sender.client().fatal_error() {
            return Failure::new(FailureKind::Retry, format!("{place}: {code}: the producer can't go on: {text} ({cause})"));
        }
        match verdict(code) {
            Verdict::Refused => Failure::new(FailureKind::Refused, format!("{place}: {code}")),
            Verdict::Unreachable => Failure::new(FailureKind::Unreachable, format!("{place}: {code}")),
            // Timed out: because nobody was there, or because the record could not be written in time?
            _ if matches!(code.known(), Some(E::RD_KAFKA_RESP_ERR__MSG_TIMED_OUT | E::RD_KAFKA_RESP_ERR__TIMED_OUT))
                && !self.a_broker_answers() =>
            {
                let reason = self.complaints.reason(code);
                Failure::new(FailureKind::Unreachable, format!("{place}: {code}; no broker answers: {reason}"))
            }
            _ => Failure::new(FailureKind::Retry, format!("{place}: {code}")),
        }
    }

    fn a_broker_answers(&self) -> bool {
        self.sender.client().metadata(Some(self.sender.topic()), PROBE_TIMEOUT).is_ok()
    }

    /// What ended this producer, if something did.
    pub(crate) fn fail_if_failed(&self) -> Result<(), Failure> {
        self.failure.clone().map_or(Ok(()), Err)
    }
}

/// Remembers a partition whose group may be complete now. Reports come by partition: each is remembered once.
fn touched(complete: &mut Vec<u32>, partition: u32) {
    if complete.last() != Some(&partition) {
        complete.push(partition);
    }
}

/// Why no metadata came.
fn no_metadata(topic: &str, code: Code, complaints: &Complaints, timeout: Duration) -> Failure {
    let reason = complaints.reason(code);
    match verdict(code) {
        Verdict::Refused => Failure::new(FailureKind::Refused, format!("topic {topic:?}: {code}")),
        _ => {
            let ms = timeout.as_millis();
            Failure::new(FailureKind::Unreachable, format!("no metadata of topic {topic:?} within {ms} ms: {reason}"))
        }
    }
}

impl Sink for Producer {
    fn partitions(&self) -> u32 {
        self.sender.partitions()
    }

    fn limits(&self) -> SinkLimits {
        self.limits
    }

    fn hand_over(&mut self, partition: u32, group: Group) -> Result<(), Failure> {
        self.fail_if_failed()?;
        let bug =
            |what: &str| Failure::new(FailureKind::Retry, format!("partition {partition}: {what} (a bug of this program)"));
        if group.is_empty() {
            return Err(bug("an empty group was handed over"));
        }
        let records = group.len();
        self.sender.begin(partition, group).map_err(|_| {
            bug(&format!("unknown, or its last group is still in flight, or {records} records are more than {MOST_RECORDS}"))
        })?;
        loop {
            let mut failed = None;
            let tally = &mut self.tallies[partition as usize];
            let all = self.sender.enqueue(partition, &mut |index, code| match verdict(code) {
                Verdict::Refusal => tally.refused.push(Refusal { index, reason: code.to_string(), local: true }),
                _ => _ = failed.get_or_insert((code, index)),
            });
            if let Some((code, index)) = failed {
                let failure = self.failure_of(code, partition, index);
                return Err(self.failure.insert(failure).clone());
            }
            if all {
                break;
            }
            // The settings make a full queue impossible; should it happen all the same, wait for room.
            if self.sender.waiting() == 0 {
                return Err(bug("a record does not fit into the client's empty queue"));
            }
            self.serve(Duration::from_millis(10));
            self.fail_if_failed()?;
        }
        // Nothing of it may have been taken.
        Self::complete(&mut self.sender, &mut self.tallies, &mut self.ready, partition);
        Ok(())
    }

    fn poll(&mut self, timeout: Duration, done: &mut Vec<Delivered>) -> Result<(), Failure> {
        let deadline = (!timeout.is_zero()).then(|| Instant::now() + timeout);
        let mut wait = if self.ready.is_empty() { timeout } else { Duration::ZERO };
        while self.failure.is_none() && self.serve(wait) {
            // A log line does not end the wait, a complete group does.
            wait = match deadline {
                Some(deadline) if self.ready.is_empty() => deadline.saturating_duration_since(Instant::now()),
                _ => Duration::ZERO,
            };
        }
        self.fail_if_failed()?;
        done.append(&mut self.ready);
        Ok(())
    }

    fn outstanding(&self) -> usize {
        // The client counts its own events too. With all reports accounted for the smaller is the exact number; when a report was
        // lost it is the client's, which comes down to 0. A group whose every record was refused at once waits to be given back.
        let ready: usize = self.ready.iter().map(|delivered| delivered.group.len()).sum();
        self.sender.client().queue_length().min(self.sender.waiting()) + ready
    }

    fn leader(&self, partition: u32) -> Option<i32> {
        self.leaders.get(partition as usize).copied().flatten()
    }

    fn deliveries(&self) -> Option<(u64, u64)> {
        self.deliveries
    }

    fn finish(self: Box<Self>) -> Result<(), Failure> {
        let (waiting, ready) = (self.sender.waiting(), self.ready.len());
        if waiting > 0 || ready > 0 {
            let what = format!("the producer was ended with {waiting} records and {ready} groups in flight");
            return Err(Failure::new(FailureKind::Retry, what));
        }
        self.fail_if_failed()
    }
}

impl Drop for Producer {
    /// What is in flight is given up at once; the client's threads have ended when this returns. Only if a name look-up may be
    /// under way, which can last many seconds, the client is left behind: then the process is about to end anyway.
    fn drop(&mut self) {
        if self.sender.waiting() > 0 {
            self.sender.client().purge();
            let deadline = Instant::now() + PURGE_TIMEOUT;
            while self.sender.waiting() > 0 && Instant::now() < deadline {
                self.sender.serve(Duration::from_millis(20), &mut |_| {});
            }
        }
        if self.complaints.unresolved {
            self.sender.client().abandon();
        }
    }
}
