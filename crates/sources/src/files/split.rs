//! Cuts files into shards.
//!
//! Plain files are cut near even places, each moved forward to the next record's start. Where the format knows the
//! starts of some records ([`SourceObject::record_starts`]) it is the next of these; else it is the next line's start,
//! and only the bytes from there to the line end are read. A record longer than a shard makes a larger shard.
//! Compressed files can't be cut. Files below the target size are packed together, in source order.

use std::fs::File;
use std::path::{Path, PathBuf};

use migration::job::{FileRules, FlushPolicy, ShardOrder};
use migration::{Compression, Cut, Plan, Position, Segment, ShardId, SourceObject};

use super::kind::{self, Expects, Kind};
use super::list::{self, Link, Listed};
use super::look::{Seen, look};
use super::notes::{all_of, told, without_records};
use super::object::{read_at, unreadable};
use super::planned::Planned;
use super::sample::StreamEnd;
use super::{Format, fail, siblings, whole};
use pipeline::fate::Look;
use pipeline::source::{PlanRules, wait_for_rows};
use pipeline::{BlockPool, Rows, SourceError};

/// Bounds of an automatic shard size.
const LARGEST: u64 = 256 << 20;
const SMALLEST: u64 = 32 << 20;
/// With a flush after each record a shard of 64 KiB lasts as long as one of many MiB else.
const SMALLEST_BY_RECORD: u64 = 64 << 10;
/// How many shards for each worker, so that the last ones end together.
const SHARDS_PER_WORKER: u64 = 4;
/// What planning may hold of a file when it counts lines.
const COUNT_BYTES: usize = 4 << 20;

/// Plans the shards of a source. Ids follow the order in which shards are handed out.
///
/// `workers` and `most_workers` bound an automatic size, no more: the plan does not depend on it once it is made.
/// `record_limit` leaves only that number of first rows in source order that are not blank, for which all of them are
/// read once.
pub(crate) fn plan(format: &dyn Format, source: &FileRules, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
    let PlanRules { shards: rules, flush, workers, most_workers, record_limit, needs_fields, beside } = *rules;
    let expects = format.expects(needs_fields);
    let planned = Planned::of(beside);
    let Listed { mut files, links, mut names, searched } = list::files(&source.paths, &|file| planned.has(file))?;
    names.extend(files.iter().cloned());
    let before = planned.take_away(&mut files);
    let (mut extents, limit_reached) = match record_limit {
        Some(limit) => first_records(format, expects, &files, limit)?,
        None => (all_files(format, &files)?, false),
    };
    let kinds = kind::judge(extents.iter().map(|extent| (&extent.object, &extent.kind)), expects)?;
    if record_limit.is_none() {
        all_begin(format, &mut extents)?;
    }
    let broken = extents.iter().filter(|extent| match extent.stream_end {
        StreamEnd::Sound => false,
        StreamEnd::Broken => true,
        // A limit is there to take little time.
        StreamEnd::NotReached => record_limit.is_none(),
    });
    let broken = whole::damages(broken.map(|extent| &extent.object), format.windows());
    let total = extents.iter().map(|extent| extent.bytes).sum();
    let target = rules.target_size.unwrap_or_else(|| auto_size(total, (workers, most_workers), flush)).max(1);
    for extent in extents.iter_mut().filter(|extent| extent.object.splittable) {
        extent.note = format.find_starts(&mut extent.object, extent.bytes, target)?;
    }
    let mut pieces = cut(&extents, target)?;
    if rules.order == ShardOrder::LargestFirst {
        pieces.sort_by_key(|piece| std::cmp::Reverse(piece.bytes));
    }
    let mut notes = told(links.iter().map(Link::to_string), "names are links to files of the source: each file is sent once");
    notes.extend(siblings::missed(&searched, &names));
    notes.extend(kinds);
    let odd = extents
        .iter()
        .filter(|_| expects != Expects::Anything)
        .filter_map(|extent| Some(fail(&extent.object.path, extent.kind.odd()?).0));
    notes.extend(told(odd, "files have such bytes between their lines"));
    notes.extend(told(broken.into_iter(), "compressed files are not whole"));
    let ends = extents.iter().flat_map(|extent| [&extent.cut_off, &extent.note]).flatten().cloned();
    notes.extend(told(ends, "files end in a record that is not whole"));
    notes.extend(before);
    if record_limit.is_none() {
        let without = extents.iter().filter(|extent| !extent.has_rows);
        notes.extend(without_records(without.map(|extent| extent.object.path.as_path()), extents.len()));
    }
    let copies = extents.iter().filter_map(|extent| planned.told_of_copy(&extent.object));
    notes.extend(told(copies, "new files are probably copies of planned ones"));
    let objects = extents.into_iter().map(|extent| extent.object).collect();
    let mut plan = Plan { objects, max_line: source.max_line, notes, limit_reached, ..Plan::default() };
    pieces.into_iter().for_each(|piece| plan.add(piece.segments, (piece.records.round() as u64).max(1)));
    Ok(plan)
}

