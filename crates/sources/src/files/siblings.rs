//! Files that a pattern misses by the ending of their names alone: `orders-4.jsonl.gz` beside `*.jsonl`.
//!
//! Responsible for: naming those that probably belong to the dataset, and the pattern that means them too. Not
//! responsible for: files of other names, and other forms of a file that is meant already.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use glob::Pattern;
use migration::printable::{printable, printable_path};
use migration::units::show_things;

use super::names::{NameEnding, endings};
use super::pattern::OPTIONS;

/// How many files are named.
const NAMED: usize = 3;
/// How many folders of a pattern are looked through.
const FOLDERS: usize = 1000;

/// What a pattern found.
#[derive(Debug)]
pub(super) struct Searched {
    pub(super) pattern: String,
    /// The folders in which it found files, as it spells them.
    pub(super) folders: BTreeSet<PathBuf>,
}

/// A name without the endings that make no difference.
struct Spelled<'a> {
    /// Without any ending.
    base: &'a str,
    /// With those that say what is in it: `orders.jsonl`.
    core: String,
    /// With those that say which part it is, too: `orders.jsonl.1`.
    part: String,
    ends: Vec<(&'a str, NameEnding)>,
}

impl Spelled<'_> {
    fn of(name: &str) -> Spelled<'_> {
        let (base, ends) = endings(name);
        let with = |kept: &[NameEnding]| {
            let kept = ends.iter().filter(|(_, ending)| kept.contains(ending)).map(|(text, _)| *text);
            format!("{base}{}", kept.collect::<String>())
        };
        let core = with(&[NameEnding::Json, NameEnding::Csv]);
        let part = with(&[NameEnding::Json, NameEnding::Csv, NameEnding::Part]);
        Spelled { base, core, part, ends }
    }

    fn has(&self, wanted: NameEnding) -> bool {
        self.ends.iter().any(|(_, ending)| *ending == wanted)
    }

    /// Its endings that say what is in it: `.jsonl`.
    fn kind(&self) -> &str {
        &self.core[self.base.len()..]
    }

    /// The base with `#` for each number.
    fn form(&self) -> String {
        let mut form = String::new();
        for letter in self.base.chars() {
            match letter.is_ascii_digit() {
                true if form.ends_with('#') => {}
                true => form.push('#'),
                false => form.push(letter),
            }
        }
        form
    }
}

/// What is said of files beside the `listed` names, for each pattern.
pub(super) fn missed(searched: &[Searched], listed: &HashSet<PathBuf>) -> Vec<String> {
    let mut told = HashSet::new();
    searched.iter().filter_map(|searched| of_pattern(searched, listed, &mut told)).collect()
}

fn of_pattern(searched: &Searched, listed: &HashSet<PathBuf>, told: &mut HashSet<PathBuf>) -> Option<String> {
    let (folder, last) = searched
        .pattern
        .rsplit_once('/')
        .map_or(("", &searched.pattern[..]), |(_, last)| searched.pattern.split_at(searched.pattern.len() - last.len()));
    // A name without a wildcard is meant as it is.
    if !last.contains(['*', '?', '[']) {
        return None;
    }
    let own = Spelled::of(last);
    let core = Pattern::new(&own.core).ok()?;
    let (mut missed, mut others) = (Vec::new(), Vec::new());
    for folder in searched.folders.iter().take(FOLDERS) {
        let names = names(folder);
        let is_listed = |name: &String| listed.contains(&folder.join(name));
        let meant: Vec<_> = names.iter().filter(|name| is_listed(name)).map(|name| Spelled::of(name)).collect();
        let parts: HashSet<_> = meant.iter().map(|name| &name.part[..]).collect();
        let bases: HashSet<_> = meant.iter().map(|name| name.base).collect();
        let forms: HashSet<_> = meant.iter().map(Spelled::form).collect();
        for name in names.iter().filter(|name| !is_listed(name)) {
            let spelled = Spelled::of(name);
            let more_endings = core.matches_with(&spelled.core, OPTIONS) && !parts.contains(&spelled.part[..]);
            // A pattern such as `o-[1-3].jsonl` leaves out on purpose what only its base keeps from it.
            let other_ending = own.has(NameEnding::Json)
                && spelled.kind() != own.kind()
                && (spelled.has(NameEnding::Json) || spelled.has(NameEnding::Csv))
                && !bases.contains(spelled.base)
                && forms.contains(&spelled.form());
            let path = folder.join(name);
            let sibling = !spelled.ends.is_empty() && (more_endings || other_ending) && path.is_file();
            // A link to a file that is meant, by whatever name, adds nothing.
            let sibling = sibling && !fs::canonicalize(&path).is_ok_and(|file| listed.contains(&file));
            if sibling { missed.push((path, name.clone())) } else { others.push(name.clone()) }
        }
    }
    missed.retain(|(path, _)| told.insert(path.clone()));
    let (named, more) = missed.split_at(missed.len().min(NAMED));
    if named.is_empty() {
        return None;
    }
    let mut text: Vec<_> = named.iter().map(|(path, _)| printable_path(path)).collect();
    text.extend((!more.is_empty()).then(|| format!("{} more", more.len())));
    let pattern = printable(&searched.pattern);
    let (files, are) = (show_things(missed.len() as u64, "file"), if missed.len() == 1 { "is" } else { "are" });
    let wider = wider(folder, &own, &missed, &others);
    let wider = wider.map(|wider| format!("; {wider} would mean {} too", if missed.len() == 1 { "it" } else { "them" }));
    Some(format!("{files} beside those of `{pattern}` {are} not meant by it: {}{}", text.join(", "), wider.unwrap_or_default()))
}

/// The pattern, or those, that mean the missed files and no others.
fn wider(folder: &str, own: &Spelled<'_>, missed: &[(PathBuf, String)], others: &[String]) -> Option<String> {
    let wide = format!("{}*", own.core);
    let pattern = Pattern::new(&wide).ok()?;
    let matches = |name: &String| pattern.matches_with(name, OPTIONS);
    if missed.iter().all(|(_, name)| matches(name)) && !others.iter().any(matches) {
        return Some(format!("`{}`", printable(&format!("{folder}{wide}"))));
    }
    let of_one = |name: &str| {
        let ends = Spelled::of(name).ends;
        let number = |text: &str| text[1..].bytes().all(|byte| byte.is_ascii_digit());
        let shown = ends.iter().map(|(text, _)| if number(text) { ".[0-9]*" } else { *text });
        // What the pattern's own name ends with is there once.
        format!("{folder}{}{}", own.base, shown.collect::<String>())
    };
    let all: BTreeSet<_> = missed.iter().map(|(_, name)| of_one(name)).collect();
    (all.len() <= NAMED).then(|| all.iter().map(|one| format!("`{}`", printable(one))).collect::<Vec<_>>().join(" and "))
}

/// The names in a folder that are not hidden, and no tool's own.
fn names(folder: &Path) -> Vec<String> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.retain(|name| !name.starts_with(['.', '_']));
    names.sort();
    names
}
