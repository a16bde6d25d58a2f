//! The plan: the ordered shards of a job, frozen when the job first runs.

mod later;
mod sets;
mod shared_paths;
mod sound;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::Position;
use crate::printable::printable_path;

pub use later::Extended;
pub use sets::PartitionSet;

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
    /// Its size in bytes as stored; `None` where the source can't tell it. That of a file is always known.
    pub bytes: Option<u64>,
    /// Its modification time, nanoseconds since 1970.
    pub modified_ns: i64,
    /// 128-bit hash of its first and last 64 KiB.
    pub fingerprint: u128,
    /// How it is compressed, judged by its first bytes. For its source alone: what becomes of a shard depends on the
    /// next two.
    pub compression: Compression,
    /// Whether it can be cut inside, and entered there.
    pub splittable: bool,
    /// Of an object that can be cut inside: the places where that is possible, in order, where the source knows only
    /// these. Empty: its source finds places when it is asked.
    #[serde(with = "differences")]
    pub record_starts: Vec<u64>,
}

impl SourceObject {
    /// Its size in bytes as stored; 0 where that is not known.
    pub fn known_bytes(&self) -> u64 {
        self.bytes.unwrap_or(0)
    }

    /// Whether another object is this one, as far as is known, but for its time of modification.
    pub fn differs_in_time_alone(&self, other: &SourceObject) -> bool {
        self.modified_ns != other.modified_ns && *self == SourceObject { modified_ns: self.modified_ns, ..other.clone() }
    }

    /// Whether a segment of it may begin at a place inside.
    fn can_be_cut_at(&self, place: u64) -> bool {
        self.splittable && (self.record_starts.is_empty() || self.record_starts.binary_search(&place).is_ok())
    }
}

/// One contiguous range of one source object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Index into [`Plan::objects`].
    pub object: u32,
    /// The first place of the range. Always 0 for an object that can't be cut.
    pub start: u64,
    /// One past the last place. [`Segment::WHOLE`]: to the end of the object, whose place is unknown before it is read
    /// (that of a compressed stream; `--limit` sets it to the place where the limit falls).
    pub end: u64,
    /// What it takes of the object, in bytes as stored; `None` where that is not known.
    pub bytes: Option<u64>,
}

impl Segment {
    /// The `end` of a segment that goes to the end of its object, wherever that is.
    pub const WHOLE: u64 = u64::MAX;

    /// The part of it between two of its places. The sizes of parts add up to its own.
    fn part(&self, start: u64, end: u64) -> Segment {
        let before = |place: u64| {
            let (bytes, part, whole) = (self.bytes?, u128::from(place - self.start), u128::from(self.end - self.start));
            Some((u128::from(bytes) * part / whole.max(1)) as u64)
        };
        let bytes = if self.end == Segment::WHOLE { None } else { before(end).zip(before(start)).map(|(b, a)| b - a) };
        Segment { object: self.object, start, end, bytes }
    }
}

/// Where a shard is cut in two: the start of a record, or of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cut {
    /// Index into the shard's list of segments.
    pub segment: u32,
    /// The place, counted as that of a [`Position`].
    pub place: u64,
}

/// How a shard is divided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Division {
    /// By place: it keeps what lies before the first cut, and what each cut begins becomes a shard of its own.
    Places(Vec<Cut>),
    /// By partitions: from where it is committed on, its set is parted into this number of sets.
    Partitions(u32),
}

/// A piece of the dataset: the unit of retry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, equal to its index in the plan.
    pub id: ShardId,
    /// What it reads, in source order: a range of indices into [`Plan::segments`], where several shards may have the
    /// same.
    pub segments: Range<u32>,
    /// Of what it reads, only the records of these partitions are its own; `None`: all are.
    pub partitions: Option<PartitionSet>,
    /// Where its first attempt starts: at its first segment, unless it was parted from a shard that had come further.
    pub start: Position,
    /// Bytes of what it reads, as stored; `None` where that is not known.
    pub bytes: Option<u64>,
    /// How many records it probably reads, from a sample; only some of them are its own if it has a set of partitions.
    pub records_estimate: u64,
}

