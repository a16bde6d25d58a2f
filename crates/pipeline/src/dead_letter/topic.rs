//! Dead letters in a topic: a record each, with its reason and its place in headers.
//!
//! Responsible for: what such a record has, and which of them count. Not responsible for sending or reading records of
//! a topic.
//!
//! An attempt numbers the letters of its shard: the first gets the number of letters that are committed before it, so
//! that of all numbers below the shard's committed count each has a committed letter, and no other does. What a worker
//! that died left behind is at or above the count of its time; its successors give these numbers again, to what they
//! set aside. So of letters with one number the newest attempt's is meant: an attempt that began after the number was
//! committed begins with a larger one.

use std::collections::VecDeque;
use std::path::PathBuf;

use migration::{Failure, ShardId};

use super::letter::DeadLetter;
use crate::{LettersInFlight, RecordPlace, Sink, SinkLimits};

/// The names of a letter's headers.
pub mod header {
    /// Why.
    pub const REASON: &str = "shardlift.reason";
    /// The job's name.
    pub const JOB: &str = "shardlift.job";
    /// Which start of the job: one that is started over is another job.
    pub const BEGAN: &str = "shardlift.began";
    /// The source object.
    pub const PATH: &str = "shardlift.path";
    /// The place of the record's first byte there.
    pub const START: &str = "shardlift.start";
    /// Its length there.
    pub const BYTES: &str = "shardlift.bytes";
    /// `true`: the value is the record's beginning and no more. Else the header is not there.
    pub const CUT: &str = "shardlift.cut";
    /// The shard.
    pub const SHARD: &str = "shardlift.shard";
    /// Which attempt of it set the record aside.
    pub const ATTEMPT: &str = "shardlift.attempt";
    /// The letter's number in the shard, from 0.
    pub const LETTER: &str = "shardlift.letter";
}

/// How much is kept of a record that is too long for the topic.
const HEAD_BYTES: usize = 64 << 10;
/// A longer key is left out: it stands in the record.
const LONGEST_KEY: usize = 16 << 10;
/// How much of a reason is kept, which may quote what a broker said.
const LONGEST_REASON: usize = 2_000;
/// What a letter costs in a batch besides key, value and headers, generously.
const OVERHEAD: usize = 200;
/// How many letters may be in flight.
const MOST_IN_FLIGHT: usize = 5_000;
/// And how many bytes of them; a single one may have more.
const MOST_BYTES_IN_FLIGHT: usize = 2 << 20;

/// A dead letter on its way to a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutgoingLetter {
    /// The record's key, if it has one that is known.
    pub key: Option<Vec<u8>>,
    /// The record, or its beginning.
    pub value: Vec<u8>,
    /// What is said of it.
    pub headers: Vec<(&'static str, String)>,
}

impl OutgoingLetter {
    fn header_bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.len() + value.len() + 10).sum()
    }

    /// What it costs in memory, about.
    pub fn bytes(&self) -> usize {
        self.value.len() + self.key.as_ref().map_or(0, Vec::len) + self.header_bytes() + OVERHEAD
    }
}

/// Whose letters a topic has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LettersOrigin {
    /// The job's name.
    pub job: String,
    /// Which start of it: a number that no other start of the job has.
    pub began: i64,
}

/// The letters of an attempt that go to a topic.
#[derive(Debug)]
pub struct TopicLetters {
    origin: LettersOrigin,
    shard: ShardId,
    attempt: u32,
    objects: Vec<String>,
    /// The number of the next.
    next: u64,
    /// What a letter may have, all in all.
    limit: usize,
    waiting: VecDeque<OutgoingLetter>,
}

impl TopicLetters {
    /// Those of an attempt at `shard`, of which `committed` are committed. `objects` are the paths of the shard's
    /// segments, by segment index.
    pub fn new(origin: LettersOrigin, shard: ShardId, attempt: u32, objects: &[PathBuf], committed: u64) -> TopicLetters {
        let objects = objects.iter().map(|object| object.to_string_lossy().into_owned()).collect();
        TopicLetters { origin, shard, attempt, objects, next: committed, limit: usize::MAX, waiting: VecDeque::new() }
    }

    pub(super) fn fit(&mut self, limits: SinkLimits) {
        self.limit = limits.batch_bytes.min(limits.record_bytes);
    }

    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    pub(super) fn append(&mut self, place: RecordPlace, reason: &str, key: Option<&[u8]>, record: &[u8], cut: bool) {
        let path = self.objects.get(place.segment as usize).cloned().unwrap_or_default();
        let mut letter = OutgoingLetter {
            key: key.filter(|key| key.len() <= LONGEST_KEY.min(self.limit / 4)).map(<[u8]>::to_vec),
            value: Vec::new(),
            headers: vec![
                (header::REASON, reason.chars().take(LONGEST_REASON).collect()),
                (header::PATH, path),
                (header::START, place.start.to_string()),
                (header::BYTES, place.bytes.to_string()),
                (header::JOB, self.origin.job.clone()),
                (header::BEGAN, self.origin.began.to_string()),
                (header::SHARD, self.shard.to_string()),
                (header::ATTEMPT, self.attempt.to_string()),
                (header::LETTER, self.next.to_string()),
            ],
        };
        let taken = letter.bytes();
        let room = self.limit.saturating_sub(taken);
        let kept = if record.len() > room { &record[..room.min(HEAD_BYTES)] } else { record };
        if cut || kept.len() < record.len() {
            letter.headers.push((header::CUT, "true".to_owned()));
        }
        letter.value = kept.to_vec();
        self.next += 1;
        self.waiting.push_back(letter);
    }

    pub(super) fn hand_over(&mut self, sink: &mut dyn Sink) -> Result<(), Failure> {
        while let Some(next) = self.waiting.front() {
            let LettersInFlight { count, bytes } = sink.letters_in_flight();
            if count > 0 && (count >= MOST_IN_FLIGHT || bytes + next.bytes() > MOST_BYTES_IN_FLIGHT) {
                break;
            }
            self.waiting.pop_front().map_or(Ok(()), |letter| sink.set_aside(letter))?;
        }
        Ok(())
    }
}

/// A letter as it was read from a topic, and what tells whether it counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicLetter {
    /// The shard that set it aside.
    pub shard: ShardId,
    /// Which attempt of it.
    pub attempt: u32,
    /// Its number in the shard.
    pub number: u64,
    /// It.
    pub letter: DeadLetter,
}

impl TopicLetter {
    /// Of a record with these headers; `None`: it is no letter of this job.
    pub fn of(origin: &LettersOrigin, headers: &[(&[u8], Option<&[u8]>)], value: &[u8]) -> Option<TopicLetter> {
        let text = |wanted: &str| {
            let found = headers.iter().find(|(name, _)| *name == wanted.as_bytes())?;
            std::str::from_utf8(found.1?).ok()
        };
        let number = |wanted: &str| text(wanted)?.parse::<u64>().ok();
        let own = text(header::JOB)? == origin.job && text(header::BEGAN)?.parse() == Ok(origin.began);
        own.then_some(())?;
        Some(TopicLetter {
            shard: ShardId(number(header::SHARD)?.try_into().ok()?),
            attempt: number(header::ATTEMPT)?.try_into().ok()?,
            number: number(header::LETTER)?,
            letter: DeadLetter {
                reason: text(header::REASON)?.to_owned(),
                path: text(header::PATH)?.to_owned(),
                start: number(header::START)?,
                bytes: number(header::BYTES)?,
                record: value.to_vec(),
                cut: text(header::CUT) == Some("true"),
            },
        })
    }
}
