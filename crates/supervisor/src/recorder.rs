//! What of a run goes to disk, and that its folder is still the one that it began in.
//!
//! Responsible for what is written with what: a chunk with what was measured of its attempt, an attempt's end with what
//! its division makes of the plan, a turn of the knobs with the pace before it. Not responsible for when (the driver),
//! or for what is decided (the machine).

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::report::RunRules;
use migration::steer::{Pace, SteerEvent};
use migration::{Causes, Chunk, LedgerEntry, Pieces, Plan, ShardId, Token, WorkerEvent};

use crate::machine::{AttemptEnd, AttemptId, Extent, ShardStart, Split};
use crate::meters::Meters;
use crate::pace::Paces;
use crate::state_dir::StateGuard;
use crate::store::{AttemptUsage, StateError, Store};

/// Between two looks at the job's folder when nothing is written.
const GUARD_EVERY: Duration = Duration::from_secs(1);

/// Writes a run down.
#[derive(Debug)]
pub(crate) struct Recorder<'a> {
    store: &'a mut Store,
    /// The job's folder as it was when the run began, and when it was last looked at.
    guard: StateGuard,
    guarded: Duration,
    pub(crate) meters: Meters,
    pub(crate) paces: Paces,
    /// With exactly-once the disk is a cache of what Kafka has: what it did not take waits here. `None`: a job whose
    /// progress is on disk alone, and that stops when the disk takes nothing.
    behind: Option<Behind>,
}

/// What the disk did not take.
#[derive(Debug, Default)]
struct Behind {
    entries: BTreeMap<ShardId, LedgerEntry>,
    ends: Vec<(AttemptEnd, AttemptUsage)>,
    /// Why, the first time; until it is told.
    why: Option<String>,
    told: bool,
}

impl Behind {
    fn because(&mut self, why: String) {
        if !std::mem::replace(&mut self.told, true) {
            self.why = Some(why);
        }
    }
}

impl<'a> Recorder<'a> {
    /// For a run that has begun in the store. `cache`: whether Kafka has the progress as well.
    pub(crate) fn new(store: &'a mut Store, guard: StateGuard, cache: bool) -> Result<Self, StateError> {
        let meters = Meters::new(store.count_samples()?);
        let behind = cache.then(Behind::default);
        Ok(Recorder { store, guard, guarded: Duration::ZERO, meters, paces: Paces::default(), behind })
    }

    /// Looks at the folder, if it is time: between two chunks it may go too, or a run may send nothing for long. Why it
    /// can't be used any more, if so.
    pub(crate) fn lost(&mut self, now: Duration) -> Option<String> {
        if now.saturating_sub(self.guarded) < GUARD_EVERY {
            return None;
        }
        self.guarded = now;
        self.guard.check().err().map(|error| error.to_string())
    }

    /// Takes from what a worker says what is written down or shown.
    pub(crate) fn hear(&mut self, attempt: AttemptId, event: &WorkerEvent, now: Duration) {
        self.meters.hear(attempt, event, &mut self.paces, now);
    }

    /// An attempt is about to begin that may send this number of records beyond what is on disk.
    pub(crate) fn begin(&mut self, attempt: AttemptId, may_send: u64) -> Result<(), String> {
        let begun = self.store.begin_attempt(attempt, may_send).map_err(|error| error.to_string());
        self.or_later(begun, |_| {})
    }

    /// Puts a chunk on disk. `before`: how far its shard is without it.
    pub(crate) fn record(&mut self, attempt: AttemptId, chunk: &Chunk, before: &LedgerEntry) -> Result<(), String> {
        let usage = self.meters.usage(attempt);
        let written =
            self.catch_up().and_then(|()| self.store.record_chunk(attempt, chunk, &usage).map_err(|error| error.to_string()));
        self.or_later(written, |behind| _ = behind.entries.insert(attempt.shard, before.with(chunk)))
    }

    /// Puts on disk how far Kafka says that a shard is.
    pub(crate) fn adopt(&mut self, shard: ShardId, entry: &LedgerEntry) {
        if let Some(behind) = &mut self.behind {
            behind.entries.insert(shard, entry.clone());
            let written = self.catch_up();
            // It waits among those that the disk did not take.
            let _ = self.or_later(written, |_| {});
        }
    }

