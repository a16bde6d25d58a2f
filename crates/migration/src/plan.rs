//! The plan: the ordered shards of a job, frozen when the job first runs.

use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Position;
use crate::printable::printable_path;

/// A shard's number: its index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u32);

impl std::fmt::Display for ShardId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:05}", self.0)
    }
}

/// How a source object is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Compression {
    /// Plain bytes: the object can be cut anywhere.
    None,
    /// gzip, multi-member streams included: one segment.
    Gzip,
    /// Zstandard, multi-frame streams included: one segment.
    Zstd,
}

/// One object of the source (a file) with what proves that it did not change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceObject {
    /// Where it is: an absolute path without links, `.` and `..`, so that one file has one name however it is spelled.
    pub path: PathBuf,
    /// Its size in bytes as stored.
    pub bytes: u64,
    /// Its modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// 128-bit hash of its first and last 64 KiB.
    pub fingerprint: u128,
    /// How it is compressed, judged by its first bytes.
    pub compression: Compression,
}

/// One contiguous range of one source object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index into [`Plan::objects`].
    pub object: u32,
    /// The first place of the range. Always 0 for a compressed object.
    pub start: u64,
    /// One past the last place. [`Segment::WHOLE`] for a compressed object: to the end of its stream, whose length nobody
    /// knows before it is read (`--limit` sets it to the place where the limit falls).
    pub end: u64,
}

impl Segment {
    /// The `end` of a segment that goes to the end of a compressed stream.
    pub const WHOLE: u64 = u64::MAX;
}

/// Where a shard is cut in two: the start of a record, or of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// Index into the shard's list of segments.
    pub segment: u32,
    /// The place, counted as that of a [`Position`].
    pub place: u64,
}

/// A piece of the dataset: the unit of retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, equal to its index in the plan.
    pub id: ShardId,
    /// What it consists of, in source order.
    pub segments: Vec<Segment>,
    /// Bytes as stored.
    pub bytes: u64,
    /// How many records it probably has, from a sample.
    pub records_estimate: u64,
}

impl Shard {
    /// Where the shard's first attempt starts.
    pub fn start(&self) -> Position {
        Position { segment: 0, place: self.segments.first().map_or(0, |s| s.start), records: 0 }
    }
}

/// The ordered shards of a job and the objects that they cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The source's objects in source order.
    pub objects: Vec<SourceObject>,
    /// The shards; handed out in this order.
    pub shards: Vec<Shard>,
    /// The longest line, without its end, that is a record: what becomes of a line does not change while a job runs.
    pub max_line: u64,
    /// What planning saw that a user should know, in words.
    pub notes: Vec<String>,
    /// Whether a limit on the number of records (`--limit`) was reached: the plan may end before the dataset does.
    pub limit_reached: bool,
}

