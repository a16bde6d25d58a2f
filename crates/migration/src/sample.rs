//! What some records of a dataset look like, and what follows from it: which field may be the key, which is a time,
//! what the topic may be called.
//!
//! Responsible for what is proposed and why. Not responsible for how records are read and taken apart: that is the
//! caller's.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::PathBuf;

use crate::Plan;
use crate::job::TimestampUnit;

/// Records may be maps, with a name of its own for each entry: more fields than these are counted only.
const MOST_FIELDS: usize = 1000;

/// What some records look like.
#[derive(Debug, Default)]
pub struct RecordSample {
    /// How many were looked at.
    pub records: u64,
    /// How many of them are no objects.
    pub invalid: u64,
    /// Their fields, by path: `.customer.id`, `.items[].sku`.
    pub fields: BTreeMap<String, SampledField>,
    /// How often a field was seen that is not listed, because there are too many.
    pub unlisted: u64,
    /// The files that were looked at, in the source's order.
    pub files: Vec<SampledFile>,
    /// What the first record is that is no object, and where it stands.
    pub first_invalid: Option<String>,
}

/// What was looked at of a file.
#[derive(Debug)]
pub struct SampledFile {
    /// Its path.
    pub path: PathBuf,
    /// How many of its records.
    pub records: u64,
    /// How many of these are no objects.
    pub invalid: u64,
}

/// A field of some records.
#[derive(Debug, Default)]
pub struct SampledField {
    /// How many records have it.
    pub present: u64,
    /// Which kinds of JSON values it has.
    pub kinds: BTreeSet<&'static str>,
    /// Hashes of its values.
    pub distinct: HashSet<u64>,
    /// Whether it stands in elements of an array: a record has several of it.
    pub in_array: bool,
    /// Whether the config can name it.
    pub has_path: bool,
    /// Its values that are times, by how they are written.
    pub times: Vec<SampledTimes>,
}

/// Values that are times from 1990 to next year, if they are read in one way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SampledTimes {
    /// How they are written.
    pub unit: TimestampUnit,
    /// How many there are.
    pub count: u64,
    /// The earliest, milliseconds since 1970.
    pub first_ms: i64,
    /// The latest.
    pub last_ms: i64,
}

/// A value of a record.
#[derive(Debug)]
pub struct SampledValue {
    /// The path of its field.
    pub path: String,
    /// Its kind.
    pub kind: &'static str,
    /// A hash of it.
    pub hash: u64,
    /// Whether it stands in an element of an array.
    pub in_array: bool,
    /// Whether the config can name its field.
    pub has_path: bool,
    /// The time that it is, and how it is written; from 1990 to next year.
    pub time: Option<(TimestampUnit, i64)>,
}

impl RecordSample {
    /// Adds a record that is no object.
    pub fn add_invalid(&mut self, what: impl FnOnce() -> String) {
        self.records += 1;
        self.invalid += 1;
        self.first_invalid.get_or_insert_with(what);
    }

    /// Adds an object by its values.
    pub fn add(&mut self, values: impl IntoIterator<Item = SampledValue>) {
        self.records += 1;
        let mut here = HashSet::new();
        for value in values {
            if !self.fields.contains_key(&value.path) && self.fields.len() >= MOST_FIELDS {
                self.unlisted += 1;
                continue;
            }
            let first = !value.in_array || here.insert(value.path.clone());
            let field = self.fields.entry(value.path).or_default();
            field.present += u64::from(first);
            field.kinds.insert(value.kind);
            field.distinct.insert(value.hash);
            field.in_array = value.in_array;
            field.has_path = value.has_path;
            if let Some((unit, time_ms)) = value.time {
                field.add_time(unit, time_ms);
            }
        }
    }

    /// How many objects were looked at.
    pub fn objects(&self) -> u64 {
        self.records - self.invalid
    }

