//! Reads a shard: blocks of its segments, and the lines in them.

use migration::job::WindowLimit;
use migration::{Plan, Position, Segment, ShardId, SourceObject};

use crate::files::{self, Stream};
use pipeline::{Block, BlockPool, Next, Reader, Row, Rows, SourceError};

/// How much of a line over `max_line` is kept, if `max_line` is not less.
const KEPT_BYTES: u64 = 64 << 10;
/// How much a block that has no whole line yet grows at once, unless blocks are larger.
const STEP_BYTES: usize = 4 << 20;
/// Lines must have 32-bit places in their block.
const LONGEST_LINE: u64 = 2 << 30;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens a shard at a position that [`Row::after`] of one of its lines gave, or at its start. Lines that are longer
/// than the plan's `max_line`, or than 2 GiB, are no records. `windows` is what a compressed file may need of memory.
pub(super) fn open(plan: &Plan, shard: ShardId, from: Position, windows: WindowLimit) -> Result<Box<dyn Reader>, SourceError> {
    reader(files::segments_of(plan, shard)?, from, plan.max_line, windows)
}

/// A reader of some segments.
pub(super) fn reader(
    segments: Vec<(SourceObject, Segment)>,
    from: Position,
    max_line: u64,
    windows: WindowLimit,
) -> Result<Box<dyn Reader>, SourceError> {
    let (at, place) = files::entry(&segments, from)?;
    let left = segments.len().saturating_sub(at);
    let mut reader = LineReader {
        segments,
        at,
        stream: None,
        place,
        tail: Vec::new(),
        filling: None,
        long: None,
        spare: None,
        notices: Vec::new(),
        max_line: max_line.min(LONGEST_LINE),
        windows,
    };
    reader.open_segment()?;
    Ok(files::gathered(Box::new(reader), left))
}

struct LineReader {
    segments: Vec<(SourceObject, Segment)>,
    /// The current segment.
    at: usize,
    /// `None` between two segments, and after the last.
    stream: Option<Stream>,
    /// The place of the tail's first byte, or of the next byte.
    place: u64,
    /// What was read and not yet returned: the start of a line, or lines that came with the end of one that is too
    /// long.
    tail: Vec<u8>,
    /// The block that has no whole line yet, and how much of it has no line end.
    filling: Option<(Block, usize)>,
    /// A line that is too long and has not ended yet; its head is in the block that is filled.
    long: Option<LongLine>,
    /// A block that found no use.
    spare: Option<Block>,
    /// What a user should know, until it was taken.
    notices: Vec<String>,
    max_line: u64,
    windows: WindowLimit,
}

/// A line over `max_line` that is read over to its end.
struct LongLine {
    /// Its first byte in the block, and how much of it that holds.
    start: u32,
    kept: u32,
    /// How much of it was read.
    read: u64,
    /// The last byte so far.
    last: Option<u8>,
}

impl LongLine {
    /// The whole line: `len` bytes, and with its end `counts`.
    fn push(&self, block: &Block, len: u64, end: u64, rows: &mut Rows) {
        let ends = u64::from(self.start) + self.read + end;
        push_too_long(Row { start: self.start, len: self.kept, whole: len, counts: ends, after: block.place + ends }, rows);
    }
}

impl Reader for LineReader {
    /// One reading of the file, or one step of the decompressor, whatever comes of it.
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        if self.stream.is_none() {
            self.open_segment()?;
        }
        let Some(stream) = &mut self.stream else { return Ok(Next::End) };
        if !stream.skip()? {
            return Ok(Next::Rows);
        }
        let (mut block, searched) = match self.filling.take() {
            Some(filling) => filling,
            None => self.begin(pool),
        };
        let over = match self.long.take() {
            Some(long) => self.skip_line(long, &block, pool.block_bytes(), into)?,
            None => self.fill(&mut block, searched, pool.block_bytes(), into)?,
        };
        self.notices.extend(self.stream.as_mut().and_then(Stream::take_notice));
        if over {
            self.close_segment()?;
        }
        if !into.rows.is_empty() {
            into.block = Some(pool.share(block));
        } else if over {
            self.spare = Some(block);
        } else {
            let searched = block.bytes.len();
            self.filling = Some((block, searched));
        }
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        files::all_unchanged(&self.segments).map_err(|(at, error)| {
            self.at = at;
            error
        })
    }

    fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn segment(&self) -> u32 {
        self.at as u32
    }
}

impl LineReader {
    fn open_segment(&mut self) -> Result<(), SourceError> {
        self.stream = match self.segments.get(self.at) {
            Some((object, segment)) => Some(Stream::open(object, segment, self.place, b"\n", self.windows)?),
            None => None,
        };
        Ok(())
    }

    /// Ends a segment that was read. The next one is opened when it is asked for: that it can't be takes nothing from
    /// this one.
    fn close_segment(&mut self) -> Result<(), SourceError> {
        if let Some(stream) = self.stream.take() {
            stream.close()?;
        }
        self.at += 1;
        self.place = self.segments.get(self.at).map_or(0, |(_, segment)| segment.start);
        Ok(())
    }

    /// A block that begins with what is left of the one before, all of which is to be searched unless it is the start
    /// of a line.
    fn begin(&mut self, pool: &mut BlockPool) -> (Block, usize) {
        let mut block = self.spare.take().unwrap_or_else(|| pool.take());
        block.segment = self.at as u32;
        block.place = self.place;
        block.bytes.clear();
        block.bytes.append(&mut self.tail);
        (block, 0)
    }

