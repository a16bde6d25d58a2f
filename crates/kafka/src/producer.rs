//! The producer: groups in, delivery reports counted one by one, groups out.
//!
//! Responsible for: the client's settings for a worker, one metadata call at the start (it also wakes the request for a producer
//! id, which else waits for half a second), counting every report, telling a record's refusal from a failure of the attempt, and
//! ending quickly. Not responsible for: which group goes when (at most one of a partition is in flight, by the lanes), halving
//! a refused group, or dead letters.

use std::io;
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::job::FlushPolicy;
use migration::topic::header_bytes;
use migration::{BoundTopic, Consequence, Failure, FailureKind, Job, SeenTopic, TopicChange, TopicSettings};
use pipeline::{Alone, Blame, Delivered, Group, Refusal, Sink, SinkLimits};
use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{
    Client, Code, Kind, MOST_RECORDS, Notice, Sender, Served, Topic, TopicMetadata, Wakeup, ask_settings, ask_topic,
    keep_freed_memory, monotonic_micros,
};
use crate::notice::{Complaints, Patience, until_answered_in};
use crate::options::{Role, client_id, client_properties, configure};
use crate::topic_probe::{TopicLook, TopicProbe, is_unknown_topic};
use crate::turns::Turns;

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
    /// The topic that a job belongs to: nothing is sent to another one of that name, and only to the partitions that it had when the
    /// job began. `None`: whatever topic has the name now.
    pub bound: Option<BoundTopic>,
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
            bound: None,
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
            alone: (!self.compresses()).then(|| Alone {
                bytes: self.max_message_bytes as usize,
                headers: self.headers.len(),
                header_bytes: self.headers.iter().map(|(name, value)| header_bytes(name.len(), value.len())).sum(),
            }),
        }
    }

    /// Whether batches may be smaller than their records.
    fn compresses(&self) -> bool {
        // The client takes the topic's properties with `topic.` in front too, and values in any case and with space before them.
        let is_codec =
            |name: &str| matches!(name.strip_prefix("topic.").unwrap_or(name), "compression.type" | "compression.codec");
        self.properties.iter().any(|(name, value)| is_codec(name) && !value.trim().eq_ignore_ascii_case("none"))
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

/// What the reports of one batch said.
#[derive(Debug)]
struct Batch {
    /// Something of it was acknowledged.
    delivered: bool,
    /// What the answer says of it as a whole.
    code: Code,
    /// Partition, index and code of what was refused.
    refused: Vec<(u32, usize, Code)>,
}

impl Batch {
    /// Because of which records the broker refused the batch, if it said so: the client reports the others with a code of its own.
    fn judge(self) -> impl Iterator<Item = (u32, Refusal)> {
        let is_other = |code: Code| code == Code::of(E::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);
        let others = self.refused.iter().filter(|(_, _, code)| is_other(*code)).count();
        let whole = self.code;
        let named = match &self.refused[..] {
            [(_, _, code)] => !self.delivered && !is_other(*code),
            // Each is named where more than one is: then the client gives it another code than the batch has.
            all if others == 0 => all.iter().any(|(_, _, code)| *code != whole),
            all => others < all.len(),
        };
        self.refused.into_iter().map(move |(partition, index, code)| {
            let blame = match named {
                false => Blame::Unknown,
                true if is_other(code) => Blame::Others,
                true => Blame::Own,
            };
            let reason = if code == whole { code.to_string() } else { format!("{code}; of its batch: {whole}") };
            (partition, Refusal { index, reason, blame })
        })
    }
}

/// A [`Sink`] into a Kafka topic.
pub struct Producer {
    sender: Sender,
    topic: String,
    seen: SeenTopic,
    settings: Option<TopicSettings>,
    /// How long "is any broker there?" may take.
    probe_timeout: Duration,
    probe: Option<Rc<TopicProbe>>,
    limits: SinkLimits,
    leaders: Vec<Option<i32>>,
    tallies: Vec<Tally>,
    ready: Vec<Delivered>,
    complaints: Complaints,
    deliveries: Option<(u64, u64)>,
    failure: Option<Failure>,
    epochs: Epochs,
}

/// Which acknowledged records may be in the topic twice.
///
/// When a broker refuses a batch for good, the client begins a new producer epoch and numbers anew what is not acknowledged. A
/// batch that was written and whose answer got lost is then sent again under numbers that the broker can't recognise. So what is
/// in flight when a refusal comes is counted, if a connection ever broke, until it is known that a record of it is not in the topic.
#[derive(Debug, Default)]
struct Epochs {
    /// By partition: its group was in flight when a batch was refused.
    renumbered: Vec<bool>,
    /// A connection broke. The client does not tell of each one, so one is enough.
    broke: bool,
    /// Of what has its reports.
    settled: u64,
}

impl Epochs {
    fn settled(&mut self, partition: u32, acknowledged: usize) {
        let renumbered = std::mem::take(&mut self.renumbered[partition as usize]);
        if renumbered && self.broke {
            self.settled += acknowledged as u64;
        }
    }

    /// `in_flight`: how many records a partition's group has that may still be acknowledged. An attempt may end before they are.
    fn perhaps_doubled(&self, in_flight: impl Fn(u32) -> usize) -> u64 {
        if !self.broke {
            return self.settled;
        }
        let renumbered = (0..).zip(&self.renumbered).filter(|(_, renumbered)| **renumbered);
        self.settled + renumbered.map(|(partition, _)| in_flight(partition) as u64).sum::<u64>()
    }
}

/// A producer that waits for its brokers' first answer. One client serves however many waits: it goes on connecting between them,
/// and one look-up of a name that lasts is one.
pub struct Connecting {
    options: ProducerOptions,
    client: Rc<Client>,
    complaints: Complaints,
}

impl Connecting {
    /// Creates the client. Only after the last fork of this process: the client's threads would be missing in a child.
    pub fn new(options: ProducerOptions) -> Result<Connecting, Failure> {
        keep_freed_memory();
        let conf = configure(&options.all_properties()).map_err(refused)?;
        let client = conf
            .into_client(Kind::Producer)
            // The settings were taken one by one and tried before the run: what is missing now is a thread or memory.
            .map_err(|e| Failure::new(FailureKind::Retry, format!("can't create a Kafka producer: {e}")))?;
        Ok(Connecting { options, client, complaints: Complaints::default() })
    }

    /// Waits for the topic's metadata, each answer for `metadata_timeout` at most and in turns. When no broker answers it can be
    /// asked again.
    pub fn wait(&mut self, turns: &mut Turns<'_>) -> Result<Producer, Failure> {
        let Connecting { options, client, complaints } = self;
        let unusable = |e: Code| refused(format!("can't use topic {:?}: {e}", options.topic));
        let topic = Topic::new(client, &options.topic).map_err(unusable)?;
        let ask = |timeout| {
            let found = client.metadata(Some(&topic), timeout)?;
            match Code(found.code) {
                Code::NONE if found.partitions.is_empty() => Err(Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE)),
                Code::NONE => Ok(found),
                error => Err(error),
            }
        };
        let since = Instant::now();
        let answer = until_answered_in(turns, client, options.metadata_timeout, Patience::UntilTimeout, complaints, ask);
        let metadata = answer.map_err(|code| no_metadata(options, code, complaints, since.elapsed()))?;
        let probe = options.bound.as_ref().map(|bound| TopicProbe::new(client, bound)).transpose().map_err(unusable)?;
        let found = recognise(options, client, &topic, &metadata, probe.as_ref(), turns)?;
        self.producer(topic, &metadata, probe, found)
    }

    fn producer(
        &mut self,
        topic: Topic,
        metadata: &TopicMetadata,
        probe: Option<TopicProbe>,
        (seen, settings): (SeenTopic, Option<TopicSettings>),
    ) -> Result<Producer, Failure> {
        let options = &self.options;
        let partitions = options.bound.as_ref().map_or(seen.partitions, |bound| bound.partitions);
        let sender = Sender::new(topic, partitions, &options.headers).map_err(refused)?;
        Ok(Producer {
            sender,
            topic: options.topic.clone(),
            seen,
            settings,
            probe_timeout: PROBE_TIMEOUT.min(options.metadata_timeout),
            probe: probe.map(Rc::new),
            limits: options.limits(),
            leaders: metadata.partitions.iter().map(|&(_, leader)| (leader >= 0).then_some(leader)).collect(),
            tallies: (0..partitions).map(|_| Tally::default()).collect(),
            ready: Vec::new(),
            complaints: std::mem::take(&mut self.complaints),
            deliveries: None,
            failure: None,
            epochs: Epochs { renumbered: vec![false; partitions as usize], ..Epochs::default() },
        })
    }
}