/// The ordered shards of a job, the segments that they read and the objects that these cut.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    /// The source's objects in source order; those that came later stand behind them, in source order among
    /// themselves.
    #[serde(with = "shared_paths")]
    pub objects: Vec<SourceObject>,
    /// Of each addition to the plan the first of its objects, as an index into these.
    pub additions: Vec<u32>,
    /// All segments. A split adds some and takes none away: no shard may need one any more.
    pub segments: Vec<Segment>,
    /// The shards; handed out in this order.
    pub shards: Vec<Shard>,
    /// The longest line, without its end, that is a record: what becomes of a line does not change while a job runs.
    pub max_line: u64,
    /// Of how many partitions the shards have sets: a record belongs to the shard with the partition that its key
    /// chooses among these. `None`: no shard has a set.
    pub partitions: Option<u32>,
    /// Where records go that have no key to choose by, where shards have sets: the partitions of the first set as the
    /// job began.
    pub keyless: PartitionSet,
    /// What planning saw that a user should know, in words.
    pub notes: Vec<String>,
    /// Whether a limit on the number of records (`--limit`) was reached: the plan may end before the dataset does.
    pub limit_reached: bool,
}

/// What a split makes of a shard: [`Plan::put`] takes it over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pieces {
    /// Segments that are not in the plan yet.
    segments: Vec<Segment>,
    /// The shard as it will be, then its pieces.
    shards: Vec<Shard>,
}

impl Pieces {
    /// The numbers of the shards that are new.
    pub fn added(&self) -> Range<u32> {
        match &self.shards[..] {
            [_, first, ..] => first.id.0..first.id.0 + (self.shards.len() - 1) as u32,
            _ => 0..0,
        }
    }
}

impl Plan {
    /// Adds a shard of segments that are not in the plan yet, behind all others.
    pub fn add(&mut self, segments: Vec<Segment>, records_estimate: u64) {
        let first = self.segments.len() as u32;
        let bytes = sum_of(&segments);
        self.segments.extend(segments);
        let id = ShardId(self.shards.len() as u32);
        let segments = first..self.segments.len() as u32;
        let start = self.start_of(&segments);
        self.shards.push(Shard { id, segments, partitions: None, start, bytes, records_estimate });
    }

    /// The segments of a shard.
    pub fn segments(&self, shard: &Shard) -> &[Segment] {
        self.segments.get(shard.segments.start as usize..shard.segments.end as usize).unwrap_or_default()
    }

    /// The dataset's size as stored, as far as it is known. What several shards read counts once.
    pub fn bytes(&self) -> u64 {
        self.once().filter_map(|shard| shard.bytes).sum()
    }

    /// How many records the dataset probably has.
    pub fn records_estimate(&self) -> u64 {
        self.once().map(|shard| shard.records_estimate).sum()
    }

    /// The object a segment cuts.
    pub fn object(&self, segment: &Segment) -> &SourceObject {
        &self.objects[segment.object as usize]
    }

    /// Divides a shard that is committed up to `from`; what is parted from it becomes shards of their own behind all
    /// others. Gives the numbers of these. Nothing of the dataset is lost or in two shards. What makes no sense changes
    /// nothing.
    pub fn split(&mut self, id: ShardId, from: &Position, division: &Division) -> Result<Range<u32>, String> {
        let pieces = self.pieces(id, from, division)?;
        let added = pieces.added();
        self.put(pieces);
        Ok(added)
    }

    /// What [`Plan::split`] makes of a shard. The pieces get the next free numbers.
    pub fn pieces(&self, id: ShardId, from: &Position, division: &Division) -> Result<Pieces, String> {
        let shard = self.shards.get(id.0 as usize).ok_or_else(|| format!("there is no shard {id}"))?;
        let first = u32::try_from(self.shards.len()).map_err(|_| "there are too many shards")?;
        match division {
            Division::Places(cuts) => self.pieces_by_place(shard, from, cuts, first),
            Division::Partitions(sets) => pieces_by_partition(shard, from, *sets, first),
        }
    }

