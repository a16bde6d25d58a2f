//! What is kept of a shard with each commit: everything that its next attempt goes on from.

use serde::{Deserialize, Serialize};

use crate::{Counts, Position};

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
