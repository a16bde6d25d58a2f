//! A guess at how many lines a file has, without reading it.

use std::fs::File;
use std::io::{self, Read};

use migration::{Compression, SourceObject};

use super::object::{SAMPLE_BYTES, read_at};
use super::stream;

/// How many places between head and tail of a large plain file are looked at.
const PLACES: u64 = 6;
/// How much at each.
const PLACE_BYTES: u64 = 16 << 10;
/// How much of a compressed file's head is looked at: some zstd blocks.
const PACKED_BYTES: u64 = 512 << 10;
/// And as much of what it unpacks to.
const UNPACKED_BYTES: u64 = 8 << 20;

/// Lines per stored byte. `head_and_tail` is what the fingerprint covers: all of a small file.
pub(super) fn density(file: &mut File, object: &SourceObject, head_and_tail: &[u8]) -> io::Result<f64> {
    match object.compression {
        Compression::None if object.bytes <= 2 * SAMPLE_BYTES => Ok(per_byte(lines(head_and_tail), head_and_tail.len())),
        Compression::None => {
            let mut sample = head_and_tail.to_vec();
            for place in 1..=PLACES {
                read_at(file, object.bytes / (PLACES + 1) * place, PLACE_BYTES, &mut sample)?;
            }
            Ok(per_byte(newlines(&sample).max(1), sample.len()))
        }
        compressed => {
            let mut head = Vec::new();
            read_at(file, 0, PACKED_BYTES, &mut head)?;
            Ok(compressed_density(&head, compressed))
        }
    }
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
fn compressed_density(head: &[u8], compression: Compression) -> f64 {
    let mut left = head;
    let mut unpacked = Vec::new();
    {
        let Ok(mut decoder) = stream::decoder(&mut left, compression) else { return 0.0 };
        let mut piece = [0; 8 << 10];
        while (unpacked.len() as u64) < UNPACKED_BYTES {
            match decoder.read(&mut piece) {
                Ok(0) | Err(_) => break,
                Ok(n) => unpacked.extend_from_slice(&piece[..n]),
            }
        }
    }
    per_byte(lines(&unpacked), head.len() - left.len())
}
