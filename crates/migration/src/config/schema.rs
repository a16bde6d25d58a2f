//! Every key of the config in one table: its path, what its value may be, its default and what it is for.

use super::checks;
use super::value::{Kind, NOT_YET};
use crate::Accept;

/// A key of the config.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted path, such as `workers.chunk.records`.
    pub path: &'static str,
    /// What its value may be.
    pub kind: Kind,
    /// Its default as TOML; `None`: absent means absent, or the key is required.
    pub default: Option<&'static str>,
}

const fn key(path: &'static str, kind: Kind, default: &'static str) -> Key {
    Key { path, kind, default: Some(default) }
}

const fn bare(path: &'static str, kind: Kind) -> Key {
    Key { path, kind, default: None }
}

const PATTERNS: Kind = Kind::Texts(checks::path, "a list of paths or patterns, such as [\"data/*.jsonl\"]");
const BROKERS: Kind =
    Kind::TextsOr(checks::broker, "embedded", "\"embedded\" or a list of HOST:PORT, such as [\"kafka-1:9092\"]");
const NAME: Kind =
    Kind::Text(checks::job_name, "up to 100 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`, not starting with a dot");
const TOPIC: Kind = Kind::Text(checks::topic, "up to 249 of the characters a-z, A-Z, 0-9, `.`, `_` and `-`");
const FIELD: Kind = Kind::Text(checks::field_path, "a path of object fields, such as \".customer.id\"");
const PATH: Kind = Kind::Text(checks::path, "a path");
/// Why nothing runs with `flush = "window"`.
const NO_WINDOW: &str = "was removed: \"chunk\" is as fast and simpler (docs/design/0004-window-flush.md)";

/// Every key, in the order of the annotated file.
pub const KEYS: &[Key] = &[
    bare("job.name", NAME),
    key("job.state_dir", PATH, "\".shardlift\""),
    bare("source.jsonl.paths", PATTERNS),
    key("source.jsonl.max_line", Kind::Size, "\"4MiB\""),
    key("shards.target_size", Kind::SizeOr("auto"), "\"auto\""),
    key("shards.order", Kind::Word(&["source", "largest-first"], &[]), "\"source\""),
    key("shards.by_key", Kind::Bool(false), "false"),
    bare("record.key", FIELD),
    key("record.value", Kind::Word(&["."], &[("*", NOT_YET)]), "\".\""),
    key("record.on_missing", Kind::Word(&["dead-letter", "null"], &[]), "\"dead-letter\""),
    key("record.validate", Kind::Word(&["field", "whole"], &[]), "\"field\""),
    bare("record.timestamp", FIELD),
    key("record.timestamp_unit", Kind::Word(&["rfc3339", "s", "ms", "us"], &[]), "\"rfc3339\""),
    key("record.headers", Kind::Headers, "{}"),
    key("kafka.brokers", BROKERS, "\"embedded\""),
    bare("kafka.topic", TOPIC),
    key("kafka.partitioner", Kind::Word(&["murmur2", "crc32"], &[]), "\"murmur2\""),
    key("kafka.give_up_after", Kind::Time(1), "\"15min\""),
    key("kafka.delivery", Kind::Word(&["at-least-once"], &[("exactly-once", NOT_YET)]), "\"at-least-once\""),
    key("kafka.properties", Kind::Properties, "{}"),
    key("workers.count", Kind::CountOr(u32::MAX as u64, "auto"), "\"auto\""),
    key("workers.flush", Kind::Word(&["chunk", "record"], &[("window", NO_WINDOW)]), "\"chunk\""),
    key("workers.chunk.records", Kind::Count(1), "1_000_000"),
    key("workers.chunk.bytes", Kind::Size, "\"256MiB\""),
    key("workers.chunk.interval", Kind::Time(1), "\"1s\""),
    key("workers.in_flight", Kind::Size, "\"32MiB\""),
    key("workers.restart.max_without_progress", Kind::Count(1), "5"),
    key("workers.restart.backoff", Kind::Times, "\"100ms..30s\""),
    key("workers.heartbeat_timeout", Kind::Time(2000), "\"60s\""),
    key("workers.drain_timeout", Kind::Time(1), "\"20s\""),
    key("workers.memory_limit", Kind::Size, "\"512MiB\""),
    key("limits.rate_records", Kind::CountOr(u64::MAX, "none"), "\"none\""),
    key("limits.rate_bytes", Kind::SizeOr("none"), "\"none\""),
    key("limits.max_bad_records", Kind::Count(0), "0"),
    key("checks.accept", Kind::Words(&Accept::NAMES), "[]"),
    key("dead_letters.to", Kind::Word(&["file"], &[("topic", NOT_YET)]), "\"file\""),
];

/// Tables that are known but not in this version.
pub const LATER: &[&str] = &["source.csv", "source.parquet", "source.postgres", "source.command"];

/// The key of a path.
pub(super) fn find(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path)
}

/// Whether keys stand below this path.
pub(super) fn is_table(path: &str) -> bool {
    names_in(path).next().is_some()
}

/// The names right below a table (`""`: the tables themselves), each once or more.
pub(super) fn names_in<'a>(table: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    KEYS.iter().filter_map(move |key| {
        let rest = match table {
            "" => key.path,
            _ => key.path.strip_prefix(table)?.strip_prefix('.')?,
        };
        rest.split('.').next()
    })
}

/// The table of the only key with this last name, if it is another table.
pub(super) fn elsewhere(name: &str, table: &str) -> Option<&'static str> {
    let mut homes = KEYS.iter().filter_map(|key| key.path.rsplit_once('.')).filter(|(_, last)| *last == name);
    match (homes.next(), homes.next()) {
        (Some((home, _)), None) if home != table => Some(home),
        _ => None,
    }
}
