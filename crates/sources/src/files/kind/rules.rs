//! Which kinds of files a source refuses, which it tells of, and in which words.

use std::collections::BTreeMap;
use std::path::Path;

use migration::printable::printable_path;
use migration::units::show_things;
use migration::{Compression, SourceObject};
use pipeline::SourceError;

use super::super::names::{self, NameEnding};
use super::Kind;
use super::known::{Class, Known};

/// How many files are named.
const NAMED: usize = 3;

/// What a source's files should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expects {
    /// Whatever they are, their lines are sent.
    Anything,
    /// Lines of JSON, where a record's fields are needed or a name promises it; else lines of text.
    Lines {
        /// Whether records must have fields.
        needs_fields: bool,
    },
    /// Rows of CSV.
    Csv {
        /// Whether each file's first row has the columns' names.
        names_inside: bool,
    },
}

/// What becomes of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FileVerdict {
    Fine,
    /// Its lines are sent, which may not be what is wanted.
    Told,
    Refused,
}

/// A file that is not as expected.
struct Stray<'a> {
    path: &'a Path,
    compression: Compression,
    known: &'static Known,
}

/// Judges all files: an error names those that are refused; else what a user should know.
pub(crate) fn judge<'a>(
    files: impl Iterator<Item = (&'a SourceObject, &'a Kind)>,
    expects: Expects,
) -> Result<Option<String>, SourceError> {
    let (mut told, mut refused) = (Vec::new(), Vec::new());
    for (object, kind) in files {
        let stray = Stray { path: &object.path, compression: object.compression, known: kind.known };
        match verdict(&stray, expects) {
            FileVerdict::Fine => {}
            FileVerdict::Told => told.push(stray),
            FileVerdict::Refused => refused.push(stray),
        }
    }
    match refused.first() {
        Some(_) => Err(SourceError(refusal(&refused, expects))),
        None => Ok(note(&told)),
    }
}

fn verdict(file: &Stray<'_>, expects: Expects) -> FileVerdict {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let refuse_if = |refused: bool| if refused { FileVerdict::Refused } else { FileVerdict::Fine };
    match (expects, file.known.class) {
        (Expects::Anything, _) | (_, Class::Blank) => FileVerdict::Fine,
        (Expects::Csv { names_inside }, class) => refuse_if(match class {
            Class::Foreign | Class::Stand => true,
            Class::Objects | Class::Json => names_inside,
            _ => false,
        }),
        (Expects::Lines { .. }, Class::Objects | Class::Values) => FileVerdict::Fine,
        (Expects::Lines { .. }, Class::Foreign | Class::Zeros) => FileVerdict::Refused,
        (Expects::Lines { needs_fields }, class) => {
            // What a server or a tool wrote in the place of a packed file.
            let in_place =
                class == Class::Stand && file.compression == Compression::None && names::has(&name, NameEnding::Packed);
            if needs_fields || in_place || names::has(&name, NameEnding::Json) {
                FileVerdict::Refused
            } else {
                FileVerdict::Told
            }
        }
    }
}

/// `a JSON array` or `JSON array: 12 files`, for each kind once, the most frequent first.
fn kinds(files: &[Stray<'_>]) -> Vec<(&'static str, usize)> {
    let mut counts = BTreeMap::new();
    files.iter().for_each(|file| *counts.entry(file.known.what).or_insert(0) += 1);
    let mut counts: Vec<_> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    counts
}

/// `a.csv (CSV with a header), b.json (a JSON array) and 3 more (2 Parquet, 1 zip)`
fn listed(files: &[Stray<'_>]) -> String {
    let (named, more) = files.split_at(files.len().min(NAMED));
    let named: Vec<_> = named.iter().map(|file| format!("{} ({})", printable_path(file.path), file.known.what)).collect();
    let named = named.join(", ");
    if more.is_empty() {
        return named;
    }
    let kinds: Vec<_> = kinds(more).into_iter().map(|(what, count)| format!("{count}: {what}")).collect();
    format!("{named} and {} more ({})", more.len(), kinds.join("; "))
}

fn refusal(files: &[Stray<'_>], expects: Expects) -> String {
    let (wanted, read) = match expects {
        Expects::Csv { .. } => ("rows of CSV", "rows of CSV in UTF-8 are, plain or in gzip or zstd"),
        _ => ("lines of JSON", "lines of UTF-8 are, plain or in gzip or zstd"),
    };
    let needs_fields = expects == Expects::Lines { needs_fields: true };
    let [only] = files else {
        let reason = if needs_fields { ", and the job needs fields of its records" } else { "" };
        let mut said = format!("{} are not {wanted}{reason}: {}", show_things(files.len() as u64, "file"), listed(files));
        for (what, _) in kinds(files).into_iter().take(NAMED) {
            let file = files.iter().find(|file| file.known.what == what);
            if let Some(remedy) = file.and_then(|file| file.remedy(expects)) {
                said += &format!("; {what}: {remedy}");
            }
        }
        return said + raw(expects);
    };
    let what = only.known.what;
    let path = printable_path(only.path);
    let mut said = match only.known.class {
        Class::Foreign => format!("{path}: is {what}, which is not read: {read}"),
        _ if needs_fields => format!("{path}: is {what}, not {wanted}, and the job needs fields of its records"),
        Class::Stand | Class::Zeros => format!("{path}: is {what}, not {wanted}"),
        _ if expects == (Expects::Lines { needs_fields: false }) => {
            format!("{path}: is {what}, not {wanted} as its name says")
        }
        _ => format!("{path}: is {what}, not {wanted}"),
    };
    if let Some(remedy) = only.remedy(expects) {
        said += &format!("; {remedy}");
    }
    said + raw(expects)
}

/// Whether an error is about what files are, and not about files that can't be read: the words that a refusal has.
pub(crate) fn is_refusal(message: &str) -> bool {
    [", not lines of JSON", "are not lines of JSON", ", not rows of CSV", "are not rows of CSV", ", which is not read: "]
        .iter()
        .any(|words| message.contains(words))
}

/// What sends the files in spite of what they are.
fn raw(expects: Expects) -> &'static str {
    match expects {
        Expects::Lines { needs_fields: false } => "; source.jsonl.raw = true sends each line as it is, whatever the file is",
        _ => "",
    }
}

/// What to tell of files whose lines are sent although they are not JSON.
fn note(files: &[Stray<'_>]) -> Option<String> {
    let meant = "source.jsonl.raw = true says that this is meant";
    match files {
        [] => None,
        [only] => {
            let (path, what) = (printable_path(only.path), only.known.what);
            let remedy = only.known.remedy(only.path, only.compression).map(|remedy| format!("; {remedy}"));
            Some(format!("{path}: looks like {what}: each line is sent as it is; {meant}{}", remedy.unwrap_or_default()))
        }
        _ => Some(format!(
            "{} are not lines of JSON, and each line of them is sent as it is: {}; {meant}",
            show_things(files.len() as u64, "file"),
            listed(files)
        )),
    }
}

impl Stray<'_> {
    fn remedy(&self, expects: Expects) -> Option<String> {
        let csv = matches!(expects, Expects::Csv { .. });
        match self.known.class {
            Class::Objects if csv => Some("use [source.jsonl], which reads lines of JSON".to_owned()),
            Class::Json if csv => {
                let lines = self.known.remedy(self.path, self.compression)?;
                Some(format!("{lines}, which [source.jsonl] reads"))
            }
            _ => self.known.remedy(self.path, self.compression),
        }
    }
}
