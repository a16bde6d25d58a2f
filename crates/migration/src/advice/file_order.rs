//! Whether the order of the source's files is the one that their names suggest: order by key follows it.

use std::cmp::Ordering;
use std::ffi::OsString;
use std::path::Path;

use super::Prospect;
use crate::printable::printable_path;

/// What makes a path a pattern.
const WILD: [char; 3] = ['*', '?', '['];

/// What a user should know of the order of the files: names are compared byte by byte, so that `orders-10` comes before
/// `orders-2`; and all files of a pattern come before those of the next.
pub(super) fn of_files(prospect: &Prospect<'_>) -> Option<String> {
    let objects = &prospect.plan.objects;
    let pairs = objects.iter().zip(objects.iter().skip(1)).map(|(first, second)| (&*first.path, &*second.path));
    let patterns = &prospect.job.source.files().paths;
    let globs: Vec<&str> = patterns.iter().map(String::as_str).filter(|path| path.contains(WILD)).collect();
    let mut odd = pairs.filter(|(first, second)| by_number(second, first) == Ordering::Less && numbered(first, second));
    let (first, second) = odd.find(|(first, second)| match first < second {
        true => globs.iter().any(|glob| may_find_both(glob, first, second)),
        false => globs.len() > 1 && first.parent() == second.parent(),
    })?;
    let mend = if first < second {
        "pad the numbers in the names with zeros, or list the files in `paths` in their order"
    } else {
        "one pattern for all of them would sort them by name"
    };
    Some(format!(
        "{} is sent before {}, and each key's records keep that order: files follow `paths`, by name within a pattern. If \
         that is not their order, {mend}",
        printable_path(first),
        printable_path(second)
    ))
}

/// Whether a pattern can have found two files, as far as its folders and the beginning of its first wild part tell.
/// Files are known by their canonical paths, so that folders before that are only held against each other.
fn may_find_both(glob: &str, first: &Path, second: &Path) -> bool {
    let parts: Vec<&str> = glob.split('/').collect();
    let Some(wild) = parts.iter().position(|part| part.contains(WILD)) else { return false };
    if parts[wild] == "**" {
        let folder: std::path::PathBuf = parts[..wild].join("/").into();
        return first.starts_with(&folder) && second.starts_with(&folder);
    }
    let begins = parts[wild].split(WILD).next().unwrap_or_default();
    let at = |path: &Path| {
        let names: Vec<OsString> = path.iter().map(OsString::from).collect();
        let place = names.len().checked_sub(parts.len() - wild)?;
        let found = names[place].as_encoded_bytes().starts_with(begins.as_bytes());
        found.then(|| names[..place].to_vec())
    };
    at(first).is_some_and(|folder| at(second) == Some(folder))
}

/// Whether two paths differ first in names that are alike but for their numbers, and maybe for an ending that one has
/// more (`o-2.jsonl`, `o-10.jsonl.gz`): hashes are not.
fn numbered(first: &Path, second: &Path) -> bool {
    let Some((a, b)) = first.iter().zip(second).find(|(a, b)| a != b) else { return false };
    let (a, b) = (without_numbers(a.as_encoded_bytes()), without_numbers(b.as_encoded_bytes()));
    let rest = a.strip_prefix(&*b).or_else(|| b.strip_prefix(&*a));
    rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'.')
}

/// A name with one `0` for each run of digits.
fn without_numbers(name: &[u8]) -> Vec<u8> {
    let mut text: Vec<u8> = name.iter().map(|byte| if byte.is_ascii_digit() { b'0' } else { *byte }).collect();
    text.dedup_by(|a, b| (*a, *b) == (b'0', b'0'));
    text
}

/// Compares two paths with their runs of digits as numbers.
fn by_number(a: &Path, b: &Path) -> Ordering {
    use std::os::unix::ffi::OsStrExt as _;
    let (mut a, mut b) = (a.as_os_str().as_bytes(), b.as_os_str().as_bytes());
    loop {
        let (x, y) = (number(a), number(b));
        let order = if x.is_empty() || y.is_empty() {
            a.first().cmp(&b.first())
        } else {
            let significant = |digits: &[u8]| digits.iter().position(|digit| *digit != b'0').unwrap_or(digits.len());
            let (p, q) = (&x[significant(x)..], &y[significant(y)..]);
            p.len().cmp(&q.len()).then(p.cmp(q))
        };
        if order != Ordering::Equal || a.is_empty() {
            return order;
        }
        (a, b) = (&a[x.len().max(1)..], &b[y.len().max(1)..]);
    }
}

