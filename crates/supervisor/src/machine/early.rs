//! Early workers: while a worker flushes and commits the end of its shard, the next shard's worker connects.
//!
//! Responsible for when such a worker is started and when it gets its slot. It takes no record before that, so no more
//! workers send than there are slots, and it is no worker of `workers.count`: what it costs is memory, descriptors and
//! connections, for which preflight has room. There is at most one for each slot, and for each shard one attempt as
//! always. Not responsible for which worker leaves when there are fewer slots (`slots`): early ones do at once.

use std::time::Duration;

use super::values::{Action, AttemptId};
use super::{MOST_FORKS_AT_ONCE, Machine, Stage};

impl Machine {
    /// Starts early workers for slots whose shards are at their ends, while shards wait that have no slot.
    pub(super) fn fork_early(&mut self, now: Duration, out: &mut Vec<Action>) {
        for _ in 0..MOST_FORKS_AT_ONCE {
            let Some(slot) = self.early_slot() else { return };
            let Some(shard) = self.ready.pop_first() else { return };
            self.fork(shard, Some(slot), now, out);
        }
    }

    /// A slot that will be free soon and has no early worker, if one may be started. With more workers than slots a
    /// slot that becomes free is not filled again; and where forks fail, those that have a slot come first.
    pub(super) fn early_slot(&self) -> Option<u32> {
        let allowed = self.rules.early && !self.no_early && self.fork_failures == 0 && self.shortage.is_none();
        let wanted = self.may_start() && !self.ready.is_empty() && !self.has_room();
        if !allowed || !wanted || self.admitted() > self.rules.slots as usize {
            return None;
        }
        let held: Vec<u32> = self.attempts.values().filter(|a| a.held).map(|a| a.slot).collect();
        let ending = || self.attempts.values().filter(|a| !a.held && a.at_end && a.alive() && !a.surplus);
        // One that waits for another slot takes the first that becomes free.
        if held.len() >= ending().count() {
            return None;
        }
        ending().map(|attempt| attempt.slot).find(|slot| !held.contains(slot))
    }

    /// Gives a free slot to the early worker of the first shard that has one, unless a worker may be forked for one
    /// before it (`fork`). In a pause, too: it has connected, and waits for `continue` as the others do. It is told
    /// before anything is forked or written to disk: the slot is empty until it hears that.
    pub(super) fn admit_first(&mut self, fork: bool, now: Duration, out: &mut Vec<Action>) -> bool {
        let Some(id) = self.next_to_admit() else { return false };
        if fork && self.ready.first().is_some_and(|first| *first < id.shard) {
            return false;
        }
        let taken = self.attempts.values().any(|other| !other.held && self.attempts[&id].slot == other.slot);
        let slot = if taken { self.free_slot() } else { self.attempts[&id].slot };
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.admit(slot, now);
        }
        self.share_out(now);
        let before = out.len();
        self.tell(id, out);
        let told = out.len() - before;
        out.rotate_right(told);
        true
    }

    /// Whether workers are to be started or admitted that were not, because a few at once are enough.
    pub(super) fn has_more_to_start(&self) -> bool {
        self.may_fork_more() || self.early_slot().is_some() || self.next_to_admit().is_some()
    }

    fn next_to_admit(&self) -> Option<AttemptId> {
        let mut held = self.attempts.iter().filter(|(_, a)| a.held && a.alive() && !a.surplus);
        held.next().map(|(id, _)| *id).filter(|_| self.stage == Stage::Working && self.has_room())
    }
}
