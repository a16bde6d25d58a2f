//! Whether the order of the source's files is the one that their names suggest: order by key follows it.

use std::cmp::Ordering;
use std::path::Path;

use super::Prospect;
use crate::printable::printable_path;

/// What a user should know of the order of the files: names are compared byte by byte, so that `orders-10` comes before
/// `orders-2`; and all files of a pattern come before those of the next.
pub(super) fn of_files(prospect: &Prospect<'_>) -> Option<String> {
    let objects = &prospect.plan.objects;
    let pairs = objects.iter().zip(objects.iter().skip(1)).map(|(first, second)| (&*first.path, &*second.path));
    let globs = prospect.job.source.files().paths.iter().filter(|path| path.contains(['*', '?', '['])).count();
    let mut odd = pairs.filter(|(first, second)| by_number(second, first) == Ordering::Less);
    let (first, second) = odd.find(|(first, second)| {
        let within_a_pattern = first < second;
        within_a_pattern || globs > 1 && first.parent() == second.parent()
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
        of_files(&Prospect { job: &job, plan: &plan, order: Order::Key, workers: 2, compacted: false })
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
    fn files_of_one_folder_in_two_patterns_are_told() {
        let names = ["d/1.jsonl", "d/3.jsonl", "d/2.jsonl.gz"];
        let text = said(&["d/*.jsonl", "d/*.jsonl.gz"], &names).unwrap();
        assert!(text.contains("d/3.jsonl is sent before d/2.jsonl.gz") && text.contains("one pattern"), "{text}");
        assert_eq!(said(&["d/1.jsonl", "d/3.jsonl", "d/2.jsonl.gz"], &names), None, "that order was typed");
        assert_eq!(said(&["b/*", "a/*"], &["b/1", "b/2", "a/1"]), None, "folders in the order that was typed");
    }
}
