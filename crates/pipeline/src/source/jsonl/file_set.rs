//! How the files that the source means now differ from those of the plan.
//!
//! Empty files count: they are in no shard, and one that grows has records that no worker sends.

use std::collections::HashSet;
use std::path::PathBuf;

use migration::job::FileRules;
use migration::{Plan, SourceObject};

use super::{NOT_AS_PLANNED, fail, list, object};
use crate::SourceError;

/// How many files a message names.
const NAMED: usize = 10;

/// What is not as planned.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Planned files that are gone or have other bytes, or that the patterns don't mean any more, each with what was seen.
    pub changed: Vec<String>,
    /// Files that the patterns mean now and did not when planned.
    pub new: Vec<PathBuf>,
}

/// Compares the files that the source's patterns mean now with the plan's, by name, size, modification time and fingerprint. An
/// error: the patterns can't be followed.
///
/// Where the plan ends with a limit that was reached, files after its own do not matter.
pub fn changes(plan: &Plan, source: &FileRules) -> Result<Changes, SourceError> {
    let mut changed: Vec<String> =
        plan.objects.iter().filter_map(|planned| object::difference(planned).map(|what| told(planned, what))).collect();
    let planned: HashSet<_> = plan.objects.iter().map(|object| object.path.as_path()).collect();
    let listed = match list::files(&source.paths, &|file| planned.contains(file)) {
        Ok(listed) => listed.files,
        // A pattern whose files are all gone: the files are named already.
        Err(_) if !changed.is_empty() => return Ok(Changes { changed, new: Vec::new() }),
        Err(error) => return Err(error),
    };
    let now: HashSet<_> = listed.iter().collect();
    let absent = plan.objects.iter().filter(|object| !now.contains(&object.path) && object.path.exists());
    changed.extend(absent.map(|object| told(object, "no longer matches the source's paths")));
    // A limit that was not reached left nothing out: the dataset was planned as it was, and is more than that now.
    let last = plan.objects.last().and_then(|object| listed.iter().position(|path| *path == object.path));
    let counted = if plan.limit_reached { last.map_or(0, |last| last + 1) } else { listed.len() };
    let new: Vec<_> = listed[..counted].iter().filter(|path| !planned.contains(path.as_path())).cloned().collect();
    if changed.is_empty() && new.is_empty() {
        let moved = plan.objects.iter().zip(&listed).find(|(object, now)| object.path != **now);
        changed.extend(moved.map(|(object, _)| told(object, "is no longer among the source's files at its place")));
    }
    Ok(Changes { changed, new })
}

/// The same; any difference is an error that names the files.
pub fn unchanged(plan: &Plan, source: &FileRules) -> Result<(), SourceError> {
    let changes = changes(plan, source)?;
    if changes.is_empty() { Ok(()) } else { Err(changes.error(false)) }
}

fn told(object: &SourceObject, what: impl std::fmt::Display) -> String {
    fail(&object.path, what).0
}

impl Changes {
    /// Whether the files are those of the plan.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.new.is_empty()
    }

    /// Whether all planned files are as they were, and others came.
    pub fn only_new(&self) -> bool {
        self.changed.is_empty() && !self.new.is_empty()
    }

    /// In words, with names. `sent`: everything planned was sent.
    pub fn error(&self, sent: bool) -> SourceError {
        let mut parts = Vec::new();
        if !self.changed.is_empty() {
            parts.push(format!("{}; {NOT_AS_PLANNED}", named(&self.changed)));
        }
        if !self.new.is_empty() {
            let new: Vec<_> = self.new.iter().map(|path| path.display().to_string()).collect();
            let (match_, them) = if new.len() == 1 { ("matches", "it") } else { ("match", "them") };
            let what = format!("{match_} the source's paths now and did not when planned");
            let rest = if sent {
                format!("all records of the plan's files were sent, and none of {them}")
            } else {
                format!("a plan is frozen when its job first runs, so nothing of {them} is sent")
            };
            parts.push(format!("{}: {what}; {rest}", named(&new)));
        }
        SourceError(parts.join("; "))
    }
}

fn named(all: &[String]) -> String {
    let mut text = all.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    if all.len() > NAMED {
        text += &format!(", and {} more", all.len() - NAMED);
    }
    text
}
