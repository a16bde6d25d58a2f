//! Which files the patterns mean.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs::{self, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::fail;
use super::notes::all_of;
use super::pattern::{self, Matches};
use super::siblings::Searched;
use migration::printable::{printable, printable_path};

use pipeline::SourceError;

/// What the patterns mean.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    /// The files, by their canonical paths.
    pub(crate) files: Vec<PathBuf>,
    /// Other names of these files, which add nothing.
    pub(crate) links: Vec<Link>,
    /// All names that patterns found.
    pub(super) names: HashSet<PathBuf>,
    /// Where they searched.
    pub(super) searched: Vec<Searched>,
}

/// Another name of a file that is listed already, or of a folder that was searched already.
#[derive(Debug)]
pub(crate) struct Link {
    name: PathBuf,
    file: PathBuf,
    what: &'static str,
    how: &'static str,
}

impl std::fmt::Display for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Link { name, file, what, how } = self;
        write!(f, "{} and {} are one {what} ({how}): its records are sent once", printable_path(name), printable_path(file))
    }
}

/// How the names are called that are counted and not told one by one.
const NO_FILES: &str = "names are no files that can be read";

/// The files of all patterns, in the patterns' order and by name within one. A file is known by its canonical path,
/// however the pattern spells it, and is there once, whichever patterns and links mean it. A pattern without a file,
/// and matches that are no regular files, are errors. Of several hard links of a file the first counts, unless the
/// `planned` name is among them: a link that was made since is another name of that file, however it is called.
pub(crate) fn files(patterns: &[String], planned: &dyn Fn(&Path) -> bool) -> Result<Listed, SourceError> {
    let mut listed = Listed::default();
    // What each file was matched as first.
    let mut named: HashMap<PathBuf, PathBuf> = HashMap::new();
    let mut hard_links: HashMap<(u64, u64), PathBuf> = HashMap::new();
    let mut canonical = Canonical::default();
    let mut wrong = Vec::new();
    for pattern in patterns {
        let found = matches(pattern)?;
        listed.links.extend(found.passed_over.into_iter().map(|(name, file)| Link {
            name,
            file,
            what: "folder",
            how: "a symbolic link",
        }));
        let mut folders = BTreeSet::new();
        // The files of a folder are neighbours.
        for names in found.names.chunk_by(|a, b| a.parent() == b.parent()) {
            folders.extend(names[0].parent().map(Path::to_owned));
        }
        listed.searched.push(Searched { pattern: pattern.clone(), folders });
        listed.names.extend(found.names.iter().cloned());
        for name in found.names {
            let (file, meta) = match canonical.of(&name) {
                Ok(found) => found,
                Err(error) => {
                    wrong.push(not_found(&name, &error).0);
                    continue;
                }
            };
            if let Some(first) = named.get(&file) {
                if *first != name {
                    // The link's name may have come first.
                    let other = if name == file { first.clone() } else { file };
                    listed.links.push(Link { name, file: other, what: "file", how: "a symbolic link" });
                }
                continue;
            }
            let meta = match check(&file, &name, meta) {
                Ok(meta) => meta,
                Err(error) => {
                    wrong.push(error.0);
                    continue;
                }
            };
            named.insert(file.clone(), name);
            // A file with one name can't have another: some network file systems give several files one inode number.
            if meta.nlink() > 1 {
                match hard_links.entry((meta.dev(), meta.ino())) {
                    Entry::Occupied(first) if !planned(&file) => {
                        let first = first.get().clone();
                        listed.links.push(Link { name: file, file: first, what: "file", how: "hard links" });
                        continue;
                    }
                    Entry::Occupied(mut first) if !planned(first.get()) => {
                        let other = first.insert(file.clone());
                        listed.files.retain(|listed| *listed != other);
                        listed.links.push(Link { name: other, file: file.clone(), what: "file", how: "hard links" });
                    }
                    // Two names of the plan: they were two files then.
                    Entry::Occupied(_) => {}
                    Entry::Vacant(none) => _ = none.insert(file.clone()),
                }
            }
            listed.files.push(file);
        }
    }
    if wrong.is_empty() { Ok(listed) } else { Err(all_of(wrong.into_iter(), NO_FILES)) }
}

/// Why a name that is there leads nowhere.
fn not_found(name: &Path, error: &std::io::Error) -> SourceError {
    match fs::read_link(name) {
        Ok(target) if error.kind() == ErrorKind::NotFound => {
            fail(name, format_args!("can't be found: it is a link to {}, which is not there", printable_path(&target)))
        }
        _ => fail(name, format_args!("can't be found: {error}")),
    }
}

fn matches(pattern: &str) -> Result<Matches, SourceError> {
    let wrong = |e| SourceError(format!("`{}` is not a file pattern: {e}", printable(pattern)));
    let found = pattern::find(pattern).map_err(wrong)?;
    if !found.unreadable.is_empty() {
        let one = |(folder, e): &(PathBuf, std::io::Error)| {
            fail(folder, format_args!("can't be searched for `{}`: {e}", printable(pattern)))
        };
        return Err(all_of(found.unreadable.iter().map(|folder| one(folder).0), "folders can't be searched either"));
    }
    if !found.names.is_empty() {
        return Ok(found);
    }
    // A name may hold brackets.
    let literal = PathBuf::from(pattern);
    if literal.exists() {
        return Ok(Matches { names: vec![literal], ..Matches::default() });
    }
    Err(SourceError(format!(
        "no file matches `{}`; check the source's paths (relative ones start at the config's folder)",
        printable(pattern)
    )))
}

/// Canonical paths, for which a folder is asked for once while its files come one after the other.
#[derive(Default)]
struct Canonical {
    /// The last folder as it is spelled.
    spelled: Option<PathBuf>,
    /// Its canonical path.
    folder: PathBuf,
}

impl Canonical {
    /// The canonical path of what has a name, and its facts if they are known by that.
    fn of(&mut self, name: &Path) -> std::io::Result<(PathBuf, Option<Metadata>)> {
        let meta = fs::symlink_metadata(name)?;
        match (name.parent(), name.file_name()) {
            (Some(folder), Some(own)) if meta.is_file() => Ok((self.folder(folder)?.join(own), Some(meta))),
            _ => Ok((fs::canonicalize(name)?, None)),
        }
    }

    fn folder(&mut self, spelled: &Path) -> std::io::Result<&Path> {
        if self.spelled.as_deref() != Some(spelled) {
            let here = if spelled.as_os_str().is_empty() { Path::new(".") } else { spelled };
            self.folder = fs::canonicalize(here)?;
            self.spelled = Some(spelled.to_owned());
        }
        Ok(&self.folder)
    }
}

/// The facts of `file`, which a pattern found as `name`; `meta` if they are known.
fn check(file: &Path, name: &Path, meta: Option<Metadata>) -> Result<Metadata, SourceError> {
    let meta = meta.map_or_else(|| fs::metadata(file), Ok).map_err(|e| fail(name, format_args!("can't be read: {e}")))?;
    if meta.is_dir() {
        let name = printable_path(name);
        return Err(SourceError(format!("{name}: is a folder; name the files in it, such as `{name}/*.jsonl`")));
    }
    if !meta.is_file() {
        return Err(fail(name, "is not a regular file; it can't be read twice, as continuing and verifying need"));
    }
    if file.to_str().is_none() {
        return Err(fail(file, "has a name that is not UTF-8, which the state can't hold; rename it"));
    }
    Ok(meta)
}
