//! What keys and values look like, and where keys lie.
//!
//! Responsible for: counting the forms of a sample's records by their bytes. Not responsible for: reading them, or what
//! follows.

use std::collections::{BTreeMap, BTreeSet};

use migration::check::facts::ExistingRecords;
use migration::job::Partitioner;
use pipeline::mapping::not_whole;

use crate::ffi::Fetched;
use crate::partitioner::choose;

/// Most names of headers, and most schema ids, that are told.
const MOST_NAMES: usize = 10;

/// What a key or a value looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Form {
    Null,
    Empty,
    JsonObject,
    JsonArray,
    JsonOther,
    /// Not JSON.
    Text,
    /// What Confluent's serialisers write: a byte 0 and the number of a schema.
    Confluent(u32),
    /// As numbers are written by Kafka's own serialisers.
    Number(usize),
    Binary,
}

impl Form {
    fn of(bytes: Option<&[u8]>) -> Form {
        match bytes {
            None => Form::Null,
            Some([]) => Form::Empty,
            Some(bytes) => Form::of_some(bytes),
        }
    }

    fn of_some(bytes: &[u8]) -> Form {
        let first = bytes.iter().find(|byte| !byte.is_ascii_whitespace());
        if let Some(first) = first
            && not_whole(bytes).is_none()
        {
            return match first {
                b'{' => Form::JsonObject,
                b'[' => Form::JsonArray,
                _ => Form::JsonOther,
            };
        }
        if is_text(bytes) {
            return Form::Text;
        }
        match bytes {
            // A number may begin with a byte 0, too.
            [_, ..] if matches!(bytes.len(), 4 | 8) => Form::Number(bytes.len()),
            [0, a, b, c, d, _, ..] if *a < 16 && [*a, *b, *c, *d] != [0; 4] => {
                Form::Confluent(u32::from_be_bytes([*a, *b, *c, *d]))
            }
            _ => Form::Binary,
        }
    }

    /// Its name; that of a schema is one for all numbers.
    fn name(self) -> String {
        match self {
            Form::Null => "null".into(),
            Form::Empty => "empty".into(),
            Form::JsonObject => "JSON object".into(),
            Form::JsonArray => "JSON array".into(),
            Form::JsonOther => "JSON string or number".into(),
            Form::Text => "text".into(),
            Form::Confluent(_) => "Confluent schema registry (magic byte 0)".into(),
            Form::Number(bytes) => format!("binary of {bytes} bytes"),
            Form::Binary => "binary".into(),
        }
    }
}

/// Whether bytes are text without control characters but those of lines and tables.
fn is_text(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t')))
}

/// The forms that were seen, with how many records have them.
#[derive(Debug, Default)]
struct Forms(BTreeMap<Form, u64>);

impl Forms {
    fn add(&mut self, form: Form) {
        *self.0.entry(form).or_default() += 1;
    }

    /// By name, the most frequent first.
    fn told(&self) -> Vec<(String, u64)> {
        let mut by_name: BTreeMap<String, u64> = BTreeMap::new();
        self.0.iter().for_each(|(form, records)| *by_name.entry(form.name()).or_default() += records);
        let ids: Vec<String> = self
            .0
            .keys()
            .filter_map(|form| match form {
                Form::Confluent(id) => Some(id.to_string()),
                _ => None,
            })
            .take(MOST_NAMES)
            .collect();
        let mut told: Vec<(String, u64)> = by_name
            .into_iter()
            .map(|(name, records)| match name.strip_suffix("byte 0)") {
                Some(begin) => {
                    let which = if ids.len() == 1 { "schema id" } else { "schema ids" };
                    (format!("{begin}byte 0, {which} {})", ids.join(", ")), records)
                }
                None => (name, records),
            })
            .collect();
        told.sort_by_key(|(_, records)| std::cmp::Reverse(*records));
        told
    }
}

/// What a sample amounts to.
#[derive(Debug)]
pub(super) struct FormTally {
    partitions: u32,
    found: ExistingRecords,
    values: Forms,
    keys: Forms,
    headers: BTreeSet<String>,
}

impl FormTally {
    /// Of a topic with this number of partitions.
    pub(super) fn new(partitions: u32) -> FormTally {
        FormTally {
            partitions,
            found: ExistingRecords::default(),
            values: Forms::default(),
            keys: Forms::default(),
            headers: BTreeSet::new(),
        }
    }

    /// How many records were taken.
    pub(super) fn sampled(&self) -> u64 {
        self.found.sampled
    }

    /// Takes a record.
    pub(super) fn take(&mut self, record: &Fetched<'_>) {
        let found = &mut self.found;
        found.sampled += 1;
        found.keyed += u64::from(record.key.is_some());
        if let Some(key) = record.key.filter(|key| !key.is_empty()) {
            let lies = |by| u64::from(choose(by)(key, self.partitions) == Some(record.partition));
            found.hashed += 1;
            found.by_murmur2 += lies(Partitioner::Murmur2);
            found.by_crc32 += lies(Partitioner::Crc32);
        }
        if record.any_time >= 0 {
            found.newest_ms = found.newest_ms.max(Some(record.any_time));
        }
        self.keys.add(Form::of(record.key));
        self.values.add(Form::of((!record.is_null).then_some(record.value)));
        for name in header_names(record.headers) {
            if self.headers.len() < MOST_NAMES {
                self.headers.insert(String::from_utf8_lossy(name).into_owned());
            }
        }
    }

