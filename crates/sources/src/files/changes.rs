//! How the files that the source means now differ from those of the plan.
//!
//! Empty files count: they are in no shard, and one that grows has records that no worker sends.

use std::cell::OnceCell;
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

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
    let newcomers = if changed.is_empty() { Newcomers::default() } else { Newcomers::of(sized(&new)) };
    let fingerprint = |path: &Path| object::facts(path).ok().map(|now| now.fingerprint);
    for (object, what) in &mut changed {
        if let Some(renamed) = newcomers.was(object, &fingerprint) {
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

/// New files by their size: one of them may be what a planned file became. The ends of each are read once, and only if
/// a planned file that changed had its size.
#[derive(Default)]
struct Newcomers<'a>(HashMap<u64, SameSize<'a>>);

/// New files of one size, and what of them is known by their ends.
#[derive(Default)]
struct SameSize<'a> {
    paths: Vec<&'a Path>,
    by_ends: OnceCell<HashMap<u128, &'a Path>>,
}

impl<'a> Newcomers<'a> {
    fn of(files: impl Iterator<Item = (&'a Path, u64)>) -> Newcomers<'a> {
        let mut found = Newcomers::default();
        files.for_each(|(path, size)| found.0.entry(size).or_default().paths.push(path));
        found
    }

    /// The first new file that has the size and the ends that a planned one had. `fingerprint` reads the ends of a
    /// file.
    fn was(&self, planned: &SourceObject, fingerprint: &impl Fn(&Path) -> Option<u128>) -> Option<&'a Path> {
        let same = self.0.get(&planned.bytes.filter(|bytes| *bytes > 0)?)?;
        let by_ends = same.by_ends.get_or_init(|| {
            let mut read = HashMap::new();
            for path in &same.paths {
                if let Some(ends) = fingerprint(path) {
                    read.entry(ends).or_insert(*path);
                }
            }
            read
        });
        by_ends.get(&planned.fingerprint).copied()
    }
}

/// Files with their sizes, but for those that can't be asked.
fn sized(files: &[PathBuf]) -> impl Iterator<Item = (&Path, u64)> {
    files.iter().filter_map(|path| Some((path.as_path(), std::fs::metadata(path).ok()?.len())))
}

fn told(object: &SourceObject, what: impl std::fmt::Display) -> String {
    fail(&object.path, what).0
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use migration::Compression;

    use super::*;

    #[test]
    fn the_ends_of_a_new_file_are_read_once_however_many_changed() {
        const FILES: u64 = 5_000;
        let names: Vec<PathBuf> = (0..2 * FILES).map(|n| PathBuf::from(n.to_string())).collect();
        // The second half has sizes that no planned file had.
        let size = |n: u64| if n < FILES { 7 } else { 1_000 + n };
        let newcomers = Newcomers::of(names.iter().zip(0..).map(|(path, n)| (path.as_path(), size(n))));
        let read = Cell::new(0);
        let fingerprint = |path: &Path| {
            read.set(read.get() + 1);
            path.to_str()?.parse::<u128>().ok().map(|n| n / 2)
        };
        let planned = |bytes, fingerprint| SourceObject {
            path: PathBuf::from("gone"),
            bytes: Some(bytes),
            modified_ns: 0,
            fingerprint,
            compression: Compression::None,
            splittable: true,
            record_starts: Vec::new(),
        };
        for n in 0..FILES {
            let was = newcomers.was(&planned(7, n.into()), &fingerprint);
            let first = (n < FILES / 2).then(|| names[2 * n as usize].as_path());
            assert_eq!(was, first, "the first of two with these ends");
        }
        assert_eq!(newcomers.was(&planned(8, 0), &fingerprint), None);
        assert_eq!(read.get(), FILES);
        assert_eq!(Newcomers::of([(Path::new("a"), 0)].into_iter()).was(&planned(0, 0), &fingerprint), None);
    }
}
