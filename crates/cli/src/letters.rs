//! A job's dead letters as its state knows them: the records that were set aside, told from what a worker that died
//! left behind.

use std::io;
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::report::{GoneLetters, JobReport, SeenLetters};
use migration::{ShardId, UserError, resume};
use pipeline::dead_letter;
use supervisor::{JobState, StateDir};

/// Where a job's dead letters are, and what of them is committed.
pub struct Letters {
    /// Their folder.
    pub folder: PathBuf,
    /// How long each shard's file is by its last commit.
    pub committed: Vec<(ShardId, u64)>,
    /// How many the state counts.
    pub counted: u64,
}

impl Letters {
    /// Those of the job whose state is in `job_folder`.
    pub fn of(job_folder: &Path, state: &JobState) -> Letters {
        let folder = StateDir::dead_letters_path(job_folder);
        Letters { folder, committed: state.letters(), counted: state.counts().dead_lettered }
    }
}

/// What is seen of them on disk, for a report: what can't be read has no uncommitted letters, and is not known to be
/// gone.
pub fn seen(found: &JobReport, folder: &Path) -> SeenLetters {
    let committed: Vec<_> = found.shard_reports.iter().map(|shard| (shard.id, shard.letters)).collect();
    let uncommitted = dead_letter::uncommitted(folder, &committed, process::open_private_below);
    SeenLetters {
        folder: folder.to_owned(),
        uncommitted: known(uncommitted, folder),
        gone: known(gone(found, folder), folder),
        ..SeenLetters::default()
    }
}

fn known<T: Default>(read: io::Result<T>, folder: &Path) -> T {
    read.unwrap_or_else(|error| {
        tracing::debug!("{}: {error}", printable_path(folder));
        T::default()
    })
}

/// Which shards' committed letters are not in their files any more.
fn gone(found: &JobReport, folder: &Path) -> io::Result<Vec<GoneLetters>> {
    let committed: Vec<_> =
        found.shard_reports.iter().map(|shard| ((shard.id, shard.letters), shard.counts.dead_lettered)).collect();
    dead_letter::gone(folder, &committed, process::open_private_below)
}

/// An error unless every record that was set aside is where the state says.
pub fn require(found: &JobReport, folder: &Path) -> Result<(), UserError> {
    match gone(found, folder) {
        Ok(gone) if gone.is_empty() => Ok(()),
        Ok(gone) => Err(resume::letters_gone(report::letters::gone(&gone, folder))),
        Err(error) => Err(resume::letters_gone(format!("dead letters can't be read: {error}"))),
    }
}
