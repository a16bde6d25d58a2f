//! The configuration beside a report: every key of the config with its value, secrets left out.

use migration::config::is_secret_property;
use migration::job::{
    Brokers, CheckpointRules, ChunkLimits, CsvFormat, CsvHeader, CsvSource, DeadLetterRules, FieldPath, FileRules, JsonlSource,
    KafkaRules, Limits, Property, RecordRules, RestartRules, ShardRules, SourceRules, VerifyRules, WorkerRules,
};
use migration::units::{show_count, show_duration, show_size};
use migration::{Accept, Job};

/// Names and values, in the order of the annotated config.
type Pairs = Vec<(String, String)>;

/// Every key. Each field is named here, so that none is forgotten.
pub fn settings(job: &Job) -> Pairs {
    let Job {
        name,
        state_dir,
        source,
        shards,
        record,
        kafka,
        workers,
        limits,
        accept,
        dead_letters,
        checkpoint,
        verify,
        record_limit,
    } = job;
    let mut all = Pairs::new();
    let mut add = |name: &str, value: String| all.push((name.to_owned(), value));
    add("job.name", name.clone());
    add("job.state_dir", state_dir.to_string_lossy().into_owned());
    self::source(source, &mut add);
    let ShardRules { target_size, order, by_key } = shards;
    add("shards.target_size", or("auto", *target_size, show_size));
    add("shards.order", order.name().to_owned());
    add("shards.by_key", or("auto", *by_key, |flag| flag.to_string()));
    self::record(record, &mut add);
    self::kafka(kafka, &mut add);
    self::workers(workers, &mut add);
    let Limits { rate_records, rate_bytes, max_bad_records } = limits;
    add("limits.rate_records", or("none", *rate_records, show_count));
    add("limits.rate_bytes", or("none", *rate_bytes, show_size));
    add("limits.max_bad_records", show_count(*max_bad_records));
    let names: Vec<&str> = accept.iter().map(|accepted: &Accept| accepted.name()).collect();
    add("checks.accept", if names.is_empty() { "none".to_owned() } else { names.join(", ") });
    let DeadLetterRules { to, topic: _ } = dead_letters;
    add("dead_letters.to", to.name().to_owned());
    add("dead_letters.topic", job.letters_topic().unwrap_or_else(|| "none".to_owned()));
    let CheckpointRules { topic } = checkpoint;
    add("checkpoint.topic", topic.clone());
    let VerifyRules { allow_duplicates, workers } = verify;
    add("verify.allow_duplicates", allow_duplicates.to_string());
    add("verify.workers", show_count(*workers));
    if let Some(limit) = record_limit {
        add("--limit", show_count(*limit));
    }
    all
}

/// A value, or the word that stands for none.
fn or<T>(word: &str, value: Option<T>, show: impl Fn(T) -> String) -> String {
    value.map_or_else(|| word.to_owned(), show)
}

fn source(source: &SourceRules, add: &mut dyn FnMut(&str, String)) {
    let table = source.table();
    let mut of_table = |name: &str, value: String| add(&format!("{table}.{name}"), value);
    let FileRules { paths, max_line } = source.files();
    of_table("paths", paths.join(", "));
    of_table("max_line", show_size(*max_line));
    match source {
        SourceRules::Jsonl(JsonlSource { raw, files: _ }) => of_table("raw", raw.to_string()),
        SourceRules::Csv(CsvSource { format, files: _ }) => {
            let CsvFormat { delimiter, quote, header, multiline, null, types } = format;
            of_table("delimiter", format!("{:?}", char::from(*delimiter)));
            of_table("quote", format!("{:?}", char::from(*quote)));
            let header = match header {
                CsvHeader::FirstRow => "true".to_owned(),
                CsvHeader::Names(names) => names.join(", "),
            };
            of_table("header", header);
            of_table("multiline", multiline.to_string());
            of_table("null", format!("{null:?}"));
            let types: Vec<String> = types.iter().map(|(column, word)| format!("{column} = {}", word.name())).collect();
            of_table("types", if types.is_empty() { "none".to_owned() } else { types.join(", ") });
        }
    }
}

