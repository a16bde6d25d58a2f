//! From a record to a message.

use serde::{Deserialize, Serialize};

use crate::config::{HEADERS, NOT_YET, Shape, TextRule, TypedValue, ValueKind, checks, key, only, rules, word, words};

/// A path of object fields, if one is given.
const FIELD: Shape<Option<FieldPath>> = Shape {
    kind: ValueKind::Text(TextRule {
        noun: "field path",
        allowed: "a path of object fields, such as \".customer.id\"",
        check: checks::field_path,
    }),
    read: |value, _| value.map(TypedValue::text).map(FieldPath::of),
};

rules! {
    /// Record to message. Part of the plan's identity, hence serialisable.
    #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
    pub struct RecordRules {
        /// Where the key is: a path of object fields. Without this line records have no key.
        ///
        /// A string's unescaped UTF-8, a number's source text, `true` or `false`; an object or array is a dead letter.
        key: Option<FieldPath> = key KEY key("record.key", FIELD).fixed().example("\".customer_id\"");
        /// The value: `"."` is the record's bytes as they are. Nothing else is in this version.
        key VALUE: () = key("record.value", only(&["."], &[("*", NOT_YET)])).default("\".\"").fixed().example("\".\"");
        /// When the key's field is absent or null: `dead-letter`, or `null` (it is sent with a null key).
        on_missing: OnMissing = key ON_MISSING
            key("record.on_missing", word()).default("\"dead-letter\"").fixed().example("\"null\"");
        /// How much of a record must be valid: `field` (what stands before key and timestamp) or `whole` (all of it,
        /// one JSON value).
        ///
        /// With `"field"` and neither key nor timestamp: nothing. With `"whole"` a record that is no JSON in UTF-8 is a
        /// dead letter.
        validate: Validate = key VALIDATE key("record.validate", word()).default("\"field\"").fixed().example("\"whole\"");
        /// Where the message's timestamp is; without it, the time of sending.
        ///
        /// A topic with `message.timestamp.type=LogAppendTime` replaces it: refused (check `timestamps`).
        timestamp: Option<FieldPath> = key TIMESTAMP key("record.timestamp", FIELD).fixed().example("\".created_at\"");
        /// How that field is written: `rfc3339`, or a number since 1970: `s`, `ms` or `us`.
        ///
        /// A string such as `2026-01-31T12:00:00Z` (RFC 3339, years 0000 to 9999, offset required), or a number; never
        /// guessed. A time that Kafka or its client can't hold is a dead letter: before 1970, and exactly 0
        /// milliseconds, which the client would replace with the time of sending.
        timestamp_unit: TimestampUnit = key TIMESTAMP_UNIT
            key("record.timestamp_unit", word()).default("\"rfc3339\"").fixed().example("\"ms\"");
        /// The same headers for every message, in this order.
        headers: Vec<(String, String)> = key HEADERS
            key("record.headers", HEADERS).default("{}").fixed().example("{ source = \"backfill\" }");
    }
}

impl RecordRules {
    /// Whether a row that is not JSON can't become a record.
    pub fn needs_fields(&self) -> bool {
        self.key.is_some() || self.timestamp.is_some() || self.validate == Validate::Whole
    }
}

/// A path of object fields: `.customer.id`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FieldPath(pub Vec<String>);

impl FieldPath {
    /// A text that the check of field paths let pass.
    fn of(text: &str) -> FieldPath {
        FieldPath(text.trim_start_matches('.').split('.').map(str::to_owned).collect())
    }
}

impl std::fmt::Display for FieldPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

/// What becomes of a record whose key field is absent or null.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMissing {
    /// It is set aside.
    DeadLetter,
    /// It is sent with a null key.
    Null,
}

words! { OnMissing { DeadLetter = "dead-letter", Null = "null" } }

/// How much of a record must be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Validate {
    /// What stands before the fields that are needed.
    Field,
    /// All of it: one JSON value in UTF-8.
    Whole,
}

words! { Validate { Field = "field", Whole = "whole" } }

/// How a timestamp is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TimestampUnit {
    /// A string such as `2026-01-31T12:00:00Z`.
    Rfc3339,
    /// A number of seconds since 1970; a fraction is allowed.
    Seconds,
    /// A number of milliseconds since 1970.
    Milliseconds,
    /// A number of microseconds since 1970.
    Microseconds,
}

words! { TimestampUnit { Rfc3339 = "rfc3339", Seconds = "s", Milliseconds = "ms", Microseconds = "us" } }
