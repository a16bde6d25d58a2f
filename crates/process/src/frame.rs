//! Frames: how bytes on a pipe become messages again. What a kind or a payload means is the caller's.
//!
//! ```text
//! byte 0..4   length    u32, little endian: bytes of the payload
//! byte 4..8   checksum  u32, little endian: CRC-32 of length, kind and payload as they stand on the wire
//! byte 8      kind      u8
//! byte 9..    payload   `length` bytes, at most the reader's limit
//! ```
//!
//! A frame that is too long or has a wrong checksum is an error value, and ends the stream: after it the reader gives
//! nothing but that error. A torn frame at end of file is dropped.

use std::io;
use std::os::fd::AsFd;

use nix::errno::Errno;

/// Bytes before the payload.
pub const HEADER_BYTES: usize = 9;

/// The largest payload in bytes, unless a reader or writer is given another limit.
pub const MAX_FRAME: usize = 1024 * 1024;

/// How much one [`FrameReader::fill`] reads at most, in bytes: what a pipe holds by default.
const READ_BYTES: usize = 64 * 1024;

/// Why a stream of frames can't be used any further.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The header promises, or the caller gave, more than the limit.
    #[error("a frame of {length} bytes is over the limit of {limit} bytes")]
    TooLong {
        /// Bytes of the payload.
        length: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// The bytes are not what was sent.
    #[error("a frame of {length} bytes (kind {kind}) has a wrong checksum")]
    Checksum {
        /// The kind as received.
        kind: u8,
        /// Bytes of the payload.
        length: usize,
    },
}

/// What a [`FrameReader::fill`] found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filled {
    /// How many bytes came.
    Bytes(usize),
    /// Nothing to read now.
    WouldBlock,
    /// Nothing was read, because a whole frame (or an error) waits in the buffer: take it first. So memory stays
    /// bounded.
    Full,
    /// The other side closed its end. Frames that came before may still wait in the buffer.
    Eof,
}

/// What a flush reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// Everything is written.
    Done,
    /// The pipe is full; poll for writability and flush again.
    WouldBlock,
}

/// Appends one frame to `buffer`. Payloads must have passed the limit, so their length fits.
pub(crate) fn encode(buffer: &mut Vec<u8>, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("limits of frames are below 4 GiB").to_le_bytes();
    buffer.extend_from_slice(&length);
    buffer.extend_from_slice(&checksum(length, kind, payload).to_le_bytes());
    buffer.push(kind);
    buffer.extend_from_slice(payload);
}

fn checksum(length: [u8; 4], kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&length);
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}

/// No limit may be above what the length field can say.
fn bounded(limit: usize) -> usize {
    limit.min(u32::MAX as usize)
}

/// Collects bytes from a descriptor and gives whole frames. Memory is bounded by one largest frame and one read.
#[derive(Debug)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that were given out already.
    taken: usize,
    limit: usize,
    failed: Option<FrameError>,
}

impl Default for FrameReader {
    fn default() -> FrameReader {
        FrameReader::new()
    }
}

impl FrameReader {
    /// A reader that takes payloads up to [`MAX_FRAME`].
    pub fn new() -> FrameReader {
        FrameReader::with_limit(MAX_FRAME)
    }

    /// A reader that takes payloads up to `limit` bytes.
    pub fn with_limit(limit: usize) -> FrameReader {
        FrameReader { buffer: Vec::new(), taken: 0, limit: bounded(limit), failed: None }
    }

