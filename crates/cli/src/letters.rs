//! A job's dead letters as its state knows them: the records that were set aside, told from what a worker that died left behind.

use std::io;
use std::path::{Path, PathBuf};

use migration::ShardId;
use migration::printable::printable_path;
use migration::report::JobReport;
use migration::units::show_things;
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

/// How many letters stand in the files behind what is committed. What can't be read has none.
pub fn uncommitted(found: &JobReport, folder: &Path) -> u64 {
    let committed: Vec<_> = found.shard_reports.iter().map(|shard| (shard.id, shard.letters)).collect();
    dead_letter::uncommitted(folder, &committed, process::open_private_below).unwrap_or_else(|error: io::Error| {
        tracing::debug!("{}: {error}", printable_path(folder));
        0
    })
}

/// Where the records are that were set aside, and how many more lines stand there that are none.
pub fn text(found: &JobReport, folder: &Path) -> String {
    report::job::dead_letters(found, folder) + &note(uncommitted(found, folder), folder)
}

fn note(uncommitted: u64, folder: &Path) -> String {
    if uncommitted == 0 {
        return String::new();
    }
    let letters = show_things(uncommitted, "letter");
    let (are, they) = if uncommitted == 1 { ("is", "it does") } else { ("are", "they do") };
    format!(
        "\n{letters} in {} {are} not committed: of a chunk that is open, or whose worker died; {they} not count, and the shard's next \
         attempt cuts that off\n",
        printable_path(folder)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_told_as_such() {
        let folder = Path::new("/jobs/j/dead-letters");
        assert_eq!(note(0, folder), "");
        assert!(note(1, folder).contains("1 letter in /jobs/j/dead-letters is not committed"), "{}", note(1, folder));
        assert!(note(383, folder).contains("383 letters in /jobs/j/dead-letters are not committed"));
        assert!(note(1, Path::new("/jobs/\u{1b}[2J")).contains(r"in /jobs/\u{1b}[2J is not"), "it can't act on a terminal");
    }
}
