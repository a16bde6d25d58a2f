//! The samples of attempts on disk: written with what is written anyway, read by reports alone.

use std::collections::BTreeMap;

use migration::report::{Sample, Samples};
use migration::{Phases, ShardId};
use rusqlite::{Transaction, params};

use super::Store;
use super::columns::{count, decode, encode, signed};
use super::error::{StateError, at};
use crate::machine::AttemptId;
use crate::series::NewSamples;

/// Part of the layout.
pub(super) const LAYOUT: &str = "
CREATE TABLE samples (
    shard INTEGER NOT NULL, number INTEGER NOT NULL, at_ms INTEGER NOT NULL, acknowledged INTEGER NOT NULL, cpu_us INTEGER NOT NULL,
    phases_us BLOB NOT NULL, PRIMARY KEY (shard, number, at_ms)
) STRICT, WITHOUT ROWID;
";

/// Writes what is new, after every second one of the older ones went, if that is asked.
pub(super) fn write(tx: &Transaction<'_>, attempt: AttemptId, new: &NewSamples) -> rusqlite::Result<()> {
    let (shard, number) = (attempt.shard.0, attempt.number);
    if new.thin {
        let older = "SELECT at_ms, row_number() OVER (ORDER BY at_ms) AS place FROM samples WHERE shard = ?1 AND number = ?2";
        let query = format!(
            "DELETE FROM samples WHERE shard = ?1 AND number = ?2 AND at_ms IN (SELECT at_ms FROM ({older}) WHERE place % 2 = 0)"
        );
        tx.prepare_cached(&query)?.execute(params![shard, number])?;
    }
    for sample in &new.samples {
        // Microseconds are half as long as nanoseconds.
        let phases = encode(&sample.phases.0.map(|nanos| nanos / 1000));
        tx.prepare_cached("INSERT OR REPLACE INTO samples VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
            shard,
            number,
            signed(sample.at_ms),
            signed(sample.acknowledged),
            signed(sample.cpu_us),
            phases
        ])?;
    }
    Ok(())
}

impl Store {
    /// How many samples the job has.
    pub(crate) fn count_samples(&self) -> Result<u64, StateError> {
        at(&self.path, self.db.query_row("SELECT count(*) AS n FROM samples", [], |row| count(row, "n")))
    }
}

/// All samples of a job, for its report.
pub fn load_samples(store: &Store) -> Result<Samples, StateError> {
    let read = || -> rusqlite::Result<Samples> {
        let mut samples = BTreeMap::new();
        let mut query = store.db.prepare("SELECT * FROM samples ORDER BY shard, number, at_ms")?;
        let mut rows = query.query([])?;
        while let Some(row) = rows.next()? {
            let us: [u64; migration::Phase::ALL.len()] = decode(&row.get::<_, Vec<u8>>("phases_us")?)?;
            let sample = Sample {
                at_ms: count(row, "at_ms")?,
                acknowledged: count(row, "acknowledged")?,
                cpu_us: count(row, "cpu_us")?,
                phases: Phases(us.map(|us| us.saturating_mul(1000))),
            };
            samples.entry((ShardId(row.get("shard")?), row.get("number")?)).or_insert_with(Vec::new).push(sample);
        }
        Ok(samples)
    };
    at(&store.path, read())
}
