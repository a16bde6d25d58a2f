//! The job's limit among its workers: who gets which share, and what the job is owed.
//!
//! Workers pause at a chunk's end, end and are replaced: each such moment leaves tokens that no worker takes. So the
//! machine counts what was taken against the limit, and lets the workers catch up with a little, or slow down, in the
//! seconds that follow. How shares are divided is [`crate::rates`].

use std::time::Duration;

use migration::Rate;

use super::Machine;
use super::attempt::Attempt;
use super::values::AttemptId;
use crate::rates::{Debt, Use, divide};

/// Shares are divided anew this often, and whenever workers come or go.
const EACH: Duration = Duration::from_secs(1);
/// A limit that was reached counts for this time: in a second in which shards end and begin less is taken.
const LIMITED_FOR: Duration = Duration::from_secs(3);
/// Above this part of a limit it is the limit that makes its workers slow, and more of them would not help.
const LIMITED: f64 = 0.8;

/// What shares stand on.
#[derive(Clone, Debug)]
pub(super) struct Sharing {
    limit: Rate,
    /// Who had a share, and whether it could use it.
    takers: Vec<(AttemptId, bool)>,
    next: Duration,
    debt: Debt,
    /// When the debt was last counted, and what had been taken by then.
    counted: Option<(Duration, Rate)>,
    /// When what was taken last came near the limit.
    reached: Option<Duration>,
}

impl Default for Sharing {
    fn default() -> Self {
        let (limit, takers, next) = (Rate::UNLIMITED, Vec::new(), Duration::ZERO);
        Sharing { limit, takers, next, debt: Debt::default(), counted: None, reached: None }
    }
}

impl Sharing {
    /// Whether all workers together come near the job's limit: more of them would share the same.
    pub(super) fn is_limited(&self, now: Duration) -> bool {
        self.reached.is_some_and(|reached| now.saturating_sub(reached) <= LIMITED_FOR)
    }
}

impl Machine {
    /// Gives each attempt its share, if it is time.
    pub(super) fn share_out(&mut self, now: Duration) {
        let limit = self.rules.rate;
        if limit == Rate::UNLIMITED {
            self.sharing = Sharing::default();
            self.attempts.values_mut().for_each(|attempt| attempt.grant(limit, now));
            return;
        }
        let takers: Vec<(AttemptId, bool)> =
            self.attempts.iter().filter(|(_, a)| a.alive() && !a.held).map(|(&id, a)| (id, a.takes())).collect();
        let changed = limit != self.sharing.limit;
        let due = now >= self.sharing.next;
        if !changed && !due && takers == self.sharing.takers {
            return;
        }
        if changed || self.paused {
            (self.sharing.debt, self.sharing.counted) = (Debt::default(), None);
        }
        if due || changed {
            self.count_debt(limit, now);
            self.sharing.next = now + EACH;
        }
        let uses: Vec<Use> = takers
            .iter()
            .filter_map(|(id, takes)| self.attempts.get(id).map(|a| Use { share: a.share, used: a.used, takes: *takes }))
            .collect();
        let shares = divide(self.sharing.debt.goal(limit), &uses);
        for ((id, _), share) in takers.iter().zip(shares) {
            if let Some(attempt) = self.attempts.get_mut(id) {
                attempt.grant(share, now);
            }
        }
        (self.sharing.limit, self.sharing.takers) = (limit, takers);
    }

    /// When shares are to be divided anew; `None` without a limit.
    pub(super) fn next_sharing(&self) -> Option<Duration> {
        (self.rules.rate != Rate::UNLIMITED && !self.attempts.is_empty()).then_some(self.sharing.next)
    }

    fn count_debt(&mut self, limit: Rate, now: Duration) {
        let taken = self.taken();
        if let Some((since, before)) = self.sharing.counted {
            let part = |new: f64, old: f64| (new - old).max(0.0);
            let taken = Rate { records: part(taken.records, before.records), bytes: part(taken.bytes, before.bytes) };
            let time = now.saturating_sub(since);
            let near = |taken: f64, limit: f64| taken >= limit * LIMITED * time.as_secs_f64();
            if near(taken.records, limit.records) || near(taken.bytes, limit.bytes) {
                self.sharing.reached = Some(now);
            }
            self.sharing.debt.count(limit, time, taken);
        }
        self.sharing.counted = Some((now, taken));
    }

    /// What all attempts took tokens for in this run, as far as their heartbeats told: neither blank lines nor dead
    /// letters, nor other shards' records.
    fn taken(&self) -> Rate {
        let mut all = self.totals.counts;
        self.attempts.values().for_each(|attempt| all.add(&attempt.ahead()));
        // Tokens are for keys and values, known of what was sent; in between they grow like what was read.
        let done = self.totals.counts;
        let bytes_each = if done.bytes_read > 0 { done.bytes_sent as f64 / done.bytes_read as f64 } else { 1.0 };
        Rate { records: all.to_be_sent() as f64, bytes: all.bytes_read as f64 * bytes_each }
    }
}

impl Attempt {
    /// Whether its share of the job's limit holds it back.
    pub(super) fn is_limited(&self) -> bool {
        let near = |used: Rate| used.records >= self.share.records * LIMITED || used.bytes >= self.share.bytes * LIMITED;
        self.used.is_some_and(near)
    }

    /// Whether it can use a share now: it is connected, and neither about to end nor told to.
    fn takes(&self) -> bool {
        self.started && self.verdict.is_none() && !self.surplus && self.pieces == 0
    }
}