    /// Why the disk takes nothing although the job goes on, once.
    pub(crate) fn trouble(&mut self) -> Option<String> {
        self.behind.as_mut()?.why.take()
    }

    /// What the disk does not take is kept for later, if Kafka has it.
    fn or_later(&mut self, written: Result<(), String>, keep: impl FnOnce(&mut Behind)) -> Result<(), String> {
        match (written, &mut self.behind) {
            (Err(why), Some(behind)) => {
                keep(behind);
                behind.because(why);
                Ok(())
            }
            (written, _) => written,
        }
    }

    /// Puts on disk what it did not take before.
    fn catch_up(&mut self) -> Result<(), String> {
        self.guard.check().map_err(|error| error.to_string())?;
        let Some(behind) = &mut self.behind else { return Ok(()) };
        if !behind.entries.is_empty() {
            let entries: Vec<_> = behind.entries.iter().map(|(id, entry)| (*id, entry.clone())).collect();
            self.store.adopt(&entries).map_err(|error| error.to_string())?;
            behind.entries.clear();
        }
        while let Some((end, usage)) = behind.ends.first() {
            self.store.end_attempt(end, usage, 0..0).map_err(|error| error.to_string())?;
            behind.ends.remove(0);
        }
        Ok(())
    }

    /// Puts the end of an attempt on disk, with what its division makes of its shard.
    pub(crate) fn close(&mut self, end: &AttemptEnd, pieces: Option<&Pieces>) -> Result<(), String> {
        let usage = self.meters.end(end.attempt, end.work.phases);
        let added = pieces.map(Pieces::added).unwrap_or_default();
        let written =
            self.catch_up().and_then(|()| self.store.end_attempt(end, &usage, added).map_err(|error| error.to_string()));
        self.or_later(written, |behind| behind.ends.push((end.clone(), usage)))
    }

    /// Adds a line to the job's history.
    pub(crate) fn note(&mut self, text: &str) -> Result<(), StateError> {
        self.store.note(text)
    }

    /// Adds to it that brokers don't answer; `all`: none does.
    pub(crate) fn outage(&mut self, text: &str, since_ms: u64, all: bool) -> Result<(), StateError> {
        self.store.note_outage(text, since_ms, all)
    }

    /// Adds to it that they do again.
    pub(crate) fn outage_over(&mut self, text: &str) -> Result<(), StateError> {
        self.store.note_outage_over(text)
    }

    /// Adds a warning about the source to it.
    pub(crate) fn notice(&mut self, text: &str) -> Result<(), StateError> {
        self.store.notice(text)
    }

    /// Keeps a turn of the knobs with the pace before it, which is the pace after the turn before.
    pub(crate) fn turned(&mut self, text: String, now: Duration) -> Result<(), StateError> {
        let last = self.paces.close(now);
        let event = SteerEvent { unix_ms: unix_ms(), text, before: self.paces.before(now), after: None };
        let key = self.store.note_turn(&event, last)?;
        self.paces.turned(key, event, now);
        Ok(())
    }

    /// Keeps how fast the job went after a turn, if that is known by now.
    pub(crate) fn pace(&mut self, after: Option<(i64, Pace)>) -> Result<(), StateError> {
        after.map_or(Ok(()), |(key, pace)| self.store.note_pace(key, &pace))
    }

    /// Ends the run.
    pub(crate) fn end(&mut self, causes: &Causes, slots: u32, cpu_us: u64, rules: &RunRules) -> Result<(), String> {
        if self.behind.is_some() {
            self.catch_up()?;
        }
        let noted = self.store.note_rules(rules);
        let ended = noted.and_then(|()| self.store.end_run(causes.exit().code(), &causes.reasons(), slots, cpu_us));
        ended.map_err(|error| error.to_string())
    }
}

/// Takes the pieces of a shard over into the plan; what the machine has to know of them. `token`: what its source needs
/// where they begin.
pub(crate) fn split(plan: &mut Plan, shard: migration::ShardId, pieces: Pieces, token: Option<&Token>) -> Split {
    let added = pieces.added();
    plan.put(pieces);
    let fresh = |piece| {
        let mut start = ShardStart::fresh(plan, piece);
        start.entry.token = token.cloned();
        start
    };
    let added = plan.shards[added.start as usize..].iter().map(fresh).collect();
    Split { shard: Extent::of(plan, &plan.shards[shard.0 as usize]), added }
}

/// Wall-clock time, for people only.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
}