    fn pieces_by_place(&self, shard: &Shard, from: &Position, cuts: &[Cut], first: u32) -> Result<Pieces, String> {
        let mut before = Cut { segment: from.segment, place: from.place };
        for cut in cuts {
            self.check_cut(shard, cut)?;
            if *cut <= before {
                return Err(format!("shard {} can't be cut at {cut:?}: {before:?} lies behind it or there", shard.id));
            }
            before = *cut;
        }
        let end = first.checked_add(cuts.len() as u32).ok_or("there would be too many shards")?;
        let begins = std::iter::once(None).chain(cuts.iter().map(Some));
        let ends = cuts.iter().map(Some).chain([None]);
        let ids = std::iter::once(shard.id.0).chain(first..end);
        let mut pieces = Pieces { segments: Vec::new(), shards: Vec::new() };
        for (id, (a, b)) in ids.zip(begins.zip(ends)) {
            let piece = self.piece(shard, ShardId(id), (a, b), cuts.len(), &mut pieces.segments);
            pieces.shards.push(piece);
        }
        Ok(pieces)
    }

    /// Takes over what [`Plan::pieces`] gave.
    pub fn put(&mut self, pieces: Pieces) {
        self.segments.extend(pieces.segments);
        for piece in pieces.shards {
            match self.shards.get_mut(piece.id.0 as usize) {
                Some(shard) => *shard = piece,
                None => self.shards.push(piece),
            }
        }
    }

    /// Puts another object in the place of one that each shard which reads it reads from its start to its end. What was
    /// noted of that one is not true of the other: its notes are dropped. One that is the same but for its time may be
    /// cut, sent, or in no shard.
    pub fn replace(&mut self, index: u32, object: SourceObject) -> Result<(), String> {
        let planned = self.objects.get_mut(index as usize).ok_or_else(|| format!("there is no object {index}"))?;
        if planned.differs_in_time_alone(&object) {
            planned.modified_ns = object.modified_ns;
            return Ok(());
        }
        let planned = &self.objects[index as usize];
        let reads = |shard: &Shard| shard.segments.clone().filter(|s| self.segments[*s as usize].object == index);
        let used: BTreeSet<u32> = self.shards.iter().flat_map(reads).collect();
        let whole = |s: &Segment| s.start == 0 && (s.end == Segment::WHOLE || Some(s.end) == planned.bytes);
        if used.is_empty() || !used.iter().all(|segment| whole(&self.segments[*segment as usize])) {
            return Err(format!("object {index} is not one segment"));
        }
        let about = format!("{}: ", printable_path(&planned.path));
        self.notes.retain(|note| !note.starts_with(&about));
        for segment in &used {
            let replaced = &mut self.segments[*segment as usize];
            replaced.bytes = object.bytes;
            if let (true, Some(bytes)) = (replaced.end != Segment::WHOLE, object.bytes) {
                replaced.end = bytes;
            }
        }
        self.objects[index as usize] = object;
        let reads = |shard: &&mut Shard| used.range(shard.segments.clone()).next().is_some();
        for shard in self.shards.iter_mut().filter(reads) {
            let bytes = sum_of(&self.segments[shard.segments.start as usize..shard.segments.end as usize]);
            let part = bytes.zip(shard.bytes).map_or(1.0, |(now, before)| now as f64 / (before as f64).max(1.0));
            shard.records_estimate = estimate(shard, part);
            shard.bytes = bytes;
        }
        Ok(())
    }

    fn check_cut(&self, shard: &Shard, cut: &Cut) -> Result<(), String> {
        let wrong = || format!("shard {} can't be cut at {cut:?}", shard.id);
        let segment = self.segments(shard).get(cut.segment as usize).ok_or_else(wrong)?;
        let between = cut.place == segment.start;
        let inside = (segment.start..segment.end).contains(&cut.place) && self.object(segment).can_be_cut_at(cut.place);
        if between || inside { Ok(()) } else { Err(wrong()) }
    }

