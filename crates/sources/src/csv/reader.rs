//! Reads a shard: the bytes of its segments, the rows in them, and a block of objects made of these.

use std::rc::Rc;

use migration::job::CsvType;
use migration::{Position, Segment, SourceObject};
use pipeline::block::RowStart;
use pipeline::{Block, BlockPool, Next, Reader, Row, Rows, SourceError};

use super::head::{BOM, Head};
use super::{CsvFiles, LINE_ENDS, RowEnds, RowMaker};
use crate::files::{self, Stream};

/// How much of a row over `max_line` is kept, if `max_line` is not less.
const KEPT_BYTES: u64 = 64 << 10;
/// How much is read at once of a row that is not whole yet, unless blocks are larger.
const STEP_BYTES: usize = 4 << 20;
/// What becomes of a row must have 32-bit places in its block: with each byte escaped a row takes six times as much.
const LONGEST_ROW: u64 = 512 << 20;

/// A reader of some segments.
pub(super) struct RowReader {
    source: CsvFiles,
    segments: Vec<(SourceObject, Segment)>,
    /// The current segment.
    at: usize,
    /// `None` between two segments, and after the last.
    open: Option<OpenSegment>,
    /// A block that found no use.
    spare: Option<Block>,
    /// What a user should know, until it was taken.
    notices: Vec<String>,
}

impl RowReader {
    /// Opens segments at a position in one of them that [`Row::after`] of one of its rows gave, or at its start.
    pub(super) fn new(source: CsvFiles, segments: Vec<(SourceObject, Segment)>, from: Position) -> Result<Self, SourceError> {
        let (at, place) = files::entry(&segments, from)?;
        let mut reader = RowReader { source, segments, at, open: None, spare: None, notices: Vec::new() };
        reader.open_segment(place)?;
        Ok(reader)
    }

    /// How many segments are left, with the current one.
    pub(super) fn left(&self) -> usize {
        self.segments.len().saturating_sub(self.at)
    }

    fn open_segment(&mut self, place: u64) -> Result<(), SourceError> {
        let segment = self.segments.get(self.at);
        self.open = segment.map(|(object, segment)| OpenSegment::new(&self.source, object, segment, place)).transpose()?;
        Ok(())
    }

    /// Ends a segment that was read. The next one is opened when it is asked for: that it can't be takes nothing from
    /// this one.
    fn close_segment(&mut self) -> Result<(), SourceError> {
        if let Some(open) = self.open.take() {
            open.stream.close()?;
        }
        self.at += 1;
        Ok(())
    }
}

impl Reader for RowReader {
    /// At most one reading of the file, or one step of the decompressor, and one block of objects.
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        if self.open.is_none() {
            self.open_segment(self.segments.get(self.at).map_or(0, |(_, segment)| segment.start))?;
        }
        let Some(open) = &mut self.open else { return Ok(Next::End) };
        if !open.stream.skip()? {
            return Ok(Next::Rows);
        }
        let mut block = self.spare.take().unwrap_or_else(|| pool.take());
        block.bytes.clear();
        let mut made = Made { block, table: Vec::new(), rows: into, full: pool.block_bytes(), expected: 0 };
        (made.block.segment, made.block.place) = (self.at as u32, open.given);
        let over = open.go_on(&mut made)?;
        self.notices.extend(open.stream.take_notice());
        let Made { mut block, table, .. } = made;
        if table.is_empty() {
            self.spare = Some(block);
        } else {
            block.table = Some(Rc::new(table));
            into.block = Some(pool.share(block));
        }
        if over {
            self.close_segment()?;
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

/// The block that is made.
struct Made<'a> {
    block: Block,
    table: Vec<RowStart>,
    rows: &'a mut Rows,
    /// How much the block should hold at most.
    full: usize,
    /// How much the next row probably takes.
    expected: usize,
}

impl Made<'_> {
    /// Whether another row would make the block larger than others. One row always has room.
    fn is_full(&self) -> bool {
        !self.table.is_empty() && self.block.bytes.len() + self.expected > self.full
    }

