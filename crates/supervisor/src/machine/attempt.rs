//! One attempt as the machine sees it: what it said, what it was told, and how its end is judged.

use std::time::Duration;

use migration::report::{AttemptOutcome, Resent};
use migration::{
    Cause, Chunk, Control, Counts, Cut, Damage, Failure, FailureKind, Finished, LedgerEntry, Position, Progress, Rate,
    RefusedRecord, Work,
};

use super::values::Ending;
use crate::protocol::MOST_UNTOLD;

/// Log lines a worker may print in one second; the rest is counted and dropped.
const LINES_PER_SECOND: u32 = 20;
/// A worker sends no more chunks than this that are not on disk: the one that it is at, and the one before.
pub(super) const CHUNKS_AHEAD: u64 = 2;
/// The longest log line or reason, in characters.
const LONGEST_LINE: usize = 2_000;

/// Why the supervisor killed a worker.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kill {
    /// It misbehaved: counts as a death.
    Fault(String),
    /// The job stops: no death.
    Stop(String),
}

/// What a worker said last.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Verdict {
    Finished(Box<Finished>),
    Failed(Failure),
}

/// How an attempt is judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Judgement {
    Done(Position),
    Drained,
    Death(String),
    Unreachable(String),
    /// Another producer has its shard, or the brokers say so.
    Fenced(String),
    /// The brokers refused records for good, and its transaction is lost with them.
    Refused(String),
    /// It found none until the job has to stop.
    GaveUp(String),
    /// Killed because the job stops.
    Stopped(String),
    /// This segment of its shard can't be read, or is not as planned.
    Damaged(u32, String),
    /// Its failure stops the job, as this.
    StopsJob(Cause, String),
}

impl Judgement {
    pub(super) fn outcome(&self) -> AttemptOutcome {
        match self {
            Judgement::Done(_) => AttemptOutcome::Finished,
            Judgement::Drained => AttemptOutcome::Drained,
            Judgement::Death(_) => AttemptOutcome::Died,
            Judgement::Unreachable(_) => AttemptOutcome::Unreachable,
            Judgement::Fenced(_) => AttemptOutcome::Fenced,
            Judgement::Refused(_) => AttemptOutcome::Refused,
            Judgement::Damaged(..) => AttemptOutcome::Unreadable,
            Judgement::GaveUp(_) | Judgement::Stopped(_) | Judgement::StopsJob(..) => AttemptOutcome::Stopped,
        }
    }

    pub(super) fn reason(&self) -> String {
        match self {
            Judgement::Done(_) | Judgement::Drained => String::new(),
            Judgement::Death(reason)
            | Judgement::Unreachable(reason)
            | Judgement::Fenced(reason)
            | Judgement::Refused(reason)
            | Judgement::GaveUp(reason)
            | Judgement::Stopped(reason)
            | Judgement::Damaged(_, reason)
            | Judgement::StopsJob(_, reason) => reason.clone(),
        }
    }
}

/// A running attempt.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub(super) slot: u32,
    /// It came early: its slot is another's, and it takes nothing.
    pub(super) held: bool,
    /// For how long that was so, once it is over, microseconds.
    pub(super) held_us: u64,
    /// Everything of its shard was taken.
    pub(super) at_end: bool,
    begun: Duration,
    /// From where it was told to go on.
    from: LedgerEntry,
    /// Its producer is connected.
    pub(super) started: bool,
    /// When it was last heard of.
    pub(super) heard: Duration,
    /// Told to drain because there are fewer slots now.
    pub(super) surplus: bool,
    /// Told to drain so that the rest of its shard can be divided into this number of pieces.
    pub(super) pieces: u32,
    /// Whether it was ever told to drain.
    pub(super) told_to_drain: bool,
    /// Whether it was ever told to cut.
    pub(super) told_to_cut: bool,
    pub(super) told: Control,
    /// Its share of the job's limit.
    pub(super) share: Rate,
    /// When that became larger, or when it started.
    pub(super) raised: Duration,
    /// The newest chunk that is on disk.
    pub(super) recorded: u64,
    /// The newest chunk that it sent, accepted or not.
    pub(super) chunks_heard: u64,
    /// What it said made no sense at some point, and nothing was read after it.
    pub(super) garbled: bool,
    /// The chunk that the store has not answered for.
    pub(super) unrecorded: Option<Chunk>,
    pub(super) progress: Progress,
    pub(super) verdict: Option<Verdict>,
    pub(super) kill: Option<Kill>,
    /// Its pipe is closed: kill it then.
    pub(super) silent_until: Option<Duration>,
    pub(super) ended: Option<Ending>,
    /// What it took a second of its own rows, by its last two heartbeats.
    pub(super) used: Option<Rate>,
    /// How many bytes of the source it passed a second, those of others included, over the last few.
    pub(super) speed: Option<f64>,
    /// What its recorded chunks held and took.
    pub(super) committed: Counts,
    pub(super) work: Work,
    measured: (Duration, Counts),
    lines: LogAllowance,
}

