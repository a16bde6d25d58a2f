//! How many files are told of that have the same to say: the first ones by name, and how many more there are. There
//! may be a hundred thousand of them.

use std::path::Path;

use migration::printable::printable_path;
use migration::units::{first_few, show_count, show_things};
use pipeline::SourceError;

/// The first notes, and how many more there are of `what`.
pub(super) fn told(notes: impl Iterator<Item = String>, what: &str) -> Vec<String> {
    let notes = notes.map(|note| note.chars().map(printable).collect());
    first_few(notes.collect(), |more| format!("{more} more {what}"))
}

/// One error of many: the first ones, and how many more there are of `what`.
pub(super) fn all_of(errors: impl Iterator<Item = String>, what: &str) -> SourceError {
    SourceError(told(errors, what).join("; "))
}

/// What a user should know of files without a record among `files`: nothing, unless they are half of them or more. One
/// empty file, or some, are in many a dataset; most of them are empty in none that is as it should be.
pub(super) fn without_records<'a>(without: impl Iterator<Item = &'a Path>, files: usize) -> Option<String> {
    let without: Vec<_> = without.collect();
    let first = printable_path(without.first()?);
    match without.len() {
        some if some < 2 || 2 * some < files => None,
        all if all == files => Some(format!("none of {} has a record, {first} for example", show_things(files as u64, "file"))),
        some => Some(format!(
            "{} of {} have no record, {first} for example",
            show_count(some as u64),
            show_things(files as u64, "file")
        )),
    }
}

/// Notes are for people: a file's name must not forge a line of theirs or speak to their terminal.
fn printable(letter: char) -> String {
    if letter.is_control() { letter.escape_default().collect() } else { letter.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_files_the_first_are_told_and_the_others_counted() {
        let many = (0..10_000).map(|number| format!("f-{number}\n: is odd"));
        assert_eq!(told(many, "are odd"), ["f-0\\n: is odd", "f-1\\n: is odd", "f-2\\n: is odd", "9997 more are odd"]);
        assert_eq!(all_of(["a".to_owned(), "b".to_owned()].into_iter(), "c").0, "a; b");
    }

    #[test]
    fn files_without_a_record_are_told_once_where_they_are_many() {
        let without = |some: usize, files| without_records((0..some).map(|_| Path::new("/d/a")), files);
        assert_eq!(without(0, 0), None);
        assert_eq!((without(1, 1), without(1, 2), without(2, 5)), (None, None, None), "as good datasets have them");
        assert_eq!(without(9_999, 10_000).as_deref(), Some("9,999 of 10,000 files have no record, /d/a for example"));
        assert_eq!(without(3, 3).as_deref(), Some("none of 3 files has a record, /d/a for example"));
    }
}
