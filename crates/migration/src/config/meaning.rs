//! The third stage: what a config means. Rules between keys, secrets, paths; the result is a [`Job`].

use std::io;
use std::num::NonZeroU32;
use std::path::{Component, Path, PathBuf};

use super::Typed;
use super::error::{Code, ConfigErrors, Problems};
use super::exposure::{as_read, credentials};
use super::merge::Merged;
use super::origin::{At, Origin};
use super::properties::{PropertyProblem, PropertyRule, is_secret_property, property_rule};
use super::secrets::resolve;
use super::typed::tick;
use super::value::{Entry, EntryValue};
use crate::Accept;
use crate::job::{
    Brokers, ChunkLimits, FieldPath, FileRules, FlushPolicy, Job, JsonlSource, KafkaRules, Limits, OnMissing, Partitioner,
    Property, RecordRules, RestartRules, ShardOrder, ShardRules, SourceRules, TimestampUnit, Validate, WorkerRules,
};

/// What librdkafka thinks of properties, given as names and values.
pub type CheckProperties<'a> = dyn Fn(&[(String, String)]) -> Vec<PropertyProblem> + 'a;

/// What a config's meaning depends on besides its text.
pub struct Context<'a> {
    /// The folder of the config file; relative paths start here.
    pub config_dir: &'a Path,
    /// The value of an environment variable.
    pub env: &'a dyn Fn(&str) -> Option<String>,
    /// The text of a secret's file.
    pub read_secret_file: &'a dyn Fn(&Path) -> io::Result<String>,
    /// What librdkafka thinks of properties (name and value, secrets resolved).
    pub check_properties: &'a CheckProperties<'a>,
    /// Whether the job is for a command that contacts brokers.
    pub contacts_brokers: bool,
}

impl Typed {
    /// What was typed means this job, or these are all the problems that could be found at once.
    pub fn mean(self, ctx: &Context<'_>) -> Result<Job, ConfigErrors> {
        let (merged, mut problems) = Merged::new(self);
        require(&merged, &mut problems);
        contradictions(&merged, &mut problems);
        embedded_security(&merged, &mut problems);
        let properties = properties(&merged.properties, ctx, &mut problems);
        credentials(&merged, &properties, ctx.contacts_brokers, &mut problems);
        problems.result()?;
        Ok(job(merged, properties, ctx.config_dir))
    }
}

fn require(merged: &Merged, problems: &mut Problems) {
    let required = [
        ("job.name", merged.name.is_some(), "[job]", "name = \"orders-backfill\""),
        ("source.jsonl.paths", merged.paths.is_some(), "[source.jsonl]", "paths = [\"data/*.jsonl\"]"),
        ("kafka.topic", merged.topic.is_some(), "[kafka]", "topic = \"orders\""),
    ];
    for (path, there, table, example) in required {
        if !there && !merged.refused.contains(path) {
            let error = problems.add(Code::Missing, &Origin::Default, format!("`{path}` is missing"));
            error.help(format!("add below {table}: {example}"));
        }
    }
}

fn contradictions(merged: &Merged, problems: &mut Problems) {
    let refused = |path| merged.refused.contains(path);
    // A value equal to the default says nothing new, so it contradicts nothing.
    if merged.key.is_none() && merged.on_missing.value != "dead-letter" && !refused("record.key") {
        let message = "`record.on_missing` without `record.key`: no key can be missing";
        problems.add(Code::Contradiction, &merged.on_missing.origin, message).help("delete `on_missing`, or add `key`");
    }
    if merged.timestamp.is_none() && merged.timestamp_unit.value != "rfc3339" && !refused("record.timestamp") {
        let message = "`record.timestamp_unit` without `record.timestamp`: no field is read";
        let error = problems.add(Code::Contradiction, &merged.timestamp_unit.origin, message);
        error.help("delete `timestamp_unit`, or add `timestamp`");
    }
    if !refused("source.jsonl.max_line") && !refused("workers.in_flight") {
        above(problems, ("source.jsonl.max_line", &merged.max_line), ("workers.in_flight", &merged.in_flight), 1);
    }
    if !refused("workers.in_flight") && !refused("workers.memory_limit") {
        above(problems, ("workers.in_flight", &merged.in_flight), ("workers.memory_limit", &merged.memory_limit), 2);
    }
}

