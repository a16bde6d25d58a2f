//! The dataset of many trials: made once, shared, and known by heart.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::OnceLock;

use xxhash_rust::xxh3::xxh3_128;

use crate::dataset::Orders;
use crate::order::Expected;
use crate::temporary::TempDir;

/// A file of orders, no two lines alike. A line's place is its number, from 0.
pub struct Source {
    folder: TempDir,
    seed: u64,
    places: HashMap<u128, u32>,
    /// By place, where the next line begins.
    ends: Vec<u64>,
    expected: OnceLock<Expected>,
}

impl Source {
    /// Writes it.
    pub fn new(seed: u64, lines: u64) -> Self {
        let folder = TempDir::new("chaos-source");
        let mut source = Source { folder, seed, places: HashMap::new(), ends: Vec::new(), expected: OnceLock::new() };
        let file = File::create(source.path()).expect("the dataset can be made");
        let mut out = BufWriter::with_capacity(1 << 20, file);
        let mut end = 0;
        source.each_line(lines, |line, place| {
            out.write_all(line).expect("the dataset can be written");
            end += line.len() as u64;
            (place, end)
        });
        out.flush().expect("the dataset can be written");
        source
    }

    fn each_line(&mut self, lines: u64, mut write: impl FnMut(&[u8], u32) -> (u32, u64)) {
        let mut orders = Orders::new(self.seed, lines, 0);
        let mut line = Vec::new();
        for place in 0..u32::try_from(lines).expect("datasets of trials are small") {
            line.clear();
            orders.next_line(&mut line);
            let (place, end) = write(&line, place);
            self.places.insert(xxh3_128(&line[..line.len() - 1]), place);
            self.ends.push(end);
        }
        assert_eq!(self.places.len() as u64, lines, "no two lines are alike");
    }

    /// The file.
    pub fn path(&self) -> PathBuf {
        self.folder.join("orders.jsonl")
    }

    /// How many lines.
    pub fn len(&self) -> u64 {
        self.ends.len() as u64
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// Which line this value is.
    pub fn place(&self, value: &[u8]) -> Option<u32> {
        self.places.get(&xxh3_128(value)).copied()
    }

    /// The places of the lines in a range of bytes that begins and ends at line ends.
    pub fn lines_between(&self, start: u64, end: u64) -> Range<u32> {
        let lines = |bytes: u64| self.ends.partition_point(|line| *line <= bytes) as u32;
        lines(start)..lines(end)
    }

    /// What a topic shall have in which order, if `customer_id` is the key.
    pub fn expected(&self) -> &Expected {
        self.expected.get_or_init(|| {
            let mut expected = Expected::default();
            let text = std::fs::read(self.path()).expect("the dataset can be read");
            for line in text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                let order: serde_json::Value = serde_json::from_slice(line).expect("a line is JSON");
                let key = order["customer_id"].as_str().expect("an order has a customer");
                expected.add(Some(key.as_bytes()), line);
            }
            expected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_found_by_their_values_and_bytes() {
        let source = Source::new(3, 1000);
        let text = std::fs::read(source.path()).expect("it was written");
        let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.len() as u64, source.len());
        assert!(lines.iter().zip(0..).all(|(line, place)| source.place(line) == Some(place)));
        assert_eq!(source.place(b"another"), None);
        let third = (lines[0].len() + lines[1].len() + 2) as u64;
        assert_eq!(source.lines_between(0, third), 0..2);
        assert_eq!(source.lines_between(third, text.len() as u64), 2..1000);
        assert_eq!(source.expected().len(), 1000);
    }
}
