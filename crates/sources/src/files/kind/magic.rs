//! What is no text, by the bytes that a format begins with, and by what text never holds.

use migration::Compression;

use super::Head;
use super::known::{self, Known};

/// Formats whose first bytes can't be those of text.
pub(super) fn strong(head: Head<'_>) -> Option<&'static Known> {
    let packed = head.compression != Compression::None;
    let found = match head.bytes {
        [0x1f, 0x8b, ..] if packed => &known::TWICE,
        [0x28, 0xb5, 0x2f, 0xfd, ..] if packed => &known::TWICE_ZSTD,
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => &known::XZ,
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A', b'Y', b'&', b'S', b'Y', ..]
        | [b'B', b'Z', b'h', b'1'..=b'9', 0x17, 0x72, 0x45, 0x38, ..] => &known::BZIP2,
        // A dictionary of 64 KiB or more, and a length that is not known or below 16 TiB.
        [0x5d, 0, 0, _, _, length @ ..]
            if length.first_chunk::<8>().is_some_and(|length| {
                let length = u64::from_le_bytes(*length);
                length == u64::MAX || length < 1 << 44
            }) =>
        {
            &known::LZMA
        }
        [b'L', b'Z', b'I', b'P', 1, ..] => &known::LZIP,
        [0x04 | 0x02, 0x22 | 0x21, 0x4d | 0x4c, 0x18, ..] => &known::LZ4,
        [0x89, b'L', b'Z', b'O', 0, ..] => &known::LZO,
        [0xff, 6, 0, 0, b's', b'N', b'a', b'P', b'p', b'Y', ..] => &known::SNAPPY,
        [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, ..] => &known::SNAPPY_JAVA,
        [0x1f, 0x9d, ..] => &known::COMPRESS,
        [0x1e | 0x22..=0x27, 0xb5, 0x2f, 0xfd, ..] => &known::OLD_ZSTD,
        [b'P', b'K', 3, 4, ..] => zip(head.bytes),
        [b'P', b'K', 5, 6, ..] | [b'P', b'K', 7, 8, ..] => &known::ZIP,
        [b'7', b'z', 0xbc, 0xaf, 0x27, 0x1c, ..] => &known::SEVEN_ZIP,
        [b'R', b'a', b'r', b'!', 0x1a, 7, ..] => &known::RAR,
        [b'!', b'<', b'a', b'r', b'c', b'h', b'>', b'\n', ..] => &known::AR,
        [b'O', b'b', b'j', 1, ..] => &known::AVRO,
        [b'A', b'R', b'R', b'O', b'W', b'1', 0, 0, ..] => &known::ARROW,
        [0xff, 0xff, 0xff, 0xff, _, _, 0, 0, ..] => &known::ARROW_STREAM,
        [b'S', b'Q', b'L', b'i', b't', b'e', b' ', b'f', b'o', b'r', b'm', b'a', b't', b' ', b'3', 0, ..] => &known::SQLITE,
        [_, _, _, _, _, _, _, _, b'D', b'U', b'C', b'K', ..] if !is_text(head.bytes) => &known::DUCKDB,
        [b'P', b'G', b'D', b'M', b'P', 1, ..] => &known::PG_DUMP,
        [b'R', b'E', b'D', b'I', b'S', b'0', b'0', _, _, 0x80..=0xff, ..] => &known::REDIS,
        [b'S', b'E', b'Q', 0..=6, ..] => &known::SEQUENCE_FILE,
        [0x89, b'H', b'D', b'F', b'\r', b'\n', ..] => &known::HDF5,
        [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => &known::NUMPY,
        [0xac, 0xed, 0, 5, ..] => &known::JAVA,
        [0x80, 2..=5, 0x28 | 0x5d | 0x7d | 0x63 | 0x8a | 0x95, ..] => &known::PICKLE,
        [0xd0, 0xcf, 0x11, 0xe0, 0xa1, 0xb1, ..] => &known::OLD_OFFICE,
        [b'%', b'P', b'D', b'F', b'-', b'1' | b'2', b'.', ..] => &known::PDF,
        [0x89, b'P', b'N', b'G', b'\r', b'\n', ..]
        | [0xff, 0xd8, 0xff, ..]
        | [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..]
        | [b'I', b'I', b'*', 0, ..]
        | [b'M', b'M', 0, b'*', ..] => &known::IMAGE,
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => &known::IMAGE,
        [0x7f, b'E', b'L', b'F', ..] => &known::PROGRAM,
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => &known::UTF32,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => &known::UTF16,
        bytes if is_bson(bytes) => &known::BSON,
        bytes if is_tar(bytes) => &known::TAR,
        bytes => return wide(bytes),
    };
    Some(found)
}

/// Formats that begin with letters, of bytes that are no text; and what else is no text.
pub(super) fn weak(bytes: &[u8]) -> Option<&'static Known> {
    if is_text(bytes) {
        let zeros = memchr::memchr(0, bytes).is_some();
        return zeros.then_some(&known::ZEROS);
    }
    Some(match bytes {
        [b'P', b'A', b'R', b'1' | b'E', ..] => &known::PARQUET,
        [b'O', b'R', b'C', ..] => &known::ORC,
        [b'F', b'E', b'A', b'1', ..] => &known::ARROW,
        [b'M', b'Z', ..] => &known::PROGRAM,
        [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => &known::ZLIB,
        _ => &known::BINARY,
    })
}

/// How many of these bytes may be what text does not hold: one in this many.
const STRAY: usize = 20;

/// Whether bytes are text, in whatever encoding of single bytes: hardly any zero or control byte is among them.
/// Compressed bytes have one in nine.
fn is_text(bytes: &[u8]) -> bool {
    // What parts fields in some logs and exports (0x01, 0x1c to 0x1f) is text.
    let control = |byte: u8| matches!(byte, 0 | 2..=7 | 0x0e..=0x1a | 0x7f);
    let strays = bytes.iter().filter(|byte| control(**byte)).count();
    strays * STRAY < bytes.len().max(STRAY + 1)
}

fn zip(bytes: &[u8]) -> &'static Known {
    let name = bytes.get(30..).unwrap_or_default();
    if name.starts_with(b"[Content_Types].xml") || name.starts_with(b"_rels/") {
        &known::OFFICE
    } else if name.starts_with(b"META-INF/") {
        &known::JAR
    } else {
        &known::ZIP
    }
}

/// A document: its length, and an element's type and name.
fn is_bson(bytes: &[u8]) -> bool {
    let Some((length, rest)) = bytes.split_first_chunk::<4>() else { return false };
    let length = u32::from_le_bytes(*length) as usize;
    let [kind, b'_', b'i', b'd', 0, ..] = *rest else { return false };
    (12..=16 << 20).contains(&length) && kind < 0x20 && bytes.get(length - 1).is_none_or(|last| *last == 0)
}

/// Whether the checksum of a tar's first header holds.
fn is_tar(bytes: &[u8]) -> bool {
    let Some(header) = bytes.first_chunk::<512>() else { return false };
    let field = header[148..156].split(|byte| matches!(byte, 0 | b' ')).find(|part| !part.is_empty());
    let sum = field.and_then(|field| std::str::from_utf8(field).ok()).and_then(|field| u32::from_str_radix(field, 8).ok());
    let blanks = header.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    header[0] != 0 && sum == Some(blanks.map(u32::from).sum())
}

/// How many letters are looked at.
const LETTERS: usize = 2000;

/// UTF-16 and UTF-32 without a byte order mark: text whose letters are mostly of the first 256, with zero bytes
/// between.
fn wide(bytes: &[u8]) -> Option<&'static Known> {
    if memchr::memchr(0, &bytes[..bytes.len().min(64)]).is_none() || bytes.len() < 8 {
        return None;
    }
    let letters = |width: usize, value: fn(&[u8]) -> u32| {
        let all = bytes.chunks_exact(width).take(LETTERS).map(value);
        let (mut narrow, mut wrong, mut count) = (0, 0, 0);
        for letter in all {
            let control = letter < 0x20 && !matches!(letter, 9 | 10 | 13) || (0x7f..0xa0).contains(&letter);
            wrong += usize::from(control || letter > 0x10_ffff || letter == 0xfffe || letter == 0xffff);
            narrow += usize::from(letter < 0x80);
            count += 1;
        }
        count > 0 && wrong == 0 && narrow * 10 >= count
    };
    let low = |letter: &[u8]| letter.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let high = |letter: &[u8]| letter.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    let found = [
        (4, low as fn(&[u8]) -> u32, &known::UTF32_LE),
        (4, high, &known::UTF32_BE),
        (2, low, &known::UTF16_LE),
        (2, high, &known::UTF16_BE),
    ];
    found.into_iter().find(|(width, value, _)| letters(*width, *value)).map(|(.., known)| known)
}
