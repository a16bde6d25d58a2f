//! What the first records of a dataset look like, and what follows from it: which field may be the key, what the topic
//! may be called.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::Plan;

/// What some records look like.
#[derive(Debug, Default)]
pub struct Sample {
    /// How many were looked at.
    pub records: u64,
    /// How many of them are no objects.
    pub invalid: u64,
    /// Their top-level fields, by name.
    pub fields: BTreeMap<String, SampledField>,
}

/// A top-level field of some records.
#[derive(Debug, Default)]
pub struct SampledField {
    /// How many records have it.
    pub present: u64,
    /// Which kinds of JSON values it has.
    pub kinds: BTreeSet<&'static str>,
    /// Its values.
    pub distinct: HashSet<String>,
}

impl Sample {
    /// Adds a record that is no object.
    pub fn add_invalid(&mut self) {
        self.records += 1;
        self.invalid += 1;
    }

    /// Adds a record: each field's name, the kind of its value, and the value.
    pub fn add(&mut self, fields: impl IntoIterator<Item = (String, &'static str, String)>) {
        self.records += 1;
        for (name, kind, value) in fields {
            let field = self.fields.entry(name).or_default();
            field.present += 1;
            field.kinds.insert(kind);
            field.distinct.insert(value);
        }
    }

    /// The field that looks most like a key: in every record, a string or number, named like an identifier, and shared
    /// by some records (an identifier of its own for each record orders nothing).
    pub fn key(&self) -> Option<String> {
        let plain = |name: &str| !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
        self.fields
            .iter()
            .filter(|(name, field)| {
                let name = name.to_lowercase();
                let named = name.ends_with("id") || name.ends_with("key") || name.ends_with("uuid");
                named
                    && plain(&name)
                    && field.present == self.records
                    && field.kinds.iter().all(|k| matches!(*k, "string" | "number"))
            })
            .filter(|(_, field)| (field.distinct.len() as u64) < self.records)
            .max_by_key(|(name, field)| (field.distinct.len(), std::cmp::Reverse(name.len())))
            .map(|(name, _)| format!(".{name}"))
    }
}

/// The leading letters of the first file's name: `orders-2026-01.jsonl.gz` gives `orders`.
pub fn guess_topic(plan: &Plan) -> String {
    let name = plan.objects.first().and_then(|o| o.path.file_name()).and_then(|n| n.to_str()).unwrap_or_default();
    let word: String = name.chars().take_while(|c| c.is_ascii_alphabetic() || *c == '_').collect();
    let word = word.trim_end_matches('_');
    if word.is_empty() { "records".to_owned() } else { word.to_owned() }
}
