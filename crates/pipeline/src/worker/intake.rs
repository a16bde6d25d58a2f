//! Taking rows: each row of a block goes to the lanes, is counted as blank, or set aside. This is the hot path: no
//! allocation, no clock and no dynamic call for a record that is sent as it is.

use std::rc::Rc;
use std::time::Instant;

use migration::Failure;
use migration::job::FlushPolicy;

use super::refused::Refused;
use super::throttle::Throttle;
use super::{ROWS_A_STEP, ShardWorker};
use crate::fate::{self, Look, OwnRows, Takes, Whose};
use crate::lanes::{Lanes, Push, Ready};
use crate::mapping::Mapping;
use crate::{Block, Row};

/// Why no more rows are taken for now.
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
    /// The rate limit has no token for a record of this size, bytes.
    Rate(usize),
}

/// What became of one row.
enum Fate {
    Sent,
    Blank,
    Bad(String),
    /// Another shard takes it.
    Others,
    NotTaken(Stop),
}

/// Where records go on their way to the client.
struct Intake<'a> {
    lanes: &'a mut Lanes,
    throttle: &'a mut Throttle,
    mapping: &'a mut Mapping,
    partitioner: fn(&[u8], u32) -> Option<u32>,
    own: Option<&'a OwnRows>,
    takes: Takes,
    limited: bool,
    /// Records are sent without a look at what they hold.
    identity: bool,
    refused: &'a Refused,
}

impl ShardWorker {
    /// Takes rows of the current block until something stops it, and notes what was taken.
    pub(super) fn take_rows(&mut self, now: Instant) -> Result<Stop, Failure> {
        let set_aside = self.set_aside();
        let ShardWorker { rows, lanes, pool, throttle, mapping, letters, chunk, position, settings, .. } = self;
        let Some(block) = &rows.block else { return Ok(Stop::Block) };
        lanes.limit_copies(pool.room_beside(block));
        let takes = Takes::now(self.limits, settings.headers_bytes, settings.topic);
        let mut intake = Intake {
            limited: throttle.limited(),
            identity: mapping.is_identity_keyless() && !takes.wants_keys(),
            takes,
            partitioner: settings.partitioner,
            own: settings.own.as_ref(),
            refused: &settings.refused,
            lanes,
            throttle,
            mapping,
        };
        let each_record = settings.flush == FlushPolicy::Record;
        let bytes_left = chunk.bytes_left();
        let records_left = chunk.records_left();
        let offered = rows.rows.iter().enumerate().skip(self.cursor).take(ROWS_A_STEP as usize);
        let letters_left = settings.letters_left.saturating_sub(set_aside);

        let (mut taken, mut bytes, mut blank, mut bad) = (0u64, 0u64, 0u64, 0u64);
        let (mut others, mut bytes_others) = (0u64, 0u64);
        let (mut place, mut stop, mut failed) = (position.place, Stop::Block, None);
        for (index, row) in offered {
            let mut last = false;
            let look = rows.look(block, index);
            // A row that its reader calls bad is the source's own bytes.
            let cut = matches!(look, Look::Bad(_)) && u64::from(row.len) < row.whole;
            match intake.offer(block, row, look, index) {
                Fate::Others => {
                    others += 1;
                    bytes_others += row.counts;
                    place = row.after;
                    continue;
                }
                Fate::NotTaken(reason) => {
                    stop = reason;
                    break;
                }
                Fate::Sent if each_record => (stop, last) = (Stop::Record, true),
                Fate::Sent => {}
                Fate::Blank => blank += 1,
                Fate::Bad(reason) => {
                    let place = block.place_of(index, row);
                    last = settings.refused.is_last(&place);
                    if let Err(failure) = letters.set_aside(place, &reason, None, row.text(block), cut) {
                        // What was taken before it was taken all the same.
                        failed = Some(failure);
                        break;
                    }
                    bad += 1;
                    if last {
                        chunk.end_here();
                    }
                    last |= bad > letters_left;
                }
            }
            taken += 1;
            bytes += row.counts;
            place = row.after;
            if last || bytes >= bytes_left || taken >= records_left {
                break;
            }
        }
        chunk.took(taken, bytes, now);
        chunk.passed_over(others, bytes_others, now);
        chunk.counts.filtered += blank;
        chunk.counts.dead_lettered += bad;
        position.place = place;
        let passed = taken + others;
        position.records += passed;
        self.cursor += passed as usize;
        if passed > 0 {
            position.segment = block.segment_of(self.cursor - 1);
        }
        failed.map_or(Ok(stop), Err)
    }
}

impl Intake<'_> {
    /// `index`: that of the row in its block.
    #[inline]
    fn offer(&mut self, block: &Rc<Block>, row: &Row, look: Look<'_>, index: usize) -> Fate {
        let mut own = None;
        if let Some(rows) = self.own {
            match rows.whose(self.mapping, look, || block.place_of(index, row)) {
                Whose::Others => return Fate::Others,
                Whose::Own(partition) => own = Some(partition),
            }
        }
        if let Some(reason) = self.refused.reason(|| block.place_of(index, row)) {
            return Fate::Bad(reason.to_owned());
        }
        let value = match look {
            Look::Record(value) => value,
            Look::Blank => return Fate::Blank,
            Look::Bad(reason) => return Fate::Bad(reason.to_owned()),
        };
        if self.limited && !self.throttle.allows(value.len()) {
            return Fate::NotTaken(Stop::Rate(value.len()));
        }
        if self.identity {
            if let Err(reason) = self.takes.size(None, value.len()) {
                return Fate::Bad(reason);
            }
            let push = self.lanes.push_open(block, row.start, row.len, None);
            return self.fate(push, value.len());
        }
        self.map(block, row, value, own)
    }

    /// `own`: the partition, where it is known by whose the record is.
    fn map(&mut self, block: &Rc<Block>, row: &Row, value: &[u8], own: Option<Option<u32>>) -> Fate {
        let keyed = self.mapping.has_key();
        let mapped = match own {
            Some(_) => fate::own_record(self.mapping, &self.takes, value),
            None => fate::record(self.mapping, &self.takes, value),
        };
        let mapped = match mapped {
            Ok(mapped) => mapped,
            Err(reason) => return Fate::Bad(reason),
        };
        let bytes = value.len() + mapped.key.len();
        let partitions = self.lanes.partitions();
        let chosen = || mapped.key.bytes(value).and_then(|key| (self.partitioner)(key, partitions));
        let partition = own.unwrap_or_else(chosen);
        let (start, len, key, timestamp) = (row.start, row.len, mapped.key, mapped.timestamp);
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
