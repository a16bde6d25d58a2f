//! The supervisor's rules as a pure state machine: `on(input, now) -> actions`.
//!
//! Responsible for every decision: which shard runs next, in which slot, when a worker is killed, when a successor
//! starts, when a shard is quarantined, when the job stops and with which exit code. Not responsible for anything that
//! happens: it has no clock (`now` is the time since the run began), no process, no file; the shell turns results into
//! inputs and actions into system calls, and the tests do the same with a world of their own.

mod attempt;
mod early;
mod endings;
mod ledger;
mod search;
mod shares;
mod slots;
mod splits;
mod stage;
mod steering;
mod sums;
#[cfg(test)]
mod tests;
mod topic;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use migration::units::show_things;
use migration::{
    Cause, Causes, Control, Counts, Exit, LedgerEntry, Level, Progress, RefusedRecord, RoundTrips, ShardId, TopicChange,
    WorkerEvent,
};

pub use self::values::{
    Action, After, AttemptEnd, AttemptId, Before, Ended, Ending, Extent, Input, Rules, SetSize, ShardStart, Split, WorkOrder,
};

use self::attempt::{Attempt, Kill, Verdict, clean};
use self::ledger::Fence;
use self::search::SlotSearch;
use self::shares::Sharing;
use self::splits::Why;
use self::stage::Stage;
pub use self::sums::Totals;
use crate::random::Random;

/// A gap between two inputs above this, or above half of the heartbeat timeout, means that the supervisor itself stood
/// still.
const LOOP_GAP: Duration = Duration::from_secs(5);
/// A gap below this says nothing: the loop may wait for a part of it.
const SHORTEST_GAP: Duration = Duration::from_secs(1);
/// The time that a worker has to end after its pipe closed.
const SILENCE: Duration = Duration::from_secs(1);
/// After the kill at a stop, the run waits no longer than this for the last worker to be reaped.
const LEAVE: Duration = Duration::from_millis(500);
/// Signals of one kind within this time are one: `timeout` sends its own to its child and then to the group.
const ONE_SIGNAL: Duration = Duration::from_millis(500);
/// The longest pause after "brokers unreachable": the successor itself waits for an answer.
const UNREACHABLE_PAUSE: Duration = Duration::from_secs(2);
/// The number of failed forks in a row that stops the job if no worker runs; else it goes on with those that do.
const MOST_FORK_FAILURES: u32 = 5;
/// The time from the last of these failures until the job counts its workers; meanwhile nothing is forked.
const SHORTAGE_IS_OVER: Duration = Duration::from_secs(1);
/// The most warnings about the source that a run keeps in the job's history; the others are counted.
const MOST_NOTICES: usize = 10;
/// The most workers that are started at once; the others follow as soon as the pipes of those that run were read.
const MOST_FORKS_AT_ONCE: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq)]
enum ShardState {
    /// In `ready` or in `delayed`.
    Waiting,
    /// This attempt runs, or its end is not on disk yet.
    Taken,
    Done,
    Quarantined,
}

#[derive(Clone, Debug)]
struct Shard {
    state: ShardState,
    extent: Extent,
    /// It was to be cut for idle slots, and can't be.
    whole: bool,
    /// A segment of it was to be set apart from the others, and can't be.
    inseparable: bool,
    /// How far it is committed.
    entry: LedgerEntry,
    last_attempt: u32,
    /// Deaths at `position`.
    deaths: u32,
    /// Ends in a row that were no deaths but need a pause.
    pauses: u32,
    /// When an attempt was last fenced.
    fence: Option<Fence>,
    /// Records behind what is committed that the brokers refused for good.
    refused: Vec<RefusedRecord>,
    /// Since when its attempts end without a broker and without a commit.
    unreachable_since: Option<Duration>,
}

/// The end of an attempt that the store has not answered for.
#[derive(Clone, Copy, Debug)]
struct Closing {
    /// What becomes of the shard.
    after: After,
    /// A successor starts no sooner.
    not_before: Duration,
    /// Its worker had no slot yet.
    held: bool,
    /// The rest of the shard was to be divided, and why.
    to_cut: Option<Why>,
    /// How many shards that adds.
    coming: usize,
}

