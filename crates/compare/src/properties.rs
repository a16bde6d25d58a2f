//! Which properties of the producers a comparison shows: those that matter for speed, and no secret.

use kafka::ProducerOptions;
use kafka::compare::SharedProducer;
use migration::Job;
use migration::config::is_secret_property;
use migration::job::{FlushPolicy, Property};

use crate::figures::{Setting, Variant};

/// The producers' properties that matter for speed, for each flush policy; no secret is among them.
pub(crate) fn shown_properties(
    job: &Job,
    rows: &[Setting],
    max_message_bytes: u32,
) -> Vec<(FlushPolicy, Vec<(String, String)>)> {
    let mut found: Vec<(FlushPolicy, Vec<(String, String)>)> = Vec::new();
    for row in rows {
        if found.iter().all(|(flush, _)| *flush != row.flush) {
            found.push((row.flush, properties_for_speed(job, &options_of(job, row.flush, max_message_bytes))));
        }
    }
    found
}

/// What the producers of some rows have instead: where a comparison's rows differ in more than who steps the workers,
/// it says so.
pub(crate) fn properties_instead(
    job: &Job,
    rows: &[Setting],
    max_message_bytes: u32,
    partitions: u32,
) -> Vec<(Setting, Vec<(String, String)>)> {
    let together = rows.iter().filter(|row| row.shared_producer && row.variant == Variant::GreenWakeup);
    let different = together.map(|row| {
        let options = options_of(job, row.flush, max_message_bytes);
        let usual = properties_for_speed(job, &options);
        let mut own = properties_for_speed(job, &SharedProducer::options_together(&options, row.workers, partitions));
        own.retain(|property| !usual.contains(property));
        (*row, own)
    });
    different.filter(|(_, own)| !own.is_empty()).collect()
}

fn options_of(job: &Job, flush: FlushPolicy, max_message_bytes: u32) -> ProducerOptions {
    let mut job = job.clone();
    job.workers.flush = flush;
    ProducerOptions::for_job(&job, "compare", max_message_bytes)
}

/// The properties of a producer of this job that matter for speed, the job's own among them; no secret, no name of a
/// user.
pub fn properties_for_speed(job: &Job, options: &ProducerOptions) -> Vec<(String, String)> {
    let plain = |(name, value): &(String, Property)| {
        let may_be_shown = matches!(value, Property::Plain(_)) && !is_secret_property(name) && matters_for_speed(name);
        may_be_shown.then(|| name.clone())
    };
    let shown: Vec<String> = job.kafka.properties.iter().filter_map(plain).collect();
    options.properties_for_speed(&shown)
}

/// Whether a property of the client changes how fast records go. Everything else is left out: results are passed on.
fn matters_for_speed(name: &str) -> bool {
    const FAMILIES: [&str; 11] = [
        "acks",
        "batch.",
        "compression.",
        "enable.idempotence",
        "linger.",
        "max.in.flight",
        "message.",
        "queue.",
        "request.",
        "socket.",
        "sticky.partitioning.",
    ];
    FAMILIES.iter().any(|family| name.starts_with(family))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_matters_for_speed_is_shown() {
        for name in ["linger.ms", "batch.size", "compression.type", "acks", "socket.nagle.disable", "queue.buffering.max.ms"] {
            assert!(matters_for_speed(name), "{name}");
        }
        for name in ["sasl.username", "sasl.password", "ssl.ca.location", "client.rack", "security.protocol"] {
            assert!(!matters_for_speed(name), "{name}");
        }
    }
}
