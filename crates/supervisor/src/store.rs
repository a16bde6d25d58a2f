//! The checkpoint: one SQLite file for each job, written by the supervisor alone.
//!
//! Responsible for positions, counts and histories on disk: a chunk's position, counts and work in one durable
//! transaction; no position that goes back; nothing wrong that is silently read. Not responsible for decisions (the
//! machine) or locks (`state_dir`).
//!
//! WAL with `synchronous = FULL`: what `record_chunk` returned for survives a power cut, and readers never disturb the
//! writer. SQLite does not notice every flipped bit, so rows that a resume depends on carry a checksum, and a file that
//! fails it is refused instead of guessed at. A connection must never be used or dropped in a forked child:
//! `fork_child` always ends the child with `_exit`.

mod changes;
mod codes;
mod columns;
mod error;
mod load;
mod replaced;
mod report;
mod resent;
mod samples;
mod schema;
mod shard_row;
mod state;
#[cfg(test)]
mod tests;
mod verified;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use migration::accept;
use migration::report::{AttemptOutcome, Binding, RunRules, ShardStatus};
use migration::steer::{Pace, SteerEvent};
use migration::{Accept, Chunk, Counts, LedgerEntry, Plan, Position, ShardId, StateOrigin, Work};
use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

pub use self::error::StateError;
pub use self::report::load_report;
pub use self::samples::load_samples;
pub use self::state::{JobState, ShardCheckpoint};

use self::columns::{decode, encode, signed};
use self::shard_row::ShardRow;
use crate::machine::{After, AttemptEnd, AttemptId};
use crate::series::NewSamples;

/// Why an attempt or a run has no end, though no supervisor is at work.
const UNENDED: &str = "its end is not in the state: the supervisor was killed, or could not write there";
/// How many turns of the knobs are kept, the newest.
const MOST_TURNS: i64 = 1_000;
/// How many lines of history are kept when turns are added.
const MOST_EVENTS: i64 = 10_000;

/// A job that has no state yet.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Its name.
    pub name: &'a str,
    /// [`crate::plan_id`] of its plan and everything else that must not change.
    pub plan_id: u128,
    /// Its plan.
    pub plan: &'a Plan,
    /// What the state belongs to.
    pub binding: &'a Binding,
    /// What must not change once a record was sent ([`migration::fixed`]).
    pub settings: &'a [(String, String)],
    /// Which start of the job it is, and the state directory's own number.
    pub origin: StateOrigin,
}

/// What only the shell knows about an attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AttemptUsage {
    /// Its process.
    pub pid: i32,
    /// How long it lasted, or lasts so far, microseconds.
    pub elapsed_us: u64,
    /// CPU time, microseconds; 0 before its end.
    pub cpu_us: u64,
    /// From the fork to the first delivery report, microseconds.
    pub first_delivery_us: Option<u64>,
    /// Peak resident memory in bytes, as far as it told; 0 before it did.
    pub peak_memory_bytes: u64,
    /// Its samples since the last time.
    pub samples: NewSamples,
}

/// An open checkpoint.
#[derive(Debug)]
pub struct Store {
    db: Connection,
    path: PathBuf,
    plan_id: u128,
    run: Option<Run>,
}

/// The run that is under way.
#[derive(Clone, Copy, Debug)]
struct Run {
    number: u32,
    began: Instant,
}

impl Run {
    fn elapsed(&self) -> i64 {
        micros(self.began.elapsed())
    }
}

impl Store {
    /// Whether there is a checkpoint at `path`, readable or not.
    pub fn exists(path: &Path) -> bool {
        path.symlink_metadata().is_ok()
    }

    /// Makes the checkpoint of a new job; it appears at `path` whole or not at all.
    pub fn create(path: &Path, job: &NewJob<'_>) -> Result<Store, StateError> {
        schema::create(path, job)?;
        Self::open(path)
    }

    /// Opens a checkpoint to go on with it. Anything that is not wholly sound is refused.
    pub fn open(path: &Path) -> Result<Store, StateError> {
        let (db, plan_id) = schema::open(path, false)?;
        let store = Store { db, path: path.to_owned(), plan_id, run: None };
        schema::check_integrity(&store.db, path)?;
        Ok(store)
    }

    /// Opens a checkpoint to look at it, while a supervisor writes it or not.
    pub fn read_only(path: &Path) -> Result<Store, StateError> {
        let (db, plan_id) = schema::open(path, true)?;
        Ok(Store { db, path: path.to_owned(), plan_id, run: None })
    }