/// What is taken of one file, from its start on.
struct Extent {
    object: SourceObject,
    /// Stored bytes that are taken; of a compressed file always all.
    bytes: u64,
    /// One past the last place.
    end: u64,
    /// Records per stored byte.
    density: f64,
    /// What it is.
    kind: Kind,
    /// How far it was unpacked.
    stream_end: StreamEnd,
    /// What is wrong with its last line, if that is taken.
    cut_off: Option<String>,
    /// What a user should know of its records.
    note: Option<String>,
    /// Whether it may have rows that are not blank.
    has_rows: bool,
}

impl Extent {
    fn whole(seen: Seen) -> Extent {
        let end = match seen.object.compression {
            Compression::None => seen.object.known_bytes(),
            Compression::Gzip | Compression::Zstd => Segment::WHOLE,
        };
        let bytes = seen.object.known_bytes();
        let Seen { object, kind, density, cut_off, end: stream_end, blank } = seen;
        Extent { bytes, end, density, kind, stream_end, cut_off, note: None, has_rows: !blank, object }
    }
}

/// Looks at all files. An error names those that can't be read.
fn all_files(format: &dyn Format, files: &[PathBuf]) -> Result<Vec<Extent>, SourceError> {
    let (mut extents, mut unreadable) = (Vec::with_capacity(files.len()), Vec::new());
    for path in files {
        match look(path, |line| format.cut_off(path, line)) {
            Ok(seen) => extents.push(Extent::whole(seen)),
            Err(error) => unreadable.push(error.0),
        }
    }
    if !unreadable.is_empty() {
        return Err(all_of(unreadable.into_iter(), "files can't be read either"));
    }
    Ok(extents)
}

/// Looks at how all files begin. An error names those that do not begin as they must.
fn all_begin(format: &dyn Format, extents: &mut [Extent]) -> Result<(), SourceError> {
    let mut wrong = Vec::new();
    for extent in extents {
        match format.begins(&extent.object) {
            Ok(has_rows) => extent.has_rows &= has_rows,
            Err(error) => wrong.push(error.0),
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(all_of(wrong.into_iter(), "files do not begin as they must")) }
}

/// `workers`: how many there are at least and at most. There are shards enough for the most of them where these are no
/// smaller than is sensible, and in any case for the least.
fn auto_size(total: u64, workers: (u32, u32), flush: FlushPolicy) -> u64 {
    let (least, most) = (u64::from(workers.0.max(1)), u64::from(workers.1.max(1)));
    let smallest = match flush {
        FlushPolicy::Record => SMALLEST_BY_RECORD,
        FlushPolicy::Chunk => SMALLEST,
    };
    let wished = (total / (SHARDS_PER_WORKER * most.max(least))).clamp(smallest, LARGEST);
    wished.min(total / least)
}

fn cut(extents: &[Extent], target: u64) -> Result<Vec<Packed>, SourceError> {
    let mut shards = Vec::new();
    let mut packed = Packed::default();
    for (index, extent) in (0..).zip(extents).filter(|(_, extent)| extent.bytes > 0) {
        let fits = packed.bytes + extent.bytes <= target;
        if !fits {
            packed.close(&mut shards);
        }
        if !extent.object.splittable || extent.bytes <= target {
            packed.add((index, 0, extent.end), extent.bytes, extent.density);
            continue;
        }
        let starts = starts(extent, target)?;
        let ends = starts[1..].iter().chain([&extent.end]);
        for (&start, &end) in starts.iter().zip(ends) {
            packed.add((index, start, end), end - start, extent.density);
            packed.close(&mut shards);
        }
    }
    packed.close(&mut shards);
    Ok(shards)
}

/// A shard that may still grow.
#[derive(Default)]
struct Packed {
    segments: Vec<Segment>,
    bytes: u64,
    records: f64,
}

impl Packed {
    fn add(&mut self, (object, start, end): (u32, u64, u64), bytes: u64, density: f64) {
        self.segments.push(Segment { object, start, end, bytes: Some(bytes) });
        self.bytes += bytes;
        self.records += bytes as f64 * density;
    }

    fn close(&mut self, shards: &mut Vec<Packed>) {
        let packed = std::mem::take(self);
        if !packed.segments.is_empty() {
            shards.push(packed);
        }
    }
}

/// Where the pieces of a file start: 0, then places where a record starts, as evenly as records allow.
fn starts(extent: &Extent, target: u64) -> Result<Vec<u64>, SourceError> {
    let pieces = extent.bytes.div_ceil(target);
    let mut starts = vec![0];
    let mut reached = 0;
    for piece in 1..pieces {
        let wished = (u128::from(extent.bytes) * u128::from(piece) / u128::from(pieces)) as u64;
        // A long record may have swallowed this cut already.
        if wished <= reached {
            continue;
        }
        match start_near(&extent.object, wished, u64::MAX)? {
            Some(start) if start < extent.bytes => starts.push(start),
            _ => break,
        }
        reached = starts[starts.len() - 1];
    }
    Ok(starts)
}

/// The first place from `wished` (above 0) on at which a file that can be cut may be; `None` when there is none, or no
/// line ends in about `within` bytes.
pub(super) fn start_near(object: &SourceObject, wished: u64, within: u64) -> Result<Option<u64>, SourceError> {
    if object.record_starts.is_empty() {
        return next_line(&object.path, wished, within);
    }
    let next = object.record_starts.partition_point(|start| *start < wished);
    Ok(object.record_starts.get(next).copied())
}

/// How much is read at most in search of line starts to cut a rest at, for each piece: a worker does it, and must not
/// be silent long.
const SEARCH_BYTES: u64 = 4 << 20;

/// Where the rest of a shard, from a position of it on, can be cut into `pieces` pieces of about the same size, as
/// stored: at starts of records inside files that can be cut, else between segments. Fewer where lines are longer than
/// 4 MiB or a file can't be cut.
pub(crate) fn cuts(plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
    let Some(shard) = plan.shards.get(shard.0 as usize) else { return Ok(Vec::new()) };
    let rest: Vec<(u32, &Segment, u64, u64)> = (0..)
        .zip(plan.segments(shard))
        .skip(from.segment as usize)
        .map(|(index, segment)| {
            let start = if index == from.segment { from.place } else { segment.start };
            let object = plan.object(segment);
            let bytes = if object.splittable { segment.end - start } else { object.known_bytes() };
            (index, segment, start, bytes)
        })
        .collect();
    let total: u64 = rest.iter().map(|(.., bytes)| bytes).sum();
    let mut last = Cut { segment: from.segment, place: from.place };
    let mut cuts = Vec::new();
    for piece in 1..pieces {
        let wished = (u128::from(total) * u128::from(piece) / u128::from(pieces)) as u64;
        if let Some(cut) = cut_near(plan, &rest, wished)?.filter(|cut| *cut > last) {
            cuts.push(cut);
            last = cut;
        }
    }
    Ok(cuts)
}

/// The first place to cut at, from the place on that has `wished` bytes of the rest before it.
fn cut_near(plan: &Plan, rest: &[(u32, &Segment, u64, u64)], wished: u64) -> Result<Option<Cut>, SourceError> {
    let mut before = 0;
    for &(index, segment, start, bytes) in rest {
        let inside = wished.saturating_sub(before);
        if inside == 0 && before > 0 {
            return Ok(Some(Cut { segment: index, place: start }));
        }
        let object = plan.object(segment);
        if inside > 0 && inside < bytes && object.splittable {
            let near = start_near(object, start + inside, SEARCH_BYTES)?;
            if let Some(place) = near.filter(|place| *place < segment.end) {
                return Ok(Some(Cut { segment: index, place }));
            }
        }
        before += bytes;
    }
    Ok(None)
}

/// The first place from `from` (above 0) on where a line starts; `None` when no line end follows in about `within`
/// bytes.
fn next_line(path: &Path, from: u64, within: u64) -> Result<Option<u64>, SourceError> {
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    let mut at = from - 1;
    let mut step = 4 << 10;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        read_at(&file, at, step, &mut piece).map_err(|e| unreadable(path, e))?;
        if let Some(newline) = memchr::memchr(b'\n', &piece) {
            return Ok(Some(at + newline as u64 + 1));
        }
        if (piece.len() as u64) < step || at - from.min(at) >= within {
            return Ok(None);
        }
        at += step;
        step = (2 * step).min(1 << 20);
    }
}

