//! Whose a row is, where several shards read the same rows and each sends those of its own set of partitions.
//!
//! A row belongs to one of them whatever is wrong with it, and each attempt comes to the same: it depends on the row,
//! its place and the plan, and on nothing that happens. A record goes where its key chooses. One that has no key to
//! choose by goes to a partition of the first set, by its place: so a second attempt sends it where the first one did,
//! and each partition keeps the source's order. What is no record, blank or bad, belongs to the shard with partition 0.

use migration::{PartitionSet, Plan, Shard};

use super::Look;
use crate::RecordPlace;
use crate::mapping::Mapping;

/// How much of an object, by the measure of its places, has its records without a key in one partition: enough for a
/// full group.
#[cfg(not(test))]
const KEYLESS_RUN: u64 = 256 << 10;
/// Small, so that tests see many.
#[cfg(test)]
const KEYLESS_RUN: u64 = 256;

/// Which of the rows that a shard reads are its own.
#[derive(Clone, Debug)]
pub struct OwnRows {
    set: PartitionSet,
    /// How many partitions keys choose among.
    partitions: u32,
    partitioner: fn(&[u8], u32) -> Option<u32>,
    /// Where records without a key go, in turn.
    keyless: Vec<u32>,
    /// Of each of the shard's segments, the object that it cuts.
    objects: Vec<u32>,
}

/// Whose a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Another shard's.
    Others,
    /// This shard's; as a record it goes to this partition. `None`: it is no record.
    Own(Option<u32>),
}

impl OwnRows {
    /// Those of a shard that has a set of partitions; `None`: all are its own.
    pub fn of(plan: &Plan, shard: &Shard, partitioner: fn(&[u8], u32) -> Option<u32>) -> Option<OwnRows> {
        let (set, partitions) = (shard.partitions.clone()?, plan.partitions?);
        let objects = plan.segments(shard).iter().map(|segment| segment.object).collect();
        Some(OwnRows { set, partitions, partitioner, keyless: plan.keyless.iter().collect(), objects })
    }

    /// Whose a row is; `place`: where it stands, which is asked only if its key does not tell.
    #[inline]
    pub fn whose(&self, mapping: &mut Mapping, look: Look<'_>, place: impl FnOnce() -> RecordPlace) -> Whose {
        let partition = match look {
            Look::Record(value) => self.partition(mapping, value, place),
            Look::Blank | Look::Bad(_) => None,
        };
        if self.set.takes(partition) { Whose::Own(partition) } else { Whose::Others }
    }

    fn partition(&self, mapping: &mut Mapping, value: &[u8], place: impl FnOnce() -> RecordPlace) -> Option<u32> {
        let key = mapping.key(value).ok()?;
        let chosen = key.bytes(value).and_then(|key| (self.partitioner)(key, self.partitions));
        chosen.or_else(|| self.by_place(place()))
    }

