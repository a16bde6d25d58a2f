//! Shards with sets of partitions: all read the same, each row is one shard's own, and each partition has the source's
//! order.

use std::collections::{BTreeMap, BTreeSet};

use migration::{Division, Segment};
use proptest::prelude::*;

use super::order::{self, Kind, kind};
use super::*;
use crate::fate::OwnRows;

/// A plan that reads the rig's segments in sets.
fn plan(rig: &Rig, sets: u32) -> Plan {
    let mut plan = Plan::default();
    let all = (0..).zip(rig.segments.iter());
    let segments = all.map(|(object, bytes)| (object, bytes.len() as u64));
    plan.add(segments.map(|(object, bytes)| Segment { object, start: 0, end: bytes, bytes: Some(bytes) }).collect(), 1);
    plan.into_sets(rig.partitions, sets)
}

/// The shards of a job: each with its own worker and dead letters, all with one topic.
struct Job {
    plan: Plan,
    rigs: Vec<Rig>,
    positions: Vec<Position>,
    counts: Vec<Counts>,
    deaths: u64,
}

impl Job {
    fn new(kinds: &[Kind], seed: u64, sets: u32, set_up: impl Fn(&mut Rig)) -> Job {
        let rig = |topic: Option<&Rig>| {
            let mut rig = order::rig(kinds, true, seed);
            set_up(&mut rig);
            rig.topic = topic.and_then(|first| first.topic.clone());
            rig
        };
        let mut first = rig(None);
        let plan = plan(&first, sets);
        drop(first.worker(Position::default()));
        let mut rigs = vec![first];
        while rigs.len() < rig(None).partitions as usize {
            rigs.push(rig(rigs.first()));
        }
        let (positions, counts) = (vec![Position::default(); rigs.len()], vec![Counts::default(); rigs.len()]);
        Job { plan, rigs, positions, counts, deaths: 0 }
    }

    /// One attempt at a shard that is killed, or drains, at a step. Whether the shard is at its end.
    fn attempt(&mut self, shard: usize, kill: Option<u64>, drain: Option<u64>) -> Result<bool, TestCaseError> {
        let (rig, from) = (&mut self.rigs[shard], self.positions[shard]);
        rig.settings.own = OwnRows::of(&self.plan, &self.plan.shards[shard], rig.settings.partitioner);
        prop_assert!(rig.settings.own.is_some());
        rig.kill_at = kill;
        let attempt = rig.run(from, &mut |control, told| control.drain = drain.is_some_and(|step| told.step >= step));
        for chunk in &attempt.chunks {
            prop_assert!(chunk.counts.balance() && chunk.counts.read <= rig.settings.chunk.records);
            prop_assert!(chunk.position > self.positions[shard]);
            prop_assert_eq!(chunk.counts.passed(), chunk.position.records - self.positions[shard].records);
            self.positions[shard] = chunk.position;
            self.counts[shard].add(&chunk.counts);
        }
        match attempt.end {
            Ok(end) => {
                prop_assert_eq!(end.position, self.positions[shard]);
                Ok(end.complete)
            }
            Err(failure) => {
                prop_assert_eq!(failure.message, "killed");
                self.deaths += 1;
                Ok(false)
            }
        }
    }

    /// Parts a shard that has drained, if it has partitions for that.
    fn split(&mut self, shard: usize, sets: u32) {
        let id = self.plan.shards[shard].id;
        if let Ok(added) = self.plan.split(id, &self.positions[shard], &Division::Partitions(sets)) {
            added.for_each(|piece| self.positions[piece as usize] = self.positions[shard]);
        }
    }

