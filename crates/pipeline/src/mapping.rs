//! Mapping: from a line of the source to a message's key and timestamp. The value is the line itself.
//!
//! Responsible for the rules of `[record]`: where key and timestamp stand, which bytes a key has, what is an error and
//! in which words. Not responsible for what becomes of a record that has one (the worker sets it aside), nor for
//! headers, which are the same for every record.
//!
//! Key bytes: the unescaped UTF-8 of a JSON string; a number's source text; `true` or `false`; an array or object is an
//! error. Only what is scanned up to the fields is judged, unless the whole line must be valid (`Validate::Whole`: one
//! JSON value in UTF-8, of any kind); the first of duplicate fields counts; bytes that are not UTF-8 pass outside the
//! key. A path that leads through something that is no object, and a line that is no object, have no such field; of a
//! line that is none the reason says what it is.

#[cfg(test)]
mod against_serde;
mod fields;
mod json;
#[cfg(test)]
mod tests;
mod timestamp;

use migration::job::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};

use json::{Bad, Finder, Kind, Value};

pub use fields::{FieldLook, SeenFields};

use crate::group::Key;

/// A field path as the scanner compares it.
type Path = Box<[Box<[u8]>]>;

/// Finds key and timestamp of lines. Not `Sync`, cheap to make, keeps some memory between lines.
#[derive(Debug)]
pub struct Mapping {
    key: Option<FieldPath>,
    on_missing: OnMissing,
    whole: bool,
    timestamp: Option<FieldPath>,
    unit: TimestampUnit,
    finder: Finder,
    /// Finds the key alone, where `finder` looks for more.
    key_finder: Option<Finder>,
    /// Whether the line whose key was asked for last is JSON up to there.
    key_scanned: bool,
    key_bytes: Vec<u8>,
    time_text: Vec<u8>,
}

/// What a line becomes, besides its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mapped<'a> {
    /// The key.
    pub key: Key<'a>,
    /// Milliseconds since 1970; `None` when the job names no timestamp field.
    pub timestamp: Option<i64>,
}

