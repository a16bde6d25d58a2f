//! Taking lines: what becomes of each line of a block. This is the hot path: no allocation, no clock and no dynamic call for
//! a record that is sent as it is.

use std::rc::Rc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use migration::job::FlushPolicy;
use migration::{Failure, TopicSettings};

use super::throttle::Throttle;
use super::{ROWS_A_STEP, ShardWorker};
use crate::lanes::{Lanes, Push, Ready};
use crate::mapping::{MapError, Mapping};
use crate::source::is_blank;
use crate::{Block, Line, RecordPlace, SinkLimits};

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
    limits: SinkLimits,
    headers_bytes: usize,
    /// Value and key together are surely not too large up to this.
    surely_fits: usize,
    topic: TopicSettings,
    /// The earliest and the latest time that the topic may take now.
    times: (i64, i64),
    limited: bool,
    /// Lines need not be looked at.
    identity: bool,
}

impl ShardWorker {
    /// Takes lines of the current block until something stops it, and notes what was taken.
    pub(super) fn take_lines(&mut self, now: Instant) -> Result<Stop, Failure> {
        let set_aside = self.set_aside();
        let ShardWorker { lines, lanes, pool, throttle, mapping, letters, chunk, position, settings, .. } = self;
        let Some(block) = &lines.block else { return Ok(Stop::Block) };
        lanes.limit_copies(pool.room_beside(block));
        let mut intake = Intake {
            limited: throttle.limited(),
            identity: mapping.is_identity_keyless() && !settings.topic.compacted,
            limits: self.limits,
            headers_bytes: settings.headers_bytes,
            surely_fits: self.limits.surely_fits(settings.headers_bytes),
            topic: settings.topic,
            times: if settings.topic.limits_times() { settings.topic.times(now_ms()) } else { (i64::MIN, i64::MAX) },
            partitioner: settings.partitioner,
            lanes,
            throttle,
            mapping,
        };
        let each_record = settings.flush == FlushPolicy::Record;
        let full_at = position.place.saturating_add(chunk.bytes_left());
        let most = match settings.toll {
            Some(_) => 1,
            None => usize::try_from(chunk.records_left().min(ROWS_A_STEP)).unwrap_or(usize::MAX),
        };
        let offered = lines.lines[self.cursor..].iter().take(most);
        let letters_left = settings.letters_left.saturating_sub(set_aside);

        let (mut taken, mut blank, mut bad) = (0u64, 0u64, 0u64);
        let (mut place, mut stop, mut failed) = (position.place, Stop::Block, None);
        for line in offered {
            let mut last = false;
            match intake.offer(block, line) {
                Fate::NotTaken(reason) => {
                    stop = reason;
                    break;
                }
                Fate::Sent if each_record => (stop, last) = (Stop::Record, true),
                Fate::Sent => {}
                Fate::Blank => blank += 1,
                Fate::Bad(reason) => {
                    let start = block.place + u64::from(line.start);
                    let place = RecordPlace { segment: block.segment, start, bytes: line.whole };
                    if let Err(failure) = super::set_aside(letters, place, &reason, text(block, line)) {
                        // What was taken before it was taken all the same.
                        failed = Some(failure);
                        break;
                    }
                    bad += 1;
                    last = bad > letters_left;
                }
            }
            taken += 1;
            place = line.end_place;
            if last || place >= full_at {
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
        failed.map_or(Ok(stop), Err)
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
            if value.len() > self.surely_fits
                && let Some(reason) = too_large(&self.limits, self.headers_bytes, None, value.len())
            {
                return Fate::Bad(reason);
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
        if bytes > self.surely_fits
            && let Some(reason) = too_large(&self.limits, self.headers_bytes, key.map(<[u8]>::len), value.len())
        {
            return Fate::Bad(reason);
        }
        if key.is_none() && self.topic.compacted {
            return Fate::Bad(self.topic.no_key());
        }
        if let Some(time) = mapped.timestamp
            && !(self.times.0..=self.times.1).contains(&time)
        {
            return Fate::Bad(self.topic.too_early_or_late(time < self.times.0));
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
}

/// Why a record of these sizes is not taken, if it is not.
#[cold]
fn too_large(limits: &SinkLimits, headers_bytes: usize, key: Option<usize>, value: usize) -> Option<String> {
    if limits.takes(key, value, headers_bytes) {
        return None;
    }
    let bytes = key.unwrap_or(0) + value;
    let most = limits.record_bytes.saturating_sub(headers_bytes);
    Some(match limits.alone {
        Some(alone) if bytes <= most => format!(
            "the record has {bytes} bytes of key and value; with what a batch adds that is more than the topic's max.message.bytes = \
             {} allows",
            alone.bytes
        ),
        _ => format!("the record has {bytes} bytes of key and value; the topic's max.message.bytes leaves room for {most}"),
    })
}

/// Milliseconds since 1970.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cold]
fn bad(error: &MapError) -> Fate {
    Fate::Bad(error.to_string())
}

#[inline]
fn text<'a>(block: &'a Block, line: &Line) -> &'a [u8] {
    &block.bytes[line.start as usize..][..line.len as usize]
}
