//! The narrow waist towards datasets: a source cuts itself into shards and reads one of them from any position.
//!
//! Responsible for: what a source must be able to do, and what its reader hands over. Not responsible for: any format,
//! and what becomes of a row. A new kind of dataset implements [`Source`] and [`Reader`]; nothing else in the program
//! knows of kinds.

use std::fmt::Debug;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use migration::job::{FlushPolicy, ShardRules};
use migration::{Cut, Failure, FailureKind, Plan, Position, ShardId, SourceObject, Token};

use crate::BlockPool;

mod changes;
mod rows;

pub use changes::{Changes, Retimed, files_named};
pub use rows::{Next, Row, Rows};

/// What to do about an object that is not as planned.
pub const NOT_AS_PLANNED: &str =
    "a plan is frozen when its job first runs: put the file back as it was, or start over with --restart";

/// How a dataset is to be cut.
#[derive(Clone, Copy, Debug)]
pub struct PlanRules<'a> {
    /// Size and order of the shards.
    pub shards: &'a ShardRules,
    /// When workers wait for delivery reports: an automatic size depends on it.
    pub flush: FlushPolicy,
    /// How many workers there will be at least; bounds an automatic size, no more: the plan does not depend on it once
    /// it is made.
    pub workers: u32,
    /// How many workers there may be: more than at the beginning where the run finds their number itself.
    pub most_workers: u32,
    /// Only the first rows in source order, as many as this, blank ones not counted; for this all of them are read
    /// once.
    pub record_limit: Option<u64>,
    /// Whether rows must have fields: a row that is not JSON can't become a record.
    pub needs_fields: bool,
    /// A plan that there is already: only what the source means beside its objects is cut.
    pub beside: Option<&'a Plan>,
}

impl<'a> PlanRules<'a> {
    /// For one worker that flushes at a chunk's end: all rows, whatever they are.
    pub fn of_one_worker(shards: &'a ShardRules) -> PlanRules<'a> {
        let flush = FlushPolicy::Chunk;
        PlanRules { shards, flush, workers: 1, most_workers: 1, record_limit: None, needs_fields: false, beside: None }
    }
}

/// A few places of an object, and how far it unpacks.
pub struct Probes {
    /// Readers at its start and, where it can be entered there, in its middle and near its end.
    pub readers: Vec<Box<dyn Reader>>,
    /// Bytes for each stored byte once it is unpacked, judged by its head; 1 where it is not compressed.
    pub unpacked: f64,
}

/// A dataset.
pub trait Source: Debug + Send + Sync {
    /// Cuts it into shards. Ids follow the order in which shards are handed out.
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError>;

    /// Refuses a plan that a worker can't read: with what memory it has, for example.
    fn check(&self, plan: &Plan) -> Result<(), SourceError>;

    /// Whether reading again gives the same rows. If not, the topic can't be compared with it.
    fn repeatable(&self) -> bool {
        true
    }

    /// Opens a shard at a position that [`Row::after`] of one of its rows gave, or at its start.
    /// `token` is what the reader gave for that position, if it gave one.
    fn open(&self, plan: &Plan, shard: ShardId, from: &Position, token: Option<&Token>)
    -> Result<Box<dyn Reader>, SourceError>;

    /// Compares what the source means now with the plan. An error: that can't be known.
    ///
    /// Where the plan ends with a limit that was reached, what comes after it does not matter.
    fn changes(&self, plan: &Plan) -> Result<Changes, SourceError>;

    /// Where the rest of a shard, from a position of it on, can be cut into `pieces` pieces of about the same size.
    /// Fewer where that can't be done with little reading.
    fn cuts(&self, plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError>;

    /// Readers of a few places of an object of a plan, for a sample.
    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError>;

    /// The objects that took the place of the plan's: of which nothing was sent, or which begin with what was sent.
    /// `sent` says why an object (an index into [`Plan::objects`]) can't have another in its place, if so. One that is
    /// gone is none of these.
    fn replaced(
        &self,
        plan: &Plan,
        sent: &dyn Fn(u32) -> Result<Sent, String>,
    ) -> Result<Vec<(u32, SourceObject)>, SourceError>;

    /// Hashes what an object, which must be as `object` says, holds before a place.
    fn beginning(&self, object: &SourceObject, place: u64) -> Result<Box<dyn Beginning>, SourceError>;
}

/// What was sent of an object: `None` nothing; else up to which place, and the hash of what comes before it.
pub type Sent = Option<(u64, u128)>;

/// Hashes what an object holds before a place, in steps between which the caller can live.
pub trait Beginning {
    /// Reads on; the hash when the place is reached and the object is still the one that was opened.
    fn step(&mut self) -> Result<Option<u128>, SourceError>;
}

/// Reads one shard from a position to its end.
pub trait Reader {
    /// Replaces `into` by the rows of the next block. A block without a row is never given; [`Next::Rows`] without a
    /// block and rows means that the reader is still on its way to where it was opened (a compressed stream can't be
    /// entered in its middle), or in a row that is too long: call again. A call takes little time, whatever the source
    /// holds.
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError>;

    /// Checks once more, at the end of the shard, that no object changed since the plan.
    fn unchanged(&mut self) -> Result<(), SourceError>;

    /// What can be read as soon as there is something again, after [`Next::Later`].
    fn readable(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// What was seen since the last call that a user should know, in words.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// What [`Source::open`] needs beside the position of a row that was read, to go on behind it. Asked at each
    /// commit, so positions only grow.
    fn token(&mut self, _: &Position) -> Option<Token> {
        None
    }

    /// The segment that is read, as an index into the shard's list; after an error the one that it is about.
    fn segment(&self) -> u32;
}

/// The longest wait for a source before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// The next rows, for callers that have nothing else to do until there are some. False: the shard is at its end.
pub fn wait_for_rows(reader: &mut dyn Reader, pool: &mut BlockPool, into: &mut Rows) -> Result<bool, SourceError> {
    loop {
        match reader.next(pool, into)? {
            Next::Rows => return Ok(true),
            Next::End => return Ok(false),
            Next::Later { until } => std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LONGEST_WAIT)),
        }
    }
}

/// A source that can't be read, or not as planned. The message says what failed, where, what was seen and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SourceError(pub String);

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Failure {
        Failure::new(FailureKind::Source, error.0)
    }
}