    /// The plan's id that the state was made for.
    pub fn plan_id(&self) -> u128 {
        self.plan_id
    }

    /// Everything a run starts from.
    pub fn load(&self) -> Result<JobState, StateError> {
        load::load(&self.db, &self.path, self.plan_id)
    }

    /// Begins a run: quarantined shards wait again, deaths are forgotten, and what a killed supervisor left open is
    /// closed. Returns the run's number, from 1. `accept` is kept with the run.
    pub fn begin_run(&mut self, slots: u32, accept: &BTreeSet<Accept>) -> Result<u32, StateError> {
        let plan_id = self.plan_id;
        // Its times on the wall are this and what passes from now on.
        let began = Instant::now();
        let tx = begin(&mut self.db, &self.path)?;
        let number = (|| -> rusqlite::Result<u32> {
            tx.execute(
                "UPDATE attempts SET outcome = ?1, reason = ?3 WHERE outcome = ?2",
                params![codes::of_outcome(AttemptOutcome::Orphaned), codes::of_outcome(AttemptOutcome::Running), UNENDED],
            )?;
            let stuck: Vec<u32> = tx
                .prepare("SELECT id FROM shards WHERE status = ?1 OR deaths > 0")?
                .query_map(params![codes::of_status(ShardStatus::Quarantined)], |row| row.get(0))?
                .collect::<Result<_, _>>()?;
            for id in stuck {
                let row = ShardRow::read(&tx, plan_id, ShardId(id))?;
                let status = if row.status == ShardStatus::Quarantined { ShardStatus::Waiting } else { row.status };
                ShardRow { status, deaths: 0, ..row }.write(&tx, plan_id)?;
            }
            let number: u32 = tx.query_row("SELECT coalesce(max(number), 0) + 1 FROM runs", [], |row| row.get(0))?;
            tx.execute(
                "INSERT INTO runs (number, started_ms, elapsed_us, slots, reasons, cpu_us, accepted) VALUES (?1, ?2, 0, ?3, '', 0, ?4)",
                params![number, now_ms(), slots, accept::names(accept)],
            )?;
            Ok(number)
        })();
        let number = self::error::at(&self.path, number)?;
        commit(tx, &self.path)?;
        self.run = Some(Run { number, began });
        Ok(number)
    }

    /// Notes what was typed for the run that began.
    pub fn note_command(&mut self, command: &str) -> Result<(), StateError> {
        let number = self.run()?.number;
        let noted = self.db.execute("UPDATE runs SET command = ?2 WHERE number = ?1", params![number, command]);
        self::error::at(&self.path, noted.map(drop))
    }

    /// Notes the settings of the run that began, as they stand now.
    pub fn note_rules(&mut self, rules: &RunRules) -> Result<(), StateError> {
        let number = self.run()?.number;
        let noted = self.db.execute("UPDATE runs SET rules = ?2 WHERE number = ?1", params![number, encode(rules)]);
        self::error::at(&self.path, noted.map(drop))
    }

    /// Notes that an attempt begins, and how many records it may send beyond what is on disk if its supervisor dies.
    /// Its number is taken from now on, whatever happens.
    pub fn begin_attempt(&mut self, attempt: AttemptId, may_send: u64) -> Result<(), StateError> {
        let run = self.run()?;
        let result = self.db.prepare_cached(
            "INSERT INTO attempts (shard, number, run, pid, started_ms, elapsed_us, outcome, reason, cpu_us, peak_memory_bytes, \
             resent, resent_exact, figures) VALUES (?1, ?2, ?3, 0, ?4, 0, ?5, '', 0, 0, ?7, 0, ?6)",
        );
        let figures = encode(&(Counts::default(), Work::default()));
        let result = result.and_then(|mut statement| {
            let outcome = codes::of_outcome(AttemptOutcome::Running);
            statement.execute(params![
                attempt.shard.0,
                attempt.number,
                run.number,
                now_ms(),
                outcome,
                figures,
                signed(may_send)
            ])
        });
        self::error::at(&self.path, result).map(drop)
    }

