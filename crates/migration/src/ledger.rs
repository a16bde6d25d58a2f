//! What is kept of a shard with each commit: everything that its next attempt goes on from.

use serde::{Deserialize, Serialize};

use crate::{Chunk, Counts, Position, Segment, Shard};

/// Figures are below it, so that sums of them never overflow.
const LARGEST: u64 = 1 << 48;

/// Opaque bytes of a source beside a position, for one that needs more than that to go on there: a cursor, or a user's
/// own token. The supervisor carries and stores it, and never looks into it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Vec<u8>", into = "Vec<u8>")]
pub struct Token(Vec<u8>);

/// A token that is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token has {0} bytes, more than {max}", max = Token::MOST_BYTES)]
pub struct TokenTooLong(pub usize);

impl Token {
    /// The most bytes that one has.
    pub const MOST_BYTES: usize = 1 << 10;

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl TryFrom<Vec<u8>> for Token {
    type Error = TokenTooLong;

    fn try_from(bytes: Vec<u8>) -> Result<Token, TokenTooLong> {
        if bytes.len() <= Token::MOST_BYTES { Ok(Token(bytes)) } else { Err(TokenTooLong(bytes.len())) }
    }
}

impl From<Token> for Vec<u8> {
    fn from(token: Token) -> Vec<u8> {
        token.0
    }
}

/// How far a shard is committed, as its ledger says it: where a worker's commits go is one, and the next attempt goes
/// on from its newest entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// Up to where.
    pub position: Position,
    /// What was committed up to there, over all attempts.
    pub counts: Counts,
    /// What the source needs beside the position to go on there.
    pub token: Option<Token>,
    /// How long the shard's file of dead letters is by then, bytes.
    pub letters: u64,
    /// What was delivered up to there.
    pub receipt: Receipt,
}

impl LedgerEntry {
    /// How far a shard is with a chunk more.
    #[must_use]
    pub fn with(&self, chunk: &Chunk) -> LedgerEntry {
        let (mut counts, mut receipt) = (self.counts, self.receipt);
        counts.add(&chunk.counts);
        receipt.add(&chunk.receipt);
        LedgerEntry { position: chunk.position, counts, token: chunk.token.clone(), letters: chunk.letters, receipt }
    }

    /// What is wrong with its figures, whatever its shard is.
    pub fn check_figures(&self) -> Result<(), String> {
        let LedgerEntry { position, counts, letters, receipt, .. } = self;
        let Counts { read, acknowledged, filtered, dead_lettered, others, bytes_read, bytes_others, bytes_sent } = *counts;
        let counted = [read, acknowledged, filtered, dead_lettered, others, bytes_read, bytes_others, bytes_sent];
        let all = counted.iter().chain([letters, &position.records, &receipt.records]);
        // A place is stored as a signed number.
        if all.clone().any(|figure| *figure >= LARGEST) || position.place > i64::MAX as u64 {
            return Err(format!("its figures can't be: {counts:?} at {position:?}"));
        }
        if counts.balance() && counts.passed() <= position.records {
            return Ok(());
        }
        Err(format!("its counts do not balance: {counts:?} at {position:?}"))
    }

    /// What is wrong with it, given what its shard reads: who goes on from such a one would leave records out, or send
    /// some again.
    pub fn check(&self, segments: &[Segment], shard: &Shard) -> Result<(), String> {
        self.check_figures()?;
        let (LedgerEntry { position, counts, .. }, start) = (self, shard.start);
        if start.records.checked_add(counts.passed()) != Some(position.records) {
            return Err(format!("its counts do not balance: {counts:?} at {position:?}"));
        }
        if shard.partitions.is_none() && (counts.others, counts.bytes_others) != (0, 0) {
            return Err(format!("it passed over rows of others, but all rows of its shard are its own: {counts:?}"));
        }
        if *position < start {
            return Err(format!("{position:?} lies before its start"));
        }
        let inside = match segments.get(position.segment as usize) {
            Some(Segment { start, end, .. }) => (*start..=*end).contains(&position.place),
            // A position behind the last segment is one in segments that came later, of which the plan does not know.
            None => segments.is_empty() && position.segment == 0,
        };
        if inside { Ok(()) } else { Err(format!("{position:?} lies outside of it")) }
    }
}

/// Count and sum of the hashes of what was delivered. Sums of parts add up, in any order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// Records.
    pub records: u64,
    /// The sum of their hashes, modulo 2^128.
    pub sum: u128,
}

impl Receipt {
    /// Adds another's records.
    pub fn add(&mut self, other: &Receipt) {
        self.records += other.records;
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_bounded() {
        let longest = vec![7; Token::MOST_BYTES];
        assert_eq!(Token::try_from(longest.clone()).map(|token| token.bytes().to_vec()), Ok(longest));
        let wrong = Token::try_from(vec![7; 1025]).unwrap_err();
        assert_eq!(wrong.to_string(), "a token has 1025 bytes, more than 1024");
    }
}
