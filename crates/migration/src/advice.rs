//! What is worth a word before records move, or while they are compared: advice, never a refusal.

mod file_order;
mod order;

use std::time::Duration;

use crate::job::FlushPolicy;
use crate::units::{show_size, show_things};
use crate::{Compression, Job, Order, PartitionSet, Plan};

pub use order::{cost_of_order, of_order, of_order_in_run};

/// A file that changed so shortly ago may still be written to.
const FRESH: Duration = Duration::from_secs(60);

/// What is going to be sent, and how.
#[derive(Clone, Copy, Debug)]
pub struct Prospect<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its plan.
    pub plan: &'a Plan,
    /// Whether it has begun: its plan is frozen.
    pub begun: bool,
    /// Which order its records keep.
    pub order: Order,
    /// How many workers there will be.
    pub workers: u32,
    /// Whether the topic is compacted, as far as that is known.
    pub compacted: bool,
}

/// What a user should know before sending. `now`: since 1970.
pub fn before_sending(prospect: &Prospect<'_>, now: Duration) -> Vec<String> {
    let Prospect { plan, order, .. } = *prospect;
    let mut risks = plan.notes.clone();
    risks.extend(of_compression(plan, order));
    risks.extend(idle_workers(prospect));
    risks.extend(of_order(prospect));
    let fresh = now.saturating_sub(FRESH).as_nanos() as i64;
    if plan.objects.iter().any(|o| o.modified_ns > fresh) {
        risks.push("some files changed within the last minute: a file that changes during the run stops it with exit 7".into());
    }
    risks
}

fn of_compression(plan: &Plan, order: Order) -> Option<String> {
    let compressed = plan.objects.iter().filter(|o| o.compression != Compression::None).count();
    let read = match order {
        Order::Key => "each worker decompresses all of them",
        Order::Shard => "each is read by one worker",
    };
    (compressed > 0).then(|| {
        format!("{compressed} compressed files can't be cut: {read}, and resuming decompresses again up to where it was")
    })
}

/// Of shards that are as they are (the job has begun, or they are sets that were cut by place) there is nothing to say,
/// nor where `workers.count` is `auto`. A compressed file is one shard; more shards would not cut it.
fn idle_workers(prospect: &Prospect<'_>) -> Option<String> {
    let Prospect { job, plan, order, workers, begun, .. } = *prospect;
    job.workers.count?;
    let of_workers = show_things(workers.into(), "worker");
    // What it began with stays: nothing of it is split for workers that have nothing to do.
    if begun && job.exactly_once() {
        return (plan.shards.len() < workers as usize).then(|| {
            let shards = show_things(plan.shards.len() as u64, "shard");
            format!("only {shards} for {of_workers}: a job that delivers exactly once splits none, so that the others idle")
        });
    }
    match (order, plan.partitions) {
        (Order::Shard, Some(_)) => None,
        (Order::Shard, None) => {
            (!begun && plan.shards.len() < workers as usize && plan.objects.iter().any(|object| object.splittable)).then(|| {
                let shards = show_things(plan.shards.len() as u64, "shard");
                format!("only {shards} for {of_workers}: a smaller shards.target_size would use them all")
            })
        }
        (Order::Key, Some(partitions)) => (partitions < workers).then(|| {
            format!(
                "only {} for {of_workers}: with order by key a worker has one at least, so that the others have nothing to do",
                show_things(partitions.into(), "partition")
            )
        }),
        (Order::Key, None) => None,
    }
}

/// What is to be said of the topic's partitions, before the first record.
pub fn of_partitions(prospect: &Prospect<'_>, partitions: u32, unpacked: Option<u64>) -> Vec<String> {
    let small = small_batches(prospect.job, prospect.plan, partitions.into(), unpacked);
    idle_workers(prospect).into_iter().chain(small).collect()
}

