//! What goes down to a child: a value of which only the newest counts. How a frame looks is `frame.rs`.

use std::io;
use std::os::fd::AsFd;

use crate::frame::{Flushed, FrameError, MAX_FRAME, check_length, encode, write_from};

/// A place for one frame on a nonblocking pipe: a newer one replaces an older one that was not begun. So the writer
/// never waits, however slow the reader is, and holds at most one frame that is partly written and one behind it.
#[derive(Debug, Default)]
pub struct LatestFrame {
    /// The frame that is being written, and how much of it is out.
    current: Vec<u8>,
    written: usize,
    /// The newest frame behind it; empty when there is none.
    next: Vec<u8>,
}

impl LatestFrame {
    /// Nothing to send.
    pub fn new() -> LatestFrame {
        LatestFrame::default()
    }

    /// Makes this the frame to send; one that was put before and not begun is forgotten. Writes nothing. Payloads are
    /// limited to [`MAX_FRAME`].
    pub fn put(&mut self, kind: u8, payload: &[u8]) -> Result<(), FrameError> {
        check_length(payload, MAX_FRAME)?;
        let slot = if self.written == 0 { &mut self.current } else { &mut self.next };
        slot.clear();
        encode(slot, kind, payload);
        Ok(())
    }

    /// True when something waits to be written: poll for writability.
    pub fn is_waiting(&self) -> bool {
        !self.current.is_empty()
    }

    /// Writes what the pipe takes.
    pub fn flush(&mut self, fd: impl AsFd) -> io::Result<Flushed> {
        while self.is_waiting() {
            if write_from(&fd, &self.current, &mut self.written)? == Flushed::WouldBlock {
                return Ok(Flushed::WouldBlock);
            }
            self.written = 0;
            self.current.clear();
            std::mem::swap(&mut self.current, &mut self.next);
        }
        Ok(Flushed::Done)
    }
}

#[cfg(test)]
mod tests {
    use super::LatestFrame;
    use crate::pipe::{Pipe, set_nonblocking};
    use crate::{Filled, Flushed, FrameReader};

    fn drain(pipe: &Pipe, reader: &mut FrameReader) -> Vec<(u8, Vec<u8>)> {
        let mut frames = Vec::new();
        while let Filled::Bytes(_) = reader.fill(&pipe.read).unwrap() {
            while let Some((kind, payload)) = reader.next_frame().unwrap() {
                frames.push((kind, payload.to_vec()));
            }
        }
        frames
    }

    fn nonblocking() -> Pipe {
        let pipe = Pipe::new().unwrap();
        set_nonblocking(&pipe.read).unwrap();
        set_nonblocking(&pipe.write).unwrap();
        pipe
    }

    #[test]
    fn the_newest_replaces_what_was_not_begun() {
        let pipe = nonblocking();
        let mut latest = LatestFrame::new();
        assert!(!latest.is_waiting());
        for n in 0..10 {
            latest.put(n, &[n]).unwrap();
        }
        assert_eq!(latest.flush(&pipe.write).unwrap(), Flushed::Done);
        assert!(!latest.is_waiting());
        assert_eq!(drain(&pipe, &mut FrameReader::new()), vec![(9, vec![9])]);
    }

    #[test]
    fn a_begun_frame_is_finished_and_then_only_the_newest_comes() {
        let pipe = nonblocking();
        let mut latest = LatestFrame::new();
        let big = vec![1; 500_000];
        latest.put(1, &big).unwrap();
        assert_eq!(latest.flush(&pipe.write).unwrap(), Flushed::WouldBlock);
        for n in 2..200 {
            latest.put(n, &[n]).unwrap();
            assert!(latest.next.len() < 20, "memory does not grow");
        }
        let mut reader = FrameReader::new();
        let mut frames = Vec::new();
        while latest.flush(&pipe.write).unwrap() == Flushed::WouldBlock {
            frames.extend(drain(&pipe, &mut reader));
        }
        frames.extend(drain(&pipe, &mut reader));
        assert_eq!(frames, vec![(1, big), (199, vec![199])]);
    }
}