/// The embedded broker speaks plain text only: a worker would wait for it until `give_up_after`.
fn embedded_security(merged: &Merged, problems: &mut Problems) {
    let embedded = merged.brokers.value.is_none() && !merged.refused.contains("kafka.brokers");
    let secured = |entry: &&Entry| match &entry.value.value {
        EntryValue::Plain(text) => entry.name.value == "security.protocol" && as_read(text) != "plaintext",
        EntryValue::Env(_) | EntryValue::File(_) => false,
    };
    if let Some(entry) = merged.properties.iter().find(secured).filter(|_| embedded) {
        let whence = problems.whence(&merged.brokers.origin);
        let message = format!("`security.protocol` with the embedded broker {whence}, which has no security");
        problems
            .add(Code::Contradiction, &entry.name.origin, message)
            .help("delete it, or name the cluster in `kafka.brokers`");
    }
}

/// An error if `small` is more than a `share`-th of `large`. It points at the one that was typed, `small` if both were.
fn above(problems: &mut Problems, small: (&str, &At<u64>), large: (&str, &At<u64>), share: u64) {
    let ((small_path, small), (large_path, large)) = (small, large);
    if small.value <= large.value / share {
        return;
    }
    let part = if share == 1 { "" } else { "half of " };
    let message = format!(
        "`{small_path}` {} {} is more than {part}`{large_path}` {} {}",
        size(small.value),
        problems.whence(&small.origin),
        size(large.value),
        problems.whence(&large.origin),
    );
    let origin = if small.typed() { &small.origin } else { &large.origin };
    let (most, least) = (size(large.value / share), size(small.value.saturating_mul(share)));
    problems
        .add(Code::Contradiction, origin, message)
        .help(format!("lower `{small_path}` to at most {most}, or raise `{large_path}` to at least {least}"));
}

fn properties(entries: &[Entry], ctx: &Context<'_>, problems: &mut Problems) -> Vec<(String, Property)> {
    let mut out = Vec::new();
    for entry in entries {
        let name = &entry.name.value;
        if let Some(PropertyRule::Owned(why)) = property_rule(name) {
            let message = format!("{} is set by shardlift", tick(name));
            problems.add(Code::OwnedProperty, &entry.name.origin, message).help(format!("delete it; {why}"));
        } else if let Some(value) = resolve(entry, ctx, problems) {
            if name.contains('\0') || value.expose().contains('\0') {
                let message = format!("{} contains a NUL character", tick(name));
                problems.add(Code::BadValue, &entry.name.origin, message).help("librdkafka's properties are C strings");
            } else {
                out.push((name.clone(), value));
            }
        }
    }
    let exposed: Vec<_> = out.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect();
    for problem in (ctx.check_properties)(&exposed) {
        let entry = entries.iter().find(|entry| entry.name.value == problem.name);
        let origin = entry.map_or(&Origin::Default, |entry| &entry.name.origin);
        // librdkafka quotes the value that it refuses.
        let message = match out.iter().find(|(name, _)| *name == problem.name) {
            Some((_, Property::Secret(secret))) => problem.message.replace(&secret.value, "***"),
            _ => problem.message.clone(),
        };
        let error = problems.add(Code::BadProperty, origin, format!("{}: {message}", tick(&problem.name)));
        error.suggest(problem.did_you_mean.as_deref());
        if problem.did_you_mean.as_deref().is_some_and(is_secret_property) {
            error.hide_value();
        }
    }
    out
}

