//! Which files of a plan are sampled, which of their rows are the plan's, and how far the dataset unpacks.

use std::collections::BTreeMap;

use migration::{Compression, Plan, Segment, SourceObject};

/// A file, and what of it the plan has.
pub(super) struct WantedFile {
    /// Index into the plan's objects.
    pub(super) object: usize,
    /// From which place to before which, in order.
    ranges: Vec<(u64, u64)>,
}

impl WantedFile {
    /// Whether the plan has what stands at a place.
    pub(super) fn has(&self, place: u64) -> bool {
        let next = self.ranges.partition_point(|(start, _)| *start <= place);
        next > 0 && place < self.ranges[next - 1].1
    }

    /// Whether a place lies behind all that the plan has.
    pub(super) fn is_behind(&self, place: u64) -> bool {
        self.ranges.last().is_none_or(|(_, end)| place >= *end)
    }
}

/// Up to `most` files of which the plan has something, evenly spread: the first, then the last, then others in an order
/// of which each part is spread, too.
pub(super) fn wanted(plan: &Plan, most: usize) -> Vec<WantedFile> {
    let mut ranges: BTreeMap<usize, Vec<(u64, u64)>> = BTreeMap::new();
    for segment in segments(plan) {
        ranges.entry(segment.object as usize).or_default().push((segment.start, segment.end));
    }
    let mut all: Vec<Option<WantedFile>> = ranges
        .into_iter()
        .map(|(object, mut ranges)| {
            ranges.sort_unstable();
            Some(WantedFile { object, ranges })
        })
        .collect();
    let count = all.len().min(most);
    let mut order: Vec<usize> = (0..count).collect();
    order.sort_by_key(|&index| (index != 0, index + 1 != count, index.reverse_bits()));
    let last = all.len().saturating_sub(1);
    let at = |index: usize| if count > 1 { index * last / (count - 1) } else { 0 };
    order.into_iter().filter_map(|index| all[at(index)].take()).collect()
}

/// The segments of a plan, what several shards read once.
fn segments(plan: &Plan) -> impl Iterator<Item = &Segment> {
    plan.once().flat_map(|shard| plan.segments(shard))
}

/// Bytes for each stored byte, of the files that were looked at.
#[derive(Default)]
pub(super) struct UnpackedShare {
    /// Of those that are not compressed, and of each kind of compression: stored bytes, and what they unpack to.
    seen: Vec<(Compression, f64, f64)>,
}

impl UnpackedShare {
    pub(super) fn add(&mut self, object: &SourceObject, ratio: f64) {
        let stored = object.known_bytes() as f64;
        match self.seen.iter_mut().find(|(compression, ..)| *compression == object.compression) {
            Some((_, all, unpacked)) => (*all, *unpacked) = (*all + stored, *unpacked + stored * ratio),
            None => self.seen.push((object.compression, stored, stored * ratio)),
        }
    }

    /// What all of a plan unpacks to: as far as its files are like those that were looked at. `None`: a size is not
    /// known, or no file of a kind was looked at.
    pub(super) fn of_plan(&self, plan: &Plan) -> Option<u64> {
        let mut sum = 0.0;
        for segment in segments(plan) {
            sum += self.of_segment(plan.object(segment), segment)?;
        }
        Some(sum as u64)
    }

    fn of_segment(&self, object: &SourceObject, segment: &Segment) -> Option<f64> {
        if object.compression == Compression::None {
            return Some(segment.bytes? as f64);
        }
        if segment.end != Segment::WHOLE {
            return Some((segment.end - segment.start) as f64);
        }
        let (_, stored, unpacked) = self.seen.iter().find(|(compression, ..)| *compression == object.compression)?;
        (*stored > 0.0).then(|| segment.bytes.map(|bytes| bytes as f64 * unpacked / stored))?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(compression: Compression, bytes: u64) -> SourceObject {
        SourceObject {
            path: "x".into(),
            bytes: Some(bytes),
            modified_ns: 0,
            fingerprint: 0,
            compression,
            splittable: compression == Compression::None,
            record_starts: Vec::new(),
        }
    }

    fn plan(objects: Vec<SourceObject>) -> Plan {
        let whole = |(object, of): (usize, &SourceObject)| {
            let end = if of.splittable { of.known_bytes() } else { Segment::WHOLE };
            Segment { object: object as u32, start: 0, end, bytes: of.bytes }
        };
        let segments = objects.iter().enumerate().map(whole).collect();
        let mut plan = Plan { objects, ..Plan::default() };
        plan.add(segments, 1);
        plan
    }

    fn indices(files: usize, most: usize) -> Vec<usize> {
        let plan = plan((0..files).map(|_| object(Compression::None, 1)).collect());
        wanted(&plan, most).iter().map(|one| one.object).collect()
    }

    #[test]
    fn files_are_spread_and_the_first_and_last_come_first() {
        assert_eq!(indices(1, 100), [0]);
        assert_eq!(indices(4, 100), [0, 3, 2, 1]);
        let some = indices(10_000, 100);
        assert_eq!((some.len(), some[0], some[1]), (100, 0, 9999));
        let mut head = some[..10].to_vec();
        head.sort_unstable();
        assert!(head.windows(2).all(|two| two[1] - two[0] < 3000), "{head:?}");
    }

    #[test]
    fn only_what_the_plan_has_is_wanted() {
        let wanted = WantedFile { object: 0, ranges: vec![(10, 20), (30, 40)] };
        let has: Vec<u64> = (0..50).filter(|place| wanted.has(*place)).collect();
        assert_eq!(has, (10..20).chain(30..40).collect::<Vec<_>>());
        assert!(!wanted.is_behind(39) && wanted.is_behind(40));
    }

    #[test]
    fn files_that_were_not_seen_unpack_like_those_that_were() {
        let (plain, gzip) = (object(Compression::None, 100), object(Compression::Gzip, 50));
        let mut unpacked = UnpackedShare::default();
        unpacked.add(&gzip, 10.0);
        let both = plan(vec![plain.clone(), gzip.clone(), object(Compression::Gzip, 5)]);
        assert_eq!(unpacked.of_plan(&both), Some(100 + 500 + 50));
        assert_eq!(unpacked.of_plan(&plan(vec![object(Compression::Zstd, 5)])), None, "none was seen");
        let mut limited = plan(vec![gzip]);
        limited.segments[0].end = 77;
        assert_eq!(unpacked.of_plan(&limited), Some(77), "the end of a part is a place of the stream");
    }
}
