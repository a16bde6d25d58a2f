//! A record taken apart: its fields as paths, with what is to be known of each value.
//!
//! Responsible for: how deep it is looked, what an element of an array is called, and which values are times, by the
//! rules that a run has for them. Not responsible for what follows from it: `migration::sample`.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::{SystemTime, UNIX_EPOCH};

use migration::job::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};
use migration::sample::SampledValue;
use pipeline::mapping::Mapping;
use serde_json::{Map, Value};

/// How many names a path has at most.
const DEPTH: usize = 4;
/// How many elements of an array are looked into.
const ELEMENTS: usize = 20;
/// The first moment of 1990: what is before it is a number of another kind more often than a time.
const EARLIEST_MS: i64 = 631_152_000_000;
/// How far in the future a time may lie: a year and some days.
const AHEAD_MS: i64 = 366 * 86_400_000;

/// Takes records apart.
pub struct Walk {
    times: Times,
    values: Vec<SampledValue>,
}

/// Where in a record.
#[derive(Clone, Copy)]
struct FieldPlace<'a> {
    path: &'a str,
    depth: usize,
    in_array: bool,
    has_path: bool,
}

impl Walk {
    pub fn new() -> Walk {
        Walk { times: Times::new(), values: Vec::new() }
    }

    /// The values of an object that are no objects themselves, unless they are empty or too deep.
    pub fn values(&mut self, object: &Map<String, Value>) -> Vec<SampledValue> {
        self.object(object, FieldPlace { path: "", depth: 1, in_array: false, has_path: true });
        std::mem::take(&mut self.values)
    }

    fn object(&mut self, object: &Map<String, Value>, at: FieldPlace<'_>) {
        for (name, value) in object {
            let path = format!("{}.{name}", at.path);
            let here = FieldPlace { path: &path, has_path: at.has_path && can_be_named(name), ..at };
            match value {
                Value::Object(below) if at.depth < DEPTH && !below.is_empty() => {
                    self.object(below, FieldPlace { depth: at.depth + 1, ..here });
                }
                Value::Array(elements) if at.depth < DEPTH && elements.iter().any(Value::is_object) => {
                    let path = format!("{path}[]");
                    let below = FieldPlace { path: &path, depth: at.depth + 1, in_array: true, has_path: false };
                    elements.iter().take(ELEMENTS).filter_map(Value::as_object).for_each(|object| self.object(object, below));
                }
                _ => self.value(value, here),
            }
        }
    }

    fn value(&mut self, value: &Value, at: FieldPlace<'_>) {
        let text = value.to_string();
        let mut hasher = DefaultHasher::new();
        text.hash(&mut hasher);
        self.values.push(SampledValue {
            path: at.path.to_owned(),
            kind: kind(value),
            hash: hasher.finish(),
            in_array: at.in_array,
            has_path: at.has_path,
            time: self.times.of(value, &text),
        });
    }
}

/// Whether a path of the config can have this name.
fn can_be_named(name: &str) -> bool {
    let not = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '.' | '[' | ']' | '"' | '\'' | '*');
    !name.is_empty() && !name.contains(not)
}

/// What a value is.
pub fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Which values are times: by the mapping of a run, so that what is proposed is what it reads.
struct Times {
    mappings: Vec<(TimestampUnit, Mapping)>,
    latest_ms: i64,
}

impl Times {
    fn new() -> Times {
        use TimestampUnit as U;
        let mapping = |unit| {
            let rules = RecordRules {
                key: None,
                on_missing: OnMissing::DeadLetter,
                validate: Validate::Field,
                timestamp: Some(FieldPath(vec!["t".to_owned()])),
                timestamp_unit: unit,
                headers: Vec::new(),
            };
            (unit, Mapping::new(&rules))
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now_ms = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        let mappings = [U::Rfc3339, U::Seconds, U::Milliseconds, U::Microseconds].map(mapping).into();
        Times { mappings, latest_ms: now_ms.saturating_add(AHEAD_MS) }
    }

    /// How a value with this text is written if it is a time from 1990 to next year. No number is one in two ways.
    fn of(&mut self, value: &Value, text: &str) -> Option<(TimestampUnit, i64)> {
        let may_be = match value {
            Value::String(string) => (20..64).contains(&string.len()) && string.starts_with(|c: char| c.is_ascii_digit()),
            Value::Number(number) => number.as_f64().is_some_and(|number| number > 6e8),
            _ => false,
        };
        if !may_be {
            return None;
        }
        let line = format!("{{\"t\":{text}}}");
        let latest = self.latest_ms;
        self.mappings.iter_mut().find_map(|(unit, mapping)| {
            let time = mapping.map(line.as_bytes()).ok()?.timestamp?;
            (EARLIEST_MS..=latest).contains(&time).then_some((*unit, time))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walk(record: &str) -> Vec<SampledValue> {
        let Ok(Value::Object(object)) = serde_json::from_str(record) else { panic!("{record}") };
        Walk::new().values(&object)
    }

    #[test]
    fn fields_are_found_where_they_stand() {
        let values = walk(
            r#"{"a":1,"b":{"c":"x","d":{"e":{"f":1}},"g":{}},"i":[{"s":1,"t":{"u":2}},{"s":3}],"j":[1],"k.l":{"m":1},"n":null}"#,
        );
        let seen: Vec<(&str, &str, bool, bool)> =
            values.iter().map(|value| (value.path.as_str(), value.kind, value.in_array, value.has_path)).collect();
        assert_eq!(
            seen,
            [
                (".a", "number", false, true),
                (".b.c", "string", false, true),
                (".b.d.e.f", "number", false, true),
                (".b.g", "object", false, true),
                (".i[].s", "number", true, false),
                (".i[].t.u", "number", true, false),
                (".i[].s", "number", true, false),
                (".j", "array", false, true),
                (".k.l.m", "number", false, false),
                (".n", "null", false, true),
            ]
        );
        let deep = walk(r#"{"1":{"2":{"3":{"4":{"5":1}}}}}"#);
        assert_eq!((deep.len(), deep[0].path.as_str(), deep[0].kind), (1, ".1.2.3.4", "object"));
    }

    #[test]
    fn times_are_told_by_what_a_run_would_read() {
        use TimestampUnit as U;
        for (value, expected) in [
            ("\"2026-01-31T12:00:00Z\"", Some((U::Rfc3339, 1_769_860_800_000))),
            ("\"2026-01-31 12:00:00+01:00\"", Some((U::Rfc3339, 1_769_857_200_000))),
            ("\"2026-01-31T12:00:00\"", None),
            ("\"2026-01-31\"", None),
            ("\"1969-01-31T12:00:00Z\"", None),
            ("1769860800", Some((U::Seconds, 1_769_860_800_000))),
            ("1769860800.5", Some((U::Seconds, 1_769_860_800_500))),
            ("1769860800000", Some((U::Milliseconds, 1_769_860_800_000))),
            ("1769860800000000", Some((U::Microseconds, 1_769_860_800_000))),
            ("\"1769860800000\"", None),
            ("42", None),
            ("99999999999999999", None),
            ("true", None),
        ] {
            let values = walk(&format!("{{\"x\":{value}}}"));
            assert_eq!(values[0].time, expected, "{value}");
        }
    }
}
