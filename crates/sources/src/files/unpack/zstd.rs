//! Zstandard (RFC 8878): frames one after another, frames that are to be skipped among them.

use std::io::{self, Read};

use ::zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::input::Input;
use super::{Trouble, Went, corrupt, cut_off};

const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// The longest header of a frame.
const HEADER_BYTES: usize = 18;
/// The base-two logarithm of the largest window that the format's tool reads.
const LARGEST_WINDOW_LOG: u32 = 31;
/// What the library says when memory has no room for a window.
const NO_MEMORY: &str = "Allocation error : not enough memory";

/// Where a zstd stream stands.
pub(super) struct Zstd {
    decoder: Decoder<'static>,
    largest_window: u64,
    part: FramePart,
    /// Whether a frame was read to its end.
    any: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FramePart {
    /// A frame's header, or what stands behind the last frame.
    Head,
    /// How many bytes are left of a frame that is to be skipped.
    Skipped(u64),
    /// A frame with a window of this size.
    Frame(u64),
}

impl Zstd {
    pub(super) fn new(largest_window: u64) -> io::Result<Zstd> {
        let mut decoder = Decoder::new()?;
        decoder.set_parameter(DParameter::WindowLogMax(LARGEST_WINDOW_LOG))?;
        Ok(Zstd { decoder, largest_window, part: FramePart::Head, any: false })
    }

    /// Goes on by one part, or a piece of it, filling `out` from `filled` on.
    pub(super) fn go_on<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8], filled: &mut usize) -> Result<Went, Trouble> {
        match self.part {
            FramePart::Head => return self.head(input),
            FramePart::Skipped(0) => return Ok(self.frame_ended()),
            FramePart::Skipped(left) => {
                let n = input.view(1)?.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                if n == 0 {
                    return cut_off();
                }
                input.take(n);
                self.part = FramePart::Skipped(left - n as u64);
            }
            FramePart::Frame(window) => return self.frame(window, input, out, filled),
        }
        Ok(Went::On)
    }

    fn frame_ended(&mut self) -> Went {
        self.part = FramePart::Head;
        self.any = true;
        Went::Whole
    }

    fn head<R: Read>(&mut self, input: &mut Input<R>) -> Result<Went, Trouble> {
        if self.any && input.pad()? {
            return Ok(Went::On);
        }
        let view = input.view(HEADER_BYTES)?;
        match view {
            [] if self.any => return Ok(Went::Over),
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, rest @ ..] => {
                let Some(&len) = rest.first_chunk::<4>() else { return cut_off() };
                input.take(8);
                self.part = FramePart::Skipped(u64::from(u32::from_le_bytes(len)));
            }
            _ if view.starts_with(&MAGIC) => {
                let Some(window) = window(view) else { return cut_off() };
                if window > self.largest_window {
                    return Err(Trouble::Window(window));
                }
                self.part = FramePart::Frame(window);
            }
            [0x50..=0x5f, rest @ ..] if [0x2a, 0x4d, 0x18].starts_with(rest) => return cut_off(),
            _ if MAGIC.starts_with(view) => return cut_off(),
            _ => return Err(Trouble::Trailing(input.taken())),
        }
        Ok(Went::On)
    }

    fn frame<R: Read>(
        &mut self,
        window: u64,
        input: &mut Input<R>,
        out: &mut [u8],
        filled: &mut usize,
    ) -> Result<Went, Trouble> {
        let view = input.view(1)?;
        let (mut from, mut to) = (InBuffer::around(view), OutBuffer::around(&mut out[*filled..]));
        let left = match self.decoder.run(&mut from, &mut to) {
            Ok(left) => left,
            Err(error) => {
                let what = error.to_string();
                return if what == NO_MEMORY { Err(Trouble::Window(window)) } else { corrupt(what) };
            }
        };
        let (packed, unpacked, ended) = (from.pos(), to.pos(), view.is_empty());
        input.take(packed);
        *filled += unpacked;
        if left == 0 {
            return Ok(self.frame_ended());
        }
        if packed == 0 && unpacked == 0 {
            return if ended { cut_off() } else { corrupt("it makes no progress") };
        }
        Ok(Went::On)
    }
}

/// How large a window the frame needs that begins with these bytes; `None` when they are no whole header of one.
pub(in super::super) fn window(head: &[u8]) -> Option<u64> {
    let rest = head.strip_prefix(&MAGIC)?;
    let (&descriptor, rest) = rest.split_first()?;
    let single_segment = descriptor & 0x20 != 0;
    if !single_segment {
        let byte = u64::from(*rest.first()?);
        let base = 1 << (10 + (byte >> 3));
        return Some(base + base / 8 * (byte & 7));
    }
    // The window is the content, whose size stands behind the dictionary's id.
    let dictionary = [0, 1, 2, 4][usize::from(descriptor & 3)];
    let size = rest.get(dictionary..)?;
    match descriptor >> 6 {
        0 => size.first().map(|&byte| u64::from(byte)),
        1 => size.first_chunk().map(|&bytes| u64::from(u16::from_le_bytes(bytes)) + 256),
        2 => size.first_chunk().map(|&bytes| u64::from(u32::from_le_bytes(bytes))),
        _ => size.first_chunk().map(|&bytes| u64::from_le_bytes(bytes)),
    }
}
