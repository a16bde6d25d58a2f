//! The narrow waist towards datasets: a source cuts itself into shards and reads one of them.

use std::rc::Rc;

use migration::{Failure, FailureKind};

use crate::{Block, BlockPool};

pub mod jsonl;

/// Lines of one block.
#[derive(Debug, Default)]
pub struct Lines {
    /// Where they stand; `None` before the first call.
    pub block: Option<Rc<Block>>,
    /// The lines in source order, blank ones included.
    pub lines: Vec<Line>,
}

/// One line of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its first byte in the block (after a byte order mark, if any).
    pub start: u32,
    /// Its length in the block, without `\n` or `\r\n`.
    pub len: u32,
    /// Its length in the source, without the line end. More than `len` when the line is longer than `max_line`: then the block
    /// holds only its first 64 KiB.
    pub whole: u64,
    /// The place right after its line end: where a position stands when this line is done.
    pub end_place: u64,
}

impl Line {
    /// Whether the line exceeds `max_line`.
    pub fn too_long(&self) -> bool {
        self.whole > u64::from(self.len)
    }
}

/// Reads one shard from a position to its end.
pub trait ShardReader {
    /// Replaces `into` by the lines of the next block. False: the shard is at its end and `into` is empty. All lines of one call
    /// belong to one segment. A block without a complete line is never returned; true without a block and lines means that the
    /// reader is still on its way to where it was opened (a compressed stream can't be entered in its middle): call again.
    fn next(&mut self, pool: &mut BlockPool, into: &mut Lines) -> Result<bool, SourceError>;

    /// Checks once more, at the end of the shard, that no object changed since the plan.
    fn unchanged(&mut self) -> Result<(), SourceError>;

    /// What was seen since the last call that a user should know, in words.
    fn take_notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// The segment that is read, as an index into the shard's list; after an error the one that it is about.
    fn segment(&self) -> u32;
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

/// Whether a line is blank: nothing but ASCII white space. Blank lines are counted, never sent; planning, sending and verifying
/// must agree on them.
#[inline]
pub fn is_blank(line: &[u8]) -> bool {
    line.first().is_none_or(|first| first.is_ascii_whitespace() && line.trim_ascii_start().is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_white_space_is_blank() {
        assert!([&b""[..], b" ", b"\r", b" \t \r"].into_iter().all(is_blank));
        assert!(![&b"x"[..], b" x", b"\0"].into_iter().any(is_blank));
    }
}