/// How many log lines came in the present second, and how many were dropped before.
#[derive(Clone, Debug, Default)]
struct LogAllowance {
    since: Duration,
    printed: u32,
    dropped: u64,
}

impl Attempt {
    pub(super) fn new(slot: u32, told: Control, from: LedgerEntry, now: Duration) -> Self {
        let position = from.position;
        Attempt {
            slot,
            held: told.hold,
            held_us: 0,
            at_end: false,
            begun: now,
            from,
            started: false,
            heard: now,
            surplus: false,
            pieces: 0,
            told_to_drain: told.drain,
            told_to_cut: false,
            told,
            share: told.rate,
            raised: now,
            recorded: 0,
            chunks_heard: 0,
            garbled: false,
            unrecorded: None,
            progress: Progress { position, ..Progress::default() },
            verdict: None,
            kill: None,
            silent_until: None,
            ended: None,
            used: None,
            speed: None,
            committed: Counts::default(),
            work: Work::default(),
            measured: (now, Counts::default()),
            lines: LogAllowance { since: now, ..LogAllowance::default() },
        }
    }

    /// Gives it another share.
    pub(super) fn grant(&mut self, share: Rate, now: Duration) {
        const MUCH: f64 = 1.2;
        if share.records > self.share.records * MUCH || share.bytes > self.share.bytes * MUCH {
            self.raised = now;
        }
        self.share = share;
    }

    /// Whether it still takes orders.
    pub(super) fn alive(&self) -> bool {
        self.ended.is_none() && self.kill.is_none()
    }

    /// Its producer is connected: from here on its speed counts.
    pub(super) fn start(&mut self, now: Duration) {
        self.started = true;
        self.measured = (now, self.progress.counts);
    }

    /// Gives it its slot: from here on it takes records, and its speed counts.
    pub(super) fn admit(&mut self, slot: u32, now: Duration) {
        (self.slot, self.held) = (slot, false);
        self.held_us = u64::try_from(now.saturating_sub(self.begun).as_micros()).unwrap_or(u64::MAX);
        (self.measured, self.raised) = ((now, self.progress.counts), now);
    }

    /// Keeps a heartbeat and what it says about the rate; in a pause it says nothing about it.
    pub(super) fn heartbeat(&mut self, progress: Progress, now: Duration, paused: bool) {
        if paused || self.held {
            self.measured = (now, progress.counts);
        }
        let (since, counts) = self.measured;
        let seconds = now.saturating_sub(since).as_secs_f64();
        if seconds >= 0.5 {
            let taken = |new: u64, old: u64| new.saturating_sub(old) as f64 / seconds;
            let new = &progress.counts;
            let passed = taken(new.bytes_passed(), counts.bytes_passed());
            self.speed = Some(self.speed.map_or(passed, |old| (old + passed) / 2.0));
            let (records, bytes) = (taken(new.read, counts.read), taken(new.bytes_read, counts.bytes_read));
            self.used = Some(Rate { records, bytes });
            self.measured = (now, progress.counts);
        }
        self.progress = progress;
    }

