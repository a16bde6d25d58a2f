//! What compaction may have taken.
//!
//! Compaction removes a record only when a newer one of the same key is in the same partition, and of the newest only
//! tombstones, when they are older than `delete.retention.ms`. So of each key and partition the newest readable record
//! decides:
//! - There is none: whatever the source has of the key is missing. A tombstone may have been there, or retention
//!   (`compact,delete`) may have taken the newest: why the topic lacks it can't be told.
//! - It is none of the source's (another producer's, with the job's headers or without): it may have replaced every
//!   record of ours. If it may be the job's, it may also be one of ours that was altered: what it explains is doubtful.
//! - It is the source's: records of its own shard (or [`Stretch`]) were sent in source order, so those that follow it
//!   there would be newer, and one of them would be readable. They are missing. Nothing is known about the shard's
//!   earlier ones, nor about other shards'. The newest one is then outdated, too, if in each shard that has it a later
//!   one follows: whether that one is missing, or stands before it. Where the newest one is none of the source's, what
//!   ours are is not judged: the cleaner may have taken any of them.
//!
//! Where the source has equal records, the most harmless reading counts: nothing is called missing that compaction
//! could explain. But whatever is explained of a key is doubtful if any readable record of it may be the job's and is
//! none of the source's: not only the newest one may stand where one of ours should.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::num::NonZeroU64;

use super::hash::{Mixed, RecordHash};
use super::reading::FoundRecord;
use super::source::{SourceOrder, Stretch};
use super::{TopicReader, Verification, VerifyExample};

/// The groups of keys that have no partition of their own, or whose partition may have changed: records of all
/// partitions.
const ANY: u32 = u32::MAX;

/// How many times smaller slices are, so that the keys fit beside the tables.
pub(super) const SMALLER: usize = 4;

/// A hash that stands for no record of the source.
const NONE_OF_OURS: [u64; 2] = [0; 2];

/// The newest records of the keys of one slice.
pub(super) struct Newest {
    keys: HashMap<u64, PartitionKey, BuildHasherDefault<Mixed>>,
    /// How many partitions the topic has now.
    partitions: u32,
}

/// One key and partition. Offsets of different partitions are not compared: then only whether there is one counts.
struct PartitionKey {
    /// Where the newest readable record stands; below 0: there is none.
    offset: i64,
    /// What it is.
    newest: [u64; 2],
    /// Of the source: records that the topic lacks.
    missing: u64,
    /// The newest record in the source, in the shard that explains most.
    best: Option<Tail>,
    /// The same in the shard that is read.
    current: Option<Tail>,
    /// Whether a readable record may be the job's, and the source does not have it.
    strange: bool,
}

/// Records that the topic lacks and compaction may have taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Explained {
    /// How many.
    pub(super) records: u64,
    /// Those of keys of which the topic has a record that the source does not have and that may be an altered one.
    pub(super) doubtful: u64,
    /// Keys, missing records or not, whose newest one is the source's and not the last one of any shard.
    pub(super) outdated: u64,
}

/// A key whose newest record is not the source's last one.
pub(super) struct OutdatedKey {
    pub(super) group: u64,
    /// Where the newest one stands.
    pub(super) offset: i64,
    /// In what part of the source a later one of the key follows that one.
    pub(super) stretch: Stretch,
    pub(super) example: Option<VerifyExample>,
}

/// What follows the last copy of a record in a shard.
#[derive(Clone, Copy)]
struct Tail {
    number: NonZeroU64,
    stretch: Stretch,
    /// How many records of the key; 2^32 - 1 are as good as more.
    after: u32,
}

impl Default for PartitionKey {
    fn default() -> PartitionKey {
        PartitionKey { offset: -1, newest: NONE_OF_OURS, missing: 0, best: None, current: None, strange: false }
    }
}

impl Newest {
    /// `None`: nothing is compacted.
    pub(super) fn of(topic: &dyn TopicReader) -> Option<Newest> {
        let partitions = topic.ranges().len() as u32;
        (topic.is_compacted() == Some(true)).then(|| Newest { keys: HashMap::default(), partitions })
    }

    pub(super) fn clear(&mut self) {
        self.keys.clear();
    }

    /// Notes a key of the source. Its group; 0 for a null key, which compaction does not know.
    pub(super) fn expect(&mut self, job: &Verification<'_>, key: Option<&[u8]>, hash: &RecordHash) -> u64 {
        let group = self.group(job, key, hash, None);
        if group != 0 {
            self.keys.entry(group).or_default();
        }
        group
    }

