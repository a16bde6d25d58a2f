//! A job's dead letters as they are on disk, held against what its state counts.

use std::path::PathBuf;

use crate::ShardId;

/// A shard's committed dead letters that are not in its file any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GoneLetters {
    /// Whose.
    pub shard: ShardId,
    /// How many.
    pub letters: u64,
    /// How many bytes the file lacks at its end; 0: it has a hole, or other bytes there.
    pub bytes: u64,
}

/// What was seen in the folder of a job's dead letters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenLetters {
    /// Where they are.
    pub folder: PathBuf,
    /// How many letters stand in the files behind what is committed.
    pub uncommitted: u64,
    /// Whose committed letters are not in their files any more.
    pub gone: Vec<GoneLetters>,
}

impl SeenLetters {
    /// How many committed letters are gone.
    pub fn missing(&self) -> u64 {
        self.gone.iter().map(|one| one.letters).sum()
    }
}
