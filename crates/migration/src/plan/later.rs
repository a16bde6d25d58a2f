//! Objects that came later: what a plan becomes when files are added to it after it was frozen.

use std::collections::BTreeMap;
use std::ops::Range;

use super::{Plan, Position, Segment, Shard, ShardId, sum_of};

/// What [`Plan::extend`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extended {
    /// Shards that read more now, each with how many segments it had.
    pub grown: Vec<(ShardId, u32)>,
    /// The numbers of the shards that are new.
    pub added: Range<u32>,
}

impl Plan {
    /// Adds what another plan reads, behind all that this one does. Without sets of partitions its shards come behind
    /// all others; with sets each that reads the dataset's end reads on there, and the other plan is one shard of
    /// everything. `sets`: how many sets a plan gets that has none yet, because it has nothing to read. What makes no
    /// sense changes nothing.
    pub fn extend(&mut self, later: Plan, sets: u32) -> Result<Extended, String> {
        if let Some(wrong) = self.refuse(&later) {
            return Err(wrong);
        }
        let (before, first) = (self.shards.len() as u32, self.objects.len() as u32);
        let grown = match self.partitions {
            Some(_) if before > 0 => self.grow(&later, first),
            partitions => {
                for shard in &later.shards {
                    self.add(moved(later.segments(shard), first), shard.records_estimate);
                }
                if let Some(partitions) = partitions {
                    *self = std::mem::take(self).into_sets(partitions, sets);
                }
                Vec::new()
            }
        };
        self.additions.push(first);
        self.objects.extend(later.objects);
        let new: Vec<String> = later.notes.into_iter().filter(|note| !self.notes.contains(note)).collect();
        self.notes.extend(new);
        Ok(Extended { grown, added: before..self.shards.len() as u32 })
    }

    /// The objects of the plan as it was made, and those of each addition, in source order within each.
    pub fn generations(&self) -> impl Iterator<Item = Range<usize>> {
        let at = |index: &u32| (*index as usize).min(self.objects.len());
        let begins = std::iter::once(0).chain(self.additions.iter().map(at));
        let ends = self.additions.iter().map(at).chain([self.objects.len()]);
        begins.zip(ends).map(|(begin, end)| begin..end.max(begin))
    }

    /// How many objects came later.
    pub fn later_objects(&self) -> usize {
        self.additions.first().map_or(0, |first| self.objects.len().saturating_sub(*first as usize))
    }

    /// Why another plan can't be added.
    fn refuse(&self, later: &Plan) -> Option<String> {
        if self.limit_reached || later.limit_reached {
            return Some("a plan with a limit of records has an end".to_owned());
        }
        if later.partitions.is_some() || self.partitions.is_some() && later.shards.len() > 1 {
            return Some("what is added to sets of partitions is one shard without a set".to_owned());
        }
        let objects = later.objects.len() as u32;
        let outside = |shard: &Shard| {
            let segments = later.segments(shard);
            segments.len() != shard.segments.len() || segments.is_empty() || segments.iter().any(|s| s.object >= objects)
        };
        later.shards.iter().any(outside).then(|| "what is added reads what it does not have".to_owned())
    }

    /// Lets each shard that reads the dataset's end read on. Of a set that was cut by place only its last piece does.
    fn grow(&mut self, later: &Plan, first: u32) -> Vec<(ShardId, u32)> {
        let Some(whole) = later.shards.first() else { return Vec::new() };
        let new = moved(later.segments(whole), first);
        let end_of = |plan: &Plan, shard: &Shard| plan.segments(shard).last().map(|segment| (segment.object, segment.end));
        let end = self.shards.iter().filter_map(|shard| end_of(self, shard)).max();
        let last: Vec<usize> = (0..self.shards.len()).filter(|index| end_of(self, &self.shards[*index]) == end).collect();
        // Shards that read the same segments still do: so it is known that the plan keeps the order of keys.
        let mut ranges: BTreeMap<(u32, u32), Range<u32>> = BTreeMap::new();
        let mut grown = Vec::new();
        for index in last {
            let shard = &self.shards[index];
            let old = shard.segments.clone();
            let range = ranges.entry((old.start, old.end)).or_insert_with(|| {
                let begin = self.segments.len() as u32;
                self.segments.extend_from_within(old.start as usize..old.end as usize);
                self.segments.extend(new.iter().cloned());
                begin..self.segments.len() as u32
            });
            let (segments, bytes) = (range.clone(), sum_of(&self.segments[range.start as usize..range.end as usize]));
            let shard = &mut self.shards[index];
            grown.push((shard.id, old.len() as u32));
            (shard.segments, shard.bytes) = (segments, bytes);
            shard.records_estimate += whole.records_estimate;
        }
        grown
    }

