//! What the end of an attempt means: for its shard, for its successor, and for the job. How an end is judged is
//! `attempt`.

use std::time::Duration;

use migration::report::{AttemptOutcome, Resent};
use migration::{Cause, Division, Level, Position, RefusedRecord};

use super::attempt::{Attempt, Judgement, Kill, clean};
use super::splits::Why;
use super::values::{Action, After, AttemptEnd, AttemptId, Split};
use super::{Closing, MOST_FORK_FAILURES, Machine, SHORTAGE_IS_OVER, ShardState, UNREACHABLE_PAUSE, log};
use crate::random::backoff;

/// This many attempts that ended at what can't be read stop the job: each cuts the plan once more, and a folder that is
/// gone, with ten thousand files in it, would leave a shard for each.
const MOST_UNREADABLE: f64 = 50.0;
/// This many files that can't be read are told one by one.
const TOLD_UNREADABLE: u32 = 3;
/// What is told of the others.
const MORE_UNREADABLE: &str = "more files can't be read: the attempts in `shardlift report -o json` name them";
/// For this time it is told once that attempts end because no broker answers.
const TOLD_FOR: Duration = Duration::from_secs(30);
/// What follows for a set of partitions that can't go on.
const NOTHING_BEHIND: &str = "nothing behind it is sent, because each key's records keep their order (shards.by_key)";
/// What to do about a file.
const MEND: &str = "until the file is whole again: mend or restore it and run again, or run again with shards.by_key = false, \
                    which sends what is behind it out of order";
/// What to do about a worker that dies again and again.
const FIND_OUT: &str = "until its worker gets past this place: find out what it dies of and run again, or start over with \
                        --restart and shards.by_key = false, where only the shard that has this place stops";

impl Machine {
    /// Once a worker has ended and the store has answered for its last chunk: judge it and close it.
    pub(super) fn finish_attempt(&mut self, id: AttemptId, now: Duration, out: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.get(&id).filter(|a| a.unrecorded.is_none()) else { return };
        let Some(ending) = attempt.ended else { return };
        let judgement = attempt.judge(ending, &self.shards[id.shard.0 as usize].entry.position);
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let judgement = self.with_refused(id, judgement, &attempt);
        let (after, pause) = self.consequence(id, &judgement, now, out);
        let (division, asked) = if judgement == Judgement::Drained { self.division(id, &attempt) } else { (None, false) };
        let work = attempt.total_work();
        work.quickest_us.into_iter().for_each(|us| self.round_trips.note(Duration::from_micros(us)));
        let damage = if matches!(judgement, Judgement::Damaged(..)) { attempt.damage() } else { None };
        let apart = damage.and_then(|damage| self.apart(id, damage.segment));
        let to_cut = if apart.is_some() { Some(Why::Unreadable) } else { asked.then_some(Why::Idle) };
        let done = matches!(judgement, Judgement::Done(_) | Judgement::Drained);
        let uncommitted = if done { Resent::NONE } else { self.uncommitted(&attempt) };
        let coming = match &division {
            Some(Division::Places(cuts)) => cuts.len(),
            Some(Division::Partitions(sets)) => sets.saturating_sub(1) as usize,
            None => usize::from(apart.is_some()),
        };
        out.push(Action::Close(Box::new(AttemptEnd {
            attempt: id,
            outcome: judgement.outcome(),
            reason: judgement.reason(),
            after,
            deaths: self.shards[id.shard.0 as usize].deaths,
            resent: uncommitted.plus(Resent::at_most(work.perhaps_doubled)),
            work,
            peak_memory_bytes: attempt.peak_memory(),
            division,
            apart,
            damage,
        })));
        self.closing.insert(id, Closing { after, not_before: now + pause, held: attempt.held, to_cut, coming });
    }

    /// Before which segment a shard is cut of which this one can't be read: what comes before it goes on by itself,
    /// then what comes after it.
    pub(super) fn apart(&self, id: AttemptId, segment: u32) -> Option<u32> {
        let shard = &self.shards[id.shard.0 as usize];
        if self.keeps_order(id) || self.commits_to_kafka() {
            return None;
        }
        let apart = if segment > shard.entry.position.segment { segment } else { segment.saturating_add(1) };
        let bounded = self.unreadable <= MOST_UNREADABLE;
        (apart > shard.entry.position.segment && apart < shard.extent.segments && !shard.inseparable && bounded)
            .then_some(apart)
    }