    /// What lies between two of the `cuts` of a shard, or its start and end. Segments that are not in the plan go to
    /// `new`: one that is cut stays as it is, because other shards may read it.
    fn piece(
        &self,
        shard: &Shard,
        id: ShardId,
        (from, to): (Option<&Cut>, Option<&Cut>),
        cuts: usize,
        new: &mut Vec<Segment>,
    ) -> Shard {
        let all = self.segments(shard);
        let first = from.map_or(0, |cut| cut.segment as usize);
        let last = to.map_or(all.len(), |cut| cut.segment as usize);
        let begin = from.filter(|cut| cut.place > all[first].start);
        let end = to.filter(|cut| cut.place > all[last].start);
        let (segments, bytes) = if begin.is_none() && end.is_none() {
            let at = |index: usize| shard.segments.start + index as u32;
            (at(first)..at(last), sum_of(&all[first..last]))
        } else {
            let mut own = all[first..last + usize::from(end.is_some())].to_vec();
            if let (Some(cut), Some(segment)) = (end, own.last_mut()) {
                *segment = all[last].part(segment.start, cut.place);
            }
            if let (Some(cut), Some(segment)) = (begin, own.first_mut()) {
                *segment = all[first].part(cut.place, segment.end);
            }
            let (bytes, start) = (sum_of(&own), (self.segments.len() + new.len()) as u32);
            new.extend(own);
            (start..(self.segments.len() + new.len()) as u32, bytes)
        };
        let even = 1.0 / (cuts + 1) as f64;
        let part = bytes.zip(shard.bytes).map_or(even, |(piece, whole)| piece as f64 / (whole as f64).max(1.0));
        let (records_estimate, partitions) = (estimate(shard, part), shard.partitions.clone());
        let start = match from {
            Some(cut) => Position { segment: 0, place: cut.place, records: 0 },
            None => shard.start,
        };
        Shard { id, segments, partitions, start, bytes, records_estimate }
    }

    /// The first place of segments.
    fn start_of(&self, segments: &Range<u32>) -> Position {
        let place = self.segments.get(segments.start as usize).filter(|_| !segments.is_empty()).map_or(0, |s| s.start);
        Position { segment: 0, place, records: 0 }
    }
}

/// The set of a shard parted into some, evenly. The first stays with the shard, so that rows that are no records stay
/// with it, too; the others begin where it is committed.
fn pieces_by_partition(shard: &Shard, from: &Position, sets: u32, first: u32) -> Result<Pieces, String> {
    let wrong = || format!("the partitions of shard {} can't be parted into {sets} sets", shard.id);
    let set = shard.partitions.as_ref().ok_or_else(wrong)?;
    if sets < 2 || set.len() < sets {
        return Err(wrong());
    }
    let end = first.checked_add(sets - 1).ok_or("there would be too many shards")?;
    let part = |(id, own)| Shard { id: ShardId(id), partitions: Some(own), ..shard.clone() };
    let mut shards: Vec<Shard> = std::iter::once(shard.id.0).chain(first..end).zip(set.parted(sets)).map(part).collect();
    shards.iter_mut().skip(1).for_each(|piece| piece.start = *from);
    Ok(Pieces { segments: Vec::new(), shards })
}

/// How many records a part of a shard probably has.
fn estimate(shard: &Shard, part: f64) -> u64 {
    ((shard.records_estimate as f64 * part).round() as u64).max(1)
}

/// The stored bytes of segments; `None` if one's are not known.
fn sum_of(segments: &[Segment]) -> Option<u64> {
    segments.iter().map(|segment| segment.bytes).sum()
}