    /// Checks that it goes on from where it was told: the checkpoint is its ledger, and nothing else writes there.
    pub(super) fn check_begin(&self, from: &LedgerEntry) -> Result<(), String> {
        if *from == self.from {
            return Ok(());
        }
        let (is, told) = (&from.position, &self.from.position);
        let what = if is != told {
            format!("at {} instead of {}", show(is), show(told))
        } else if from.counts != self.from.counts {
            format!("with {:?} instead of {:?}", from.counts, self.from.counts)
        } else {
            "with another token of its source".to_owned()
        };
        Err(format!("the worker began {what}"))
    }

    /// Checks a chunk against what was committed before; an error says what is wrong with it. `of_set`: only rows of
    /// some partitions are the shard's own.
    pub(super) fn check_chunk(&self, chunk: &Chunk, committed: &Position, of_set: bool) -> Result<(), String> {
        let wrong = if self.held {
            "came before the worker had a slot".to_owned()
        } else if self.verdict.is_some() {
            "came after the worker's last word".to_owned()
        } else if self.unrecorded.is_some() {
            "came before the one ahead of it was recorded".to_owned()
        } else if chunk.number != self.recorded + 1 {
            format!("is number {}, but {} was expected", chunk.number, self.recorded + 1)
        } else if !forward(committed, &chunk.position) {
            format!("ends at {}, before the committed {}", show(&chunk.position), show(committed))
        } else if !of_set && (chunk.counts.others, chunk.counts.bytes_others) != (0, 0) {
            format!("passes over {} rows of others, but all rows of its shard are its own", chunk.counts.others)
        } else if !chunk.counts.balance() || chunk.counts.passed() != chunk.position.records - committed.records {
            let c = &chunk.counts;
            format!(
                "does not balance: {} read over {} positions, {} acknowledged, {} filtered, {} dead letters, {} of other shards",
                c.passed(),
                chunk.position.records - committed.records,
                c.acknowledged,
                c.filtered,
                c.dead_lettered,
                c.others
            )
        } else {
            return Ok(());
        };
        Err(format!("a chunk {wrong}"))
    }

    /// Takes over the chunk that the store just recorded.
    pub(super) fn recorded(&mut self) -> Option<Chunk> {
        let chunk = self.unrecorded.take()?;
        self.recorded = chunk.number;
        self.committed.add(&chunk.counts);
        self.work.add(&chunk.work);
        Some(chunk)
    }

    /// How the attempt ended, given where its shard is committed.
    pub(super) fn judge(&self, ending: Ending, committed: &Position) -> Judgement {
        match (&self.verdict, ending, &self.kill) {
            (Some(Verdict::Finished(finished)), Ending::Code(0), _) => self.judge_finished(finished, committed),
            (Some(Verdict::Failed(failure)), ..) => judge_failed(failure),
            (_, _, Some(Kill::Fault(reason))) => Judgement::Death(reason.clone()),
            (_, _, Some(Kill::Stop(reason))) => Judgement::Stopped(reason.clone()),
            (Some(Verdict::Finished(_)), other, None) => {
                Judgement::Death(format!("the worker said that it finished, but ended with {other}"))
            }
            (None, Ending::Code(0), None) => {
                Judgement::Death("the worker ended with exit code 0 but never said that it finished".to_owned())
            }
            (None, other, None) => Judgement::Death(format!("the worker ended with {other}")),
        }
    }

    fn judge_finished(&self, finished: &Finished, committed: &Position) -> Judgement {
        if !forward(committed, &finished.position) || finished.position.records != committed.records {
            return Judgement::Death(format!(
                "the worker finished at {}, but its shard is committed up to {}",
                show(&finished.position),
                show(committed)
            ));
        }
        if finished.cuts.is_some() && (finished.complete || !self.told_to_cut) {
            return Judgement::Death("the worker cut its shard without being told to".to_owned());
        }
        match (finished.complete, self.told_to_drain) {
            (true, _) => Judgement::Done(finished.position),
            (false, true) => Judgement::Drained,
            (false, false) => Judgement::Death("the worker drained without being told to".to_owned()),
        }
    }

    /// Which records it says that the brokers refused.
    pub(super) fn refused(&self) -> &[RefusedRecord] {
        match &self.verdict {
            Some(Verdict::Failed(failure)) => &failure.refused,
            _ => &[],
        }
    }

