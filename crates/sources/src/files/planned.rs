//! Files that are planned already, when more are planned beside them.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::{Plan, SourceObject};

/// The files of a plan, by name and by what they are.
#[derive(Default)]
pub(super) struct Planned<'a> {
    names: HashSet<&'a Path>,
    /// By size and fingerprint; of each the first.
    facts: HashMap<(u64, u128), &'a Path>,
}

impl<'a> Planned<'a> {
    /// Those of a plan, if there is one.
    pub(super) fn of(plan: Option<&'a Plan>) -> Planned<'a> {
        let mut planned = Planned::default();
        for object in plan.iter().flat_map(|plan| &plan.objects) {
            planned.names.insert(&object.path);
            planned.facts.entry((object.known_bytes(), object.fingerprint)).or_insert(&object.path);
        }
        planned
    }

    /// Whether a file is one of them.
    pub(super) fn has(&self, file: &Path) -> bool {
        self.names.contains(file)
    }

    /// Takes them away of all files. What a user should know of an order that the others do not get.
    pub(super) fn take_away(&self, files: &mut Vec<PathBuf>) -> Option<String> {
        let last = files.iter().rposition(|file| self.has(file));
        let before = files[..last.unwrap_or(0)].iter().find(|file| !self.has(file)).map(|file| printable_path(file));
        files.retain(|file| !self.has(file));
        before.map(|file| {
            format!("{file}: comes before planned files by its name, and is sent behind them, as all files that are added")
        })
    }

    /// What a user should know of a new file that is as a planned one is.
    pub(super) fn told_of_copy(&self, new: &SourceObject) -> Option<String> {
        let planned = self.facts.get(&(new.bytes.filter(|bytes| *bytes > 0)?, new.fingerprint))?;
        Some(format!(
            "{}: has the size and the first and last 64 KiB of {}, which is planned already: if it is a copy, its records are \
             sent twice",
            printable_path(&new.path),
            printable_path(planned)
        ))
    }
}
