//! What happened to the plan since it was frozen: shards that were split, files that took the place of others, files
//! that came later. Kept beside it, in the order in which it happened, and applied to it when it is read.
//!
//! The plan of a job that was interrupted right after a change is exactly the one that the supervisor had: a change is
//! stored with all that it was made of, and the plan makes the same of it each time.

use std::ops::Range;
use std::path::Path;

use migration::report::ShardStatus;
use migration::{Division, Plan, Position, ShardId, SourceObject, Token};
use rusqlite::{Connection, Transaction, params};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{decode, encode, signed};
use super::error::{StateError, at, corrupt};
use super::shard_row::ShardRow;
use super::state::JobState;
use super::{Store, begin, commit, event, report, resent};
use crate::machine::AttemptEnd;

/// Part of the layout. `kind` is for a look at the file by hand: the change has it, too.
pub(super) const LAYOUT: &str = "
CREATE TABLE changes (sequence INTEGER PRIMARY KEY, kind TEXT NOT NULL, change BLOB NOT NULL, checksum INTEGER NOT NULL) STRICT;
";

/// One change of the plan. The order of these names is their number in the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum PlanChange {
    /// A shard that was committed up to a position was divided.
    Split { shard: ShardId, from: Position, division: Division },
    /// Another file took the place of an object.
    Replaced { object: u32, facts: SourceObject },
    /// What this plan reads was added. `sets`: see [`Plan::extend`].
    Added { later: Plan, sets: u32 },
}

impl PlanChange {
    const fn kind(&self) -> &'static str {
        match self {
            PlanChange::Split { .. } => "split",
            PlanChange::Replaced { .. } => "replaced",
            PlanChange::Added { .. } => "added",
        }
    }

    /// Makes the same of a plan as it made when it happened.
    fn apply(self, state: &mut JobState) -> Result<(), String> {
        match self {
            PlanChange::Split { shard, from, division } => {
                let added = state.plan.split(shard, &from, &division)?;
                state.parents.extend(added.map(|piece| (piece, shard.0)));
                Ok(())
            }
            PlanChange::Replaced { object, facts } => state.plan.replace(object, facts),
            PlanChange::Added { later, sets } => state.plan.extend(later, sets).map(drop),
        }
    }
}

/// Keeps how the shard of an attempt that ended is divided, and the rows of the shards that this adds. `shard`: its
/// row, with how far it is committed.
pub(super) fn keep_split(
    tx: &Transaction<'_>,
    plan_id: u128,
    end: &AttemptEnd,
    shard: &ShardRow,
    added: Range<u32>,
) -> rusqlite::Result<()> {
    let Some(division) = end.division.as_ref().filter(|_| !added.is_empty()) else { return Ok(()) };
    let split = PlanChange::Split { shard: shard.id, from: shard.position, division: division.clone() };
    keep(tx, plan_id, &[split])?;
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

fn keep(tx: &Transaction<'_>, plan_id: u128, changes: &[PlanChange]) -> rusqlite::Result<()> {
    let next: i64 = tx.query_row("SELECT count(*) FROM changes", [], |row| row.get(0))?;
    for (sequence, change) in (next..).zip(changes) {
        let (kind, blob) = (change.kind(), encode(change));
        let sum = checksum(plan_id, sequence, kind, &blob);
        tx.execute("INSERT INTO changes VALUES (?1, ?2, ?3, ?4)", params![sequence, kind, blob, sum])?;
    }
    Ok(())
}

/// Applies all changes to the frozen plan of a state that is being read.
pub(super) fn apply(db: &Connection, path: &Path, state: &mut JobState) -> Result<(), StateError> {
    let rows = at(path, rows(db))?;
    if rows.is_empty() {
        return Ok(());
    }
    state.frozen = Some(Box::new(state.plan.clone()));
    for (expected, (sequence, kind, change, sum)) in (0..).zip(rows) {
        if sequence != expected || sum != checksum(state.plan_id, sequence, &kind, &change) {
            return Err(corrupt(path, format!("change {expected} of the plan fails its checksum")));
        }
        let change: PlanChange = at(path, decode(&change))?;
        change.apply(state).map_err(|wrong| corrupt(path, wrong))?;
    }
    Ok(())
}

type ChangeRow = (i64, String, Vec<u8>, i64);

fn rows(db: &Connection) -> rusqlite::Result<Vec<ChangeRow>> {
    db.prepare("SELECT sequence, kind, change, checksum FROM changes ORDER BY sequence")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)))?
        .collect()
}

