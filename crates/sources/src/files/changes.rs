//! How the files that the source means now differ from those of the plan.
//!
//! Empty files count: they are in no shard, and one that grows has records that no worker sends.

use std::collections::HashSet;

use migration::job::FileRules;
use migration::{Plan, SourceObject};

use pipeline::SourceError;
use pipeline::source::Changes;

use super::{fail, list, object};

/// Compares the files that the source's patterns mean now with the plan's, by name, size, modification time and
/// fingerprint. An error: the patterns can't be followed.
///
/// Where the plan ends with a limit that was reached, files after its own do not matter.
pub(crate) fn changes(plan: &Plan, source: &FileRules) -> Result<Changes, SourceError> {
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

fn told(object: &SourceObject, what: impl std::fmt::Display) -> String {
    fail(&object.path, what).0
}
