//! Blocks: the pieces of a source object that are in memory. Records are ranges of blocks; a block is reused when the last record
//! in it that was not copied has its delivery report.

use std::rc::Rc;

/// Some contiguous bytes of one segment.
#[derive(Debug, Default)]
pub struct Block {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Index of the segment in its shard.
    pub segment: u32,
    /// The place (see `migration::Position`) of the first byte.
    pub place: u64,
}

/// A bounded set of blocks. What is alive bounds a worker's memory, together with copies: a block is alive while it is read from,
/// and while any record of it that was not copied is in a lane or in flight.
#[derive(Debug)]
pub struct BlockPool {
    block_bytes: usize,
    limit_bytes: usize,
    blocks: Vec<Rc<Block>>,
}

impl BlockPool {
    /// A pool whose blocks together hold at most `limit_bytes`, but always at least two blocks.
    pub fn new(limit_bytes: usize) -> Self {
        let block_bytes = (limit_bytes / 32).clamp(16 << 10, 256 << 10);
        BlockPool { block_bytes, limit_bytes: limit_bytes.max(2 * block_bytes), blocks: Vec::new() }
    }

    /// How much one block normally holds.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Whether another block can be taken without exceeding the limit, where `elsewhere` bytes are held besides blocks.
    pub fn has_room(&mut self, elsewhere: usize) -> bool {
        self.blocks.retain(|b| Rc::strong_count(b) > 1 || b.bytes.capacity() <= self.block_bytes);
        self.alive_bytes() + elsewhere + self.block_bytes <= self.limit_bytes
    }

    /// How much of the limit may be held besides blocks while `block` is read from. A long line may have made that one large: then
    /// the lines after it still find the room that they find beside a normal one.
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
                block
            }
            None => Block { bytes: Vec::with_capacity(self.block_bytes), ..Block::default() },
        }
    }

    /// Shares a filled block; the pool remembers it and recycles it when nobody else holds it.
    pub fn share(&mut self, block: Block) -> Rc<Block> {
        let block = Rc::new(block);
        self.blocks.push(Rc::clone(&block));
        block
    }

    /// Bytes of blocks that somebody holds.
    pub fn alive_bytes(&self) -> usize {
        self.blocks.iter().filter(|b| Rc::strong_count(b) > 1).map(|b| b.bytes.capacity()).sum()
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