    /// Where the rest of its shard is to be cut: empty if nowhere, `None` if it was not asked, or not in time.
    pub(super) fn cuts(&self) -> Option<Vec<Cut>> {
        match &self.verdict {
            Some(Verdict::Finished(finished)) => finished.cuts.clone(),
            _ => None,
        }
    }

    /// What it says of a segment that can't be read.
    pub(super) fn damage(&self) -> Option<Damage> {
        match &self.verdict {
            Some(Verdict::Failed(failure)) => failure.damage,
            _ => None,
        }
    }

    /// What it has in progress beyond what is committed, as far as its last heartbeat told.
    pub(super) fn ahead(&self) -> Counts {
        self.progress.counts.since(&self.committed)
    }

    /// What it may have sent beyond what is recorded. A worker that fails tells all that it took before it says so; one
    /// that is killed or panics took little more than it told; and none is further than a chunk ahead of the store's
    /// answer for the chunk before.
    pub(super) fn uncommitted(&self, chunk_records: u64) -> Resent {
        if self.garbled {
            return Resent::at_most(chunk_records.saturating_mul(CHUNKS_AHEAD));
        }
        if !self.started || self.held {
            return Resent::NONE;
        }
        let told_all = matches!(self.verdict, Some(Verdict::Failed(_))) && self.ended.is_some_and(in_order);
        let untold = if told_all { 0 } else { MOST_UNTOLD };
        let open = |seen: u64, on_disk: u64| (seen + untold).saturating_sub(on_disk);
        let sent = open(self.progress.counts.to_be_sent(), self.committed.to_be_sent());
        let acknowledged = open(self.progress.counts.acknowledged, self.committed.acknowledged);
        let chunks = 1 + self.chunks_heard.saturating_sub(self.recorded);
        let most = sent.min(chunk_records.saturating_mul(chunks));
        Resent { most, exact: most == 0 || told_all && acknowledged == most }
    }

    /// All it took: exact when it finished, else what its last heartbeat told.
    pub(super) fn total_work(&self) -> Work {
        if let Some(Verdict::Finished(finished)) = &self.verdict {
            let mut work = self.work.clone();
            work.add(&finished.work);
            return work;
        }
        let heard = &self.progress.work;
        if heard.phases.total() > self.work.phases.total() { heard.clone() } else { self.work.clone() }
    }

    pub(super) fn peak_memory(&self) -> u64 {
        let last = if let Some(Verdict::Finished(finished)) = &self.verdict { finished.peak_memory_bytes } else { 0 };
        last.max(self.progress.peak_memory_bytes)
    }

    /// The line to print for a worker's log line, if it has not printed too many.
    pub(super) fn line(&mut self, text: &str, now: Duration) -> Option<String> {
        let lines = &mut self.lines;
        if now.saturating_sub(lines.since) >= Duration::from_secs(1) {
            (lines.since, lines.printed) = (now, 0);
        }
        if lines.printed >= LINES_PER_SECOND {
            lines.dropped += 1;
            return None;
        }
        lines.printed += 1;
        let dropped = std::mem::take(&mut lines.dropped);
        let note = if dropped > 0 { format!(" ({dropped} lines before it dropped)") } else { String::new() };
        Some(clean(text) + &note)
    }
}

/// Whether a process ended by itself. One that panics says first that it failed, and nothing else.
fn in_order(ending: Ending) -> bool {
    matches!(ending, Ending::Code(code) if code != i32::from(process::EXIT_PANICKED))
}

fn judge_failed(failure: &Failure) -> Judgement {
    let reason = clean(&failure.message);
    if let (FailureKind::Source, Some(damage)) = (failure.kind, failure.damage) {
        return Judgement::Damaged(damage.segment, reason);
    }
    match failure.kind.stops_job() {
        Some(_) if failure.kind == FailureKind::GaveUp => Judgement::GaveUp(reason),
        Some(cause) => Judgement::StopsJob(cause, reason),
        None if failure.kind == FailureKind::Unreachable => Judgement::Unreachable(reason),
        None if failure.kind == FailureKind::Fenced => Judgement::Fenced(reason),
        None if failure.kind == FailureKind::Refused => Judgement::Refused(reason),
        None => Judgement::Death(reason),
    }
}