    /// Reads once, at most 64 KiB and no more than a largest frame has. On a blocking descriptor it waits until
    /// something comes.
    pub fn fill(&mut self, fd: impl AsFd) -> io::Result<Filled> {
        if self.failed.is_some() || self.waiting() >= HEADER_BYTES + self.limit {
            return Ok(Filled::Full);
        }
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let start = self.buffer.len();
        self.buffer.resize(start + READ_BYTES.min(HEADER_BYTES + self.limit), 0);
        let read = loop {
            match nix::unistd::read(&fd, &mut self.buffer[start..]) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        self.buffer.truncate(start + read.unwrap_or(0));
        match read {
            Ok(0) => Ok(Filled::Eof),
            Ok(count) => Ok(Filled::Bytes(count)),
            Err(Errno::EAGAIN) => Ok(Filled::WouldBlock),
            Err(errno) => Err(errno.into()),
        }
    }

    /// The next whole frame as kind and payload, or `None` when more bytes are needed.
    pub fn next_frame(&mut self) -> Result<Option<(u8, &[u8])>, FrameError> {
        if let Some(error) = &self.failed {
            return Err(error.clone());
        }
        match self.check_next() {
            Ok(None) => Ok(None),
            Ok(Some((kind, length))) => {
                let start = self.taken + HEADER_BYTES;
                self.taken = start + length;
                Ok(Some((kind, &self.buffer[start..self.taken])))
            }
            Err(error) => {
                self.failed = Some(error.clone());
                Err(error)
            }
        }
    }

    /// Bytes in the buffer that are not a whole frame yet: at end of file, the length of the torn tail.
    pub fn waiting(&self) -> usize {
        self.buffer.len() - self.taken
    }

    fn check_next(&self) -> Result<Option<(u8, usize)>, FrameError> {
        let Some((header, rest)) = self.buffer[self.taken..].split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h, kind] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.limit {
            return Err(FrameError::TooLong { length, limit: self.limit });
        }
        let Some(payload) = rest.get(..length) else {
            return Ok(None);
        };
        if checksum([a, b, c, d], kind, payload) != u32::from_le_bytes([e, f, g, h]) {
            return Err(FrameError::Checksum { kind, length });
        }
        Ok(Some((kind, length)))
    }
}

/// Collects frames and writes many of them with one call: written singly they cost about a microsecond each.
///
/// The buffer grows with what is queued, so on a nonblocking descriptor whose reader may lag use
/// [`LatestFrame`](crate::LatestFrame) instead.
#[derive(Debug)]
pub struct FrameWriter {
    buffer: Vec<u8>,
    written: usize,
    limit: usize,
}

impl Default for FrameWriter {
    fn default() -> FrameWriter {
        FrameWriter::new()
    }
}

impl FrameWriter {
    /// A writer that takes payloads up to [`MAX_FRAME`].
    pub fn new() -> FrameWriter {
        FrameWriter::with_limit(MAX_FRAME)
    }

    /// A writer that takes payloads up to `limit` bytes, which should not be above the reader's.
    pub fn with_limit(limit: usize) -> FrameWriter {
        FrameWriter { buffer: Vec::new(), written: 0, limit: bounded(limit) }
    }

    /// Adds a frame behind what is queued; writes nothing.
    pub fn queue(&mut self, kind: u8, payload: &[u8]) -> Result<(), FrameError> {
        check_length(payload, self.limit)?;
        encode(&mut self.buffer, kind, payload);
        Ok(())
    }

    /// Bytes that are queued and not written.
    pub fn queued_bytes(&self) -> usize {
        self.buffer.len() - self.written
    }

    /// Writes what is queued. On a blocking descriptor it returns when everything is written; on a nonblocking one it
    /// may return [`Flushed::WouldBlock`] in the middle of a frame and goes on there the next time.
    pub fn flush(&mut self, fd: impl AsFd) -> io::Result<Flushed> {
        let flushed = write_from(&fd, &self.buffer, &mut self.written)?;
        if self.written == self.buffer.len() {
            self.buffer.clear();
        } else {
            self.buffer.drain(..self.written);
        }
        self.written = 0;
        Ok(flushed)
    }
}

pub(crate) fn check_length(payload: &[u8], limit: usize) -> Result<(), FrameError> {
    if payload.len() > limit { Err(FrameError::TooLong { length: payload.len(), limit }) } else { Ok(()) }
}

/// Writes `buffer[*written..]` and moves `written` on, also when it stops early.
pub(crate) fn write_from(fd: &impl AsFd, buffer: &[u8], written: &mut usize) -> io::Result<Flushed> {
    while *written < buffer.len() {
        match nix::unistd::write(fd, &buffer[*written..]) {
            Ok(count) => *written += count,
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(Flushed::WouldBlock),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(Flushed::Done)
}

#[cfg(test)]
mod tests;