    /// What they amount to.
    pub(super) fn told(self) -> ExistingRecords {
        ExistingRecords {
            values: self.values.told(),
            keys: self.keys.told(),
            headers: self.headers.into_iter().collect(),
            ..self.found
        }
    }
}

/// The names in headers, as `pipeline::verify::encode_header` writes them.
fn header_names(mut headers: &[u8]) -> Vec<&[u8]> {
    let mut names = Vec::new();
    while let Some((name, rest)) = one_header(headers) {
        names.push(name);
        headers = rest;
    }
    names
}

/// The name of the first header, and the headers behind it.
fn one_header(headers: &[u8]) -> Option<(&[u8], &[u8])> {
    let (name_bytes, rest) = headers.split_first_chunk::<8>()?;
    let (value_bytes, rest) = rest.split_first_chunk::<8>()?;
    let (name, rest) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*name_bytes)).ok()?)?;
    let value = match u64::from_le_bytes(*value_bytes) {
        // Null.
        u64::MAX => 0,
        bytes => usize::try_from(bytes).ok()?,
    };
    Some((name, rest.get(value..)?))
}

#[cfg(test)]
mod tests {
    use pipeline::verify::encode_header;

    use super::*;
    use crate::ffi::Code;

    fn record<'a>(partition: u32, key: Option<&'a [u8]>, value: &'a [u8]) -> Fetched<'a> {
        let (code, headers) = (Code::NONE, b"".as_slice());
        Fetched { partition, offset: 0, code, key, value, headers, is_null: false, time: None, any_time: -1 }
    }

    #[test]
    fn forms_by_bytes() {
        let of = |bytes: &[u8]| Form::of(Some(bytes)).name();
        for (bytes, name) in [
            (b" {\"a\": [1]}\n".as_slice(), "JSON object"),
            (b"[1]", "JSON array"),
            (b"17", "JSON string or number"),
            (b"customer-17", "text"),
            (b"{\"a\": 1", "text"),
            ("gr\u{fc}n\tblau".as_bytes(), "text"),
            (b"", "empty"),
            (b"\0\0\0\0\x07\x02\x06abc", "Confluent schema registry (magic byte 0)"),
            (b"\0\0\x01\x8b\xcf\xe5\x68\0", "binary of 8 bytes"),
            (b"\0\0\0\x05", "binary of 4 bytes"),
            (b"\0\0\0\0\0abc\0", "binary"),
            (b"\x1f\x8b\x08\x00zz", "binary"),
            (b"PAR1\x15", "binary"),
        ] {
            assert_eq!(of(bytes), name, "{bytes:?}");
        }
        assert_eq!(Form::of(None).name(), "null");
    }

    #[test]
    fn a_sample_is_counted() {
        let mut tally = FormTally::new(8);
        for key in ["ann", "bob", "carl", "dora", "emil", "fritz"] {
            let partition = choose(Partitioner::Murmur2)(key.as_bytes(), 8).unwrap();
            tally.take(&Fetched { any_time: 70, ..record(partition, Some(key.as_bytes()), b"{}") });
        }
        let mut headers = Vec::new();
        encode_header(&mut headers, b"trace", Some(b"xyz"));
        encode_header(&mut headers, b"none", None);
        tally.take(&Fetched { headers: &headers, any_time: 50, ..record(0, Some(b""), b"x") });
        tally.take(&Fetched { is_null: true, ..record(0, None, b"") });
        assert_eq!(tally.sampled(), 8);
        let found = tally.told();
        assert_eq!((found.sampled, found.keyed, found.hashed, found.by_murmur2), (8, 7, 6, 6));
        assert!(found.by_crc32 < 6, "{found:?}");
        assert_eq!(found.values, [("JSON object".to_owned(), 6), ("null".to_owned(), 1), ("text".to_owned(), 1)]);
        assert_eq!(found.keys, [("text".to_owned(), 6), ("empty".to_owned(), 1), ("null".to_owned(), 1)]);
        assert_eq!((found.headers, found.newest_ms), (vec!["none".to_owned(), "trace".to_owned()], Some(70)));
    }

    #[test]
    fn schema_ids_are_named_and_count_as_one_form() {
        let mut forms = Forms::default();
        for id in [7, 9, 7] {
            forms.add(Form::Confluent(id));
        }
        assert_eq!(forms.told(), [("Confluent schema registry (magic byte 0, schema ids 7, 9)".to_owned(), 3)]);
    }

    #[test]
    fn headers_that_are_cut_off_are_no_fault() {
        let mut headers = Vec::new();
        encode_header(&mut headers, b"a", Some(b"value"));
        for cut in 0..headers.len() {
            assert!(header_names(&headers[..cut]).is_empty(), "{cut}");
        }
        assert_eq!(header_names(&headers), [b"a"]);
    }
}