    /// Reads on into a block, of which the first `searched` bytes have no line end, and finds its lines; of a
    /// compressed file it may get no further. True: the segment is over. A line that does not fit makes its block grow,
    /// up to `max_line`.
    fn fill(&mut self, block: &mut Block, searched: usize, block_bytes: usize, rows: &mut Rows) -> Result<bool, SourceError> {
        let stream = self.stream.as_mut().expect("the caller has an open segment");
        let (filled, first) = (block.bytes.len(), first_byte(block));
        let room = if filled < block_bytes || searched < filled {
            block_bytes
        } else {
            (2 * filled).min(first + self.max_line as usize + 2).max(filled + 1)
        };
        let wanted = room.saturating_sub(filled).min(block_bytes.max(STEP_BYTES));
        block.bytes.reserve_exact(wanted);
        let over = wanted > 0 && stream.read(wanted, &mut block.bytes)?;
        let first = first_byte(block);
        let rest = find_lines(block, first, searched, self.max_line, rows);
        if over {
            stream.check_end(block.bytes.last().copied())?;
            push_last(block, rest, first, self.max_line, rows);
            self.tell_cut_off(block, rest.max(first));
            return Ok(true);
        }
        if !rows.rows.is_empty() {
            self.tail.extend_from_slice(&block.bytes[rest..]);
            self.place = block.place + rest as u64;
            block.bytes.truncate(rest);
            return Ok(false);
        }
        // One more byte may be the `\r` of the line's end.
        let whole = (block.bytes.len() - first) as u64;
        if whole > self.max_line + 1 {
            let kept = KEPT_BYTES.min(self.max_line) as usize;
            let last = block.bytes.last().copied();
            block.bytes.truncate(first + kept);
            block.bytes.shrink_to(block_bytes.max(first + kept));
            self.long = Some(LongLine { start: first as u32, kept: kept as u32, read: whole, last });
        }
        Ok(false)
    }

    /// Notes a last line of a file, from `rest` on, that was probably cut off.
    fn tell_cut_off(&mut self, block: &Block, rest: usize) {
        let (object, segment) = &self.segments[self.at];
        let last = segment.end == Segment::WHOLE || object.splittable && Some(segment.end) == object.bytes;
        if last {
            self.notices.extend(super::cut_off(&object.path, &block.bytes[rest..]));
        }
    }

    /// Reads on in a line that is too long and whose head fills the block.
    fn skip_line(&mut self, mut long: LongLine, block: &Block, step: usize, rows: &mut Rows) -> Result<bool, SourceError> {
        let stream = self.stream.as_mut().expect("the caller has an open segment");
        let mut piece = std::mem::take(&mut self.tail);
        piece.clear();
        let over = stream.read(step, &mut piece)?;
        if let Some(end) = memchr::memchr(b'\n', &piece) {
            let before = if end > 0 { Some(piece[end - 1]) } else { long.last };
            long.read += end as u64;
            long.push(block, long.read - u64::from(before == Some(b'\r')), 1, rows);
            piece.drain(..=end);
            self.place = block.place + u64::from(long.start) + long.read + 1;
            self.tail = piece;
            // Lines that came with the end of this one are for the next block.
            return Ok(over && self.tail.is_empty());
        }
        long.read += piece.len() as u64;
        long.last = piece.last().copied().or(long.last);
        self.tail = piece;
        self.tail.clear();
        if over {
            stream.check_end(long.last)?;
            long.push(block, long.read, 0, rows);
        } else {
            self.long = Some(long);
        }
        Ok(over)
    }
}

/// Where the first line of a block starts: after a byte order mark at byte 0 of the file.
fn first_byte(block: &Block) -> usize {
    if block.place == 0 && block.bytes.starts_with(BOM) { BOM.len() } else { 0 }
}

/// Appends the whole lines of a block, of which the first `searched` bytes have no line end. Returns where the rest
/// starts.
#[inline]
fn find_lines(block: &Block, first: usize, searched: usize, max_line: u64, rows: &mut Rows) -> usize {
    let bytes = &block.bytes[..];
    let (mut start, mut behind) = (first, 0);
    for found in memchr::memchr_iter(b'\n', &bytes[searched..]) {
        let newline = searched + found;
        let end = if newline > start && bytes[newline - 1] == b'\r' { newline - 1 } else { newline };
        push(block, (start, end), (behind, newline + 1), max_line, rows);
        (start, behind) = (newline + 1, newline + 1);
    }
    behind
}

/// Appends what stands after the last line end of a segment, from `rest` on.
fn push_last(block: &Block, rest: usize, first: usize, max_line: u64, rows: &mut Rows) {
    let (start, end) = (rest.max(first), block.bytes.len());
    if start < end {
        push(block, (start, end), (rest, end), max_line, rows);
    }
}

/// Appends the line at `start..end` of a block, which takes `from..to` of it with all that is no part of its text.
#[inline]
fn push(block: &Block, (start, end): (usize, usize), (from, to): (usize, usize), max_line: u64, rows: &mut Rows) {
    let (whole, counts, after) = ((end - start) as u64, (to - from) as u64, block.place + to as u64);
    if whole <= max_line {
        rows.rows.push(Row::new(start as u32, whole as u32, counts, after));
    } else {
        push_too_long(Row { start: start as u32, len: max_line.min(KEPT_BYTES) as u32, whole, counts, after }, rows);
    }
}

#[cold]
fn push_too_long(row: Row, rows: &mut Rows) {
    let reason = format!("the line has {} bytes, more than source.jsonl.max_line allows", row.whole);
    rows.push_bad(row, reason);
}
