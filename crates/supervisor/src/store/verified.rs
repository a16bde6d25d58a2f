//! What comparisons of topic and source found: kept with the run after which they were made, the newest one of each.

use std::path::Path;

use migration::report::verify::Verified;
use rusqlite::{Connection, OptionalExtension as _, params};
use xxhash_rust::xxh3::xxh3_64;

use super::columns::{decode, encode};
use super::error::{StateError, at, corrupt};
use super::state::JobState;
use super::{Store, begin, codes, commit, now_ms};

/// Part of the layout. `verdict` is for a look at the file by hand: the result has it, too.
pub(super) const LAYOUT: &str = "
CREATE TABLE verified (run INTEGER PRIMARY KEY, ended_ms INTEGER NOT NULL, verdict INTEGER NOT NULL, result BLOB NOT NULL,
    checksum INTEGER NOT NULL) STRICT;
";

/// After which run a comparison was made, when it ended (milliseconds since 1970), and what it found.
pub(super) type KeptResult = (u32, i64, Verified);

impl Store {
    /// Keeps what a comparison found that looked at this state. Nothing is kept if the job was run or started over, or
    /// its plan grew since: the result would be told of records that it did not see.
    pub fn keep_verified(&mut self, verified: &Verified, compared: &JobState) -> Result<(), StateError> {
        let (plan_id, run) = (self.plan_id, compared.last_run);
        let result = postcard::to_stdvec(verified).map_err(|error| StateError::Refused {
            path: self.path.clone(),
            what: format!("a comparison's result: {error}"),
        })?;
        // No other process writes to it: the caller holds the job.
        if self.load()? != *compared {
            return Err(StateError::Outdated { path: self.path.clone() });
        }
        let tx = begin(&mut self.db, &self.path)?;
        let (ended_ms, verdict) = (now_ms(), codes::of_verdict(verified.verdict()));
        let sum = checksum(plan_id, run, ended_ms, verdict, &result);
        let row = params![run, ended_ms, verdict, result, sum];
        at(&self.path, tx.execute("INSERT OR REPLACE INTO verified VALUES (?1, ?2, ?3, ?4, ?5)", row))?;
        commit(tx, &self.path)
    }

    /// What the last comparison found, if there was one.
    pub fn verified(&self) -> Result<Option<Verified>, StateError> {
        Ok(newest(&self.db, &self.path, self.plan_id)?.map(|(.., verified)| verified))
    }
}

/// The result of the last comparison.
pub(super) fn newest(db: &Connection, path: &Path, plan_id: u128) -> Result<Option<KeptResult>, StateError> {
    let query = "SELECT run, ended_ms, verdict, result, checksum FROM verified ORDER BY run DESC LIMIT 1";
    let row: Option<(u32, i64, i64, Vec<u8>, i64)> = at(
        path,
        db.query_row(query, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))).optional(),
    )?;
    let Some((run, ended_ms, verdict, result, sum)) = row else { return Ok(None) };
    if sum != checksum(plan_id, run, ended_ms, verdict, &result) {
        return Err(corrupt(path, "the result of a comparison fails its checksum"));
    }
    Ok(Some((run, ended_ms, at(path, decode(&result))?)))
}

fn checksum(plan_id: u128, run: u32, ended_ms: i64, verdict: i64, result: &[u8]) -> i64 {
    xxh3_64(&encode(&(plan_id, run, ended_ms, verdict, result))).cast_signed()
}