    /// A segment can't be read: its shard is set aside for this run once nothing else is in it before that segment.
    /// Until then the segment is tried again by itself, and may be readable then.
    fn damaged(&mut self, id: AttemptId, segment: u32, reason: &str, now: Duration, out: &mut Vec<Action>) -> After {
        if self.keeps_order(id) {
            return self.stop_set(reason, out);
        }
        self.unreadable += self.shards[id.shard.0 as usize].extent.part();
        if self.unreadable > MOST_UNREADABLE {
            let text = format!(
                "files can't be read {MOST_UNREADABLE} times and more, the last: {reason}; is their disk or folder gone?"
            );
            self.stop(Cause::Source, &text, now, out);
            return After::Waiting;
        }
        let alone = segment <= self.shards[id.shard.0 as usize].entry.position.segment;
        if !alone && self.apart(id, segment).is_some() {
            let level = if self.tells_unreadable() { Level::Warning } else { Level::Debug };
            log(out, level, format!("shard {}: {reason}; it is tried again by itself", id.shard), false);
            return After::Waiting;
        }
        let text = format!("shard {}: {reason}; what else there is goes on", id.shard);
        if !self.tells_unreadable() {
            log(out, Level::Debug, text, false);
            if self.causes.add(Cause::Source, MORE_UNREADABLE) {
                log(out, Level::Error, format!("{MORE_UNREADABLE}; -v logs each"), true);
            }
        } else if self.causes.add(Cause::Source, reason) {
            self.unreadable_told += 1;
            log(out, Level::Error, text, true);
        }
        After::Quarantined
    }

    /// Whether the next file that can't be read is told by itself still.
    pub(super) fn tells_unreadable(&self) -> bool {
        self.unreadable_told < TOLD_UNREADABLE
    }

    /// Whether nothing of a shard may be sent before what lies before it, because that would change the order of a
    /// key's records.
    fn keeps_order(&self, id: AttemptId) -> bool {
        self.rules.keep_order && self.shards[id.shard.0 as usize].extent.set.is_some()
    }

    /// A set of partitions ends for this run at what can't be read. All sets meet the same: it is told once.
    fn stop_set(&mut self, reason: &str, out: &mut Vec<Action>) -> After {
        if self.causes.add(Cause::Source, format!("{reason}; {NOTHING_BEHIND}, {MEND}")) {
            log(out, Level::Error, format!("{reason}; {NOTHING_BEHIND}, {MEND}"), true);
        }
        After::Quarantined
    }