impl Plan {
    /// The dataset's size as stored.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().map(|s| s.bytes).sum()
    }

    /// How many records the dataset probably has.
    pub fn records_estimate(&self) -> u64 {
        self.shards.iter().map(|s| s.records_estimate).sum()
    }

    /// The object a segment cuts.
    pub fn object(&self, segment: &Segment) -> &SourceObject {
        &self.objects[segment.object as usize]
    }

    /// Splits a shard that is committed up to `from`: it keeps what lies before the first cut, and what each cut begins becomes a
    /// shard of its own behind all others. Gives the numbers of these. Nothing of the dataset is lost or in two shards. Cuts that
    /// make no sense change nothing.
    pub fn split(&mut self, id: ShardId, from: &Position, cuts: &[Cut]) -> Result<Range<u32>, String> {
        let pieces = self.pieces(id, from, cuts)?;
        let first = self.shards.len() as u32;
        self.put(pieces);
        Ok(first..self.shards.len() as u32)
    }

    /// What [`Plan::split`] makes of a shard: itself as it will be, then its pieces, which get the next free numbers.
    pub fn pieces(&self, id: ShardId, from: &Position, cuts: &[Cut]) -> Result<Vec<Shard>, String> {
        let shard = self.shards.get(id.0 as usize).ok_or_else(|| format!("there is no shard {id}"))?;
        let mut before = Cut { segment: from.segment, place: from.place };
        for cut in cuts {
            self.check_cut(shard, cut)?;
            if *cut <= before {
                return Err(format!("shard {id} can't be cut at {cut:?}: {before:?} lies behind it or there"));
            }
            before = *cut;
        }
        let first = u32::try_from(self.shards.len()).map_err(|_| "there are too many shards")?;
        let end = first.checked_add(cuts.len() as u32).ok_or("there would be too many shards")?;
        let begins = std::iter::once(None).chain(cuts.iter().map(Some));
        let ends = cuts.iter().map(Some).chain([None]);
        let ids = std::iter::once(id.0).chain(first..end);
        Ok(ids.zip(begins.zip(ends)).map(|(id, (a, b))| self.piece(shard, ShardId(id), a, b)).collect())
    }

    /// Takes over what [`Plan::pieces`] gave.
    pub fn put(&mut self, pieces: Vec<Shard>) {
        for piece in pieces {
            match self.shards.get_mut(piece.id.0 as usize) {
                Some(shard) => *shard = piece,
                None => self.shards.push(piece),
            }
        }
    }

    /// Puts another object in the place of one that is cut by a single segment from its start to its end. What was noted of that one
    /// is not true of the other: its notes are dropped.
    pub fn replace(&mut self, index: u32, object: SourceObject) -> Result<(), String> {
        let planned = self.objects.get_mut(index as usize).ok_or_else(|| format!("there is no object {index}"))?;
        let before = std::mem::replace(planned, object);
        let mut segments = self.shards.iter().flat_map(|shard| &shard.segments).filter(|segment| segment.object == index);
        let whole = segments.next().is_some_and(|s| s.start == 0 && (s.end == Segment::WHOLE || s.end == before.bytes));
        if !whole || segments.next().is_some() {
            self.objects[index as usize] = before;
            return Err(format!("object {index} is not one segment"));
        }
        let about = format!("{}: ", printable_path(&before.path));
        self.notes.retain(|note| !note.starts_with(&about));
        let bytes = self.objects[index as usize].bytes;
        for shard in self.shards.iter_mut().filter(|shard| shard.segments.iter().any(|s| s.object == index)) {
            for segment in shard.segments.iter_mut().filter(|s| s.object == index && s.end != Segment::WHOLE) {
                segment.end = bytes;
            }
            let stored = (shard.bytes - before.bytes.min(shard.bytes)).saturating_add(bytes);
            let part = stored as f64 / (shard.bytes as f64).max(1.0);
            shard.records_estimate = ((shard.records_estimate as f64 * part).round() as u64).max(1);
            shard.bytes = stored;
        }
        Ok(())
    }

    fn check_cut(&self, shard: &Shard, cut: &Cut) -> Result<(), String> {
        let wrong = || format!("shard {} can't be cut at {cut:?}", shard.id);
        let segment = shard.segments.get(cut.segment as usize).ok_or_else(wrong)?;
        let between = cut.place == segment.start;
        let inside = (segment.start..segment.end).contains(&cut.place);
        let plain = self.object(segment).compression == Compression::None;
        if between || inside && plain { Ok(()) } else { Err(wrong()) }
    }

    /// What lies between two cuts of a shard, or its start and end.
    fn piece(&self, shard: &Shard, id: ShardId, from: Option<&Cut>, to: Option<&Cut>) -> Shard {
        let first = from.map_or(0, |cut| cut.segment as usize);
        let last = to.map_or(shard.segments.len(), |cut| cut.segment as usize);
        let mut segments = shard.segments[first..last].to_vec();
        if let Some(cut) = to.filter(|cut| cut.place > shard.segments[last].start) {
            segments.push(Segment { end: cut.place, ..shard.segments[last].clone() });
        }
        if let (Some(cut), Some(segment)) = (from, segments.first_mut()) {
            segment.start = cut.place;
        }
        let bytes = segments.iter().map(|segment| self.stored_bytes(segment)).sum();
        let part = bytes as f64 / (shard.bytes as f64).max(1.0);
        let records_estimate = ((shard.records_estimate as f64 * part).round() as u64).max(1);
        Shard { id, segments, bytes, records_estimate }
    }

    fn stored_bytes(&self, segment: &Segment) -> u64 {
        let object = self.object(segment);
        if object.compression == Compression::None { segment.end - segment.start } else { object.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bytes: u64, compression: Compression) -> SourceObject {
        SourceObject { path: "x".into(), bytes, modified_ns: 0, fingerprint: 0, compression }
    }

    /// One shard: 100 bytes of a plain file, a compressed one, a whole plain one.
    fn plan() -> Plan {
        let objects = vec![object(1000, Compression::None), object(70, Compression::Gzip), object(30, Compression::None)];
        let segments = vec![
            Segment { object: 0, start: 200, end: 300 },
            Segment { object: 1, start: 0, end: Segment::WHOLE },
            Segment { object: 2, start: 0, end: 30 },
        ];
        let shards = vec![Shard { id: ShardId(0), segments, bytes: 200, records_estimate: 40 }];
        Plan { objects, shards, ..Plan::default() }
    }

    fn cut(segment: u32, place: u64) -> Cut {
        Cut { segment, place }
    }

    #[test]
    fn pieces_are_the_whole_and_do_not_overlap() {
        let mut split = plan();
        let from = Position { segment: 0, place: 210, records: 2 };
        assert_eq!(split.split(ShardId(0), &from, &[cut(0, 240), cut(1, 0), cut(2, 7)]), Ok(1..4));
        let seen: Vec<Vec<(u32, u64, u64)>> =
            split.shards.iter().map(|s| s.segments.iter().map(|s| (s.object, s.start, s.end)).collect()).collect();
        let expected =
            vec![vec![(0, 200, 240)], vec![(0, 240, 300)], vec![(1, 0, Segment::WHOLE), (2, 0, 7)], vec![(2, 7, 30)]];
        assert_eq!(seen, expected);
        let sizes: Vec<(u64, u64)> = split.shards.iter().map(|s| (s.bytes, s.records_estimate)).collect();
        assert_eq!(sizes, [(40, 8), (60, 12), (77, 15), (23, 5)]);
        assert_eq!((split.bytes(), split.records_estimate()), (plan().bytes(), plan().records_estimate()));
        assert!((0..).zip(&split.shards).all(|(i, shard)| shard.id == ShardId(i)));
        // A piece can be split again.
        assert_eq!(split.split(ShardId(1), &split.shards[1].start(), &[cut(0, 250)]), Ok(4..5));
        assert_eq!(split.shards[4].segments, [Segment { object: 0, start: 250, end: 300 }]);
    }

    #[test]
    fn an_object_that_is_one_segment_can_be_replaced() {
        let mut replaced = plan();
        assert!(replaced.replace(0, object(5, Compression::None)).is_err(), "only a part of it is in the plan");
        assert!(replaced.replace(3, object(5, Compression::None)).is_err());
        assert_eq!(replaced, plan());
        replaced.objects[1].path = "y\n".into();
        let (kept, dropped) = ("x: its last line is not whole".to_owned(), r"y\n: its last line is not whole".to_owned());
        replaced.notes = vec![kept.clone(), dropped, "7 more".to_owned()];
        replaced.replace(1, object(90, Compression::Gzip)).unwrap();
        assert_eq!(replaced.notes, [kept, "7 more".to_owned()]);
        replaced.replace(2, object(10, Compression::None)).unwrap();
        let shard = &replaced.shards[0];
        assert_eq!((shard.segments[1].end, shard.segments[2].end, shard.bytes), (Segment::WHOLE, 10, 200));
        assert_eq!((replaced.objects[1].bytes, replaced.objects[2].bytes), (90, 10));
        replaced.split(ShardId(0), &shard.start(), &[cut(2, 5)]).unwrap();
        assert!(replaced.replace(2, object(5, Compression::None)).is_err(), "it is cut");
    }

    #[test]
    fn cuts_that_make_no_sense_change_nothing() {
        let from = Position { segment: 0, place: 210, records: 2 };
        let wrong: [&[Cut]; 7] = [
            &[cut(0, 210)],
            &[cut(0, 205)],
            &[cut(0, 300)],
            &[cut(1, 5)],
            &[cut(3, 0)],
            &[cut(2, 7), cut(0, 240)],
            &[cut(0, 240), cut(0, 240)],
        ];
        for cuts in wrong {
            let mut split = plan();
            assert!(split.split(ShardId(0), &from, cuts).is_err(), "{cuts:?}");
            assert_eq!(split, plan());
        }
        assert!(plan().split(ShardId(1), &from, &[cut(0, 240)]).is_err());
    }
}
