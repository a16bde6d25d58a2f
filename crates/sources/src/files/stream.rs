//! The bytes of one segment, decompressed where needed. A stream that ends too early, is corrupt, or whose file is not
//! as planned is an error, never a silent end.
//!
//! Memory is bounded whatever a compressed file holds: gzip's window is 32 KiB, and a zstd window for which the job's
//! memory has no room is refused.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::sync::Arc;

use migration::job::WindowLimit;
use migration::units::{show_size, show_things};
use migration::{Compression, Plan, Segment, SourceObject};

use super::object::{check, read_at, unreadable};
use super::unpack::{self, Format, Trouble, Unpacked, Unpacker};
use super::{changed, fail};
use pipeline::SourceError;

/// How much is unpacked and thrown away at once when a compressed segment is continued.
const SKIP_BYTES: usize = 256 << 10;
/// And in one step: this much, or what [`SKIP_BYTES`] packed bytes give.
const SKIP_STEP_BYTES: u64 = 16 << 20;
const SKIP_PACKED_BYTES: u64 = 4 << 20;

/// The longest header of a zstd frame.
const HEAD_BYTES: u64 = 18;

/// What to do about a file that can't be read to its end.
const REPLACE: &str = "put a whole copy of the file in its place and run again (on real brokers what was sent of it stays sent, if the copy begins with \
     that)";

/// One segment, open.
pub(crate) struct Stream {
    object: SourceObject,
    file: Arc<File>,
    /// Whether it is known to be as planned. A file that is read at once, as small ones are, is asked once: when it is
    /// closed, before a row of it is given.
    checked: bool,
    input: StreamInput,
    /// The place of the next byte.
    place: u64,
    end: u64,
    line_ends: &'static [u8],
    windows: WindowLimit,
    /// What a user should be told of padding, until it was taken.
    padding: Option<String>,
}

enum StreamInput {
    Plain,
    Packed {
        format: Format,
        unpacker: Box<Unpacker<Arc<File>>>,
        /// Bytes of the decompressed stream that come before the wanted place.
        to_skip: u64,
        /// Whether a user was told of padding.
        told: bool,
    },
}

impl Stream {
    /// Opens `segment` at `place`, which must be where a line starts: behind one of `line_ends`.
    pub(crate) fn open(
        object: &SourceObject,
        segment: &Segment,
        place: u64,
        line_ends: &'static [u8],
        windows: WindowLimit,
    ) -> Result<Stream, SourceError> {
        let cant_read = |e| unreadable(&object.path, e);
        let mut file = File::open(&object.path).map_err(cant_read)?;
        let format = Format::of(object.compression);
        let checked = format.is_some() || place > 0;
        if checked {
            check(object, &file.metadata().map_err(cant_read)?)?;
        }
        if format.is_none() && place < segment.end {
            seek_to_line(&mut file, object, place, line_ends)?;
        }
        let file = Arc::new(file);
        let input = match format {
            None => StreamInput::Plain,
            Some(format) => {
                let unpacker = Box::new(Unpacker::new(Arc::clone(&file), format, windows.most).map_err(cant_read)?);
                StreamInput::Packed { format, unpacker, to_skip: place, told: false }
            }
        };
        Ok(Stream { object: object.clone(), file, checked, input, place, end: segment.end, line_ends, windows, padding: None })
    }

    /// Comes nearer to the place it was opened at; true when it is there. Decompressing much takes long, so this is
    /// done in steps between which the caller can live.
    pub(crate) fn skip(&mut self) -> Result<bool, SourceError> {
        let StreamInput::Packed { format, unpacker, to_skip, .. } = &mut self.input else { return Ok(true) };
        if *to_skip == 0 {
            return Ok(true);
        }
        let mut thrown = vec![0; SKIP_BYTES];
        let (taken, until) = (unpacker.taken(), to_skip.saturating_sub(SKIP_STEP_BYTES));
        while *to_skip > until && unpacker.taken() - taken < SKIP_PACKED_BYTES {
            let wanted = usize::try_from(*to_skip).unwrap_or(SKIP_BYTES).min(SKIP_BYTES);
            match unpacker.step(&mut thrown[..wanted]) {
                Ok(Unpacked::Bytes(n)) => *to_skip -= n as u64,
                Ok(Unpacked::End) => {
                    return Err(changed(&self.object.path, format_args!("ends before decompressed byte {}", self.place)));
                }
                Err(trouble) => {
                    let place = self.place - *to_skip;
                    return Err(explain(&self.object, *format, self.windows, place, trouble));
                }
            }
        }
        Ok(*to_skip == 0)
    }

