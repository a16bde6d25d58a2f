//! Streams made by the formats' libraries and tools, and by hand where those do not go.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::prelude::*;

use super::*;
use crate::jsonl::tests::{Folder, gzip, zstd};

const ANY_WINDOW: u64 = 2 << 30;

/// Gives at most this number of bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = into.len().min(self.1).min(self.0.len());
        into[..n].copy_from_slice(&self.0[..n]);
        self.0 = &self.0[n..];
        Ok(n)
    }
}

/// Unpacks a stream; with how many zero bytes were padding.
fn unpack_in(packed: &[u8], format: Format, drip: usize, out: usize) -> Result<(Vec<u8>, u64), Trouble> {
    let mut unpacker = Unpacker::new(Drip(packed, drip), format, ANY_WINDOW)?;
    let (mut all, mut piece) = (Vec::new(), vec![0; out]);
    loop {
        let taken = unpacker.taken();
        match unpacker.step(&mut piece)? {
            Unpacked::Bytes(n) => all.extend_from_slice(&piece[..n]),
            Unpacked::End => break,
        }
        assert!(unpacker.taken() - taken <= STEP_BYTES + (64 << 10), "a step is short");
    }
    assert_eq!(unpacker.step(&mut piece)?, Unpacked::End);
    assert_eq!(unpacker.taken(), packed.len() as u64);
    Ok((all, unpacker.padding()))
}

fn unpack(packed: &[u8], format: Format) -> Result<(Vec<u8>, u64), Trouble> {
    unpack_in(packed, format, usize::MAX, 64 << 10)
}

/// A gzip member with these fields in its header.
fn member(content: &[u8], extra: Option<&[u8]>, name: Option<&[u8]>, comment: Option<&[u8]>, checked: bool) -> Vec<u8> {
    let flags = u8::from(checked) << 1
        | u8::from(extra.is_some()) << 2
        | u8::from(name.is_some()) << 3
        | u8::from(comment.is_some()) << 4;
    let mut bytes = vec![0x1f, 0x8b, 8, flags | 1, 0, 0, 0, 0, 0, 3];
    if let Some(extra) = extra {
        bytes.extend(u16::try_from(extra.len()).unwrap().to_le_bytes());
        bytes.extend(extra);
    }
    for text in [name, comment].into_iter().flatten() {
        bytes.extend(text);
        bytes.push(0);
    }
    if checked {
        let mut crc = flate2::Crc::new();
        crc.update(&bytes);
        bytes.extend((crc.sum() as u16).to_le_bytes());
    }
    bytes.extend(&gzip([content])[10..]);
    bytes
}

/// A zstd frame that is to be skipped.
fn skipped(number: u8, content: &[u8]) -> Vec<u8> {
    [&[0x50 + number, 0x2a, 0x4d, 0x18][..], &(content.len() as u32).to_le_bytes(), content].concat()
}

/// A frame that says that it needs the window of this descriptor.
fn with_window(content: &[u8], descriptor: u8) -> Vec<u8> {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    let mut frame = encoder.finish().unwrap();
    assert_eq!(frame[4] & 0x20, 0, "it has a window");
    frame[5] = descriptor;
    frame
}

#[test]
fn headers_of_gzip_members_may_have_every_field_at_any_length() {
    let long = vec![b'n'; 300_000];
    for fields in 0..16u8 {
        let on = |bit: u8| fields & 1 << bit != 0;
        for (extra, text) in [(&b""[..], &b""[..]), (b"AB\x02\0xy", b"a.jsonl"), (&long[..65535], &long)] {
            let parts = [
                member(b"one\n", on(0).then_some(extra), on(1).then_some(text), on(2).then_some(text), on(3)),
                member(b"two\n", None, on(1).then_some(b"x"), None, on(3)),
            ];
            let packed = parts.concat();
            assert_eq!(unpack(&packed, Format::Gzip).unwrap(), (b"one\ntwo\n".to_vec(), 0), "{fields:04b}");
            for cut in (1..60).chain([packed.len() - 1]).filter(|cut| *cut < packed.len() && *cut != parts[0].len()) {
                assert!(matches!(unpack(&packed[..cut], Format::Gzip), Err(Trouble::CutOff)), "{fields:04b} {cut}");
            }
        }
    }
    let mut wrong = member(b"x", None, Some(b"name"), None, true);
    wrong[12] ^= 1;
    assert!(matches!(unpack(&wrong, Format::Gzip), Err(Trouble::Corrupt(what)) if what.contains("header's checksum")));
    for (at, value, words) in [(2, 7, "method 7"), (3, 0x20, "flags 0x20")] {
        let mut unknown = member(b"x", None, None, None, false);
        unknown[at] = value;
        assert!(matches!(unpack(&unknown, Format::Gzip), Err(Trouble::Corrupt(what)) if what.contains(words)));
    }
}

