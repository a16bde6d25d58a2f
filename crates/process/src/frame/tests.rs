//! Frames over real pipes: whole, torn and corrupted.

use std::os::fd::OwnedFd;

use proptest::prelude::*;

use super::{Filled, Flushed, FrameError, FrameReader, FrameWriter, HEADER_BYTES, MAX_FRAME, encode};
use crate::pipe::{Pipe, set_nonblocking};

type Frames = Vec<(u8, Vec<u8>)>;

fn wire(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (kind, payload) in frames {
        encode(&mut bytes, *kind, payload);
    }
    bytes
}

/// A read end that gives exactly these bytes and then end of file. They must fit into a pipe.
fn pipe_with(bytes: &[u8]) -> OwnedFd {
    let pipe = Pipe::new().unwrap();
    set_nonblocking(&pipe.write).unwrap();
    if !bytes.is_empty() {
        assert_eq!(nix::unistd::write(&pipe.write, bytes), Ok(bytes.len()));
    }
    pipe.read
}

/// Everything that a reader gives for these bytes, and the error it stopped at.
fn read_all(bytes: &[u8], limit: usize) -> (Frames, Option<FrameError>) {
    let fd = pipe_with(bytes);
    let mut reader = FrameReader::with_limit(limit);
    let mut frames = Frames::new();
    loop {
        let filled = reader.fill(&fd).unwrap();
        loop {
            match reader.next_frame() {
                Ok(Some((kind, payload))) => frames.push((kind, payload.to_vec())),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(reader.next_frame(), Err(error.clone()), "an error stays");
                    assert_eq!(reader.fill(&fd).unwrap(), Filled::Full);
                    return (frames, Some(error));
                }
            }
        }
        if filled == Filled::Eof {
            return (frames, None);
        }
    }
}

fn some_frames() -> impl Strategy<Value = Frames> {
    prop::collection::vec((any::<u8>(), prop::collection::vec(any::<u8>(), 0..200)), 1..8)
}

proptest! {
    #[test]
    fn what_was_queued_comes_out(frames in some_frames()) {
        let pipe = Pipe::new().unwrap();
        let mut writer = FrameWriter::new();
        for (kind, payload) in &frames {
            writer.queue(*kind, payload).unwrap();
        }
        prop_assert_eq!(writer.flush(&pipe.write).unwrap(), Flushed::Done);
        prop_assert_eq!(writer.queued_bytes(), 0);
        let mut reader = FrameReader::new();
        reader.fill(&pipe.read).unwrap();
        let mut seen = Frames::new();
        while let Some((kind, payload)) = reader.next_frame().unwrap() {
            seen.push((kind, payload.to_vec()));
        }
        prop_assert_eq!(seen, frames);
    }

    #[test]
    fn a_torn_tail_is_dropped_and_the_frames_before_it_are_whole(frames in some_frames(), cut in any::<prop::sample::Index>()) {
        let bytes = wire(&frames);
        let cut = cut.index(bytes.len());
        let (seen, error) = read_all(&bytes[..cut], MAX_FRAME);
        prop_assert_eq!(error, None);
        let whole = (0..=frames.len()).rev().find(|n| wire(&frames[..*n]).len() <= cut).unwrap();
        prop_assert_eq!(&seen[..], &frames[..whole]);
    }

    #[test]
    fn a_corrupted_byte_never_gives_a_wrong_frame(
        frames in some_frames(),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..,
    ) {
        let mut bytes = wire(&frames);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        let intact = (0..=frames.len()).rev().find(|n| wire(&frames[..*n]).len() <= at).unwrap();
        let (seen, _) = read_all(&bytes, MAX_FRAME);
        prop_assert_eq!(&seen[..], &frames[..intact]);
    }

    #[test]
    fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000), limit in 0_usize..100) {
        let (frames, _) = read_all(&bytes, limit);
        prop_assert!(frames.iter().all(|(_, payload)| payload.len() <= limit));
    }

    #[test]
    fn pieces_of_any_size_make_the_same_frames(frames in some_frames(), piece in 1_usize..50) {
        let pipe = Pipe::new().unwrap();
        set_nonblocking(&pipe.read).unwrap();
        let mut reader = FrameReader::new();
        let mut seen = Frames::new();
        for bytes in wire(&frames).chunks(piece) {
            nix::unistd::write(&pipe.write, bytes).unwrap();
            prop_assert_eq!(reader.fill(&pipe.read).unwrap(), Filled::Bytes(bytes.len()));
            prop_assert_eq!(reader.fill(&pipe.read).unwrap(), Filled::WouldBlock);
            while let Some((kind, payload)) = reader.next_frame().unwrap() {
                seen.push((kind, payload.to_vec()));
            }
        }
        prop_assert_eq!(seen, frames);
        prop_assert_eq!(reader.waiting(), 0);
    }
}

