//! What order by key costs, and what its absence means.

use super::{Prospect, file_order, idle_workers};
use crate::job::{ShardOrder, SourceRules};
use crate::{Compression, Order, Plan, SourceObject};

// Nanoseconds of a processor, measured on a virtual machine with two: one worker, a million orders of 190 bytes with a
// key of some 8 (190 MB; 52 MB as gzip, 49 MB as zstd) to an embedded broker, its phases and its CPU time.

/// For each stored byte of gzip: 0.65 s for 52 MB.
const GZIP_NS: f64 = 12.5;
/// For each stored byte of zstd: 0.2 s for 49 MB.
const ZSTD_NS: f64 = 4.0;
/// For each byte of a plain file: 0.1 s for 190 MB.
const PLAIN_NS: f64 = 0.5;
/// For each row of CSV, which is made into a JSON object before its key is found, also a row of another set: 140 ns
/// without quotes, 351 with each of eight fields in them, 453 with line ends in them (docs/csv.md).
const CSV_NS: f64 = 300.0;
/// For each record of another set: its line and its key are found, no more. 0.13 s a million in row 13 of the
/// benchmarks.
const PASSED_NS: f64 = 130.0;
/// For each record that is sent: its line and its key are found, and it is copied, handed over and acknowledged. 0.5 to
/// 0.7 s a million.
const SENT_NS: f64 = 500.0;

/// More than this is worth a warning.
const DEAR: f64 = 2.0;

/// How many times as long a job takes with order by key as without. It is of `workers` workers, each of which has a
/// processor to itself.
///
/// With it each worker reads all, finds the keys of all, and sends its part. Without, workers share all of this, but a
/// compressed file is read by one worker alone, whatever the others do.
pub fn cost_of_order(source: &SourceRules, plan: &Plan, workers: u32) -> f64 {
    let workers = f64::from(workers.max(1));
    let (bytes, records) = (plan.bytes() as f64, plan.records_estimate() as f64);
    let parsing = if is_csv(source) { CSV_NS } else { 0.0 };
    let reads = |object: &SourceObject| stored_bytes(object) + parsing * records * part(object, bytes);
    let reading: f64 = plan.objects.iter().map(reads).sum();
    let by_key = reading + records * (SENT_NS + PASSED_NS * (workers - 1.0)) / workers;
    let sends = |object: &SourceObject| SENT_NS * records * part(object, bytes);
    let alone = plan.objects.iter().filter(|object| object.compression != Compression::None);
    let longest = alone.map(|object| reads(object) + sends(object)).fold(0.0, f64::max);
    let by_shard = ((reading + records * SENT_NS) / workers).max(longest);
    by_key / by_shard.max(1.0)
}

fn is_csv(source: &SourceRules) -> bool {
    matches!(source, SourceRules::Csv(_))
}

/// What part of the dataset's bytes, and so probably of its records, is in a file.
fn part(object: &SourceObject, bytes: f64) -> f64 {
    object.known_bytes() as f64 / bytes.max(1.0)
}

/// What it takes to read a file's bytes.
fn stored_bytes(object: &SourceObject) -> f64 {
    let each = match object.compression {
        Compression::Gzip => GZIP_NS,
        Compression::Zstd => ZSTD_NS,
        Compression::None => PLAIN_NS,
    };
    each * object.known_bytes() as f64
}

/// What a user should know of the order that records keep.
pub fn of_order(prospect: &Prospect<'_>) -> Vec<String> {
    match prospect.order {
        Order::Key => {
            [without_meaning(prospect), dear(prospect), file_order::of_files(prospect)].into_iter().flatten().collect()
        }
        Order::Shard => not_by_key(prospect).into_iter().collect(),
    }
}

/// What of it is worth a warning when a run begins: more if it is the job's first.
pub fn of_order_in_run(prospect: &Prospect<'_>) -> Vec<String> {
    let (new, chosen) = (!prospect.begun, prospect.job.shards.by_key.is_some());
    match prospect.order {
        Order::Key => {
            let dear = if new && !chosen { dear(prospect) } else { None };
            let (files, idle) = if new { (file_order::of_files(prospect), idle_workers(prospect)) } else { (None, None) };
            without_meaning(prospect).into_iter().chain(dear).chain(files).chain(idle).collect()
        }
        Order::Shard if prospect.compacted => not_by_key(prospect).into_iter().collect(),
        Order::Shard => Vec::new(),
    }
}

/// Rules of shards that sets of partitions have no use for.
fn without_meaning(prospect: &Prospect<'_>) -> Option<String> {
    let rules = &prospect.job.shards;
    let name = match (rules.target_size.is_some(), rules.order != ShardOrder::Source) {
        (false, false) => return None,
        (true, false) => "shards.target_size means",
        (false, true) => "shards.order means",
        (true, true) => "shards.target_size and shards.order mean",
    };
    Some(format!("{name} nothing with order by key: each worker reads all"))
}