    /// Appends up to `wanted` bytes to `into`: of a compressed stream what one short step gives, which may be nothing.
    /// True: the segment is at its end.
    pub(crate) fn read(&mut self, wanted: usize, into: &mut Vec<u8>) -> Result<bool, SourceError> {
        let left = usize::try_from(self.end - self.place).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        if wanted == 0 {
            return Ok(left == 0);
        }
        let before = into.len();
        let over = match &mut self.input {
            StreamInput::Plain => {
                let read = (&*self.file).take(wanted as u64).read_to_end(into);
                let got = into.len() - before;
                match read {
                    Ok(_) => got < wanted,
                    // What came before the place that can't be read; the next reading says the error.
                    Err(_) if got > 0 => false,
                    Err(error) => return Err(unreadable(&self.object.path, error)),
                }
            }
            StreamInput::Packed { format, unpacker, told, .. } => {
                into.resize(before + wanted, 0);
                let unpacked = unpacker.step(&mut into[before..]);
                into.truncate(before + if let Ok(Unpacked::Bytes(n)) = unpacked { n } else { 0 });
                let over = unpacked.map_err(|trouble| explain(&self.object, *format, self.windows, self.place, trouble))?
                    == Unpacked::End;
                if over && unpacker.padding() > 0 && !std::mem::replace(told, true) {
                    self.padding = Some(tell_padding(&self.object, *format, unpacker.padding()));
                }
                over
            }
        };
        self.place += (into.len() - before) as u64;
        if !self.checked && self.place < self.end {
            self.is_unchanged()?;
            self.checked = true;
        }
        if over && self.place < self.end && self.end != Segment::WHOLE {
            return Err(changed(&self.object.path, format_args!("ends at byte {} instead of {}", self.place, self.end)));
        }
        Ok(over || self.place == self.end)
    }

    /// What a user should know of what was read, once.
    pub(crate) fn take_notice(&mut self) -> Option<String> {
        self.padding.take()
    }

    /// Checks the last byte before the end of a segment that other segments follow: a line ends there, or the file is
    /// not the one that was cut and half a line would pass for a record.
    pub(crate) fn check_end(&self, last: Option<u8>) -> Result<(), SourceError> {
        let cut = self.object.compression == Compression::None && Some(self.end) < self.object.bytes;
        match last {
            Some(byte) if cut && !self.line_ends.contains(&byte) => {
                Err(changed(&self.object.path, format_args!("no line ends at byte {}, where one did", self.end)))
            }
            _ => Ok(()),
        }
    }

    /// Checks that the file is still what was opened.
    pub(crate) fn close(self) -> Result<(), SourceError> {
        self.is_unchanged()
    }

    /// The same, of a stream that stays open.
    pub(crate) fn is_unchanged(&self) -> Result<(), SourceError> {
        check(&self.object, &self.file.metadata().map_err(|e| unreadable(&self.object.path, e))?)
    }
}

/// Zero bytes hold no record, and the format's tools pass over them too; still, they were not written by who made the
/// file.
fn tell_padding(object: &SourceObject, format: Format, bytes: u64) -> String {
    let zeros = show_things(bytes, "zero byte");
    let path = migration::printable::printable_path(&object.path);
    format!("{path}: {zeros} behind the {format} stream, or between its parts, were taken as padding")
}

/// What a user should know and do about a stream that can't be unpacked after `place`.
fn explain(object: &SourceObject, format: Format, windows: WindowLimit, place: u64, trouble: Trouble) -> SourceError {
    let path = &object.path;
    match trouble {
        Trouble::File(error) => unreadable(path, error),
        Trouble::CutOff => {
            fail(path, format_args!("truncated {format} stream: it is cut off after decompressed byte {place}; {REPLACE}"))
        }
        Trouble::Corrupt(what) => {
            fail(path, format_args!("corrupt {format} stream after decompressed byte {place}: {what}; {REPLACE}"))
        }
        Trouble::Trailing(at) => fail(
            path,
            format_args!(
                "{} from byte {at} of the file on are no {format} stream and no padding, and may be lost records; if they are not \
                 wanted, cut them off (`head -c {at}`) and run again; else {REPLACE}",
                show_things(object.known_bytes().saturating_sub(at), "byte")
            ),
        ),
        Trouble::Window(window) => fail(path, no_room(window, windows)),
    }
}

/// Refuses a plan with a zstd file whose first frame needs a larger window than a worker has room for.
pub(crate) fn check_windows(plan: &Plan, windows: WindowLimit) -> Result<(), SourceError> {
    for object in plan.objects.iter().filter(|object| object.compression == Compression::Zstd) {
        let mut head = Vec::new();
        let read = File::open(&object.path).and_then(|file| read_at(&file, 0, HEAD_BYTES, &mut head));
        read.map_err(|e| unreadable(&object.path, e))?;
        if let Some(window) = unpack::window(&head).filter(|window| *window > windows.most) {
            return Err(fail(&object.path, no_room(window, windows)));
        }
    }
    Ok(())
}

/// What a window needs that is refused.
fn no_room(window: u64, windows: WindowLimit) -> String {
    let needed = windows.memory_for(window).div_ceil(1 << 20);
    format!(
        "a zstd frame needs a window of {}, for which a worker's memory has no room: set workers.memory_limit to \"{needed}MiB\" or more",
        show_size(window)
    )
}

/// Goes to `place`; what comes before it must be a line end, or the position is not of this file.
fn seek_to_line(file: &mut File, object: &SourceObject, place: u64, line_ends: &[u8]) -> Result<(), SourceError> {
    let cant_read = |e| unreadable(&object.path, e);
    let Some(before) = place.checked_sub(1) else { return Ok(()) };
    file.seek(SeekFrom::Start(before)).map_err(cant_read)?;
    let mut byte = [0];
    file.read_exact(&mut byte).map_err(cant_read)?;
    if !line_ends.contains(&byte[0]) {
        return Err(changed(&object.path, format_args!("no line starts at byte {place}, where one did")));
    }
    Ok(())
}
