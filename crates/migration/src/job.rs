//! What a config means: every default filled in, durations are durations, counts are non-zero. Each field that a key of
//! the config fills is declared together with that key (`rules!`).

pub(crate) mod kafka;
pub(crate) mod property;
pub(crate) mod record;
pub(crate) mod source;
pub(crate) mod workers;

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Accept;
use crate::config::{
    BOOL, Merged, PATH, Shape, TextRule, TypedValue, ValueKind, Vocabulary, bool_or, checks, count, count_or, is_compressing,
    key, rules, size_or, some_words, text, word, words,
};

pub use kafka::{Brokers, Delivery, KafkaRules, Partitioner};
pub use property::{Property, Secret};
pub use record::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};
pub use source::{CsvFormat, CsvHeader, CsvSource, CsvType, FileRules, JsonlSource, SourceRules};
pub(crate) use workers::LEAST_TRANSACTION;
pub use workers::{ChunkLimits, FlushPolicy, LONGEST_TRANSACTION, RestartRules, WindowLimit, WorkerRules};

const NAME: TextRule = TextRule {
    noun: "string",
    allowed: "up to 100 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, not starting with a dot, and not ending in `.retry-` and a number",
    check: checks::job_name,
};

rules! {
    /// A validated config: one dataset into a topic.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Job {
        /// The same name continues the same job. A folder's name and part of the client ids.
        ///
        /// Up to 100 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, not starting with a dot, and not ending in
        /// `.retry-` and a number: so are the jobs called that send dead letters again.
        name: String = key NAME key("job.name", text(NAME)).required().fixed().example("\"orders-backfill\"");
        /// Checkpoint, locks and dead letters, in a folder for each job. A local disk.
        ///
        /// Another folder has another state: there the job begins anew.
        state_dir: PathBuf = key STATE_DIR
            key("job.state_dir", PATH).default("\".shardlift\"").fixed().example("\"/var/lib/shardlift\"");
        /// Where records come from.
        source: SourceRules = table;
        /// How the dataset is cut.
        shards: ShardRules = table;
        /// From a record to a message.
        record: RecordRules = table;
        /// Where records go.
        kafka: KafkaRules = table;
        /// How many workers and how each works.
        workers: WorkerRules = table;
        /// Limits of the whole job.
        limits: Limits = table;
        /// Names of checks that let pass what they would refuse.
        ///
        /// One string with commas is a list too; see below.
        accept: BTreeSet<Accept> = key ACCEPT
            key("checks.accept", some_words()).default("[]").example("[\"partitions\"]").flag("--accept", "SHARDLIFT_ACCEPT");
        /// Where dead letters go.
        dead_letters: DeadLetterRules = table;
        /// Where it is kept how far the job is.
        checkpoint: CheckpointRules = table;
        /// What a comparison of topic and source lets pass.
        verify: VerifyRules = table;
        /// `--limit N`: only the first N non-blank lines in source order.
        record_limit: Option<u64> = by unlimited;
    }
}

impl Vocabulary for Accept {
    const WORDS: &'static [&'static str] = &Accept::NAMES;
    const MEANINGS: &'static [Self] = &Accept::ALL;
}

/// The limit is no key of the config: a job with one is another job.
fn unlimited(_: &Merged<'_>) -> Option<u64> {
    None
}

impl Job {
    /// What a config says, for tests: no secrets, no variables.
    #[cfg(test)]
    pub(crate) fn of_text(text: &str) -> Job {
        let context = crate::config::Context {
            config_dir: std::path::Path::new("/"),
            env: &|_| None,
            read_secret_file: &|_| Err(std::io::ErrorKind::NotFound.into()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: true,
        };
        crate::config::Typed::parse(text, "test").expect("valid").mean(&context).expect("valid")
    }

    /// Only its first records, in source order: a job of its own.
    #[must_use]
    pub fn limited(self, records: u64) -> Job {
        Job { name: format!("{}.limit-{records}", self.name), record_limit: Some(records), ..self }
    }

    /// The job's own folder in the state directory.
    pub fn state_path(&self) -> PathBuf {
        self.state_dir.join(&self.name)
    }

    /// Whether the records of a key are to keep the source's order over the whole dataset.
    pub fn orders_keys(&self) -> bool {
        self.shards.by_key.unwrap_or(true) && self.record.key.is_some()
    }

    /// Whether the records of a chunk and the shard's progress are one transaction.
    pub fn exactly_once(&self) -> bool {
        self.kafka.delivery == Delivery::ExactlyOnce
    }

    /// The topic of dead letters; `None`: they go to files.
    pub fn letters_topic(&self) -> Option<String> {
        let own = || letters_topic(&self.kafka.topic);
        (self.dead_letters.to == LettersTo::Topic).then(|| self.dead_letters.topic.clone().unwrap_or_else(own))
    }

    /// Whether the client compresses what it sends.
    pub fn compresses(&self) -> bool {
        self.kafka.properties.iter().any(|(name, value)| is_compressing(name, value.expose()))
    }

    /// Whether what a check would refuse is to be let pass.
    pub fn accepts(&self, what: Accept) -> bool {
        self.accept.contains(&what)
    }
}

rules! {
    /// How the dataset is cut.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct ShardRules {
        /// How large a shard is. `auto`: total / (4 x workers), 32 MiB to 256 MiB, smaller where a worker would get
        /// none.
        ///
        /// With `flush = "record"` at least 64 KiB, not 32 MiB.
        target_size: Option<u64> = key TARGET_SIZE
            key("shards.target_size", size_or("auto")).default("\"auto\"").planned().example("\"64MiB\"");
        /// In which order shards are handed out: `source` or `largest-first`.
        order: ShardOrder = key ORDER key("shards.order", word()).default("\"source\"").planned().example("\"largest-first\"");
        /// Whether the records of a key keep the source's order over the whole dataset. `auto`: wherever there is a
        /// `record.key`. `false`: only within a shard.
        ///
        /// Each worker then reads all of the dataset, and sends the records of its own partitions: `target_size` and
        /// `order` mean nothing. The plan is made with it and stays; a job that goes on with `false` may send what
        /// comes behind a damaged file. See [order](order.md).
        by_key: Option<bool> = key BY_KEY key("shards.by_key", bool_or("auto")).default("\"auto\"").example("false");
    }
}

