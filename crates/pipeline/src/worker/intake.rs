//! Taking lines: what becomes of each line of a block. This is the hot path: no allocation, no clock and no dynamic call for
//! a record that is sent as it is.

use std::rc::Rc;
use std::time::Instant;

use migration::Failure;
use migration::job::FlushPolicy;

use super::throttle::Throttle;
use super::{ShardWorker, set_aside};
use crate::lanes::{Lanes, Push, Ready};
use crate::mapping::{MapError, Mapping};
use crate::source::is_blank;
use crate::{Block, Line, RecordPlace};

/// Why no more lines are taken for now.
pub(super) enum Stop {
    /// The block is used up, or the chunk is full.
    Block,
    /// A record was taken and is to be flushed.
    Record,
    /// A group is to be handed over first.
    Full(Ready),
    /// This partition (`None`: each) is not ready to take more.
    Blocked(Option<u32>),
    /// There is no memory for one more.
    NoRoom,
    /// The rate limit has no token for a record of so many bytes.
    Rate(usize),
}

/// What became of one line.
enum Fate {
    Sent,
    Blank,
    Bad(String),
    NotTaken(Stop),
}

/// Where records go on their way to the client.
struct Intake<'a> {
    lanes: &'a mut Lanes,
    throttle: &'a mut Throttle,
    mapping: &'a mut Mapping,
    partitioner: fn(&[u8], u32) -> Option<u32>,
    /// The largest value and key together.
    record_bytes: usize,
    limited: bool,
    identity: bool,
}

impl ShardWorker {
    /// Takes lines of the current block until something stops it, and notes what was taken.
    pub(super) fn take_lines(&mut self, now: Instant) -> Result<Stop, Failure> {
        let ShardWorker { lines, lanes, pool, throttle, mapping, letters, chunk, position, settings, .. } = self;
        let Some(block) = &lines.block else { return Ok(Stop::Block) };
        lanes.limit_copies(pool.room_beside(block));
        let mut intake = Intake {
            limited: throttle.limited(),
            identity: mapping.is_identity_keyless(),
            record_bytes: self.limits.record_bytes.saturating_sub(settings.headers_bytes),
            partitioner: settings.partitioner,
            lanes,
            throttle,
            mapping,
        };
        let each_record = settings.flush == FlushPolicy::Record;
        let full_at = position.place.saturating_add(chunk.bytes_left());
        let most = match settings.toll {
            Some(_) => 1,
            None => usize::try_from(chunk.records_left()).unwrap_or(usize::MAX),
        };
        let offered = lines.lines[self.cursor..].iter().take(most);

        let (mut taken, mut blank, mut bad) = (0u64, 0u64, 0u64);
        let (mut place, mut stop) = (position.place, Stop::Block);
        for line in offered {
            let fate = intake.offer(block, line);
            if let Fate::NotTaken(reason) = fate {
                stop = reason;
                break;
            }
            taken += 1;
            place = line.end_place;
            match fate {
                Fate::Sent if each_record => {
                    stop = Stop::Record;
                    break;
                }
                Fate::Blank => blank += 1,
                Fate::Bad(reason) => {
                    bad += 1;
                    let start = block.place + u64::from(line.start);
                    let place = RecordPlace { segment: block.segment, start, bytes: line.whole };
                    set_aside(letters, place, &reason, text(block, line))?;
                }
                Fate::Sent | Fate::NotTaken(_) => {}
            }
            if place >= full_at {
                break;
            }
        }
        chunk.took(taken, place - position.place, now);
        chunk.counts.filtered += blank;
        chunk.counts.dead_lettered += bad;
        position.place = place;
        position.records += taken;
        self.cursor += taken as usize;
        if taken > 0 {
            self.gate.passed();
        }
        Ok(stop)
    }
}

impl Intake<'_> {
    #[inline]
    fn offer(&mut self, block: &Rc<Block>, line: &Line) -> Fate {
        if line.too_long() {
            return Fate::Bad(format!("the line has {} bytes, more than source.jsonl.max_line allows", line.whole));
        }
        let value = text(block, line);
        if is_blank(value) {
            return Fate::Blank;
        }
        if self.limited && !self.throttle.allows(value.len()) {
            return Fate::NotTaken(Stop::Rate(value.len()));
        }
        if self.identity {
            if value.len() > self.record_bytes {
                return self.too_large(value.len());
            }
            let push = self.lanes.push_open(block, line.start, line.len, None);
            return self.fate(push, value.len());
        }
        self.map(block, line, value)
    }

    fn map(&mut self, block: &Rc<Block>, line: &Line, value: &[u8]) -> Fate {
        let keyed = self.mapping.has_key();
        let mapped = match self.mapping.map(value) {
            Ok(mapped) => mapped,
            Err(error) => return bad(&error),
        };
        let key = mapped.key.bytes(value);
        let bytes = value.len() + key.map_or(0, <[u8]>::len);
        if bytes > self.record_bytes {
            return self.too_large(bytes);
        }
        let partitions = self.lanes.partitions();
        let partition = key.and_then(|key| (self.partitioner)(key, partitions));
        let (start, len, key, timestamp) = (line.start, line.len, mapped.key, mapped.timestamp);
        let push = match partition {
            Some(partition) => self.lanes.push(partition as usize, block, start, len, key, timestamp),
            None if keyed => self.lanes.push_any(block, start, len, key, timestamp),
            None => self.lanes.push_open(block, start, len, timestamp),
        };
        self.fate(push, bytes)
    }

    #[inline]
    fn fate(&mut self, push: Push, bytes: usize) -> Fate {
        match push {
            Push::Taken => {
                if self.limited {
                    self.throttle.charge(bytes);
                }
                Fate::Sent
            }
            Push::Full(ready) => Fate::NotTaken(Stop::Full(ready)),
            Push::Blocked(partition) => Fate::NotTaken(Stop::Blocked(partition)),
            Push::NoRoom => Fate::NotTaken(Stop::NoRoom),
        }
    }

    #[cold]
    fn too_large(&self, bytes: usize) -> Fate {
        let most = self.record_bytes;
        Fate::Bad(format!(
            "the record has {bytes} bytes of key and value; the topic's max.message.bytes leaves room for {most}"
        ))
    }
}

#[cold]
fn bad(error: &MapError) -> Fate {
    Fate::Bad(error.to_string())
}

#[inline]
fn text<'a>(block: &'a Block, line: &Line) -> &'a [u8] {
    &block.bytes[line.start as usize..][..line.len as usize]
}