/// The digits that a text begins with.
fn number(text: &[u8]) -> &[u8] {
    &text[..text.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(text.len())]
}

#[cfg(test)]
mod tests {
    use super::super::order::tests::{job, plan};
    use super::*;
    use crate::{Compression, Order};

    /// What is said of files with these names, which these patterns mean.
    fn said(patterns: &[&str], names: &[&str]) -> Option<String> {
        let mut job = job();
        if let crate::job::SourceRules::Jsonl(source) = &mut job.source {
            source.files.paths = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
        }
        let files: Vec<_> = names.iter().map(|_| (Compression::None, 10)).collect();
        let mut plan = plan(&files);
        plan.objects.iter_mut().zip(names).for_each(|(object, name)| object.path = name.into());
        of_files(&Prospect { job: &job, plan: &plan, begun: false, order: Order::Key, workers: 2, compacted: false })
    }

    #[test]
    fn numbers_without_zeros_are_told() {
        let text = said(&["d/*"], &["d/o-1.jsonl", "d/o-10.jsonl", "d/o-2.jsonl"]).unwrap();
        assert!(text.contains("d/o-10.jsonl is sent before d/o-2.jsonl") && text.contains("zeros"), "{text}");
        assert!(said(&["d/*/*"], &["d/day=10/a", "d/day=9/a"]).is_some());
        assert_eq!(said(&["d/*"], &["d/o-01.jsonl", "d/o-02.jsonl.gz", "d/o-10.jsonl"]), None);
        assert_eq!(said(&["d/*"], &["d/2026-01-09", "d/2026-01-10", "d/2026-02-01", "d/b", "d/bb"]), None);
        assert_eq!(said(&["d/*"], &["d/0", "d/00", "d/1"]), None);
    }

    #[test]
    fn an_order_that_was_typed_and_names_that_are_hashes_are_not_told() {
        let numbers = ["/d/o-10.jsonl", "/d/o-2.jsonl"];
        assert_eq!(said(&numbers, &numbers), None);
        assert_eq!(said(&["/d/a-*", "/d/o-10.jsonl", "/d/o-2.jsonl"], &["/d/a-1", numbers[0], numbers[1]]), None);
        assert_eq!(said(&["/d10/*", "/d9/*"], &["/d10/a", "/d9/a"]), None);
        assert!(said(&["/d*/*"], &["/d10/a", "/d10/b", "/d9/a"]).is_some());
        assert!(said(&["/**/*.jsonl"], &["/d10/a.jsonl", "/d9/e/a.jsonl"]).is_some());
        assert!(said(&["/linked/o-*"], &numbers).is_some(), "paths of files are canonical");
        assert_eq!(said(&["/d/*"], &["/d/10bc", "/d/9f"]), None);
        assert_eq!(said(&["/d/*.jsonl"], &["/d/10b.jsonl", "/d/9.jsonl", "/d/9f.jsonl"]), None);
        assert!(said(&["/d/*"], &["/d/o-10.jsonl", "/d/o-2.jsonl.gz"]).is_some());
    }

    #[test]
    fn files_of_one_folder_in_two_patterns_are_told() {
        let names = ["d/1.jsonl", "d/3.jsonl", "d/2.jsonl.gz"];
        let text = said(&["d/*.jsonl", "d/*.jsonl.gz"], &names).unwrap();
        assert!(text.contains("d/3.jsonl is sent before d/2.jsonl.gz") && text.contains("one pattern"), "{text}");
        assert_eq!(said(&["d/1.jsonl", "d/3.jsonl", "d/2.jsonl.gz"], &names), None, "that order was typed");
        assert_eq!(said(&["b/*", "a/*"], &["b/1", "b/2", "a/1"]), None, "folders in the order that was typed");
    }
}