/// Covers all of a row, and the plan, so that rows of two files can't be mixed.
fn checksum(plan_id: u128, sequence: i64, kind: &str, change: &[u8]) -> i64 {
    xxh3_64(&encode(&(plan_id, sequence, kind, change))).cast_signed()
}

impl Store {
    /// Keeps which files took the place of which of the plan's objects, with what the job's history says of it
    /// (notices), in one durable transaction. The plan that is read afterwards has them; its id stays that of the plan
    /// as it was made.
    pub fn replace_objects(&mut self, replaced: &[(u32, SourceObject)], told: &[String]) -> Result<(), StateError> {
        let change = |(object, facts): &(u32, SourceObject)| PlanChange::Replaced { object: *object, facts: facts.clone() };
        let (plan_id, changes) = (self.plan_id, replaced.iter().map(change).collect::<Vec<_>>());
        let tx = begin(&mut self.db, &self.path)?;
        let written = keep(&tx, plan_id, &changes).and_then(|()| told.iter().try_for_each(|text| event(&tx, text, true)));
        at(&self.path, written)?;
        commit(tx, &self.path)
    }

    /// Adds what another plan reads behind all that the job's plan does ([`Plan::extend`]), in one durable transaction:
    /// new shards wait, and one that reads on now and was done waits again where it ended. The plan's id stays. `told`:
    /// what the job's history says of it.
    pub fn extend_plan(&mut self, later: &Plan, sets: u32, told: &str) -> Result<(), StateError> {
        let (plan_id, state) = (self.plan_id, self.load()?);
        let mut plan = state.plan.clone();
        let extended = plan.extend(later.clone(), sets).map_err(|what| StateError::Refused {
            path: self.path.clone(),
            what: format!("an addition to the plan: {what}"),
        })?;
        let tx = begin(&mut self.db, &self.path)?;
        let written = (|| {
            keep(&tx, plan_id, &[PlanChange::Added { later: later.clone(), sets }])?;
            // What attempts may have sent twice is bounded by what came after them, as long as that is only theirs.
            for (attempt, most) in resent::bounds(&report::attempts(&tx)?, &state) {
                tx.execute(
                    "UPDATE attempts SET resent = ?3, resent_exact = ?4 WHERE shard = ?1 AND number = ?2",
                    params![attempt.shard.0, attempt.number, signed(most), most == 0],
                )?;
            }
            for id in extended.added.clone() {
                ShardRow::new(ShardId(id), plan.shards[id as usize].start).add(&tx, plan_id)?;
            }
            for &(id, segments) in &extended.grown {
                let row = ShardRow::read(&tx, plan_id, id)?;
                if row.status == ShardStatus::Done {
                    let position = plan.goes_on_at(&plan.shards[id.0 as usize], segments, row.position.records);
                    ShardRow { status: ShardStatus::Waiting, position, token: None, deaths: 0, ..row }.write(&tx, plan_id)?;
                }
            }
            event(&tx, told, false)
        })();
        at(&self.path, written)?;
        commit(tx, &self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_have_their_numbers_and_kinds() {
        let facts = || SourceObject {
            path: "x".into(),
            bytes: None,
            modified_ns: 0,
            fingerprint: 0,
            compression: migration::Compression::None,
            splittable: false,
            record_starts: Vec::new(),
        };
        let changes = [
            PlanChange::Split { shard: ShardId(0), from: Position::default(), division: Division::Partitions(2) },
            PlanChange::Replaced { object: 0, facts: facts() },
            PlanChange::Added { later: Plan::default(), sets: 1 },
        ];
        let seen: Vec<(u8, &str)> = changes.iter().map(|change| (encode(change)[0], change.kind())).collect();
        assert_eq!(seen, [(0, "split"), (1, "replaced"), (2, "added")], "the order in the type is the number in the state");
    }
}
