//! Writing a shard's file of dead letters.
//!
//! Responsible for: what is durable after a commit, cutting back what was not committed, and noticing that the file
//! lost its name.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use migration::ShardId;

use super::base64::Base64;
use super::letter::{BUFFER_BYTES, DeadLetter, Opener, Written, named, open_there, path_of};
use crate::RecordPlace;

/// One shard's file of dead letters, written by the attempt that works on the shard. It is made when the first is
/// written.
#[derive(Debug)]
pub struct DeadLetterFile {
    objects: Vec<String>,
    pub(super) out: Out,
    unsynced: bool,
    /// Bytes of committed letters that were not there any more when it was opened.
    missing: u64,
}

/// The file and what is not yet written to it. Pieces of a line are written as they come, so that a large record needs
/// no second copy in memory.
#[derive(Debug)]
pub(super) struct Out {
    path: PathBuf,
    opener: Opener,
    file: Option<File>,
    pub(super) buffer: Vec<u8>,
    /// How long the file is with what is in the buffer.
    length: u64,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let some = &bytes[..bytes.len().min(BUFFER_BYTES)];
        self.buffer.extend_from_slice(some);
        self.length += some.len() as u64;
        if self.buffer.len() >= BUFFER_BYTES {
            self.flush()?;
        }
        Ok(some.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(create(&self.path, self.opener)?),
        };
        // A file that was moved away or cut off meanwhile gets a hole.
        file.write_all_at(&self.buffer, self.length - self.buffer.len() as u64)?;
        self.buffer.clear();
        Ok(())
    }
}

impl DeadLetterFile {
    /// The file of `shard` in `directory`. `objects` are the paths of the shard's segments, by segment index. What
    /// stands behind the first `committed` bytes is cut off: its chunk was never committed, so its records come again.
    pub fn open(directory: &Path, shard: ShardId, objects: &[PathBuf], committed: u64, opener: Opener) -> io::Result<Self> {
        let path = path_of(directory, shard);
        let there = match open_there(&path, OpenOptions::new().read(true).write(true), opener)? {
            Some(file) => cut_back(&file, committed)?,
            None => 0,
        };
        let objects = objects.iter().map(|object| object.to_string_lossy().into_owned()).collect();
        let out = Out { path, opener, file: None, buffer: Vec::new(), length: committed };
        Ok(DeadLetterFile { objects, out, unsynced: false, missing: committed - there })
    }

    /// How long the file is, holes and what was appended since the last [`DeadLetterFile::sync`] included.
    pub fn length(&self) -> u64 {
        self.out.length
    }

    /// How many bytes of committed letters were missing when it was opened.
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.out.path
    }

    /// Appends a record. Durable only after [`DeadLetterFile::sync`].
    pub fn append(&mut self, place: RecordPlace, reason: &str, record: &[u8]) -> io::Result<()> {
        self.write(place, reason, record, false)
    }

    /// The same of a record that goes on in the source behind `head`.
    pub fn append_head(&mut self, place: RecordPlace, reason: &str, head: &[u8]) -> io::Result<()> {
        self.write(place, reason, head, true)
    }

    fn write(&mut self, place: RecordPlace, reason: &str, record: &[u8], cut: bool) -> io::Result<()> {
        let path = self.objects.get(place.segment as usize).map_or("", String::as_str);
        let letter = written(reason, path, (place.start, place.bytes), record, cut);
        self.unsynced = true;
        serde_json::to_writer(&mut self.out, &letter)?;
        self.out.write_all(b"\n")
    }

    /// Makes everything appended so far survive a crash of the machine. An error if the file has lost its name
    /// meanwhile: nothing that was appended could be found there.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.unsynced {
            return Ok(());
        }
        self.out.flush()?;
        if let Some(file) = &self.out.file {
            file.sync_data()?;
            require_name(&self.out.path, file)?;
        }
        self.unsynced = false;
        Ok(())
    }
}

/// A letter's line. `at`: the record's first byte and its length in the source.
fn written<'a>(reason: &'a str, path: &'a str, at: (u64, u64), record: &'a [u8], cut: bool) -> Written<'a> {
    let text = std::str::from_utf8(record).ok();
    Written {
        reason: reason.into(),
        path: path.into(),
        start: at.0,
        bytes: at.1,
        cut,
        record: text.map(Into::into),
        record_base64: text.is_none().then(|| Base64(record.to_vec())),
    }
}

/// A letter as its line in a file, with its end.
pub(super) fn line_of(letter: &DeadLetter) -> serde_json::Result<Vec<u8>> {
    let DeadLetter { reason, path, start, bytes, record, cut } = letter;
    let mut line = serde_json::to_vec(&written(reason, path, (*start, *bytes), record, *cut))?;
    line.push(b'\n');
    Ok(line)
}

/// An error unless the open file is the one of this name.
fn require_name(path: &Path, file: &File) -> io::Result<()> {
    let same = match std::fs::symlink_metadata(path) {
        Ok(named) => {
            let open = file.metadata()?;
            (named.dev(), named.ino()) == (open.dev(), open.ino())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let what = "the file was removed or replaced while it was written; what it got since the last commit is set aside again by the next \
                run";
    if same { Ok(()) } else { Err(io::Error::other(what)) }
}

pub(super) fn create(path: &Path, opener: Opener) -> io::Result<File> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    let mut options = OpenOptions::new();
    let options = options.write(true).create(true).truncate(false).mode(0o600);
    let file = opener(path, options).map_err(|error| named(path, error))?;
    // The names of file and folder must survive a crash as well as the contents.
    for folder in [Some(directory), directory.parent()].into_iter().flatten() {
        File::open(if folder.as_os_str().is_empty() { Path::new(".") } else { folder })?.sync_all()?;
    }
    Ok(file)
}

/// Cuts a file back to what is committed, and gives its length. If it is shorter than that, its last line may be torn:
/// it goes.
fn cut_back(file: &File, committed: u64) -> io::Result<u64> {
    let length = file.metadata()?.len();
    if length < committed {
        return cut_torn_line(file, length);
    }
    if length > committed {
        file.set_len(committed)?;
    }
    Ok(committed)
}

fn cut_torn_line(mut file: &File, length: u64) -> io::Result<u64> {
    const STEP: u64 = 64 << 10;
    let mut end = length;
    let mut piece = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(STEP);
        piece.clear();
        file.seek(SeekFrom::Start(start))?;
        Read::take(file, end - start).read_to_end(&mut piece)?;
        if let Some(newline) = piece.iter().rposition(|&b| b == b'\n') {
            end = start + newline as u64 + 1;
            break;
        }
        end = start;
    }
    if end < length {
        file.set_len(end)?;
    }
    Ok(end)
}
