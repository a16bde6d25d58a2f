//! Which files the patterns mean.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use glob::MatchOptions;

use super::fail;
use crate::SourceError;

/// As a shell does: `*` neither crosses a folder nor finds hidden files.
const OPTIONS: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// The files of all patterns, in the patterns' order and by name within one; a file that several patterns or links mean is
/// there once. A pattern without a file, and a match that is no regular file, are errors.
pub(super) fn files(patterns: &[String]) -> Result<Vec<PathBuf>, SourceError> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for pattern in patterns {
        for path in matches(pattern)? {
            let real = fs::canonicalize(&path).map_err(|e| fail(&path, format_args!("can't be found: {e}")))?;
            check(&path)?;
            if seen.insert(real) {
                files.push(path);
            }
        }
    }
    Ok(files)
}

fn matches(pattern: &str) -> Result<Vec<PathBuf>, SourceError> {
    let found = glob::glob_with(pattern, OPTIONS)
        .map_err(|e| SourceError(format!("`{pattern}` is not a file pattern: {e}")))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| fail(e.path(), format_args!("can't be searched for `{pattern}`: {}", e.error())))?;
    if !found.is_empty() {
        return Ok(found);
    }
    // A name may hold brackets.
    let literal = PathBuf::from(pattern);
    if literal.exists() {
        return Ok(vec![literal]);
    }
    Err(SourceError(format!(
        "no file matches `{pattern}`; check the source's paths (relative ones start at the config's folder)"
    )))
}

fn check(path: &Path) -> Result<(), SourceError> {
    let meta = fs::metadata(path).map_err(|e| fail(path, format_args!("can't be read: {e}")))?;
    if meta.is_dir() {
        let name = path.display();
        return Err(SourceError(format!("{name}: is a folder; name the files in it, such as `{name}/*.jsonl`")));
    }
    if !meta.is_file() {
        return Err(fail(path, "is not a regular file; it can't be read twice, as continuing and verifying need"));
    }
    if path.to_str().is_none() {
        return Err(fail(path, "has a name that is not UTF-8, which the state can't hold; rename it"));
    }
    Ok(())
}
