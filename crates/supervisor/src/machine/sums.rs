//! Sums over all shards, counted as shards change.
//!
//! A job has up to some hundred thousand shards, and how it stands is shown several times a second: no part looks at
//! all shards for that. Responsible for sums that are what a recount would give. Not responsible for what changes a
//! shard.

use migration::{Counts, ShardId};

use super::values::Extent;
use super::{Machine, Shard, ShardState};

/// Sums over all shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Totals {
    /// Committed, over all runs.
    pub counts: Counts,
    /// Shards of the plan.
    pub shards: u64,
    /// Shards at their end.
    pub done: u64,
    /// Shards given up for this run.
    pub quarantined: u64,
    /// Bytes of all shards as stored; of a set of partitions its part of what it reads.
    pub bytes: u64,
    /// How many of these are through by what was committed.
    pub bytes_done: u64,
}

impl Totals {
    /// Of these shards.
    pub(super) fn of(shards: &[Shard]) -> Totals {
        let mut totals = Totals::default();
        for shard in shards {
            totals.put(shard);
            totals.counts.add(&shard.entry.counts);
        }
        totals
    }

    /// Adds a shard, but for its counts, which only grow and are added by themselves.
    pub(super) fn put(&mut self, shard: &Shard) {
        self.shards += 1;
        self.done += u64::from(shard.state == ShardState::Done);
        self.quarantined += u64::from(shard.state == ShardState::Quarantined);
        self.bytes += shard.extent.known_bytes();
        self.bytes_done += shard.bytes_done(&Counts::default());
    }

    /// How many stored bytes are through with `ahead` more than what is committed. What sets of partitions add up to is
    /// an estimate where files are compressed, until all are done.
    fn through(&self, ahead: u64) -> u64 {
        if self.done == self.shards { self.bytes } else { self.bytes.min(self.bytes_done + ahead) }
    }

    /// Takes away what [`Totals::put`] added.
    fn take(&mut self, shard: &Shard) {
        self.shards -= 1;
        self.done -= u64::from(shard.state == ShardState::Done);
        self.quarantined -= u64::from(shard.state == ShardState::Quarantined);
        self.bytes -= shard.extent.known_bytes();
        self.bytes_done -= shard.bytes_done(&Counts::default());
    }
}

impl Machine {
    /// Sums over all shards.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// How many stored bytes are through, committed or in progress as far as the last heartbeats told. Looks at the
    /// shards that are worked on, and at no others.
    pub fn bytes_done(&self) -> u64 {
        let running = self.attempts.iter().map(|(id, attempt)| {
            let shard = &self.shards[id.shard.0 as usize];
            shard.bytes_done(&attempt.ahead()).saturating_sub(shard.bytes_done(&Counts::default()))
        });
        self.totals.through(running.sum())
    }

    /// Changes a shard, and the sums with it. What is added to its counts is added to the sum of all.
    pub(super) fn change(&mut self, id: ShardId, change: impl FnOnce(&mut Shard)) {
        let shard = &mut self.shards[id.0 as usize];
        self.totals.take(shard);
        change(shard);
        self.totals.put(shard);
    }

    /// The sums as a look at all shards gives them.
    #[cfg(test)]
    pub(super) fn recount(&self) -> (Totals, u64) {
        let bytes_done = (0..).zip(&self.shards).map(|(i, shard)| {
            let ahead = self.attempts.iter().find(|(id, _)| id.shard == ShardId(i)).map(|(_, attempt)| attempt.ahead());
            shard.bytes_done(&ahead.unwrap_or_default())
        });
        let totals = Totals::of(&self.shards);
        let ahead = bytes_done.sum::<u64>().saturating_sub(totals.bytes_done);
        (totals, totals.through(ahead))
    }
}

impl Shard {
    /// How many of its stored bytes are through by what it committed and what an attempt has ahead of that.
    fn bytes_done(&self, ahead: &Counts) -> u64 {
        if self.state == ShardState::Done && self.extent.set.is_none() {
            return self.extent.known_bytes();
        }
        let mut through = self.entry.counts;
        through.add(ahead);
        self.extent.bytes_done(&through)
    }
}

impl Extent {
    /// Its bytes as stored, of a set of partitions its part of them; 0 where that is not known.
    fn known_bytes(&self) -> u64 {
        self.own(self.bytes.unwrap_or(0))
    }

    /// How many stored bytes of the dataset are through after `counts`: those of own rows, for keys are not spread
    /// evenly over sets, and a job is through when all rows are. Of a compressed shard judged by its records, and never
    /// all before its end.
    fn bytes_done(&self, counts: &Counts) -> u64 {
        let bytes = self.bytes.unwrap_or(0);
        if self.splittable {
            return counts.bytes_read.min(bytes);
        }
        let part = counts.read as f64 / self.records_estimate.max(1) as f64;
        (bytes as f64 * part.min(0.99)) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_compressed_shard_records_say_how_much_is_through_and_its_end_is_its_own_word() {
        let plain = Extent { bytes: Some(1000), splittable: true, ..super::super::tests::world::starts(1, 100)[0].extent };
        let packed = Extent { splittable: false, ..plain };
        let counts = |read| Counts { read, bytes_read: read * 10, ..Counts::default() };
        for (read, of_plain, of_packed) in [(0, 0, 0), (50, 500, 500), (99, 990, 990), (100, 1000, 990), (200, 1000, 990)] {
            assert_eq!((plain.bytes_done(&counts(read)), packed.bytes_done(&counts(read))), (of_plain, of_packed), "{read}");
        }
    }
}
