//! Reads a shard: blocks of its segments, and the lines in them.

use migration::{Plan, Position, Segment, ShardId, SourceObject};

use super::stream::Stream;
use super::{fail, object};
use crate::{Block, BlockPool, Line, Lines, ShardReader, SourceError};

/// How much of a line over `max_line` is kept, if `max_line` is not less.
const KEPT_BYTES: u64 = 64 << 10;
/// Lines must have 32-bit places in their block.
const LONGEST_LINE: u64 = 2 << 30;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens a shard at a position that [`Line::end_place`] of one of its lines gave, or at its start. `max_line` is the longest
/// line, without its end, that is a record; at most 2 GiB.
pub fn open(plan: &Plan, shard: ShardId, from: Position, max_line: u64) -> Result<Box<dyn ShardReader>, SourceError> {
    let shard = plan
        .shards
        .get(shard.0 as usize)
        .ok_or_else(|| SourceError(format!("the plan has no shard {shard}; it has {}", plan.shards.len())))?;
    let segments: Vec<_> = shard.segments.iter().map(|s| (plan.object(s).clone(), s.clone())).collect();
    reader(segments, from, max_line)
}

/// A reader of some segments.
pub(super) fn reader(
    segments: Vec<(SourceObject, Segment)>,
    from: Position,
    max_line: u64,
) -> Result<Box<dyn ShardReader>, SourceError> {
    let at = from.segment as usize;
    let mut place = 0;
    if let Some((object, segment)) = segments.get(at) {
        place = from.place;
        if !(segment.start..=segment.end).contains(&place) {
            let range = segment.start..segment.end;
            return Err(fail(
                &object.path,
                format_args!("byte {place} is not in the segment {range:?}; the state is not of this plan"),
            ));
        }
    }
    let mut reader = Reader {
        segments,
        at,
        stream: None,
        place,
        tail: Vec::new(),
        searched: 0,
        spare: None,
        max_line: max_line.min(LONGEST_LINE),
    };
    reader.open_segment()?;
    Ok(Box::new(reader))
}

struct Reader {
    segments: Vec<(SourceObject, Segment)>,
    /// The current segment.
    at: usize,
    /// `None` after the last segment.
    stream: Option<Stream>,
    /// The place of the tail's first byte, or of the next byte.
    place: u64,
    /// What was read and not yet returned.
    tail: Vec<u8>,
    /// How much of the tail has no line end.
    searched: usize,
    /// A block that found no use.
    spare: Option<Block>,
    max_line: u64,
}

impl ShardReader for Reader {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Lines) -> Result<bool, SourceError> {
        into.lines.clear();
        into.block = None;
        while let Some(stream) = &mut self.stream {
            if !stream.skip()? {
                return Ok(true);
            }
            let mut block = self.spare.take().unwrap_or_else(|| pool.take());
            let over = self.fill(&mut block, pool.block_bytes(), &mut into.lines)?;
            if over {
                self.next_segment()?;
            }
            if !into.lines.is_empty() {
                into.block = Some(pool.share(block));
                return Ok(true);
            }
            block.bytes.clear();
            self.spare = Some(block);
        }
        Ok(false)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        self.segments.iter().try_for_each(|(planned, _)| {
            let meta = std::fs::metadata(&planned.path).map_err(|e| object::unreadable(&planned.path, e))?;
            object::check(planned, &meta)
        })
    }
}

impl Reader {
    fn open_segment(&mut self) -> Result<(), SourceError> {
        self.stream = match self.segments.get(self.at) {
            Some((object, segment)) => Some(Stream::open(object, segment, self.place)?),
            None => None,
        };
        Ok(())
    }

    fn next_segment(&mut self) -> Result<(), SourceError> {
        if let Some(stream) = self.stream.take() {
            stream.close()?;
        }
        self.at += 1;
        self.place = self.segments.get(self.at).map_or(0, |(_, segment)| segment.start);
        self.open_segment()
    }

