//! A source that is in memory.

use std::rc::Rc;

use migration::{Position, Token};

use crate::{Block, BlockPool, Next, Reader, Row, Rows, SourceError};

/// How much of a line over `max_line` a block holds.
const KEPT: usize = 64 << 10;

/// Reads lines of byte strings, one segment each. Knows `\n` only, and expects a newline after the last line.
#[derive(Debug)]
pub struct MemoryReader {
    segments: Rc<Vec<Vec<u8>>>,
    /// Where each segment begins; at its first byte if it is not here.
    starts: Vec<usize>,
    segment: usize,
    place: usize,
    max_line: usize,
    changed: bool,
    /// It gives a token for each position.
    tokens: bool,
    /// Nothing of this segment can be read from this byte on.
    damaged: Option<(usize, usize)>,
}

impl MemoryReader {
    /// A reader of `segments` that stands at a segment and a byte in it.
    pub fn new(segments: Rc<Vec<Vec<u8>>>, segment: u32, place: u64, max_line: usize) -> Self {
        let (segment, place) = (segment as usize, place as usize);
        MemoryReader { segments, starts: Vec::new(), segment, place, max_line, changed: false, tokens: false, damaged: None }
    }

    /// The same, of segments that don't begin at their first bytes.
    pub fn starting_at(self, starts: Vec<usize>) -> Self {
        MemoryReader { starts, ..self }
    }

    /// The same, of an object that is found to be changed at the end of the shard.
    pub fn changed(self) -> Self {
        MemoryReader { changed: true, ..self }
    }

    /// The same, which gives a token for each position: what [`token_of`](super::token_of) says.
    pub fn with_tokens(self) -> Self {
        MemoryReader { tokens: true, ..self }
    }

    /// The same, of an object that can't be read from a byte of it on.
    pub fn damaged(self, segment: u32, place: u64) -> Self {
        MemoryReader { damaged: Some((segment as usize, place as usize)), ..self }
    }

    /// What can be read of the current segment, and whether that is all.
    fn readable(&self) -> Option<(&[u8], bool)> {
        let segment = self.segments.get(self.segment)?;
        Some(match self.damaged {
            Some((damaged, place)) if damaged == self.segment => (&segment[..place.min(segment.len())], false),
            _ => (segment, true),
        })
    }
}

impl Reader for MemoryReader {
    fn next(&mut self, pool: &mut BlockPool, into: &mut Rows) -> Result<Next, SourceError> {
        into.clear();
        while self.readable().is_some_and(|(segment, whole)| self.place >= segment.len() && whole) {
            self.segment += 1;
            self.place = self.starts.get(self.segment).copied().unwrap_or(0);
        }
        let segments = std::rc::Rc::clone(&self.segments);
        let Some(segment) = segments.get(self.segment) else { return Ok(Next::End) };
        let readable = self.readable().map_or(0, |(readable, _)| readable.len());
        let lines = memchr::memrchr(b'\n', &segment[..readable]).map_or(0, |last| last + 1);
        if self.place >= lines {
            return Err(SourceError(format!("memory: segment {} is damaged at byte {readable}", self.segment)));
        }
        let segment = &segment[..lines];
        let recycled = pool.take();
        let mut block = Block { bytes: recycled.bytes, segment: self.segment as u32, place: self.place as u64, table: None };
        for line in segment[self.place..].split_inclusive(|&byte| byte == b'\n') {
            let text = line.strip_suffix(b"\n").unwrap_or(line);
            let too_long = text.len() > self.max_line;
            let full = block.bytes.len() + line.len() > pool.block_bytes();
            if (full || too_long) && !into.rows.is_empty() {
                break;
            }
            let kept = if too_long { &text[..text.len().min(KEPT).min(self.max_line)] } else { text };
            self.place += line.len();
            let (start, counts, after) = (block.bytes.len() as u32, line.len() as u64, self.place as u64);
            let row = Row { start, len: kept.len() as u32, whole: text.len() as u64, counts, after };
            if too_long {
                into.push_bad(row, format!("the row has {} bytes, which is too long", text.len()));
            } else {
                into.rows.push(row);
            }
            block.bytes.extend_from_slice(if too_long { kept } else { line });
            if too_long {
                break;
            }
        }
        into.block = Some(pool.share(block));
        Ok(Next::Rows)
    }

    fn unchanged(&mut self) -> Result<(), SourceError> {
        if self.changed { Err(SourceError("memory: changed since the plan".to_owned())) } else { Ok(()) }
    }

    fn token(&mut self, position: &Position) -> Option<Token> {
        self.tokens.then(|| token_of(position))
    }

    fn segment(&self) -> u32 {
        self.segment as u32
    }
}

/// The token that stands for a position.
pub fn token_of(position: &Position) -> Token {
    let text = format!("segment {}, place {}", position.segment, position.place);
    Token::try_from(text.into_bytes()).expect("it is short")
}
