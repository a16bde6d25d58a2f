//! Reading what a run starts from, and checking that it fits together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use migration::fixed::FixedSettings;
use migration::report::Binding;
use migration::{Counts, Plan, StateOrigin, Work};
use rusqlite::Connection;

use super::columns::{count, decode};
use super::error::{StateError, at, corrupt};
use super::schema::job_checksum;
use super::shard_row::ShardRow;
use super::state::{JobState, ShardCheckpoint};
use super::{changes, replaced};

/// Reads all of it in one snapshot.
pub(super) fn load(db: &Connection, path: &Path, plan_id: u128) -> Result<JobState, StateError> {
    let tx = at(path, db.unchecked_transaction())?;
    let mut state = read_job(&tx, path, plan_id)?;
    state.last_run = at(path, last_run(&tx))?;
    changes::apply(&tx, path, &mut state)?;
    state.damages = replaced::damages(&tx, path, plan_id)?;
    state.uncertain = at(path, uncertain(&tx))?;
    let last = at(path, last_attempts(&tx))?;
    for row in at(path, shard_rows(&tx, plan_id))? {
        let index = state.shards.len();
        let Some(shard) = state.plan.shards.get(index).filter(|s| s.id == row.id && row.id.0 as usize == index) else {
            return Err(corrupt(path, format!("it has a row for shard {}, which the plan has not there", row.id)));
        };
        let checked = row.entry().check(state.plan.segments(shard), shard);
        checked.map_err(|what| corrupt(path, format!("shard {}: {what}", row.id)))?;
        state.shards.push(ShardCheckpoint {
            status: row.status,
            position: row.position,
            token: row.token,
            counts: row.counts,
            deaths: row.deaths,
            letters: row.letters,
            receipt: row.receipt,
            last_attempt: last.get(&row.id.0).copied().unwrap_or(0),
        });
    }
    if state.shards.len() != state.plan.shards.len() {
        let (rows, shards) = (state.shards.len(), state.plan.shards.len());
        return Err(corrupt(path, format!("it has rows for {rows} of the plan's {shards} shards")));
    }
    Ok(state)
}

fn read_job(db: &Connection, path: &Path, plan_id: u128) -> Result<JobState, StateError> {
    let offsets: Vec<(i64, i64)> = at(
        path,
        db.prepare("SELECT partition, end_offset FROM end_offsets ORDER BY partition")
            .and_then(|mut s| s.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?.collect()),
    )?;
    let whole = (0..).zip(&offsets).all(|(expected, (partition, _))| expected == *partition);
    let end_offsets: Vec<i64> = offsets.into_iter().map(|(_, offset)| offset).collect();
    let query = "SELECT name, created_ms, cluster_id, topic_id, topic, source, plan, settings, checksum, generation, from_topic FROM job";
    let (mut state, plan, settings, checksum) = at(
        path,
        db.query_row(query, [], |row| {
            let binding = Binding {
                cluster_id: row.get(2)?,
                topic_id: row.get(3)?,
                topic: row.get(4)?,
                source: row.get(5)?,
                end_offsets: end_offsets.clone(),
            };
            let state = JobState {
                name: row.get(0)?,
                plan_id,
                origin: StateOrigin { created_ms: row.get(1)?, generation: row.get(9)?, from_topic: row.get(10)? },
                last_run: 0,
                binding,
                settings: FixedSettings::new(),
                plan: Plan::default(),
                frozen: None,
                shards: Vec::new(),
                damages: BTreeMap::new(),
                parents: BTreeMap::new(),
                uncertain: BTreeSet::new(),
            };
            Ok((state, row.get::<_, Vec<u8>>(6)?, row.get::<_, Vec<u8>>(7)?, row.get::<_, i64>(8)?))
        }),
    )?;
    if !whole || checksum != job_checksum(&plan_id.to_be_bytes(), &state.name, &plan, &settings, &end_offsets, state.origin) {
        return Err(corrupt(path, "the plan fails its checksum"));
    }
    state.settings = at(path, decode(&settings))?;
    state.plan = at(path, decode(&plan))?;
    Ok(state)
}

pub(super) fn shard_rows(db: &Connection, plan_id: u128) -> rusqlite::Result<Vec<ShardRow>> {
    db.prepare(&format!("SELECT {} FROM shards ORDER BY id", ShardRow::COLUMNS))?
        .query_map([], |row| ShardRow::from_row(row, plan_id))?
        .collect()
}

/// The number of the last run; 0 if there was none.
pub(super) fn last_run(db: &Connection) -> rusqlite::Result<u32> {
    db.query_row("SELECT coalesce(max(number), 0) FROM runs", [], |row| row.get(0))
}

fn last_attempts(db: &Connection) -> rusqlite::Result<HashMap<u32, u32>> {
    db.prepare("SELECT shard, max(number) FROM attempts GROUP BY shard")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Shards of which more may have been sent than is committed. What an attempt may have sent beyond its last commit is
/// committed once later attempts on its shard delivered that many records: they sent the same ones, in the same order.
fn uncertain(db: &Connection) -> rusqlite::Result<BTreeSet<u32>> {
    let mut attempts = db.prepare(
        "SELECT shard, resent, figures FROM attempts WHERE shard IN (SELECT shard FROM attempts WHERE resent > 0) \
         ORDER BY shard, number DESC",
    )?;
    let mut rows = attempts.query([])?;
    let (mut uncertain, mut of, mut delivered_later) = (BTreeSet::new(), None, 0);
    while let Some(row) = rows.next()? {
        let shard: u32 = row.get(0)?;
        if of.replace(shard) != Some(shard) {
            delivered_later = 0;
        }
        if delivered_later < count(row, "resent")? {
            uncertain.insert(shard);
        }
        let (counts, _): (Counts, Work) = decode(&row.get::<_, Vec<u8>>(2)?)?;
        delivered_later += counts.acknowledged;
    }
    Ok(uncertain)
}