    /// Fills a block with at least one whole line, unless the segment has none left, and finds its lines. True: the segment is
    /// over. A line that does not fit makes its block grow, up to `max_line`; a longer one is skipped over in bounded memory.
    fn fill(&mut self, block: &mut Block, block_bytes: usize, lines: &mut Vec<Line>) -> Result<bool, SourceError> {
        let stream = self.stream.as_mut().expect("the caller has an open segment");
        block.segment = self.at as u32;
        block.place = self.place;
        block.bytes.clear();
        block.bytes.append(&mut self.tail);
        let mut searched = std::mem::take(&mut self.searched);
        let mut room = block_bytes;
        loop {
            let wanted = room.saturating_sub(block.bytes.len());
            block.bytes.reserve_exact(wanted);
            let over = wanted > 0 && stream.read(wanted, &mut block.bytes)?;
            let first = first_byte(block);
            let rest = find_lines(block, first, searched, self.max_line, lines);
            if over {
                stream.check_end(block.bytes.last().copied())?;
                push_last(block, rest.max(first), self.max_line, lines);
                return Ok(true);
            }
            if !lines.is_empty() {
                self.tail.extend_from_slice(&block.bytes[rest..]);
                self.searched = self.tail.len();
                self.place = block.place + rest as u64;
                block.bytes.truncate(rest);
                return Ok(false);
            }
            searched = block.bytes.len();
            // One more byte may be the `\r` of the line's end.
            if (searched - first) as u64 > self.max_line + 1 {
                return self.skip_line(block, first, block_bytes, lines);
            }
            room = (2 * searched).min(first + self.max_line as usize + 2).max(searched + 1);
        }
    }

    /// The line that fills the block, from `first` on, is too long: keeps its head and reads on to its end.
    fn skip_line(&mut self, block: &mut Block, first: usize, step: usize, lines: &mut Vec<Line>) -> Result<bool, SourceError> {
        let stream = self.stream.as_mut().expect("the caller has an open segment");
        let kept = KEPT_BYTES.min(self.max_line) as usize;
        let mut whole = (block.bytes.len() - first) as u64;
        let mut last = block.bytes.last().copied();
        block.bytes.truncate(first + kept);
        block.bytes.shrink_to(step.max(first + kept));
        let mut piece = std::mem::take(&mut self.tail);
        let mut line = Line { start: first as u32, len: kept as u32, whole, end_place: 0 };
        loop {
            piece.clear();
            let over = stream.read(step, &mut piece)?;
            if let Some(end) = memchr::memchr(b'\n', &piece) {
                let before = if end > 0 { Some(piece[end - 1]) } else { last };
                whole += end as u64;
                line.end_place = block.place + first as u64 + whole + 1;
                line.whole = whole - u64::from(before == Some(b'\r'));
                lines.push(line);
                piece.drain(..=end);
                self.place = line.end_place;
                self.tail = piece;
                // Lines that came with the end of this one are for the next block.
                return Ok(over && self.tail.is_empty());
            }
            whole += piece.len() as u64;
            last = piece.last().copied().or(last);
            if over {
                stream.check_end(last)?;
                line.whole = whole;
                line.end_place = block.place + first as u64 + whole;
                lines.push(line);
                return Ok(true);
            }
        }
    }
}

/// Where the first line of a block starts: after a byte order mark at byte 0 of the file.
fn first_byte(block: &Block) -> usize {
    if block.place == 0 && block.bytes.starts_with(BOM) { BOM.len() } else { 0 }
}

/// Appends the whole lines of a block, of which the first `searched` bytes have no line end. Returns where the rest starts.
#[inline]
fn find_lines(block: &Block, first: usize, searched: usize, max_line: u64, lines: &mut Vec<Line>) -> usize {
    let bytes = &block.bytes[..];
    let mut start = first;
    for found in memchr::memchr_iter(b'\n', &bytes[searched..]) {
        let newline = searched + found;
        let end = if newline > start && bytes[newline - 1] == b'\r' { newline - 1 } else { newline };
        lines.push(line(start, end, block.place + newline as u64 + 1, max_line));
        start = newline + 1;
    }
    if lines.is_empty() { 0 } else { start }
}

/// Appends what stands after the last line end of a segment.
fn push_last(block: &Block, rest: usize, max_line: u64, lines: &mut Vec<Line>) {
    let end = block.bytes.len();
    if rest < end {
        lines.push(line(rest, end, block.place + end as u64, max_line));
    }
}

#[inline]
fn line(start: usize, end: usize, end_place: u64, max_line: u64) -> Line {
    let whole = (end - start) as u64;
    let len = if whole > max_line { max_line.min(KEPT_BYTES) } else { whole };
    Line { start: start as u32, len: len as u32, whole, end_place }
}