fn record(record: &RecordRules, add: &mut dyn FnMut(&str, String)) {
    let RecordRules { key, on_missing, validate, timestamp, timestamp_unit, headers } = record;
    let path = |path: &Option<FieldPath>| or("none", path.as_ref(), ToString::to_string);
    add("record.key", path(key));
    add("record.value", ".".to_owned());
    add("record.on_missing", on_missing.name().to_owned());
    add("record.validate", validate.name().to_owned());
    add("record.timestamp", path(timestamp));
    add("record.timestamp_unit", timestamp_unit.name().to_owned());
    let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name} = {value:?}")).collect();
    add("record.headers", if headers.is_empty() { "none".to_owned() } else { headers.join(", ") });
}

fn kafka(kafka: &KafkaRules, add: &mut dyn FnMut(&str, String)) {
    let KafkaRules { brokers, topic, partitioner, give_up_after, client_id, delivery, properties } = kafka;
    let brokers = match brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(", "),
    };
    add("kafka.brokers", brokers);
    add("kafka.topic", topic.clone());
    add("kafka.partitioner", partitioner.name().to_owned());
    add("kafka.give_up_after", show_duration(*give_up_after));
    add("kafka.client_id", or("one for each client", client_id.as_ref(), Clone::clone));
    add("kafka.delivery", delivery.name().to_owned());
    if properties.is_empty() {
        add("kafka.properties", "none".to_owned());
    }
    for (name, value) in properties {
        let shown = match value {
            Property::Plain(value) if !is_secret_property(name) => value.clone(),
            _ => "(secret)".to_owned(),
        };
        add(&format!("kafka.properties.{name}"), shown);
    }
}

fn workers(workers: &WorkerRules, add: &mut dyn FnMut(&str, String)) {
    let WorkerRules { count, max, flush, chunk, in_flight, restart, heartbeat_timeout, drain_timeout, memory_limit } = workers;
    let ChunkLimits { records, bytes, interval } = chunk;
    let RestartRules { max_without_progress, backoff_min, backoff_max } = restart;
    add("workers.count", or("auto", *count, |count| count.to_string()));
    add("workers.max", max.to_string());
    add("workers.flush", flush.name().to_owned());
    add("workers.chunk.records", show_count(*records));
    add("workers.chunk.bytes", show_size(*bytes));
    add("workers.chunk.interval", show_duration(*interval));
    add("workers.in_flight", show_size(*in_flight));
    add("workers.restart.max_without_progress", max_without_progress.to_string());
    add("workers.restart.backoff", format!("{} to {}", show_duration(*backoff_min), show_duration(*backoff_max)));
    add("workers.heartbeat_timeout", show_duration(*heartbeat_timeout));
    add("workers.drain_timeout", show_duration(*drain_timeout));
    add("workers.memory_limit", show_size(*memory_limit));
}

#[cfg(test)]
mod tests {
    use migration::config::{Context, KEYS, Typed};

    use super::*;

    fn job(source: &str) -> Job {
        let text = format!(
            "job.name = 'j'\nkafka.topic = 't'\nkafka.brokers = ['a:1']\n{source}\n[kafka.properties]\n'security.protocol' = 'SASL_SSL'\n'sasl.mechanisms' = 'PLAIN'\n'sasl.username' = 'u'\n'sasl.password' = {{ env = 'P' }}\n"
        );
        let context = Context {
            config_dir: std::path::Path::new("/"),
            env: &|_| Some("hunter2".to_owned()),
            read_secret_file: &|_| Ok(String::new()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: false,
        };
        Typed::parse(&text, "test").expect("TOML").mean(&context).expect("valid")
    }

    #[test]
    fn every_key_of_the_config_is_there_and_no_secret() {
        for (source, other) in [("jsonl", "source.csv."), ("csv", "source.jsonl.")] {
            let told = settings(&job(&format!("source.{source}.paths = ['x']")));
            for key in KEYS.iter().filter(|key| !key.path.starts_with(other)) {
                let told = told.iter().any(|(name, _)| name == key.path || name.starts_with(&format!("{}.", key.path)));
                assert!(told, "{} is not told", key.path);
            }
            assert!(!format!("{told:?}").contains("hunter2"), "{told:?}");
        }
    }
}
