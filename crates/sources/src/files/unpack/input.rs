//! The packed bytes of a stream, with some of them in view.

use std::io::{self, ErrorKind, Read};

/// How much is in view at most.
const BUFFER_BYTES: usize = 64 << 10;

/// Some bytes of a stream and where they stand.
pub(super) struct Input<R> {
    from: R,
    buffer: Vec<u8>,
    /// The bytes in view.
    start: usize,
    end: usize,
    /// Nothing follows what is in view.
    over: bool,
    taken: u64,
    padding: u64,
}

impl<R: Read> Input<R> {
    pub(super) fn new(from: R) -> Self {
        Input { from, buffer: vec![0; BUFFER_BYTES], start: 0, end: 0, over: false, taken: 0, padding: 0 }
    }

    /// The next bytes: at least `least` of them (at most some hundred), fewer only where the stream ends.
    pub(super) fn view(&mut self, least: usize) -> io::Result<&[u8]> {
        while self.end - self.start < least && !self.over {
            if self.start > 0 {
                self.buffer.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            }
            match self.from.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.over = true,
                Ok(n) => self.end += n,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }

    /// Goes on by `bytes` of those in view.
    pub(super) fn take(&mut self, bytes: usize) {
        self.start += bytes;
        self.taken += bytes as u64;
    }

    /// How many bytes were taken.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Passes over zero bytes in view. False: the next byte is none, or there is none.
    pub(super) fn pad(&mut self) -> io::Result<bool> {
        let view = self.view(1)?;
        let zeros = view.iter().position(|&byte| byte != 0).unwrap_or(view.len());
        self.take(zeros);
        self.padding += zeros as u64;
        Ok(zeros > 0)
    }

    /// How many zero bytes were passed over.
    pub(super) fn padding(&self) -> u64 {
        self.padding
    }
}