    /// What a judgement means for the shard (with the pause before a successor) and for the job.
    pub(super) fn consequence(
        &mut self,
        id: AttemptId,
        judgement: &Judgement,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> (After, Duration) {
        match judgement {
            Judgement::Done(position) => (After::Done(*position), Duration::ZERO),
            Judgement::Drained | Judgement::Stopped(_) => (After::Waiting, Duration::ZERO),
            Judgement::Death(reason) => self.death(id, reason, now, out),
            Judgement::Unreachable(reason) => {
                let pause = self.pause(id, UNREACHABLE_PAUSE.min(self.rules.backoff_max));
                self.tell_unreachable(id, reason, now, out);
                self.stop_unless_retried(id, reason, now, out);
                self.give_up_in_time(id, reason, now, out);
                (After::Waiting, pause)
            }
            Judgement::Fenced(reason) => {
                let pause = self.fenced_pause(id, now);
                log(out, Level::Warning, format!("{id}: {reason}; its successor starts in {} ms", pause.as_millis()), true);
                self.stop_unless_retried(id, reason, now, out);
                self.give_up_in_time(id, reason, now, out);
                (After::Waiting, pause)
            }
            Judgement::Refused(reason) => {
                log(out, Level::Warning, format!("{id}: {reason}; its successor sets them aside"), false);
                self.stop_unless_retried(id, reason, now, out);
                (After::Waiting, Duration::ZERO)
            }
            Judgement::GaveUp(reason) => {
                self.give_up(reason, now, out);
                (After::Waiting, Duration::ZERO)
            }
            Judgement::StopsJob(Cause::Preflight, reason) => {
                self.topic_is_gone(reason, now, out);
                (After::Waiting, Duration::ZERO)
            }
            // Its last chunk has told it already, unless that could not be committed.
            Judgement::StopsJob(Cause::TooManyBad, _) if self.totals.counts.dead_lettered > self.rules.max_bad_records => {
                (After::Waiting, Duration::ZERO)
            }
            Judgement::Damaged(segment, reason) => (self.damaged(id, *segment, reason, now, out), Duration::ZERO),
            Judgement::StopsJob(cause, reason) => {
                self.stop(*cause, &format!("shard {}: {reason}", id.shard), now, out);
                (After::Waiting, Duration::ZERO)
            }
        }
    }

    /// One line for all workers that find no broker at the same time.
    fn tell_unreachable(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) {
        let known = self.told_unreachable.replace(now).is_some_and(|at| now.saturating_sub(at) < TOLD_FOR);
        let level = if known || self.stopping() { Level::Debug } else { Level::Warning };
        let next = if self.stopping() { "" } else { "; a successor waits for an answer" };
        log(out, level, format!("{id}: the brokers can't be reached: {reason}{next}"), false);
    }

    /// The job has waited for its brokers as long as it may. What each worker says of it is one reason.
    fn give_up(&mut self, reason: &str, now: Duration, out: &mut Vec<Action>) {
        if !std::mem::replace(&mut self.gave_up, true) {
            self.stop(
                Cause::Stopped,
                &format!("{reason}; see whether the brokers are up, then run it again to continue"),
                now,
                out,
            );
        }
    }

    /// Each attempt waits for an answer on its own, and one broker that answers while another is away would begin that
    /// wait anew for ever: what counts is that the shard comes no further.
    fn give_up_in_time(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) {
        let Some(shard) = self.shards.get_mut(id.shard.0 as usize) else { return };
        let since = *shard.unreachable_since.get_or_insert(now);
        let waited = now.saturating_sub(since);
        if waited >= self.rules.give_up_after {
            let text = format!("shard {} came no further for {} s (kafka.give_up_after): {reason}", id.shard, waited.as_secs());
            self.give_up(&text, now, out);
        }
    }

    pub(super) fn death(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) -> (After, Duration) {
        let (most, min, max) = (self.rules.max_without_progress, self.rules.backoff_min, self.rules.backoff_max);
        let shard = &mut self.shards[id.shard.0 as usize];
        shard.deaths += 1;
        let (deaths, Position { segment, place, records }) = (shard.deaths, shard.entry.position);
        if !self.rules.retry {
            self.stop_unless_retried(id, reason, now, out);
            return (After::Waiting, Duration::ZERO);
        }
        if deaths >= most {
            let place = format!("segment {segment}, place {place}, record {records}");
            let behind = if self.keeps_order(id) { format!("; {NOTHING_BEHIND}, {FIND_OUT}") } else { String::new() };
            let shard = id.shard;
            let text = format!("shard {shard} is quarantined after {deaths} deaths at {place}; the last: {reason}{behind}");
            log(out, Level::Error, text, true);
            return (After::Quarantined, Duration::ZERO);
        }
        // One that was killed from outside goes on at once; what it died of by itself comes again.
        let pause = if deaths == 1 { Duration::ZERO } else { self.random.jitter(backoff(deaths - 1, min, max)) };
        let next = if pause.is_zero() { "at once".to_owned() } else { format!("in {} ms", pause.as_millis()) };
        let text = format!("{id} died ({deaths} of {most} at this position): {reason}; its successor starts {next}");
        log(out, Level::Warning, text, true);
        (After::Waiting, pause)
    }

    pub(super) fn stop_unless_retried(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) {
        if !self.rules.retry {
            self.stop(Cause::Stopped, &format!("shard {}: {reason}", id.shard), now, out);
        }
    }

    /// Keeps which records the brokers refused. An attempt that says nothing new of them has not set aside what it was
    /// told to: that counts as a death, so that it ends. Each attempt knows its own only, of which few may be in flight
    /// at once: whether a chunk has too many shows here.
    fn with_refused(&mut self, id: AttemptId, judgement: Judgement, attempt: &Attempt) -> Judgement {
        let Judgement::Refused(reason) = judgement else { return judgement };
        let shard = &mut self.shards[id.shard.0 as usize];
        if !shard.keep_refused(attempt.refused()) {
            return Judgement::Death(reason);
        }
        let (count, first) = (shard.refused.len(), shard.refused.first());
        if count <= RefusedRecord::MOST {
            return Judgement::Refused(reason);
        }
        let first = first.map_or("", |record| record.reason.as_str());
        Judgement::StopsJob(Cause::Failed, clean(&RefusedRecord::too_many(count, first)))
    }

    /// A pause that grows with each end in a row that is no death.
    pub(super) fn pause(&mut self, id: AttemptId, max: Duration) -> Duration {
        let shard = &mut self.shards[id.shard.0 as usize];
        shard.pauses += 1;
        self.random.jitter(backoff(shard.pauses, self.rules.backoff_min, max))
    }

    /// The end of an attempt is on disk: only now is the shard done, quarantined or free for a successor.
    pub(super) fn closed(&mut self, id: AttemptId, split: Option<Split>, now: Duration, out: &mut Vec<Action>) {
        let Some(Closing { after, not_before, to_cut, .. }) = self.closing.remove(&id) else { return };
        match after {
            After::Done(position) => self.change(id.shard, |shard| {
                (shard.entry.position, shard.state) = (position, ShardState::Done);
            }),
            After::Quarantined => self.change(id.shard, |shard| shard.state = ShardState::Quarantined),
            After::Waiting => {
                self.change(id.shard, |shard| shard.state = ShardState::Waiting);
                if not_before > now {
                    self.delayed.insert((not_before, id.shard));
                } else {
                    self.ready.insert(id.shard);
                }
            }
        }
        if let Some(why) = to_cut {
            self.cut(id, split, why, out);
        }
    }

    pub(super) fn fork_failed(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        let reason = clean(reason);
        if attempt.held {
            log(out, Level::Debug, format!("{id} could not be started early: {reason}"), false);
            self.no_early = true;
        } else {
            self.fork_failures += 1;
            log(out, Level::Error, format!("{id} could not be started: {reason}"), true);
        }
        let many = self.fork_failures >= MOST_FORK_FAILURES;
        if many && self.attempts.is_empty() || !self.rules.retry {
            self.stop(Cause::Stopped, &format!("no worker can be started: {reason}"), now, out);
        } else if many && self.shortage.is_none() {
            self.shortage = Some((now + SHORTAGE_IS_OVER, reason.clone()));
        }
        let pause = if attempt.held { Duration::ZERO } else { self.pause(id, self.rules.backoff_max) };
        out.push(Action::Close(Box::new(AttemptEnd {
            attempt: id,
            outcome: AttemptOutcome::Stopped,
            reason,
            after: After::Waiting,
            deaths: self.shards[id.shard.0 as usize].deaths,
            resent: Resent::NONE,
            work: attempt.total_work(),
            peak_memory_bytes: 0,
            division: None,
            apart: None,
            damage: None,
        })));
        let (after, held) = (After::Waiting, attempt.held);
        self.closing.insert(id, Closing { after, not_before: now + pause, held, to_cut: None, coming: 0 });
    }

    /// What runs goes on when the system has no room for more: the job has as many workers as there are, until a
    /// command asks for others. One line for all forks that failed together.
    pub(super) fn do_with_fewer(&mut self, now: Duration, out: &mut Vec<Action>) {
        let Some((_, reason)) = self.shortage.take_if(|(at, _)| now >= *at) else { return };
        let running = self.attempts.values().filter(|a| a.alive() && !a.held).count() as u32;
        let before = self.rules.slots;
        if running == 0 || running >= before || self.stopping() {
            return;
        }
        (self.rules.slots, self.fork_failures) = (running, 0);
        out.push(Action::Steered(format!("scaled {before} -> {running}: no more workers can be started: {reason}")));
    }

    pub(super) fn store_failed(&mut self, id: AttemptId, reason: &str, now: Duration, out: &mut Vec<Action>) {
        self.stop(Cause::State, reason, now, out);
        self.closing.remove(&id);
        if let Some(attempt) = self.attempts.get_mut(&id) {
            // Its chunk can't be recorded, so it can't go on: it would wait for ever.
            attempt.unrecorded = None;
            self.kill(id, Kill::Stop("its chunk could not be recorded".to_owned()), out);
            self.finish_attempt(id, now, out);
        }
    }
}