#[test]
fn zeros_are_padding_and_anything_else_is_not() {
    let texts = [&b"one\n"[..], b"", b"two\n"];
    for (format, parts) in [(Format::Gzip, texts.map(|text| gzip([text]))), (Format::Zstd, texts.map(|text| zstd([text])))] {
        let zeros = vec![0; 70_000];
        let [one, none, two] = &parts;
        let padded = [&one[..], &zeros, none, &[0], two, &zeros].concat();
        assert_eq!(unpack(&padded, format).unwrap(), (b"one\ntwo\n".to_vec(), 140_001), "{format}");
        for garbage in [&b"x"[..], b"\n", b"{\"n\":1}\n", b"\0\0x", b"\x1f\x8c", b"\x50\x2a\x4e"] {
            let at = one.len() as u64 + garbage.iter().take_while(|byte| **byte == 0).count() as u64;
            let packed = [&one[..], garbage].concat();
            assert!(matches!(unpack(&packed, format), Err(Trouble::Trailing(place)) if place == at), "{format} {garbage:?}");
        }
        // Zeros before the first member are none.
        assert!(matches!(unpack(&[&[0], &one[..]].concat(), format), Err(Trouble::Trailing(0))));
    }
    assert!(matches!(unpack(&[&gzip([&b"x"[..]])[..], &[0x1f]].concat(), Format::Gzip), Err(Trouble::CutOff)));
    assert!(matches!(unpack(&[&zstd([&b"x"[..]])[..], &[0x53, 0x2a]].concat(), Format::Zstd), Err(Trouble::CutOff)));
}

#[test]
fn frames_without_data_cost_short_steps() {
    let zeros = vec![0; 3 << 20];
    let many_members = [gzip([&b"one\n"[..]]), gzip([&b""[..]]).repeat(100_000), gzip([&b"two\n"[..]])].concat();
    assert_eq!(unpack(&many_members, Format::Gzip).unwrap().0, b"one\ntwo\n");
    let frames = [
        skipped(0, b""),
        zstd([&b"one\n"[..]]),
        skipped(15, &zeros),
        skipped(3, b"x").repeat(100_000),
        zstd([&b""[..]]).repeat(100_000),
    ];
    let frames = [&frames.concat()[..], &zstd([&b"two\n"[..]])].concat();
    assert_eq!(unpack(&frames, Format::Zstd).unwrap().0, b"one\ntwo\n");
    assert_eq!(unpack(&skipped(1, b"only this"), Format::Zstd).unwrap().0, b"");
    assert!(matches!(unpack(&skipped(1, b"cut")[..9], Format::Zstd), Err(Trouble::CutOff)));
}

/// What comes out before a stream's end or its error.
fn sound(packed: &[u8], format: Format, out: usize) -> (Vec<u8>, Option<Trouble>) {
    let mut unpacker = Unpacker::new(packed, format, ANY_WINDOW).unwrap();
    let (mut all, mut piece) = (Vec::new(), vec![0; out]);
    loop {
        match unpacker.step(&mut piece) {
            Ok(Unpacked::Bytes(n)) => all.extend_from_slice(&piece[..n]),
            Ok(Unpacked::End) => return (all, None),
            Err(trouble) => return (all, Some(trouble)),
        }
    }
}

