//! What checks are made of: facts of the topic, and a sample of the source. Values alone, so that every rule is tested
//! by calling a function, and that a helper process can hand them over.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::TopicSettings;

/// What keeps records in a topic, or takes them away.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retention {
    /// `retention.ms`; `None`: for ever.
    pub ms: Option<u64>,
    /// Whether `retention.ms` is set for this topic, and not the cluster's default.
    pub ms_is_own: bool,
    /// `retention.bytes` of each partition; `None`: no limit.
    pub bytes: Option<u64>,
    /// Whether `retention.bytes` is set for this topic.
    pub bytes_is_own: bool,
    /// Whether `cleanup.policy` has `delete`: without it nothing is taken away by age or size.
    pub deletes: bool,
    /// Whether the brokers write their own time over the record's (`message.timestamp.type = LogAppendTime`).
    pub append_time: bool,
}

/// How well replicated a topic is now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replicas {
    /// The fewest replicas that any partition has, in sync or not.
    pub assigned: u32,
    /// The fewest in-sync replicas that any partition has.
    pub in_sync: u32,
    /// `min.insync.replicas`, if it could be read.
    pub least: Option<u32>,
}

/// What is in a topic before a job's first record, by a sample of each partition's newest records.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExistingRecords {
    /// How many there are by the partitions' ends.
    pub records: u64,
    /// How many were sampled.
    pub sampled: u64,
    /// How many of these have a key.
    pub keyed: u64,
    /// How many keys lie where `murmur2` puts them, of those with a key that is not empty.
    pub by_murmur2: u64,
    /// How many lie where `crc32` puts them, of the same ones.
    pub by_crc32: u64,
    /// How many keys that are not empty were hashed.
    pub hashed: u64,
    /// What values look like, with how many of the sample look so: `JSON object`, `Confluent Avro (magic byte 0)`, …
    pub values: Vec<(String, u64)>,
    /// What keys look like, likewise.
    pub keys: Vec<(String, u64)>,
    /// Names of the headers that they have.
    pub headers: Vec<String>,
    /// The newest time of a record, milliseconds since 1970.
    pub newest_ms: Option<i64>,
    /// By how many records the partitions' ends moved while they were watched, and for how long that was.
    pub grew: Option<(u64, Duration)>,
    /// The longest time for which a broker held an answer back, if it held one back.
    pub throttled: Option<Duration>,
}

/// A few records of the source, mapped as a run would map them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SourceSample {
    /// How many files there are.
    pub files: u64,
    /// How many of them were sampled.
    pub files_sampled: u64,
    /// Why some of these can't be read, in words that name them.
    pub unreadable: Vec<String>,
    /// Rows that are not blank.
    pub rows: u64,
    /// Their bytes as they were read, line ends included.
    pub row_bytes: u64,
    /// Rows that become records.
    pub records: u64,
    /// Bytes of key, value and headers of these.
    pub record_bytes: u64,
    /// The largest record: bytes of key, value and headers, and where it stands.
    pub largest: Option<(u64, SampledPlace)>,
    /// Why other rows become none: the reason, how many, and the first place. Reasons that differ in their numbers
    /// alone are one.
    pub set_aside: Vec<(String, u64, SampledPlace)>,
    /// Rows that are a JSON object.
    pub objects: u64,
    /// Rows in which fields could be looked for.
    pub looked: u64,
    /// Rows in which the key's field was looked for and is absent or null.
    pub without_key: u64,
    /// Rows in which the timestamp's field was looked for and is absent or null.
    pub without_time: u64,
    /// Fields that objects have, as paths (`.customer.id`), the most frequent first, and how many rows have each, of
    /// some hundred that were parsed for it.
    pub fields: Vec<(String, u64)>,
    /// Times of records, milliseconds since 1970, in no order.
    pub times_ms: Vec<i64>,
    /// Keys, each with how many records have it. Long ones are cut.
    pub keys: Vec<(Vec<u8>, u64)>,
    /// The first records, as they would be sent.
    pub first: Vec<SampledRecord>,
    /// Decompressed bytes of the whole dataset, as far as they can be judged by the files' heads.
    pub unpacked_bytes: Option<u64>,
    /// How fast one worker would read and map: rows, and the time that they take.
    pub speed: Option<(u64, Duration)>,
}

/// Where a row of a sample stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledPlace {
    /// Its file.
    pub path: String,
    /// The place of its first byte there (of the decompressed stream).
    pub start: u64,
}

/// A record as it would be sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SampledRecord {
    /// Where its row stands.
    pub place: SampledPlace,
    /// Its key; `None`: null.
    pub key: Option<Vec<u8>>,
    /// Its time, milliseconds since 1970; `None`: the time of sending.
    pub time_ms: Option<i64>,
    /// Its value, or what it begins with.
    pub value: Vec<u8>,
    /// Bytes of its value.
    pub value_bytes: u64,
    /// Its headers.
    pub headers: Vec<(String, String)>,
}

/// What is known of a job's topic before its first record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownTopic {
    /// How many partitions it has.
    pub partitions: u32,
    /// What decides which records it takes.
    pub settings: TopicSettings,
    /// What keeps its records; `None`: its settings can't be read.
    pub retention: Option<Retention>,
    /// How well it is replicated.
    pub replicas: Replicas,
}

/// What keeps acknowledged records of a topic; each part is `None` where it is not told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Durability {
    /// How many replicas each partition has.
    pub replication: Option<u32>,
    /// `min.insync.replicas`.
    pub least: Option<u32>,
    /// `unclean.leader.election.enable`.
    pub unclean: Option<bool>,
}

/// What a progress topic is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressFacts {
    /// Its replicas.
    pub durability: Durability,
    /// Whether the newest record of each key stays for ever; `None`: that is not told.
    pub compacted: Option<bool>,
    /// `segment.bytes`; `None`: that is not told.
    pub segment_bytes: Option<u64>,
    /// `segment.ms`; `None`: that is not told.
    pub segment_ms: Option<u64>,
    /// What the principal may not do with it and has to, as `kafka-acls.sh` calls that.
    pub missing: Vec<String>,
}

/// A job's progress topic, as it was looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FoundProgress {
    /// There is none.
    #[default]
    Absent,
    /// The principal may not see whether there is one.
    Hidden,
    /// It was not described; why.
    Unknown(String),
    /// It is there.
    There(ProgressFacts),
}

/// What came of trying to be a transactional producer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum TransactionTrial {
    /// The brokers take one.
    #[default]
    Granted,
    /// The principal may not use such an id.
    NotAuthorised,
    /// Transactions that may last this long are not taken.
    TooLong,
    /// Another reason.
    Failed(String),
}

/// What exactly-once delivery rests on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryFacts {
    /// The job's topic.
    pub topic: Durability,
    /// The topic of dead letters; `None`: they go to files, or there is no such topic yet.
    pub letters: Option<Durability>,
    /// The progress topic.
    pub progress: FoundProgress,
    /// The brokers' transaction log; `None`: nothing is told of it.
    pub log: Option<Durability>,
    /// Whether the brokers are Apache Kafka 3.6 or later; `None`: that is not told.
    pub is_recent: Option<bool>,
    /// Whether all of them verify that a record belongs to an open transaction; `None`: that is not told.
    pub verifies: Option<bool>,
    /// The shortest `transaction.max.timeout.ms` of a broker; `None`: that is not told.
    pub longest: Option<Duration>,
    /// Whether the brokers take a transactional producer of this job.
    pub trial: TransactionTrial,
    /// Who the job is to the brokers, if that may be shown.
    pub user: Option<String>,
}