    /// Each row once, or again after a death; first and last copies in the source's order; counts right.
    fn judge(&self) -> Result<(), TestCaseError> {
        let lines = self.rigs[0].lines();
        let expected: BTreeSet<u64> =
            lines.iter().filter(|line| !line.trim_ascii().is_empty()).map(|line| number(line)).collect();
        let letters: Vec<u64> = self.rigs.iter().flat_map(Rig::letters).map(|letter| number(&letter.record)).collect();
        let delivered = self.rigs[0].delivered();
        let mut seen: BTreeSet<u64> = delivered.concat().into_iter().collect();
        prop_assert!(letters.iter().all(|letter| seen.insert(*letter)), "each letter once, and not in the topic");
        prop_assert_eq!(seen, expected);

        let mut partition_of = BTreeMap::new();
        for (partition, numbers) in delivered.iter().enumerate() {
            for number in numbers {
                let before = partition_of.insert(*number, partition);
                prop_assert!(before.is_none_or(|before| before == partition), "a copy of {number} went elsewhere");
            }
            let mut known = BTreeSet::new();
            let first: Vec<u64> = numbers.iter().copied().filter(|number| known.insert(*number)).collect();
            let mut known = BTreeSet::new();
            let last: Vec<u64> = numbers.iter().rev().copied().filter(|number| known.insert(*number)).collect();
            prop_assert!(first.is_sorted() && last.iter().rev().is_sorted(), "order in partition {partition}: {numbers:?}");
        }
        let mut sum = Counts::default();
        self.counts.iter().for_each(|counts| sum.add(counts));
        prop_assert_eq!(sum.read, lines.len() as u64);
        prop_assert_eq!(sum.dead_lettered, letters.len() as u64);
        prop_assert_eq!(sum.bytes_read, self.rigs[0].segments.iter().map(|s| s.len() as u64).sum::<u64>());
        let copies = delivered.iter().map(Vec::len).sum::<usize>() as u64;
        prop_assert!(copies - sum.acknowledged <= self.deaths * self.rigs[0].settings.chunk.records);
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn each_row_is_one_shards_and_each_partition_has_the_sources_order(
        kinds in prop::collection::vec(kind(), 0..3_000),
        made: bool,
        seed: u64,
        partitions in 1u32..7,
        sets in 1u32..5,
        batch_bytes in prop_oneof![Just(300usize), Just(3_000), Just(1_000_000)],
        chunk_records in prop_oneof![Just(1u64), Just(97), Just(1_000_000)],
        ends in prop::collection::vec((any::<bool>(), 0u64..300, 1u32..4), 0..8),
    ) {
        let mut job = Job::new(&kinds, seed, sets, |rig| {
            rig.made = made;
            rig.partitions = partitions;
            rig.behaviour.limits.batch_bytes = batch_bytes;
            rig.settings.chunk.records = chunk_records;
            rig.settings.in_flight = 0;
        });
        let (mut open, mut ends) = ((0..job.plan.shards.len()).collect::<Vec<usize>>(), ends.into_iter());
        while let Some(shard) = open.pop() {
            let end = ends.next();
            let (kill, drain) = match end {
                Some((true, step, _)) => (Some(step), None),
                Some((false, step, _)) => (None, Some(step)),
                None => (None, None),
            };
            let complete = job.attempt(shard, kill, drain)?;
            if !complete {
                let before = job.plan.shards.len();
                if let Some((false, _, pieces)) = end {
                    job.split(shard, pieces);
                }
                open.push(shard);
                open.splice(0..0, before..job.plan.shards.len());
            }
        }
        judge_sets(&job.plan);
        job.judge()?;
    }
}

/// Each partition is in one set.
fn judge_sets(plan: &Plan) {
    let sets = plan.shards.iter().filter_map(|shard| shard.partitions.as_ref());
    let mut all: Vec<u32> = sets.flat_map(|set| set.iter().collect::<Vec<_>>()).collect();
    all.sort_unstable();
    assert_eq!(all, (0..plan.partitions.unwrap_or(0)).collect::<Vec<_>>());
}

#[test]
fn a_chunk_of_others_alone_ends_with_its_interval() {
    let mut rig = Rig::new(keys(200_000, NonZeroU64::MIN)).keyed();
    let plan = plan(&rig, 4);
    let own = |shard| OwnRows::of(&plan, &plan.shards[shard], rig.settings.partitioner);
    let others = (0..4).find(|&shard| {
        let mut mapping = Mapping::new(&rig.rules);
        own(shard)
            .is_some_and(|own| own.whose(&mut mapping, Look::Record(rig.lines()[0]), || unreachable!()) == fate::Whose::Others)
    });
    rig.settings.own = own(others.expect("one key belongs to one of four sets"));
    rig.settings.chunk.interval = Duration::from_micros(1);
    let attempt = rig.run_through();
    assert!(attempt.end.is_ok_and(|end| end.complete && end.position.records == 200_000));
    assert!(attempt.chunks.len() > 2, "{}", attempt.chunks.len());
    assert!(attempt.chunks.iter().all(|chunk| chunk.counts.read == 0 && chunk.counts.others > 0));
    assert_eq!(rig.stored(), 0);
}
