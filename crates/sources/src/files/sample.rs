//! A guess at how many lines a file has, and how far it unpacks, without reading it.

use std::fs::File;
use std::io;

use migration::SourceObject;

use super::object::{SAMPLE_BYTES, read_at};
use super::unpack::{Format, Trouble, Unpacked, Unpacker};

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

/// Lines per stored byte of a plain file. `head_and_tail` is what the fingerprint covers: all of a small file.
pub(super) fn plain_density(file: &File, object: &SourceObject, head_and_tail: &[u8]) -> io::Result<f64> {
    if object.known_bytes() <= 2 * SAMPLE_BYTES {
        return Ok(per_byte(lines(head_and_tail), head_and_tail.len()));
    }
    let mut sample = head_and_tail.to_vec();
    for place in 1..=PLACES {
        read_at(file, object.known_bytes() / (PLACES + 1) * place, PLACE_BYTES, &mut sample)?;
    }
    Ok(per_byte(newlines(&sample).max(1), sample.len()))
}

/// What the head of a compressed file unpacks to.
pub(super) struct Unpacking {
    /// Lines per stored byte.
    pub(super) density: f64,
    /// Bytes for each stored byte.
    pub(super) ratio: f64,
    /// The first 64 KiB.
    pub(super) head: Vec<u8>,
    pub(super) end: StreamEnd,
}

/// How far a compressed file was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StreamEnd {
    /// To its end, and every checksum held.
    Sound,
    /// To where it is damaged, or cut off.
    Broken,
    /// Not to its end.
    NotReached,
}

/// Unpacks what the head of a compressed file gives: [`UNPACKED_BYTES`] at most, or `most`.
pub(super) fn unpack(file: &File, object: &SourceObject, most: u64) -> io::Result<Option<Unpacking>> {
    let Some(format) = Format::of(object.compression) else { return Ok(None) };
    let mut packed = Vec::new();
    read_at(file, 0, PACKED_BYTES, &mut packed)?;
    let all = packed.len() as u64 == object.known_bytes();
    let mut unpacker = Unpacker::new(&packed[..], format, SAMPLED_WINDOW)?;
    let mut piece = vec![0; 64 << 10];
    let (mut lines, mut unpacked, mut last, mut head) = (0, 0, b'\n', Vec::new());
    let mut end = StreamEnd::NotReached;
    // What was given and taken when all that was taken was given: a block may be taken at once and given in pieces.
    let mut even = (0, 0);
    while unpacked < most.min(UNPACKED_BYTES) {
        let before = (unpacked, unpacker.taken());
        let step = unpacker.step(&mut piece);
        if unpacker.taken() > before.1 {
            even = before;
        }
        match step {
            Ok(Unpacked::Bytes(n)) => {
                let (given, room) = (&piece[..n], SAMPLE_BYTES as usize - head.len());
                lines += newlines(given);
                last = given.last().copied().unwrap_or(last);
                unpacked += n as u64;
                head.extend_from_slice(&given[..n.min(room)]);
            }
            Ok(Unpacked::End) => {
                end = if all { StreamEnd::Sound } else { StreamEnd::NotReached };
                break;
            }
            Err(trouble) => {
                // That the head ends in the middle of a stream says nothing of the file.
                let broken = match trouble {
                    Trouble::Corrupt(_) | Trouble::Trailing(_) => true,
                    Trouble::CutOff => all,
                    Trouble::Window(_) | Trouble::File(_) => false,
                };
                end = if broken { StreamEnd::Broken } else { StreamEnd::NotReached };
                break;
            }
        }
    }
    let taken = unpacker.taken();
    let density = per_byte(lines + usize::from(last != b'\n'), taken as usize);
    let (given, taken) = if end == StreamEnd::NotReached && even.0 > 0 { even } else { (unpacked, taken) };
    Ok(Some(Unpacking { density, ratio: given as f64 / taken.max(1) as f64, head, end }))
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
