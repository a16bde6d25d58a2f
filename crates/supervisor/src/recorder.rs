//! What of a run goes to disk, and that its folder is still the one that it began in.
//!
//! Responsible for what is written with what: a chunk with what was measured of its attempt, an attempt's end with what
//! its division makes of the plan, a turn of the knobs with the pace before it. Not responsible for when (the driver),
//! or for what is decided (the machine).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::steer::{Pace, SteerEvent};
use migration::{Causes, Chunk, Pieces, Plan, Token, WorkerEvent};

use crate::machine::{AttemptEnd, AttemptId, Extent, ShardStart, Split};
use crate::meters::Meters;
use crate::pace::Paces;
use crate::state_dir::StateGuard;
use crate::store::{StateError, Store};

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
}

impl<'a> Recorder<'a> {
    /// For a run that has begun in the store.
    pub(crate) fn new(store: &'a mut Store, guard: StateGuard) -> Result<Self, StateError> {
        let meters = Meters::new(store.count_samples()?);
        Ok(Recorder { store, guard, guarded: Duration::ZERO, meters, paces: Paces::default() })
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
        self.store.begin_attempt(attempt, may_send).map_err(|error| error.to_string())
    }

    /// Puts a chunk on disk.
    pub(crate) fn record(&mut self, attempt: AttemptId, chunk: &Chunk) -> Result<(), String> {
        self.guard.check().map_err(|error| error.to_string())?;
        let usage = self.meters.usage(attempt);
        self.store.record_chunk(attempt, chunk, &usage).map_err(|error| error.to_string())
    }

    /// Puts the end of an attempt on disk, with what its division makes of its shard.
    pub(crate) fn close(&mut self, end: &AttemptEnd, pieces: Option<&Pieces>) -> Result<(), String> {
        let usage = self.meters.end(end.attempt, end.work.phases);
        self.guard.check().map_err(|error| error.to_string())?;
        let added = pieces.map(Pieces::added).unwrap_or_default();
        self.store.end_attempt(end, &usage, added).map_err(|error| error.to_string())
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
    pub(crate) fn end(&mut self, causes: &Causes, slots: u32, cpu_us: u64) -> Result<(), StateError> {
        self.store.end_run(causes.exit().code(), &causes.reasons(), slots, cpu_us)
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
