//! Splitting: when slots stay empty because no shard waits, a shard that has much left is cut, so that others help with
//! its rest. Design note 0003 says why and how.
//!
//! Responsible for when a shard is split and into how many pieces. Where it can be cut is known to its worker alone: it
//! is told to drain, and says where. A set of partitions is parted into smaller sets where it drained: its worker has
//! nothing to look for. Not responsible for the plan: the store and its caller apply the division.

use std::time::Duration;

use migration::steer::Fewer;
use migration::{Division, Level};

use super::attempt::Attempt;
use super::values::{Action, AttemptId, Extent, ShardStart, Split};
use super::{Machine, Shard, ShardState, Stage, log};
use crate::protocol::MOST_PIECES;

/// Below this time left a shard is never split: its worker has to connect again, and the others have to connect first.
const WORTH_A_SPLIT: f64 = 5.0;
/// The least time that a piece lasts, in seconds.
const SHORTEST_PIECE: f64 = 1.0;

/// From this time after its start, or after it was allowed more, an attempt's speed says how long it will take.
const SPEED_KNOWN: Duration = Duration::from_secs(2);

/// Why a shard is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// For slots that nothing waits for.
    Idle,
    /// So that what can be read does not wait for what can't.
    Unreadable,
}

impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Why::Idle => "workers had nothing to do",
            Why::Unreadable => "a file of it can't be read",
        })
    }
}

/// A worker whose shard may be split.
#[derive(Clone, Copy, Debug)]
struct Candidate {
    attempt: AttemptId,
    /// Seconds.
    left: f64,
    pieces: u32,
    /// It can't be divided into more.
    most: u32,
}

impl Candidate {
    fn piece(&self) -> f64 {
        self.left / f64::from(self.pieces)
    }
}

impl Machine {
    /// Asks workers to drain and to divide their shards, if that fills slots that would stay empty.
    pub(super) fn split_for_idle_slots(&mut self, now: Duration) {
        if self.stage != Stage::Working || self.paused || !self.rules.split {
            return;
        }
        let mut idle = self.idle_slots();
        if idle == 0 {
            return;
        }
        let mut found = self.candidates(now);
        while idle > 0 {
            let longest = found.iter_mut().filter(|c| c.pieces < c.most).max_by(|a, b| a.piece().total_cmp(&b.piece()));
            let one_more = longest.filter(|c| c.left / f64::from(c.pieces + 1) >= SHORTEST_PIECE);
            let Some(candidate) = one_more else { break };
            candidate.pieces += 1;
            idle -= 1;
        }
        for Candidate { attempt, pieces, .. } in found.into_iter().filter(|c| c.pieces > 1) {
            if let Some(attempt) = self.attempts.get_mut(&attempt) {
                attempt.pieces = pieces;
            }
        }
    }

    /// Slots for which nothing waits, now or when what was begun is over.
    fn idle_slots(&self) -> usize {
        let asked = self.attempts.values().map(|a| a.pieces.saturating_sub(1) as usize);
        let coming: usize = asked.chain(self.closing.values().map(|closing| closing.coming)).sum();
        let used = self.attempts.len() + self.ready.len() + self.delayed.len() + self.closing.len() + coming;
        (self.rules.slots as usize).saturating_sub(used)
    }

    fn candidates(&self, now: Duration) -> Vec<Candidate> {
        let found = self.attempts.iter().filter(|(id, a)| self.obstacle(&self.shards[id.shard.0 as usize], a, now).is_none());
        let timed = found.filter_map(|(&attempt, a)| {
            let speed = a.speed.filter(|speed| *speed > 0.0)?;
            let most = self.shards[attempt.shard.0 as usize].extent.most_pieces();
            Some(Candidate { attempt, left: self.bytes_left(attempt.shard, a) / speed, pieces: 1, most })
        });
        timed.filter(|candidate| candidate.left >= WORTH_A_SPLIT).collect()
    }

    /// Why the shard of an attempt is not split now, if so.
    fn obstacle(&self, shard: &Shard, attempt: &Attempt, now: Duration) -> Option<Fewer> {
        let works = attempt.alive() && attempt.started && attempt.verdict.is_none();
        let stays = !attempt.surplus && attempt.pieces == 0;
        let segments_left = shard.extent.segments.saturating_sub(attempt.progress.position.segment);
        let measured = now.saturating_sub(attempt.raised) >= SPEED_KNOWN;
        match (shard.extent.set, attempt.used) {
            (Some(set), _) if set.partitions <= 1 => Some(Fewer::Partitions(set.partitions)),
            (None, _) if !shard.extent.splittable && segments_left <= 1 => Some(Fewer::Whole),
            _ if shard.whole => Some(Fewer::Whole),
            (_, Some(_)) if attempt.is_limited() => Some(Fewer::Limited),
            (_, None) => Some(Fewer::Soon),
            (_, Some(_)) => (!works || !stays || !measured).then_some(Fewer::Soon),
        }
    }

