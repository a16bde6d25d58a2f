//! Reading dead letters, and which of them are gone.
//!
//! Responsible for: what is committed, and no more: a reader looks no further than the committed length.

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use migration::ShardId;
use migration::printable::printable_path;
use migration::report::GoneLetters;

use super::letter::{BUFFER_BYTES, CommittedLength, DeadLetter, Held, Opener, Places, Written, named, open_there, path_of};

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
    if length == 0 {
        return Ok(());
    }
    let Some(file) = open_there(path, OpenOptions::new().read(true), opener)? else { return Ok(()) };
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file.take(length));
    let mut line = Vec::new();
    for number in 1u64.. {
        if !next_line(&mut file, &mut line)? {
            break;
        }
        if !line.is_empty() {
            visit(&line).map_err(|error| {
                let message = format!("{}: line {number} is not a dead letter: {error}", printable_path(path));
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
        }
    }
    Ok(())
}

/// Reads a line without its end; false if there is none. Holes are passed over, and what stands before one in a line is
/// torn.
pub(super) fn next_line(file: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    loop {
        let bytes = file.fill_buf()?;
        let len = bytes.len();
        if len == 0 {
            return Ok(false);
        }
        let used = match memchr::memchr2(b'\n', 0, bytes) {
            Some(at) if bytes[at] == 0 => {
                line.clear();
                at + bytes[at..].iter().take_while(|byte| **byte == 0).count()
            }
            Some(at) => {
                line.extend_from_slice(&bytes[..at]);
                file.consume(at + 1);
                return Ok(true);
            }
            None => {
                line.extend_from_slice(bytes);
                len
            }
        };
        file.consume(used);
    }
}

fn parse(line: &[u8]) -> serde_json::Result<DeadLetter> {
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
