//! A guess at how many lines a file has, without reading it.

use std::fs::File;
use std::io;

use migration::{Compression, SourceObject};

use super::object::{SAMPLE_BYTES, read_at};
use super::unpack::{Format, Unpacked, Unpacker};

/// How many places between head and tail of a large plain file are looked at.
const PLACES: u64 = 6;
/// How much at each.
const PLACE_BYTES: u64 = 16 << 10;
/// How much of a compressed file's head is looked at: some zstd blocks.
const PACKED_BYTES: u64 = 512 << 10;
/// And as much of what it unpacks to.
const UNPACKED_BYTES: u64 = 8 << 20;
/// A guess is not worth a larger window.
const SAMPLED_WINDOW: u64 = 128 << 20;

/// Lines per stored byte. `head_and_tail` is what the fingerprint covers: all of a small file.
pub(super) fn density(file: &mut File, object: &SourceObject, head_and_tail: &[u8]) -> io::Result<f64> {
    match object.compression {
        Compression::None if object.known_bytes() <= 2 * SAMPLE_BYTES => {
            Ok(per_byte(lines(head_and_tail), head_and_tail.len()))
        }
        Compression::None => {
            let mut sample = head_and_tail.to_vec();
            for place in 1..=PLACES {
                read_at(file, object.known_bytes() / (PLACES + 1) * place, PLACE_BYTES, &mut sample)?;
            }
            Ok(per_byte(newlines(&sample).max(1), sample.len()))
        }
        Compression::Gzip | Compression::Zstd => {
            let mut head = Vec::new();
            read_at(file, 0, PACKED_BYTES, &mut head)?;
            Ok(Format::of(object.compression).map_or(0.0, |format| packed_density(&head, format)))
        }
    }
}

/// Bytes for each stored byte of a compressed file, by its head.
pub(super) fn unpacked(object: &SourceObject) -> io::Result<f64> {
    let mut head = Vec::new();
    read_at(&mut File::open(&object.path)?, 0, PACKED_BYTES, &mut head)?;
    let Some(mut unpacker) =
        Format::of(object.compression).and_then(|format| Unpacker::new(&head[..], format, SAMPLED_WINDOW).ok())
    else {
        return Ok(1.0);
    };
    let mut piece = vec![0; 64 << 10];
    let mut unpacked = 0u64;
    while unpacked < UNPACKED_BYTES {
        match unpacker.step(&mut piece) {
            Ok(Unpacked::Bytes(n)) => unpacked += n as u64,
            Ok(Unpacked::End) | Err(_) => break,
        }
    }
    Ok(unpacked as f64 / unpacker.taken().max(1) as f64)
}

/// How many lines some bytes hold, if they are a whole file.
fn lines(bytes: &[u8]) -> usize {
    newlines(bytes) + usize::from(bytes.last().is_some_and(|&last| last != b'\n'))
}

fn newlines(bytes: &[u8]) -> usize {
    memchr::memchr_iter(b'\n', bytes).count()
}

fn per_byte(lines: usize, bytes: usize) -> f64 {
    lines as f64 / bytes.max(1) as f64
}

/// Unpacks what the head alone gives; that the head ends in the middle of a stream is no error here.
fn packed_density(head: &[u8], format: Format) -> f64 {
    let Ok(mut unpacker) = Unpacker::new(head, format, SAMPLED_WINDOW) else { return 0.0 };
    let mut piece = vec![0; 64 << 10];
    let (mut lines, mut unpacked, mut last) = (0, 0, b'\n');
    while unpacked < UNPACKED_BYTES {
        match unpacker.step(&mut piece) {
            Ok(Unpacked::Bytes(n)) => {
                lines += newlines(&piece[..n]);
                last = piece[..n].last().copied().unwrap_or(last);
                unpacked += n as u64;
            }
            Ok(Unpacked::End) | Err(_) => break,
        }
    }
    per_byte(lines + usize::from(last != b'\n'), unpacker.taken() as usize)
}
