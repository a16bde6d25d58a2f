//! What a producer is made with.
//!
//! Responsible for: the client's properties of a worker, and the limits of a record and a batch that follow from them.
//! Not responsible for: what a user may set (`crate::options`).

use std::time::Duration;

use migration::config::is_compressing;
use migration::job::FlushPolicy;
use migration::topic::header_bytes;
use migration::{BoundTopic, Incarnation, Job, ShardId, TopicLedger};
use pipeline::lanes::{GROUP_RECORDS, group_bytes, group_records};
use pipeline::{Alone, SinkLimits};

use crate::options::{Role, client_id, client_properties};
use crate::progress::reader_properties;

/// The largest `batch.size` (bytes) near the brokers.
const BATCH_BYTES: u32 = 1_000_000;
/// The largest at all: a batch waits for its answer alone, so that far away it is as large as the topic takes.
const FAR_BATCH_BYTES: u32 = 4_000_000;
/// From this distance on a batch may have [`FAR_BATCH_BYTES`].
const LARGE_BATCHES_FROM: Duration = Duration::from_millis(5);
/// The smallest `message.max.bytes` that the client accepts.
const LEAST_MESSAGE_BYTES: u32 = 1_000;
/// What the client counts for a record besides key, value and headers when it compares with `message.max.bytes`.
const RECORD_OVERHEAD: u32 = 36;

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
    /// How far away the brokers are, as far as that is known.
    pub round_trip: Option<Duration>,
    /// The mean size of a record, bytes of key and value, as far as that is known.
    pub mean_record_bytes: Option<u64>,
    /// How long the first metadata may take.
    pub metadata_timeout: Duration,
    /// The topic that a job belongs to: nothing is sent to another one of that name, and only to the partitions that it
    /// had when the job began. `None`: whatever topic has the name now.
    pub bound: Option<BoundTopic>,
    /// What it needs for transactions; `None`: it is idempotent, and no more.
    pub transaction: Option<TransactionOptions>,
    /// The topic of dead letters; `None`: it gets none.
    pub letters: Option<String>,
}

/// What a producer needs for transactions.
#[derive(Clone)]
pub struct TransactionOptions {
    /// Where progress is kept.
    pub ledger: TopicLedger,
    /// Whose progress.
    pub shard: ShardId,
    /// Which attempt writes it.
    pub attempt: u32,
    /// For how long a transaction may be open: the brokers abort one that lasts longer.
    pub timeout: Duration,
    /// How long the answer to a commit is waited for.
    pub commit_timeout: Duration,
    /// Properties of the client that reads the progress topic.
    pub reader: Vec<(String, String)>,
    /// Whether how far the shard is is read there; without it nothing may be committed.
    pub(crate) resumes: bool,
}

/// The longest wait for the answer to a commit; a worker says nothing meanwhile.
const LONGEST_COMMIT: Duration = Duration::from_secs(10);

impl TransactionOptions {
    /// Those of an attempt. No wait inside an open transaction is longer than half of its time.
    pub fn new(job: &Job, ledger: &TopicLedger, shard: ShardId, attempt: u32) -> TransactionOptions {
        TransactionOptions {
            ledger: ledger.clone(),
            shard,
            attempt,
            timeout: Self::timeout_of(job),
            commit_timeout: LONGEST_COMMIT.min(job.workers.heartbeat_timeout / 4),
            reader: reader_properties(job),
            resumes: true,
        }
    }

    /// The properties that make a producer's transactions. `debug`: what the user wants to hear of the client.
    fn properties(&self, debug: Option<&str>) -> Vec<(String, String)> {
        transactional_properties(&self.ledger.transactional_id(self.shard), self.timeout, debug)
    }

    /// Those of an attempt that is never made: what a client says of them is what it says of all.
    pub(crate) fn of_any_shard(job: &Job) -> TransactionOptions {
        let (topic, name) = (job.checkpoint.topic.clone(), job.name.clone());
        let ledger = TopicLedger { topic, job: name, of: Incarnation::default() };
        TransactionOptions::new(job, &ledger, ShardId(0), 1)
    }

    /// For how long a job's transactions may be open.
    pub fn timeout_of(job: &Job) -> Duration {
        job.workers.chunk.transaction_timeout()
    }
}

/// The properties that make a producer's transactions.
pub(crate) fn transactional_properties(id: &str, timeout: Duration, debug: Option<&str>) -> Vec<(String, String)> {
    let ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX).to_string();
    // Lines of "eos" say what the brokers answer to the end of a transaction, which nothing else does.
    let debug = debug.filter(|debug| !debug.trim().is_empty()).map_or_else(|| "eos".to_owned(), |debug| format!("{debug},eos"));
    let all = [
        ("transactional.id", id.to_owned()),
        ("transaction.timeout.ms", ms.clone()),
        // A transaction is over when its time is.
        ("message.timeout.ms", ms),
        ("debug", debug),
        // No property of a producer for its records: it is asked where the log of the progress topic ends, and that is
        // not where the oldest open transaction begins.
        ("isolation.level", "read_uncommitted".to_owned()),
    ];
    all.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// What a record waits for in the client before it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gathering {
    /// Nothing: one record at a time, at once.
    Nothing,
    /// Up to 5 ms for a group to be complete.
    Group,
    /// Up to 1 ms for the records of this number of slots. The client sends as soon as it has as many; without the
    /// number the first would leave alone, and the rest of a group waits for its answer.
    Slots(u32),
}

impl Gathering {
    fn linger_ms(self) -> u32 {
        match self {
            Gathering::Nothing => 0,
            Gathering::Group => 5,
            Gathering::Slots(_) => 1,
        }
    }