/// Why a line becomes no message. The text is the dead letter's reason; it never shows a value of the record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MapError {
    /// The field is absent or null.
    #[error("{seen} {path}")]
    Missing {
        /// The field.
        path: FieldPath,
        /// `no field` or `null in`.
        seen: &'static str,
    },
    /// The line is JSON, but no object.
    #[error("the line is {seen}, not an object: no field {path}")]
    NoObject {
        /// The field that was looked for.
        path: FieldPath,
        /// What it is.
        seen: &'static str,
    },
    /// What was scanned is not JSON.
    #[error("invalid JSON before {path}: {what} at byte {at} of the line")]
    Invalid {
        /// The field that was looked for.
        path: FieldPath,
        /// What is wrong.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// The line is not one JSON value, and has to be.
    #[error("not one whole JSON value: {what} at byte {at} of the line (record.validate)")]
    NotWhole {
        /// What is wrong.
        what: &'static str,
        /// Where, from 0.
        at: usize,
    },
    /// The key can't be the key of a message.
    #[error("key {path} is {seen}")]
    Key {
        /// The field.
        path: FieldPath,
        /// What it is.
        seen: &'static str,
    },
    /// The timestamp is no JSON value of the unit's kind.
    #[error("timestamp {path} is {seen}, not {expected}")]
    TimestampKind {
        /// The field.
        path: FieldPath,
        /// What it is.
        seen: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The timestamp is of the right kind, but no time.
    #[error("timestamp {path} {what}")]
    Timestamp {
        /// The field.
        path: FieldPath,
        /// What is wrong.
        what: &'static str,
    },
}

impl Mapping {
    /// The mapping that the rules describe.
    pub fn new(rules: &RecordRules) -> Self {
        let paths = rules.key.iter().chain(&rules.timestamp).map(to_path).collect();
        let key_finder = || rules.key.iter().map(|key| Finder::new(vec![to_path(key)])).next();
        Mapping {
            key_finder: rules.timestamp.as_ref().and_then(|_| key_finder()),
            key: rules.key.clone(),
            on_missing: rules.on_missing,
            whole: rules.validate == Validate::Whole,
            timestamp: rules.timestamp.clone(),
            unit: rules.timestamp_unit,
            finder: Finder::new(paths),
            key_scanned: false,
            key_bytes: Vec::new(),
            time_text: Vec::new(),
        }
    }

    /// Whether lines need not be looked at: no key, no timestamp, and they need not be valid.
    pub fn is_identity_keyless(&self) -> bool {
        self.key.is_none() && self.timestamp.is_none() && !self.whole
    }

    /// Whether records can have a key.
    pub fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The key of a line, as [`Mapping::map`] finds it, without a look at what comes behind it. It is null where the
    /// job names none.
    pub fn key<'a>(&'a mut self, line: &'a [u8]) -> Result<Key<'a>, MapError> {
        let Some(path) = &self.key else { return Ok(Key::Null) };
        let finder = self.key_finder.as_mut().unwrap_or(&mut self.finder);
        let scanned = finder.scan(line, false);
        self.key_scanned = scanned.is_ok();
        scanned.map_err(|bad| invalid(path, bad))?;
        key(path, self.on_missing, finder.found(0), line, &mut self.key_bytes)
    }

    /// [`Mapping::map`] of the line whose key was asked for last: it is not looked for once more where nothing else
    /// is.
    pub fn map_behind_key<'a>(&'a mut self, line: &'a [u8]) -> Result<Mapped<'a>, MapError> {
        match &self.key {
            Some(path) if self.key_scanned && self.timestamp.is_none() && !self.whole => {
                let key = key(path, self.on_missing, self.finder.found(0), line, &mut self.key_bytes)?;
                Ok(Mapped { key, timestamp: None })
            }
            _ => self.map(line),
        }
    }

    /// Key and timestamp of a line (without its line end).
    pub fn map<'a>(&'a mut self, line: &'a [u8]) -> Result<Mapped<'a>, MapError> {
        if self.is_identity_keyless() {
            return Ok(Mapped { key: Key::Null, timestamp: None });
        }
        self.finder.scan(line, self.whole).map_err(|bad| self.invalid(bad))?;
        if self.whole {
            utf8(line).map_err(|bad| self.invalid(bad))?;
        }
        let timestamp = match &self.timestamp {
            Some(path) => {
                Some(time(path, self.unit, self.finder.found(usize::from(self.key.is_some())), line, &mut self.time_text)?)
            }
            None => None,
        };
        let key = match &self.key {
            Some(path) => key(path, self.on_missing, self.finder.found(0), line, &mut self.key_bytes)?,
            None => Key::Null,
        };
        Ok(Mapped { key, timestamp })
    }

    /// Names the first field that was not found before the scan went wrong.
    fn invalid(&self, bad: Bad) -> MapError {
        if self.whole {
            return MapError::NotWhole { what: bad.what, at: bad.at };
        }
        let mut paths = self.key.iter().chain(&self.timestamp).enumerate();
        let missing = paths.find(|(index, _)| self.finder.found(*index).is_none());
        missing.map_or_else(|| invalid(&FieldPath(Vec::new()), bad), |(_, path)| invalid(path, bad))
    }
}

fn invalid(path: &FieldPath, bad: Bad) -> MapError {
    MapError::Invalid { path: path.clone(), what: bad.what, at: bad.at }
}

/// Why a line that was scanned has no such field.
#[cold]
fn absent(path: &FieldPath, line: &[u8]) -> MapError {
    match json::kind_of(line) {
        Some(kind) if kind != Kind::Object => MapError::NoObject { path: path.clone(), seen: kind.name() },
        _ => MapError::Missing { path: path.clone(), seen: "no field" },
    }
}

fn utf8(line: &[u8]) -> Result<(), Bad> {
    std::str::from_utf8(line).map(drop).map_err(|error| Bad { at: error.valid_up_to(), what: "bytes that are not UTF-8" })
}

/// What is wrong with a line that is not one JSON value, and at which byte of it; `None`: it is one.
pub fn not_whole(line: &[u8]) -> Option<(&'static str, usize)> {
    Finder::new(Vec::new()).scan(line, true).and_then(|()| utf8(line)).err().map(|bad| (bad.what, bad.at))
}

fn to_path(path: &FieldPath) -> Path {
    path.0.iter().map(|name| name.as_bytes().into()).collect()
}

fn key<'a>(
    path: &FieldPath,
    on_missing: OnMissing,
    found: Option<Value>,
    line: &[u8],
    scratch: &'a mut Vec<u8>,
) -> Result<Key<'a>, MapError> {
    let refuse = |seen| Err(MapError::Key { path: path.clone(), seen });
    let value = match found {
        Some(value) if value.kind != Kind::Null => value,
        _ if on_missing == OnMissing::Null => return Ok(Key::Null),
        Some(_) => return Err(MapError::Missing { path: path.clone(), seen: "null in" }),
        None => return Err(absent(path, line)),
    };
    let text = &line[value.start..value.end];
    match value.kind {
        Kind::Array | Kind::Object => return refuse(value.kind.name()),
        Kind::String { .. } if std::str::from_utf8(text).is_err() => return refuse("not valid UTF-8"),
        Kind::String { escaped: true } => {
            scratch.clear();
            return match json::unescape(text, scratch) {
                Ok(()) => Ok(Key::Copied(scratch)),
                Err(what) => refuse(what),
            };
        }
        _ => {}
    }
    match (u32::try_from(value.start), u32::try_from(text.len())) {
        (Ok(start), Ok(len)) => Ok(Key::Inside { start, len }),
        _ => refuse("beyond the first 4 GiB of the line"),
    }
}

fn time(
    path: &FieldPath,
    unit: TimestampUnit,
    found: Option<Value>,
    line: &[u8],
    scratch: &mut Vec<u8>,
) -> Result<i64, MapError> {
    let Some(value) = found else {
        return Err(absent(path, line));
    };
    let text = &line[value.start..value.end];
    let millis = match (unit, value.kind) {
        (TimestampUnit::Rfc3339, Kind::String { escaped: false }) => timestamp::from_text(text),
        (TimestampUnit::Rfc3339, Kind::String { escaped: true }) => {
            scratch.clear();
            json::unescape(text, scratch).and_then(|()| timestamp::from_text(scratch))
        }
        (TimestampUnit::Seconds | TimestampUnit::Milliseconds | TimestampUnit::Microseconds, Kind::Number) => {
            timestamp::from_number(text, unit)
        }
        (_, kind) => {
            let (seen, expected) = (kind.name(), timestamp::expected(unit));
            return Err(MapError::TimestampKind { path: path.clone(), seen, expected });
        }
    };
    millis.map_err(|what| MapError::Timestamp { path: path.clone(), what })
}
