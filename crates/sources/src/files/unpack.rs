//! Unpacks gzip and zstd in steps that stay short whatever the stream holds.
//!
//! Responsible for: the members or frames of a stream one after another, all that the format's own tool reads; what
//! stands between and behind them. Not responsible for whose file it is and what a user should do ([`super::stream`]
//! says that).
//!
//! A step takes at most [`STEP_BYTES`] of the stream, so that a million empty members, a frame that is skipped and a
//! long header cost many short steps instead of one long one. Zero bytes behind a member or frame are padding, as tar
//! and tapes leave it; anything else there that is no member or frame is an error: it may have been data.
//!
//! What was unpacked before an error is given first, and the error by the next step: all of it where the stream is cut
//! off. Where a member or frame is damaged, what came out of it in the same step is left out, because a wrong bit may
//! be noticed late; of the parts before it every checksum held.

mod gzip;
mod input;
mod zstd;

use std::io::{self, Read};

use migration::Compression;

use gzip::Gzip;
use input::Input;
use zstd::Zstd;
pub(super) use zstd::window;

/// How much of a stream one step takes at most, one buffer more or less.
const STEP_BYTES: u64 = 256 << 10;

/// What a step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unpacked {
    /// How many bytes, which may be none; there may be more.
    Bytes(usize),
    /// Everything was unpacked before, and every checksum held.
    End,
}

/// Why a stream can't be unpacked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// The file can't be read.
    File(io::Error),
    /// It ends in the middle of a member or frame.
    CutOff,
    /// A checksum or code is wrong.
    Corrupt(String),
    /// What stands at this byte of the file is neither padding nor another member or frame.
    Trailing(u64),
    /// A frame needs a window of this size, more than is allowed or than memory has room for.
    Window(u64),
}

impl From<io::Error> for Trouble {
    fn from(error: io::Error) -> Trouble {
        Trouble::File(error)
    }
}

fn corrupt<T>(what: impl Into<String>) -> Result<T, Trouble> {
    Err(Trouble::Corrupt(what.into()))
}

/// What a file says that ends in the middle.
fn cut_off<T>() -> Result<T, Trouble> {
    Err(Trouble::CutOff)
}

/// Where a stream stands between two steps of a codec.
enum Went {
    /// The output is full, or nothing more can be taken for now.
    On,
    /// A member or frame is over, and it is sound as far as can be told.
    Whole,
    /// The stream is over.
    Over,
}

/// A compressed stream.
pub(super) struct Unpacker<R> {
    input: Input<R>,
    codec: Codec,
    /// What went wrong behind the bytes that the last step gave.
    trouble: Option<Trouble>,
}

enum Codec {
    Gzip(Gzip),
    Zstd(Box<Zstd>),
}

/// A format that is unpacked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Gzip,
    Zstd,
}

impl Format {
    /// The format of a compressed object; `None` for plain bytes.
    pub(super) fn of(compression: Compression) -> Option<Format> {
        match compression {
            Compression::None => None,
            Compression::Gzip => Some(Format::Gzip),
            Compression::Zstd => Some(Format::Zstd),
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Format::Gzip => "gzip",
            Format::Zstd => "zstd",
        })
    }
}

impl<R: Read> Unpacker<R> {
    /// A stream from its first byte on. A zstd frame whose window has more bytes than `largest_window` is refused.
    pub(super) fn new(from: R, format: Format, largest_window: u64) -> io::Result<Self> {
        let codec = match format {
            Format::Gzip => Codec::Gzip(Gzip::default()),
            Format::Zstd => Codec::Zstd(Box::new(Zstd::new(largest_window)?)),
        };
        Ok(Unpacker { input: Input::new(from), codec, trouble: None })
    }

    /// Unpacks the next bytes into `out`, which is not empty. After the end it says the end again; after an error it is
    /// of no use.
    pub(super) fn step(&mut self, out: &mut [u8]) -> Result<Unpacked, Trouble> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let until = self.input.taken() + STEP_BYTES;
        let (mut filled, mut whole) = (0, 0);
        while filled < out.len() && self.input.taken() < until {
            let went = match &mut self.codec {
                Codec::Gzip(gzip) => gzip.go_on(&mut self.input, out, &mut filled),
                Codec::Zstd(zstd) => zstd.go_on(&mut self.input, out, &mut filled),
            };
            match went {
                Ok(Went::On) => {}
                Ok(Went::Whole) => whole = filled,
                Ok(Went::Over) if filled > 0 => break,
                Ok(Went::Over) => return Ok(Unpacked::End),
                Err(trouble) => {
                    let sound = if matches!(trouble, Trouble::Corrupt(_)) { whole } else { filled };
                    if sound == 0 {
                        return Err(trouble);
                    }
                    self.trouble = Some(trouble);
                    return Ok(Unpacked::Bytes(sound));
                }
            }
        }
        Ok(Unpacked::Bytes(filled))
    }

    /// How much of the stream was taken, in bytes as stored.
    pub(super) fn taken(&self) -> u64 {
        self.input.taken()
    }

    /// How many bytes of padding were passed over.
    pub(super) fn padding(&self) -> u64 {
        self.input.padding()
    }
}

#[cfg(test)]
mod tests;
