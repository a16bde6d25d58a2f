//! A job's dead letters in words: where they are, which are gone, and how many lines there are none.

use std::path::Path;

use migration::printable::printable_path;
use migration::report::{GoneLetters, JobReport, SeenLetters};
use migration::units::show_things;

/// How many shards are named.
const NAMED: usize = 10;

/// What is gone, in a sentence.
pub fn gone(gone: &[GoneLetters], folder: &Path) -> String {
    let of = |one: &GoneLetters| {
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

/// Where the records are that were set aside, which of them are gone, and how many more lines stand there that are
/// none.
pub fn text(report: &JobReport, seen: &SeenLetters) -> String {
    let folder = &seen.folder;
    let lost = if seen.gone.is_empty() { String::new() } else { format!("\n{}\n", gone(&seen.gone, folder)) };
    place(report, folder) + &lost + &note(seen.uncommitted, folder)
}

/// Where to look for the records that were set aside, if there are any.
fn place(report: &JobReport, folder: &Path) -> String {
    if report.counts.dead_lettered == 0 {
        return String::new();
    }
    format!("\nrecords that were set aside, each with its reason: {}\n", printable_path(folder))
}

fn note(uncommitted: u64, folder: &Path) -> String {
    if uncommitted == 0 {
        return String::new();
    }
    let letters = show_things(uncommitted, "letter");
    let (are, they) = if uncommitted == 1 { ("is", "it does") } else { ("are", "they do") };
    format!(
        "\n{letters} in {} {are} not committed: of a chunk that is open, or whose worker died; {they} not count, and \
         the shard's next attempt cuts that off\n",
        printable_path(folder)
    )
}

#[cfg(test)]
mod tests {
    use migration::ShardId;

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
        let one = |shard, letters, bytes| GoneLetters { shard: ShardId(shard), letters, bytes };
        assert_eq!(
            gone(&[one(7, 1, 0)], folder),
            "1 dead letter that was committed is gone from /jobs/j/dead-letters; of the shards' files 00007.jsonl (1 letter)"
        );
        let many: Vec<_> = (0..12).map(|shard| one(shard, 100, 2_500)).collect();
        let text = gone(&many, folder);
        assert!(text.starts_with("1,200 dead letters that were committed are gone from /jobs/j/dead-letters"), "{text}");
        assert!(text.contains("00009.jsonl (100 letters, 2,500 bytes at the end) and 2 more"), "{text}");
    }
}
