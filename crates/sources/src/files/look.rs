//! A file as planning sees it: whether it is of a kind that is read, and how many lines it probably has.

use std::path::Path;

use migration::{Compression, SourceObject};

use super::object::{SAMPLE_BYTES, read_facts, unreadable};
use super::{fail, sample};
use pipeline::SourceError;

/// A file as planning sees it.
pub(crate) struct Seen {
    pub(crate) object: SourceObject,
    /// Lines per stored byte, judged by a few samples; all of a small file.
    pub(crate) density: f64,
    /// What a user should know of its last line, if it has no end and could be seen.
    pub(crate) cut_off: Option<String>,
}

/// Looks at a file: its facts, and a guess at how many lines it has. `cut_off` judges a last line that has no end: what
/// a user should know of it.
pub(crate) fn look(path: &Path, cut_off: impl FnOnce(&[u8]) -> Option<String>) -> Result<Seen, SourceError> {
    let (mut file, object, head_and_tail) = read_facts(path)?;
    if let Some(format) = foreign(&head_and_tail) {
        return Err(fail(
            path,
            format_args!("is {format}, which is not read: lines of UTF-8 are, plain or in gzip or zstd; convert it"),
        ));
    }
    let density = sample::density(&mut file, &object, &head_and_tail).map_err(|e| unreadable(path, e))?;
    let cut_off = last_line(&object, &head_and_tail).and_then(cut_off);
    Ok(Seen { object, density, cut_off })
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

/// The format of a file that is neither lines nor compressed in a way that is read, by its first and last bytes: its
/// bytes would pass for lines of a job without a key.
fn foreign(head_and_tail: &[u8]) -> Option<&'static str> {
    Some(match head_and_tail {
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => "xz",
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..] => "bzip2",
        [0x04, 0x22, 0x4d, 0x18, ..] | [0x02, 0x21, 0x4c, 0x18, ..] => "lz4",
        [b'P', b'K', 3, 4, ..] => "zip",
        [0x1f, 0x9d, ..] => "compress (.Z)",
        [0x1e | 0x22..=0x27, 0xb5, 0x2f, 0xfd, ..] => "zstd of before version 0.8",
        [b'P', b'A', b'R', b'1', .., b'P', b'A', b'R', b'1'] => "Parquet",
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "UTF-16",
        _ => return None,
    })
}
