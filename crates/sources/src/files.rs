//! What all sources of files have in common.
//!
//! Responsible for: which files the patterns mean, what proves that a file did not change, unpacking, and files that
//! took the place of planned ones. Not responsible for: where a record begins and ends.

mod changes;
mod gather;
mod kind;
mod list;
mod look;
mod names;
mod notes;
mod object;
mod pattern;
mod planned;
mod probes;
mod replaced;
mod sample;
mod siblings;
mod split;
mod stream;
mod unpack;
mod whole;

use std::path::Path;

use migration::job::{FileRules, WindowLimit};
use migration::printable::printable_path;
use migration::{Plan, Position, Segment, ShardId, SourceObject};
use pipeline::source::NOT_AS_PLANNED;
use pipeline::{Reader, SourceError};

pub(crate) use changes::changes;
pub(crate) use gather::gathered;
pub(crate) use kind::{Expects, is_refusal};
#[cfg(test)]
pub(crate) use object::facts;
pub(crate) use object::{check, unreadable};
pub(crate) use probes::probes;
pub(crate) use replaced::{FileBeginning, replaced};
pub(crate) use split::{cuts, plan};
pub(crate) use stream::{Stream, check_windows};

/// Whether a file would be one of the source's if it were there.
pub(crate) fn would_read(rules: &FileRules, path: &Path) -> bool {
    rules.paths.iter().any(|paths| pattern::means(paths, path))
}

/// What is to be known of a format to cut files of it.
pub(crate) trait Format {
    /// What its files should be, where rows must have fields or need not.
    fn expects(&self, needs_fields: bool) -> Expects;

    /// What a compressed file may need of memory.
    fn windows(&self) -> WindowLimit;

    /// What a user should know of the last line of a plain file, if it has no end.
    fn cut_off(&self, path: &Path, line: &[u8]) -> Option<String> {
        let _ = (path, line);
        None
    }

    /// Whether a file that is as expected begins as it must, and has rows behind that as far as can be seen.
    fn begins(&self, object: &SourceObject) -> Result<bool, SourceError> {
        let _ = object;
        Ok(true)
    }

    /// A reader of some segments.
    fn reader(&self, segments: Vec<(SourceObject, Segment)>, from: Position) -> Result<Box<dyn Reader>, SourceError>;

    /// Finds starts of records in the first `bytes` bytes of a file of which not every line is a record, if it is to be
    /// cut into shards of about `target` bytes ([`ShardRules::UNCUT`]: not at all). What a user should know of them.
    fn find_starts(&self, object: &mut SourceObject, bytes: u64, target: u64) -> Result<Option<String>, SourceError> {
        let _ = (object, bytes, target);
        Ok(None)
    }
}

/// The segments of a shard with their objects.
pub(crate) fn segments_of(plan: &Plan, shard: ShardId) -> Result<Vec<(SourceObject, Segment)>, SourceError> {
    let missing = || SourceError(format!("the plan has no shard {shard}; it has {}", plan.shards.len()));
    let shard = plan.shards.get(shard.0 as usize).ok_or_else(missing)?;
    Ok(plan.segments(shard).iter().map(|segment| (plan.object(segment).clone(), segment.clone())).collect())
}

/// Where reading begins: that segment's number and a place in it.
pub(crate) fn entry(segments: &[(SourceObject, Segment)], from: Position) -> Result<(usize, u64), SourceError> {
    let at = from.segment as usize;
    let Some((object, segment)) = segments.get(at) else { return Ok((at, 0)) };
    if (segment.start..=segment.end).contains(&from.place) {
        return Ok((at, from.place));
    }
    let (place, range) = (from.place, segment.start..segment.end);
    Err(fail(&object.path, format_args!("byte {place} is not in the segment {range:?}; the state is not of this plan")))
}

/// Checks that no file of a shard changed since the plan; an error with the segment's number.
pub(crate) fn all_unchanged(segments: &[(SourceObject, Segment)]) -> Result<(), (usize, SourceError)> {
    for (index, (planned, _)) in segments.iter().enumerate() {
        let meta = std::fs::metadata(&planned.path).map_err(|e| unreadable(&planned.path, e));
        meta.and_then(|meta| check(planned, &meta)).map_err(|error| (index, error))?;
    }
    Ok(())
}

/// An error about one file.
pub(crate) fn fail(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}", printable_path(path)))
}

/// An error about a file that is not as planned.
pub(crate) fn changed(path: &Path, what: impl std::fmt::Display) -> SourceError {
    SourceError(format!("{}: {what}; {NOT_AS_PLANNED}", printable_path(path)))
}
