//! Which shards have a worker: handing out slots, and which workers leave when there are fewer slots.

use std::collections::BTreeSet;
use std::time::Duration;

use migration::{Control, ShardId};

use super::attempt::Attempt;
use super::values::{Action, After, AttemptId, Extent, WorkOrder};
use super::{Closing, MOST_FORKS_AT_ONCE, Machine, ShardState, Stage};

impl Machine {
    /// With more workers than slots, those that would finish last are surplus: they drain at their next commit, and
    /// what is left of their shards waits again. With room again, surplus workers that have not ended stay: what they
    /// are told is a state, and the newest counts.
    pub(super) fn choose_surplus(&mut self) {
        if self.stage != Stage::Working {
            return;
        }
        let slots = self.rules.slots as usize;
        let mut staying = self.by_time_left(|attempt| attempt.alive() && !attempt.held && !attempt.surplus);
        if staying.len() > slots {
            // Those leave first that have no slot yet.
            self.attempts.values_mut().filter(|attempt| attempt.held).for_each(|attempt| attempt.surplus = true);
        }
        while staying.len() > slots {
            let Some(last) = staying.pop().and_then(|id| self.attempts.get_mut(&id)) else { return };
            last.surplus = true;
            last.pieces = 0;
        }
        let room = slots - staying.len();
        let back = self.by_time_left(|a| a.alive() && !a.held && a.surplus && a.verdict.is_none());
        for id in back.into_iter().take(room) {
            if let Some(attempt) = self.attempts.get_mut(&id) {
                attempt.surplus = false;
            }
        }
    }

    /// Some attempts, the one that will finish first first. One of unknown speed is taken for an average one.
    fn by_time_left(&self, wanted: impl Fn(&Attempt) -> bool) -> Vec<AttemptId> {
        let speeds: Vec<f64> = self.attempts.values().filter_map(|a| a.speed).collect();
        let average = if speeds.is_empty() { 1.0 } else { speeds.iter().sum::<f64>() / speeds.len() as f64 };
        let mut found: Vec<(f64, AttemptId)> = self
            .attempts
            .iter()
            .filter(|(_, attempt)| wanted(attempt))
            .map(|(&id, attempt)| {
                let speed = attempt.speed.unwrap_or(average);
                (self.bytes_left(id.shard, attempt) / speed.max(1e-3), id)
            })
            .collect();
        found.sort_by(|(a, x), (b, y)| a.total_cmp(b).then(x.cmp(y)));
        found.into_iter().map(|(_, id)| id).collect()
    }

    /// How many bytes an attempt has before it, as read (decompressed), as far as its last heartbeat told.
    pub(super) fn bytes_left(&self, id: ShardId, attempt: &Attempt) -> f64 {
        let shard = &self.shards[id.0 as usize];
        let mut through = shard.entry.counts;
        through.add(&attempt.ahead());
        shard.extent.bytes_left(&through)
    }

    /// Starts workers, as long as there are slots and shards that wait, but not all at once: forking takes time, in
    /// which no pipe is read. A slot goes to the first of the shards that wait, whether it has an early worker or not:
    /// so that of a worker that died gets its slot back before an early worker of a later shard does.
    pub(super) fn fill_slots(&mut self, now: Duration, out: &mut Vec<Action>) {
        // After one that failed it is tried with one.
        let most = if self.fork_failures == 0 { MOST_FORKS_AT_ONCE } else { 1 };
        for _ in 0..most {
            let fork = self.may_fork_more();
            if self.admit_first(fork, now, out) {
                continue;
            }
            let Some(shard) = fork.then(|| self.ready.pop_first()).flatten() else { return };
            self.fork(shard, None, now, out);
        }
    }

    /// Whether there is a slot, a shard for it, and nothing against a worker there. A shard whose worker died keeps its
    /// slot until the store has its end and a successor can start: whatever waits there for as long as another shard
    /// takes, an open transaction of the dead worker holds its readers up.
    pub(super) fn may_fork_more(&self) -> bool {
        self.has_room() && self.may_start() && self.shortage.is_none() && !self.ready.is_empty()
    }

    /// Whether a slot is free and not kept for the shard of a worker that died.
    pub(super) fn has_room(&self) -> bool {
        let at_once = |closing: &&Closing| closing.after == After::Waiting && closing.not_before <= self.last_input;
        let kept = self.closing.values().filter(|closing| !closing.held).filter(at_once).count();
        self.admitted() + kept < self.rules.slots as usize
    }

    /// How many attempts have a slot.
    pub(super) fn admitted(&self) -> usize {
        self.attempts.values().filter(|attempt| !attempt.held).count()
    }

    /// The first slot that no attempt has.
    pub(super) fn free_slot(&self) -> u32 {
        let taken: BTreeSet<u32> = self.attempts.values().filter(|a| !a.held).map(|a| a.slot).collect();
        (0..).find(|slot| !taken.contains(slot)).unwrap_or(0)
    }

    /// Whether workers may be started: not in a pause, unless the job began with one.
    pub(super) fn may_start(&self) -> bool {
        self.stage == Stage::Working && (!self.paused || self.rules.paused)
    }

    /// `early`: the slot for which its worker waits.
    pub(super) fn fork(&mut self, id: ShardId, early: Option<u32>, now: Duration, out: &mut Vec<Action>) {
        let slot = early.unwrap_or_else(|| self.free_slot());
        let hold = early.is_some();
        self.change(id, |shard| shard.state = ShardState::Taken);
        let shard = &mut self.shards[id.0 as usize];
        shard.last_attempt += 1;
        let (attempt, from) = (AttemptId { shard: id, number: shard.last_attempt }, shard.entry.clone());
        let refused = shard.refused.clone();
        let unreachable_for = shard.unreachable_since.map_or(Duration::ZERO, |since| now.saturating_sub(since));
        let letters_left = self.rules.max_bad_records.saturating_sub(self.totals.counts.dead_lettered);
        self.attempts.insert(attempt, Attempt::new(slot, Control { hold, ..Control::default() }, from.clone(), now));
        self.share_out(now);
        let share = self.attempts.get(&attempt).map_or(self.rules.rate, |a| a.share);
        let control = Control { paused: self.paused, hold, rate: share, ..Control::default() };
        if let Some(a) = self.attempts.get_mut(&attempt) {
            a.told = control;
        }
        let seed = self.random.next();
        out.push(Action::Fork(WorkOrder {
            shard: id,
            attempt: attempt.number,
            slot,
            from,
            refused,
            letters_left,
            unreachable_for,
            round_trip: self.distance(),
            seed,
            control,
        }));
    }

    /// How far away the brokers are: what was measured before the run with a small question counts to its end, because
    /// an answer to a group takes the longer the larger the group is.
    fn distance(&self) -> Option<Duration> {
        self.rules.round_trip.into_iter().chain(self.round_trips.distance()).min()
    }
}

impl Extent {
    /// How many bytes are left to be read (decompressed) after `counts`, others' rows included. A compressed shard's
    /// number is unknown: it is judged by its records, of which at least a hundredth is left until its end is seen.
    pub(super) fn bytes_left(&self, counts: &migration::Counts) -> f64 {
        let (passed, bytes_passed) = (counts.passed(), counts.bytes_passed());
        if let (true, Some(bytes)) = (self.splittable, self.bytes) {
            return bytes.saturating_sub(self.before.bytes + bytes_passed) as f64;
        }
        let each = if passed > 0 { bytes_passed as f64 / passed as f64 } else { 1.0 };
        let left = self.records_estimate as f64 - (self.before.records + passed) as f64;
        left.max(self.records_estimate as f64 / 100.0) * each
    }
}