/// The rules in motion.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    shards: Vec<Shard>,
    ready: BTreeSet<ShardId>,
    delayed: BTreeSet<(Duration, ShardId)>,
    attempts: BTreeMap<AttemptId, Attempt>,
    /// Ends that the store has not answered for.
    closing: BTreeMap<AttemptId, Closing>,
    stage: Stage,
    causes: Causes,
    /// How many signals told it to stop, and the last one.
    signals: u32,
    last_signal: Option<(u8, Duration)>,
    paused: bool,
    fork_failures: u32,
    /// A worker could not be started early: none is in this run any more.
    no_early: bool,
    /// A worker gave up on its brokers: what others say of it is the same.
    gave_up: bool,
    /// When it was last told that an attempt ended because no broker answers.
    told_unreachable: Option<Duration>,
    /// Ends of attempts in this run at a segment that can't be read. Sets of partitions all meet the same ones: each
    /// counts for its part.
    unreadable: f64,
    /// How many files that can't be read were told one by one.
    unreadable_told: u32,
    /// No more workers can be started, why, and until when that is looked at.
    shortage: Option<(Duration, String)>,
    totals: Totals,
    /// What of the totals was taken over from Kafka in this run.
    taken_over: Counts,
    sharing: Sharing,
    /// While the job is to find the number of its workers itself.
    search: Option<SlotSearch>,
    /// How the topic changed, as far as the job goes on all the same: told once.
    told: Option<TopicChange>,
    /// Warnings about the source that are kept in the history of this run, and how many others there were.
    notices: BTreeSet<String>,
    notices_left_out: u64,
    /// What this run's workers measured when they began.
    round_trips: RoundTrips,
    last_input: Duration,
    random: Random,
}

/// A running attempt, for the display.
#[derive(Debug)]
pub struct AttemptView<'a> {
    /// Which.
    pub attempt: AttemptId,
    /// Its slot.
    pub slot: u32,
    /// Whether its producer is connected and records can move.
    pub started: bool,
    /// Its last heartbeat.
    pub progress: &'a Progress,
    /// What it has in progress beyond what is on disk.
    pub ahead: Counts,
}

impl Machine {
    /// A run over `shards` (index = shard's number) that has not begun; the first input sets it going.
    pub fn new(rules: Rules, shards: &[ShardStart], seed: u64) -> Self {
        let shards: Vec<Shard> = shards.iter().map(Shard::new).collect();
        let waiting = (0..).zip(&shards).filter(|(_, shard)| shard.state == ShardState::Waiting);
        let ready = waiting.map(|(i, _)| ShardId(i)).collect();
        let totals = Totals::of(&shards);
        Machine {
            shards,
            ready,
            delayed: BTreeSet::new(),
            attempts: BTreeMap::new(),
            closing: BTreeMap::new(),
            stage: Stage::Working,
            causes: Causes::default(),
            signals: 0,
            last_signal: None,
            paused: rules.paused,
            fork_failures: 0,
            no_early: false,
            gave_up: false,
            told_unreachable: None,
            unreadable: 0.0,
            unreadable_told: 0,
            shortage: None,
            totals,
            taken_over: Counts::default(),
            sharing: Sharing::default(),
            search: rules.search.then(|| SlotSearch::new(rules.slots, rules.most_auto_slots, Duration::ZERO)),
            told: None,
            notices: BTreeSet::new(),
            notices_left_out: 0,
            round_trips: rules.round_trip.into_iter().collect(),
            last_input: Duration::ZERO,
            random: Random::new(seed),
            rules,
        }
    }

    /// Takes one input at `now` (time since the run began, never going back) and says what is to be done.
    pub fn on(&mut self, input: Input, now: Duration) -> Vec<Action> {
        let mut out = Vec::new();
        if self.stage == Stage::Over {
            return out;
        }
        self.notice_gap(now);
        self.take(input, now, &mut out);
        self.settle(now, &mut out);
        out
    }

    /// When the machine wants an input at the latest, if nothing happens before.
    pub fn next_deadline(&self) -> Option<Duration> {
        let stop = match self.stage {
            Stage::Draining { kill_at } => Some(kill_at),
            Stage::Killing { leave_at } => Some(leave_at),
            Stage::Working | Stage::Over => None,
        };
        let delayed = self.delayed.first().map(|(at, _)| *at).filter(|_| self.stage == Stage::Working);
        let workers = self.attempts.values().filter(|a| a.alive()).flat_map(|attempt| {
            let heartbeat = self.rules.heartbeat_timeout.map(|timeout| attempt.heard + timeout);
            [heartbeat, attempt.silent_until].into_iter().flatten()
        });
        let shortage = self.shortage.as_ref().map(|(at, _)| *at);
        let more = self.has_more_to_start().then_some(self.last_input);
        let others = [delayed, shortage, more, self.next_sharing(), self.next_search()];
        stop.into_iter().chain(others.into_iter().flatten()).chain(workers).min()
    }

