//! Letters that were read from a topic, written one after the other into a file, so that they can be read again in any
//! order.
//!
//! Responsible for: which of them are committed, which are missing, and memory that does not depend on what they hold.
//! Not responsible for reading the topic.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::FileExt as _;

use migration::ShardId;
use migration::report::GoneLetters;
use serde::{Deserialize, Serialize};

use super::file::line_of;
use super::letter::{BUFFER_BYTES, DeadLetter, Held, LetterPlace, Places};
use super::read::parse;
use super::topic::TopicLetter;

/// Where a letter stands in the spool.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Spooled {
    start: u64,
    bytes: u64,
}

/// Letters while they are read from a topic.
pub struct LetterSpool {
    file: BufWriter<File>,
    length: u64,
    /// Of each number of a shard the newest: attempt and time, and where it is.
    newest: HashMap<(ShardId, u64), ((u32, i64), Spooled)>,
}

impl LetterSpool {
    /// An empty one, in a file that is empty.
    pub fn new(file: File) -> LetterSpool {
        LetterSpool { file: BufWriter::with_capacity(BUFFER_BYTES, file), length: 0, newest: HashMap::new() }
    }

    /// Adds a letter with the time that its record has, in any order.
    pub fn add(&mut self, letter: &TopicLetter, time: i64) -> io::Result<()> {
        let rank = (letter.attempt, time);
        let key = (letter.shard, letter.number);
        if self.newest.get(&key).is_some_and(|(known, _)| *known >= rank) {
            return Ok(());
        }
        let line = line_of(&letter.letter)?;
        self.file.write_all(&line)?;
        let place = Spooled { start: self.length, bytes: line.len() as u64 };
        self.length += place.bytes;
        self.newest.insert(key, (rank, place));
        Ok(())
    }

    /// What was found, if the shards have committed this number of letters each.
    pub fn end(mut self, counted: &[(ShardId, u64)]) -> io::Result<SpooledLetters> {
        self.file.flush()?;
        let committed: HashMap<ShardId, u64> = counted.iter().copied().collect();
        let is_committed = |(shard, number): (ShardId, u64)| number < committed.get(&shard).copied().unwrap_or(0);
        let (kept, rest): (Vec<_>, Vec<_>) = self.newest.into_iter().partition(|(key, _)| is_committed(*key));
        let mut found: HashMap<ShardId, u64> = HashMap::new();
        kept.iter().for_each(|((shard, _), _)| *found.entry(*shard).or_default() += 1);
        let missing = |(shard, letters): &(ShardId, u64)| {
            let missing = letters - found.get(shard).copied().unwrap_or(0);
            (missing > 0).then_some(GoneLetters { shard: *shard, letters: missing, bytes: 0 })
        };
        let gone = counted.iter().filter_map(missing).collect();
        let mut letters: Vec<_> = kept.into_iter().map(|((shard, number), (_, place))| (shard, number, place)).collect();
        letters.sort_unstable_by_key(|(shard, number, _)| (*shard, *number));
        Ok(SpooledLetters { letters, gone, uncommitted: rest.len() as u64 })
    }
}

/// The committed letters of a spool, and what is said of the others.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct SpooledLetters {
    /// By shard and number.
    letters: Vec<(ShardId, u64, Spooled)>,
    /// Which committed ones the topic has no more.
    pub gone: Vec<GoneLetters>,
    /// How many are of chunks that are open, or whose worker died: their records were sent, or set aside again.
    pub uncommitted: u64,
}

impl SpooledLetters {
    /// How many.
    pub fn count(&self) -> u64 {
        self.letters.len() as u64
    }

    /// Hands each letter to `visit`, with its number as its place.
    pub fn each(&self, file: &File, visit: &mut dyn FnMut(LetterPlace, DeadLetter) -> io::Result<()>) -> io::Result<()> {
        for &(shard, number, place) in &self.letters {
            visit(LetterPlace { shard, start: number, bytes: 0 }, read_at(file, place)?)?;
        }
        Ok(())
    }

    /// The letter at a place where it was seen.
    pub fn read(&self, file: &File, place: LetterPlace) -> io::Result<DeadLetter> {
        let at = self.letters.binary_search_by_key(&(place.shard, place.start), |(shard, number, _)| (*shard, *number));
        let (_, _, place) = at.ok().and_then(|at| self.letters.get(at)).ok_or(io::ErrorKind::NotFound)?;
        read_at(file, *place)
    }

    /// Where their records stand, and a hash of what is held of each.
    pub fn places(&self, file: &File) -> io::Result<Places> {
        let mut places = Places::new();
        self.each(file, &mut |_, letter| {
            let held = Held::of(letter.bytes, &letter.record);
            places.entry(letter.path).or_default().insert(letter.start, held);
            Ok(())
        })?;
        Ok(places)
    }
}

fn read_at(file: &File, place: Spooled) -> io::Result<DeadLetter> {
    let mut line = vec![0; usize::try_from(place.bytes).unwrap_or(usize::MAX)];
    file.read_exact_at(&mut line, place.start)?;
    Ok(parse(&line)?)
}