    /// Notes a row of which the block got the bytes from `start` on.
    fn push(&mut self, start: usize, (at, whole): (u64, u64), (counts, after): (u64, u64), bad: Option<String>) {
        let len = self.block.bytes.len() - start;
        self.expected = len.max(self.expected - self.expected / 8);
        self.table.push(RowStart { start: start as u32, segment: self.block.segment, at, whole });
        let row = Row { start: start as u32, len: len as u32, whole, counts, after };
        match bad {
            None => self.rows.rows.push(row),
            Some(reason) => self.rows.push_bad(row, reason),
        }
    }
}

/// A segment that is being read.
struct OpenSegment {
    stream: Stream,
    /// `None`: the file has no row.
    maker: Option<RowMaker>,
    /// What ends here or before is no row: a header, or what comes before it.
    rows_begin: u64,
    ends: RowEnds,
    /// What was read and not made into rows yet.
    raw: Vec<u8>,
    /// The place of its first byte.
    place: u64,
    /// Whether a byte order mark may come next.
    at_mark: bool,
    /// Where the next row begins in it, and up to where that was searched for its end.
    row: usize,
    searched: usize,
    /// The place behind the last row that was given: what comes behind counts for the next one.
    given: u64,
    /// A row that is too long and has not ended yet.
    long: Option<LongRow>,
    /// Whether everything was read.
    over: bool,
    max_line: u64,
}

/// A row over `max_line` that is read over to its end.
struct LongRow {
    /// Its beginning.
    kept: Vec<u8>,
    /// Where it begins.
    at: u64,
    /// How much of it was read, and the last byte of that.
    read: u64,
    last: u8,
}

impl OpenSegment {
    fn new(source: &CsvFiles, object: &SourceObject, segment: &Segment, place: u64) -> Result<Self, SourceError> {
        let Head { header, end: rows_begin } = Head::of(object, source)?;
        let dialect = source.dialect();
        let types = &source.format.types;
        let kind = |name: &str| types.get(name).copied().unwrap_or(CsvType::String);
        Ok(OpenSegment {
            stream: Stream::open(object, segment, place, LINE_ENDS, source.windows)?,
            maker: header.map(|header| RowMaker::new(dialect, &source.format.null, &header, kind)),
            rows_begin,
            ends: RowEnds::new(dialect),
            raw: Vec::new(),
            place,
            at_mark: place == 0,
            row: 0,
            searched: 0,
            given: place,
            long: None,
            over: false,
            max_line: source.files.max_line.min(LONGEST_ROW),
        })
    }

    /// Reads on where no row is left of what was read, and makes rows until the block is full. True: the segment is
    /// over.
    fn go_on(&mut self, made: &mut Made<'_>) -> Result<bool, SourceError> {
        if self.searched == self.raw.len() && !self.over {
            self.read(made.full)?;
        }
        while !made.is_full() {
            let Some(end) = self.ends.next(&self.raw, self.searched) else {
                self.searched = self.raw.len();
                self.note_long();
                if self.over {
                    self.push_last(made);
                }
                return Ok(self.over);
            };
            self.searched = end;
            self.push(end, line_end(&self.raw[..end], self.long.as_ref()), made);
        }
        Ok(false)
    }

    /// Reads on. What is kept is a row that is not whole.
    fn read(&mut self, least: usize) -> Result<(), SourceError> {
        self.raw.drain(..self.row);
        self.place += self.row as u64;
        self.row = 0;
        let before = self.raw.len();
        let left = usize::try_from(self.max_line + 3).unwrap_or(usize::MAX).saturating_sub(before);
        let wanted = before.clamp(least, STEP_BYTES.max(least)).min(left.max(least));
        self.over = self.stream.read(wanted, &mut self.raw)?;
        if self.over {
            self.stream.check_end(self.raw.last().copied().or(self.long.as_ref().map(|long| long.last)))?;
        }
        self.searched = before;
        if self.at_mark {
            self.pass_over_mark();
        }
        Ok(())
    }

