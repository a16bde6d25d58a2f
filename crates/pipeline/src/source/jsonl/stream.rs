//! The bytes of one segment, decompressed where needed. A stream that ends too early, is corrupt, or whose file is not as
//! planned is an error, never a silent end.
//!
//! Memory is bounded whatever a compressed file holds: gzip's window is 32 KiB, and a zstd window above 128 MiB is refused.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};

use flate2::bufread::MultiGzDecoder;
use migration::{Compression, Segment, SourceObject};

use super::object::{check, unreadable};
use super::{changed, fail};
use crate::SourceError;

/// How much of a compressed file is read at once.
const PACKED_BYTES: usize = 64 << 10;
/// How much is unpacked and thrown away in one step, when a compressed segment is continued.
const SKIP_BYTES: u64 = 16 << 20;

/// One segment, open.
pub(super) struct Stream {
    object: SourceObject,
    /// To ask for size and time again.
    file: File,
    input: Box<dyn Read>,
    /// The place of the next byte.
    place: u64,
    end: u64,
    /// Bytes of the decompressed stream that come before the wanted place.
    to_skip: u64,
}

/// The decompressed bytes of `packed`: all members or frames of it, one after another.
pub(super) fn decoder<'a>(packed: impl BufRead + 'a, compression: Compression) -> io::Result<Box<dyn Read + 'a>> {
    Ok(match compression {
        Compression::None => Box::new(packed),
        Compression::Gzip => Box::new(MultiGzDecoder::new(packed)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(packed)?),
    })
}

impl Stream {
    /// Opens `segment` at `place`, which must be where a line starts.
    pub(super) fn open(object: &SourceObject, segment: &Segment, place: u64) -> Result<Stream, SourceError> {
        let cant_read = |e| unreadable(&object.path, e);
        let mut file = File::open(&object.path).map_err(cant_read)?;
        check(object, &file.metadata().map_err(cant_read)?)?;
        let handle = file.try_clone().map_err(cant_read)?;
        let (input, to_skip): (Box<dyn Read>, u64) = match object.compression {
            Compression::None => {
                if place < segment.end {
                    seek_to_line(&mut file, object, place)?;
                }
                (Box::new(file), 0)
            }
            packed => (decoder(BufReader::with_capacity(PACKED_BYTES, file), packed).map_err(cant_read)?, place),
        };
        Ok(Stream { object: object.clone(), file: handle, input, place, end: segment.end, to_skip })
    }

    /// Comes nearer to the place it was opened at; true when it is there. Decompressing much takes long, so this is done in
    /// steps between which the caller can live.
    pub(super) fn skip(&mut self) -> Result<bool, SourceError> {
        if self.to_skip == 0 {
            return Ok(true);
        }
        let step = self.to_skip.min(SKIP_BYTES);
        let done = io::copy(&mut (&mut self.input).take(step), &mut io::sink()).map_err(|e| self.broken(e))?;
        if done < step {
            return Err(changed(&self.object.path, format_args!("ends before decompressed byte {}", self.place)));
        }
        self.to_skip -= step;
        Ok(self.to_skip == 0)
    }

    /// Appends up to `wanted` bytes to `into`. True: the segment is at its end.
    pub(super) fn read(&mut self, wanted: usize, into: &mut Vec<u8>) -> Result<bool, SourceError> {
        let wanted = (wanted as u64).min(self.end - self.place);
        let got = (&mut self.input).take(wanted).read_to_end(into).map_err(|e| self.broken(e))? as u64;
        self.place += got;
        if self.place == self.end {
            return Ok(true);
        }
        if got == wanted {
            return Ok(false);
        }
        if self.end == Segment::WHOLE {
            return Ok(true);
        }
        Err(changed(&self.object.path, format_args!("ends at byte {} instead of {}", self.place, self.end)))
    }

    /// Checks the last byte before the end of a segment that other segments follow: a line ends there, or the file is not the
    /// one that was cut and half a line would pass for a record.
    pub(super) fn check_end(&self, last: Option<u8>) -> Result<(), SourceError> {
        let cut = self.object.compression == Compression::None && self.end < self.object.bytes;
        match last {
            Some(byte) if cut && byte != b'\n' => {
                Err(changed(&self.object.path, format_args!("no line ends at byte {}, where one did", self.end)))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the file is still what was opened.
    pub(super) fn close(self) -> Result<(), SourceError> {
        check(&self.object, &self.file.metadata().map_err(|e| unreadable(&self.object.path, e))?)
    }

    fn broken(&self, error: io::Error) -> SourceError {
        let what = match self.object.compression {
            Compression::None => return unreadable(&self.object.path, error),
            Compression::Gzip => "gzip",
            Compression::Zstd => "zstd",
        };
        fail(
            &self.object.path,
            format_args!(
                "corrupt or truncated {what} stream after decompressed byte {}: {error}; replace the file",
                self.place
            ),
        )
    }
}

/// Goes to `place`; what comes before it must be a line end, or the position is not of this file.
fn seek_to_line(file: &mut File, object: &SourceObject, place: u64) -> Result<(), SourceError> {
    let cant_read = |e| unreadable(&object.path, e);
    let Some(before) = place.checked_sub(1) else { return Ok(()) };
    file.seek(SeekFrom::Start(before)).map_err(cant_read)?;
    let mut byte = [0];
    file.read_exact(&mut byte).map_err(cant_read)?;
    if byte != *b"\n" {
        return Err(changed(&object.path, format_args!("no line starts at byte {place}, where one did")));
    }
    Ok(())
}
