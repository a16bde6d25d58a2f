//! How the files that the source means now differ from those of the plan.
//!
//! Empty files count: they are in no shard, and one that grows has records that no worker sends.

use std::collections::HashSet;
use std::path::PathBuf;

use migration::job::FileRules;
use migration::printable::printable_path;
use migration::{Plan, SourceObject};

use pipeline::SourceError;
use pipeline::source::{Changes, Retimed};

use super::object::Difference;
use super::{fail, list, object};

/// Compares the files that the source's patterns mean now with the plan's, by name, size, modification time and
/// fingerprint. An error: the patterns can't be followed.
///
/// Where the plan ends with a limit that was reached, files after its own do not matter.
pub(crate) fn changes(plan: &Plan, source: &FileRules) -> Result<Changes, SourceError> {
    let (mut changed, mut retimed) = (Vec::new(), Vec::new());
    for (index, planned) in (0..).zip(&plan.objects) {
        match object::difference(planned) {
            None => {}
            Some(Difference::Time(now_ns)) => retimed.push(Retimed::of(index, planned, now_ns)),
            Some(Difference::Other(what)) => changed.push((planned, what)),
        }
    }
    let planned: HashSet<_> = plan.objects.iter().map(|object| object.path.as_path()).collect();
    let all = |changed: Vec<(&SourceObject, String)>| changed.into_iter().map(|(object, what)| told(object, what)).collect();
    let listed = match list::files(&source.paths, &|file| planned.contains(file)) {
        Ok(listed) => listed.files,
        // A pattern whose files are all gone: the files are named already.
        Err(_) if !changed.is_empty() => return Ok(Changes { changed: all(changed), retimed, new: Vec::new() }),
        Err(error) => return Err(error),
    };
    let now: HashSet<_> = listed.iter().collect();
    let absent = plan.objects.iter().filter(|object| !now.contains(&object.path) && object.path.exists());
    changed.extend(absent.map(|object| (object, "no longer matches the source's paths".to_owned())));
    // A limit that was not reached left nothing out: the dataset was planned as it was, and is more than that now.
    let last = plan.objects.last().and_then(|object| listed.iter().position(|path| *path == object.path));
    let counted = if plan.limit_reached { last.map_or(0, |last| last + 1) } else { listed.len() };
    let new: Vec<_> = listed[..counted].iter().filter(|path| !planned.contains(path.as_path())).cloned().collect();
    if changed.is_empty() {
        let moved = moved(plan, &listed);
        changed.extend(moved.map(|object| (object, "is no longer among the source's files at its place".to_owned())));
    }
    for (object, what) in &mut changed {
        if let Some(renamed) = renamed(object, &new) {
            *what += &format!("; it is probably {} now, which has the same size and the same ends", printable_path(renamed));
        }
    }
    Ok(Changes { changed: all(changed), retimed, new })
}

/// The first planned file that stands at another place among those that it was planned with.
fn moved<'a>(plan: &'a Plan, listed: &[PathBuf]) -> Option<&'a SourceObject> {
    plan.generations().find_map(|generation| {
        let objects = &plan.objects[generation];
        let own: HashSet<_> = objects.iter().map(|object| &object.path).collect();
        let now = listed.iter().filter(|path| own.contains(path));
        objects.iter().zip(now).find(|(object, now)| object.path != **now).map(|(object, _)| object)
    })
}

/// The new file that a planned one which is not as it was became, if its size and its ends say so.
fn renamed<'a>(planned: &SourceObject, new: &'a [PathBuf]) -> Option<&'a PathBuf> {
    new.iter().find(|path| {
        let same_size = std::fs::metadata(path).is_ok_and(|meta| Some(meta.len()) == planned.bytes && meta.len() > 0);
        same_size && object::facts(path).is_ok_and(|now| now.fingerprint == planned.fingerprint)
    })
}

fn told(object: &SourceObject, what: impl std::fmt::Display) -> String {
    fail(&object.path, what).0
}