    /// Begins behind a byte order mark, which may come in pieces: until it is known whether there is one, nothing is
    /// searched.
    fn pass_over_mark(&mut self) {
        self.at_mark = self.raw.len() < BOM.len() && BOM.starts_with(&self.raw) && !self.over;
        if self.at_mark {
            self.searched = self.raw.len();
        } else {
            self.row = if self.raw.starts_with(BOM) { BOM.len() } else { 0 };
            self.searched = self.row;
        }
    }

    /// Gives the row that ends at an index of what was read; `line_end` is the length of its line end.
    fn push(&mut self, end: usize, line_end: u64, made: &mut Made<'_>) {
        let (start, long) = (std::mem::replace(&mut self.row, end), self.long.take());
        let (at, after) = (self.place + start as u64, self.place + end as u64);
        if after <= self.rows_begin {
            return;
        }
        let counts = (after - std::mem::replace(&mut self.given, after), after);
        let begin = made.block.bytes.len();
        if let Some(long) = long {
            let whole = long.read + end as u64 - line_end;
            made.block.bytes.extend_from_slice(&long.kept);
            return made.push(begin, (long.at, whole), counts, Some(self.too_long(whole)));
        }
        let row = &self.raw[start..end - line_end as usize];
        let whole = row.len() as u64;
        let bad = if whole > self.max_line {
            made.block.bytes.extend_from_slice(&row[..KEPT_BYTES.min(self.max_line) as usize]);
            Some(self.too_long(whole))
        } else {
            let made_of_it =
                self.maker.as_mut().filter(|_| !row.is_empty()).map(|maker| maker.make(row, &mut made.block.bytes));
            made_of_it.and_then(Result::err).map(|error| {
                made.block.bytes.extend_from_slice(row);
                error.to_string()
            })
        };
        made.push(begin, (at, whole), counts, bad);
    }

    /// Gives what stands behind the last row's end, if anything does.
    fn push_last(&mut self, made: &mut Made<'_>) {
        if self.row < self.raw.len() || self.long.is_some() {
            self.push(self.raw.len(), u64::from(self.ends.at_return()), made);
        }
    }

    /// Whether the row that is not whole yet is too long: only its beginning is kept. One more byte may be the `\r` of
    /// its end.
    fn note_long(&mut self) {
        let rest = &self.raw[self.row..];
        match (&mut self.long, rest.last()) {
            (_, None) => return,
            (Some(long), Some(&last)) => {
                long.read += rest.len() as u64;
                long.last = last;
            }
            (None, Some(&last)) if rest.len() as u64 > self.max_line + 1 => {
                let kept = rest[..KEPT_BYTES.min(self.max_line) as usize].to_vec();
                self.long = Some(LongRow { kept, at: self.place + self.row as u64, read: rest.len() as u64, last });
            }
            (None, Some(_)) => return,
        }
        self.place += self.raw.len() as u64;
        self.raw.clear();
        (self.row, self.searched) = (0, 0);
    }

    #[cold]
    fn too_long(&self, bytes: u64) -> String {
        let open = if self.over && self.ends.in_quotes() { "; a quote in it is never closed" } else { "" };
        format!("the row has {bytes} bytes, more than source.csv.max_line allows{open}")
    }
}

/// How many bytes the line end at the end of `bytes` has. Of a row that is too long the bytes before are not there.
fn line_end(bytes: &[u8], long: Option<&LongRow>) -> u64 {
    let before = long.map(|long| long.last);
    match bytes {
        [.., b'\r', b'\n'] => 2,
        [b'\n'] if before == Some(b'\r') => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests;