    /// Takes a record of the topic. `known`: the source has it. `all`: every key that the source has is noted already,
    /// so others need no place.
    pub(super) fn see(&mut self, job: &Verification<'_>, found: &FoundRecord<'_>, known: bool, all: bool) {
        let FoundRecord { record, hash, own } = found;
        let offset = record.offset;
        let group = self.group(job, record.key, hash, Some(record.partition));
        if !all && group != 0 {
            self.keys.entry(group).or_default();
        }
        let Some(key) = self.keys.get_mut(&group) else { return };
        key.strange |= *own && !known;
        if key.offset < offset {
            (key.offset, key.newest) = (offset, if *own { hash.halves() } else { NONE_OF_OURS });
        }
    }

    pub(super) fn group(&self, job: &Verification<'_>, key: Option<&[u8]>, hash: &RecordHash, found: Option<u32>) -> u64 {
        let Some(key) = key else { return 0 };
        let partition = match (job.partitioner)(key, job.partitions) {
            Some(partition) if self.partitions == job.partitions => found.unwrap_or(partition),
            _ => ANY,
        };
        hash.group(partition).unwrap_or(0)
    }

    /// `records` more records of a group are missing.
    pub(super) fn miss(&mut self, group: u64, records: u64) {
        if let Some(key) = self.keys.get_mut(&group) {
            key.missing += records;
        }
    }

    /// Takes a record of the source; all of them come in the plan's order, after the topic.
    pub(super) fn follow(&mut self, job: &Verification<'_>, key: Option<&[u8]>, hash: &RecordHash, order: SourceOrder) {
        let group = self.group(job, key, hash, None);
        let ordered = hash.group(ANY) != Some(group);
        let Some(key) = self.keys.get_mut(&group).filter(|key| ordered && key.offset >= 0) else { return };
        if key.current.is_some_and(|tail| tail.stretch != order.stretch) {
            key.close();
        }
        if hash.halves() == key.newest {
            key.current = Some(Tail { number: order.number, stretch: order.stretch, after: 0 });
        } else if let Some(tail) = &mut key.current {
            tail.after = tail.after.saturating_add(1);
        }
    }

    /// Ends the source. Hands each group with the number of its records that are missing whatever compaction did, and
    /// returns how many it can explain.
    pub(super) fn judge(&mut self, really: &mut dyn FnMut(u64, u64)) -> Explained {
        let mut explained = Explained::default();
        for (group, key) in &mut self.keys {
            key.close();
            let missing = match key.best {
                _ if key.offset < 0 => key.missing,
                None => 0,
                Some(tail) => key.missing.min(tail.after.into()),
            };
            explained.records += key.missing - missing;
            explained.outdated += u64::from(key.outdated().is_some());
            explained.doubtful += if key.strange { key.missing - missing } else { 0 };
            really(*group, missing);
        }
        explained
    }

    /// Some of the keys whose newest record is not the last one: whichever process looks, the same.
    pub(super) fn outdated(&self, most: usize) -> Vec<OutdatedKey> {
        let outdated = |(&group, key): (&u64, &PartitionKey)| {
            let stretch = key.outdated()?;
            Some(OutdatedKey { group, offset: key.offset, stretch, example: None })
        };
        let mut found: Vec<_> = self.keys.iter().filter_map(outdated).collect();
        found.sort_by_key(|key| key.group);
        found.truncate(most);
        found
    }

    /// Whether a record of the source that the topic lacks is one of those that are missing whatever compaction did.
    pub(super) fn contradicts(&self, group: u64, order: SourceOrder) -> bool {
        let Some(key) = self.keys.get(&group) else { return true };
        key.offset < 0 || key.best.is_some_and(|tail| tail.stretch == order.stretch && tail.number < order.number)
    }
}

impl PartitionKey {
    /// In what part of the source its newest record is followed by another one of the key, if it is in each that has
    /// it.
    fn outdated(&self) -> Option<Stretch> {
        self.best.filter(|tail| self.offset >= 0 && tail.after > 0).map(|tail| tail.stretch)
    }

    /// The shard is read.
    fn close(&mut self) {
        let current = self.current.take();
        if let Some(tail) = current
            && self.best.is_none_or(|best| tail.after < best.after)
        {
            self.best = Some(tail);
        }
    }
}

/// Bytes of a key in the table.
#[cfg(test)]
pub(super) fn key_bytes() -> usize {
    size_of::<(u64, PartitionKey)>()
}