#[test]
fn the_layout_is_as_documented() {
    let mut bytes = Vec::new();
    encode(&mut bytes, 7, b"ab");
    let mut expected = vec![2, 0, 0, 0];
    expected.extend(crc32fast::hash(&[2, 0, 0, 0, 7, b'a', b'b']).to_le_bytes());
    expected.extend([7, b'a', b'b']);
    assert_eq!(bytes, expected);
}

#[test]
fn every_single_byte_of_a_frame_is_guarded() {
    let frame = (7, b"Committed up to byte 4711".to_vec());
    let bytes = wire(std::slice::from_ref(&frame));
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut bad = bytes.clone();
            bad[at] ^= 1 << bit;
            assert_eq!(read_all(&bad, MAX_FRAME).0, Frames::new(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn a_header_over_the_limit_is_refused_before_its_payload_comes() {
    let mut bytes = Vec::new();
    encode(&mut bytes, 1, &[0; 101]);
    bytes.truncate(HEADER_BYTES);
    assert_eq!(read_all(&bytes, 100).1, Some(FrameError::TooLong { length: 101, limit: 100 }));
    let mut writer = FrameWriter::with_limit(100);
    assert_eq!(writer.queue(1, &[0; 101]), Err(FrameError::TooLong { length: 101, limit: 100 }));
    assert_eq!(writer.queued_bytes(), 0);
    assert_eq!(writer.queue(1, &[0; 100]), Ok(()));
}

#[test]
fn a_reader_that_is_not_emptied_stays_bounded() {
    let pipe = Pipe::new().unwrap();
    set_nonblocking(&pipe.read).unwrap();
    set_nonblocking(&pipe.write).unwrap();
    let mut reader = FrameReader::with_limit(100);
    let mut frame = Vec::new();
    encode(&mut frame, 1, &[5; 50]);
    loop {
        while nix::unistd::write(&pipe.write, &frame) == Ok(frame.len()) {}
        if reader.fill(&pipe.read).unwrap() == Filled::Full {
            break;
        }
        assert!(reader.waiting() <= HEADER_BYTES + 100 + super::READ_BYTES);
    }
    assert!(reader.next_frame().unwrap().is_some());
}

#[test]
fn a_flush_on_a_full_pipe_goes_on_where_it_stopped() {
    let pipe = Pipe::new().unwrap();
    set_nonblocking(&pipe.read).unwrap();
    set_nonblocking(&pipe.write).unwrap();
    let mut writer = FrameWriter::new();
    let payload: Vec<u8> = (0..300_000_u32).map(|n| (n % 251) as u8).collect();
    writer.queue(1, &payload).unwrap();
    writer.queue(2, b"after").unwrap();
    let mut reader = FrameReader::new();
    let mut seen = Frames::new();
    let mut stops = 0;
    while seen.len() < 2 {
        stops += usize::from(writer.flush(&pipe.write).unwrap() == Flushed::WouldBlock);
        reader.fill(&pipe.read).unwrap();
        while let Some((kind, payload)) = reader.next_frame().unwrap() {
            seen.push((kind, payload.to_vec()));
        }
    }
    assert!(stops > 1);
    assert_eq!(seen, vec![(1, payload), (2, b"after".to_vec())]);
}

#[test]
fn a_reader_that_is_gone_is_an_error_value() {
    // The test harness, as every Rust program, ignores SIGPIPE.
    let pipe = Pipe::new().unwrap();
    drop(pipe.read);
    let mut writer = FrameWriter::new();
    writer.queue(1, b"x").unwrap();
    assert_eq!(writer.flush(&pipe.write).unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
}
