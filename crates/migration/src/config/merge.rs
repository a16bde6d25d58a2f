//! The second stage: what was typed, merged with the defaults.

use std::path::Path;

use super::Typed;
use super::error::Problems;
use super::key::{Declared, Merged};
use super::origin::{At, ValueOrigin};
use super::schema::KEYS;
use super::value::{EntryValue, NamedValue, TypedValue, ValueKind};

impl Typed {
    /// Merges; what was wrong in the first stage is handed on. Relative paths start at the folder.
    pub(super) fn merge(self, folder: &Path) -> (Merged<'_>, Problems) {
        let Typed { mut values, entries, refused, sources, problems } = self;
        for key in KEYS.iter() {
            let merged = match key.kind {
                ValueKind::Headers | ValueKind::Choices(_) => Some(pairs(entries.get(key.path).map_or(&[], Vec::as_slice))),
                // Its secrets are resolved later.
                ValueKind::Properties => None,
                _ => values.remove(key.path).or_else(|| default(key)),
            };
            values.extend(merged.map(|value| (key.path, value)));
        }
        (Merged { values, entries, refused, sources, folder }, problems)
    }
}

/// A key's default, read as if it had been typed.
fn default(key: &Declared) -> Option<At<TypedValue>> {
    let value = toml::de::DeValue::parse(key.default?).expect("a test reads every default");
    Some(At::new(key.kind.read(&value).expect("a test reads every default"), ValueOrigin::Default))
}

/// Names and texts; none of them is a secret's reference.
fn pairs(entries: &[NamedValue]) -> At<TypedValue> {
    let plain = |entry: &NamedValue| match &entry.value.value {
        EntryValue::Plain(text) => Some((entry.name.value.clone(), text.clone())),
        EntryValue::Env(_) | EntryValue::File(_) => None,
    };
    At::new(TypedValue::Pairs(entries.iter().filter_map(plain).collect()), ValueOrigin::Default)
}