/// With keys a worker's records in flight are spread over all its partitions: too few bytes for each make small
/// batches, which cost the client and the brokers several times as much. That is less than a thousand of the smallest
/// records; larger ones need no more. A dataset that does not fill what may be in flight makes few batches anyway.
///
/// `partitions`: how many the topic has. `unpacked`: decompressed bytes of the dataset, as far as they are known.
pub fn small_batches(job: &Job, plan: &Plan, partitions: u64, unpacked: Option<u64>) -> Option<String> {
    const BYTES_EACH: u64 = 128 << 10;
    job.record.key.as_ref()?;
    let sets = plan.shards.iter().filter_map(|shard| shard.partitions.as_ref());
    let partitions = sets.map(PartitionSet::len).max().map_or(partitions, u64::from);
    let needed = partitions * BYTES_EACH;
    let filled = unpacked.unwrap_or_else(|| plan.bytes()) > job.workers.in_flight;
    (needed > job.workers.in_flight && filled).then(|| {
        format!(
            "{} a worker and workers.in_flight = {}: batches will be small; {} would restore the speed",
            show_things(partitions, "partition"),
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
    use super::order::tests::{job, plan};
    use super::*;

    #[test]
    fn many_batches_of_one_record_are_announced() {
        assert_eq!(slow_reading(FlushPolicy::Record, 50_000), None);
        assert_eq!(slow_reading(FlushPolicy::Chunk, 50_001), None);
        assert!(slow_reading(FlushPolicy::Record, 50_001).is_some_and(|warning| warning.contains("a batch of its own")));
    }

    #[test]
    fn compressed_files_are_read_by_one_worker_or_by_all() {
        let (job, whole) = (job(), plan(&[(Compression::Gzip, 100), (Compression::None, 100)]));
        let told = |order| {
            let prospect = Prospect { job: &job, plan: &whole, begun: false, order, workers: 1, compacted: false };
            before_sending(&prospect, Duration::ZERO).join("\n")
        };
        assert!(told(Order::Shard).contains("1 compressed files can't be cut: each is read by one worker"));
        assert!(told(Order::Key).contains("1 compressed files can't be cut: each worker decompresses all of them"));
    }

    #[test]
    fn workers_without_a_shard_or_a_partition_are_told_if_they_were_asked_for() {
        let (mut job, one) = (job(), plan(&[(Compression::None, 100)]));
        let told = |job: &Job, plan: &Plan, order, workers, begun| {
            idle_workers(&Prospect { job, plan, begun, order, workers, compacted: false })
        };
        let sets = one.clone().into_sets(4, 2);
        assert_eq!(told(&job, &one, Order::Shard, 2, false), None, "workers.count is auto");
        assert_eq!(told(&job, &sets, Order::Key, 5, true), None, "workers.count is auto");
        job.workers.count = std::num::NonZeroU32::new(8);
        assert!(
            told(&job, &one, Order::Shard, 2, false)
                .is_some_and(|told| told.starts_with("only 1 shard for 2 workers: a smaller"))
        );
        let gzip = plan(&[(Compression::Gzip, 100)]);
        assert_eq!(told(&job, &gzip, Order::Shard, 2, false), None, "no target size would cut it");
        assert_eq!(told(&job, &one, Order::Shard, 1, false), None);
        assert_eq!(told(&job, &one, Order::Shard, 2, true), None, "its plan is frozen");
        assert_eq!(told(&job, &one, Order::Key, 8, false), None, "how many partitions there are is not known");
        assert_eq!(told(&job, &sets, Order::Key, 4, true), None, "sets are split");
        assert!(told(&job, &sets, Order::Key, 5, true).is_some_and(|told| told.contains("only 4 partitions for 5 workers")));
        assert_eq!(told(&job, &sets, Order::Shard, 8, false), None, "sets cut by place are cut further, not planned");
        job.kafka.delivery = crate::job::Delivery::ExactlyOnce;
        assert_eq!(told(&job, &sets, Order::Key, 2, true), None);
        assert!(told(&job, &sets, Order::Key, 4, true).is_some_and(|told| told.starts_with("only 2 shards for 4 workers")));
        assert!(told(&job, &one, Order::Shard, 2, true).is_some_and(|told| told.contains("splits none")));
    }

    #[test]
    fn a_workers_batches_are_those_of_its_own_partitions() {
        let mut job = job();
        let whole = plan(&[(Compression::None, 200_000_000)]);
        job.workers.in_flight = 16 * (128 << 10);
        let told = |job: &Job, plan: &Plan, partitions| small_batches(job, plan, partitions, None);
        assert_eq!(told(&job, &whole, 16), None);
        assert!(
            told(&job, &whole, 32).is_some_and(|told| told.starts_with("32 partitions a worker") && told.contains("4.0 MiB"))
        );
        assert_eq!(told(&job, &whole.clone().into_sets(32, 2), 32), None);
        assert!(told(&job, &whole.clone().into_sets(33, 2), 33).is_some_and(|told| told.starts_with("17 partitions")));
        assert_eq!(small_batches(&job, &whole, 32, Some(1 << 20)), None, "all of it may be in flight");
        job.workers.in_flight = 32 << 20;
        assert_eq!(told(&job, &whole, 256), None, "the default");
        let packed = plan(&[(Compression::Gzip, 20_000_000)]);
        assert_eq!(told(&job, &packed, 300), None);
        assert!(small_batches(&job, &packed, 300, Some(200_000_000)).is_some(), "it is judged as it is sent");
    }
}
