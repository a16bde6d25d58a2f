//! What a file is, and what proves that it did not change.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use migration::job::WindowLimit;
use migration::{Compression, Plan, SourceObject};
use xxhash_rust::xxh3::xxh3_128;

use super::{changed, fail, sample, stream, unpack};
use pipeline::SourceError;

/// How much of a file's head and tail its fingerprint covers.
pub(crate) const SAMPLE_BYTES: u64 = 64 << 10;

/// The longest header of a zstd frame.
const HEAD_BYTES: u64 = 18;

/// A file as planning sees it.
pub(crate) struct Seen {
    pub(crate) object: SourceObject,
    /// Lines per stored byte, judged by a few samples; all of a small file.
    pub(crate) density: f64,
    /// What is wrong with its last line, if it was probably cut off and could be seen.
    pub(crate) cut_off: Option<String>,
}

/// Looks at a file: its facts, and a guess at how many lines it has.
pub(crate) fn look(path: &Path) -> Result<Seen, SourceError> {
    let (mut file, object, head_and_tail) = read_facts(path)?;
    if let Some(format) = foreign(&head_and_tail) {
        return Err(fail(
            path,
            format_args!("is {format}, which is not read: lines of UTF-8 are, plain or in gzip or zstd; convert it"),
        ));
    }
    let density = sample::density(&mut file, &object, &head_and_tail).map_err(|e| unreadable(path, e))?;
    let cut_off = last_line(&object, &head_and_tail).and_then(|line| crate::jsonl::cut_off(path, line));
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

/// How a planned file differs from what is there now, by size, modification time and fingerprint.
pub(crate) fn difference(planned: &SourceObject) -> Option<String> {
    let meta = match std::fs::metadata(&planned.path) {
        Ok(meta) => meta,
        Err(error) => return Some(format!("was {} bytes long when planned and is gone: {error}", planned.known_bytes())),
    };
    facts_differ(planned, &meta).or_else(|| match read_facts(&planned.path) {
        Ok((_, now, _)) if now.fingerprint == planned.fingerprint => None,
        Ok(_) => Some("has the planned size and time, but other bytes (first or last 64 KiB)".to_owned()),
        Err(error) => Some(format!("can't be compared: {error}")),
    })
}

/// Refuses a plan with a zstd file whose first frame needs a larger window than a worker has room for.
pub(crate) fn check_windows(plan: &Plan, windows: WindowLimit) -> Result<(), SourceError> {
    for object in plan.objects.iter().filter(|object| object.compression == Compression::Zstd) {
        let mut head = Vec::new();
        let read = File::open(&object.path).and_then(|mut file| read_at(&mut file, 0, HEAD_BYTES, &mut head));
        read.map_err(|e| unreadable(&object.path, e))?;
        if let Some(window) = unpack::window(&head).filter(|window| *window > windows.most) {
            return Err(fail(&object.path, stream::no_room(window, windows)));
        }
    }
    Ok(())
}

/// Compares what the file system says with the plan.
pub(crate) fn check(object: &SourceObject, meta: &Metadata) -> Result<(), SourceError> {
    facts_differ(object, meta).map_or(Ok(()), |what| Err(changed(&object.path, what)))
}

fn facts_differ(object: &SourceObject, meta: &Metadata) -> Option<String> {
    let (now, planned) = (meta.len(), object.known_bytes());
    if now != planned {
        let how = if now < planned { "shorter" } else { "longer" };
        return Some(format!("is {how} than planned: {now} bytes instead of {planned}"));
    }
    let same = modified_ns(meta) == object.modified_ns;
    (!same).then(|| "was modified or replaced since the plan (its modification time differs)".to_owned())
}

pub(crate) fn unreadable(path: &Path, error: std::io::Error) -> SourceError {
    fail(path, format_args!("can't be read: {error}"))
}

/// The facts of a file as it is now.
pub(crate) fn facts(path: &Path) -> Result<SourceObject, SourceError> {
    read_facts(path).map(|(_, object, _)| object)
}

/// The open file, its facts, and the bytes that the fingerprint covers.
fn read_facts(path: &Path) -> Result<(File, SourceObject, Vec<u8>), SourceError> {
    let mut file = File::open(path).map_err(|e| unreadable(path, e))?;
    let meta = file.metadata().map_err(|e| unreadable(path, e))?;
    let bytes = meta.len();
    let mut covered = Vec::new();
    let ends = [(0, SAMPLE_BYTES), (bytes.saturating_sub(SAMPLE_BYTES).max(SAMPLE_BYTES), SAMPLE_BYTES)];
    let read = ends.into_iter().try_for_each(|(start, len)| read_at(&mut file, start, len, &mut covered));
    read.map_err(|e| unreadable(path, e))?;
    let compression = compression(&covered);
    let object = SourceObject {
        path: path.to_owned(),
        bytes: Some(bytes),
        modified_ns: modified_ns(&meta),
        fingerprint: xxh3_128(&covered),
        compression,
        splittable: compression == Compression::None,
        record_starts: Vec::new(),
    };
    Ok((file, object, covered))
}

/// Appends up to `len` bytes from `start`; fewer at the file's end.
pub(crate) fn read_at(file: &mut File, start: u64, len: u64, into: &mut Vec<u8>) -> std::io::Result<()> {
    file.seek(SeekFrom::Start(start))?;
    file.take(len).read_to_end(into).map(drop)
}

fn modified_ns(meta: &Metadata) -> i64 {
    meta.mtime().saturating_mul(1_000_000_000).saturating_add(meta.mtime_nsec())
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

/// By the first bytes. A zstd stream may begin with a skippable frame, as parallel compressors write it.
fn compression(head: &[u8]) -> Compression {
    match head {
        [0x1f, 0x8b, ..] => Compression::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Compression::Zstd,
        _ => Compression::None,
    }
}
