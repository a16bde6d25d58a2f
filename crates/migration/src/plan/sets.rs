//! Sets of partitions: shards that all read the whole dataset, and of which each sends only the records of its own
//! partitions, so that each key's records keep the source's order (design note 0008).

use serde::{Deserialize, Serialize};

use super::{Plan, Shard, ShardId};

/// Partitions of a topic, as a set of bits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionSet(Vec<u64>);

impl PartitionSet {
    /// Whether a partition is one of them.
    #[inline]
    pub fn contains(&self, partition: u32) -> bool {
        self.0.get(partition as usize / 64).is_some_and(|word| word >> (partition % 64) & 1 == 1)
    }

    /// Whether a record of this partition belongs to the set, or (`None`) a row that is no record: where partition 0
    /// does.
    #[inline]
    pub fn takes(&self, partition: Option<u32>) -> bool {
        self.contains(partition.unwrap_or(0))
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = u32> {
        (0..64 * self.0.len() as u32).filter(|partition| self.contains(*partition))
    }

    /// Whether there is one, and all are of a topic with this number of partitions.
    pub(super) fn is_within(&self, partitions: u32) -> bool {
        self.0.len() <= partitions.div_ceil(64) as usize && !self.is_empty() && self.iter().all(|one| one < partitions)
    }

    /// How many there are.
    pub fn len(&self) -> u32 {
        self.0.iter().map(|word| word.count_ones()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Parted into `sets` sets, as even as can be; the first has its first partition.
    pub(super) fn parted(&self, sets: u32) -> impl Iterator<Item = PartitionSet> {
        (0..sets).map(move |set| self.iter().skip(set as usize).step_by(sets as usize).collect())
    }
}

impl FromIterator<u32> for PartitionSet {
    fn from_iter<T: IntoIterator<Item = u32>>(partitions: T) -> Self {
        let mut set = PartitionSet::default();
        for partition in partitions {
            let word = partition as usize / 64;
            if set.0.len() <= word {
                set.0.resize(word + 1, 0);
            }
            set.0[word] |= 1 << (partition % 64);
        }
        set
    }
}

impl Plan {
    /// A plan of one shard that reads everything, as one for a topic of `partitions` partitions in which each of at
    /// most `sets` shards sends only the records of its own. Of an empty dataset there is none.
    #[must_use]
    pub fn into_sets(mut self, partitions: u32, sets: u32) -> Plan {
        assert!(self.shards.len() <= 1, "a set is one of the whole dataset, and a shard would be lost");
        let all: PartitionSet = (0..partitions.max(1)).collect();
        let sets: Vec<PartitionSet> = all.parted(sets.clamp(1, all.len())).collect();
        self.keyless = sets[0].clone();
        self.partitions = Some(all.len());
        let Some(whole) = self.shards.pop() else { return self };
        let of = |(id, set)| Shard { id: ShardId(id), partitions: Some(set), ..whole.clone() };
        self.shards = (0..).zip(sets).map(of).collect();
        self
    }

    /// Shards that read the whole dataset once: of those with sets of partitions the ones with partition 0, for each
    /// partition's shards cover the dataset.
    pub fn once(&self) -> impl Iterator<Item = &Shard> {
        self.shards.iter().filter(|shard| shard.partitions.as_ref().is_none_or(|set| set.contains(0)))
    }

    /// What part of the records that it reads a shard probably sends: its partitions, and of how many.
    pub fn part(&self, shard: &Shard) -> (u32, u32) {
        match (&shard.partitions, self.partitions) {
            (Some(set), Some(all)) => (set.len(), all),
            _ => (1, 1),
        }
    }

    /// Whether each key's records keep the order that they have in the dataset: each shard sends some partitions'
    /// records of all of it. Without sets they keep it within a shard.
    pub fn keeps_order_of_keys(&self) -> bool {
        let whole = self.shards.first().map(|first| first.segments.clone());
        self.shards.iter().all(|shard| shard.partitions.is_some() && Some(&shard.segments) == whole.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, Cut, Division, Segment, SourceObject};
    use super::*;
    use crate::Position;

    fn plan(partitions: u32, sets: u32) -> Plan {
        let object = SourceObject {
            path: "x".into(),
            bytes: Some(70),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::Gzip,
            splittable: false,
            record_starts: Vec::new(),
        };
        let mut plan = Plan { objects: vec![object], ..Plan::default() };
        plan.add(vec![Segment { object: 0, start: 0, end: Segment::WHOLE, bytes: Some(70) }], 40);
        plan.into_sets(partitions, sets)
    }

    fn sets(plan: &Plan) -> Vec<Vec<u32>> {
        plan.shards.iter().map(|shard| shard.partitions.iter().flat_map(PartitionSet::iter).collect()).collect()
    }

    #[test]
    fn each_partition_is_in_one_set() {
        assert_eq!(sets(&plan(5, 2)), [vec![0, 2, 4], vec![1, 3]]);
        assert_eq!(sets(&plan(2, 8)), [[0], [1]], "no more sets than partitions");
        assert_eq!(sets(&plan(130, 1))[0].len(), 130);
        assert_eq!(plan(5, 2).keyless.iter().collect::<Vec<_>>(), [0, 2, 4]);
        let plan = plan(5, 2);
        assert_eq!((plan.bytes(), plan.records_estimate(), plan.once().count()), (70, 40, 1), "all read the same");
        assert_eq!((plan.part(&plan.shards[0]), plan.part(&plan.shards[1])), ((3, 5), (2, 5)));
        assert!(plan.keeps_order_of_keys());
        assert!(Plan::default().into_sets(5, 2).shards.is_empty(), "nothing is to be sent");
    }

    #[test]
    fn a_set_is_split_by_partitions_where_it_is_committed() {
        let mut plan = plan(5, 1);
        let from = Position { segment: 0, place: 30, records: 3 };
        assert_eq!(plan.split(ShardId(0), &from, &Division::Partitions(2)), Ok(1..2));
        assert_eq!(plan.split(ShardId(1), &from, &Division::Partitions(2)), Ok(2..3));
        assert_eq!(sets(&plan), [vec![0, 2, 4], vec![1], vec![3]]);
        assert_eq!(plan.shards.iter().map(|shard| shard.start.records).collect::<Vec<_>>(), [0, 3, 3]);
        assert!(plan.keeps_order_of_keys() && plan.once().all(|shard| shard.start == Position::default()));
        let (before, mut wrong) = (plan.clone(), plan);
        for (shard, sets) in [(1, 2), (0, 4), (0, 1), (0, 0), (3, 2)] {
            assert!(wrong.split(ShardId(shard), &from, &Division::Partitions(sets)).is_err(), "{shard} into {sets}");
        }
        assert_eq!(wrong, before);
    }

    /// Two files of 100 bytes that can be cut, for a topic of 5 partitions.
    fn plain(sets: u32) -> Plan {
        let mut plan = Plan { objects: plan(1, 1).objects, ..Plan::default() };
        plan.objects[0] =
            SourceObject { bytes: Some(100), compression: Compression::None, splittable: true, ..plan.objects[0].clone() };
        plan.objects.push(plan.objects[0].clone());
        let segment = |object| Segment { object, start: 0, end: 100, bytes: Some(100) };
        plan.add(vec![segment(0), segment(1)], 20);
        plan.into_sets(5, sets)
    }

    /// How often each byte of each file is read by these shards, if all are read equally often.
    fn times_read<'a>(plan: &Plan, shards: impl Iterator<Item = &'a Shard>) -> Option<u32> {
        let mut read = [[0; 100]; 2];
        for shard in shards {
            for (index, segment) in (0..).zip(plan.segments(shard)).skip(shard.start.segment as usize) {
                let begin = if index == shard.start.segment { shard.start.place } else { segment.start };
                read[segment.object as usize][begin as usize..segment.end as usize].iter_mut().for_each(|times| *times += 1);
            }
        }
        let mut all = read.iter().flatten();
        let first = *all.next()?;
        all.all(|times| *times == first).then_some(first)
    }

    #[test]
    fn sets_that_are_cut_by_place_still_cover_the_dataset_once_and_keep_no_order() {
        let mut plan = plain(2);
        let at = |segment, place, records| Position { segment, place, records };
        let by_place = |segment, place| Division::Places(vec![Cut { segment, place }]);
        plan.split(ShardId(0), &at(0, 30, 3), &by_place(1, 0)).unwrap();
        assert!(!plan.keeps_order_of_keys(), "what is behind the cut does not wait for what is before it");
        plan.split(ShardId(1), &at(0, 50, 5), &Division::Partitions(2)).unwrap();
        plan.split(ShardId(3), &at(0, 60, 6), &by_place(1, 40)).unwrap();
        plan.split(ShardId(2), &at(0, 10, 1), &Division::Partitions(3)).unwrap();
        plan.split(ShardId(0), &at(0, 80, 8), &Division::Partitions(3)).unwrap();
        assert_eq!(plan.shards[3].start, at(0, 50, 5), "what is before a cut begins where it did");
        assert_eq!(times_read(&plan, plan.once()), Some(1));
        assert_eq!((plan.bytes(), plan.records_estimate()), (200, 20));
        // What was parted off begins later: before that its records were the parted set's.
        let of = |partition: u32| {
            let own = |shard: &&Shard| shard.partitions.as_ref().is_some_and(|set| set.contains(partition));
            plan.shards.iter().filter(own).map(|shard| (shard.start.segment, shard.start.place)).collect::<Vec<_>>()
        };
        assert_eq!(
            [of(0), of(1), of(2), of(3)],
            [vec![(0, 0), (0, 0)], vec![(0, 0)], vec![(0, 10), (0, 80)], vec![(0, 50), (0, 40)],]
        );
    }

    #[test]
    fn an_object_that_several_sets_read_whole_can_be_replaced() {
        let mut plan = plain(2);
        let object = SourceObject { bytes: Some(150), fingerprint: 5, ..plan.objects[1].clone() };
        plan.replace(1, object.clone()).unwrap();
        assert_eq!((&plan.objects[1], plan.bytes(), plan.segments.len()), (&object, 250, 2));
        assert!(plan.shards.iter().all(|shard| (shard.bytes, shard.records_estimate) == (Some(250), 25)));
        // Where one was cut in another object, its segments are its own, but not cut.
        let from = Position { segment: 0, place: 30, records: 3 };
        plan.split(ShardId(0), &from, &Division::Places(vec![Cut { segment: 0, place: 60 }])).unwrap();
        plan.replace(1, SourceObject { bytes: Some(50), ..object.clone() }).unwrap();
        assert_eq!(plan.shards.iter().map(|shard| shard.bytes).collect::<Vec<_>>(), [Some(60), Some(150), Some(90)]);
        assert!(plan.replace(0, object.clone()).is_err(), "one set has cut it");
        let behind = Position { segment: 1, place: 10, records: 9 };
        plan.split(ShardId(1), &behind, &Division::Places(vec![Cut { segment: 1, place: 20 }])).unwrap();
        let before = plan.clone();
        assert!(plan.replace(1, object).is_err());
        assert_eq!(plan, before);
    }

    #[test]
    fn what_is_no_record_belongs_where_partition_0_does() {
        let set: PartitionSet = [0, 2].into_iter().collect();
        assert!(set.takes(None) && set.takes(Some(2)) && !set.takes(Some(1)));
        let other: PartitionSet = [1, 70].into_iter().collect();
        assert!(!other.takes(None) && other.takes(Some(70)));
        assert_eq!((set.len(), other.len(), PartitionSet::default().is_empty()), (2, 2, true));
    }
}
