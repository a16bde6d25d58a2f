//! The report of a job, from its checkpoint alone.

use std::collections::BTreeSet;

use migration::report::verify::KeptVerdict;
use migration::report::{
    AttemptOutcome, AttemptReport, JobReport, OutageReport, Outcome, Resent, RunReport, ShardReport, ShardStatus, ShardTotals,
    WorkerTotals,
};
use migration::steer::SteerEvent;
use migration::units::show_utc;
use migration::{Counts, Exit, Order, ShardId, Work};
use rusqlite::Connection;

use super::columns::{count, decode};
use super::error::{StateError, at};
use super::{Store, UNENDED, codes, load, resent, verified};

/// Everything a report says about a job. `running`: whether a supervisor holds the job's lock, which the checkpoint
/// can't know.
pub fn load_report(store: &Store, running: bool) -> Result<JobReport, StateError> {
    let path = &store.path;
    let tx = at(path, store.db.unchecked_transaction())?;
    let mut attempts = at(path, attempts(&tx))?;
    let runs = at(path, runs(&tx))?;
    let events = happened(at(path, events(&tx))?, &runs, running);
    let outages = at(path, outages(&tx))?;
    let notices = at(path, notices(&tx))?;
    let steering = at(path, steering(&tx))?;
    let kept = verified::newest(&tx, path, store.plan_id)?;
    // A transaction inside a transaction is none: end this snapshot's use of the connection before the next.
    at(path, tx.commit())?;
    let state = load::load(&store.db, path, store.plan_id)?;
    resent::settle(&mut attempts, &state, running);
    let verified = kept.map(|(run, unix_ms, verified)| KeptVerdict {
        run,
        unix_ms,
        verified,
        sent_since: attempts.iter().any(|attempt| attempt.run > run && may_have_sent(attempt)),
    });

    let (exit, reasons) = last_exit(&runs, running);
    let shard_reports = shard_reports(&state, &attempts);
    let statuses = |wanted| shard_reports.iter().filter(|s: &&ShardReport| s.status == wanted).count() as u64;
    let shards = ShardTotals {
        total: state.shards.len() as u64,
        done: statuses(ShardStatus::Done),
        quarantined: statuses(ShardStatus::Quarantined),
    };
    let (mut work, mut here) = (Work::default(), Counts::default());
    attempts.iter().for_each(|attempt| {
        work.add(&attempt.work);
        here.add(&attempt.counts);
    });
    Ok(JobReport {
        outcome: exit.map_or(if running { Outcome::Running } else { Outcome::Stopped }, Outcome::from),
        exit,
        reasons,
        plan_id: state.plan_id,
        source_bytes: state.plan.bytes(),
        records_estimate: state.plan.records_estimate(),
        counts: state.counts(),
        here: Some(here),
        progress_topic: migration::fixed::progress_topic(&state.settings),
        resent: Some(attempts.iter().fold(Resent::NONE, |sum, attempt| sum.plus(attempt.resent))),
        shards,
        workers: WorkerTotals {
            count: runs.last().map_or(0, |run| u64::from(run.slots)),
            forked: attempts.len() as u64,
            restarts: attempts.iter().filter(|attempt| attempt.restart).count() as u64,
        },
        elapsed_us: runs.iter().map(|run| run.elapsed_us).sum(),
        cpu_supervisor_us: runs.iter().map(|run| run.cpu_supervisor_us).sum(),
        cpu_workers_us: attempts.iter().filter_map(|a| a.cpu_us).sum(),
        peak_worker_memory_bytes: attempts.iter().filter_map(|a| a.peak_memory_bytes).max(),
        work,
        accepted: accepted(&runs),
        order: Some(Order::of(&state.plan)),
        keyed: Some(migration::fixed::is_keyed(&state.settings)),
        shard_reports,
        attempts,
        runs,
        events,
        outages,
        notices,
        steering,
        verified,
        name: state.name,
        binding: state.binding,
    })
}

/// Whether an attempt sent something, or it is not known yet that it did not.
fn may_have_sent(attempt: &AttemptReport) -> bool {
    attempt.counts.acknowledged > 0 || attempt.resent.most > 0 || attempt.outcome == AttemptOutcome::Running
}

/// What any run was told to let pass, each name once.
fn accepted(runs: &[RunReport]) -> Vec<String> {
    runs.iter().flat_map(|run| run.accepted.iter().cloned()).collect::<BTreeSet<_>>().into_iter().collect()
}

