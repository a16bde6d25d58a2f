//! Blocks: the pieces of a source that are in memory. Records are ranges of blocks; a block is reused when the last
//! record in it that was not copied has its delivery report.
//!
//! The bytes of a block are those of the source, and then the place of a row follows from where it stands in the block.
//! Or the reader made them (a row of CSV becomes a JSON object), or gathered rows of several segments: then the block
//! has a table of the rows' places. Records that are copied keep a share of the table, by which dead letters find their
//! place.

use std::rc::Rc;

use crate::{RecordPlace, Row};

/// Bytes in which rows stand.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Index of the segment in its shard.
    pub segment: u32,
    /// The place (see `migration::Position`) of the first byte; where there is a table, the place behind the row
    /// before, or the segment's start: a worker that has taken none of these rows goes on there.
    pub place: u64,
    /// Where each of its rows begins, in the order of the rows; `None`: the bytes are those of the segment, one after
    /// the other.
    pub table: Option<Rc<Vec<RowStart>>>,
}

/// Where a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowStart {
    /// Its first byte in the block.
    pub start: u32,
    /// Index of the segment in its shard.
    pub segment: u32,
    /// Its place in the segment.
    pub at: u64,
    /// Its length there, without its end.
    pub whole: u64,
}

impl Block {
    /// The segment of the row with this number.
    pub fn segment_of(&self, number: usize) -> u32 {
        self.table.as_ref().map_or(self.segment, |table| table[number].segment)
    }

    /// Where a row of this block, the one with this number, stands in its shard.
    pub fn place_of(&self, number: usize, row: &Row) -> RecordPlace {
        let (segment, start) = match &self.table {
            Some(table) => (table[number].segment, table[number].at),
            None => (self.segment, self.place + u64::from(row.start)),
        };
        RecordPlace { segment, start, bytes: row.whole }
    }
}

/// A bounded set of blocks. What is alive bounds a worker's memory, together with copies: a block is alive while it is
/// read from, and while any record of it that was not copied is in a lane or in flight.
#[derive(Debug)]
pub struct BlockPool {
    block_bytes: usize,
    limit_bytes: usize,
    blocks: Vec<Rc<Block>>,
    /// Tables of blocks that may have been recycled, while a group has a share of them.
    tables: Vec<Rc<Vec<RowStart>>>,
}

impl BlockPool {
    /// A pool whose blocks together hold at most `limit_bytes`, but always at least two blocks.
    pub fn new(limit_bytes: usize) -> Self {
        let block_bytes = (limit_bytes / 32).clamp(16 << 10, 256 << 10);
        BlockPool { block_bytes, limit_bytes: limit_bytes.max(2 * block_bytes), blocks: Vec::new(), tables: Vec::new() }
    }

    /// How much one block normally holds.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Whether another block can be taken without exceeding the limit, where `elsewhere` bytes are held besides blocks.
    pub fn has_room(&mut self, elsewhere: usize) -> bool {
        self.blocks.retain(|b| Rc::strong_count(b) > 1 || b.bytes.capacity() <= self.block_bytes);
        self.forget_tables();
        self.alive_bytes() + elsewhere + self.block_bytes <= self.limit_bytes
    }

    /// How much of the limit may be held besides blocks while `block` is read from. A long line may have made that one
    /// large: then the lines after it still find the room that they find beside a normal one.
    pub fn room_beside(&self, block: &Block) -> usize {
        let excess = block.bytes.capacity().saturating_sub(self.block_bytes);
        self.limit_bytes.saturating_sub(self.alive_bytes().saturating_sub(excess))
    }

    /// An empty block to fill: a recycled one where possible.
    pub fn take(&mut self) -> Block {
        match self.blocks.iter().position(|b| Rc::strong_count(b) == 1) {
            Some(i) => {
                let mut block = Rc::try_unwrap(self.blocks.swap_remove(i)).unwrap_or_default();
                block.bytes.clear();
                block.table = None;
                self.forget_tables();
                block
            }
            None => Block { bytes: Vec::with_capacity(self.block_bytes), ..Block::default() },
        }
    }

    /// Shares a filled block; the pool remembers it and recycles it when nothing else holds it.
    pub fn share(&mut self, block: Block) -> Rc<Block> {
        self.tables.extend(block.table.clone());
        let block = Rc::new(block);
        self.blocks.push(Rc::clone(&block));
        block
    }

    /// Forgets tables that no block and no group has a share of.
    fn forget_tables(&mut self) {
        self.tables.retain(|table| Rc::strong_count(table) > 1);
    }

    /// Bytes of blocks, and of their tables, that are in use.
    pub fn alive_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().filter(|b| Rc::strong_count(b) > 1).map(|b| b.bytes.capacity()).sum();
        let tables = self.tables.iter().filter(|table| Rc::strong_count(table) > 1);
        blocks + tables.map(|table| table.capacity() * size_of::<RowStart>()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_when_nobody_holds_it() {
        let mut pool = BlockPool::new(64 << 10);
        let held: Vec<_> = std::iter::from_fn(|| {
            pool.has_room(0).then(|| {
                let mut block = pool.take();
                block.bytes.extend_from_slice(b"x");
                pool.share(block)
            })
        })
        .collect();
        assert_eq!(held.len(), 4);
        drop(held);
        assert!(pool.has_room(0));
        assert!(!pool.has_room(pool.limit_bytes));
        assert_eq!(pool.alive_bytes(), 0);
        assert!(pool.take().bytes.is_empty());
    }

    #[test]
    fn tables_go_with_their_blocks() {
        let mut pool = BlockPool::new(64 << 10);
        for at in 0..1000 {
            let mut block = pool.take();
            block.table = Some(Rc::new(vec![RowStart { start: 0, segment: 0, at, whole: 1 }]));
            drop(pool.share(block));
        }
        assert!(pool.tables.len() <= 2, "{} tables", pool.tables.len());
    }

    #[test]
    fn a_block_with_a_long_line_leaves_as_much_room_as_any_other() {
        let mut pool = BlockPool::new(64 << 10);
        let (normal, mut long) = (pool.take(), pool.take());
        long.bytes.reserve_exact(1 << 20);
        let normal = pool.share(normal);
        assert_eq!(pool.room_beside(&normal), 48 << 10);
        let long = pool.share(long);
        assert_eq!(pool.room_beside(&long), 32 << 10);
    }
}