    /// How many records the client sends at once, if a group has `most`.
    fn records(self, most: usize) -> usize {
        match self {
            Gathering::Nothing | Gathering::Group => most,
            Gathering::Slots(slots) => (slots as usize).clamp(1, most),
        }
    }
}

impl ProducerOptions {
    /// Options for a shard of a job whose brokers are addresses by now. `max_message_bytes` is what preflight found.
    pub fn for_job(job: &Job, shard: &str, max_message_bytes: u32) -> ProducerOptions {
        ProducerOptions {
            properties: client_properties(job, Role::Producer),
            client_id: client_id(job, Some(shard)),
            topic: job.kafka.topic.clone(),
            headers: job.record.headers.clone(),
            gathering: if job.workers.flush == FlushPolicy::Record { Gathering::Nothing } else { Gathering::Group },
            in_flight_bytes: job.workers.in_flight,
            max_message_bytes,
            round_trip: None,
            mean_record_bytes: None,
            metadata_timeout: Duration::from_secs(10).min(job.kafka.give_up_after),
            bound: None,
            transaction: None,
            letters: job.letters_topic(),
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

    /// The limit of a batch that is sent as soon as it is reached.
    fn batch_bytes(&self) -> u32 {
        let far = self.round_trip.is_some_and(|time| time >= LARGE_BATCHES_FROM);
        self.message_bytes().min(if far { FAR_BATCH_BYTES } else { BATCH_BYTES })
    }

    /// What a record's headers take in a batch.
    fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| header_bytes(name.len(), value.len())).sum()
    }

    /// How many records a group may have, which the client sends as one batch: as many as fit, if brokers are far away.
    fn group_records(&self) -> usize {
        let bytes = group_bytes(self.batch_bytes() as usize, !self.headers.is_empty());
        let besides = self.header_bytes().saturating_add(pipeline::group::RECORD_OVERHEAD);
        let mean = self.mean_record_bytes.and_then(|mean| usize::try_from(mean).ok());
        if mean.is_none() && !self.headers.is_empty() {
            // Lanes count less for headers than the client does: by bytes alone a group might be two batches.
            return GROUP_RECORDS;
        }
        group_records(self.round_trip, mean.map(|mean| bytes / mean.saturating_add(besides)))
    }

    /// What a record and a batch may have.
    pub(crate) fn limits(&self) -> SinkLimits {
        let message_bytes = self.message_bytes();
        SinkLimits {
            record_bytes: (message_bytes - RECORD_OVERHEAD) as usize,
            batch_bytes: self.batch_bytes() as usize,
            batch_records: self.group_records(),
            alone: (!self.compresses()).then(|| Alone {
                bytes: self.max_message_bytes as usize,
                headers: self.headers.len(),
                header_bytes: self.header_bytes(),
            }),
        }
    }

    /// Whether batches may be smaller than their records.
    fn compresses(&self) -> bool {
        self.properties.iter().any(|(name, value)| is_compressing(name, value))
    }

    /// All properties in the order in which they are set.
    pub(crate) fn all_properties(&self) -> Vec<(String, String)> {
        let message_bytes = self.message_bytes();
        // The queue's own limit is far above what the worker lets in flight: it is there for the case that the worker
        // errs.
        let queue_kbytes = (self.in_flight_bytes.saturating_mul(2) + u64::from(message_bytes)) / 1024 + 65_536;
        let owned = [
            ("client.id", self.client_id.clone()),
            ("allow.auto.create.topics", "false".into()),
            ("acks", "all".into()),
            ("enable.idempotence", "true".into()),
            ("linger.ms", self.gathering.linger_ms().to_string()),
            ("message.max.bytes", message_bytes.to_string()),
            ("batch.size", self.batch_bytes().to_string()),
            ("batch.num.messages", self.gathering.records(self.group_records()).to_string()),
            ("queue.buffering.max.messages", "0".into()),
            ("queue.buffering.max.kbytes", queue_kbytes.min(2_147_483_647).to_string()),
        ];
        // Only of dead letters the client chooses the partition: by their keys, and any of those without one.
        let letters = self.letters.iter().map(|_| ("partitioner", "murmur2_random".to_owned()));
        let owned = owned.into_iter().chain(letters).map(|(name, value)| (name.to_owned(), value));
        let debug = self.properties.iter().rfind(|(name, _)| name == "debug").map(|(_, value)| value.as_str());
        let transactional = self.transaction.iter().flat_map(|transaction| transaction.properties(debug));
        self.properties.iter().cloned().chain(owned).chain(transactional).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            round_trip: None,
            mean_record_bytes: None,
            metadata_timeout: Duration::ZERO,
            bound: None,
            transaction: None,
            letters: None,
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
    fn transactions_add_to_what_a_user_wants_to_hear_and_the_client_takes_them() {
        let all = |debug| transactional_properties("shardlift.j.00001", Duration::from_secs(60), debug);
        let value = |debug, wanted: &str| all(debug).into_iter().find(|(name, _)| name == wanted).map(|(_, value)| value);
        assert_eq!(value(None, "debug").as_deref(), Some("eos"));
        assert_eq!(value(Some(""), "debug").as_deref(), Some("eos"));
        assert_eq!(value(Some("broker,topic"), "debug").as_deref(), Some("broker,topic,eos"));
        assert_eq!(value(None, "message.timeout.ms"), value(None, "transaction.timeout.ms"));
        let client = crate::options::configure(&all(Some("msg"))).expect("the client takes them");
        assert!(client.into_client(crate::ffi::ClientKind::Producer).is_ok());
    }
}