    /// Up to where a shard is committed, and with what.
    pub fn entry(&self, id: ShardId) -> LedgerEntry {
        self.shards[id.0 as usize].entry.clone()
    }

    /// What an attempt may send beyond what is on disk if its supervisor dies: the chunk that it is at, and one whose
    /// end is not read.
    pub fn orphan_may_send(&self) -> u64 {
        if self.commits_to_kafka() { 0 } else { self.rules.chunk_records.saturating_mul(attempt::CHUNKS_AHEAD) }
    }

    /// How many workers may run at once.
    pub fn slots(&self) -> u32 {
        self.rules.slots
    }

    /// Whether it finds this number itself.
    pub fn searches(&self) -> bool {
        self.search.is_some()
    }

    /// Whether the job stops.
    pub fn stopping(&self) -> bool {
        self.stage > Stage::Working
    }

    /// The running attempts that have a slot, in its order.
    pub fn attempts(&self) -> Vec<AttemptView<'_>> {
        let mut views: Vec<AttemptView<'_>> = self
            .attempts
            .iter()
            .filter(|(_, a)| !a.held)
            .map(|(&attempt, a)| AttemptView {
                attempt,
                slot: a.slot,
                started: a.started,
                progress: &a.progress,
                ahead: a.ahead(),
            })
            .collect();
        views.sort_by_key(|view| view.slot);
        views
    }

    /// After a pause of the supervisor itself (suspended laptop, Ctrl-Z) every deadline starts anew.
    fn notice_gap(&mut self, now: Duration) {
        let gap = now.saturating_sub(self.last_input);
        self.last_input = now;
        // What the workers said in a gap that is long for their deadline waits to be read.
        if gap > self.rules.heartbeat_timeout.map_or(LOOP_GAP, |timeout| LOOP_GAP.min(timeout / 2).max(SHORTEST_GAP)) {
            self.attempts.values_mut().for_each(|a| a.heard = now);
        }
        if let Stage::Draining { kill_at } = &mut self.stage
            && gap > LOOP_GAP
        {
            *kill_at += gap;
        }
    }

    fn take(&mut self, input: Input, now: Duration, out: &mut Vec<Action>) {
        match input {
            Input::Tick => {}
            Input::ForkFailed { attempt, reason } => self.fork_failed(attempt, &reason, now, out),
            Input::NotBegun { attempt, reason } => {
                self.attempts.remove(&attempt);
                self.stop(Cause::State, &reason, now, out);
            }
            Input::Event { attempt, event } => self.event(attempt, event, now, out),
            Input::Broken { attempt, reason } => {
                if let Some(a) = self.attempts.get_mut(&attempt) {
                    a.garbled = true;
                }
                self.kill(attempt, Kill::Fault(clean(&reason)), out);
            }
            Input::Silent { attempt } => {
                if let Some(a) = self.attempts.get_mut(&attempt) {
                    a.silent_until = Some(now + SILENCE);
                }
            }
            Input::Ended { attempt, ending } => {
                if let Some(a) = self.attempts.get_mut(&attempt) {
                    a.ended = Some(ending);
                }
                self.finish_attempt(attempt, now, out);
            }
            Input::Recorded { attempt } => self.recorded(attempt, now, out),
            Input::Closed { attempt, split } => self.closed(attempt, split, now, out),
            Input::StoreFailed { attempt, reason } => self.store_failed(attempt, &reason, now, out),
            Input::StateLost { reason } => self.stop(Cause::State, &clean(&reason), now, out),
            Input::Signal { number } => self.signal(number, now, out),
            Input::Stop { reason } => self.stop(Cause::Stopped, &clean(&reason), now, out),
            Input::Topic(change) => self.topic_changed(change, now, out),
            Input::Steer(steer) => self.steer(steer, now, out),
        }
    }

    /// What follows from the state and the time, whatever the input was.
    fn settle(&mut self, now: Duration, out: &mut Vec<Action>) {
        if self.totals.counts.dead_lettered > self.rules.max_bad_records {
            // Without the count: it grows while the workers drain, and the reason is one.
            let reason = format!("there are more dead letters than limits.max_bad_records = {}", self.rules.max_bad_records);
            self.stop(Cause::TooManyBad, &reason, now, out);
        }
        self.check_deadlines(now, out);
        self.wake_delayed(now);
        self.do_with_fewer(now, out);
        self.search_for_slots(now, out);
        self.choose_surplus();
        self.fill_slots(now, out);
        self.fork_early(now, out);
        self.split_for_idle_slots(now);
        self.share_out(now);
        self.tell_all(out);
        self.end_if_over(now, out);
    }

    fn event(&mut self, id: AttemptId, event: WorkerEvent, now: Duration, out: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        attempt.heard = now;
        match event {
            WorkerEvent::Started(started) => {
                if !self.begins(id, &started.from, out) {
                    return;
                }
                let Some(attempt) = self.attempts.get_mut(&id) else { return };
                attempt.start(now);
                self.fork_failures = 0;
                if let Some(change) = self.rules.topic.as_ref().and_then(|topic| topic.compare(&started.topic)) {
                    self.topic_changed(change, now, out);
                }
            }
            WorkerEvent::Progress(progress) => attempt.heartbeat(progress, now, self.paused),
            WorkerEvent::AtEnd => attempt.at_end = true,
            WorkerEvent::Committed(chunk) => {
                attempt.chunks_heard += 1;
                let Shard { entry: LedgerEntry { position: committed, .. }, extent, .. } = &self.shards[id.shard.0 as usize];
                match attempt.check_chunk(&chunk, committed, extent.set.is_some()) {
                    Ok(()) => {
                        attempt.unrecorded = Some(chunk.clone());
                        out.push(Action::Record(id, chunk));
                    }
                    Err(wrong) => self.kill(id, Kill::Fault(wrong), out),
                }
            }
            WorkerEvent::Log { level, text } => {
                if let Some(text) = attempt.line(&text, now) {
                    out.push(Action::Log { level, text: format!("shard {}: {text}", id.shard), keep: false });
                }
            }
            WorkerEvent::Notice(text) => self.notice(id, &text, now, out),
            WorkerEvent::Failed(failure) => {
                attempt.verdict.get_or_insert(Verdict::Failed(failure));
            }
            WorkerEvent::Finished(finished) => {
                attempt.verdict.get_or_insert(Verdict::Finished(Box::new(finished)));
            }
        }
    }

    /// The first few are told and kept, each once: a million files may have the same fault. The others are counted, and
    /// are details of the log.
    fn notice(&mut self, id: AttemptId, text: &str, now: Duration, out: &mut Vec<Action>) {
        let kept = clean(text);
        let known = self.notices.contains(&kept);
        if !known && self.notices.len() < MOST_NOTICES {
            self.notices.insert(kept.clone());
            return out.push(Action::Notice(kept));
        }
        // Sets of partitions read the same files, and each has the same to say.
        let first = self.shards[id.shard.0 as usize].extent.set.is_none() || id.shard == ShardId(0);
        self.notices_left_out += u64::from(!known && first);
        if let Some(line) = self.attempts.get_mut(&id).and_then(|attempt| attempt.line(text, now)) {
            log(out, Level::Debug, line, false);
        }
    }

    fn recorded(&mut self, id: AttemptId, now: Duration, out: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let Some(chunk) = attempt.recorded() else { return };
        self.shards[id.shard.0 as usize].comes_to(&chunk.position);
        self.change(id.shard, |shard| shard.entry = shard.entry.with(&chunk));
        self.totals.counts.add(&chunk.counts);
        self.finish_attempt(id, now, out);
    }

    fn signal(&mut self, number: u8, now: Duration, out: &mut Vec<Action>) {
        if self.last_signal.is_some_and(|(last, at)| last == number && now.saturating_sub(at) < ONE_SIGNAL) {
            return;
        }
        self.last_signal = Some((number, now));
        self.signals += 1;
        if self.signals == 1 {
            self.stop(Cause::Stopped, &format!("stopped by signal {number}"), now, out);
        } else if self.stage < (Stage::Killing { leave_at: Duration::ZERO }) {
            self.causes.add(Cause::Signal(number), format!("stopped at once by a second signal, {number}"));
            self.kill_all("a second signal stopped the job", now, out);
        }
    }

    /// Begins to drain, unless that was begun before.
    fn stop(&mut self, cause: Cause, reason: &str, now: Duration, out: &mut Vec<Action>) {
        if self.causes.add(cause, reason) {
            log(
                out,
                if cause == Cause::Stopped { Level::Warning } else { Level::Error },
                format!("{reason}; the job stops"),
                true,
            );
        }
        if self.stage == Stage::Working {
            let reserve = (self.rules.drain_timeout / 10).min(LEAVE);
            self.stage = Stage::Draining { kill_at: now + self.rules.drain_timeout.saturating_sub(reserve) };
        }
    }

    fn kill_all(&mut self, reason: &str, now: Duration, out: &mut Vec<Action>) {
        self.stage = Stage::Killing { leave_at: now + LEAVE };
        let all: Vec<AttemptId> = self.attempts.keys().copied().collect();
        for id in all {
            self.kill(id, Kill::Stop(reason.to_owned()), out);
        }
    }

    fn kill(&mut self, id: AttemptId, why: Kill, out: &mut Vec<Action>) {
        let Some(attempt) = self.attempts.get_mut(&id).filter(|a| a.alive()) else { return };
        attempt.kill = Some(why);
        out.push(Action::Kill(id));
    }

    fn check_deadlines(&mut self, now: Duration, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Draining { kill_at } if now >= kill_at) {
            if !self.attempts.is_empty() {
                let workers = show_things(self.attempts.len() as u64, "worker");
                log(out, Level::Warning, format!("{workers} killed: not drained within workers.drain_timeout"), true);
            }
            self.kill_all("it did not drain within workers.drain_timeout", now, out);
        }
        let timeout = self.rules.heartbeat_timeout;
        let mut faults = Vec::new();
        for (&id, attempt) in self.attempts.iter().filter(|(_, a)| a.alive()) {
            if attempt.silent_until.is_some_and(|at| now >= at) {
                faults.push((id, "the worker closed its pipe but did not end".to_owned()));
            } else if let Some(timeout) = timeout.filter(|timeout| now.saturating_sub(attempt.heard) >= *timeout) {
                faults.push((id, format!("no heartbeat for {} s (workers.heartbeat_timeout)", timeout.as_secs_f64())));
            }
        }
        for (id, reason) in faults {
            self.kill(id, Kill::Fault(reason), out);
        }
    }

    fn wake_delayed(&mut self, now: Duration) {
        while let Some(&(at, shard)) = self.delayed.first().filter(|(at, _)| *at <= now) {
            self.delayed.remove(&(at, shard));
            self.ready.insert(shard);
        }
    }

    fn tell_all(&mut self, out: &mut Vec<Action>) {
        let alive: Vec<AttemptId> = self.attempts.iter().filter(|(_, a)| a.alive()).map(|(id, _)| *id).collect();
        alive.into_iter().for_each(|id| self.tell(id, out));
    }

    /// Tells a worker what has changed for it.
    fn tell(&mut self, id: AttemptId, out: &mut Vec<Action>) {
        let drain_all = self.stopping();
        let by_place = self.shards[id.shard.0 as usize].extent.set.is_none();
        let Some(attempt) = self.attempts.get_mut(&id) else { return };
        let drain = drain_all || attempt.surplus || attempt.pieces > 0;
        let pieces = if drain_all || attempt.surplus || !by_place { 0 } else { attempt.pieces };
        let control = Control {
            recorded: attempt.recorded,
            drain,
            pieces,
            paused: self.paused && !drain,
            hold: attempt.held && !drain,
            held_us: attempt.held_us,
            rate: attempt.share,
        };
        if control != attempt.told {
            attempt.told = control;
            attempt.told_to_drain |= drain;
            attempt.told_to_cut |= pieces > 0;
            out.push(Action::Tell(id, control));
        }
    }

    fn end_if_over(&mut self, now: Duration, out: &mut Vec<Action>) {
        let idle = self.attempts.is_empty() && self.closing.is_empty();
        let left = matches!(self.stage, Stage::Killing { leave_at } if now >= leave_at);
        let nothing_more = self.ready.is_empty() && self.delayed.is_empty();
        if left || idle && (self.stopping() || nothing_more) {
            self.stage = Stage::Over;
            if self.notices_left_out > 0 {
                out.push(Action::Notice(format!("{} more such warnings; -v logs them", self.notices_left_out)));
            }
            out.push(Action::End(self.ended()));
        }
    }

    fn ended(&mut self) -> Ended {
        if self.totals.quarantined > 0 {
            let reason = format!("{} of {} shards are quarantined", self.totals.quarantined, self.totals.shards);
            self.causes.add(Cause::Failed, reason);
        }
        let mut causes = std::mem::take(&mut self.causes);
        if self.totals.done == self.totals.shards {
            causes.forget_stops();
        } else if causes.exit() == Exit::Done {
            causes.add(Cause::Internal, "the run ended although shards are waiting; this is a bug of ours");
        }
        Ended { causes }
    }
}

fn log(out: &mut Vec<Action>, level: Level, text: String, keep: bool) {
    out.push(Action::Log { level, text, keep });
}
