//! The one row type that a resume depends on: how far a shard is committed.

use migration::ledger::TokenTooLong;
use migration::report::ShardStatus;
use migration::{Counts, LedgerEntry, Position, Receipt, ShardId, Token};
use rusqlite::types::Type;
use rusqlite::{Connection, Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

use super::codes;
use super::columns::{count, encode, signed};

/// A shard's row.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ShardRow {
    pub(super) id: ShardId,
    pub(super) status: ShardStatus,
    pub(super) position: Position,
    /// What its source needs beside the position.
    pub(super) token: Option<Token>,
    pub(super) counts: Counts,
    pub(super) deaths: u32,
    /// How long its file of dead letters is by its last commit, bytes.
    pub(super) letters: u64,
    /// What was delivered.
    pub(super) receipt: Receipt,
}

impl ShardRow {
    pub(super) const COLUMNS: &'static str = "id, status, segment, place, records, token, read, acknowledged, filtered, \
                                              dead_lettered, others, bytes_read, bytes_others, bytes_sent, deaths, letters, \
                                              receipt_records, receipt_sum, checksum";

    /// That of a shard on which no attempt worked.
    pub(super) fn new(id: ShardId, position: Position) -> ShardRow {
        let (counts, receipt) = (Counts::default(), Receipt::default());
        ShardRow { id, status: ShardStatus::Waiting, position, token: None, counts, deaths: 0, letters: 0, receipt }
    }

    /// How far the shard is committed.
    pub(super) fn entry(&self) -> LedgerEntry {
        let ShardRow { position, token, counts, letters, receipt, .. } = self.clone();
        LedgerEntry { position, counts, token, letters, receipt }
    }

    /// The same row, committed up to another entry.
    pub(super) fn at(self, entry: LedgerEntry) -> ShardRow {
        let LedgerEntry { position, counts, token, letters, receipt } = entry;
        ShardRow { position, token, counts, letters, receipt, ..self }
    }

    /// Covers every column, and the plan, so that rows of two files can't be mixed.
    fn checksum(&self, plan_id: u128) -> i64 {
        let entry = (self.position, &self.token, self.counts);
        let row = (plan_id, self.id, codes::of_status(self.status), entry, self.deaths, self.letters, self.receipt);
        xxh3_64(&encode(&row)).cast_signed()
    }

    /// Replaces the row.
    pub(super) fn write(&self, tx: &Transaction<'_>, plan_id: u128) -> rusqlite::Result<()> {
        self.put(
            "INSERT OR REPLACE INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            tx,
            plan_id,
        )
    }

    /// Writes the row of a shard that has none; that it has one already is an error.
    pub(super) fn add(&self, tx: &Transaction<'_>, plan_id: u128) -> rusqlite::Result<()> {
        self.put(
            "INSERT INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
            tx,
            plan_id,
        )
    }

    fn put(&self, statement: &str, tx: &Transaction<'_>, plan_id: u128) -> rusqlite::Result<()> {
        let (p, c) = (&self.position, &self.counts);
        tx.prepare_cached(statement)?
            .execute(params![
                self.id.0,
                codes::of_status(self.status),
                p.segment,
                signed(p.place),
                signed(p.records),
                self.token.as_ref().map(Token::bytes),
                signed(c.read),
                signed(c.acknowledged),
                signed(c.filtered),
                signed(c.dead_lettered),
                signed(c.others),
                signed(c.bytes_read),
                signed(c.bytes_others),
                signed(c.bytes_sent),
                self.deaths,
                signed(self.letters),
                signed(self.receipt.records),
                self.receipt.sum.to_be_bytes(),
                self.checksum(plan_id),
            ])
            .map(drop)
    }

    pub(super) fn read(db: &Connection, plan_id: u128, id: ShardId) -> rusqlite::Result<ShardRow> {
        let query = format!("SELECT {} FROM shards WHERE id = ?1", Self::COLUMNS);
        db.prepare_cached(&query)?.query_row(params![id.0], |row| Self::from_row(row, plan_id))
    }

    pub(super) fn from_row(row: &rusqlite::Row<'_>, plan_id: u128) -> rusqlite::Result<ShardRow> {
        let shard = ShardRow {
            id: ShardId(row.get("id")?),
            status: codes::status(row.get("status")?)?,
            position: Position { segment: row.get("segment")?, place: count(row, "place")?, records: count(row, "records")? },
            token: row.get::<_, Option<Vec<u8>>>("token")?.map(Token::try_from).transpose().map_err(too_long)?,
            counts: Counts {
                read: count(row, "read")?,
                acknowledged: count(row, "acknowledged")?,
                filtered: count(row, "filtered")?,
                dead_lettered: count(row, "dead_lettered")?,
                others: count(row, "others")?,
                bytes_read: count(row, "bytes_read")?,
                bytes_others: count(row, "bytes_others")?,
                bytes_sent: count(row, "bytes_sent")?,
            },
            deaths: row.get("deaths")?,
            letters: count(row, "letters")?,
            receipt: Receipt { records: count(row, "receipt_records")?, sum: u128::from_be_bytes(row.get("receipt_sum")?) },
        };
        if row.get::<_, i64>("checksum")? == shard.checksum(plan_id) {
            return Ok(shard);
        }
        let what = format!("the row of shard {} fails its checksum", shard.id);
        Err(rusqlite::Error::FromSqlConversionFailure(16, Type::Integer, what.into()))
    }
}

fn too_long(token: TokenTooLong) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(5, Type::Blob, Box::new(token))
}
