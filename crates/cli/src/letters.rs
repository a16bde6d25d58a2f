//! A job's dead letters as its state knows them: the records that were set aside, told from what a worker that died left behind.

use std::io;
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::report::JobReport;
use migration::units::show_things;
use migration::{Exit, ShardId, UserError};
use pipeline::dead_letter::{self, Gone};
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

/// Which shards' committed letters are not in their files any more.
pub fn gone(found: &JobReport, folder: &Path) -> io::Result<Vec<Gone>> {
    let committed: Vec<_> =
        found.shard_reports.iter().map(|shard| ((shard.id, shard.letters), shard.counts.dead_lettered)).collect();
    dead_letter::gone(folder, &committed, process::open_private_below)
}

/// How many that are, for who only looks: what can't be read is not known to be gone.
pub fn missing(found: &JobReport, folder: &Path) -> Vec<Gone> {
    gone(found, folder).unwrap_or_else(|error| {
        tracing::debug!("{}: {error}", printable_path(folder));
        Vec::new()
    })
}

/// An error unless every record that was set aside is where the state says.
pub fn require(found: &JobReport, folder: &Path) -> Result<(), UserError> {
    let error = match gone(found, folder) {
        Ok(gone) if gone.is_empty() => return Ok(()),
        Ok(gone) => UserError::new(Exit::State, told(&gone, folder)),
        Err(error) => UserError::new(Exit::State, format!("dead letters can't be read: {error}")),
    };
    Err(error.hint(
        "find who moved or removed the files, put them back as they were and run again; else `shardlift run --restart` sets the records \
         aside anew (and sends everything again)",
    ))
}

/// So many shards are named.
const NAMED: usize = 10;

/// What is gone, in a sentence.
fn told(gone: &[Gone], folder: &Path) -> String {
    let of = |one: &Gone| {
        let lacks = if one.bytes > 0 { format!(", {} at the end", show_things(one.bytes, "byte")) } else { String::new() };
        format!("{}.jsonl ({}{lacks})", one.shard, show_things(one.letters, "letter"))
    };
    let named: Vec<_> = gone.iter().take(NAMED).map(of).collect();
    let more = if gone.len() > NAMED { format!(" and {} more", gone.len() - NAMED) } else { String::new() };
    let letters: u64 = gone.iter().map(|one| one.letters).sum();
    let (were, are) = if letters == 1 { ("was", "is") } else { ("were", "are") };
    format!(
        "{} that {were} committed {are} gone from {}; of the shards' files {}{more}",
        show_things(letters, "dead letter"),
        printable_path(folder),
        named.join(", ")
    )
}

/// Where the records are that were set aside, which of them are gone, and how many more lines stand there that are none.
pub fn text(found: &JobReport, folder: &Path) -> String {
    let gone = missing(found, folder);
    let lost = if gone.is_empty() { String::new() } else { format!("\n{}\n", told(&gone, folder)) };
    report::job::dead_letters(found, folder) + &lost + &note(uncommitted(found, folder), folder)
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

    #[test]
    fn what_is_gone_is_told_with_names_and_numbers() {
        let folder = Path::new("/jobs/j/dead-letters");
        let gone = |shard, letters, bytes| Gone { shard: ShardId(shard), letters, bytes };
        assert_eq!(
            told(&[gone(7, 1, 0)], folder),
            "1 dead letter that was committed is gone from /jobs/j/dead-letters; of the shards' files 00007.jsonl (1 letter)"
        );
        let many: Vec<_> = (0..12).map(|shard| gone(shard, 100, 2_500)).collect();
        let text = told(&many, folder);
        assert!(text.starts_with("1,200 dead letters that were committed are gone from /jobs/j/dead-letters"), "{text}");
        assert!(text.contains("00009.jsonl (100 letters, 2,500 bytes at the end) and 2 more"), "{text}");
    }
}
