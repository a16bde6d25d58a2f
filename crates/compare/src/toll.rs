//! The toll: waits and CPU before each row, in place of a user's own code, so that a comparison can model their
//! migration. It is a source around the job's own: the worker sees a source that is slow, and goes on meanwhile as with
//! any other.
//!
//! Responsible for: when a row's wait and CPU are due, and that each row pays once. Not responsible for: waiting
//! (whatever steps the worker waits, or lets others run), or any format.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::{Cut, Plan, Position, ShardId, SourceObject, Token};
use pipeline::block::RowStart;
use pipeline::source::{Beginning, Changes, PlanRules, Probes, Sent};
use pipeline::{Block, BlockPool, Next, Reader, Row, Rows, Source, SourceError};

/// What is done for each row before it is given: first a wait, then computing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Toll {
    /// For something outside (a database, another service): other work may go on meanwhile.
    pub(crate) wait: Duration,
    /// Of the stepping thread's CPU.
    pub(crate) cpu: Duration,
    /// Uses this amount of CPU of the calling thread. By the thread's own clock: where threads share a processor, the
    /// wall clock would count the others' work too.
    pub(crate) burn: fn(Duration),
    /// What time it is.
    pub(crate) now: fn() -> Instant,
}

/// A source that takes its toll for each row.
#[derive(Debug)]
pub(crate) struct TollSource {
    inner: Box<dyn Source>,
    toll: Toll,
}

impl TollSource {
    /// A source of the same rows. Without a wait and CPU it is the same source.
    pub(crate) fn around(inner: Box<dyn Source>, wait: Duration, cpu: Duration) -> Box<dyn Source> {
        if wait.is_zero() && cpu.is_zero() {
            return inner;
        }
        Box::new(TollSource { inner, toll: Toll { wait, cpu, burn: process::burn_cpu, now: Instant::now } })
    }
}

impl Source for TollSource {
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
        self.inner.plan(rules)
    }

    fn check(&self, plan: &Plan) -> Result<(), SourceError> {
        self.inner.check(plan)
    }

    fn repeatable(&self) -> bool {
        self.inner.repeatable()
    }

    fn open(
        &self,
        plan: &Plan,
        shard: ShardId,
        from: &Position,
        token: Option<&Token>,
    ) -> Result<Box<dyn Reader>, SourceError> {
        Ok(Box::new(TollReader::new(self.inner.open(plan, shard, from, token)?, self.toll)))
    }

    fn changes(&self, plan: &Plan) -> Result<Changes, SourceError> {
        self.inner.changes(plan)
    }

    fn cuts(&self, plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
        self.inner.cuts(plan, shard, from, pieces)
    }

    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
        self.inner.probes(plan, object)
    }

    fn replaced(
        &self,
        plan: &Plan,
        sent: &dyn Fn(u32) -> Result<Sent, String>,
    ) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        self.inner.replaced(plan, sent)
    }

    fn beginning(&self, object: &SourceObject, place: u64) -> Result<Box<dyn Beginning>, SourceError> {
        self.inner.beginning(object, place)
    }
}

/// Gives one row of another reader at a time, each after its toll.
struct TollReader {
    inner: Box<dyn Reader>,
    toll: Toll,
    /// What the other reader gave, and which row of it is next.
    held: Rows,
    next: usize,
    /// Until when the next row waits; `None`: its wait has not begun.
    due: Option<Instant>,
}

impl TollReader {
    fn new(inner: Box<dyn Reader>, toll: Toll) -> TollReader {
        TollReader { inner, toll, held: Rows::default(), next: 0, due: None }
    }

    /// Until when the next row has to wait, if it has to.
    fn waits(&mut self) -> Option<Instant> {
        let now = (self.toll.now)();
        let due = *self.due.get_or_insert(now + self.toll.wait);
        (now < due).then_some(due)
    }

    /// Gives the next row alone.
    fn give(&mut self, into: &mut Rows) {
        let (number, row) = (self.next, self.held.rows[self.next]);
        self.next += 1;
        self.due = None;
        let (block, row) = match &self.held.block {
            Some(block) if block.table.is_some() => own_block(block, number, &row),
            Some(block) => (Some(Rc::clone(block)), row),
            None => (None, row),
        };
        into.block = block;
        match self.held.bad.iter().find(|(bad, _)| *bad as usize == number) {
            Some((_, reason)) => into.push_bad(row, reason.clone()),
            None => into.rows.push(row),
        }
        if self.next == self.held.rows.len() {
            self.held.block = None;
        }
    }
}

/// A row of a block with a table of places, in a block of its own: such a table goes by the number of the row.
fn own_block(block: &Block, number: usize, row: &Row) -> (Option<Rc<Block>>, Row) {
    let place = block.place_of(number, row);
    let start = RowStart { start: 0, segment: place.segment, at: place.start, whole: place.bytes };
    let bytes = row.text(block).to_vec();
    let own = Block { bytes, segment: place.segment, place: place.start, table: Some(Rc::new(vec![start])) };
    (Some(Rc::new(own)), Row { start: 0, ..*row })
}

impl Reader for TollReader {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        if self.next == self.held.rows.len() {
            self.next = 0;
            self.held.clear();
            match self.inner.next(pool, &mut self.held)? {
                Next::Rows if self.held.rows.is_empty() => return Ok(Next::Rows),
                Next::Rows => {}
                other => return Ok(other),
            }
        }
        if let Some(until) = self.waits() {
            return Ok(Next::Later { until });
        }
        (self.toll.burn)(self.toll.cpu);
        self.give(into);
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        self.inner.unchanged()
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        // What holds back a row that is here already is the toll alone.
        if self.held.block.is_none() { self.inner.readable() } else { None }
    }

    fn take_notices(&mut self) -> Vec<String> {
        self.inner.take_notices()
    }

    fn token(&mut self, position: &Position) -> Option<Token> {
        self.inner.token(position)
    }

    fn segment(&self) -> u32 {
        self.inner.segment()
    }
}

#[cfg(test)]
mod tests;
