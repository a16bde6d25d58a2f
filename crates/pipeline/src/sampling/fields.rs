//! Which fields the objects of a sample have.

use std::collections::HashMap;

use serde_json::{Map, Value};

/// How deep objects are looked into.
const DEPTH: usize = 4;
/// Larger rows are not parsed.
const LARGEST: usize = 1 << 20;
/// Objects may be used as maps, with a name of its own for each entry.
const MOST: usize = 1000;

/// Paths of fields, with how many rows have each, in the order in which they were first seen.
#[derive(Default)]
pub(super) struct FieldTally {
    seen: HashMap<String, usize>,
    counts: Vec<(String, u64)>,
}

impl FieldTally {
    /// Adds those of an object.
    pub(super) fn add(&mut self, object: &[u8]) {
        if object.len() > LARGEST {
            return;
        }
        if let Ok(Value::Object(object)) = serde_json::from_slice(object) {
            self.add_below("", &object, 1);
        }
    }

    /// Objects are no fields that a key or a time may be: what is in them is named instead.
    fn add_below(&mut self, above: &str, object: &Map<String, Value>, depth: usize) {
        for (name, value) in object {
            let path = format!("{above}.{name}");
            match value {
                Value::Object(below) if depth < DEPTH && !below.is_empty() => self.add_below(&path, below, depth + 1),
                _ => self.count(path),
            }
        }
    }

    fn count(&mut self, path: String) {
        match self.seen.get(&path) {
            Some(at) => self.counts[*at].1 += 1,
            None if self.counts.len() < MOST => {
                self.seen.insert(path.clone(), self.counts.len());
                self.counts.push((path, 1));
            }
            None => {}
        }
    }

    pub(super) fn most_frequent_first(mut self) -> Vec<(String, u64)> {
        self.counts.sort_by_key(|(_, rows)| std::cmp::Reverse(*rows));
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_in_objects_are_named_by_their_paths() {
        let mut fields = FieldTally::default();
        fields.add(br#"{"b":1,"a":{"x":{"y":2},"e":{}},"deep":{"2":{"3":{"4":{"5":1}}}}}"#);
        fields.add(br#"{"a":{"x":null},"c":[{"d":1}]}"#);
        fields.add(b"[1]");
        fields.add(br#"{"a":{"x":{"y":3}}}"#);
        let found: Vec<(String, u64)> = fields.most_frequent_first();
        let found: Vec<(&str, u64)> = found.iter().map(|(path, rows)| (path.as_str(), *rows)).collect();
        assert_eq!(found, [(".a.x.y", 2), (".b", 1), (".a.e", 1), (".deep.2.3.4", 1), (".a.x", 1), (".c", 1)]);
    }

    #[test]
    fn maps_do_not_fill_memory() {
        let mut fields = FieldTally::default();
        (0..2 * MOST).for_each(|n| fields.add(format!("{{\"{n}\":1}}").as_bytes()));
        assert_eq!(fields.most_frequent_first().len(), MOST);
    }
}
