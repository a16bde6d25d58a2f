//! The file's layout, how it is opened, and the one row type that a resume depends on.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use migration::ledger::TokenTooLong;
use migration::report::ShardStatus;
use migration::{Counts, Position, ShardId, Token};
use rusqlite::types::Type;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::error::{StateError, at, corrupt, io_at};
use super::{NewJob, codes, count, now_ms};

/// "shlf": marks the file as ours.
pub(super) const APPLICATION_ID: i64 = 0x7368_6C66;
/// The layout's version.
const VERSION: i64 = 5;
/// How long a write waits for another connection; only a reader that restores the WAL can be in the way.
const BUSY: Duration = Duration::from_secs(5);

const LAYOUT: &str = "
CREATE TABLE job (
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, created_ms INTEGER NOT NULL, plan_id BLOB NOT NULL,
    cluster_id TEXT NOT NULL, topic_id TEXT NOT NULL, topic TEXT NOT NULL, source TEXT NOT NULL,
    plan BLOB NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE end_offsets (partition INTEGER PRIMARY KEY, end_offset INTEGER NOT NULL) STRICT;
CREATE TABLE shards (
    id INTEGER PRIMARY KEY, status INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, records INTEGER NOT NULL,
    token BLOB,
    read INTEGER NOT NULL, acknowledged INTEGER NOT NULL, filtered INTEGER NOT NULL, dead_lettered INTEGER NOT NULL,
    others INTEGER NOT NULL, bytes_read INTEGER NOT NULL, bytes_sent INTEGER NOT NULL, deaths INTEGER NOT NULL,
    letters INTEGER NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, elapsed_us INTEGER NOT NULL, slots INTEGER NOT NULL,
    exit_code INTEGER, reasons TEXT NOT NULL, cpu_us INTEGER NOT NULL,
    accepted TEXT NOT NULL
) STRICT;
CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY, shard INTEGER NOT NULL, number INTEGER NOT NULL, run INTEGER NOT NULL, pid INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, elapsed_us INTEGER NOT NULL, outcome INTEGER NOT NULL, reason TEXT NOT NULL,
    cpu_us INTEGER NOT NULL, peak_memory_bytes INTEGER NOT NULL, first_delivery_us INTEGER, resent INTEGER NOT NULL,
    resent_exact INTEGER NOT NULL, figures BLOB NOT NULL, UNIQUE (shard, number)
) STRICT;
CREATE TABLE splits (
    sequence INTEGER PRIMARY KEY, shard INTEGER NOT NULL, cuts BLOB NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL, notice INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE steering (
    sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL, before BLOB NOT NULL, after BLOB
) STRICT;
";

/// Writes a new file beside `path` and moves it there when it is complete and on disk.
pub(super) fn create(path: &Path, job: &NewJob<'_>) -> Result<(), StateError> {
    if path.symlink_metadata().is_ok() {
        return Err(StateError::Exists { path: path.to_owned() });
    }
    let new = beside(path, ".new");
    for stale in [new.clone(), beside(path, ".new-journal"), beside(path, "-wal"), beside(path, "-shm")] {
        let removed = fs::remove_file(&stale);
        io_at(&stale, removed.or_else(|e| if e.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(e) }))?;
    }
    io_at(&new, OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut db = at(&new, Connection::open_with_flags(resolved(&new), flags))?;
    at(&new, fill(&mut db, job))?;
    at(&new, db.close().map_err(|(_, e)| e))?;
    io_at(&new, File::open(&new).and_then(|file| file.sync_all()))?;
    io_at(path, fs::rename(&new, path))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    io_at(folder, File::open(folder).and_then(|folder| folder.sync_all()))
}

fn fill(db: &mut Connection, job: &NewJob<'_>) -> rusqlite::Result<()> {
    db.pragma_update(None, "synchronous", "FULL")?;
    let tx = db.transaction()?;
    tx.pragma_update(None, "application_id", APPLICATION_ID)?;
    tx.pragma_update(None, "user_version", VERSION)?;
    tx.execute_batch(LAYOUT)?;
    tx.execute_batch(super::samples::LAYOUT)?;
    tx.execute_batch(super::replaced::LAYOUT)?;
    tx.execute_batch(super::verified::LAYOUT)?;
    let (plan_id, plan, binding) = (job.plan_id.to_be_bytes(), encode(job.plan), job.binding);
    let checksum = job_checksum(&plan_id, job.name, &plan, &binding.end_offsets);
    tx.execute(
        "INSERT INTO job VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            job.name,
            now_ms(),
            plan_id,
            binding.cluster_id,
            binding.topic_id,
            binding.topic,
            binding.source,
            plan,
            checksum
        ],
    )?;
    for (partition, end_offset) in (0i64..).zip(&binding.end_offsets) {
        tx.execute("INSERT INTO end_offsets VALUES (?1, ?2)", params![partition, end_offset])?;
    }
    for shard in &job.plan.shards {
        ShardRow::new(shard.id, job.plan.start(shard)).add(&tx, job.plan_id)?;
    }
    tx.commit()
}

