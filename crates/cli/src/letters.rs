//! A job's dead letters as its state knows them: the records that were set aside, told from what a worker that died
//! left behind.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::report::{GoneLetters, JobReport, RetryReport, SeenLetters};
use migration::{Exit, ShardId, UserError, fixed, resume};
use pipeline::dead_letter::{self, LettersOrigin, Reasons};
use supervisor::{JobState, StateDir, Store};

use crate::retries::Retries;
use crate::state;

/// Where a job's dead letters are, and what of them is committed.
#[derive(Debug)]
pub struct Letters {
    /// The topic that they are in; `None`: they are in files.
    pub topic: Option<String>,
    /// The folder of their files.
    pub folder: PathBuf,
    /// The job's own.
    pub job_folder: PathBuf,
    /// How long each shard's file is by its last commit.
    pub committed: Vec<(ShardId, u64)>,
    /// How many the state counts of each shard.
    pub counts: Vec<(ShardId, u64)>,
    /// How many the state counts.
    pub counted: u64,
    /// Whose they are.
    pub origin: LettersOrigin,
}

impl Letters {
    /// Those of the job whose state is in `job_folder`.
    pub fn of(job_folder: &Path, state: &JobState) -> Letters {
        let counts = state.plan.shards.iter().map(|shard| shard.id);
        Letters {
            topic: fixed::letters_topic(&state.settings).map(str::to_owned),
            folder: StateDir::dead_letters_path(job_folder),
            job_folder: job_folder.to_owned(),
            committed: state.letters(),
            counts: counts.zip(state.shards.iter().map(|shard| shard.counts.dead_lettered)).collect(),
            counted: state.counts().dead_lettered,
            origin: origin(state),
        }
    }

    /// They can't be read.
    pub fn unreadable(&self, error: &io::Error) -> UserError {
        let what = match &self.topic {
            None => format!("cannot read dead letters in {}: {error}", printable_path(&self.folder)),
            Some(topic) => {
                let folder = printable_path(&self.job_folder);
                format!("cannot keep dead letters of topic {topic} in {folder} while they are looked at: {error}")
            }
        };
        UserError::new(Exit::State, what)
    }
}

/// Whose letters those are that a job's workers send to a topic.
pub fn origin(state: &JobState) -> LettersOrigin {
    LettersOrigin { job: state.name.clone(), began: state.origin.created_ms }
}

/// How many bytes of letters are read for their reasons.
const READ_FOR_REASONS: u64 = 256 << 20;

/// What is seen of them on disk, for a report: what can't be read has no uncommitted letters and no reasons, and is not
/// known to be gone. `files`: those of the source in its order; asked for only if there are letters.
pub fn seen(found: &JobReport, folder: &Path, files: impl FnOnce() -> Vec<PathBuf>) -> SeenLetters {
    let (topic, retries) = of_state(folder);
    if topic.is_some() {
        // No broker is asked.
        return SeenLetters { folder: folder.to_owned(), topic, retries, ..SeenLetters::default() };
    }
    let Reasons { reasons, unread } =
        if found.counts.dead_lettered > 0 { known(reasons(found, folder, &files()), folder) } else { Reasons::default() };
    let committed: Vec<_> = found.shard_reports.iter().map(|shard| (shard.id, shard.letters)).collect();
    let uncommitted = dead_letter::uncommitted(folder, &committed, process::open_private_below);
    SeenLetters {
        folder: folder.to_owned(),
        uncommitted: known(uncommitted, folder),
        gone: known(gone(found, folder), folder),
        reasons,
        unread,
        retries,
        topic: None,
    }
}

/// What a kept comparison says nothing of: records that a retry sent since.
pub fn mark_sent_since(found: &mut JobReport, seen: &SeenLetters) {
    if let Some(kept) = &mut found.verified {
        kept.sent_since |= seen.retries.iter().any(|retry| retry.sent_ms.is_some_and(|sent| sent > kept.unix_ms));
    }
}

/// The topic of the letters, if they are in one, and what the job's retries did; what can't be read is told by the
/// commands that need it.
fn of_state(folder: &Path) -> (Option<String>, Vec<RetryReport>) {
    let job_folder = folder.parent().unwrap_or(folder);
    let path = StateDir::store_path(job_folder);
    if !Store::exists(&path) {
        return (None, Vec::new());
    }
    let state = Store::read_only(&path).and_then(|store| store.load()).map_err(state::unusable);
    let topic = state.as_ref().ok().and_then(|state| fixed::letters_topic(&state.settings)).map(str::to_owned);
    let found = state.and_then(|state| Retries::of_state(job_folder, &state)).and_then(|retries| retries.reports());
    let retries = found.unwrap_or_else(|error| {
        tracing::warn!("{}", error.message);
        Vec::new()
    });
    (topic, retries)
}

/// Why records were set aside.
fn reasons(found: &JobReport, folder: &Path, files: &[PathBuf]) -> io::Result<Reasons> {
    let ranks: HashMap<Cow<'_, str>, usize> = files.iter().map(|file| file.to_string_lossy()).zip(0..).collect();
    let rank = |path: &str| ranks.get(path).copied();
    dead_letter::reasons(folder, &counted(found), &rank, READ_FOR_REASONS, process::open_private_below)
}

/// How long each shard's file is by its last commit, and how many letters that is.
fn counted(found: &JobReport) -> Vec<((ShardId, u64), u64)> {
    found.shard_reports.iter().map(|shard| ((shard.id, shard.letters), shard.counts.dead_lettered)).collect()
}

fn known<T: Default>(read: io::Result<T>, folder: &Path) -> T {
    read.unwrap_or_else(|error| {
        tracing::debug!("{}: {error}", printable_path(folder));
        T::default()
    })
}

/// Which shards' committed letters are not in their files any more.
fn gone(found: &JobReport, folder: &Path) -> io::Result<Vec<GoneLetters>> {
    dead_letter::gone(folder, &counted(found), process::open_private_below)
}

/// An error unless every record that was set aside is where the state says.
pub fn require(found: &JobReport, folder: &Path) -> Result<(), UserError> {
    match gone(found, folder) {
        Ok(gone) if gone.is_empty() => Ok(()),
        Ok(gone) => Err(resume::letters_gone(report::letters::gone(&gone, folder))),
        Err(error) => Err(resume::letters_gone(format!("dead letters can't be read: {error}"))),
    }
}
