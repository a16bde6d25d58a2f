//! What a reader hands over: the rows of one block, and where a position stands behind each.

use std::rc::Rc;
use std::time::Instant;

use crate::Block;

/// What a call of [`Reader::next`](super::Reader::next) came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Rows; perhaps none, and then no block.
    Rows,
    /// Nothing can be read yet.
    Later {
        /// When to ask again at the latest; before that as soon as [`Reader::readable`](super::Reader::readable) is.
        /// Meanwhile the worker goes on: delivery reports, heartbeats, a drain.
        until: Instant,
    },
    /// The shard is at its end.
    End,
}

/// Rows of one block.
#[derive(Debug, Default)]
pub struct Rows {
    /// Where they stand; `None` without rows.
    pub block: Option<Rc<Block>>,
    /// The rows in source order, blank ones included.
    pub rows: Vec<Row>,
    /// Which of them can't be records, by ascending index, and why: each of which the block does not hold all is among
    /// them.
    pub bad: Vec<(u32, String)>,
}

/// One row of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its first byte in the block (after a byte order mark, if any).
    pub start: u32,
    /// Its length in the block, without a line end.
    pub len: u32,
    /// Its length, of which the block may hold only the beginning: then it is one of [`Rows::bad`].
    pub whole: u64,
    /// How many bytes of the source it counts for, its end included.
    pub counts: u64,
    /// The place right behind it: where a position stands when it is done.
    pub after: u64,
}

impl Rows {
    /// Forgets all rows, and keeps memory for more.
    pub fn clear(&mut self) {
        self.block = None;
        self.rows.clear();
        self.bad.clear();
    }

    /// Adds a row that can't be a record.
    pub fn push_bad(&mut self, row: Row, reason: String) {
        self.bad.push((self.rows.len() as u32, reason));
        self.rows.push(row);
    }
}

impl Row {
    /// A row that is whole in its block.
    #[inline]
    pub fn new(start: u32, len: u32, counts: u64, after: u64) -> Row {
        Row { start, len, whole: u64::from(len), counts, after }
    }

    /// Its bytes, as far as the block has them.
    #[inline]
    pub fn text<'a>(&self, block: &'a Block) -> &'a [u8] {
        &block.bytes[self.start as usize..][..self.len as usize]
    }
}
