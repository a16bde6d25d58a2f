//! Reading what a run starts from, and checking that it fits together.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use migration::report::{AttemptOutcome, Binding, ShardStatus};
use migration::{Counts, Plan, Position, Segment, Shard, ShardId, Token};
use rusqlite::Connection;

use super::error::{StateError, at, corrupt};
use super::schema::{ShardRow, decode, job_checksum};
use super::{codes, replaced, splits};
use crate::machine::{Extent, ShardStart};

/// Everything a run starts from.
#[derive(Clone, Debug, PartialEq)]
pub struct JobState {
    /// The job's name.
    pub name: String,
    /// When its state was made, milliseconds since 1970.
    pub created_ms: i64,
    /// The id of its plan.
    pub plan_id: u128,
    /// What it belongs to.
    pub binding: Binding,
    /// Its plan as it stands now: the frozen one, with the shards that were split since.
    pub plan: Plan,
    /// The plan as it was made, if shards were split or files replaced since.
    pub unsplit: Option<Box<Plan>>,
    /// One for each shard of the plan, in its order.
    pub shards: Vec<ShardCheckpoint>,
    /// What is known of files that can't be read to their end: by shard and segment, up to which place records were sent, and the
    /// hash of the bytes before it.
    pub damages: BTreeMap<(u32, u32), (u64, u128)>,
    /// The shard of the frozen plan that a piece of a split one goes back to; others are not in it.
    pub origins: BTreeMap<u32, u32>,
    /// Shards with an attempt that may have sent records behind its last commit: it was killed, or is still said to run.
    pub uncertain: BTreeSet<u32>,
}

/// How far a shard has come.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardCheckpoint {
    /// How it stands.
    pub status: ShardStatus,
    /// Up to where it is committed.
    pub position: Position,
    /// What its source needs beside the position to go on there.
    pub token: Option<Token>,
    /// What was committed.
    pub counts: Counts,
    /// Deaths at this position.
    pub deaths: u32,
    /// How long its file of dead letters is by its last commit, bytes.
    pub letters: u64,
    /// The number of its last attempt; 0 if there was none.
    pub last_attempt: u32,
}

impl JobState {
    /// What was committed, over all shards.
    pub fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        self.shards.iter().for_each(|shard| sum.add(&shard.counts));
        sum
    }

    /// How long each shard's file of dead letters is, as far as it was committed.
    pub fn letters(&self) -> Vec<(ShardId, u64)> {
        self.plan.shards.iter().map(|shard| shard.id).zip(self.shards.iter().map(|shard| shard.letters)).collect()
    }

    /// The plan as it was made: what its id stands for.
    pub fn frozen_plan(&self) -> &Plan {
        self.unsplit.as_deref().unwrap_or(&self.plan)
    }

    /// Whether every shard is at its end.
    pub fn is_done(&self) -> bool {
        self.shards.iter().all(|shard| shard.status == ShardStatus::Done)
    }

    /// What the machine starts from; a quarantined shard waits again.
    pub(crate) fn starts(&self) -> Vec<ShardStart> {
        let start = |(s, shard): (&ShardCheckpoint, &Shard)| ShardStart {
            extent: Extent::of(&self.plan, shard),
            position: s.position,
            token: s.token.clone(),
            counts: s.counts,
            done: s.status == ShardStatus::Done,
            last_attempt: s.last_attempt,
            letters: s.letters,
        };
        self.shards.iter().zip(&self.plan.shards).map(start).collect()
    }
}

/// Reads all of it in one snapshot.
pub(super) fn load(db: &Connection, path: &Path, plan_id: u128) -> Result<JobState, StateError> {
    let tx = at(path, db.unchecked_transaction())?;
    let mut state = read_job(&tx, path, plan_id)?;
    splits::apply(&tx, path, &mut state)?;
    state.damages = replaced::damages(&tx, path, plan_id)?;
    state.uncertain = at(path, uncertain(&tx))?;
    let last = at(path, last_attempts(&tx))?;
    for row in at(path, shard_rows(&tx, plan_id))? {
        let index = state.shards.len();
        let Some(shard) = state.plan.shards.get(index).filter(|s| s.id == row.id && row.id.0 as usize == index) else {
            return Err(corrupt(path, format!("it has a row for shard {}, which the plan has not there", row.id)));
        };
        check_shard(&row, state.plan.segments(shard), state.plan.start(shard))
            .map_err(|what| corrupt(path, format!("shard {}: {what}", row.id)))?;
        state.shards.push(ShardCheckpoint {
            status: row.status,
            position: row.position,
            token: row.token,
            counts: row.counts,
            deaths: row.deaths,
            letters: row.letters,
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
    let query = "SELECT name, created_ms, cluster_id, topic_id, topic, source, plan, checksum FROM job";
    let (mut state, plan, checksum) = at(
        path,
        db.query_row(query, [], |row| {
            let binding = Binding {
                cluster_id: row.get(2)?,
                topic_id: row.get(3)?,
                topic: row.get(4)?,
                source: row.get(5)?,
                end_offsets: end_offsets.clone(),
            };
            let (name, created_ms) = (row.get(0)?, row.get(1)?);
            let state = JobState {
                name,
                created_ms,
                plan_id,
                binding,
                plan: Plan::default(),
                unsplit: None,
                shards: Vec::new(),
                damages: BTreeMap::new(),
                origins: BTreeMap::new(),
                uncertain: BTreeSet::new(),
            };
            Ok((state, row.get::<_, Vec<u8>>(6)?, row.get::<_, i64>(7)?))
        }),
    )?;
    if !whole || checksum != job_checksum(&plan_id.to_be_bytes(), &state.name, &plan, &end_offsets) {
        return Err(corrupt(path, "the plan fails its checksum"));
    }
    state.plan = at(path, decode(&plan))?;
    Ok(state)
}

pub(super) fn shard_rows(db: &Connection, plan_id: u128) -> rusqlite::Result<Vec<ShardRow>> {
    db.prepare(&format!("SELECT {} FROM shards ORDER BY id", ShardRow::COLUMNS))?
        .query_map([], |row| ShardRow::from_row(row, plan_id))?
        .collect()
}

fn last_attempts(db: &Connection) -> rusqlite::Result<HashMap<u32, u32>> {
    db.prepare("SELECT shard, max(number) FROM attempts GROUP BY shard")?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Shards with an attempt that may have sent more than it committed. One that finished, drained or met a file that it can't read has
/// committed all that it took before its end.
fn uncertain(db: &Connection) -> rusqlite::Result<BTreeSet<u32>> {
    use AttemptOutcome::{Drained, Finished, Unreadable};
    db.prepare("SELECT DISTINCT shard FROM attempts WHERE outcome NOT IN (?1, ?2, ?3) OR resent > 0")?
        .query_map([Finished, Drained, Unreadable].map(codes::of_outcome), |row| row.get(0))?
        .collect()
}

/// What is wrong with a row, given what its shard reads and where it starts.
fn check_shard(row: &ShardRow, segments: &[Segment], start: Position) -> Result<(), String> {
    let ShardRow { position, counts, .. } = row;
    if !counts.balance() || counts.read != position.records {
        return Err(format!("its counts do not balance: {counts:?} at {position:?}"));
    }
    if *position < start {
        return Err(format!("{position:?} lies before its start"));
    }
    let inside = match segments.get(position.segment as usize) {
        Some(Segment { start, end, .. }) => (*start..=*end).contains(&position.place),
        None => position.segment as usize == segments.len(),
    };
    if inside { Ok(()) } else { Err(format!("{position:?} lies outside of it")) }
}