/// Increasing numbers, each written as its difference to the one before.
mod differences {
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(numbers: &[u64], to: S) -> Result<S::Ok, S::Error> {
        let before = std::iter::once(&0).chain(numbers);
        numbers.iter().zip(before).map(|(number, before)| number.wrapping_sub(*before)).collect::<Vec<u64>>().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u64>, D::Error> {
        let mut numbers = Vec::<u64>::deserialize(from)?;
        let mut sum = 0u64;
        for number in &mut numbers {
            sum = sum.checked_add(*number).ok_or_else(|| D::Error::custom("places that do not increase"))?;
            *number = sum;
        }
        Ok(numbers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(bytes: u64, compression: Compression) -> SourceObject {
        let splittable = compression == Compression::None;
        SourceObject {
            path: "x".into(),
            bytes: Some(bytes),
            modified_ns: 0,
            fingerprint: 0,
            compression,
            splittable,
            record_starts: Vec::new(),
        }
    }

    /// One shard: 100 bytes of a plain file, a compressed one, a whole plain one.
    fn plan() -> Plan {
        let objects = vec![object(1000, Compression::None), object(70, Compression::Gzip), object(30, Compression::None)];
        let segments = vec![
            Segment { object: 0, start: 200, end: 300, bytes: Some(100) },
            Segment { object: 1, start: 0, end: Segment::WHOLE, bytes: Some(70) },
            Segment { object: 2, start: 0, end: 30, bytes: Some(30) },
        ];
        let mut plan = Plan { objects, ..Plan::default() };
        plan.add(segments, 40);
        plan
    }

    /// Of each shard its segments as (object, start, end).
    fn seen(plan: &Plan) -> Vec<Vec<(u32, u64, u64)>> {
        let of = |shard| plan.segments(shard).iter().map(|s: &Segment| (s.object, s.start, s.end)).collect();
        plan.shards.iter().map(of).collect()
    }

    fn cut(segment: u32, place: u64) -> Cut {
        Cut { segment, place }
    }

    fn by_place(cuts: &[Cut]) -> Division {
        Division::Places(cuts.to_vec())
    }

    #[test]
    fn pieces_are_the_whole_and_do_not_overlap() {
        let mut split = plan();
        let from = Position { segment: 0, place: 210, records: 2 };
        assert_eq!(split.split(ShardId(0), &from, &by_place(&[cut(0, 240), cut(1, 0), cut(2, 7)])), Ok(1..4));
        let expected =
            vec![vec![(0, 200, 240)], vec![(0, 240, 300)], vec![(1, 0, Segment::WHOLE), (2, 0, 7)], vec![(2, 7, 30)]];
        assert_eq!(seen(&split), expected);
        let sizes: Vec<(Option<u64>, u64)> = split.shards.iter().map(|s| (s.bytes, s.records_estimate)).collect();
        assert_eq!(sizes, [(Some(40), 8), (Some(60), 12), (Some(77), 15), (Some(23), 5)]);
        assert_eq!((split.bytes(), split.records_estimate()), (plan().bytes(), plan().records_estimate()));
        assert!((0..).zip(&split.shards).all(|(i, shard)| shard.id == ShardId(i)));
        // A piece can be split again.
        let from = split.shards[1].start;
        assert_eq!(split.split(ShardId(1), &from, &by_place(&[cut(0, 250)])), Ok(4..5));
        assert_eq!(split.segments(&split.shards[4]), [Segment { object: 0, start: 250, end: 300, bytes: Some(50) }]);
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
        assert_eq!(seen(&replaced), [[(0, 200, 300), (1, 0, Segment::WHOLE), (2, 0, 10)]]);
        assert_eq!((replaced.objects[1].bytes, replaced.objects[2].bytes, replaced.bytes()), (Some(90), Some(10), 200));
        // One that a split left as it was can be replaced, though other segments were made.
        let from = replaced.shards[0].start;
        replaced.split(ShardId(0), &from, &by_place(&[cut(0, 250)])).unwrap();
        assert_eq!(replaced.replace(2, object(30, Compression::None)), Ok(()));
        assert_eq!(replaced.shards[1].bytes, Some(50 + 90 + 30));
        let from = replaced.shards[1].start;
        replaced.split(ShardId(1), &from, &by_place(&[cut(2, 5)])).unwrap();
        assert!(replaced.replace(2, object(5, Compression::None)).is_err(), "it is cut");
    }

    #[test]
    fn an_object_that_has_another_time_is_the_same_wherever_it_is_cut() {
        let mut plan = plan();
        plan.objects[0].record_starts = vec![220];
        plan.split(ShardId(0), &Position { segment: 0, place: 210, records: 2 }, &by_place(&[cut(0, 220)])).unwrap();
        plan.notes = vec!["x: its last line is not whole".to_owned()];
        let mut expected = plan.clone();
        expected.objects[0].modified_ns = 7;
        plan.replace(0, SourceObject { modified_ns: 7, ..plan.objects[0].clone() }).unwrap();
        assert_eq!(plan, expected);
        let other = SourceObject { modified_ns: 8, fingerprint: 1, ..plan.objects[0].clone() };
        assert!(!plan.objects[0].differs_in_time_alone(&other) && plan.replace(0, other).is_err());
        assert!(!plan.objects[0].differs_in_time_alone(&plan.objects[0]), "it is the very same");
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
            assert!(split.split(ShardId(0), &from, &by_place(cuts)).is_err(), "{cuts:?}");
            assert_eq!(split, plan());
        }
        assert!(plan().split(ShardId(1), &from, &by_place(&[cut(0, 240)])).is_err());
    }

    #[test]
    fn a_cut_is_one_of_the_record_starts_that_the_source_knows() {
        let mut plan = plan();
        plan.objects[0].record_starts = vec![100, 220, 260];
        let from = plan.shards[0].start;
        for (place, right) in [(220, true), (260, true), (240, false), (219, false), (100, false)] {
            assert_eq!(plan.pieces(ShardId(0), &from, &by_place(&[cut(0, place)])).is_ok(), right, "{place}");
        }
        assert!(plan.pieces(ShardId(0), &from, &by_place(&[cut(1, 0)])).is_ok(), "between two segments");
        plan.objects[0].splittable = false;
        assert!(plan.pieces(ShardId(0), &from, &by_place(&[cut(0, 220)])).is_err());
    }

    #[test]
    fn what_a_split_cuts_stays_for_the_other_shards_that_read_it() {
        let mut plan = plan();
        let sets: [PartitionSet; 2] = [[0, 2, 130].into_iter().collect(), [1].into_iter().collect()];
        plan.shards[0].partitions = Some(sets[0].clone());
        plan.shards.push(Shard { id: ShardId(1), partitions: Some(sets[1].clone()), ..plan.shards[0].clone() });
        assert_eq!((plan.segments.len(), plan.bytes()), (3, 200), "both read the same");
        let whole = seen(&plan)[1].clone();
        plan.split(ShardId(0), &Position::default(), &by_place(&[cut(0, 240)])).unwrap();
        assert_eq!(seen(&plan)[1], whole);
        assert_eq!((&plan.shards[1].partitions, &plan.shards[2].partitions), (&Some(sets[1].clone()), &Some(sets[0].clone())));
        assert_eq!(sets[0].iter().collect::<Vec<_>>(), [0, 2, 130]);
        assert!(sets[0].contains(130) && !sets[0].contains(131) && !sets[0].contains(1_000));
    }

    #[test]
    fn a_size_that_is_not_known_is_nowhere() {
        let mut plan = plan();
        plan.segments[1].bytes = None;
        plan.add(vec![Segment { object: 0, start: 0, end: 200, bytes: Some(200) }], 7);
        plan.shards[0].bytes = None;
        assert_eq!(plan.bytes(), 200);
        plan.split(ShardId(0), &Position::default(), &by_place(&[cut(1, 0), cut(2, 0)])).unwrap();
        let sizes: Vec<_> = plan.shards.iter().map(|shard| (shard.bytes, shard.records_estimate)).collect();
        assert_eq!(sizes, [(Some(100), 13), (Some(200), 7), (None, 13), (Some(30), 13)]);
        // Where places are no bytes, the parts of a segment still add up to it.
        let odd = Segment { object: 0, start: 5, end: 12, bytes: Some(1_000) };
        let parts: Vec<u64> = [(5, 6), (6, 10), (10, 12)].iter().filter_map(|&(a, b)| odd.part(a, b).bytes).collect();
        assert_eq!(parts, [142, 572, 286]);
    }

    #[test]
    fn record_starts_are_written_as_differences() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Places {
            #[serde(with = "differences")]
            at: Vec<u64>,
        }
        let places = Places { at: vec![16, 17, 40] };
        let text = toml::to_string(&places).unwrap();
        assert_eq!(text.trim(), "at = [16, 1, 23]");
        assert_eq!(toml::from_str::<Places>(&text), Ok(places));
        assert!(toml::from_str::<Places>(&format!("at = [{0}, {0}, {0}]", i64::MAX)).is_err());
    }
}
