//! A file as planning sees it: what it is, how many lines it probably has, and whether its end can be seen.

use std::path::Path;

use migration::{Compression, SourceObject};

use super::kind::{Head, Kind};
use super::object::{SAMPLE_BYTES, read_facts, unreadable};
use super::sample::{self, StreamEnd};
use pipeline::SourceError;

/// A file as planning sees it.
pub(crate) struct Seen {
    pub(crate) object: SourceObject,
    /// What it is by its first bytes.
    pub(super) kind: Kind,
    /// Lines per stored byte, judged by a few samples; all of a small file.
    pub(super) density: f64,
    /// What a user should know of its last line, if it has no end and could be seen.
    pub(super) cut_off: Option<String>,
    /// How far it was unpacked, if it is compressed.
    pub(super) end: StreamEnd,
    /// Whether all of it was seen, and is blank.
    pub(super) blank: bool,
}

/// Looks at a file. `cut_off` judges a last line that has no end: what a user should know of it.
pub(super) fn look(path: &Path, cut_off: impl FnOnce(&[u8]) -> Option<String>) -> Result<Seen, SourceError> {
    let (file, object, head_and_tail) = read_facts(path)?;
    let compression = object.compression;
    let cant_read = |e| unreadable(path, e);
    let unpacking = sample::unpack(&file, &object, u64::MAX).map_err(cant_read)?;
    let (kind, density, end, whole) = match unpacking {
        // Nothing came out: what is in it can't be told.
        Some(seen) if seen.head.is_empty() && seen.end != StreamEnd::Sound => (Kind::unknown(), seen.density, seen.end, false),
        Some(seen) => {
            let whole = seen.end == StreamEnd::Sound && (seen.head.len() as u64) < SAMPLE_BYTES;
            (Kind::of(Head { bytes: &seen.head, whole, compression }), seen.density, seen.end, whole)
        }
        None => {
            let head = &head_and_tail[..head_and_tail.len().min(SAMPLE_BYTES as usize)];
            let whole = object.known_bytes() == head.len() as u64;
            let density = sample::plain_density(&file, &object, &head_and_tail).map_err(cant_read)?;
            (Kind::of(Head { bytes: head, whole, compression }), density, StreamEnd::Sound, whole)
        }
    };
    let cut_off = last_line(&object, &head_and_tail).and_then(cut_off);
    let blank = whole && kind.is_blank();
    Ok(Seen { object, kind, density, cut_off, end, blank })
}

/// The last line of a plain file, if it has no end and the bytes that the fingerprint covers hold all of it.
fn last_line<'a>(object: &SourceObject, head_and_tail: &'a [u8]) -> Option<&'a [u8]> {
    if object.compression != Compression::None || head_and_tail.last().is_none_or(|&last| last == b'\n') {
        return None;
    }
    let start = memchr::memrchr(b'\n', head_and_tail).map_or(0, |newline| newline + 1);
    // The covered bytes of a larger file have a gap after its head.
    let gap = object.known_bytes() > 2 * SAMPLE_BYTES && (start as u64) < SAMPLE_BYTES;
    (!gap).then(|| &head_and_tail[start..])
}
