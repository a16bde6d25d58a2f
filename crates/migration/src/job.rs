//! What a config means: every default filled in, durations are durations, counts are non-zero.

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Accept;

/// A validated config: one dataset into a topic.
#[derive(Clone, Debug, PartialEq)]
pub struct Job {
    /// Same name = same job to continue.
    pub name: String,
    /// Where checkpoint, locks and dead letters of all jobs live; this job's are in `state_dir/name`.
    pub state_dir: PathBuf,
    /// Where records come from.
    pub source: SourceRules,
    /// How the dataset is cut.
    pub shards: ShardRules,
    /// Record to message.
    pub record: RecordRules,
    /// Where records go.
    pub kafka: KafkaRules,
    /// How many workers and how each works.
    pub workers: WorkerRules,
    /// Limits of the whole job.
    pub limits: Limits,
    /// What is let pass although a check would refuse it.
    pub accept: BTreeSet<Accept>,
    /// `--limit N`: only the first N non-blank lines in source order.
    pub record_limit: Option<u64>,
}

impl Job {
    /// The job's own folder in the state directory.
    pub fn state_path(&self) -> PathBuf {
        self.state_dir.join(&self.name)
    }

    /// Whether what a check would refuse is to be let pass.
    pub fn accepts(&self, what: Accept) -> bool {
        self.accept.contains(&what)
    }
}

/// Where records come from: exactly one table below `[source]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceRules {
    /// `[source.jsonl]`
    Jsonl(JsonlSource),
    /// `[source.csv]`
    Csv(CsvSource),
}

impl SourceRules {
    /// The name of its table: `source.jsonl`.
    pub fn table(&self) -> &'static str {
        match self {
            SourceRules::Jsonl(_) => "source.jsonl",
            SourceRules::Csv(_) => "source.csv",
        }
    }

    /// Its files.
    pub fn files(&self) -> &FileRules {
        match self {
            SourceRules::Jsonl(source) => &source.files,
            SourceRules::Csv(source) => &source.files,
        }
    }
}

/// What all sources that are files have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRules {
    /// File patterns, already joined to the config's folder.
    pub paths: Vec<String>,
    /// The longest line or row, without its end, that is a record.
    pub max_line: u64,
}

/// JSON lines in files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonlSource {
    /// Which files.
    pub files: FileRules,
}

/// Rows of CSV in files, each of which becomes a JSON object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CsvSource {
    /// Which files.
    pub files: FileRules,
    /// How a row is told and made.
    pub format: CsvFormat,
}

/// How rows of CSV are told apart and what becomes of their fields. Part of the plan's identity, hence serialisable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvFormat {
    /// The ASCII character between two fields.
    pub delimiter: u8,
    /// The ASCII character around a field that holds others; twice within such a field: itself.
    pub quote: u8,
    /// Where the names of the columns are.
    pub header: CsvHeader,
    /// Whether a field in quotes may hold line ends.
    pub multiline: bool,
    /// A field that equals this text, without quotes, becomes `null`.
    pub null: String,
    /// Columns that become something else than strings, in the config's order.
    pub types: Vec<(String, CsvType)>,
}

/// Where the names of CSV's columns are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CsvHeader {
    /// In each file's first row.
    FirstRow,
    /// Here; each file's first row is a record.
    Names(Vec<String>),
}

/// What a field of CSV becomes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CsvType {
    /// A JSON number with the field's own digits.
    Number,
    /// `true` or `false`.
    Bool,
    /// The field's text is JSON.
    Json,
    /// A string.
    String,
}

/// How the dataset is cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardRules {
    /// `None` = auto.
    pub target_size: Option<u64>,
    /// In which order shards are handed out.
    pub order: ShardOrder,
}

/// In which order shards are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardOrder {
    /// As the source has them.
    Source,
    /// The largest first.
    LargestFirst,
}

/// Record to message. Part of the plan's identity, hence serialisable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordRules {
    /// Where the key is; `None` = no key.
    pub key: Option<FieldPath>,
    /// What becomes of a record whose key field is absent or null.
    pub on_missing: OnMissing,
    /// How much of a record must be valid.
    pub validate: Validate,
    /// Where the timestamp is; `None` = the time of sending.
    pub timestamp: Option<FieldPath>,
    /// How the timestamp is written.
    pub timestamp_unit: TimestampUnit,
    /// Fixed headers, in the config's order.
    pub headers: Vec<(String, String)>,
}

/// A path of object fields: `.customer.id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldPath(pub Vec<String>);

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

/// What becomes of a record whose key field is absent or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// It is set aside.
    DeadLetter,
    /// It is sent with a null key.
    Null,
}

/// How much of a record must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Validate {
    /// What stands before the fields that are needed.
    Field,
    /// All of it: one JSON value in UTF-8.
    Whole,
}

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// A string such as `2026-01-31T12:00:00Z`.
    Rfc3339,
    /// A number of seconds since 1970; a fraction is allowed.
    Seconds,
    /// A number of milliseconds since 1970.
    Milliseconds,
    /// A number of microseconds since 1970.
    Microseconds,
}