    /// The field that looks most like a key: in every object, a string or number, named like an identifier, and shared
    /// by some records but not by all (one of its own for each record orders nothing, one for all uses one partition).
    pub fn key(&self) -> Option<String> {
        self.fields
            .iter()
            .filter(|(path, field)| is_named_like_a_key(path) && self.may_be_key(field))
            .filter(|(_, field)| field.distinct.len() > 1 && (field.distinct.len() as u64) < self.objects())
            .max_by_key(|(path, field)| (field.distinct.len(), std::cmp::Reverse(path.len())))
            .map(|(path, _)| path.clone())
    }

    fn may_be_key(&self, field: &SampledField) -> bool {
        let plain = field.kinds.iter().all(|kind| matches!(*kind, "string" | "number"));
        self.is_everywhere(field) && plain
    }

    /// The field that looks most like the time of an event, and how it is written: in every object, and always a time.
    pub fn time(&self) -> Option<(String, SampledTimes)> {
        let times = self.fields.iter().filter(|(_, field)| self.is_everywhere(field)).filter_map(|(path, field)| {
            let times = field.times.iter().find(|times| times.count == field.present)?;
            let rank = rank_of_time(path, times.unit)?;
            Some((rank, path, *times))
        });
        let best = times.max_by_key(|(rank, path, _)| (*rank, std::cmp::Reverse(path.len())));
        best.map(|(_, path, times)| (path.clone(), times))
    }

    fn is_everywhere(&self, field: &SampledField) -> bool {
        !field.in_array && field.has_path && field.present == self.objects()
    }

    /// How nearly all values of a field that are there are written, if they are times.
    pub fn times_of(&self, path: &str) -> Option<SampledTimes> {
        let field = self.fields.get(path)?;
        field.times.iter().copied().find(|times| times.count * 10 >= field.present * 9)
    }

    /// The fields that a config can name, those that most records have first.
    pub fn named(&self) -> Vec<&str> {
        let mut named: Vec<_> = self.fields.iter().filter(|(_, field)| field.has_path && !field.in_array).collect();
        named.sort_by_key(|(_, field)| std::cmp::Reverse(field.present));
        named.into_iter().map(|(path, _)| path.as_str()).collect()
    }
}

impl SampledField {
    fn add_time(&mut self, unit: TimestampUnit, time_ms: i64) {
        match self.times.iter_mut().find(|times| times.unit == unit) {
            Some(times) => {
                times.count += 1;
                times.first_ms = times.first_ms.min(time_ms);
                times.last_ms = times.last_ms.max(time_ms);
            }
            None => self.times.push(SampledTimes { unit, count: 1, first_ms: time_ms, last_ms: time_ms }),
        }
    }
}

/// The last name of a path, in small letters.
fn last_name(path: &str) -> String {
    path.rsplit('.').next().unwrap_or_default().to_lowercase()
}

fn is_named_like_a_key(path: &str) -> bool {
    let name = last_name(path);
    name.ends_with("id") || name.ends_with("key") || name.ends_with("uuid")
}

/// How much a name promises the time of an event; `None`: a number that may be anything.
fn rank_of_time(path: &str, unit: TimestampUnit) -> Option<u8> {
    let name = last_name(path);
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["birth", "expir", "due", "until", "deadline", "scheduled"]) {
        return Some(0);
    }
    if matches!(name.as_str(), "ts" | "t" | "time" | "timestamp" | "event_time" | "eventtime" | "occurred_at") {
        return Some(4);
    }
    if has(&["created", "event", "occurred"]) {
        return Some(3);
    }
    let named = has(&["time", "date", "stamp"]) || name.ends_with("_at") || name.ends_with("at_ms") || name.ends_with("ts");
    match (named, unit) {
        (true, _) => Some(2),
        // Nine or ten digits are an identifier as often as seconds.
        (false, TimestampUnit::Seconds) => None,
        (false, _) => Some(1),
    }
}

