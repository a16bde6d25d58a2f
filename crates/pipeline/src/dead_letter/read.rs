//! Reading dead letters, and which of them are gone.
//!
//! Responsible for: what is committed, and no more: a reader looks no further than the committed length.

use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use migration::ShardId;
use migration::printable::printable_path;
use migration::report::GoneLetters;

use super::letter::{
    BUFFER_BYTES, CommittedLength, DeadLetter, Held, LetterPlace, Opener, Places, Written, named, open_there, path_of,
};

/// Which committed letters are gone: of each shard its file's committed length and how many letters that is. The folder
/// is listed once; then each file is read, but not what its letters say.
pub fn gone(directory: &Path, committed: &[(CommittedLength, u64)], opener: Opener) -> io::Result<Vec<GoneLetters>> {
    let expected = || committed.iter().filter(|(_, letters)| *letters > 0);
    if expected().next().is_none() {
        return Ok(Vec::new());
    }
    let there = shards_in(directory)?;
    let mut all = Vec::new();
    for &((shard, length), letters) in expected() {
        let (mut found, mut bytes) = (0, length);
        if there.contains(&shard) {
            let path = path_of(directory, shard);
            each_line(&path, length, opener, &mut |_| {
                found += 1;
                Ok(())
            })?;
            let file = open_there(&path, OpenOptions::new().read(true), opener)?;
            let now = file.map_or(Ok(0), |file| file.metadata().map(|facts| facts.len()))?;
            bytes = length.saturating_sub(now);
        }
        if found < letters {
            all.push(GoneLetters { shard, letters: letters - found, bytes });
        }
    }
    Ok(all)
}

/// The committed dead letters of some shards that are there, in their order and then as written. Nothing is read of a
/// shard without any.
pub fn read_all(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<Vec<DeadLetter>> {
    let mut letters = Vec::new();
    for &(shard, length) in committed {
        each_line(&path_of(directory, shard), length, opener, &mut |line| {
            letters.push(parse(line)?);
            Ok(())
        })?;
    }
    Ok(letters)
}

/// Hands each committed dead letter of some shards to `visit`, with the place of its line, in their order and then as
/// written.
pub fn each(
    directory: &Path,
    committed: &[CommittedLength],
    opener: Opener,
    visit: &mut dyn FnMut(LetterPlace, DeadLetter) -> io::Result<()>,
) -> io::Result<()> {
    for &(shard, length) in committed {
        let path = path_of(directory, shard);
        each_line_at(&path, length, opener, &mut |at, line| {
            let letter = parse(line).map_err(|error| no_letter(&path, at, &error))?;
            visit(LetterPlace { shard, start: at.start, bytes: line.len() as u64 }, letter)
        })?;
    }
    Ok(())
}

/// Reads letters at places where they were seen.
#[derive(Debug)]
pub struct LetterReader<'a> {
    directory: &'a Path,
    opener: Opener,
    open: Option<(ShardId, File)>,
    line: Vec<u8>,
}

