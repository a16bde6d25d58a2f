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
    /// Why records were set aside, the most frequent reason first.
    pub reasons: Vec<LetterReason>,
    /// How many committed letters were not read for `reasons`, because there are too many.
    pub unread: u64,
}

/// Why records were set aside: letters whose reasons differ in their numbers alone are of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterReason {
    /// The reason, as the first such letter has it.
    pub reason: String,
    /// How many letters.
    pub letters: u64,
    /// The file of the first one, in the source.
    pub path: String,
    /// The place of its first byte there.
    pub start: u64,
    /// Of a reason that says that a field is not there: the fields that this record has, the first ones, as paths.
    pub fields: Vec<String>,
}

impl SeenLetters {
    /// How many committed letters are gone.
    pub fn missing(&self) -> u64 {
        self.gone.iter().map(|one| one.letters).sum()
    }
}
