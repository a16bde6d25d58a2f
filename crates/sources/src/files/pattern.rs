//! What a pattern finds, in the order of names.
//!
//! Responsible for: `*`, `?` and `[…]` within a folder, `**` for any folders, and that a search ends whatever links
//! there are: below `**` each folder is searched once, whatever names it has. Not responsible for: whether what was
//! found can be read.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

/// As a shell does: `*` neither crosses a folder nor finds hidden files.
pub(super) const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// What a pattern found.
#[derive(Debug, Default)]
pub(super) struct Matches {
    /// Under the names by which they were found.
    pub(super) names: Vec<PathBuf>,
    /// Folders that were not searched, each with the name under which it was searched before.
    pub(super) passed_over: Vec<(PathBuf, PathBuf)>,
    /// Folders that can't be searched, or not to their end.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
}

/// Everything that a pattern means.
pub(super) fn find(pattern: &str) -> Result<Matches, glob::PatternError> {
    Pattern::new(pattern)?;
    let parts = pattern.split('/').filter(|part| !part.is_empty());
    let parts = parts.map(PatternPart::new).collect::<Result<Vec<_>, _>>()?;
    let mut search = PatternSearch::default();
    let start = if pattern.starts_with('/') { "/" } else { "" };
    search.find(Path::new(start), &parts);
    if pattern.ends_with('/') {
        search.found.names.retain(|name| name.is_dir());
    }
    Ok(search.found)
}

/// Whether a pattern means a path, there or not; links are not followed.
pub(super) fn means(pattern: &str, path: &Path) -> bool {
    Pattern::new(pattern).is_ok_and(|pattern| pattern.matches_path_with(path, OPTIONS))
}

/// What stands between two slashes.
#[derive(Debug)]
enum PatternPart {
    /// `**`
    Folders,
    Name(String),
    Names(Pattern),
}

impl PatternPart {
    fn new(text: &str) -> Result<PatternPart, glob::PatternError> {
        Ok(match text {
            "**" => PatternPart::Folders,
            name if !name.contains(['*', '?', '[']) => PatternPart::Name(name.to_owned()),
            names => PatternPart::Names(Pattern::new(names)?),
        })
    }

    /// Of a name that is not all UTF-8, which can't be sent, what of it is counts.
    fn is(&self, name: &OsStr) -> bool {
        match self {
            PatternPart::Folders => false,
            PatternPart::Name(own) => name == own.as_str(),
            PatternPart::Names(pattern) => pattern.matches_with(&name.to_string_lossy(), OPTIONS),
        }
    }
}

/// Something in a folder.
struct FolderEntry {
    name: OsString,
    is_folder: bool,
}

#[derive(Default)]
struct PatternSearch {
    found: Matches,
    /// Folders that were searched for what follows a `**`, with how much of the pattern that is, and under which name.
    searched: HashMap<(PathBuf, usize), PathBuf>,
}

impl PatternSearch {
    /// Finds the rest of a pattern in a folder.
    fn find(&mut self, folder: &Path, parts: &[PatternPart]) {
        match parts {
            [] => self.found.names.push(folder.to_owned()),
            [PatternPart::Name(name), rest @ ..] => {
                let path = folder.join(name);
                match path.symlink_metadata() {
                    Ok(_) => self.find(&path, rest),
                    Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                    Err(error) => self.found.unreadable.push((path, error)),
                }
            }
            [part @ PatternPart::Names(_), rest @ ..] => {
                for entry in self.entries(folder) {
                    match part.is(&entry.name) {
                        true if rest.is_empty() => self.found.names.push(folder.join(&entry.name)),
                        true if entry.is_folder => self.find(&folder.join(&entry.name), rest),
                        _ => {}
                    }
                }
            }
            [PatternPart::Folders, PatternPart::Folders, ..] => self.find(folder, &parts[1..]),
            [PatternPart::Folders, rest @ ..] => self.find_below(folder, rest),
        }
    }

    /// Finds the rest of a pattern in a folder and in all folders below it.
    fn find_below(&mut self, folder: &Path, rest: &[PatternPart]) {
        if !folder.is_dir() {
            return;
        }
        let own = match fs::canonicalize(folder) {
            Ok(own) => own,
            Err(error) => return self.found.unreadable.push((folder.to_owned(), error)),
        };
        if let Some(before) = self.searched.get(&(own.clone(), rest.len())) {
            // Its files are found already, by another name or (with `**` twice) by this one.
            if before != folder {
                self.found.passed_over.push((folder.to_owned(), before.clone()));
            }
            return;
        }
        self.searched.insert((own, rest.len()), folder.to_owned());
        for entry in self.entries(folder) {
            let path = || folder.join(&entry.name);
            match rest {
                [] if entry.is_folder => self.found.names.push(path()),
                [first, after @ ..] if first.is(&entry.name) && (after.is_empty() || entry.is_folder) => {
                    self.find(&path(), after);
                }
                _ => {}
            }
            if entry.is_folder && !entry.name.as_encoded_bytes().starts_with(b".") {
                self.find_below(&path(), rest);
            }
        }
    }

    /// What is in a folder, by name; nothing if it is none. What of it can't be listed is remembered, and the search
    /// goes on: all such folders are told at once.
    fn entries(&mut self, folder: &Path) -> Vec<FolderEntry> {
        let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let listed = if here.is_dir() { entries(folder, here) } else { Ok(Vec::new()) };
        listed.unwrap_or_else(|error| {
            self.found.unreadable.push((here.to_owned(), error));
            Vec::new()
        })
    }
}

/// What is in a folder that is spelled as `folder` and stands at `here`, by name.
fn entries(folder: &Path, here: &Path) -> io::Result<Vec<FolderEntry>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(here)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_folder = match entry.file_type() {
            Ok(kind) if !kind.is_symlink() => kind.is_dir(),
            _ => folder.join(&name).is_dir(),
        };
        found.push(FolderEntry { name, is_folder });
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_means_files_that_are_not_there_yet() {
        let means = |pattern, path| means(pattern, Path::new(path));
        assert!(means("/d/*.jsonl", "/d/a.jsonl") && means("/d/a.jsonl", "/d/a.jsonl") && means("/d/**/x", "/d/a/b/x"));
        assert!(!means("/d/*", "/d/a/b") && !means("/d/*", "/d/.a") && !means("/d/*.jsonl", "/d/a.csv"));
    }
}
