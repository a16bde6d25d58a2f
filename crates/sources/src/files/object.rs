//! What a file is, and what proves that it did not change.

use std::fs::{File, Metadata};
use std::io::ErrorKind;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use migration::{Compression, SourceObject};
use xxhash_rust::xxh3::xxh3_128;

use super::{changed, fail};
use pipeline::SourceError;
use pipeline::source::Retimed;

/// How much of a file's head and tail its fingerprint covers.
pub(crate) const SAMPLE_BYTES: u64 = 64 << 10;

/// How a planned file differs from what is there now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    /// In its size or its bytes, or it is gone.
    Other(String),
    /// In its time of modification alone, as far as size and fingerprint tell; with the time that it has now.
    Time(i64),
}

impl Difference {
    /// What was seen of a planned file, and what to do about it.
    fn told(&self, planned: &SourceObject) -> SourceError {
        match self {
            Difference::Other(what) => changed(&planned.path, what),
            // Seen in mid-run: what is accepted was so when the run began.
            Difference::Time(now_ns) => SourceError(format!(
                "{}; if its bytes are the planned ones, run again with `--accept mtime`",
                Retimed::of(0, planned, *now_ns)
            )),
        }
    }
}

/// How a planned file differs from what is there now, by size, modification time and fingerprint.
pub(super) fn difference(planned: &SourceObject) -> Option<Difference> {
    let other = |what: String| Some(Difference::Other(what));
    let meta = match std::fs::metadata(&planned.path) {
        Ok(meta) => meta,
        Err(error) => return other(format!("was {} bytes long when planned and is gone: {error}", planned.known_bytes())),
    };
    if let Some(what) = other_size(planned, &meta) {
        return other(what);
    }
    // Its facts were asked for already: there may be very many files.
    let now = File::open(&planned.path).map_err(|e| unreadable(&planned.path, e));
    match now.and_then(|file| facts_of(&planned.path, &file, &meta)) {
        Ok((now, _)) if now.fingerprint == planned.fingerprint => {
            (now.modified_ns != planned.modified_ns).then_some(Difference::Time(now.modified_ns))
        }
        Ok((now, _)) if now.modified_ns == planned.modified_ns => {
            other("has the planned size and time, but other bytes (first or last 64 KiB)".to_owned())
        }
        Ok(_) => other(
            "was modified or replaced since the plan: its modification time and its first or last 64 KiB differ".to_owned(),
        ),
        Err(error) => other(format!("can't be compared: {error}")),
    }
}

/// Compares what the file system says with the plan.
pub(crate) fn check(object: &SourceObject, meta: &Metadata) -> Result<(), SourceError> {
    if let Some(what) = other_size(object, meta) {
        return Err(changed(&object.path, what));
    }
    if modified_ns(meta) == object.modified_ns {
        return Ok(());
    }
    // It may be as planned again by now, which says nothing of what was read.
    let meanwhile = || Difference::Other("was modified since the plan, and has its time back".to_owned());
    Err(difference(object).unwrap_or_else(meanwhile).told(object))
}

fn other_size(planned: &SourceObject, meta: &Metadata) -> Option<String> {
    let (now, planned) = (meta.len(), planned.known_bytes());
    let how = if now < planned { "shorter" } else { "longer" };
    (now != planned).then(|| format!("is {how} than planned: {now} bytes instead of {planned}"))
}

pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> SourceError {
    fail(path, format_args!("can't be read: {error}"))
}

/// The facts of a file as it is now.
pub(crate) fn facts(path: &Path) -> Result<SourceObject, SourceError> {
    read_facts(path).map(|(_, object, _)| object)
}

/// The open file, its facts, and the bytes that the fingerprint covers.
pub(super) fn read_facts(path: &Path) -> Result<(File, SourceObject, Vec<u8>), SourceError> {
    let file = File::open(path).map_err(|e| unreadable(path, e))?;
    let meta = file.metadata().map_err(|e| unreadable(path, e))?;
    let (object, covered) = facts_of(path, &file, &meta)?;
    Ok((file, object, covered))
}

/// The facts of an open file, and the bytes that the fingerprint covers.
fn facts_of(path: &Path, file: &File, meta: &Metadata) -> Result<(SourceObject, Vec<u8>), SourceError> {
    let bytes = meta.len();
    let mut covered = Vec::new();
    // What a small file lacks costs no calls: there may be very many of them.
    let (head, tail) = (SAMPLE_BYTES.min(bytes), SAMPLE_BYTES.max(bytes.saturating_sub(SAMPLE_BYTES)).min(bytes));
    let ends = [(0, head), (tail, bytes - tail)];
    let read = ends.into_iter().try_for_each(|(start, len)| read_at(file, start, len, &mut covered));
    read.map_err(|e| unreadable(path, e))?;
    let compression = compression(&covered);
    let object = SourceObject {
        path: path.to_owned(),
        bytes: Some(bytes),
        modified_ns: modified_ns(meta),
        fingerprint: xxh3_128(&covered),
        compression,
        splittable: compression == Compression::None,
        record_starts: Vec::new(),
    };
    Ok((object, covered))
}

/// Appends up to `len` bytes from `start`; fewer at the file's end.
pub(crate) fn read_at(file: &File, start: u64, len: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    let (mut at, end) = (into.len(), into.len() + len as usize);
    let mut read = Ok(());
    into.resize(end, 0);
    while at < end {
        match file.read_at(&mut into[at..], start + len - (end - at) as u64) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                read = Err(error);
                break;
            }
        }
    }
    into.truncate(at);
    read
}

fn modified_ns(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
}

/// By the first bytes. A zstd stream may begin with a skippable frame, as parallel compressors write it.
fn compression(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}