    /// Where a shard that grew goes on that was at its end: at the first segment that is new to it.
    pub fn goes_on_at(&self, shard: &Shard, segments_before: u32, records: u64) -> Position {
        let place = self.segments(shard).get(segments_before as usize).map_or(0, |segment| segment.start);
        Position { segment: segments_before, place, records }
    }
}

/// Segments of objects whose numbers begin at `first` here.
fn moved(segments: &[Segment], first: u32) -> Vec<Segment> {
    segments.iter().map(|segment| Segment { object: segment.object + first, ..segment.clone() }).collect()
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, Cut, Division, PartitionSet, SourceObject};
    use super::*;

    fn object(name: &str, bytes: u64) -> SourceObject {
        SourceObject {
            path: name.into(),
            bytes: Some(bytes),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        }
    }

    /// Files of these sizes, each a shard; or (`whole`) one shard of all.
    fn files(names: &str, sizes: &[u64], whole: bool) -> Plan {
        let objects = names.split(' ').zip(sizes).map(|(name, bytes)| object(name, *bytes)).collect();
        let mut plan = Plan { objects, ..Plan::default() };
        let segment = |(object, bytes): (u32, &u64)| Segment { object, start: 0, end: *bytes, bytes: Some(*bytes) };
        let segments: Vec<Segment> = (0..).zip(sizes).filter(|(_, bytes)| **bytes > 0).map(segment).collect();
        match whole {
            true if segments.is_empty() => {}
            true => plan.add(segments, 10 * sizes.len() as u64),
            false => segments.into_iter().for_each(|segment| plan.add(vec![segment], 10)),
        }
        plan
    }

    /// Of each shard its segments as (object, start, end).
    fn seen(plan: &Plan) -> Vec<Vec<(u32, u64, u64)>> {
        let of = |shard| plan.segments(shard).iter().map(|s: &Segment| (s.object, s.start, s.end)).collect();
        plan.shards.iter().map(of).collect()
    }

    #[test]
    fn files_that_came_later_are_shards_behind_all_others() {
        let mut plan = files("a b", &[100, 50], false);
        plan.notes = vec!["both".to_owned()];
        let mut later = files("0 c", &[0, 30], false);
        later.notes = vec!["both".to_owned(), "new".to_owned()];
        assert_eq!(plan.extend(later, 9), Ok(Extended { grown: Vec::new(), added: 2..3 }));
        assert_eq!(seen(&plan), [[(0, 0, 100)], [(1, 0, 50)], [(3, 0, 30)]]);
        assert_eq!((plan.bytes(), plan.records_estimate(), plan.later_objects()), (180, 30, 2));
        assert_eq!(plan.notes, ["both", "new"]);
        assert_eq!(plan.generations().collect::<Vec<_>>(), [0..2, 2..4]);
        // A file without a record is known, and nothing is to be sent of it.
        assert_eq!(plan.extend(files("d", &[0], false), 9), Ok(Extended { grown: Vec::new(), added: 3..3 }));
        assert_eq!((plan.objects.len(), plan.shards.len(), plan.later_objects()), (5, 3, 3));
    }

    #[test]
    fn each_set_reads_on_at_its_end_and_the_order_of_keys_is_kept() {
        let mut plan = files("a b", &[100, 50], true).into_sets(4, 2);
        let at = Position { segment: 0, place: 30, records: 3 };
        plan.split(ShardId(1), &at, &Division::Partitions(2)).unwrap();
        let extended = plan.extend(files("c d", &[30, 20], true), 9).unwrap();
        assert_eq!(extended, Extended { grown: vec![(ShardId(0), 2), (ShardId(1), 2), (ShardId(2), 2)], added: 3..3 });
        assert!(seen(&plan).iter().all(|of| *of == [(0, 0, 100), (1, 0, 50), (2, 0, 30), (3, 0, 20)]));
        assert!(plan.keeps_order_of_keys());
        assert_eq!((plan.bytes(), plan.records_estimate(), plan.shards[2].start), (200, 40, at));
        assert_eq!(plan.goes_on_at(&plan.shards[0], 2, 7), Position { segment: 2, place: 0, records: 7 });
        // Again, and it is split behind what came later.
        plan.extend(files("e", &[5], true), 9).unwrap();
        assert_eq!((plan.shards[0].segments.len(), plan.generations().count()), (5, 3));
        let behind = Position { segment: 3, place: 4, records: 15 };
        plan.split(ShardId(0), &behind, &Division::Partitions(2)).unwrap();
        assert!(plan.keeps_order_of_keys());
        assert_eq!((plan.shards.len(), plan.bytes()), (4, 205));
    }

    #[test]
    fn of_a_set_that_was_cut_by_place_its_last_piece_reads_on() {
        let mut plan = files("a b", &[100, 50], true).into_sets(4, 2);
        let cuts =
            |cuts: &[(u32, u64)]| Division::Places(cuts.iter().map(|&(segment, place)| Cut { segment, place }).collect());
        plan.split(ShardId(0), &Position::default(), &cuts(&[(0, 60), (1, 20)])).unwrap();
        let extended = plan.extend(files("c", &[30], true), 9).unwrap();
        assert_eq!(extended.grown, [(ShardId(1), 2), (ShardId(3), 1)]);
        let expected = [
            vec![(0, 0, 60)],
            vec![(0, 0, 100), (1, 0, 50), (2, 0, 30)],
            vec![(0, 60, 100), (1, 0, 20)],
            vec![(1, 20, 50), (2, 0, 30)],
        ];
        assert_eq!(seen(&plan), expected);
        assert_eq!((plan.bytes(), plan.keeps_order_of_keys()), (180, false));
    }

    #[test]
    fn sets_of_nothing_begin_with_what_came_later() {
        let mut plan = files("a", &[0], true).into_sets(5, 2);
        assert!(plan.shards.is_empty());
        assert_eq!(plan.extend(files("b", &[30], true), 3).unwrap().added, 0..3);
        assert!(plan.keeps_order_of_keys() && plan.bytes() == 30);
        assert_eq!((plan.partitions, plan.keyless.iter().collect::<Vec<_>>()), (Some(5), vec![0, 3]));
        assert_eq!(plan.object(&plan.segments[0]).path, std::path::Path::new("b"));
    }

    #[test]
    fn what_can_not_be_added_changes_nothing() {
        let plan = files("a", &[10], true).into_sets(4, 2);
        let limited = Plan { limit_reached: true, ..files("b", &[10], true) };
        let mut foreign = files("b", &[10], true);
        foreign.segments[0].object = 1;
        let mut short = files("b", &[10], true);
        short.segments.clear();
        for wrong in [limited, foreign, short, files("b c", &[10, 10], false), files("b", &[10], true).into_sets(4, 2)] {
            let mut tried = plan.clone();
            assert!(tried.extend(wrong, 2).is_err());
            assert_eq!(tried, plan);
        }
    }

    /// A generator of numbers, for worlds that are the same each time.
    struct Random(u64);

    impl Random {
        fn below(&mut self, most: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % most.max(1)
        }
    }

    /// A plan whose shards send, split and grow at random, with a note of how often each byte is sent to each
    /// partition.
    struct World {
        plan: Plan,
        positions: Vec<Position>,
        random: Random,
        /// By object, byte and partition.
        sent: Vec<Vec<[u32; PARTITIONS as usize]>>,
        /// By partition, what was sent last.
        last: [(u32, u64); PARTITIONS as usize],
        ordered: bool,
    }

    const PARTITIONS: u32 = 6;

    impl World {
        fn new(seed: u64, by_key: bool) -> World {
            let mut random = Random(seed);
            let (names, sizes) = files_of(&mut random);
            let plan = files(&names, &sizes, by_key);
            let plan = if by_key { plan.into_sets(PARTITIONS, 1 + random.below(3) as u32) } else { plan };
            let positions = plan.shards.iter().map(|shard| shard.start).collect();
            let sent = sizes.iter().map(|bytes| vec![[0; PARTITIONS as usize]; *bytes as usize]).collect();
            World { plan, positions, random, sent, last: [(0, 0); PARTITIONS as usize], ordered: by_key }
        }

        /// A shard goes on for some bytes, which are records here.
        fn send(&mut self, index: usize, most: u64) {
            let shard = self.plan.shards[index].clone();
            let segments = self.plan.segments(&shard).to_vec();
            let mut at = self.positions[index];
            for _ in 0..most {
                while segments.get(at.segment as usize).is_some_and(|segment| at.place >= segment.end) {
                    let Some(next) = segments.get(at.segment as usize + 1) else { break };
                    (at.segment, at.place) = (at.segment + 1, next.start);
                }
                let Some(segment) = segments.get(at.segment as usize).filter(|segment| at.place < segment.end) else { break };
                let own = |partition: &u32| shard.partitions.as_ref().is_none_or(|set| set.contains(*partition));
                for partition in (0..PARTITIONS).filter(own) {
                    self.sent[segment.object as usize][at.place as usize][partition as usize] += 1;
                    let record = (segment.object, at.place + 1);
                    assert!(!self.ordered || self.last[partition as usize] < record, "partition {partition} goes back");
                    self.last[partition as usize] = record;
                }
                (at.place, at.records) = (at.place + 1, at.records + 1);
            }
            self.positions[index] = at;
        }

        fn split(&mut self, index: usize) {
            let shard = &self.plan.shards[index];
            let (id, from) = (shard.id, self.positions[index]);
            let sets = shard.partitions.as_ref().map_or(0, PartitionSet::len);
            let by_place = self.random.below(4) == 0 || sets == 0;
            let division = if by_place {
                let segment = self.random.below(shard.segments.len() as u64) as u32;
                let Segment { start, end, .. } = self.plan.segments(shard)[segment as usize];
                Division::Places(vec![Cut { segment, place: start + self.random.below(end - start) }])
            } else {
                Division::Partitions(2 + self.random.below(2) as u32)
            };
            let Ok(added) = self.plan.split(id, &from, &division) else { return };
            self.ordered &= !by_place;
            self.positions.extend(added.map(|piece| self.plan.shards[piece as usize].start));
        }

        fn grow(&mut self) {
            let (names, sizes) = files_of(&mut self.random);
            let extended = self.plan.extend(files(&names, &sizes, self.plan.partitions.is_some()), 2).unwrap();
            self.sent.extend(sizes.iter().map(|bytes| vec![[0; PARTITIONS as usize]; *bytes as usize]));
            for (id, before) in extended.grown {
                let (shard, position) = (&self.plan.shards[id.0 as usize], &mut self.positions[id.0 as usize]);
                let last = &self.plan.segments(shard)[before as usize - 1];
                if position.segment + 1 == before && position.place == last.end {
                    *position = self.plan.goes_on_at(shard, before, position.records);
                }
            }
            self.positions.extend(extended.added.map(|new| self.plan.shards[new as usize].start));
        }
    }

    fn files_of(random: &mut Random) -> (String, Vec<u64>) {
        let sizes: Vec<u64> = (0..1 + random.below(3)).map(|_| random.below(4) * random.below(9)).collect();
        (vec!["f"; sizes.len()].join(" "), sizes)
    }

    #[test]
    fn whatever_is_split_and_added_each_record_is_sent_once_and_in_order() {
        for seed in 0..2_000 {
            let mut world = World::new(seed, seed % 3 > 0);
            for _ in 0..20 {
                match world.random.below(6) {
                    0 => world.grow(),
                    step if !world.plan.shards.is_empty() => {
                        let index = world.random.below(world.plan.shards.len() as u64) as usize;
                        if step == 1 { world.split(index) } else { world.send(index, step * step) }
                    }
                    _ => {}
                }
            }
            assert!((0..).zip(&world.plan.shards).all(|(id, shard)| shard.id == ShardId(id)));
            assert!(!world.ordered || world.plan.keeps_order_of_keys(), "seed {seed}");
            (0..world.plan.shards.len()).for_each(|index| world.send(index, u64::MAX));
            let lost = world.sent.iter().flatten().flatten().filter(|times| **times != 1).count();
            assert_eq!(lost, 0, "seed {seed}: {:#?}", world.plan);
            let bytes: usize = world.sent.iter().map(Vec::len).sum();
            assert_eq!(world.plan.bytes(), bytes as u64, "seed {seed}");
        }
    }
}