/// The names in a run's row: as [`accept::names`](migration::accept::names) wrote them.
fn names(text: &str) -> Vec<String> {
    text.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn last_exit(runs: &[RunReport], running: bool) -> (Option<Exit>, Vec<String>) {
    match runs.last() {
        _ if running => (None, Vec::new()),
        None => (None, vec!["no run has begun".to_owned()]),
        Some(RunReport { exit_code: None, .. }) => (None, vec![format!("the last run: {UNENDED}")]),
        Some(RunReport { exit_code: Some(code), reasons, .. }) => (Some(exit_of(*code)), reasons.clone()),
    }
}

fn exit_of(code: u8) -> Exit {
    let plain = [Exit::Done, Exit::Failed, Exit::Difference, Exit::Source, Exit::State, Exit::Stopped, Exit::Preflight];
    match plain.into_iter().find(|exit| exit.code() == code) {
        Some(exit) => exit,
        None if code > 128 => Exit::Signal(code - 128),
        None => Exit::Internal,
    }
}

fn shard_reports(state: &super::JobState, attempts: &[AttemptReport]) -> Vec<ShardReport> {
    let mut reports: Vec<ShardReport> = (0..)
        .zip(&state.shards)
        .map(|(id, shard)| ShardReport {
            id: ShardId(id),
            status: shard.status,
            position: shard.position,
            counts: shard.counts,
            deaths: shard.deaths,
            letters: shard.letters,
            elapsed_us: 0,
            attempts: 0,
        })
        .collect();
    for attempt in attempts {
        if let Some(report) = reports.get_mut(attempt.shard.0 as usize) {
            report.attempts += 1;
            report.elapsed_us += attempt.elapsed_us;
        }
    }
    reports
}

/// What the system says of an attempt's CPU is known when its process has been waited for. Before, and for the workers
/// of a supervisor that was killed, the last sample has to do.
pub(super) fn attempts(db: &Connection) -> rusqlite::Result<Vec<AttemptReport>> {
    let sampled = "SELECT max(cpu_us) FROM samples WHERE samples.shard = attempts.shard AND samples.number = attempts.number";
    db.prepare(&format!("SELECT *, coalesce(({sampled}), 0) AS sampled_cpu_us FROM attempts ORDER BY sequence"))?
        .query_map([], |row| {
            let (counts, work): (Counts, Work) = decode(&row.get::<_, Vec<u8>>("figures")?)?;
            Ok(AttemptReport {
                shard: ShardId(row.get("shard")?),
                number: row.get("number")?,
                run: row.get("run")?,
                pid: row.get("pid")?,
                started_ms: row.get("started_ms")?,
                elapsed_us: count(row, "elapsed_us")?,
                outcome: codes::outcome(row.get("outcome")?)?,
                reason: row.get("reason")?,
                cpu_us: if_known(count(row, "cpu_us")?.max(count(row, "sampled_cpu_us")?)),
                peak_memory_bytes: if_known(count(row, "peak_memory_bytes")?),
                first_delivery_us: row.get::<_, Option<i64>>("first_delivery_us")?.map(super::columns::unsigned).transpose()?,
                counts,
                resent: Resent { most: count(row, "resent")?, exact: row.get("resent_exact")? },
                restart: false,
                work,
            })
        })?
        .collect()
}

/// No process takes nothing: 0 stands for what is not known.
fn if_known(value: u64) -> Option<u64> {
    (value > 0).then_some(value)
}

fn runs(db: &Connection) -> rusqlite::Result<Vec<RunReport>> {
    db.prepare("SELECT * FROM runs ORDER BY number")?
        .query_map([], |row| {
            let reasons: String = row.get("reasons")?;
            Ok(RunReport {
                number: row.get("number")?,
                started_ms: row.get("started_ms")?,
                elapsed_us: count(row, "elapsed_us")?,
                slots: row.get("slots")?,
                exit_code: row.get("exit_code")?,
                reasons: reasons.lines().map(str::to_owned).collect(),
                cpu_supervisor_us: count(row, "cpu_us")?,
                accepted: names(&row.get::<_, String>("accepted")?),
                command: row.get("command")?,
                rules: row.get::<_, Option<Vec<u8>>>("rules")?.map(|blob| decode(&blob)).transpose()?,
            })
        })?
        .collect()
}

fn events(db: &Connection) -> rusqlite::Result<Vec<(i64, String)>> {
    db.prepare("SELECT time_ms, text FROM events ORDER BY sequence")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The events, and among them the deaths of supervisors, which could write nothing about that any more. `running`:
/// whether the last run is under way. What was written between two runs is no sign of life of the earlier one: its last
/// is the last time that it wrote itself.
fn happened(mut events: Vec<(i64, String)>, runs: &[RunReport], running: bool) -> Vec<(i64, String)> {
    let nexts = runs.iter().skip(1).map(Some).chain([None]);
    for (run, next) in runs.iter().zip(nexts).filter(|(run, _)| run.exit_code.is_none()) {
        if running && next.is_none() {
            continue;
        }
        let last_ms = run.started_ms.saturating_add(i64::try_from(run.elapsed_us.div_ceil(1000)).unwrap_or(0));
        let shown = |ms: i64| show_utc(ms.unsigned_abs());
        let before = next
            .map_or_else(String::new, |next| format!(" and before {}, when run {} began", shown(next.started_ms), next.number));
        let text = format!(
            "run {} was killed, or could not write its state any more, after {}, its last sign of life{before}",
            run.number,
            shown(last_ms)
        );
        let place = events.iter().position(|(at, _)| *at > last_ms).unwrap_or(events.len());
        events.insert(place, (last_ms, text));
    }
    events
}

fn outages(db: &Connection) -> rusqlite::Result<Vec<OutageReport>> {
    db.prepare("SELECT run, began_ms, all_ms, ended_ms FROM outages ORDER BY sequence")?
        .query_map([], |row| {
            Ok(OutageReport { run: row.get(0)?, began_ms: row.get(1)?, all_ms: row.get(2)?, ended_ms: row.get(3)? })
        })?
        .collect()
}

/// Each once, however many runs told it.
fn notices(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare("SELECT text FROM events WHERE notice = 1 GROUP BY text ORDER BY min(sequence)")?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn steering(db: &Connection) -> rusqlite::Result<Vec<SteerEvent>> {
    db.prepare("SELECT time_ms, text, before, after FROM steering ORDER BY sequence")?
        .query_map([], |row| {
            let after: Option<Vec<u8>> = row.get(3)?;
            Ok(SteerEvent {
                unix_ms: row.get::<_, i64>(0).and_then(super::columns::unsigned)?,
                text: row.get(1)?,
                before: decode(&row.get::<_, Vec<u8>>(2)?)?,
                after: after.map(|blob| decode(&blob)).transpose()?,
            })
        })?
        .collect()
}
