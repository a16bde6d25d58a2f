//! Shards that were split: beside the frozen plan, in the order in which it happened, and applied to it when it is
//! read.
//!
//! The plan of a job that was interrupted right after a split is exactly the one that the supervisor had: each
//! division is stored with where it was made, and [`Plan::split`](migration::Plan::split) makes the same of it each
//! time.

use std::ops::Range;
use std::path::Path;

use migration::{Division, Plan, Position, ShardId, Token};
use rusqlite::{Connection, Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{decode, encode};
use super::error::{StateError, at, corrupt};
use super::replaced;
use super::shard_row::ShardRow;
use super::state::JobState;
use crate::machine::AttemptEnd;

/// Keeps how the shard of an attempt that ended is divided, and the rows of the shards that this adds. `shard`: its
/// row, with how far it is committed.
pub(super) fn keep(
    tx: &Transaction<'_>,
    plan_id: u128,
    end: &AttemptEnd,
    shard: &ShardRow,
    added: Range<u32>,
) -> rusqlite::Result<()> {
    let Some(division) = end.division.as_ref().filter(|_| !added.is_empty()) else { return Ok(()) };
    let sequence: i64 = tx.query_row("SELECT count(*) FROM splits", [], |row| row.get(0))?;
    let (position, kept) = (encode(&shard.position), encode(division));
    let checksum = checksum(plan_id, sequence, shard.id, &position, &kept);
    tx.execute("INSERT INTO splits VALUES (?1, ?2, ?3, ?4, ?5)", params![sequence, shard.id.0, position, kept, checksum])?;
    for (id, (start, token)) in added.zip(begins(division, shard)) {
        ShardRow { token, ..ShardRow::new(ShardId(id), start) }.add(tx, plan_id)?;
    }
    Ok(())
}

/// Where the pieces that are parted from a shard begin: by place at their first row, by partitions where the shard is
/// committed, with what its source needs there.
fn begins(division: &Division, shard: &ShardRow) -> Vec<(Position, Option<Token>)> {
    match division {
        Division::Places(cuts) => {
            cuts.iter().map(|cut| (Position { segment: 0, place: cut.place, records: 0 }, None)).collect()
        }
        Division::Partitions(sets) => (1..*sets).map(|_| (shard.position, shard.token.clone())).collect(),
    }
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
    for (expected, (sequence, shard, position, division, sum)) in (0..).zip(rows) {
        if sequence != expected || sum != checksum(state.plan_id, sequence, shard, &position, &division) {
            return Err(corrupt(path, format!("split {expected} of the plan fails its checksum")));
        }
        replace_before(&mut state.plan, sequence)?;
        let (from, division): (Position, Division) = (at(path, decode(&position))?, at(path, decode(&division))?);
        let added = state.plan.split(shard, &from, &division).map_err(|wrong| corrupt(path, wrong))?;
        state.parents.extend(added.map(|piece| (piece, shard.0)));
    }
    replace_before(&mut state.plan, splits)
}

type SplitRow = (i64, ShardId, Vec<u8>, Vec<u8>, i64);

fn rows(db: &Connection) -> rusqlite::Result<Vec<SplitRow>> {
    db.prepare("SELECT sequence, shard, position, division, checksum FROM splits ORDER BY sequence")?
        .query_map([], |row| Ok((row.get(0)?, ShardId(row.get(1)?), row.get(2)?, row.get(3)?, row.get(4)?)))?
        .collect()
}

/// Covers all of a row, and the plan, so that rows of two files can't be mixed.
fn checksum(plan_id: u128, sequence: i64, shard: ShardId, position: &[u8], division: &[u8]) -> i64 {
    xxh3_64(&encode(&(plan_id, sequence, shard, position, division))).cast_signed()
}
