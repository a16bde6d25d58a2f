//! Multisets of byte strings in little memory: equal content, whatever the order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use xxhash_rust::xxh3::xxh3_128;

/// How often each value occurs, by its 128-bit hash.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Multiset {
    counts: HashMap<u128, u32>,
    total: u64,
}

/// What a topic lacks and what it has too much of, compared with its source. Figures count copies.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// In the source more often than in the topic.
    pub missing: u64,
    /// Surplus copies of values that the source has.
    pub duplicates: u64,
    /// Values that the source doesn't have at all.
    pub unexpected: u64,
}

impl Multiset {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one copy.
    pub fn add(&mut self, value: &[u8]) {
        *self.counts.entry(xxh3_128(value)).or_default() += 1;
        self.total += 1;
    }

    /// How many values, copies counted.
    pub fn len(&self) -> u64 {
        self.total
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The lines of files, without their line ends (`\n` or `\r\n`); blank lines are left out, as the product does.
    pub fn of_lines(paths: &[impl AsRef<Path>]) -> Self {
        let mut all = Self::new();
        for path in paths {
            let path = path.as_ref();
            let file = File::open(path).unwrap_or_else(|error| panic!("can't open {}: {error}", path.display()));
            all.add_lines(BufReader::with_capacity(1 << 20, file));
        }
        all
    }

    /// Adds the lines that a reader gives.
    pub fn add_lines(&mut self, mut lines: impl BufRead) {
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).expect("the source can be read") > 0 {
            let text = line.strip_suffix(b"\n").unwrap_or(&line);
            let text = text.strip_suffix(b"\r").unwrap_or(text);
            if !text.is_empty() {
                self.add(text);
            }
            line.clear();
        }
    }

    /// How `topic` differs from this source.
    pub fn difference(&self, topic: &Multiset) -> Difference {
        let mut difference = Difference::default();
        for (value, count) in &self.counts {
            let there = topic.counts.get(value).copied().unwrap_or(0);
            difference.missing += u64::from(count.saturating_sub(there));
            difference.duplicates += u64::from(there.saturating_sub(*count));
        }
        for (value, count) in &topic.counts {
            if !self.counts.contains_key(value) {
                difference.unexpected += u64::from(*count);
            }
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[&str]) -> Multiset {
        let mut all = Multiset::new();
        values.iter().for_each(|value| all.add(value.as_bytes()));
        all
    }

    #[test]
    fn each_kind_of_difference_is_counted() {
        let source = of(&["a", "b", "b", "c"]);
        assert_eq!(source.difference(&of(&["b", "c", "a", "b"])), Difference::default());
        assert_eq!(
            source.difference(&of(&["b", "c", "c", "c", "d", "d"])),
            Difference { missing: 2, duplicates: 2, unexpected: 2 }
        );
    }

    #[test]
    fn line_ends_and_blank_lines_do_not_count() {
        let mut lines = Multiset::new();
        lines.add_lines(&b"a\n\r\nb\r\n\nc"[..]);
        assert!(lines == of(&["a", "b", "c"]));
    }
}