/// Where records go.
#[derive(Clone, Debug, PartialEq)]
pub struct KafkaRules {
    /// Which brokers.
    pub brokers: Brokers,
    /// The topic.
    pub topic: String,
    /// How a key chooses its partition.
    pub partitioner: Partitioner,
    /// No broker answers for so long: stop with 75.
    pub give_up_after: Duration,
    /// librdkafka properties in the config's order; none that a typed key owns.
    pub properties: Vec<(String, Property)>,
}

/// Which brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Brokers {
    /// The embedded broker, started for this run.
    Embedded,
    /// `host:port` of some of the cluster's brokers.
    Bootstrap(Vec<String>),
}

/// How a key chooses its partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Partitioner {
    /// As Java clients do.
    Murmur2,
    /// As librdkafka does by default; an empty key counts as null.
    Crc32,
}

impl Partitioner {
    /// Its name in the config and in results.
    pub const fn name(self) -> &'static str {
        match self {
            Partitioner::Murmur2 => "murmur2",
            Partitioner::Crc32 => "crc32",
        }
    }
}

/// A property's value; a secret is never shown.
#[derive(Clone, PartialEq, Eq)]
pub enum Property {
    /// Written in the config or on the command line.
    Plain(String),
    /// Came from `{ env = … }` or `{ file = … }`.
    Secret(Secret),
}

impl Property {
    /// The value for the client; never print it.
    pub fn expose(&self) -> &str {
        match self {
            Property::Plain(value) => value,
            Property::Secret(secret) => &secret.value,
        }
    }
}

impl std::fmt::Debug for Property {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Property::Plain(value) => write!(f, "{value:?}"),
            Property::Secret(secret) => write!(f, "<secret from {}>", secret.from),
        }
    }
}

/// A secret after it was resolved, with where it came from.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    /// `env NAME` or `file PATH`.
    pub from: String,
    /// The secret itself.
    pub value: String,
}

/// How many workers and how each works.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerRules {
    /// `None` = as many as this cgroup has processors.
    pub count: Option<NonZeroU32>,
    /// When a worker waits for its delivery reports.
    pub flush: FlushPolicy,
    /// When a chunk is closed; the first limit reached counts.
    pub chunk: ChunkLimits,
    /// Bytes of records taken and not yet delivered, for each worker.
    pub in_flight: u64,
    /// How often and how soon a shard is tried again.
    pub restart: RestartRules,
    /// No heartbeat for so long: kill and replace.
    pub heartbeat_timeout: Duration,
    /// How long a drain may take.
    pub drain_timeout: Duration,
    /// RLIMIT_DATA of each worker.
    pub memory_limit: u64,
}

impl WorkerRules {
    /// What a worker's memory has room for besides its records and its client.
    pub fn windows(&self) -> WindowLimit {
        let beside = OTHER_MEMORY.saturating_add(self.in_flight.saturating_mul(MEMORY_PER_IN_FLIGHT));
        WindowLimit { most: self.memory_limit.saturating_sub(beside).max(USUAL_WINDOW), beside }
    }
}

/// What a worker needs for each byte that may be in flight: the client holds up to three times as much for short records.
const MEMORY_PER_IN_FLIGHT: u64 = 4;
/// What else a worker needs.
const OTHER_MEMORY: u64 = 64 << 20;
/// A window that is always tried: the largest that zstd's tool makes and reads without being told to.
const USUAL_WINDOW: u64 = 128 << 20;
/// The largest window that zstd's tool reads.
const LARGEST_WINDOW: u64 = 2 << 30;

/// How much memory a decompressor may take for its window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowLimit {
    /// The largest window, in bytes.
    pub most: u64,
    /// What the process needs besides, in bytes.
    pub beside: u64,
}

impl WindowLimit {
    /// The `workers.memory_limit` that a window of so many bytes needs.
    pub fn memory_for(&self, window: u64) -> u64 {
        window.saturating_add(self.beside)
    }
}

impl Default for WindowLimit {
    /// Every window that zstd's tool reads.
    fn default() -> Self {
        WindowLimit { most: LARGEST_WINDOW, beside: OTHER_MEMORY }
    }
}

/// When a worker waits for all its delivery reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlushPolicy {
    /// After each record.
    Record,
    /// At each chunk's end.
    Chunk,
}

impl FlushPolicy {
    /// Its name in the config and in results.
    pub const fn name(self) -> &'static str {
        match self {
            FlushPolicy::Record => "record",
            FlushPolicy::Chunk => "chunk",
        }
    }
}

/// The records between two commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkLimits {
    /// At most so many records.
    pub records: u64,
    /// At most so many bytes.
    pub bytes: u64,
    /// At most so long.
    pub interval: Duration,
}

/// How often and how soon a shard is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartRules {
    /// So many deaths at one position quarantine the shard.
    pub max_without_progress: u32,
    /// The first pause.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
}

/// Limits of the whole job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Records a second, all workers together.
    pub rate_records: Option<u64>,
    /// Bytes a second, all workers together.
    pub rate_bytes: Option<u64>,
    /// More dead letters than this stop the job with 5.
    pub max_bad_records: u64,
}
