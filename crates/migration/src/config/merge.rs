//! The second stage: what was typed, merged with the defaults. Every key that has a default has a value here, of the type
//! that it will have in the job; where a value came from is still known.

use std::time::Duration;

use toml::de::DeValue;

use super::Typed;
use super::error::Problems;
use super::origin::{At, Origin};
use super::schema;
use super::value::{Entry, Value};

/// What was typed, merged with the defaults.
#[derive(Debug)]
pub(super) struct Merged {
    pub(super) name: Option<At<String>>,
    pub(super) state_dir: At<String>,
    pub(super) paths: Option<At<Vec<String>>>,
    pub(super) max_line: At<u64>,
    pub(super) target_size: At<Option<u64>>,
    pub(super) order: At<&'static str>,
    pub(super) key: Option<At<String>>,
    pub(super) on_missing: At<&'static str>,
    pub(super) validate: At<&'static str>,
    pub(super) timestamp: Option<At<String>>,
    pub(super) timestamp_unit: At<&'static str>,
    pub(super) headers: Vec<Entry>,
    pub(super) brokers: At<Option<Vec<String>>>,
    pub(super) topic: Option<At<String>>,
    pub(super) partitioner: At<&'static str>,
    pub(super) give_up_after: At<Duration>,
    pub(super) properties: Vec<Entry>,
    pub(super) count: At<Option<u64>>,
    pub(super) flush: At<&'static str>,
    pub(super) chunk_records: At<u64>,
    pub(super) chunk_bytes: At<u64>,
    pub(super) chunk_interval: At<Duration>,
    pub(super) in_flight: At<u64>,
    pub(super) max_without_progress: At<u64>,
    pub(super) backoff: At<(Duration, Duration)>,
    pub(super) heartbeat_timeout: At<Duration>,
    pub(super) drain_timeout: At<Duration>,
    pub(super) memory_limit: At<u64>,
    pub(super) rate_records: At<Option<u64>>,
    pub(super) rate_bytes: At<Option<u64>>,
    pub(super) max_bad_records: At<u64>,
    pub(super) accept: At<Vec<&'static str>>,
    /// Keys whose value was refused; they stand here with their defaults.
    pub(super) refused: std::collections::BTreeSet<&'static str>,
}

impl Merged {
    /// Merges; what was wrong in the first stage is handed on.
    pub(super) fn new(typed: Typed) -> (Merged, Problems) {
        let Typed { values, mut entries, refused, problems } = typed;
        let get = |path: &'static str| -> Option<At<Value>> { values.get(path).cloned() };
        let value = |path: &'static str| get(path).unwrap_or_else(|| default(path));
        let texts = |at: At<Value>| at.map(Value::into_texts);
        let merged = Merged {
            name: get("job.name").map(|at| at.map(Value::into_text)),
            state_dir: value("job.state_dir").map(Value::into_text),
            paths: get("source.jsonl.paths").map(|at| texts(at).map(Option::unwrap_or_default)),
            max_line: value("source.jsonl.max_line").map(Value::into_count),
            target_size: value("shards.target_size").map(Value::into_number),
            order: value("shards.order").map(Value::into_word),
            key: get("record.key").map(|at| at.map(Value::into_text)),
            on_missing: value("record.on_missing").map(Value::into_word),
            validate: value("record.validate").map(Value::into_word),
            timestamp: get("record.timestamp").map(|at| at.map(Value::into_text)),
            timestamp_unit: value("record.timestamp_unit").map(Value::into_word),
            headers: entries.remove("record.headers").unwrap_or_default(),
            brokers: texts(value("kafka.brokers")),
            topic: get("kafka.topic").map(|at| at.map(Value::into_text)),
            partitioner: value("kafka.partitioner").map(Value::into_word),
            give_up_after: value("kafka.give_up_after").map(Value::into_time),
            properties: entries.remove("kafka.properties").unwrap_or_default(),
            count: value("workers.count").map(Value::into_number),
            flush: value("workers.flush").map(Value::into_word),
            chunk_records: value("workers.chunk.records").map(Value::into_count),
            chunk_bytes: value("workers.chunk.bytes").map(Value::into_count),
            chunk_interval: value("workers.chunk.interval").map(Value::into_time),
            in_flight: value("workers.in_flight").map(Value::into_count),
            max_without_progress: value("workers.restart.max_without_progress").map(Value::into_count),
            backoff: value("workers.restart.backoff").map(Value::into_times),
            heartbeat_timeout: value("workers.heartbeat_timeout").map(Value::into_time),
            drain_timeout: value("workers.drain_timeout").map(Value::into_time),
            memory_limit: value("workers.memory_limit").map(Value::into_count),
            rate_records: value("limits.rate_records").map(Value::into_number),
            rate_bytes: value("limits.rate_bytes").map(Value::into_number),
            max_bad_records: value("limits.max_bad_records").map(Value::into_count),
            accept: value("checks.accept").map(Value::into_words),
            refused,
        };
        (merged, problems)
    }
}

/// A key's default, read as if it had been typed.
fn default(path: &str) -> At<Value> {
    let key = schema::find(path).expect("the paths above are in the schema: every one is read by each test of a default");
    let text = key.default.expect("keys without a default are optional above");
    let value = DeValue::parse(text).expect("a test reads every default of the schema");
    At::new(key.kind.read(&value).expect("a test reads every default of the schema"), Origin::Default)
}

/// The kind in the schema decides which of these holds; a test merges a config with every key typed and one with none.
impl Value {
    fn into_text(self) -> String {
        match self {
            Value::Text(text) => text,
            other => wrong(&other),
        }
    }

    fn into_word(self) -> &'static str {
        match self {
            Value::Word(word) => word,
            other => wrong(&other),
        }
    }

    fn into_words(self) -> Vec<&'static str> {
        match self {
            Value::Words(words) => words,
            other => wrong(&other),
        }
    }

    fn into_number(self) -> Option<u64> {
        match self {
            Value::Number(number) => number,
            other => wrong(&other),
        }
    }

    fn into_count(self) -> u64 {
        self.into_number().expect("kinds without a word always have a number")
    }

    fn into_time(self) -> Duration {
        match self {
            Value::Time(time) => time,
            other => wrong(&other),
        }
    }

    fn into_times(self) -> (Duration, Duration) {
        match self {
            Value::Times(min, max) => (min, max),
            other => wrong(&other),
        }
    }

    fn into_texts(self) -> Option<Vec<String>> {
        match self {
            Value::Texts(texts) => texts,
            other => wrong(&other),
        }
    }
}

fn wrong(value: &Value) -> ! {
    unreachable!("the schema gave another kind than merge expects: {value:?}")
}
