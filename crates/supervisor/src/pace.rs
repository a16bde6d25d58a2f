//! Whether a turn of the knobs paid: how fast the job went just before it, and how fast once the new pace had settled.
//!
//! Responsible for sums that never go back, over attempts that come and go, and for choosing the seconds that are
//! compared. Not responsible for what is turned (the machine) or where it is kept (the store). It has no clock: `now`
//! is the time since the run began.

use std::collections::VecDeque;
use std::time::Duration;

use migration::steer::{Pace, SteerEvent};
use migration::{Phase, Work, WorkerEvent};

/// The time over which a pace is measured.
const OVER: Duration = Duration::from_secs(3);
/// The least time that a change is given to take effect,
const SETTLES_AFTER: Duration = Duration::from_secs(1);
/// and the most, however many workers are still to start or to leave.
const SETTLES_BY: Duration = Duration::from_secs(10);
/// Less time than this says nothing.
const ENOUGH: Duration = Duration::from_secs(1);
/// How many turns are shown; all are kept.
const SHOWN: usize = 5;

/// What was done, and in how much time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Done {
    acknowledged: u64,
    flush_ns: u64,
    all_ns: u64,
}

impl Done {
    fn of(acknowledged: u64, work: &Work) -> Self {
        Done { acknowledged, flush_ns: work.phases.get(Phase::Flush), all_ns: work.phases.total() }
    }

    fn plus(self, other: Done) -> Self {
        Done {
            acknowledged: self.acknowledged + other.acknowledged,
            flush_ns: self.flush_ns + other.flush_ns,
            all_ns: self.all_ns + other.all_ns,
        }
    }

    /// Each figure on its own, because one source may be ahead in one and behind in another.
    fn larger(self, other: Done) -> Self {
        Done {
            acknowledged: self.acknowledged.max(other.acknowledged),
            flush_ns: self.flush_ns.max(other.flush_ns),
            all_ns: self.all_ns.max(other.all_ns),
        }
    }

    fn since(self, before: Done) -> Self {
        Done {
            acknowledged: self.acknowledged.saturating_sub(before.acknowledged),
            flush_ns: self.flush_ns.saturating_sub(before.flush_ns),
            all_ns: self.all_ns.saturating_sub(before.all_ns),
        }
    }
}

/// What one attempt has told: heartbeats have sums over the attempt, chunks only their own.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Told {
    heartbeat: Done,
    chunks: Done,
    counted: Done,
}

/// A turn whose new pace is not known yet.
#[derive(Clone, Copy, Debug)]
struct Turn {
    key: i64,
    at: Duration,
    /// When it had taken effect, and what was done by then.
    settled: Option<(Duration, Done)>,
}

/// The pace of a run, and the turns of its knobs.
#[derive(Debug, Default)]
pub(crate) struct Paces {
    sum: Done,
    marks: VecDeque<(Duration, Done)>,
    open: Option<Turn>,
    shown: VecDeque<(i64, SteerEvent)>,
}

impl Paces {
    /// Counts what a worker says.
    pub(crate) fn hear(&mut self, told: &mut Told, event: &WorkerEvent) {
        match event {
            WorkerEvent::Progress(progress) => told.heartbeat = Done::of(progress.counts.acknowledged, &progress.work),
            WorkerEvent::Committed(chunk) => {
                told.chunks = told.chunks.plus(Done::of(chunk.counts.acknowledged, &chunk.work));
            }
            WorkerEvent::Finished(finished) => told.chunks = told.chunks.plus(Done::of(0, &finished.work)),
            WorkerEvent::Started(_)
            | WorkerEvent::AtEnd
            | WorkerEvent::Log { .. }
            | WorkerEvent::Notice(_)
            | WorkerEvent::Failed(_) => return,
        }
        let now = told.heartbeat.larger(told.chunks).larger(told.counted);
        self.sum = self.sum.plus(now.since(told.counted));
        told.counted = now;
    }

    /// Time passed. `settled`: as many workers run as were asked for. Gives the pace after a turn when it is known.
    pub(crate) fn tick(&mut self, now: Duration, settled: bool) -> Option<(i64, Pace)> {
        self.marks.push_back((now, self.sum));
        while self.marks.len() > 2 && self.marks[1].0 + OVER <= now {
            self.marks.pop_front();
        }
        let turn = self.open.as_mut()?;
        let age = now.saturating_sub(turn.at);
        if turn.settled.is_none() && (settled && age >= SETTLES_AFTER || age >= SETTLES_BY) {
            turn.settled = Some((now, self.sum));
        }
        let (since, _) = turn.settled?;
        if now.saturating_sub(since) >= OVER { self.close(now) } else { None }
    }

    /// The pace just before now.
    pub(crate) fn before(&self, now: Duration) -> Pace {
        self.marks.front().map_or(Pace::default(), |&(then, done)| pace(now.saturating_sub(then), self.sum.since(done)))
    }

    /// The knobs were turned; `key` is what [`Paces::tick`] and [`Paces::close`] call it by. Close the turn before it
    /// first.
    pub(crate) fn turned(&mut self, key: i64, event: SteerEvent, now: Duration) {
        self.open = Some(Turn { key, at: now, settled: None });
        self.shown.push_back((key, event));
        if self.shown.len() > SHOWN {
            self.shown.pop_front();
        }
    }

    /// No more is waited for: the pace since the last turn had taken effect, if there is enough to say.
    pub(crate) fn close(&mut self, now: Duration) -> Option<(i64, Pace)> {
        let turn = self.open.take()?;
        let (since, done) = turn.settled?;
        let over = now.saturating_sub(since);
        let after = (over >= ENOUGH).then(|| pace(over, self.sum.since(done)))?;
        if let Some((_, event)) = self.shown.iter_mut().find(|(key, _)| *key == turn.key) {
            event.after = Some(after);
        }
        Some((turn.key, after))
    }

