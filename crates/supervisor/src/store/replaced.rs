//! Source objects that can't be read to their end, and whether another file may take the place of one.

use std::collections::BTreeMap;
use std::path::Path;

use migration::{Damage, Plan, Segment};
use rusqlite::{Connection, Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{encode, signed};
use super::error::{StateError, at, corrupt};
use super::state::JobState;
use crate::machine::AttemptId;
use migration::report::ShardStatus;

/// Part of the layout.
pub(super) const LAYOUT: &str = "
CREATE TABLE damages (shard INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, hash BLOB NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (shard, segment)) STRICT;
";

/// What is known of the bytes that were sent of objects: by shard and segment, the place up to where, and the hash of
/// what is before it.
pub(super) type Damages = BTreeMap<(u32, u32), (u64, u128)>;

/// Keeps what an attempt found out about a segment that it could not read, whose shard is committed up to `place` in
/// it.
pub(super) fn keep_damage(
    tx: &Transaction<'_>,
    plan_id: u128,
    attempt: AttemptId,
    place: u64,
    damage: Damage,
) -> rusqlite::Result<()> {
    let Some(hash) = damage.hash.map(u128::from_be_bytes) else { return Ok(()) };
    let (shard, segment) = (attempt.shard.0, damage.segment);
    let checksum = checksum(&(plan_id, shard, segment, place, hash));
    tx.execute(
        "INSERT OR REPLACE INTO damages VALUES (?1, ?2, ?3, ?4, ?5)",
        params![shard, segment, signed(place), hash.to_be_bytes(), checksum],
    )
    .map(drop)
}

pub(super) fn damages(db: &Connection, path: &Path, plan_id: u128) -> Result<Damages, StateError> {
    let rows: Vec<(u32, u32, u64, [u8; 16], i64)> = at(
        path,
        db.prepare("SELECT shard, segment, place, hash, checksum FROM damages").and_then(|mut query| {
            let rows = query.query_map([], |row| {
                Ok((row.get(0)?, row.get(1)?, super::columns::count(row, "place")?, row.get(3)?, row.get(4)?))
            })?;
            rows.collect()
        }),
    )?;
    let mut damages = Damages::new();
    for (shard, segment, place, hash, sum) in rows {
        let hash = u128::from_be_bytes(hash);
        if sum != checksum(&(plan_id, shard, segment, place, hash)) {
            return Err(corrupt(path, "what is known of a damaged file fails its checksum"));
        }
        damages.insert((shard, segment), (place, hash));
    }
    Ok(damages)
}

fn checksum<T: serde::Serialize>(row: &T) -> i64 {
    xxh3_64(&encode(row)).cast_signed()
}

impl JobState {
    /// What was sent of an object of the plan, so that another file may take its place: `None` nothing; else up to
    /// which place, and the hash of what is before it. An error says why no other file may. Of shards that all read the
    /// object, each with a set of partitions, the one that came furthest decides.
    pub fn sent_of(&self, object: u32) -> Result<Option<(u64, u128)>, String> {
        let readers = readers(&self.plan, object)?;
        let through = |&(shard, index): &(u32, u32)| {
            let checkpoint = &self.shards[shard as usize];
            checkpoint.status == ShardStatus::Done || checkpoint.position.segment > index
        };
        if readers.iter().all(through) {
            return Err("all of it was sent".to_owned());
        }
        if readers.iter().any(through) {
            let what = "a worker has read all of it and others have not: the very file is needed, with its time of change \
                        (a copy by `cp -p` has it)";
            return Err(what.to_owned());
        }
        if readers.iter().any(|(shard, _)| self.may_have_sent_more(*shard)) {
            return Err("an attempt that was killed may have sent more of it than was committed".to_owned());
        }
        let position = |shard: u32| self.shards[shard as usize].position;
        let within = readers.iter().filter(|(shard, index)| position(*shard).segment == *index);
        let furthest = within.map(|(shard, _)| position(*shard).place).max().unwrap_or(0);
        if furthest == 0 {
            return Ok(None);
        }
        let mut known = readers.iter().filter_map(|reader| self.damages.get(reader));
        match known.find(|(place, _)| *place == furthest) {
            Some((place, hash)) => Ok(Some((*place, *hash))),
            None => Err(format!("the records before byte {furthest} of it were sent")),
        }
    }

    /// Whether records of a shard may have been sent behind its last commit. A shard that was split off another one may
    /// have been begun under that one's number.
    fn may_have_sent_more(&self, shard: u32) -> bool {
        let root = |shard: u32| self.line_of(shard).last();
        let split_off = self.parents.contains_key(&shard);
        self.uncertain.iter().any(|&other| other == shard || split_off && root(other) == root(shard))
    }
}

/// Who reads an object that no shard has cut: index of the shard, and of the segment in it.
fn readers(plan: &Plan, object: u32) -> Result<Vec<(u32, u32)>, String> {
    let bytes = plan.objects.get(object as usize).and_then(|object| object.bytes);
    let whole = |segment: &Segment| segment.start == 0 && (segment.end == Segment::WHOLE || Some(segment.end) == bytes);
    let mut readers = Vec::new();
    for shard in &plan.shards {
        for (index, segment) in (0..).zip(plan.segments(shard)).filter(|(_, segment)| segment.object == object) {
            if !whole(segment) {
                return Err("it is cut into several pieces".to_owned());
            }
            readers.push((shard.id.0, index));
        }
    }
    if readers.is_empty() { Err("the plan has no records of it".to_owned()) } else { Ok(readers) }
}