/// Opens a file that is known to be ours and gives the plan's id.
pub(super) fn open(path: &Path, read_only: bool) -> Result<(Connection, u128), StateError> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.is_file() => {
            return Err(StateError::Foreign { path: path.to_owned(), what: "it is a link, or no file at all".to_owned() });
        }
        Ok(metadata) if metadata.len() == 0 => return Err(corrupt(path, "it is empty")),
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Err(StateError::Missing { path: path.to_owned() }),
        Err(e) => return io_at(path, Err(e)),
    }
    let access = if read_only { OpenFlags::SQLITE_OPEN_READ_ONLY } else { OpenFlags::SQLITE_OPEN_READ_WRITE };
    let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let db = match Connection::open_with_flags(resolved(path), flags) {
        Ok(_) if read_only && !has_journal(path) => open_still(path),
        other => other,
    };
    let db = at(path, db)?;
    at(path, db.busy_timeout(BUSY))?;
    let pragma = |name: &str| at(path, db.pragma_query_value(None, name, |row| row.get::<_, i64>(0)));
    if pragma("application_id")? != APPLICATION_ID {
        return Err(StateError::Foreign { path: path.to_owned(), what: "it is a database of another program".to_owned() });
    }
    let version = pragma("user_version")?;
    if version != VERSION {
        return Err(StateError::Version { path: path.to_owned(), found: version, known: VERSION });
    }
    if !read_only {
        let mode: String = at(path, db.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0)))?;
        if mode != "wal" {
            let cause = format!("no write-ahead log there (journal mode {mode}): a local, writable disk is needed");
            return Err(StateError::Disk { path: path.to_owned(), cause });
        }
        at(path, db.pragma_update(None, "synchronous", "FULL"))?;
    }
    let id = at(path, db.query_row("SELECT plan_id FROM job", [], |row| row.get::<_, [u8; 16]>(0)).optional())?;
    let id = id.ok_or_else(|| corrupt(path, "it names no job"))?;
    Ok((db, u128::from_be_bytes(id)))
}

/// The path with the links of its folders resolved. SQLite is told to follow none, and would mean those too; the file's own name and
/// those of its journals must not be links.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Whether the file alone is not the whole state. Without a journal nobody writes, and whoever looks leaves nothing beside the file:
/// an ordinary reader would make an index of a journal there, or fail where nothing can be made.
fn has_journal(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0)
}

/// Opens a file that nobody can write now.
pub(super) fn open_still(path: &Path) -> rusqlite::Result<Connection> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut uri = "file:".to_owned();
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.as_os_str().as_bytes().iter().for_each(|byte| uri += &format!("%{byte:02x}"));
    uri += "?immutable=1";
    let access = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    Connection::open_with_flags(uri, access)
}

/// SQLite's own check of its pages; our rows carry checksums.
pub(super) fn check_integrity(db: &Connection, path: &Path) -> Result<(), StateError> {
    let answer: String = at(path, db.query_row("PRAGMA quick_check(1)", [], |row| row.get(0)))?;
    if answer == "ok" { Ok(()) } else { Err(corrupt(path, answer)) }
}

/// Covers what a resume takes from the job's row.
pub(super) fn job_checksum(plan_id: &[u8; 16], name: &str, plan: &[u8], end_offsets: &[i64]) -> i64 {
    xxh3_64(&encode(&(plan_id, name, plan, end_offsets))).cast_signed()
}

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
}

impl ShardRow {
    pub(super) const COLUMNS: &'static str = "id, status, segment, place, records, token, read, acknowledged, filtered, \
                                              dead_lettered, others, bytes_read, bytes_sent, deaths, letters, checksum";

    /// That of a shard on which no attempt worked.
    pub(super) fn new(id: ShardId, position: Position) -> ShardRow {
        let counts = Counts::default();
        ShardRow { id, status: ShardStatus::Waiting, position, token: None, counts, deaths: 0, letters: 0 }
    }

    /// Covers every column, and the plan, so that rows of two files can't be mixed.
    fn checksum(&self, plan_id: u128) -> i64 {
        let entry = (self.position, &self.token, self.counts);
        let row = (plan_id, self.id, codes::of_status(self.status), entry, self.deaths, self.letters);
        xxh3_64(&encode(&row)).cast_signed()
    }

    /// Replaces the row.
    pub(super) fn write(&self, tx: &Transaction<'_>, plan_id: u128) -> rusqlite::Result<()> {
        self.put(
            "INSERT OR REPLACE INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
            tx,
            plan_id,
        )
    }

    /// Writes the row of a shard that has none; that it has one already is an error.
    pub(super) fn add(&self, tx: &Transaction<'_>, plan_id: u128) -> rusqlite::Result<()> {
        self.put(
            "INSERT INTO shards VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)",
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
                signed(c.bytes_sent),
                self.deaths,
                signed(self.letters),
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
                bytes_sent: count(row, "bytes_sent")?,
            },
            deaths: row.get("deaths")?,
            letters: count(row, "letters")?,
        };
        if row.get::<_, i64>("checksum")? == shard.checksum(plan_id) {
            return Ok(shard);
        }
        let what = format!("the row of shard {} fails its checksum", shard.id);
        Err(rusqlite::Error::FromSqlConversionFailure(13, Type::Integer, what.into()))
    }
}

fn too_long(token: TokenTooLong) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(5, Type::Blob, Box::new(token))
}

/// Figures are bounded where they come in (`protocol`), so that they fit a signed number.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

pub(super) fn unsigned(value: i64) -> rusqlite::Result<u64> {
    u64::try_from(value).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, value))
}

pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain values without maps or unknown lengths can always be encoded")
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> rusqlite::Result<T> {
    postcard::from_bytes(bytes).map_err(|e| rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, Box::new(e)))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