    /// The last turns of this run, oldest first.
    pub(crate) fn shown(&self) -> Vec<SteerEvent> {
        self.shown.iter().map(|(_, event)| event.clone()).collect()
    }
}

fn pace(over: Duration, done: Done) -> Pace {
    Pace {
        records_per_second: done.acknowledged as f64 / over.as_secs_f64().max(0.001),
        flush_share: done.flush_ns as f64 / (done.all_ns as f64).max(1.0),
    }
}

#[cfg(test)]
mod tests {
    use migration::{Chunk, Counts, Finished, Position, Progress};

    use super::*;

    fn work(flush_ms: u64, other_ms: u64) -> Work {
        let mut work = Work::default();
        work.phases.spend(Phase::Flush, flush_ms * 1_000_000);
        work.phases.spend(Phase::Read, other_ms * 1_000_000);
        work
    }

    fn heartbeat(acknowledged: u64, flush_ms: u64, other_ms: u64) -> WorkerEvent {
        let counts = Counts { acknowledged, ..Counts::default() };
        WorkerEvent::Progress(Progress { counts, work: work(flush_ms, other_ms), ..Progress::default() })
    }

    fn event() -> SteerEvent {
        SteerEvent { unix_ms: 1, text: "scaled 1 -> 2".to_owned(), before: Pace::default(), after: None }
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// A run of one worker that does 1,000 records a second, half of its time in flush; from 10 s on two that never
    /// flush.
    fn run(paces: &mut Paces, from: u64, to: u64, settled_from: u64) -> Vec<(u64, Pace)> {
        let mut told = [Told::default(); 2];
        let mut found = Vec::new();
        for at in (from..=to).step_by(200) {
            let alone = at.min(10_000);
            paces.hear(&mut told[0], &heartbeat(at, alone / 2, at - alone / 2));
            if at > 10_000 {
                paces.hear(&mut told[1], &heartbeat(at - 10_000, 0, at - 10_000));
            }
            found.extend(paces.tick(ms(at), at >= settled_from).map(|(_, pace)| (at, pace)));
        }
        found
    }

    #[test]
    fn before_and_after_a_turn_that_doubles_the_rate() {
        let mut paces = Paces::default();
        assert_eq!(run(&mut paces, 0, 10_000, 0), []);
        let before = paces.before(ms(10_000));
        assert!((before.records_per_second - 1000.0).abs() < 1.0, "{before:?}");
        assert!((before.flush_share - 0.5).abs() < 0.01, "{before:?}");
        paces.turned(7, event(), ms(10_000));
        let mut paces_after = Vec::new();
        // The heartbeats of new attempts begin at zero; here they go on where the sums stood.
        let mut told = Told::default();
        for at in (10_200..=20_000).step_by(200) {
            paces.hear(&mut told, &heartbeat((at - 10_000) * 2, 0, at - 10_000));
            paces_after.extend(paces.tick(ms(at), at >= 12_000).map(|(key, pace)| (at, key, pace)));
        }
        let [(at, key, after)] = paces_after[..] else { panic!("{paces_after:?}") };
        assert_eq!((at, key), (15_000, 7), "it settled at 12 s and was measured over 3 s");
        assert!((after.records_per_second - 2000.0).abs() < 1.0, "{after:?}");
        assert_eq!(after.flush_share, 0.0);
        assert_eq!(paces.shown()[0].after, Some(after));
        assert_eq!(paces.close(ms(30_000)), None, "it is told once");
    }

    #[test]
    fn a_turn_that_never_settles_is_measured_all_the_same_and_a_short_one_is_not() {
        let mut paces = Paces::default();
        paces.turned(1, event(), ms(0));
        let found: Vec<u64> = (0..=20_000).step_by(200).filter(|at| paces.tick(ms(*at), false).is_some()).collect();
        assert_eq!(found, [13_000]);
        paces.turned(2, event(), ms(20_000));
        paces.tick(ms(21_000), true);
        assert_eq!(paces.close(ms(21_900)), None, "0.9 s say nothing");
        paces.turned(3, event(), ms(22_000));
        paces.tick(ms(23_000), true);
        assert!(matches!(paces.close(ms(24_000)), Some((3, _))));
    }

    #[test]
    fn chunks_and_heartbeats_of_one_attempt_are_not_counted_twice() {
        let (mut paces, mut told) = (Paces::default(), Told::default());
        let chunk = |acknowledged| {
            let counts = Counts { acknowledged, ..Counts::default() };
            WorkerEvent::Committed(Chunk { counts, work: work(50, 50), ..Chunk::default() })
        };
        paces.hear(&mut told, &heartbeat(80, 40, 40));
        paces.hear(&mut told, &chunk(100));
        paces.hear(&mut told, &heartbeat(150, 70, 60));
        paces.hear(&mut told, &chunk(100));
        let last =
            Finished { position: Position::default(), complete: true, cuts: None, work: work(0, 10), peak_memory_bytes: 0 };
        paces.hear(&mut told, &WorkerEvent::Finished(last));
        assert_eq!(paces.sum, Done { acknowledged: 200, flush_ns: 100_000_000, all_ns: 210_000_000 });
        // A successor begins at zero again.
        paces.hear(&mut Told::default(), &heartbeat(5, 1, 1));
        assert_eq!(paces.sum.acknowledged, 205);
    }

    #[test]
    fn only_the_last_turns_are_shown() {
        let mut paces = Paces::default();
        (0..20).for_each(|key| paces.turned(key, event(), ms(0)));
        assert_eq!(paces.shown().len(), SHOWN);
        assert_eq!(paces.shown.front().map(|(key, _)| *key), Some(15));
    }
}
