//! What is worth a word before records move, or while they are compared: advice, never a refusal.

use std::time::Duration;

use crate::job::FlushPolicy;
use crate::units::{show_duration, show_size};
use crate::{Compression, Job, Plan};

/// A file that changed so shortly ago may still be written to.
const FRESH: Duration = Duration::from_secs(60);

/// What a user should know before sending. `workers`: how many there will be. `now`: since 1970.
pub fn before_sending(job: &Job, plan: &Plan, workers: u32, now: Duration) -> Vec<String> {
    let mut risks = plan.notes.clone();
    let compressed = plan.objects.iter().filter(|o| o.compression != Compression::None).count();
    if compressed > 0 {
        risks.push(format!(
            "{compressed} compressed files can't be cut: each is read by one worker, and resuming decompresses again \
             up to where it was"
        ));
    }
    if plan.shards.len() < workers as usize {
        risks.push(format!(
            "only {} shards for {workers} workers: a smaller shards.target_size would use them all",
            plan.shards.len()
        ));
    }
    let fresh = now.saturating_sub(FRESH).as_nanos() as i64;
    if plan.objects.iter().any(|o| o.modified_ns > fresh) {
        risks.push("some files changed within the last minute: a file that changes during the run stops it with exit 7".into());
    }
    if job.record.timestamp.is_some() {
        risks.push(
            "records carry event times: a topic with time-based retention deletes records that are older than it, and \
             Kafka 3.6 or later may reject them (message.timestamp.before.max.ms)"
                .into(),
        );
    }
    if job.record.key.is_none() {
        risks.push("records have no key: their order in the topic is kept only within a shard and partition".into());
    }
    if let Some(rate) = job.limits.rate_records {
        let seconds = plan.records_estimate() as f64 / rate as f64;
        risks.push(format!("limits.rate_records = {rate}: at least {}", show_duration(Duration::from_secs_f64(seconds))));
    }
    if let Some(rate) = job.limits.rate_bytes {
        let seconds = plan.bytes() as f64 / rate as f64;
        risks.push(format!("limits.rate_bytes = {rate}: at least {}", show_duration(Duration::from_secs_f64(seconds))));
    }
    risks
}

/// With keys a worker's records in flight are spread over all partitions: too few for each make small batches, which
/// cost the client and the brokers several times as much.
pub fn small_batches(job: &Job, plan: &Plan, partitions: u64) -> Option<String> {
    const RECORDS_EACH: u64 = 1000;
    job.record.key.as_ref()?;
    let record = plan.bytes().checked_div(plan.records_estimate())?.max(1);
    let needed = partitions * RECORDS_EACH * record;
    (needed > job.workers.in_flight).then(|| {
        format!(
            "{partitions} partitions and workers.in_flight = {}: batches will be small; {} would restore the speed",
            show_size(job.workers.in_flight),
            show_size(needed)
        )
    })
}

/// The embedded broker goes through a partition's batches from its first to find one: two seconds for 50,000 records in
/// 16 partitions that were each a batch of their own, half a minute for 100,000.
pub fn slow_reading(flush: FlushPolicy, records: u64) -> Option<String> {
    const NOTICED: u64 = 50_000;
    (flush == FlushPolicy::Record && records > NOTICED).then(|| {
        "reading back takes a while: with flush = \"record\" each record is a batch of its own, and the embedded \
         broker searches all of a partition's for each (half a minute for 100,000 records in 16 partitions, minutes \
         for more); real brokers have an index, --limit makes it shorter"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_batches_of_one_record_are_announced() {
        assert_eq!(slow_reading(FlushPolicy::Record, 50_000), None);
        assert_eq!(slow_reading(FlushPolicy::Chunk, 50_001), None);
        assert!(slow_reading(FlushPolicy::Record, 50_001).is_some_and(|warning| warning.contains("a batch of its own")));
    }
}