impl ShardRules {
    /// A target that no dataset is larger than.
    pub const UNCUT: u64 = u64::MAX;

    /// One shard of everything, as a plan for sets of partitions begins.
    pub fn uncut() -> ShardRules {
        ShardRules { target_size: Some(Self::UNCUT), order: ShardOrder::Source, by_key: Some(true) }
    }
}

/// In which order shards are handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardOrder {
    /// As the source has them.
    Source,
    /// The largest first.
    LargestFirst,
}

words! { ShardOrder { Source = "source", LargestFirst = "largest-first" } }

rules! {
    /// Where dead letters go.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct DeadLetterRules {
        /// Where they are set aside: `file` (below `job.state_dir`) or `topic`.
        ///
        /// With `kafka.delivery = "exactly-once"` letters in a topic are part of their chunk's transaction. See
        /// [dead letters](dead-letters.md).
        to: LettersTo = key TO key("dead_letters.to", word()).default("\"file\"").until_set_aside().example("\"topic\"");
        /// The topic of letters with `to = "topic"`. It must exist: it is never created. Many jobs may share one.
        /// Without this line: the job's own with `-dead-letters` behind it.
        topic: Option<String> = key TOPIC key("dead_letters.topic", LETTERS).until_set_aside().example("\"orders-dead-letters\"");
    }
}

/// The topic of dead letters of jobs that send to `topic` and name no other.
pub(crate) fn letters_topic(topic: &str) -> String {
    format!("{topic}-dead-letters")
}

const LETTERS: Shape<Option<String>> =
    Shape { kind: ValueKind::Text(kafka::TOPIC), read: |value, _| value.map(TypedValue::text).map(str::to_owned) };

/// Where dead letters go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum LettersTo {
    /// Files in the job's folder of the state directory.
    File,
    /// Records of a topic.
    Topic,
}

words! { LettersTo { File = "file", Topic = "topic" } }

rules! {
    /// Where it is kept how far the job is.
    #[derive(Clone, Debug, PartialEq, Eq)]
    pub struct CheckpointRules {
        /// The progress topic of jobs with `kafka.delivery = "exactly-once"`: compacted, 16 partitions. One topic
        /// serves many jobs.
        ///
        /// Such a job, once it has begun, goes on with the topic that it began with.
        topic: String = key TOPIC
            key("checkpoint.topic", text(kafka::TOPIC)).default("\"shardlift-progress\"").example("\"orders-progress\"");
    }
}

rules! {
    /// What a comparison of topic and source lets pass.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct VerifyRules {
        /// Whether surplus copies are no difference as long as they are no more than the known deaths of workers and
        /// runs explain.
        ///
        /// The report tells that number as `resent`. Missing, altered, misplaced and unexpected records stay a
        /// difference. See [verify](verify.md).
        allow_duplicates: bool = key ALLOW_DUPLICATES
            key("verify.allow_duplicates", BOOL).default("false").example("true")
                .flag("--allow-duplicates", "SHARDLIFT_ALLOW_DUPLICATES");
        /// How many processes read source and topic at the same time.
        ///
        /// Each takes a part of the source, and some of the partitions. What is found is the same with any number; each
        /// needs memory of its own. See [verify](verify.md).
        workers: u64 = key WORKERS key("verify.workers", count(1)).default("1").example("4")
            .flag("--workers", "SHARDLIFT_VERIFY_WORKERS");
    }
}

rules! {
    /// Limits of the whole job.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Limits {
        /// Records a second, all workers together.
        rate_records: Option<u64> = key RATE_RECORDS
            key("limits.rate_records", count_or("none")).default("\"none\"").example("50_000");
        /// Bytes of keys and values a second, all workers together.
        rate_bytes: Option<u64> = key RATE_BYTES key("limits.rate_bytes", size_or("none")).default("\"none\"").example("\"50MiB\"");
        /// More dead letters than this stop the run with 5.
        ///
        /// Those of all the job's runs count. Each worker stops by itself at one more than the job has left.
        max_bad_records: u64 = key MAX_BAD_RECORDS key("limits.max_bad_records", count(0)).default("0").example("1000");
    }
}
