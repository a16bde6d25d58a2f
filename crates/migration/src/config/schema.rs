//! All keys of the config: the declarations that stand beside the fields of a [`Job`], gathered.

use std::sync::LazyLock;

use super::key::{Declared, KeyTable as _};
use crate::job::Job;

/// Every key, in the order of the annotated file.
pub static KEYS: LazyLock<Vec<&'static Declared>> = LazyLock::new(|| {
    let mut keys = Vec::new();
    Job::ITEMS.iter().for_each(|item| item.add_to(&mut keys));
    keys
});

/// Tables that are known but not in this version.
pub const LATER: &[&str] = &["source.parquet", "source.postgres", "source.command"];

/// The key of a path.
pub(super) fn find(path: &str) -> Option<&'static Declared> {
    KEYS.iter().copied().find(|key| key.path == path)
}

/// The table of a path, below which keys stand.
pub(super) fn table(path: &str) -> Option<&'static str> {
    KEYS.iter().map(|key| key.path).find_map(|key| key.strip_prefix(path)?.starts_with('.').then(|| &key[..path.len()]))
}

/// The names right below a table (`""`: the tables themselves), each once or more.
pub(super) fn names_in<'a>(table: &'a str) -> impl Iterator<Item = &'static str> + 'a {
    KEYS.iter().filter_map(move |key| {
        let rest = match table {
            "" => key.path,
            _ => key.path.strip_prefix(table)?.strip_prefix('.')?,
        };
        rest.split('.').next()
    })
}

/// The tables that have a key with this last name, unless one of them is this table.
pub(super) fn elsewhere(name: &str, table: &str) -> Vec<&'static str> {
    let homes: Vec<_> = KEYS.iter().filter(|key| key.name() == name).map(|key| key.table()).collect();
    if homes.contains(&table) { Vec::new() } else { homes }
}