/// Only called when there is no problem.
fn job(merged: Merged, properties: Vec<(String, Property)>, config_dir: &Path) -> Job {
    let required = "require() added a problem otherwise, and then no job is made";
    Job {
        name: merged.name.expect(required).value,
        state_dir: joined(config_dir, &merged.state_dir.value),
        source: SourceRules::Jsonl(JsonlSource {
            files: FileRules {
                paths: merged.paths.expect(required).value.iter().map(|pattern| pattern_in(config_dir, pattern)).collect(),
                max_line: merged.max_line.value,
            },
        }),
        shards: ShardRules {
            target_size: merged.target_size.value,
            order: if merged.order.value == "source" { ShardOrder::Source } else { ShardOrder::LargestFirst },
        },
        record: RecordRules {
            key: merged.key.map(|at| field_path(&at.value)),
            on_missing: if merged.on_missing.value == "null" { OnMissing::Null } else { OnMissing::DeadLetter },
            validate: if merged.validate.value == "whole" { Validate::Whole } else { Validate::Field },
            timestamp: merged.timestamp.map(|at| field_path(&at.value)),
            timestamp_unit: timestamp_unit(merged.timestamp_unit.value),
            headers: merged.headers.into_iter().filter_map(header).collect(),
        },
        kafka: KafkaRules {
            brokers: merged.brokers.value.map_or(Brokers::Embedded, Brokers::Bootstrap),
            topic: merged.topic.expect(required).value,
            partitioner: if merged.partitioner.value == "crc32" { Partitioner::Crc32 } else { Partitioner::Murmur2 },
            give_up_after: merged.give_up_after.value,
            properties,
        },
        workers: WorkerRules {
            count: merged.count.value.and_then(|n| NonZeroU32::new(u32::try_from(n).unwrap_or(u32::MAX))),
            flush: if merged.flush.value == "record" { FlushPolicy::Record } else { FlushPolicy::Chunk },
            chunk: ChunkLimits {
                records: merged.chunk_records.value,
                bytes: merged.chunk_bytes.value,
                interval: merged.chunk_interval.value,
            },
            in_flight: merged.in_flight.value,
            restart: RestartRules {
                max_without_progress: u32::try_from(merged.max_without_progress.value).unwrap_or(u32::MAX),
                backoff_min: merged.backoff.value.0,
                backoff_max: merged.backoff.value.1,
            },
            heartbeat_timeout: merged.heartbeat_timeout.value,
            drain_timeout: merged.drain_timeout.value,
            memory_limit: merged.memory_limit.value,
        },
        limits: Limits {
            rate_records: merged.rate_records.value,
            rate_bytes: merged.rate_bytes.value,
            max_bad_records: merged.max_bad_records.value,
        },
        accept: merged.accept.value.iter().filter_map(|name| Accept::named(name)).collect(),
        record_limit: None,
    }
}

/// A size as it can be written into a config: never rounded.
fn size(bytes: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"), (1_000_000, "MB"), (1000, "kB")];
    match units.iter().find(|(factor, _)| bytes >= *factor && bytes.is_multiple_of(*factor)) {
        Some((factor, unit)) => format!("{}{unit}", bytes / factor),
        None => format!("{bytes}B"),
    }
}

fn timestamp_unit(word: &str) -> TimestampUnit {
    match word {
        "s" => TimestampUnit::Seconds,
        "ms" => TimestampUnit::Milliseconds,
        "us" => TimestampUnit::Microseconds,
        _ => TimestampUnit::Rfc3339,
    }
}

fn header(entry: Entry) -> Option<(String, String)> {
    match entry.value.value {
        EntryValue::Plain(text) => Some((entry.name.value, text)),
        EntryValue::Env(_) | EntryValue::File(_) => None,
    }
}

fn field_path(text: &str) -> FieldPath {
    FieldPath(text.trim_start_matches('.').split('.').map(str::to_owned).collect())
}

/// A path in the config's folder, without `./` in front.
pub(super) fn joined(config_dir: &Path, path: &str) -> PathBuf {
    let config_dir: PathBuf = config_dir.components().filter(|c| *c != Component::CurDir).collect();
    config_dir.join(path)
}

/// A pattern in the config's folder; the folder's own name is no pattern, whatever characters it has.
fn pattern_in(config_dir: &Path, pattern: &str) -> String {
    if Path::new(pattern).is_absolute() {
        return pattern.to_owned();
    }
    let pattern = pattern.strip_prefix("./").unwrap_or(pattern);
    let folder = joined(config_dir, "");
    let folder: String = folder.to_string_lossy().chars().fold(String::new(), |mut out, c| {
        match c {
            '?' | '*' | '[' | ']' => out.extend(['[', c, ']']),
            c => out.push(c),
        }
        out
    });
    format!("{folder}{pattern}")
}
