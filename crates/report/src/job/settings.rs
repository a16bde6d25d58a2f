//! The configuration beside a report.

use migration::Job;
use migration::config::is_secret_property;
use migration::job::{Brokers, Property};
use migration::units::{show_count, show_duration, show_size};

/// The keys of the config that explain a report, without secrets.
pub fn settings(job: &Job) -> Vec<(String, String)> {
    let (workers, limits) = (&job.workers, &job.limits);
    let limit = |limit: Option<u64>, show: fn(u64) -> String| limit.map_or_else(|| "none".to_owned(), show);
    let brokers = match &job.kafka.brokers {
        Brokers::Embedded => "embedded".to_owned(),
        Brokers::Bootstrap(brokers) => brokers.join(", "),
    };
    let mut pairs = vec![
        ("kafka.brokers", brokers),
        ("kafka.partitioner", job.kafka.partitioner.name().to_owned()),
        ("record.key", job.record.key.as_ref().map_or_else(|| "none".to_owned(), ToString::to_string)),
        ("workers.count", workers.count.map_or_else(|| "auto".to_owned(), |count| count.to_string())),
        ("workers.flush", workers.flush.name().to_owned()),
        (
            "workers.chunk",
            format!(
                "{} records, {} or {}",
                show_count(workers.chunk.records),
                show_size(workers.chunk.bytes),
                show_duration(workers.chunk.interval)
            ),
        ),
        ("workers.in_flight", show_size(workers.in_flight)),
        ("workers.memory_limit", show_size(workers.memory_limit)),
        ("limits.rate_records", limit(limits.rate_records, show_count)),
        ("limits.rate_bytes", limit(limits.rate_bytes, show_size)),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect::<Vec<_>>();
    pairs.extend(job.kafka.properties.iter().map(|(name, value)| {
        let shown = match value {
            Property::Plain(value) if !is_secret_property(name) => value.clone(),
            _ => "(secret)".to_owned(),
        };
        (format!("kafka.properties.{name}"), shown)
    }));
    pairs
}