/// Told of compressed sources and of CSV. With plain JSON lines the brokers are the limit long before the workers'
/// processors, whatever this estimate says of these alone.
fn dear(prospect: &Prospect<'_>) -> Option<String> {
    let Prospect { job, plan, workers, .. } = *prospect;
    let compressed = plan.objects.iter().any(|object| object.compression != Compression::None);
    let does = match (compressed, is_csv(&job.source)) {
        (true, false) => "decompresses all",
        (false, true) => "reads and parses all",
        (true, true) => "decompresses and parses all",
        (false, false) => return None,
    };
    let sets = plan.partitions.map_or(workers, |partitions| workers.min(partitions));
    let times = cost_of_order(&job.source, plan, sets);
    (times > DEAR).then(|| {
        format!(
            "with order by key this takes about {} times as long as without, by an estimate: each of {sets} workers \
             {does} of the source. To keep the order: shards.by_key = true. To keep it within a shard and \
             partition only: shards.by_key = false",
            if times < 3.0 { format!("{times:.1}") } else { format!("{times:.0}") }
        )
    })
}

/// Records have keys, and their order is kept within a shard only.
fn not_by_key(prospect: &Prospect<'_>) -> Option<String> {
    prospect.job.record.key.as_ref()?;
    let compacted = if prospect.compacted {
        "this topic is compacted and keeps the last record of a key"
    } else {
        "what keeps the last record of a key (a compacted topic, a table)"
    };
    let joined = if prospect.compacted { ", which" } else { " may keep one that" };
    Some(format!(
        "records of a key may arrive in another order than the source's, because they are not sent in order by key: \
         {compacted}{joined} need not be the newest of the source"
    ))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::{Job, Segment};

    pub(crate) fn job() -> Job {
        job_of("source.jsonl")
    }

    fn job_of(source: &str) -> Job {
        Job::of_text(&format!(
            "[job]\nname = \"j\"\n[{source}]\npaths = [\"x\"]\n[kafka]\ntopic = \"t\"\n[record]\nkey = \".k\"\n"
        ))
    }

    /// One shard of files with these sizes, a record for each 200 bytes of a plain one and each 50 of others.
    pub(crate) fn plan(files: &[(Compression, u64)]) -> Plan {
        let mut plan = Plan::default();
        let (mut segments, mut records) = (Vec::new(), 0);
        for (object, &(compression, bytes)) in (0..).zip(files) {
            plan.objects.push(SourceObject {
                path: format!("{object}").into(),
                bytes: Some(bytes),
                modified_ns: 0,
                fingerprint: 0,
                compression,
                splittable: compression == Compression::None,
                record_starts: Vec::new(),
            });
            segments.push(Segment { object, start: 0, end: Segment::WHOLE, bytes: Some(bytes) });
            records += bytes / if compression == Compression::None { 200 } else { 50 };
        }
        plan.add(segments, records);
        plan
    }

    const MB: u64 = 1_000_000;

    /// Of JSON lines.
    fn cost(plan: &Plan, workers: u32) -> f64 {
        cost_of_order(&job().source, plan, workers)
    }

    #[test]
    fn order_costs_little_with_one_worker_or_one_file() {
        let files = vec![(Compression::Gzip, 50 * MB); 16];
        assert!((cost(&plan(&files), 1) - 1.0).abs() < 1e-9);
        let one = cost(&plan(&files[..1]), 8);
        assert!(one < 1.0, "one worker would send all of the file alone, now eight share what is sent: {one}");
        let plain = cost(&plan(&[(Compression::None, 3200 * MB)]), 2);
        assert!((1.0..2.0).contains(&plain), "{plain}");
    }

    #[test]
    fn the_more_workers_decompress_the_dearer_it_is() {
        let files = plan(&[(Compression::Gzip, 50 * MB); 16]);
        let times: Vec<f64> = [1, 2, 4, 8].into_iter().map(|workers| cost(&files, workers)).collect();
        assert!(times.is_sorted() && times[1] < 2.0 && (2.0..4.0).contains(&times[2]), "{times:?}");
        // One file that is as large as the others together bounds what can be won without order.
        let uneven = plan(&[(Compression::Gzip, 50 * MB), (Compression::Gzip, 750 * MB)]);
        assert!(cost(&uneven, 8) < times[1]);
        assert_eq!(cost(&Plan::default(), 4), 0.0, "nothing takes no time");
    }

    #[test]
    fn a_dear_order_is_told_with_what_to_choose_from() {
        let (job, files) = (job(), plan(&[(Compression::Gzip, 50 * MB); 16]));
        let told = |plan: &Plan, workers| {
            of_order(&Prospect { job: &job, plan, begun: false, order: Order::Key, workers, compacted: false }).join("\n")
        };
        let dear = told(&files, 8);
        assert!(dear.contains("about 6 times as long") && dear.contains("each of 8 workers decompresses"), "{dear}");
        assert!(dear.contains("shards.by_key = true") && dear.contains("shards.by_key = false"), "{dear}");
        assert_eq!(told(&files, 1), "");
        assert_eq!(told(&files.clone().into_sets(1, 8), 8), "", "one partition is one worker's");
        assert_eq!(told(&plan(&[(Compression::None, 800 * MB)]), 64), "", "brokers limit plain JSON lines first");
    }

    #[test]
    fn a_run_tells_what_can_still_be_chosen_and_what_may_be_wrong() {
        let (mut job, files) = (job(), plan(&[(Compression::Gzip, 50 * MB); 16]));
        let told = |job: &Job, order, compacted, new: bool| {
            of_order_in_run(&Prospect { job, plan: &files, begun: !new, order, workers: 8, compacted }).len()
        };
        assert_eq!((told(&job, Order::Key, true, true), told(&job, Order::Key, true, false)), (1, 0));
        assert_eq!((told(&job, Order::Shard, true, false), told(&job, Order::Shard, false, true)), (1, 0));
        job.shards.by_key = Some(true);
        assert_eq!(told(&job, Order::Key, false, true), 0, "that is what was chosen");
    }

    #[test]
    fn workers_without_a_partition_are_told_when_a_job_begins() {
        let (mut job, sets) = (job(), plan(&[(Compression::None, MB)]).into_sets(3, 8));
        job.workers.count = std::num::NonZeroU32::new(8);
        let told = |workers, begun| {
            of_order_in_run(&Prospect { job: &job, plan: &sets, begun, order: Order::Key, workers, compacted: false })
        };
        assert!(matches!(&told(8, false)[..], [told] if told.starts_with("only 3 partitions for 8 workers")));
        assert_eq!((told(3, false), told(8, true)), (Vec::new(), Vec::new()));
    }

    #[test]
    fn rows_of_csv_are_parsed_by_each_worker() {
        let csv = job_of("source.csv");
        let (plain, packed) = (plan(&[(Compression::None, 800 * MB)]), plan(&[(Compression::Gzip, 50 * MB); 16]));
        assert!((cost_of_order(&csv.source, &plain, 1) - 1.0).abs() < 1e-9, "both ways parse each row once");
        assert!(cost_of_order(&csv.source, &plain, 2) > 1.1 * cost(&plain, 2));
        let told = |plan: &Plan, workers| {
            of_order(&Prospect { job: &csv, plan, begun: false, order: Order::Key, workers, compacted: false }).join("\n")
        };
        assert_eq!(told(&plain, 2), "", "less than twice");
        assert!(told(&plain, 8).contains("each of 8 workers reads and parses all of the source"), "{}", told(&plain, 8));
        assert!(told(&packed, 8).contains("each of 8 workers decompresses and parses all of the source"));
    }

    #[test]
    fn rules_that_mean_nothing_are_told() {
        let (mut job, plan) = (job(), plan(&[(Compression::None, MB)]));
        let told =
            |job: &Job, order| of_order(&Prospect { job, plan: &plan, begun: false, order, workers: 1, compacted: false });
        assert_eq!(told(&job, Order::Key), Vec::<String>::new());
        job.shards.target_size = Some(MB);
        assert_eq!(told(&job, Order::Key), ["shards.target_size means nothing with order by key: each worker reads all"]);
        job.shards.order = ShardOrder::LargestFirst;
        assert!(told(&job, Order::Key)[0].starts_with("shards.target_size and shards.order mean nothing"));
        assert!(!told(&job, Order::Shard)[0].contains("target_size"));
    }

    #[test]
    fn keys_without_their_order_are_told() {
        let (mut job, plan) = (job(), plan(&[(Compression::None, MB)]));
        let told = |job: &Job, compacted| {
            of_order(&Prospect { job, plan: &plan, begun: false, order: Order::Shard, workers: 1, compacted })
        };
        assert!(told(&job, false)[0].contains("what keeps the last record of a key (a compacted topic, a table) may keep one"));
        assert!(told(&job, true)[0].ends_with("keeps the last record of a key, which need not be the newest of the source"));
        job.record.key = None;
        assert_eq!(told(&job, true), Vec::<String>::new(), "there is no key whose order could be another");
    }
}