    fn by_place(&self, place: RecordPlace) -> Option<u32> {
        let object = self.objects.get(place.segment as usize)?;
        let turn = u64::from(*object) + place.start / KEYLESS_RUN;
        self.keyless.get((turn % self.keyless.len().max(1) as u64) as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use migration::job::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};
    use migration::{Compression, Cut, Division, Segment, SourceObject};

    use super::*;

    /// The first byte chooses; an empty key chooses nothing.
    fn first_byte(key: &[u8], partitions: u32) -> Option<u32> {
        key.first().map(|byte| u32::from(*byte) % partitions)
    }

    fn plan() -> Plan {
        let object = SourceObject {
            path: "x".into(),
            bytes: Some(9),
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        };
        let mut plan = Plan { objects: vec![object; 2], ..Plan::default() };
        plan.add((0..2).map(|object| Segment { object, start: 0, end: 9, bytes: Some(9) }).collect(), 1);
        plan.into_sets(6, 3)
    }

    fn mapping(timestamp: Option<&str>, validate: Validate) -> Mapping {
        let path = |name: &str| FieldPath(vec![name.to_owned()]);
        Mapping::new(&RecordRules {
            key: Some(path("k")),
            on_missing: OnMissing::Null,
            validate,
            timestamp: timestamp.map(path),
            timestamp_unit: TimestampUnit::Milliseconds,
            headers: Vec::new(),
        })
    }

    fn at(segment: u32, start: u64) -> RecordPlace {
        RecordPlace { segment, start, bytes: 9 }
    }

    /// Of each of the three sets, what it says of a row.
    fn whose(mapping: &mut Mapping, look: Look<'_>, start: u64) -> Vec<Whose> {
        let plan = plan();
        let own = |shard| OwnRows::of(&plan, shard, first_byte).expect("it has a set");
        plan.shards.iter().map(|shard| own(shard).whose(mapping, look, || at(0, start))).collect()
    }

    const OTHERS: Whose = Whose::Others;
    const RUN: u64 = KEYLESS_RUN;

    #[test]
    fn a_row_is_one_sets_own_whatever_is_wrong_with_it() {
        for (timestamp, validate) in [(None, Validate::Field), (Some("t"), Validate::Field), (Some("t"), Validate::Whole)] {
            let mapping = &mut mapping(timestamp, validate);
            let row = |text: &'static str| Look::Record(text.as_bytes());
            let one = Whose::Own(Some(1));
            assert_eq!(whose(mapping, row(r#"{"k":"1","t":5}"#), 0), [OTHERS, one, OTHERS], "49 % 6 = 1");
            assert_eq!(whose(mapping, row(r#"{"k":"1","t":"x"}"#), 0), [OTHERS, one, OTHERS], "its time is wrong");
            assert_eq!(whose(mapping, row(r#"{"k":"1","#), 0), [OTHERS, one, OTHERS], "it is cut off behind its key");
            let none = [Whose::Own(None), OTHERS, OTHERS];
            assert_eq!(whose(mapping, row("{\"t\":5,"), 0), none, "it is cut off before its key");
            assert_eq!(whose(mapping, row(r#"{"k":[],"t":5}"#), 0), none, "its key can't be one");
            assert_eq!(whose(mapping, Look::Blank, 0), none);
            assert_eq!(whose(mapping, Look::Bad("too long"), 5_000), none);
        }
    }

    #[test]
    fn records_without_a_key_go_to_the_first_sets_partitions_by_their_place() {
        let mapping = &mut mapping(None, Validate::Field);
        for text in [r#"{"k":null}"#, "{}", r#"{"k":""}"#] {
            for (start, partition) in [(0, 0), (RUN - 1, 0), (RUN, 3), (2 * RUN - 1, 3), (2 * RUN, 0)] {
                let look = Look::Record(text.as_bytes());
                assert_eq!(whose(mapping, look, start), [Whose::Own(Some(partition)), OTHERS, OTHERS], "{text} {start}");
            }
        }
    }

    #[test]
    fn a_record_without_a_key_stays_where_it_goes_however_sets_are_divided() {
        let mapping = &mut mapping(None, Validate::Field);
        let mut plan = plan();
        plan.split(plan.shards[0].id, &Default::default(), &Division::Partitions(2)).expect("it has two");
        // Then one of the two is cut between its segments, and counts its segments and rows anew.
        let cut = Cut { segment: 1, place: 0 };
        plan.split(plan.shards[0].id, &Default::default(), &Division::Places(vec![cut])).expect("it has two segments");
        let own = |index: usize| OwnRows::of(&plan, &plan.shards[index], first_byte).expect("it has a set");
        for run in 0..9 {
            let mut says = |shard, segment| own(shard).whose(mapping, Look::Record(b"{}"), || at(segment, run * RUN));
            let (cut, whole) = (says(4, 0), says(3, 1));
            assert_eq!((cut != OTHERS, whole != OTHERS), (run % 2 == 1, run % 2 == 0), "{run}: {cut:?} {whole:?}");
        }
    }

    #[test]
    fn a_key_that_was_asked_for_is_the_one_that_is_mapped() {
        for (timestamp, validate) in [(None, Validate::Field), (Some("t"), Validate::Field), (None, Validate::Whole)] {
            let mut once = mapping(timestamp, validate);
            let mut twice = mapping(timestamp, validate);
            for text in [
                r#"{"k":"a","t":5}"#,
                r#"{"t":5,"k":"\u0061b"}"#,
                r#"{"k":"a","k":"b","t":1}"#,
                r#"{"k":7,"t":5"#,
                r#"{"t":5}"#,
                r#"{"t":"#,
                "no JSON",
                "\0",
            ] {
                let line = text.as_bytes();
                let known = twice.key(line).map(|key| key.bytes(line).map(<[u8]>::to_vec));
                let map = |mapped: Result<crate::mapping::Mapped<'_>, _>| {
                    mapped.map(|m| (m.key.bytes(line).map(<[u8]>::to_vec), m.timestamp))
                };
                let expected = map(once.map(line));
                if let (Ok((key, _)), Ok(known)) = (&expected, &known) {
                    assert_eq!(key, known, "{text}");
                }
                assert_eq!(map(twice.map_behind_key(line)), expected, "{text}");
                assert!(known.is_ok() || expected.is_err(), "{text}");
            }
        }
    }
}