/// The leading letters of the first file's name: `orders-2026-01.jsonl.gz` gives `orders`.
pub fn guess_topic(plan: &Plan) -> String {
    let name = plan.objects.first().and_then(|o| o.path.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let word: String = name.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '_').collect();
    let word = word.trim_end_matches('_');
    if word.is_empty() { "records".to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(path: &str, hash: u64) -> SampledValue {
        let in_array = path.contains("[]");
        SampledValue { path: path.into(), kind: "number", hash, in_array, has_path: !in_array, time: None }
    }

    fn sample(records: &[&[(&str, u64)]]) -> RecordSample {
        let mut sample = RecordSample::default();
        records.iter().for_each(|record| sample.add(record.iter().map(|(path, hash)| value(path, *hash))));
        sample
    }

    #[test]
    fn a_key_is_shared_by_some_records_and_not_by_all() {
        let s = sample(&[
            &[(".order_id", 1), (".customer.id", 1), (".shop_id", 1), (".items[].id", 1), (".items[].id", 2)],
            &[(".order_id", 2), (".customer.id", 2), (".shop_id", 1), (".items[].id", 1)],
            &[(".order_id", 3), (".customer.id", 1), (".shop_id", 1), (".items[].id", 1)],
        ]);
        assert_eq!(s.key().as_deref(), Some(".customer.id"));
        assert_eq!(s.fields[".items[].id"].present, 3, "a record counts once");
        assert_eq!(sample(&[&[(".a_id", 1)], &[(".a_id", 1)]]).key(), None, "constant");
        assert_eq!(sample(&[&[(".a_id", 1)], &[(".a_id", 2)]]).key(), None, "unique");
        assert_eq!(sample(&[&[(".a_id", 1)], &[(".a_id", 2)], &[(".b", 2)], &[(".a_id", 1)]]).key(), None, "not in all");
    }

    #[test]
    fn what_is_no_object_is_no_reason_against_a_key() {
        let mut s = sample(&[&[(".id", 1)], &[(".id", 2)], &[(".id", 2)]]);
        s.add_invalid(|| "an array".to_owned());
        s.add_invalid(|| "a string".to_owned());
        assert_eq!((s.key().as_deref(), s.first_invalid.as_deref()), (Some(".id"), Some("an array")));
        assert_eq!((s.records, s.objects()), (5, 3));
    }

    #[test]
    fn a_time_is_chosen_by_its_name() {
        use TimestampUnit as U;
        let of = |fields: &[(&str, U)]| {
            let mut sample = RecordSample::default();
            let time = |(path, unit): &(&str, U)| SampledValue { time: Some((*unit, 7)), ..value(path, 1) };
            sample.add(fields.iter().map(time));
            sample.time().map(|(path, times)| (path, times.unit))
        };
        let found = |path: &str, unit| Some((path.to_owned(), unit));
        assert_eq!(of(&[(".order_id", U::Seconds)]), None);
        assert_eq!(of(&[(".x", U::Milliseconds)]), found(".x", U::Milliseconds));
        assert_eq!(of(&[(".x", U::Rfc3339), (".meta.ts", U::Seconds)]), found(".meta.ts", U::Seconds));
        assert_eq!(of(&[(".updated_at", U::Rfc3339), (".created_at", U::Rfc3339)]), found(".created_at", U::Rfc3339));
        assert_eq!(of(&[(".birthdate", U::Rfc3339), (".date", U::Rfc3339)]), found(".date", U::Rfc3339));
        assert_eq!(of(&[(".items[].time", U::Rfc3339)]), None);
    }

    #[test]
    fn maps_do_not_fill_memory() {
        let mut sample = RecordSample::default();
        (0..MOST_FIELDS + 7).for_each(|n| sample.add([value(&format!(".{n}"), 1)]));
        assert_eq!((sample.fields.len(), sample.unlisted), (MOST_FIELDS, 7));
    }
}
