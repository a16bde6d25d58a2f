//! A job's dead letters as they are on disk, held against what its state counts.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::ShardId;

/// A shard's committed dead letters that are not in its file any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
    /// Where they are, unless they are in a topic.
    pub folder: PathBuf,
    /// The topic that they are in. Nothing else is seen of them then: no broker is asked.
    pub topic: Option<String>,
    /// How many letters stand in the files behind what is committed.
    pub uncommitted: u64,
    /// Whose committed letters are not in their files any more.
    pub gone: Vec<GoneLetters>,
    /// Why records were set aside, the most frequent reason first.
    pub reasons: Vec<LetterReason>,
    /// How many committed letters were not read for `reasons`, because there are too many.
    pub unread: u64,
    /// The jobs that sent letters again, in the order of their numbers.
    pub retries: Vec<RetryReport>,
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

/// What a job did that sent dead letters again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryReport {
    /// Its number, from 1.
    pub number: u32,
    /// Its name.
    pub name: String,
    /// How many letters it took.
    pub taken: u64,
    /// How many records it has in their place; as many, unless they were edited.
    pub records: u64,
    /// Whether they were edited.
    pub edited: bool,
    /// How many of its records were acknowledged.
    pub sent: u64,
    /// How many of them were set aside again.
    pub set_aside: u64,
    /// How it stands.
    pub standing: RetryStanding,
    /// When it may have sent last, milliseconds since 1970; `None`: it sent nothing.
    pub sent_ms: Option<i64>,
}

/// How a job stands that sends dead letters again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryStanding {
    /// Every record is acknowledged or set aside again.
    Done,
    /// It runs.
    Running,
    /// It stopped, and the next retry goes on with it.
    Unfinished,
}

impl RetryStanding {
    /// Its name in the results.
    pub const fn name(self) -> &'static str {
        match self {
            RetryStanding::Done => "done",
            RetryStanding::Running => "running",
            RetryStanding::Unfinished => "unfinished",
        }
    }
}

/// How many letters are set aside and taken by no retry: of `letters` of the job, and of those of its retries.
pub fn still_set_aside(letters: u64, retries: &[RetryReport]) -> u64 {
    let again: u64 = retries.iter().map(|retry| retry.set_aside).sum();
    let taken: u64 = retries.iter().map(|retry| retry.taken).sum();
    (letters + again).saturating_sub(taken)
}

/// A job's dead letters by their reasons, and what became of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LetterListing {
    /// The reasons: those of the job's own letters, then those of its retries; of each the most frequent first.
    pub reasons: Vec<ListedReason>,
    /// How many letters the job's own state counts.
    pub letters: u64,
    /// The jobs that sent letters again.
    pub retries: Vec<RetryReport>,
}

/// A reason, and what became of the letters that have it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedReason {
    /// Whose letters: those of this retry, or the job's own.
    pub retry: Option<u32>,
    /// The reason, how many, and where the first one stands.
    pub found: LetterReason,
    /// The shards that set them aside.
    pub shards: Vec<ShardId>,
    /// How many hold only the beginning of their record.
    pub cut: u64,
    /// How many are rows of CSV that could not be read.
    pub rows: u64,
    /// How many have a line end in them.
    pub line_ends: u64,
    /// Which retries took some, and how many.
    pub taken: Vec<(u32, u64)>,
    /// How many no retry took.
    pub set_aside: u64,
}

/// One letter as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownLetter {
    /// Whose: of this retry, or the job's own.
    pub retry: Option<u32>,
    /// The shard that set it aside.
    pub shard: ShardId,
    /// The number of its reason in the listing, from 1.
    pub number: usize,
    /// Why.
    pub reason: String,
    /// The file in the source.
    pub path: String,
    /// The place of its first byte there.
    pub start: u64,
    /// Its length there.
    pub bytes: u64,
    /// Whether `record` is only its beginning.
    pub cut: bool,
    /// The record.
    pub record: Vec<u8>,
    /// Which retry took it.
    pub taken_by: Option<u32>,
}

/// Which letters are shown, and how.
#[derive(Clone, Copy, Debug)]
pub struct LettersShown<'a> {
    /// The job's name.
    pub job: &'a str,
    /// The letters.
    pub letters: &'a [ShownLetter],
    /// How many were chosen.
    pub chosen: u64,
    /// Whether their records are shown as they are.
    pub show_values: bool,
}