    /// Why fewer workers run than are asked for, if no shard waits for one.
    pub(super) fn fewer(&self) -> Option<Fewer> {
        let alive = || self.attempts.iter().filter(|(_, attempt)| attempt.alive() && !attempt.held && !attempt.surplus);
        if self.stage != Stage::Working || alive().count() >= self.rules.slots as usize {
            return None;
        }
        if self.paused && !self.rules.paused {
            return Some(Fewer::Paused);
        }
        if !self.ready.is_empty() || !self.delayed.is_empty() || alive().count() == 0 {
            return None;
        }
        if self.commits_to_kafka() {
            return Some(Fewer::Undivided);
        }
        let now = self.last_input;
        let mut found: Vec<Fewer> =
            alive().filter_map(|(id, a)| self.obstacle(&self.shards[id.shard.0 as usize], a, now)).collect();
        let worth_it = !self.candidates(now).is_empty();
        if worth_it || found.contains(&Fewer::Soon) || self.idle_slots() == 0 {
            return Some(Fewer::Soon);
        }
        // What is not hindered is too small.
        if found.len() < alive().count() {
            found.push(Fewer::NearEnd);
        }
        let partitions = |fewer: &Fewer| if let Fewer::Partitions(partitions) = fewer { *partitions } else { 0 };
        let firsts = [Fewer::Limited, Fewer::NearEnd, Fewer::Whole];
        let first = firsts.into_iter().find(|first| found.contains(first));
        Some(first.unwrap_or_else(|| Fewer::Partitions(found.iter().map(partitions).sum())))
    }

    /// How the shard of an attempt that drained is divided, and whether that was asked. A set of partitions is parted
    /// into no more sets than there are slots for by now, because each of them reads all of the rest again.
    pub(super) fn division(&self, id: AttemptId, attempt: &Attempt) -> (Option<Division>, bool) {
        let Some(set) = self.shards[id.shard.0 as usize].extent.set else {
            let cuts = attempt.cuts();
            let asked = cuts.is_some();
            return (cuts.filter(|cuts| !cuts.is_empty()).map(Division::Places), asked);
        };
        let room = u32::try_from(self.idle_slots()).unwrap_or(u32::MAX);
        let sets = attempt.pieces.min(set.partitions).min(room);
        let parted = self.stage == Stage::Working && sets > 1;
        (parted.then_some(Division::Partitions(sets)), parted)
    }

    /// The plan has the pieces: the shard ends earlier now, and the rest of it waits as shards of its own. Without
    /// pieces it can't be cut, and is not asked about again; one that has no place to be cut at for others may still
    /// have segments to be set apart.
    pub(super) fn cut(&mut self, id: AttemptId, split: Option<Split>, why: Why, out: &mut Vec<Action>) {
        let Some(Split { shard: extent, added }) = split else {
            let shard = &mut self.shards[id.shard.0 as usize];
            match why {
                Why::Idle => shard.whole = true,
                Why::Unreadable => shard.inseparable = true,
            }
            return;
        };
        self.change(id.shard, |shard| shard.extent = extent);
        let text = format!("shard {} is split into {}: {why}", id.shard, added.len() + 1);
        let told = why == Why::Idle || self.tells_unreadable();
        log(out, if told { Level::Info } else { Level::Debug }, text, told);
        for start in added {
            self.add_shard(&start);
        }
    }

    fn add_shard(&mut self, start: &ShardStart) {
        let (id, shard) = (migration::ShardId(self.shards.len() as u32), Shard::new(start));
        self.totals.put(&shard);
        self.totals.counts.add(&start.entry.counts);
        self.ready.insert(id);
        self.shards.push(shard);
    }
}

impl Extent {
    /// Into how many pieces it may be divided at once.
    fn most_pieces(&self) -> u32 {
        self.set.map_or(MOST_PIECES, |set| set.partitions.min(MOST_PIECES))
    }
}

impl Shard {
    pub(super) fn new(start: &ShardStart) -> Self {
        Shard {
            state: if start.done { ShardState::Done } else { ShardState::Waiting },
            extent: start.extent,
            whole: false,
            inseparable: false,
            entry: start.entry.clone(),
            last_attempt: start.last_attempt,
            deaths: 0,
            pauses: 0,
            fence: None,
            refused: Vec::new(),
            unreachable_since: None::<Duration>,
        }
    }
}