impl<'a> LetterReader<'a> {
    /// Of the letters in a folder.
    pub fn new(directory: &'a Path, opener: Opener) -> LetterReader<'a> {
        LetterReader { directory, opener, open: None, line: Vec::new() }
    }

    /// The letter at a place; an error if it is not there any more.
    pub fn read(&mut self, place: LetterPlace) -> io::Result<DeadLetter> {
        let path = path_of(self.directory, place.shard);
        if self.open.as_ref().is_none_or(|(shard, _)| *shard != place.shard) {
            let file = (self.opener)(&path, OpenOptions::new().read(true)).map_err(|error| named(&path, error))?;
            self.open = Some((place.shard, file));
        }
        let Some((_, file)) = &self.open else { return Err(io::ErrorKind::NotFound.into()) };
        self.line.resize(usize::try_from(place.bytes).unwrap_or(usize::MAX), 0);
        let read = file.read_exact_at(&mut self.line, place.start);
        let letter = read.and_then(|()| parse(&self.line).map_err(io::Error::from));
        letter.map_err(|error| named(&path, error))
    }
}

/// Where the committed dead letters of some shards stand and a hash of what they hold (memory does not depend on their
/// size, but for one at a time), and how many are there: fewer than were committed if some were taken away.
pub fn places(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<(Places, u64)> {
    let (mut places, mut count) = (Places::new(), 0);
    for &(shard, length) in committed {
        each_line(&path_of(directory, shard), length, opener, &mut |line| {
            let Written { path, start, bytes, record, record_base64, .. } = serde_json::from_slice(line)?;
            let coded = record_base64.map_or(Vec::new(), |coded| coded.0);
            let held = Held::of(bytes, record.as_deref().map_or(&coded, str::as_bytes));
            match places.get_mut(&*path) {
                Some(starts) => starts,
                None => places.entry(path.into_owned()).or_default(),
            }
            .insert(start, held);
            count += 1;
            Ok(())
        })?;
    }
    Ok((places, count))
}

/// How many letters stand in the files behind what is committed: of chunks that are open, or whose worker died. The
/// next attempt cuts them off. A torn last one counts. Only files that are there are opened: most shards have none.
pub fn uncommitted(directory: &Path, committed: &[CommittedLength], opener: Opener) -> io::Result<u64> {
    let there = shards_in(directory)?;
    let mut count = 0;
    for &(shard, length) in committed.iter().filter(|(shard, _)| there.contains(shard)) {
        let path = path_of(directory, shard);
        let Some(mut file) = open_there(&path, OpenOptions::new().read(true), opener)? else { continue };
        file.seek(SeekFrom::Start(length))?;
        count += BufReader::with_capacity(BUFFER_BYTES, file).split(b'\n').count() as u64;
    }
    Ok(count)
}

/// The shards that have a file in the folder.
pub(super) fn shards_in(directory: &Path) -> io::Result<HashSet<ShardId>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(named(directory, error)),
    };
    let mut shards = HashSet::new();
    for entry in entries {
        let name = entry.map_err(|error| named(directory, error))?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".jsonl")?.parse().ok());
        shards.extend(number.map(ShardId));
    }
    Ok(shards)
}

/// Visits the whole lines within a file's first `length` bytes, without their ends. What is not there any more is left
/// out.
pub(super) fn each_line(
    path: &Path,
    length: u64,
    opener: Opener,
    visit: &mut dyn FnMut(&[u8]) -> serde_json::Result<()>,
) -> io::Result<()> {
    each_line_at(path, length, opener, &mut |at, line| visit(line).map_err(|error| no_letter(path, at, &error)))
}

/// Where a line of a file of letters stands.
#[derive(Clone, Copy, Debug)]
struct LineAt {
    /// From 1.
    number: u64,
    /// The place of its first byte.
    start: u64,
}

/// The same with each line's place.
fn each_line_at(
    path: &Path,
    length: u64,
    opener: Opener,
    visit: &mut dyn FnMut(LineAt, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    if length == 0 {
        return Ok(());
    }
    let Some(file) = open_there(path, OpenOptions::new().read(true), opener)? else { return Ok(()) };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file.take(length));
    let (mut line, mut end) = (Vec::new(), 0);
    for number in 1u64.. {
        let used = next_line(&mut file, &mut line)?;
        if used == 0 {
            break;
        }
        end += used;
        if !line.is_empty() {
            visit(LineAt { number, start: end - 1 - line.len() as u64 }, &line)?;
        }
    }
    Ok(())
}

fn no_letter(path: &Path, at: LineAt, error: &serde_json::Error) -> io::Error {
    let message = format!("{}: line {} is not a dead letter: {error}", printable_path(path), at.number);
    io::Error::new(io::ErrorKind::InvalidData, message)
}

/// Reads a line without its end, and says how many bytes it took with what stands before it; 0 if there is none. Holes
/// are passed over, and what stands before one in a line is torn.
pub(super) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<u64> {
    line.clear();
    let mut all = 0;
    loop {
        let bytes = file.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(0);
        }
        let used = match memchr::memchr2(b'\n', 0, bytes) {
            Some(at) if bytes[at] == 0 => {
                line.clear();
                at + bytes[at..].iter().take_while(|byte| **byte == 0).count()
            }
            Some(at) => {
                line.extend_from_slice(&bytes[..at]);
                file.consume(at + 1);
                return Ok(all + at as u64 + 1);
            }
            None => {
                line.extend_from_slice(bytes);
                len
            }
        };
        file.consume(used);
        all += used as u64;
    }
}

pub(super) fn parse(line: &[u8]) -> serde_json::Result<DeadLetter> {
    let written: Written<'_> = serde_json::from_slice(line)?;
    let record = match (written.record, written.record_base64) {
        (Some(text), _) => text.into_owned().into_bytes(),
        (None, coded) => coded.map_or(Vec::new(), |coded| coded.0),
    };
    Ok(DeadLetter {
        reason: written.reason.into_owned(),
        path: written.path.into_owned(),
        start: written.start,
        bytes: written.bytes,
        record,
        cut: written.cut,
    })
}
