//! Shards that were split: beside the frozen plan, in the order in which it happened, and applied to it when it is
//! read.
//!
//! The plan of a job that was interrupted right after a split is exactly the one that the supervisor had: the cuts are
//! stored, and [`Plan::split`](migration::Plan::split) makes the same of them each time.

use std::ops::Range;
use std::path::Path;

use migration::{Cut, Division, Plan, Position, ShardId};
use rusqlite::{Connection, Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{decode, encode};
use super::error::{StateError, at, corrupt};
use super::replaced;
use super::shard_row::ShardRow;
use super::state::JobState;
use crate::machine::AttemptEnd;

/// Keeps the cuts of an attempt that ended, and the rows of the shards that they add.
pub(super) fn keep(tx: &Transaction<'_>, plan_id: u128, end: &AttemptEnd, added: Range<u32>) -> rusqlite::Result<()> {
    if added.is_empty() {
        return Ok(());
    }
    let sequence: i64 = tx.query_row("SELECT count(*) FROM splits", [], |row| row.get(0))?;
    let cuts = encode(&end.cuts);
    let checksum = checksum(plan_id, sequence, end.attempt.shard, &cuts);
    tx.execute("INSERT INTO splits VALUES (?1, ?2, ?3, ?4)", params![sequence, end.attempt.shard.0, cuts, checksum])?;
    for (id, cut) in added.zip(&end.cuts) {
        ShardRow::new(ShardId(id), Position { segment: 0, place: cut.place, records: 0 }).add(tx, plan_id)?;
    }
    Ok(())
}

/// Applies all splits, and the files that were replaced between them, to the frozen plan of a state that is being read.
pub(super) fn apply(db: &Connection, path: &Path, state: &mut JobState) -> Result<(), StateError> {
    let rows = at(path, rows(db))?;
    let mut replaced = replaced::replacements(db, path, state.plan_id)?.into_iter().peekable();
    if rows.is_empty() && replaced.peek().is_none() {
        return Ok(());
    }
    state.unsplit = Some(Box::new(state.plan.clone()));
    let splits = rows.len() as i64;
    let mut replace_before = |plan: &mut Plan, split: i64| {
        while let Some((_, object, facts)) = replaced.next_if(|(splits, ..)| *splits <= split) {
            plan.replace(object, facts).map_err(|wrong| corrupt(path, wrong))?;
        }
        Ok(())
    };
    for (expected, (sequence, shard, cuts, sum)) in (0..).zip(rows) {
        if sequence != expected || sum != checksum(state.plan_id, sequence, shard, &cuts) {
            return Err(corrupt(path, format!("split {expected} of the plan fails its checksum")));
        }
        replace_before(&mut state.plan, sequence)?;
        let cuts: Vec<Cut> = at(path, decode(&cuts))?;
        let start = state.plan.shards.get(shard.0 as usize).map(|shard| shard.start).unwrap_or_default();
        let added = state.plan.split(shard, &start, &Division::Places(cuts)).map_err(|wrong| corrupt(path, wrong))?;
        let origin = state.origins.get(&shard.0).copied().unwrap_or(shard.0);
        state.origins.extend(added.map(|piece| (piece, origin)));
    }
    replace_before(&mut state.plan, splits)
}

type SplitRow = (i64, ShardId, Vec<u8>, i64);

fn rows(db: &Connection) -> rusqlite::Result<Vec<SplitRow>> {
    db.prepare("SELECT sequence, shard, cuts, checksum FROM splits ORDER BY sequence")?
        .query_map([], |row| Ok((row.get(0)?, ShardId(row.get(1)?), row.get(2)?, row.get(3)?)))?
        .collect()
}

/// Covers all of a row, and the plan, so that rows of two files can't be mixed.
fn checksum(plan_id: u128, sequence: i64, shard: ShardId, cuts: &[u8]) -> i64 {
    xxh3_64(&encode(&(plan_id, sequence, shard, cuts))).cast_signed()
}
