//! The bytes of a job's plan: parts that each fit into a record, and belong together.
//!
//! Responsible for: the form, and that only parts of one plan are put together. Not responsible for: reading and
//! writing them.

use migration::{Incarnation, StoredPlan};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

/// The form's version: the first byte of each part. It changes with the form of any value that a plan holds.
const VERSION: u8 = 2;
/// The most bytes of a plan in a part: with what stands before them far below what any topic takes.
const PART_BYTES: usize = 896_000;

/// What stands before the bytes of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Head {
    generation: u32,
    plan_id: u128,
    part: u32,
    parts: u32,
    /// Of the bytes of all parts.
    sum: u64,
}

/// The parts of a plan, in order.
pub(super) fn encode(plan: &StoredPlan) -> Vec<Vec<u8>> {
    let bytes = postcard::to_stdvec(plan).expect("plain values without maps or unknown lengths can always be encoded");
    let chunks: Vec<&[u8]> = bytes.chunks(PART_BYTES).collect();
    let (parts, sum) = (chunks.len() as u32, xxh3_64(&bytes));
    let encoded = (0..).zip(chunks).map(|(part, chunk)| {
        let head = Head { generation: plan.of.generation, plan_id: plan.of.plan_id, part, parts, sum };
        let mut value = vec![VERSION];
        value.extend(postcard::to_stdvec(&head).expect("plain values can always be encoded"));
        value.extend_from_slice(chunk);
        value
    });
    encoded.collect()
}

/// Which start of its job a part belongs to; `number` is its own.
pub(super) fn generation(number: u32, value: &[u8]) -> Result<u32, String> {
    let (head, _) = part(value).map_err(|why| format!("part {number} of the plan: {why}"))?;
    if head.part != number {
        return Err(format!("part {number} of the plan says that it is part {}", head.part));
    }
    let of = Incarnation { plan_id: head.plan_id, generation: head.generation };
    if of.is_possible() { Ok(of.generation) } else { Err(format!("part {number} of the plan is of start {}", of.generation)) }
}

/// What the parts that a topic holds come to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Found {
    /// There is no plan.
    Nothing,
    /// The newest plan.
    Plan(Box<StoredPlan>),
    /// The newest plan is not there as a whole: one is being written, or parts of it were deleted.
    Incomplete,
}

/// Puts the newest plan together. `parts` are values by their number, in any order; older ones may be among them.
pub(super) fn decode<'a>(parts: impl Iterator<Item = (u32, &'a [u8])>) -> Result<Found, String> {
    let mut newest: Vec<(Head, &[u8])> = Vec::new();
    for (number, value) in parts {
        generation(number, value)?;
        let (head, bytes) = part(value)?;
        match newest.first() {
            Some((first, _)) if head.generation < first.generation => continue,
            Some((first, _)) if head.generation > first.generation => newest.clear(),
            _ => {}
        }
        newest.push((head, bytes));
    }
    newest.sort_by_key(|(head, _)| head.part);
    let Some((first, _)) = newest.first().copied() else { return Ok(Found::Nothing) };
    let alike = |head: &Head| (head.plan_id, head.parts, head.sum) == (first.plan_id, first.parts, first.sum);
    if newest.len() != first.parts as usize || !newest.iter().all(|(head, _)| alike(head)) {
        return Ok(Found::Incomplete);
    }
    let bytes: Vec<u8> = newest.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect();
    if xxh3_64(&bytes) != first.sum {
        return Err("the plan's bytes are not those that were written (their checksum differs)".to_owned());
    }
    let plan: StoredPlan = postcard::from_bytes(&bytes).map_err(|error| format!("the plan can't be decoded: {error}"))?;
    if plan.of != (Incarnation { plan_id: first.plan_id, generation: first.generation }) {
        return Err("the plan says that it is another than its parts say".to_owned());
    }
    plan.plan.check().map_err(|why| format!("the plan does not fit together: {why}"))?;
    Ok(Found::Plan(Box::new(plan)))
}

