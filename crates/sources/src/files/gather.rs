//! Small segments share blocks: a reader whose blocks hold only a few bytes each would fill the memory of its worker
//! with blocks that are nearly empty.
//!
//! Responsible for: copying such blocks into one, with a table of the places of their rows. Not responsible for: how a
//! segment is read. Blocks that are at least half full pass as they are, so that large files are never copied.

use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::{Position, Token};
use pipeline::block::RowStart;
use pipeline::{Block, BlockPool, Next, Reader, Rows, SourceError};

/// For how long small blocks are gathered: what is slow to open holds up neither records nor delivery reports.
const LONGEST_GATHERING: Duration = Duration::from_millis(5);

/// The reader of a shard that has `segments` segments left, so that small ones share blocks.
pub(crate) fn gathered(reader: Box<dyn Reader>, segments: usize) -> Box<dyn Reader> {
    if segments < 2 {
        return reader;
    }
    Box::new(Gathering { reader, apart: Rows::default(), failed: None })
}

/// A reader that makes one block of small ones.
struct Gathering {
    reader: Box<dyn Reader>,
    /// What was read and comes next: it is no small block, or had no room in the last one.
    apart: Rows,
    /// What the reader failed with behind the rows that were given last.
    failed: Option<SourceError>,
}

impl Reader for Gathering {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        let mut gathered: Option<SharedBlock> = None;
        let began = Instant::now();
        loop {
            if self.apart.block.is_none() {
                match self.reader.next(pool, &mut self.apart) {
                    Ok(Next::Rows) => {}
                    // Asked again, it says so again.
                    Ok(_) if gathered.is_some() => break,
                    Ok(other) => return Ok(other),
                    Err(error) if gathered.is_some() => {
                        self.failed = Some(error);
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
            if let Some(block) = self.apart.block.take() {
                match &mut gathered {
                    None if !is_small(&self.apart, &block, pool.block_bytes()) => {
                        self.apart.block = Some(block);
                        std::mem::swap(into, &mut self.apart);
                        return Ok(Next::Rows);
                    }
                    Some(gathered) if !gathered.has_room(&self.apart, &block, pool.block_bytes()) => {
                        self.apart.block = Some(block);
                        break;
                    }
                    gathered => {
                        gathered.get_or_insert_with(|| SharedBlock::begin(pool, &block)).add(&block, &self.apart, into);
                        self.apart.clear();
                    }
                }
            }
            if began.elapsed() >= LONGEST_GATHERING {
                break;
            }
        }
        into.block = gathered.map(|gathered| gathered.share(pool));
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        self.reader.unchanged()
    }

    fn readable(&self) -> Option<BorrowedFd<'_>> {
        self.reader.readable()
    }

    fn take_notices(&mut self) -> Vec<String> {
        self.reader.take_notices()
    }

    fn token(&mut self, position: &Position) -> Option<Token> {
        self.reader.token(position)
    }

    fn segment(&self) -> u32 {
        self.reader.segment()
    }
}

/// The most rows of a block that is gathered: its table never takes more than its bytes.
fn most_rows(block_bytes: usize) -> usize {
    block_bytes / size_of::<RowStart>()
}

/// Whether rows leave at least half of their block empty.
fn is_small(rows: &Rows, block: &Block, block_bytes: usize) -> bool {
    block.bytes.len() <= block_bytes / 2 && rows.rows.len() <= most_rows(block_bytes) / 2
}

/// The block that is made of small ones.
struct SharedBlock {
    block: Block,
    table: Vec<RowStart>,
}

impl SharedBlock {
    /// An empty block that begins where the first of the small ones does.
    fn begin(pool: &mut BlockPool, first: &Block) -> SharedBlock {
        let mut block = pool.take();
        (block.segment, block.place) = (first.segment, first.place);
        block.bytes.reserve_exact(pool.block_bytes());
        SharedBlock { block, table: Vec::new() }
    }

    fn has_room(&self, rows: &Rows, block: &Block, block_bytes: usize) -> bool {
        self.block.bytes.len() + block.bytes.len() <= block_bytes
            && self.table.len() + rows.rows.len() <= most_rows(block_bytes)
    }

    /// Adds the rows of a block, all of them.
    fn add(&mut self, block: &Block, rows: &Rows, into: &mut Rows) {
        let before = self.block.bytes.len() as u32;
        self.block.bytes.extend_from_slice(&block.bytes);
        into.bad.extend(rows.bad.iter().map(|(index, reason)| (into.rows.len() as u32 + index, reason.clone())));
        for (number, row) in rows.rows.iter().enumerate() {
            let place = block.place_of(number, row);
            let start = before + row.start;
            self.table.push(RowStart { start, segment: place.segment, at: place.start, whole: place.bytes });
            into.rows.push(pipeline::Row { start, ..*row });
        }
    }

    /// Hands the block over. What it has no use for would count as held.
    fn share(self, pool: &mut BlockPool) -> Rc<Block> {
        let SharedBlock { mut block, mut table } = self;
        if block.bytes.len() < block.bytes.capacity() / 2 {
            block.bytes.shrink_to_fit();
        }
        table.shrink_to_fit();
        block.table = Some(Rc::new(table));
        pool.share(block)
    }
}

#[cfg(test)]
mod tests;