/// Whether `to` is at or after `from` in every respect.
pub(super) fn forward(from: &Position, to: &Position) -> bool {
    (to.segment, to.place) >= (from.segment, from.place) && to.records >= from.records
}

pub(super) fn show(position: &Position) -> String {
    format!("segment {}, place {}, record {}", position.segment, position.place, position.records)
}

/// A worker's text as it may be printed: bounded, and no control character reaches a terminal.
pub(super) fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len().min(LONGEST_LINE));
    for c in text.chars().take(LONGEST_LINE) {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    if text.chars().nth(LONGEST_LINE).is_some() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use migration::FailureKind;

    use super::*;

    const CHUNK: u64 = 1_000_000;

    /// A worker that took this number of rows, some of which are acknowledged, and recorded one chunk of a hundred.
    fn worker(read: u64, acknowledged: u64) -> Attempt {
        let counts = |read, acknowledged| Counts { read, acknowledged, ..Counts::default() };
        let mut attempt = Attempt::new(0, Control::default(), LedgerEntry::default(), Duration::ZERO);
        attempt.start(Duration::ZERO);
        attempt.progress.counts = counts(read, acknowledged);
        (attempt.committed, attempt.recorded, attempt.chunks_heard) = (counts(100, 100), 1, 1);
        attempt
    }

    #[test]
    fn what_a_killed_worker_may_have_sent_is_bounded() {
        let most = |attempt: &Attempt, chunk: u64| attempt.uncommitted(chunk);
        assert_eq!(most(&worker(150, 120), CHUNK), Resent::at_most(50 + MOST_UNTOLD), "by what it told");
        assert_eq!(most(&worker(150, 120), 70), Resent::at_most(70), "by its chunk");
        assert_eq!(
            most(&worker(40, 40), CHUNK),
            Resent::at_most(MOST_UNTOLD - 60),
            "its last word is older than its last chunk"
        );

        let mut refused = worker(150, 120);
        refused.progress.counts.dead_lettered = 10;
        refused.progress.counts.filtered = 5;
        refused.progress.counts.others = 5;
        assert_eq!(most(&refused, CHUNK), Resent::at_most(35 + MOST_UNTOLD), "what was not sent does not count");

        let mut unrecorded = worker(150, 120);
        unrecorded.chunks_heard = 2;
        assert_eq!(most(&unrecorded, 70), Resent::at_most(140), "a chunk that the store refused, and the next");
        unrecorded.garbled = true;
        assert_eq!(most(&unrecorded, CHUNK), Resent::at_most(2 * CHUNK), "what it told was not read");
    }

    #[test]
    fn a_worker_that_fails_tells_all_that_it_took() {
        let failed = |read, acknowledged| {
            let failure = Failure::new(FailureKind::GaveUp, "no answer");
            let ended = Some(Ending::Code(1));
            Attempt { verdict: Some(Verdict::Failed(failure)), ended, ..worker(read, acknowledged) }.uncommitted(CHUNK)
        };
        assert_eq!(failed(150, 120), Resent::at_most(50), "what is in flight may have been written");
        assert_eq!(failed(150, 150), Resent { most: 50, exact: true });
        assert_eq!(failed(100, 100), Resent::NONE);
        let never = Attempt { started: false, ..worker(0, 0) };
        assert_eq!(never.uncommitted(CHUNK), Resent::NONE, "it was not connected");
    }

    #[test]
    fn a_worker_that_panics_says_that_it_failed_and_not_what_it_took() {
        let panicked = || Some(Verdict::Failed(Failure::new(FailureKind::Retry, "the worker panicked")));
        for ending in [Ending::Code(i32::from(process::EXIT_PANICKED)), Ending::Signal(6)] {
            let attempt = Attempt { verdict: panicked(), ended: Some(ending), ..worker(150, 150) };
            assert_eq!(attempt.uncommitted(CHUNK), Resent::at_most(50 + MOST_UNTOLD), "{ending}");
        }
    }
}