/// The prefix of the dataset that holds the first `limit` non-blank lines, and whether it has that many; files after it
/// are not looked at.
fn first_records(
    format: &dyn Format,
    expects: Expects,
    files: &[PathBuf],
    limit: u64,
) -> Result<(Vec<Extent>, bool), SourceError> {
    let mut extents = Vec::new();
    let mut left = limit;
    for path in files {
        if left == 0 {
            break;
        }
        let mut extent = Extent::whole(look(path, |line| format.cut_off(path, line))?);
        kind::judge([(&extent.object, &extent.kind)].into_iter(), expects)?;
        format.begins(&extent.object)?;
        let (records, end) = count(format, &extent, left)?;
        if let Some(end) = end {
            extent.end = end;
            extent.cut_off = None;
            if extent.object.compression == Compression::None {
                extent.bytes = end;
            }
        }
        extent.density = records as f64 / extent.bytes.max(1) as f64;
        left -= records;
        extents.push(extent);
    }
    Ok((extents, left == 0))
}

/// Counts the non-blank lines of a file up to `limit`; with the place after the last one when the limit is reached.
fn count(format: &dyn Format, extent: &Extent, limit: u64) -> Result<(u64, Option<u64>), SourceError> {
    let segment = Segment { object: 0, start: 0, end: extent.end, bytes: None };
    let mut reader = format.reader(vec![(extent.object.clone(), segment)], Position::default())?;
    let mut pool = BlockPool::new(COUNT_BYTES);
    let mut rows = Rows::default();
    let mut records = 0;
    while wait_for_rows(reader.as_mut(), &mut pool, &mut rows)? {
        for (index, _) in rows.looks().filter(|(_, look)| *look != Look::Blank) {
            records += 1;
            if records == limit {
                return Ok((records, Some(rows.rows[index].after)));
            }
        }
    }
    Ok((records, None))
}
