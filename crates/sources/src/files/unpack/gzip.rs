//! gzip (RFC 1952): members one after another, with headers of any length.

use std::io::Read;

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::input::Input;
use super::{Trouble, Went, corrupt, cut_off};

const MAGIC: [u8; 2] = [0x1f, 0x8b];
const DEFLATE: u8 = 8;
/// Bits of the header's flags.
const HEADER_CRC: u8 = 1 << 1;
const EXTRA: u8 = 1 << 2;
const NAME: u8 = 1 << 3;
const COMMENT: u8 = 1 << 4;
const UNKNOWN: u8 = 0b1110_0000;

/// The next part of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// A member's header, or what stands behind the last member.
    Head,
    /// The extra field's length.
    ExtraLen,
    /// How many bytes are left of the extra field.
    Extra(usize),
    Name,
    Comment,
    HeaderCrc,
    Body,
    /// The checksum and length of a member's bytes.
    Trailer,
}

/// Where a gzip stream stands.
pub(super) struct Gzip {
    part: Part,
    flags: u8,
    /// Whether a member was read to its end.
    any: bool,
    header: Crc,
    content: Crc,
    inflate: Decompress,
}

impl Default for Gzip {
    fn default() -> Self {
        let inflate = Decompress::new(false);
        Gzip { part: Part::Head, flags: 0, any: false, header: Crc::new(), content: Crc::new(), inflate }
    }
}

impl Gzip {
    /// Goes on by one part, or a piece of it, filling `out` from `filled` on.
    pub(super) fn go_on<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8], filled: &mut usize) -> Result<Went, Trouble> {
        match self.part {
            Part::Head => return self.head(input),
            Part::ExtraLen => {
                let [low, high] = self.field(input)?;
                self.part = Part::Extra(usize::from(u16::from_le_bytes([low, high])));
            }
            Part::Extra(0) => self.part = self.after(Part::Extra(0)),
            Part::Extra(left) => {
                let n = self.pass(input, |view| left.min(view.len()))?;
                self.part = Part::Extra(left - n);
            }
            Part::Name | Part::Comment => {
                let mut ended = false;
                self.pass(input, |view| {
                    let zero = memchr::memchr(0, view);
                    ended = zero.is_some();
                    zero.map_or(view.len(), |at| at + 1)
                })?;
                if ended {
                    self.part = self.after(self.part);
                }
            }
            Part::HeaderCrc => {
                let sum = self.header.sum() as u16;
                if u16::from_le_bytes(self.field(input)?) != sum {
                    return corrupt("a header's checksum is wrong");
                }
                self.part = Part::Body;
            }
            Part::Body => self.body(input, out, filled)?,
            Part::Trailer => return self.trailer(input),
        }
        Ok(Went::On)
    }

    /// A header's first ten bytes, padding, or the end.
    fn head<R: Read>(&mut self, input: &mut Input<R>) -> Result<Went, Trouble> {
        if self.any && input.pad()? {
            return Ok(Went::On);
        }
        let view = input.view(10)?;
        if view.is_empty() && self.any {
            return Ok(Went::Over);
        }
        if !view.starts_with(&MAGIC[..view.len().min(2)]) {
            return Err(Trouble::Trailing(input.taken()));
        }
        let Some(&[_, _, method, flags, ..]) = view.first_chunk::<10>() else { return cut_off() };
        if method != DEFLATE {
            return corrupt(format!("compression method {method} of a member is unknown"));
        }
        if flags & UNKNOWN != 0 {
            return corrupt(format!("flags {flags:#04x} of a member are unknown"));
        }
        self.header = Crc::new();
        self.header.update(&view[..10]);
        input.take(10);
        self.flags = flags;
        self.content = Crc::new();
        self.inflate.reset(false);
        self.part = self.after(Part::Head);
        Ok(Went::On)
    }

    /// What follows a part of the header, by its flags.
    fn after(&self, part: Part) -> Part {
        const ORDER: [(Part, u8); 4] =
            [(Part::ExtraLen, EXTRA), (Part::Name, NAME), (Part::Comment, COMMENT), (Part::HeaderCrc, HEADER_CRC)];
        let done = match part {
            Part::Head => 0,
            Part::ExtraLen | Part::Extra(_) => 1,
            Part::Name => 2,
            _ => 3,
        };
        ORDER[done..].iter().find(|(_, flag)| self.flags & flag != 0).map_or(Part::Body, |(part, _)| *part)
    }

    /// Passes over some bytes of the header; `many` says how many of those in view.
    fn pass<R: Read>(&mut self, input: &mut Input<R>, many: impl FnOnce(&[u8]) -> usize) -> Result<usize, Trouble> {
        let view = input.view(1)?;
        if view.is_empty() {
            return cut_off();
        }
        let n = many(view);
        self.header.update(&view[..n]);
        input.take(n);
        Ok(n)
    }

    /// Two bytes of the header.
    fn field<R: Read>(&mut self, input: &mut Input<R>) -> Result<[u8; 2], Trouble> {
        let Some(&field) = input.view(2)?.first_chunk::<2>() else { return cut_off() };
        self.header.update(&field);
        input.take(2);
        Ok(field)
    }

    fn body<R: Read>(&mut self, input: &mut Input<R>, out: &mut [u8], filled: &mut usize) -> Result<(), Trouble> {
        let view = input.view(1)?;
        let (packed, unpacked) = (self.inflate.total_in(), self.inflate.total_out());
        let room = &mut out[*filled..];
        let status = match self.inflate.decompress(view, room, FlushDecompress::None) {
            Ok(status) => status,
            Err(_) => return corrupt("a compressed block is damaged"),
        };
        let packed = (self.inflate.total_in() - packed) as usize;
        let unpacked = (self.inflate.total_out() - unpacked) as usize;
        self.content.update(&room[..unpacked]);
        let ended = view.is_empty();
        *filled += unpacked;
        input.take(packed);
        match status {
            Status::StreamEnd => self.part = Part::Trailer,
            Status::Ok | Status::BufError if packed > 0 || unpacked > 0 => {}
            Status::Ok | Status::BufError => return if ended { cut_off() } else { corrupt("it makes no progress") },
        }
        Ok(())
    }

    fn trailer<R: Read>(&mut self, input: &mut Input<R>) -> Result<Went, Trouble> {
        let Some(&[a, b, c, d, e, f, g, h]) = input.view(8)?.first_chunk::<8>() else { return cut_off() };
        if u32::from_le_bytes([a, b, c, d]) != self.content.sum() {
            return corrupt("a member's checksum is wrong");
        }
        if u32::from_le_bytes([e, f, g, h]) != self.content.amount() {
            return corrupt("a member's length is wrong");
        }
        input.take(8);
        self.any = true;
        self.part = Part::Head;
        Ok(Went::Whole)
    }
}
