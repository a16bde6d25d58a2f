//! Deals the source out to the workers of one run: each begins at another place, or has a set of the topic's partitions
//! where the job keeps order by key; all have enough.

use migration::{Plan, Segment};

/// More segments than this are never dealt to a worker: a run on a tiny source may end early instead.
const MOST_SEGMENTS: usize = 50_000;

/// A plan with a shard for each worker: the source's segments, beginning at worker·len/workers, round and round until
/// there are at least `records` by the plan's estimate.
pub(crate) fn deal(source: &Plan, workers: u32, records: u64) -> Plan {
    let mut plan = Plan { objects: source.objects.clone(), max_line: source.max_line, ..Plan::default() };
    for worker in 0..workers {
        add(&mut plan, source, f64::from(worker) / f64::from(workers.max(1)), records);
    }
    plan
}

/// The same as the job would be run that keeps order by key: each worker reads everything from its beginning, and sends
/// what belongs to its set of the topic's `partitions`. At most as many workers as that.
pub(crate) fn deal_by_key(source: &Plan, workers: u32, partitions: u32, records: u64) -> Plan {
    let mut plan = Plan { objects: source.objects.clone(), max_line: source.max_line, ..Plan::default() };
    add(&mut plan, source, 0.0, records.saturating_mul(workers.into()));
    plan.into_sets(partitions, workers)
}

/// Adds a shard that begins at a part (0 to 1) of the source.
fn add(plan: &mut Plan, source: &Plan, from: f64, records: u64) {
    let all: Vec<&Segment> = source.shards.iter().flat_map(|shard| source.segments(shard)).collect();
    let estimate = source.records_estimate().max(1);
    let times = repeats(all.len(), estimate, records);
    let first = (all.len() as f64 * from) as usize;
    let once = all[first..].iter().chain(&all[..first]);
    let segments = once.cycle().take(all.len() * times).map(|segment| (*segment).clone()).collect();
    plan.add(segments, estimate.saturating_mul(times as u64));
}

fn repeats(segments: usize, estimate: u64, records: u64) -> usize {
    let wanted = usize::try_from(records.div_ceil(estimate)).unwrap_or(usize::MAX);
    wanted.clamp(1, (MOST_SEGMENTS / segments.max(1)).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(segments: u64, records: u64) -> Plan {
        let segment = |i| Segment { object: 0, start: i * 10, end: i * 10 + 10, bytes: Some(10) };
        let mut plan = Plan::default();
        plan.add((0..segments).map(segment).collect(), records);
        plan
    }

    fn starts(plan: &Plan) -> Vec<Vec<u64>> {
        plan.shards.iter().map(|shard| plan.segments(shard).iter().map(|segment| segment.start).collect()).collect()
    }

    #[test]
    fn each_worker_begins_at_another_place_and_gets_everything() {
        let plan = deal(&source(4, 100), 2, 100);
        assert_eq!(starts(&plan), [vec![0, 10, 20, 30], vec![20, 30, 0, 10]]);
        assert_eq!(plan.shards[1].id, migration::ShardId(1));
    }

    #[test]
    fn a_short_source_is_dealt_round_and_round() {
        let plan = deal(&source(2, 10), 1, 25);
        assert_eq!(starts(&plan), [[0, 10, 0, 10, 0, 10]]);
        assert_eq!((plan.shards[0].records_estimate, plan.shards[0].bytes), (30, Some(60)));
    }

    #[test]
    fn more_workers_than_segments_share_their_starts() {
        let plan = deal(&source(1, 10), 3, 10);
        assert_eq!(starts(&plan), [[0], [0], [0]]);
    }

    #[test]
    fn by_key_each_worker_has_a_set_of_partitions_and_everything_to_read() {
        let plan = deal_by_key(&source(4, 100), 2, 5, 100);
        assert_eq!(starts(&plan), [[0, 10, 20, 30, 0, 10, 20, 30]; 2], "only a half of what it reads is its own");
        let sets: Vec<Vec<u32>> = plan.shards.iter().map(|shard| shard.partitions.as_ref().unwrap().iter().collect()).collect();
        assert_eq!((sets, plan.partitions), (vec![vec![0, 2, 4], vec![1, 3]], Some(5)));
        assert!(plan.keeps_order_of_keys());
    }

    #[test]
    fn a_tiny_source_is_not_dealt_for_ever() {
        let plan = deal(&source(3, 1), 1, u64::MAX);
        assert_eq!(plan.segments.len(), MOST_SEGMENTS / 3 * 3);
    }
}