    /// Puts a chunk on disk: position, counts and work in one durable transaction. A chunk that goes back or does not
    /// balance is refused. From its first chunk on a running attempt is known with its process.
    pub fn record_chunk(&mut self, attempt: AttemptId, chunk: &Chunk, usage: &AttemptUsage) -> Result<(), StateError> {
        let (run, plan_id) = (self.run()?, self.plan_id);
        let tx = begin(&mut self.db, &self.path)?;
        let shard = self::error::at(&self.path, ShardRow::read(&tx, plan_id, attempt.shard))?;
        if let Some(wrong) = refuse(&shard, &chunk.position, &chunk.counts) {
            return Err(StateError::Refused { path: self.path.clone(), what: format!("{attempt}: {wrong}") });
        }
        let deaths = if chunk.position > shard.position { 0 } else { shard.deaths };
        let entry = shard.entry().with(chunk);
        let written = (|| {
            ShardRow { deaths, ..shard }.at(entry).write(&tx, plan_id)?;
            add_figures(&tx, attempt, chunk, usage)?;
            samples::write(&tx, attempt, &usage.samples)?;
            touch(&tx, run)
        })();
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Puts on disk how far Kafka says that shards are, forward only: what is here already, or was taken from there
    /// before, stays. That they lie in their shards is the caller's to know. One durable transaction.
    pub fn adopt(&mut self, entries: &[(ShardId, LedgerEntry)]) -> Result<(), StateError> {
        let plan_id = self.plan_id;
        let tx = begin(&mut self.db, &self.path)?;
        for (id, entry) in entries {
            let row = self::error::at(&self.path, ShardRow::read(&tx, plan_id, *id))?;
            if !state::is_ahead(entry, row.status, &row.position) {
                continue;
            }
            let came = entry.counts.since(&row.counts);
            if let Some(wrong) = entry.check_figures().err().or_else(|| refuse(&row, &entry.position, &came)) {
                return Err(StateError::Refused { path: self.path.clone(), what: format!("shard {id}: {wrong}") });
            }
            let written = ShardRow { deaths: 0, ..row }.at(entry.clone()).write(&tx, plan_id);
            self::error::at(&self.path, written)?;
        }
        commit(tx, &self.path)
    }

    /// Puts the end of an attempt on disk, and what becomes of its shard, in one durable transaction: with its
    /// division, if any, and the shards that this adds to the plan (by their numbers), so that a resume sees the plan
    /// before them or after them, never half of it.
    pub fn end_attempt(&mut self, end: &AttemptEnd, usage: &AttemptUsage, added: Range<u32>) -> Result<(), StateError> {
        let (run, plan_id) = (self.run()?, self.plan_id);
        let tx = begin(&mut self.db, &self.path)?;
        let shard = self::error::at(&self.path, ShardRow::read(&tx, plan_id, end.attempt.shard))?;
        let (status, position) = match end.after {
            After::Waiting => (ShardStatus::Waiting, shard.position),
            After::Quarantined => (ShardStatus::Quarantined, shard.position),
            After::Done(position) => (ShardStatus::Done, position),
        };
        if let Some(wrong) = refuse(&shard, &position, &Counts::default()) {
            return Err(StateError::Refused { path: self.path.clone(), what: format!("{}: {wrong}", end.attempt) });
        }
        let written = (|| {
            ShardRow { status, position, deaths: end.deaths, ..shard.clone() }.write(&tx, plan_id)?;
            close_attempt(&tx, end, usage)?;
            changes::keep_split(&tx, plan_id, end, &shard, added)?;
            if let Some(damage) = end.damage.filter(|damage| damage.segment == position.segment) {
                replaced::keep_damage(&tx, plan_id, end.attempt, position.place, damage)?;
            }
            samples::write(&tx, end.attempt, &usage.samples)?;
            touch(&tx, run)
        })();
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds a line to the job's history.
    pub fn note(&mut self, text: &str) -> Result<(), StateError> {
        self.add_event(text, false)
    }

    /// Adds to the job's history that a run was refused before it began. The same text stands there once, with the last
    /// time.
    pub fn note_refusal(&mut self, text: &str) -> Result<(), StateError> {
        let tx = begin(&mut self.db, &self.path)?;
        let written = (|| {
            tx.execute("DELETE FROM events WHERE text = ?1 AND notice = 0", [text])?;
            tx.execute("INSERT INTO events (time_ms, text) VALUES (?1, ?2)", params![now_ms(), text])
        })();
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds a warning about the source or about what was set aside, which the report has in a list of its own, too.
    pub fn notice(&mut self, text: &str) -> Result<(), StateError> {
        self.add_event(text, true)
    }

    /// Keeps other settings than those that the job began with; `told`: what its history says of it (a notice).
    pub fn change_settings(&mut self, settings: &[(String, String)], told: &str) -> Result<(), StateError> {
        let state = self.load()?;
        let tx = begin(&mut self.db, &self.path)?;
        let written = schema::set_settings(&tx, &state, settings).and_then(|()| event(&tx, told, true));
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    fn add_event(&mut self, text: &str, notice: bool) -> Result<(), StateError> {
        let run = self.run;
        let tx = begin(&mut self.db, &self.path)?;
        let written = event(&tx, text, notice).and_then(|()| run.map_or(Ok(()), |run| touch(&tx, run)));
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds to the job's history that brokers don't answer, since then. One that lasts and becomes another is one.
    /// `all`: none does.
    pub fn note_outage(&mut self, text: &str, since_ms: u64, all: bool) -> Result<(), StateError> {
        let run = self.run()?;
        let tx = begin(&mut self.db, &self.path)?;
        let written = (|| {
            event(&tx, text, false)?;
            tx.execute(
                "INSERT INTO outages (run, began_ms) SELECT ?1, ?2 \
                 WHERE NOT EXISTS (SELECT 1 FROM outages WHERE run = ?1 AND ended_ms IS NULL)",
                params![run.number, signed(since_ms)],
            )?;
            if all {
                let since = "UPDATE outages SET all_ms = ?2 WHERE run = ?1 AND ended_ms IS NULL AND all_ms IS NULL";
                tx.execute(since, params![run.number, signed(since_ms)])?;
            }
            touch(&tx, run)
        })();
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds that they do again.
    pub fn note_outage_over(&mut self, text: &str) -> Result<(), StateError> {
        let run = self.run()?;
        let tx = begin(&mut self.db, &self.path)?;
        let written = (|| {
            event(&tx, text, false)?;
            let ended = params![run.number, now_ms()];
            tx.execute("UPDATE outages SET ended_ms = ?2 WHERE run = ?1 AND ended_ms IS NULL", ended)?;
            touch(&tx, run)
        })();
        self::error::at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds a turn of the knobs to the job's history, and to the turn before it how fast the job went after that, in
    /// one transaction; gives what [`Store::note_pace`] calls it by. Of many the newest are kept.
    pub fn note_turn(&mut self, turn: &SteerEvent, last: Option<(i64, Pace)>) -> Result<i64, StateError> {
        let after = turn.after.as_ref().map(encode);
        let run = self.run;
        let tx = begin(&mut self.db, &self.path)?;
        let key = (|| {
            if let Some((last, pace)) = last {
                tx.execute("UPDATE steering SET after = ?2 WHERE sequence = ?1", params![last, encode(&pace)])?;
            }
            tx.execute("INSERT INTO events (time_ms, text) VALUES (?1, ?2)", params![now_ms(), turn.text])?;
            tx.execute("DELETE FROM events WHERE sequence <= ?1", [tx.last_insert_rowid() - MOST_EVENTS])?;
            tx.execute(
                "INSERT INTO steering (time_ms, text, before, after) VALUES (?1, ?2, ?3, ?4)",
                params![signed(turn.unix_ms), turn.text, encode(&turn.before), after],
            )?;
            let key = tx.last_insert_rowid();
            tx.execute("DELETE FROM steering WHERE sequence <= ?1", [key - MOST_TURNS])?;
            run.map_or(Ok(()), |run| touch(&tx, run))?;
            Ok(key)
        })();
        let key = self::error::at(&self.path, key)?;
        commit(tx, &self.path)?;
        Ok(key)
    }

    /// Adds to a turn how fast the job went once it had taken effect.
    pub fn note_pace(&mut self, turn: i64, after: &Pace) -> Result<(), StateError> {
        let result = self.db.execute("UPDATE steering SET after = ?2 WHERE sequence = ?1", params![turn, encode(after)]);
        self::error::at(&self.path, result).map(drop)
    }

    /// Ends the run.
    pub fn end_run(&mut self, exit_code: u8, reasons: &[String], slots: u32, cpu_us: u64) -> Result<(), StateError> {
        let run = self.run()?;
        let result = self.db.execute(
            "UPDATE runs SET exit_code = ?2, reasons = ?3, slots = ?4, cpu_us = ?5, elapsed_us = ?6 WHERE number = ?1",
            params![run.number, exit_code, reasons.join("\n"), slots, signed(cpu_us), run.elapsed()],
        );
        self::error::at(&self.path, result)?;
        self.run = None;
        Ok(())
    }

    /// Corrects how the last run ended, when what came after it (a comparison) says more than the run itself could
    /// know.
    pub fn revise_end(&mut self, exit_code: u8, reasons: &[String]) -> Result<(), StateError> {
        let result = self.db.execute(
            "UPDATE runs SET exit_code = ?1, reasons = ?2 WHERE number = (SELECT max(number) FROM runs)",
            params![exit_code, reasons.join("\n")],
        );
        self::error::at(&self.path, result).map(drop)
    }

    fn run(&self) -> Result<Run, StateError> {
        self.run.ok_or_else(|| StateError::NoRun { path: self.path.clone() })
    }
}

/// What is wrong with going from a shard's row to this position by these counts, if anything.
fn refuse(shard: &ShardRow, position: &Position, counts: &Counts) -> Option<String> {
    let from = &shard.position;
    if shard.status == ShardStatus::Done {
        return Some("its shard is done already".to_owned());
    }
    if (position.segment, position.place) < (from.segment, from.place) || position.records < from.records {
        return Some(format!("the position would go back from {from:?} to {position:?}"));
    }
    if !counts.balance() || position.records - from.records != counts.passed() {
        return Some(format!("the counts do not balance: {counts:?} from {from:?} to {position:?}"));
    }
    None
}

fn add_figures(tx: &Transaction<'_>, attempt: AttemptId, chunk: &Chunk, usage: &AttemptUsage) -> rusqlite::Result<()> {
    let id = params![attempt.shard.0, attempt.number];
    let blob: Vec<u8> =
        tx.prepare_cached("SELECT figures FROM attempts WHERE shard = ?1 AND number = ?2")?.query_row(id, |row| row.get(0))?;
    let (mut counts, mut work): (Counts, Work) = decode(&blob)?;
    counts.add(&chunk.counts);
    work.add(&chunk.work);
    let (elapsed, first_delivery) = (signed(usage.elapsed_us), usage.first_delivery_us.map(signed));
    tx.prepare_cached(
        "UPDATE attempts SET figures = ?3, pid = ?4, elapsed_us = ?5, first_delivery_us = ?6, peak_memory_bytes = ?7 \
         WHERE shard = ?1 AND number = ?2",
    )?
    .execute(params![
        attempt.shard.0,
        attempt.number,
        encode(&(counts, work)),
        usage.pid,
        elapsed,
        first_delivery,
        signed(usage.peak_memory_bytes),
    ])
    .map(drop)
}

fn close_attempt(tx: &Transaction<'_>, end: &AttemptEnd, usage: &AttemptUsage) -> rusqlite::Result<()> {
    let (shard, number) = (end.attempt.shard.0, end.attempt.number);
    let blob: Option<Vec<u8>> = tx
        .prepare_cached("SELECT figures FROM attempts WHERE shard = ?1 AND number = ?2")?
        .query_row(params![shard, number], |row| row.get(0))
        .optional()?;
    // An attempt whose beginning could not be written has no row.
    let Some(blob) = blob else { return Ok(()) };
    let (counts, _): (Counts, Work) = decode(&blob)?;
    tx.prepare_cached(
        "UPDATE attempts SET pid = ?3, elapsed_us = ?4, outcome = ?5, reason = ?6, cpu_us = ?7, peak_memory_bytes = ?8, \
         first_delivery_us = ?9, resent = ?10, figures = ?11, resent_exact = ?12 WHERE shard = ?1 AND number = ?2",
    )?
    .execute(params![
        shard,
        number,
        usage.pid,
        signed(usage.elapsed_us),
        codes::of_outcome(end.outcome),
        end.reason,
        signed(usage.cpu_us),
        signed(end.peak_memory_bytes.max(usage.peak_memory_bytes)),
        usage.first_delivery_us.map(signed),
        signed(end.resent.most),
        encode(&(counts, &end.work)),
        end.resent.exact,
    ])
    .map(drop)
}

/// A line of the job's history.
fn event(tx: &Transaction<'_>, text: &str, notice: bool) -> rusqlite::Result<()> {
    let values = params![now_ms(), text, notice];
    tx.execute("INSERT INTO events (time_ms, text, notice) VALUES (?1, ?2, ?3)", values).map(drop)
}

/// The run's last sign of life, for the case that it is killed.
fn touch(tx: &Transaction<'_>, run: Run) -> rusqlite::Result<()> {
    tx.prepare_cached("UPDATE runs SET elapsed_us = ?2 WHERE number = ?1")?
        .execute(params![run.number, run.elapsed()])
        .map(drop)
}

fn begin<'a>(db: &'a mut Connection, path: &Path) -> Result<Transaction<'a>, StateError> {
    self::error::at(path, db.transaction_with_behavior(TransactionBehavior::Immediate))
}

fn commit(tx: Transaction<'_>, path: &Path) -> Result<(), StateError> {
    self::error::at(path, tx.commit())
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Wall-clock time, for people only.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(0))
}