fn part(value: &[u8]) -> Result<(Head, &[u8]), String> {
    match value.split_first() {
        Some((&VERSION, rest)) => postcard::take_from_bytes(rest).map_err(|error| format!("it can't be decoded: {error}")),
        Some((version, _)) => {
            Err(format!("it has version {version}, and this shardlift knows {VERSION}: another version wrote it"))
        }
        None => Err("it is empty".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use migration::report::Binding;
    use migration::{Compression, Plan, Position, Segment, Shard, ShardId, SourceObject};

    use super::*;

    fn plan(generation: u32, made_by: &str) -> StoredPlan {
        StoredPlan {
            of: Incarnation { plan_id: 7, generation },
            name: "orders".into(),
            created_ms: 1_700_000_000_000,
            made_by: made_by.into(),
            parent_ms: None,
            plan: Plan::default(),
            binding: Default::default(),
            settings: vec![("record.key".into(), ".id".into())],
        }
    }

    fn found(parts: &[(u32, &Vec<u8>)]) -> Result<Found, String> {
        decode(parts.iter().map(|(number, value)| (*number, value.as_slice())))
    }

    #[test]
    fn a_plan_of_several_parts_comes_back_whole_or_not_at_all() {
        let large = plan(1, &"x".repeat(2_000_000));
        let parts = encode(&large);
        assert_eq!(parts.len(), 3);
        assert!(parts.iter().all(|part| part.len() < 900_000));
        let all = [(2, &parts[2]), (0, &parts[0]), (1, &parts[1])];
        assert_eq!(found(&all), Ok(Found::Plan(Box::new(large))));
        assert_eq!(found(&all[..2]), Ok(Found::Incomplete));
        assert_eq!(found(&[]), Ok(Found::Nothing));
        assert!(found(&[(1, &parts[0])]).is_err_and(|error| error.contains("says that it is part 0")));
        let mut broken = parts[1].clone();
        *broken.last_mut().expect("not empty") ^= 1;
        assert!(found(&[all[0], all[1], (1, &broken)]).is_err_and(|error| error.contains("checksum")));
    }

    #[test]
    fn the_newest_start_counts_however_many_parts_the_older_ones_had() {
        let (older, newer) = (encode(&plan(1, &"x".repeat(1_000_000))), encode(&plan(2, "y")));
        let all = [(1, &older[1]), (0, &newer[0])];
        assert_eq!(found(&all), Ok(Found::Plan(Box::new(plan(2, "y")))));
        // Half of a plan that is being written.
        let three = encode(&plan(3, &"z".repeat(1_000_000)));
        assert_eq!(found(&[(0, &three[0]), (1, &older[1])]), Ok(Found::Incomplete));
        // Two writers of one start can't both have written; should it be, neither is taken.
        let other = StoredPlan { of: Incarnation { plan_id: 8, generation: 1 }, ..plan(1, &"x".repeat(1_000_000)) };
        assert_eq!(found(&[(0, &older[0]), (1, &encode(&other)[1])]), Ok(Found::Incomplete));
    }

    /// If this fails, the form has changed: count up `VERSION`, and then change it here.
    #[test]
    fn the_form_is_pinned() {
        let all: Vec<u64> = encode(&sample()).iter().map(|part| xxh3_64(part)).collect();
        assert_eq!((VERSION, all), (2, vec![2_458_705_385_254_815_170]));
    }

    /// One in which each kind of value stands.
    fn sample() -> StoredPlan {
        let object = SourceObject {
            path: "/data/a.jsonl".into(),
            bytes: Some(300),
            modified_ns: 5,
            fingerprint: 6,
            compression: Compression::None,
            splittable: true,
            record_starts: vec![10, 20],
        };
        let shard = Shard {
            id: ShardId(0),
            segments: 0..1,
            partitions: Some([1, 70].into_iter().collect()),
            start: Position { segment: 0, place: 10, records: 1 },
            bytes: Some(290),
            records_estimate: 9,
        };
        let made = Plan {
            objects: vec![object],
            additions: vec![0],
            segments: vec![Segment { object: 0, start: 10, end: Segment::WHOLE, bytes: None }],
            shards: vec![shard],
            max_line: 1_000,
            partitions: Some(80),
            keyless: [1].into_iter().collect(),
            notes: vec!["a note".into()],
            limit_reached: true,
        };
        let binding = Binding {
            cluster_id: "c".into(),
            topic_id: "t".into(),
            topic: "orders".into(),
            source: "*.jsonl".into(),
            end_offsets: vec![3, -1],
        };
        StoredPlan { plan: made, binding, ..plan(2, "host:folder") }
    }

    #[test]
    fn a_form_that_is_not_known_is_refused() {
        let mut part = encode(&sample()).remove(0);
        part[0] = 9;
        assert_eq!(
            found(&[(0, &part)]),
            Err("part 0 of the plan: it has version 9, and this shardlift knows 2: another version wrote it".to_owned())
        );
        assert!(found(&[(0, &Vec::new())]).is_err());
    }

    /// The parts of a plan whose bytes are these, as if it had been written so.
    fn parts_of(bytes: &[u8], parts: u32) -> Vec<Vec<u8>> {
        let chunks = bytes.chunks(bytes.len().div_ceil(parts as usize).max(1));
        let of = |(part, chunk): (u32, &[u8])| {
            let head = Head { generation: 2, plan_id: 7, part, parts, sum: xxh3_64(bytes) };
            [vec![VERSION], postcard::to_stdvec(&head).expect("plain values"), chunk.to_vec()].concat()
        };
        (0..).zip(chunks).map(of).collect()
    }

    /// Whatever is in the topic, it is refused or is a plan that fits together.
    fn is_refused_or_a_plan(parts: &[Vec<u8>]) -> Result<(), TestCaseError> {
        if let Ok(Found::Plan(plan)) = decode((0..).zip(parts).map(|(part, value)| (part, value.as_slice()))) {
            prop_assert_eq!(plan.plan.check(), Ok(()));
            prop_assert_eq!(
                decode((0..).zip(&encode(&plan)).map(|(part, value)| (part, value.as_slice()))),
                Ok(Found::Plan(plan))
            );
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn any_parts_are_refused_or_a_plan(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..4)) {
            let versioned: Vec<_> = parts.iter().map(|part| [&[VERSION], &part[..]].concat()).collect();
            is_refused_or_a_plan(&parts)?;
            is_refused_or_a_plan(&versioned)?;
        }

        #[test]
        fn a_changed_plan_is_refused_or_one_that_fits_together(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            parts in 1..4u32,
        ) {
            let mut bytes = postcard::to_stdvec(&sample()).expect("plain values");
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            is_refused_or_a_plan(&parts_of(&bytes, parts))?;
        }
    }
}