/// A frame with a checksum.
fn checked(content: &[u8]) -> Vec<u8> {
    let mut encoder = ::zstd::stream::Encoder::new(Vec::new(), 1).unwrap();
    encoder.include_checksum(true).unwrap();
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// One wrong bit, wherever it is: nothing that is wrong comes out of a short stream, and nothing of the parts before is
/// lost. A bit that hides where a part ends makes it look cut off.
#[test]
fn nothing_of_a_damaged_part_is_taken_and_everything_before_it_is() {
    let first: Vec<u8> = (0..100).flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect();
    let second: Vec<u8> = (100..300).flat_map(|n| format!("{{\"n\":{n},\"m\":{}}}\n", n * 7919).into_bytes()).collect();
    let whole = [&first[..], &second].concat();
    for (format, parts) in
        [(Format::Gzip, [gzip([&first[..]]), gzip([&second[..]])]), (Format::Zstd, [checked(&first), checked(&second)])]
    {
        let mut errors = 0;
        let packed = parts.concat();
        for bit in parts[0].len() * 8..packed.len() * 8 {
            let mut broken = packed.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            let (bytes, trouble) = sound(&broken, format, 64 << 10);
            assert!(bytes.starts_with(&first), "{format}, bit {bit}");
            assert!(whole.starts_with(&bytes) || matches!(trouble, Some(Trouble::CutOff)), "{format}, bit {bit}");
            assert!(trouble.is_some() || bytes == whole, "{format}, bit {bit}");
            errors += usize::from(matches!(trouble, Some(Trouble::Corrupt(_))));
        }
        assert!(errors > parts[1].len() * 6, "{format}: {errors}");
    }
}

#[test]
fn every_window_is_read_that_is_allowed() {
    let text = b"{\"n\":1}\n".repeat(10_000);
    for log in 10..=31u8 {
        // A smaller one than the content's is a lie that the library finds.
        if log >= 17 {
            let frame = with_window(&text, (log - 10) << 3);
            assert_eq!(window(&frame), Some(1 << log));
            assert_eq!(unpack(&frame, Format::Zstd).unwrap().0, text, "{log}");
        }
    }
    let frame = with_window(&text, (20 << 3) | 3);
    assert_eq!(window(&frame), Some((1 << 30) / 8 * 11));
    let mut limited = Unpacker::new(&frame[..], Format::Zstd, 1 << 30).unwrap();
    let refused = limited.step(&mut [0; 1000]);
    assert!(matches!(refused, Err(Trouble::Window(bytes)) if bytes == (1 << 30) / 8 * 11), "{refused:?}");
    // Without a window of its own a frame needs its content's size.
    for len in [0usize, 200, 256, 65_791, 65_792, 1 << 20] {
        let frame = ::zstd::bulk::compress(&vec![b'x'; len], 1).unwrap();
        let needed = if frame[4] & 0x20 == 0 { window(&frame).unwrap() } else { len as u64 };
        assert_eq!(window(&frame), Some(needed), "{len}");
        assert!(needed >= len as u64 || len > 1 << 19);
    }
    assert_eq!(window(b"\x28\xb5\x2f\xfd"), None);
}

/// What a tool makes of a file; `None` where it is not installed.
fn made_by(tool: &[&str], file: &Path) -> Option<Vec<u8>> {
    let input = std::fs::File::open(file).unwrap();
    let output = Command::new(tool[0]).args(&tool[1..]).stdin(input).stderr(Stdio::null()).output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn what_the_tools_write_is_read() {
    let text: Vec<u8> = (0..40_000).flat_map(|n| format!("{{\"n\":{n}}}\n").into_bytes()).collect();
    let folder = Folder::new();
    let file = folder.write("a.jsonl", &text);
    let tools: [(&[&str], Format); 7] = [
        (&["gzip", "-1c"], Format::Gzip),
        (&["gzip", "-9c", "--rsyncable"], Format::Gzip),
        (&["zstd", "-q", "--long=31", "-c"], Format::Zstd),
        (&["zstd", "-q", "--ultra", "-22", "-c"], Format::Zstd),
        (&["zstd", "-q", "--no-check", "--fast=5", "-c"], Format::Zstd),
        (&["zstd", "-q", "-T2", "-B65536", "-c"], Format::Zstd),
        (&["pzstd", "-q", "-p2", "-c"], Format::Zstd),
    ];
    for (tool, format) in tools {
        let Some(packed) = made_by(tool, &file) else { continue };
        assert!(unpack(&packed, format).unwrap() == (text.clone(), 0), "{tool:?}");
        let twice = unpack(&packed.repeat(2), format).unwrap().0;
        assert!(twice == text.repeat(2), "{tool:?}");
    }
}

/// Makes a part of a stream.
type Pack = fn(&[u8]) -> Vec<u8>;

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_does_not_matter_how_the_bytes_come_and_go(
        texts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..6),
        zipped in any::<bool>(),
        between in 0usize..3,
        drip in 1usize..50,
        out in 1usize..500,
    ) {
        let (format, pack): (_, Pack) = match zipped {
            true => (Format::Gzip, |text| gzip([text])),
            false => (Format::Zstd, |text| [skipped(2, text), zstd([text])].concat()),
        };
        let mut packed = pack(b"first");
        for text in &texts {
            packed.extend(vec![0; between]);
            packed.extend(pack(text));
        }
        let (unpacked, padding) = unpack_in(&packed, format, drip, out).unwrap();
        prop_assert_eq!(unpacked, [b"first".to_vec(), texts.concat()].concat());
        prop_assert_eq!(padding, (texts.len() * between) as u64);
    }
}