fn refused(what: String) -> Failure {
    Failure::new(FailureKind::Refused, what)
}

impl Producer {
    /// Creates the client, and waits for the topic's metadata. Only after the last fork of this process: the client's threads
    /// would be missing in a child.
    pub fn create(options: &ProducerOptions) -> Result<Producer, Failure> {
        Connecting::new(options.clone())?.wait(&mut Turns::one(&mut || true))
    }

    /// What the topic's settings were when the producer was made; `None`: not asked, or not told.
    pub fn settings(&self) -> Option<TopicSettings> {
        self.settings
    }

    /// The topic as it was seen when the producer was made.
    pub fn seen(&self) -> &SeenTopic {
        &self.seen
    }

    /// For looking at the topic again, even after this producer has failed; there is one if a topic is bound.
    pub fn probe(&self) -> Option<Rc<TopicProbe>> {
        self.probe.clone()
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
        let Producer { sender, tallies, complaints, failure, topic, epochs, .. } = self;
        let mut acknowledged = false;
        // What one event tells is about one batch.
        let mut batch = Batch { delivered: false, code: Code::NONE, refused: Vec::new() };
        let mut complete: Vec<u32> = Vec::new();
        let mut failed: Option<(Code, u32, usize)> = None;
        let served = sender.serve(timeout, &mut |served| match served {
            Served::Delivered { partition, records } => {
                batch.delivered = true;
                tallies[partition as usize].acknowledged += records;
                acknowledged = true;
                touched(&mut complete, partition);
            }
            Served::Failed { partition, index, code, batch: whole } => {
                match verdict(code) {
                    Verdict::Refusal => {
                        batch.code = whole;
                        batch.refused.push((partition, index, code));
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
                if let Notice::Error { code, .. } = &notice {
                    epochs.broke |= verdict(*code) == Verdict::Unreachable;
                }
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
        if !batch.refused.is_empty() {
            for partition in 0..self.sender.partitions() {
                self.epochs.renumbered[partition as usize] |= self.sender.waiting_in(partition..partition + 1) > 0;
            }
            for (partition, refusal) in batch.judge() {
                self.tallies[partition as usize].refused.push(refusal);
            }
        }
        for partition in complete {
            self.complete(partition);
        }
        served
    }

    /// Moves a group with all its reports to the ones that are ready to be given back.
    fn complete(&mut self, partition: u32) {
        if let Some(group) = self.sender.take(partition) {
            let mut tally = std::mem::take(&mut self.tallies[partition as usize]);
            tally.refused.sort_by_key(|r| r.index);
            self.epochs.settled(partition, tally.acknowledged);
            self.ready.push(Delivered { partition, group, acknowledged: tally.acknowledged, refused: tally.refused });
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
        self.sender.client().metadata(Some(self.sender.topic()), self.probe_timeout).is_ok()
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

/// What the topic is like now. A failure if it is not the one that the job belongs to, or if no broker tells.
///
/// The second metadata answer is needed in any case: the first wakes the request for a producer id, but the connection that the
/// client wants for it may have come up only because of that answer; the next one finds it. Without it the first delivery waits for
/// a timer of 500 ms. The topic's id and settings are asked for at the same time, so that they cost no round trip of their own.
fn recognise(
    options: &ProducerOptions,
    client: &Client,
    topic: &Topic,
    metadata: &TopicMetadata,
    probe: Option<&TopicProbe>,
    turns: &mut Turns<'_>,
) -> Result<(SeenTopic, Option<TopicSettings>), Failure> {
    let timeout = options.metadata_timeout;
    let bound = options.bound.as_ref();
    // Brokers without topic ids may answer no admin request at all (the embedded one), or only after long.
    let known = bound.filter(|bound| bound.id.is_some());
    let settings = known.map(|bound| ask_settings(client, &bound.name, timeout));
    let question = known.map(|bound| ask_topic(client, &bound.name, timeout));
    let _ = client.metadata(Some(topic), turns.bound(PROBE_TIMEOUT.min(timeout)));
    turns.go_on();
    let partitions = metadata.partitions.len() as u32;
    let answer = question.map(|question| question.and_then(|question| question.answer(turns)));
    let (Some(bound), Some(probe)) = (bound, probe) else { return Ok((SeenTopic { id: None, partitions }, None)) };
    let seen = match answer {
        None => Ok(SeenTopic { id: None, partitions }),
        Some(answer) => answer,
    };
    let suspicious = match &seen {
        Ok(seen) => bound.compare(seen).is_some_and(|change| bound.consequence(&change) == Consequence::Gone),
        Err(_) => true,
    };
    if suspicious {
        match probe.look(timeout, turns) {
            TopicLook::Changed(change) if bound.consequence(&change) == Consequence::Gone => return Err(gone(bound, &change)),
            TopicLook::Same | TopicLook::Changed(_) => {}
            TopicLook::Unanswered(text) => {
                let what = format!("topic {:?}: the brokers don't tell which topic it is: {text}", bound.name);
                return Err(Failure::new(FailureKind::Unreachable, what));
            }
        }
    }
    let settings = settings.and_then(|question| understood(question.and_then(|question| question.answer(turns)).ok()?));
    Ok((seen.unwrap_or_else(|_| SeenTopic { id: bound.id.clone(), partitions }), settings))
}

/// Settings that are all understood; of others nothing is taken over, and what was known before goes on to hold.
fn understood(settings: Vec<(String, String)>) -> Option<TopicSettings> {
    let (settings, understood) = TopicSettings::read(settings.iter().map(|(name, value)| (name.as_str(), value.as_str())));
    understood.is_ok().then_some(settings)
}

/// The topic is not the one that the job belongs to.
pub(crate) fn gone(bound: &BoundTopic, change: &TopicChange) -> Failure {
    Failure::new(FailureKind::Topic, bound.tell(change))
}

/// Why no metadata came. A wait may end before its time.
fn no_metadata(options: &ProducerOptions, code: Code, complaints: &Complaints, waited: Duration) -> Failure {
    let (topic, reason) = (&options.topic, complaints.reason(code));
    match (verdict(code), &options.bound) {
        // The job's own preflight has seen it.
        (_, Some(bound)) if is_unknown_topic(code) => gone(bound, &TopicChange::Deleted),
        (Verdict::Refused, _) => Failure::new(FailureKind::Refused, format!("topic {topic:?}: {code}")),
        _ => {
            let ms = options.metadata_timeout.min(waited).as_millis();
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
                Verdict::Refusal => {
                    let reason = format!("the Kafka client does not take it: {code}");
                    tally.refused.push(Refusal { index, reason, blame: Blame::Own });
                }
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
        self.complete(partition);
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

    fn perhaps_doubled(&self) -> u64 {
        let in_flight =
            |partition: u32| self.sender.waiting_in(partition..partition + 1) + self.tallies[partition as usize].acknowledged;
        self.epochs.perhaps_doubled(in_flight)
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
    /// What is in flight is given up at once. The client's threads have ended when this returns, or end by themselves.
    fn drop(&mut self) {
        if self.sender.waiting() > 0 {
            self.sender.client().purge();
            let deadline = Instant::now() + PURGE_TIMEOUT;
            while self.sender.waiting() > 0 && Instant::now() < deadline {
                self.sender.serve(Duration::from_millis(20), &mut |_| {});
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INVALID: Code = Code::of(E::RD_KAFKA_RESP_ERR_INVALID_RECORD);
    const OTHER: Code = Code::of(E::RD_KAFKA_RESP_ERR__INVALID_DIFFERENT_RECORD);

    fn blames(delivered: bool, code: Code, refused: &[Code]) -> Vec<Blame> {
        let refused = refused.iter().enumerate().map(|(i, code)| (0, i, *code)).collect();
        Batch { delivered, code, refused }.judge().map(|(_, refusal)| refusal.blame).collect()
    }

    #[test]
    fn records_that_the_answer_names_are_told_from_their_neighbours() {
        use Blame::{Others, Own, Unknown};
        let timestamp = Code::of(E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP);
        assert_eq!(blames(false, timestamp, &[OTHER, timestamp, OTHER]), [Others, Own, Others]);
        assert_eq!(blames(false, INVALID, &[INVALID, OTHER, INVALID]), [Own, Others, Own]);
        // Everything in it is named.
        assert_eq!(blames(false, timestamp, &[INVALID, INVALID]), [Own, Own]);
        // The code is the batch's own, and may be about one of them.
        assert_eq!(blames(false, INVALID, &[INVALID, INVALID]), [Unknown, Unknown]);
        assert_eq!(blames(false, timestamp, &[timestamp, timestamp]), [Unknown, Unknown]);
        // A batch of one.
        assert_eq!(blames(false, INVALID, &[INVALID]), [Own]);
        // Nothing that brokers say, but nothing may be sent again for ever.
        assert_eq!(blames(true, INVALID, &[INVALID]), [Unknown]);
        assert_eq!(blames(false, INVALID, &[OTHER]), [Unknown]);
        assert_eq!(blames(false, INVALID, &[OTHER, OTHER]), [Unknown, Unknown]);
    }

    #[test]
    fn a_codec_is_known_as_the_client_reads_it() {
        let options = |name: &str, value: &str| ProducerOptions {
            properties: vec![(name.to_owned(), value.to_owned())],
            client_id: String::new(),
            topic: String::new(),
            headers: Vec::new(),
            gathering: Gathering::Nothing,
            in_flight_bytes: 0,
            max_message_bytes: 1 << 20,
            metadata_timeout: Duration::ZERO,
            bound: None,
        };
        for (name, value, compresses) in [
            ("compression.type", "none", false),
            ("compression.codec", " None", false),
            ("compression.type", " LZ4", true),
            ("topic.compression.codec", "zstd", true),
            ("topic.compression.type", "none", false),
            ("compression.level", "3", false),
        ] {
            let options = options(name, value);
            assert_eq!(options.compresses(), compresses, "{name}={value:?}");
            crate::options::configure(&options.properties).expect("the client takes it");
        }
    }

    #[test]
    fn what_was_in_flight_at_a_refusal_counts_only_if_a_connection_broke() {
        let none = |_: u32| 0;
        let mut epochs = Epochs { renumbered: vec![false; 2], ..Epochs::default() };
        epochs.renumbered[1] = true;
        assert_eq!(epochs.perhaps_doubled(|_| 20), 0);
        epochs.settled(0, 10);
        epochs.settled(1, 20);
        assert_eq!(epochs.perhaps_doubled(none), 0);
        epochs.broke = true;
        epochs.settled(1, 30);
        assert_eq!(epochs.perhaps_doubled(none), 0, "a group after the refusal");
        epochs.renumbered[1] = true;
        assert_eq!(
            epochs.perhaps_doubled(|partition| 50 + partition as usize),
            51,
            "an attempt may end before they have their reports"
        );
        epochs.settled(1, 40);
        assert_eq!(epochs.perhaps_doubled(|_| 50), 40, "the others are not in the topic");
    }
}
