//! Reads a shard: blocks of its segments, and the lines in them.

use migration::job::WindowLimit;
use migration::{Plan, Position, Segment, ShardId, SourceObject};

use crate::files::{self, Stream, fail};
use pipeline::{Block, BlockPool, Line, Lines, ShardReader, SourceError};

/// How much of a line over `max_line` is kept, if `max_line` is not less.
const KEPT_BYTES: u64 = 64 << 10;
/// How much a block that has no whole line yet grows at once, unless blocks are larger.
const STEP_BYTES: usize = 4 << 20;
/// Lines must have 32-bit places in their block.
const LONGEST_LINE: u64 = 2 << 30;
const BOM: &[u8] = b"\xef\xbb\xbf";

/// Opens a shard at a position that [`Line::end_place`] of one of its lines gave, or at its start. Lines that are longer than the
/// plan's `max_line`, or than 2 GiB, are no records. `windows` is what a compressed file may need of memory.
pub(super) fn open(
    plan: &Plan,
    shard: ShardId,
    from: Position,
    windows: WindowLimit,
) -> Result<Box<dyn ShardReader>, SourceError> {
    let shard = plan
        .shards
        .get(shard.0 as usize)
        .ok_or_else(|| SourceError(format!("the plan has no shard {shard}; it has {}", plan.shards.len())))?;
    let segments: Vec<_> = plan.segments(shard).iter().map(|s| (plan.object(s).clone(), s.clone())).collect();
    reader(segments, from, plan.max_line, windows)
}

/// A reader of some segments.
pub(super) fn reader(
    segments: Vec<(SourceObject, Segment)>,
    from: Position,
    max_line: u64,
    windows: WindowLimit,
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
        filling: None,
        long: None,
        spare: None,
        notices: Vec::new(),
        max_line: max_line.min(LONGEST_LINE),
        windows,
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
    /// What was read and not yet returned: the start of a line, or lines that came with the end of one that is too long.
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
    line: Line,
    /// The last byte so far.
    last: Option<u8>,
}

impl ShardReader for Reader {
    /// One reading of the file, or one step of the decompressor, whatever comes of it.
    fn next(&mut self, pool: &mut BlockPool, into: &mut Lines) -> Result<bool, SourceError> {
        into.lines.clear();
        into.block = None;
        let Some(stream) = &mut self.stream else { return Ok(false) };
        if !stream.skip()? {
            return Ok(true);
        }
        let (mut block, searched) = match self.filling.take() {
            Some(filling) => filling,
            None => self.begin(pool),
        };
        let over = match self.long.take() {
            Some(long) => self.skip_line(long, &block, pool.block_bytes(), &mut into.lines)?,
            None => self.fill(&mut block, searched, pool.block_bytes(), &mut into.lines)?,
        };
        self.notices.extend(self.stream.as_mut().and_then(Stream::take_notice));
        if over {
            self.next_segment()?;
        }
        if !into.lines.is_empty() {
            into.block = Some(pool.share(block));
        } else if over {
            self.spare = Some(block);
        } else {
            let searched = block.bytes.len();
            self.filling = Some((block, searched));
        }
        Ok(true)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        for (index, (planned, _)) in self.segments.iter().enumerate() {
            let meta = std::fs::metadata(&planned.path).map_err(|e| files::unreadable(&planned.path, e));
            if let Err(error) = meta.and_then(|meta| files::check(planned, &meta)) {
                self.at = index;
                return Err(error);
            }
        }
        Ok(())
    }

    fn take_notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }

    fn segment(&self) -> u32 {
        self.at as u32
    }
}

impl Reader {
    fn open_segment(&mut self) -> Result<(), SourceError> {
        self.stream = match self.segments.get(self.at) {
            Some((object, segment)) => Some(Stream::open(object, segment, self.place, self.windows)?),
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

    /// A block that begins with what is left of the one before, all of which is to be searched unless it is the start of a line.
    fn begin(&mut self, pool: &mut BlockPool) -> (Block, usize) {
        let mut block = self.spare.take().unwrap_or_else(|| pool.take());
        block.segment = self.at as u32;
        block.place = self.place;
        block.bytes.clear();
        block.bytes.append(&mut self.tail);
        (block, 0)
    }

    /// Reads on into a block, of which the first `searched` bytes have no line end, and finds its lines; of a compressed file it may
    /// get no further. True: the segment is over. A line that does not fit makes its block grow, up to `max_line`.
    fn fill(
        &mut self,
        block: &mut Block,
        searched: usize,
        block_bytes: usize,
        lines: &mut Vec<Line>,
    ) -> Result<bool, SourceError> {
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
        let rest = find_lines(block, first, searched, self.max_line, lines);
        if over {
            stream.check_end(block.bytes.last().copied())?;
            push_last(block, rest.max(first), self.max_line, lines);
            self.tell_cut_off(block, rest.max(first));
            return Ok(true);
        }
        if !lines.is_empty() {
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
            let line = Line { start: first as u32, len: kept as u32, whole, end_place: 0 };
            self.long = Some(LongLine { line, last });
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
    fn skip_line(&mut self, long: LongLine, block: &Block, step: usize, lines: &mut Vec<Line>) -> Result<bool, SourceError> {
        let stream = self.stream.as_mut().expect("the caller has an open segment");
        let LongLine { mut line, last } = long;
        let begins = block.place + u64::from(line.start);
        let mut piece = std::mem::take(&mut self.tail);
        piece.clear();
        let over = stream.read(step, &mut piece)?;
        if let Some(end) = memchr::memchr(b'\n', &piece) {
            let before = if end > 0 { Some(piece[end - 1]) } else { last };
            line.whole += end as u64;
            line.end_place = begins + line.whole + 1;
            line.whole -= u64::from(before == Some(b'\r'));
            lines.push(line);
            piece.drain(..=end);
            self.place = line.end_place;
            self.tail = piece;
            // Lines that came with the end of this one are for the next block.
            return Ok(over && self.tail.is_empty());
        }
        line.whole += piece.len() as u64;
        let last = piece.last().copied().or(last);
        self.tail = piece;
        self.tail.clear();
        if over {
            stream.check_end(last)?;
            line.end_place = begins + line.whole;
            lines.push(line);
        } else {
            self.long = Some(LongLine { line, last });
        }
        Ok(over)
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
