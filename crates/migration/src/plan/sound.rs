//! Whether a plan that comes from outside fits together: one that does not would be a panic, or records left out.

use super::{Plan, Shard};
use crate::LedgerEntry;

impl Plan {
    /// What does not fit together in it.
    pub fn check(&self) -> Result<(), String> {
        let (objects, segments) = (self.objects.len(), self.segments.len());
        if let Some(index) = self.segments.iter().position(|segment| segment.object as usize >= objects) {
            return Err(format!("segment {index} is of an object that the plan has not"));
        }
        if let Some(index) = self.segments.iter().position(|segment| segment.start > segment.end) {
            return Err(format!("segment {index} ends before its start"));
        }
        if self.additions.iter().any(|first| *first as usize > objects) {
            return Err("an addition to the plan has objects that the plan has not".to_owned());
        }
        let within = |shard: &Shard| shard.segments.start <= shard.segments.end && shard.segments.end as usize <= segments;
        for (index, shard) in self.shards.iter().enumerate() {
            let wrong = |what: String| Err(format!("shard {index}: {what}"));
            if shard.id.0 as usize != index {
                return wrong(format!("it has the number {}", shard.id));
            }
            if !within(shard) {
                return wrong(format!("it reads segments {:?} of {segments}", shard.segments));
            }
            if let Some(set) = &shard.partitions
                && !self.partitions.is_some_and(|partitions| set.is_within(partitions))
            {
                return wrong(format!("its set of partitions is not one of {:?}", self.partitions));
            }
            let begin = LedgerEntry { position: shard.start, ..LedgerEntry::default() };
            if let Err(why) = begin.check(self.segments(shard), shard) {
                return wrong(why);
            }
        }
        let sums = [
            self.objects.iter().try_fold(0u64, |sum, object| sum.checked_add(object.known_bytes())),
            self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(shard.bytes.unwrap_or(0))),
            self.shards.iter().try_fold(0u64, |sum, shard| sum.checked_add(shard.records_estimate)),
        ];
        if sums.contains(&None) { Err("its sizes can't be".to_owned()) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, PartitionSet, Segment, ShardId, SourceObject};
    use super::*;
    use crate::{Counts, Position};

    fn plan() -> Plan {
        let object = SourceObject {
            path: "x".into(),
            bytes: Some(100),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        };
        let mut plan = Plan { objects: vec![object], ..Plan::default() };
        for start in [0, 50] {
            plan.add(vec![Segment { object: 0, start, end: start + 50, bytes: Some(50) }], 5);
        }
        plan
    }

    #[test]
    fn a_plan_that_does_not_fit_together_is_refused() {
        type Change = fn(&mut Plan);
        assert_eq!((plan().check(), Plan::default().check()), (Ok(()), Ok(())));
        let mut one = Plan { shards: Vec::new(), ..plan() };
        one.add(vec![Segment { object: 0, start: 0, end: 100, bytes: Some(100) }], 10);
        assert_eq!(one.into_sets(70, 3).check(), Ok(()));
        let changes: [(&str, Change); 10] = [
            ("segment 1 is of an object", |plan| plan.segments[1].object = 1),
            ("segment 0 ends before", |plan| plan.segments[0].start = 51),
            ("an addition", |plan| plan.additions = vec![2]),
            ("shard 1: it has the number 00007", |plan| plan.shards[1].id = ShardId(7)),
            ("shard 0: it reads segments", |plan| plan.shards[0].segments = 0..3),
            ("shard 0: it reads segments", |plan| plan.shards[0].segments.start = 2),
            ("shard 1: its set", |plan| plan.shards[1].partitions = Some(PartitionSet::default())),
            ("shard 1: its set", |plan| {
                plan.partitions = Some(3);
                plan.shards[1].partitions = Some([3].into_iter().collect());
            }),
            ("lies outside of it", |plan| plan.shards[1].start.segment = 1),
            ("its sizes can't be", |plan| plan.shards.iter_mut().for_each(|shard| shard.records_estimate = u64::MAX)),
        ];
        for (said, change) in changes {
            let mut changed = plan();
            change(&mut changed);
            let why = changed.check().expect_err(said);
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn an_entry_that_can_not_be_of_its_shard_is_refused() {
        let plan = plan();
        let shard = &plan.shards[1];
        let entry = |place, records, counts| LedgerEntry {
            position: Position { segment: 0, place, records },
            counts,
            ..LedgerEntry::default()
        };
        let sent = |records| Counts { read: records, acknowledged: records, ..Counts::default() };
        let check = |entry: LedgerEntry| entry.check(plan.segments(shard), shard);
        for (place, records) in [(50, 0), (60, 1), (100, 5)] {
            assert_eq!(check(entry(place, records, sent(records))), Ok(()));
        }
        let far = LedgerEntry { position: Position { segment: 999, place: 60, records: 1 }, ..entry(0, 0, sent(1)) };
        let overflowing = Counts { read: 0, acknowledged: u64::MAX, filtered: 1, ..Counts::default() };
        for (wrong, said) in [
            (far, "lies outside of it"),
            (entry(101, 1, sent(1)), "lies outside of it"),
            (entry(49, 1, sent(1)), "lies before its start"),
            (entry(60, 2, sent(1)), "do not balance"),
            (entry(60, 0, sent(1)), "do not balance"),
            (entry(60, 1, Counts { read: 1, ..Counts::default() }), "do not balance"),
            (entry(60, 1, Counts { others: 1, ..Counts::default() }), "rows of others"),
            (entry(60, 0, overflowing), "its figures can't be"),
            (entry(60, u64::MAX, sent(u64::MAX)), "its figures can't be"),
            (entry(u64::MAX, 1, sent(1)), "its figures can't be"),
            (LedgerEntry { letters: u64::MAX, ..entry(60, 1, sent(1)) }, "its figures can't be"),
        ] {
            let why = check(wrong).expect_err(said);
            assert!(why.contains(said), "{why}");
        }
        assert!(!overflowing.balance(), "and its sum is no panic");
    }
}
