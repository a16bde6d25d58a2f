//! A dataset whose rows the reader makes, as those of a table or of CSV.

use std::rc::Rc;
use std::time::Instant;

use migration::{Compression, Cut, Plan, Position, Segment, ShardId, SourceObject, Token};

use super::{MemorySource, token_of};
use crate::block::RowStart;
use crate::source::{Beginning, Changes, PlanRules, Probes, Sent};
use crate::{Block, BlockPool, Next, Reader, Row, Rows, Source, SourceError};

/// The most rows of a block.
const BLOCK_ROWS: usize = 50;

/// How much of a row that is too long a block holds.
const KEPT: usize = 64 << 10;

/// Byte strings of lines, one object each, named as those of [`MemorySource`]. A row is a line behind a space, which
/// the reader adds; a place is the number of a row in its object. Sizes are not known, nothing can be cut, all objects
/// are one shard, a block holds rows of several, and a shard is opened behind its start only with its token. Of four
/// calls of the reader one gives no row, and one says later.
#[derive(Clone, Debug)]
pub struct MadeRows {
    objects: Vec<Vec<u8>>,
    max_row: usize,
    repeatable: bool,
}

impl MadeRows {
    /// A dataset of some objects. Rows longer than `max_row` are bad.
    pub fn new(objects: Vec<Vec<u8>>, max_row: usize) -> MadeRows {
        MadeRows { objects, max_row, repeatable: true }
    }

    /// The same, which says that it can't be read twice.
    pub fn once(self) -> MadeRows {
        MadeRows { repeatable: false, ..self }
    }

    /// The rows of an object, as the reader makes them.
    pub fn rows(&self, object: usize) -> Vec<Vec<u8>> {
        lines(&self.objects[object]).map(|line| [b" ", line].concat()).collect()
    }
}

/// The lines of some bytes, without their ends.
fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

impl Source for MadeRows {
    fn plan(&self, _: &PlanRules<'_>) -> Result<Plan, SourceError> {
        let objects = (0..self.objects.len()).map(|index| SourceObject {
            path: MemorySource::name(index),
            bytes: None,
            modified_ns: 0,
            fingerprint: 0,
            compression: Compression::None,
            splittable: false,
            record_starts: Vec::new(),
        });
        let mut plan = Plan { objects: objects.collect(), max_line: self.max_row as u64, ..Plan::default() };
        let whole = |object| Segment { object, start: 0, end: Segment::WHOLE, bytes: None };
        plan.add((0..self.objects.len() as u32).map(whole).collect(), 1);
        Ok(plan)
    }

    fn repeatable(&self) -> bool {
        self.repeatable
    }

    fn check(&self, _: &Plan) -> Result<(), SourceError> {
        Ok(())
    }

    fn open(&self, _: &Plan, _: ShardId, from: &Position, token: Option<&Token>) -> Result<Box<dyn Reader>, SourceError> {
        let expected = (from.records > 0).then(|| token_of(from));
        if token != expected.as_ref() {
            return Err(SourceError(format!("made rows: opened with {token:?} instead of {expected:?}")));
        }
        let rows = (0..self.objects.len()).map(|object| self.rows(object)).collect();
        let (segment, place) = (from.segment as usize, from.place as usize);
        Ok(Box::new(MadeReader { rows, segment, place, max_row: self.max_row, calls: 0 }))
    }

    fn changes(&self, _: &Plan) -> Result<Changes, SourceError> {
        Ok(Changes::default())
    }

    fn cuts(&self, _: &Plan, _: ShardId, _: &Position, _: u32) -> Result<Vec<Cut>, SourceError> {
        Ok(Vec::new())
    }

    fn probes(&self, _: &Plan, object: u32) -> Result<Probes, SourceError> {
        let rows = vec![self.rows(object as usize)];
        let reader = MadeReader { rows, segment: 0, place: 0, max_row: self.max_row, calls: 0 };
        Ok(Probes { readers: vec![Box::new(reader)], unpacked: 1.0 })
    }

    fn replaced(&self, _: &Plan, _: &dyn Fn(u32) -> Result<Sent, String>) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        Ok(Vec::new())
    }

    fn beginning(&self, _: &SourceObject, _: u64) -> Result<Box<dyn Beginning>, SourceError> {
        Err(SourceError("made rows: nothing can take an object's place".to_owned()))
    }
}

struct MadeReader {
    rows: Vec<Vec<Vec<u8>>>,
    segment: usize,
    place: usize,
    max_row: usize,
    calls: usize,
}

impl Reader for MadeReader {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        self.calls += 1;
        match self.calls % 4 {
            1 => return Ok(Next::Rows),
            3 => return Ok(Next::Later { until: Instant::now() }),
            _ => {}
        }
        let (mut block, mut table) = (pool.take(), Vec::new());
        while table.len() < BLOCK_ROWS && self.turn_to_row() {
            table.push(self.add(&mut block, into));
        }
        let Some(first) = table.first() else { return Ok(Next::End) };
        (block.segment, block.place) = (first.segment, first.at);
        block.table = Some(Rc::new(table));
        into.block = Some(pool.share(block));
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        Ok(())
    }

    fn token(&mut self, position: &Position) -> Option<Token> {
        Some(token_of(position))
    }

    fn segment(&self) -> u32 {
        self.segment as u32
    }
}

impl MadeReader {
    /// False: there is no further row.
    fn turn_to_row(&mut self) -> bool {
        while self.rows.get(self.segment).is_some_and(|rows| self.place >= rows.len()) {
            (self.segment, self.place) = (self.segment + 1, 0);
        }
        self.segment < self.rows.len()
    }

    /// Adds the next row. It counts for as many bytes as its line has with its end.
    fn add(&mut self, block: &mut Block, into: &mut Rows) -> RowStart {
        let row = &self.rows[self.segment][self.place];
        // The line, of which the row is made.
        let whole = row.len() as u64 - 1;
        let start = RowStart { start: block.bytes.len() as u32, segment: self.segment as u32, at: self.place as u64, whole };
        self.place += 1;
        let (counts, after) = (row.len() as u64, self.place as u64);
        let too_long = row.len() > self.max_row;
        let kept = if too_long { &row[..KEPT.min(self.max_row)] } else { &row[..] };
        block.bytes.extend_from_slice(kept);
        let made = Row { start: start.start, len: kept.len() as u32, whole, counts, after };
        if too_long {
            into.push_bad(made, "the row is too long".to_owned());
        } else {
            into.rows.push(made);
        }
        start
    }
}
