//! What the field scanner says of a line, held against what serde_json says of it. For a property test here, and for
//! the fuzz target in `fuzz/`, which includes this file.

use std::fmt;

use migration::job::{FieldPath, OnMissing, RecordRules, TimestampUnit, Validate};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Number;

use super::{MapError, Mapping};

const PATHS: [&[&str]; 4] = [&["k"], &[""], &["a", "b"], &["a", "a", "k"]];

/// Panics where the two differ.
pub(crate) fn compare(line: &[u8]) {
    let is_json = serde_json::from_slice::<IgnoredAny>(line).is_ok();
    let is_whole = is_json && std::str::from_utf8(line).is_ok();
    // None where names or values are no text; then only the grammar can be compared.
    let document = serde_json::from_slice::<Document>(line).ok();
    for path in PATHS {
        let (field, whole) = (key(path, Validate::Field, line), key(path, Validate::Whole, line));
        assert_eq!(matches!(whole, Err(MapError::NotWhole { .. })), !is_whole, "{path:?}, whole: {whole:?}");
        assert!(!(is_json && matches!(field, Err(MapError::Invalid { .. }))), "{path:?}: {field:?}");
        if let Some(document) = &document {
            assert_same(document.at(path), &field);
        }
        if is_whole {
            assert_eq!(field, whole, "{path:?}: a whole line has the key that its field has");
        }
    }
}

fn key(path: &[&str], validate: Validate, line: &[u8]) -> Result<Option<Vec<u8>>, MapError> {
    let mut mapping = Mapping::new(&RecordRules {
        key: Some(FieldPath(path.iter().map(|name| (*name).to_owned()).collect())),
        on_missing: OnMissing::Null,
        validate,
        timestamp: None,
        timestamp_unit: TimestampUnit::Rfc3339,
        headers: Vec::new(),
    });
    Ok(mapping.map(line)?.key.bytes(line).map(<[u8]>::to_vec))
}

fn assert_same(expected: Option<&Document>, seen: &Result<Option<Vec<u8>>, MapError>) {
    let is_right = match (expected, seen) {
        (None | Some(Document::Null), Ok(None)) => true,
        (Some(Document::Bool(value)), Ok(Some(key))) => key == value.to_string().as_bytes(),
        (Some(Document::Number(value)), Ok(Some(key))) => serde_json::from_slice::<Number>(key).is_ok_and(|key| key == *value),
        (Some(Document::Text(text)), Ok(Some(key))) => key == text.as_bytes(),
        (Some(Document::Array | Document::Object(_)), Err(MapError::Key { .. })) => true,
        _ => false,
    };
    assert!(is_right, "expected {expected:?}, seen {seen:?}");
}

/// A document with all fields of a name, as serde_json reads them.
#[derive(Debug)]
enum Document {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    Array,
    Object(Vec<(String, Document)>),
}

impl Document {
    /// The first field of each name counts.
    fn at(&self, path: &[&str]) -> Option<&Document> {
        let Some((name, rest)) = path.split_first() else { return Some(self) };
        let Document::Object(fields) = self else { return None };
        fields.iter().find(|(field, _)| field == name)?.1.at(rest)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct DocumentVisitor;

impl<'de> Visitor<'de> for DocumentVisitor {
    type Value = Document;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Document, E> {
        Ok(Document::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Document, E> {
        Number::from_f64(value).map(Document::Number).ok_or_else(|| E::custom("no finite number"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Document, E> {
        Ok(Document::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Document::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Document, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = items.next_entry()? {
            fields.push(field);
        }
        Ok(Document::Object(fields))
    }
}
