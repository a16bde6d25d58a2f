//! The file's layout, how it is made, and how it is opened.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use migration::StateOrigin;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, params};
use xxhash_rust::xxh3::xxh3_64;

use super::NewJob;
use super::columns::encode;
use super::error::{StateError, at, corrupt, io_at};
use super::shard_row::ShardRow;
use super::state::JobState;

/// "shlf": marks the file as ours.
pub(super) const APPLICATION_ID: i64 = 0x7368_6C66;
/// The layout's version.
const VERSION: i64 = 12;
/// How long a write waits for another connection; only a reader that restores the WAL can be in the way.
const BUSY: Duration = Duration::from_secs(5);

const LAYOUT: &str = "
CREATE TABLE job (
    one INTEGER PRIMARY KEY CHECK (one = 1), name TEXT NOT NULL, created_ms INTEGER NOT NULL, plan_id BLOB NOT NULL,
    cluster_id TEXT NOT NULL, topic_id TEXT NOT NULL, topic TEXT NOT NULL, source TEXT NOT NULL,
    plan BLOB NOT NULL, settings BLOB NOT NULL, checksum INTEGER NOT NULL,
    generation INTEGER NOT NULL, from_topic INTEGER NOT NULL
) STRICT;
CREATE TABLE end_offsets (partition INTEGER PRIMARY KEY, end_offset INTEGER NOT NULL) STRICT;
CREATE TABLE shards (
    id INTEGER PRIMARY KEY, status INTEGER NOT NULL, segment INTEGER NOT NULL, place INTEGER NOT NULL, records INTEGER NOT NULL,
    token BLOB,
    read INTEGER NOT NULL, acknowledged INTEGER NOT NULL, filtered INTEGER NOT NULL, dead_lettered INTEGER NOT NULL,
    others INTEGER NOT NULL, bytes_read INTEGER NOT NULL, bytes_others INTEGER NOT NULL, bytes_sent INTEGER NOT NULL, deaths INTEGER NOT NULL,
    letters INTEGER NOT NULL, receipt_records INTEGER NOT NULL, receipt_sum BLOB NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, started_ms INTEGER NOT NULL, elapsed_us INTEGER NOT NULL, slots INTEGER NOT NULL,
    exit_code INTEGER, reasons TEXT NOT NULL, cpu_us INTEGER NOT NULL,
    accepted TEXT NOT NULL, command TEXT NOT NULL DEFAULT '', rules BLOB
) STRICT;
CREATE TABLE attempts (
    sequence INTEGER PRIMARY KEY, shard INTEGER NOT NULL, number INTEGER NOT NULL, run INTEGER NOT NULL, pid INTEGER NOT NULL,
    started_ms INTEGER NOT NULL, elapsed_us INTEGER NOT NULL, outcome INTEGER NOT NULL, reason TEXT NOT NULL,
    cpu_us INTEGER NOT NULL, peak_memory_bytes INTEGER NOT NULL, first_delivery_us INTEGER, resent INTEGER NOT NULL,
    resent_exact INTEGER NOT NULL, figures BLOB NOT NULL, UNIQUE (shard, number)
) STRICT;
CREATE TABLE events (
    sequence INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL, notice INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE outages (
    sequence INTEGER PRIMARY KEY, run INTEGER NOT NULL, began_ms INTEGER NOT NULL, all_ms INTEGER, ended_ms INTEGER
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
    tx.execute_batch(super::changes::LAYOUT)?;
    tx.execute_batch(super::replaced::LAYOUT)?;
    tx.execute_batch(super::verified::LAYOUT)?;
    let (plan_id, plan, binding) = (job.plan_id.to_be_bytes(), encode(job.plan), job.binding);
    let settings = encode(&job.settings);
    let checksum = job_checksum(&plan_id, job.name, &plan, &settings, &binding.end_offsets, job.origin);
    tx.execute(
        "INSERT INTO job VALUES (1, ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            job.name,
            job.origin.created_ms,
            plan_id,
            binding.cluster_id,
            binding.topic_id,
            binding.topic,
            binding.source,
            plan,
            settings,
            checksum,
            job.origin.generation,
            job.origin.from_topic
        ],
    )?;
    for (partition, end_offset) in (0i64..).zip(&binding.end_offsets) {
        tx.execute("INSERT INTO end_offsets VALUES (?1, ?2)", params![partition, end_offset])?;
    }
    for shard in &job.plan.shards {
        ShardRow::new(shard.id, shard.start).add(&tx, job.plan_id)?;
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

/// The path with the links of its folders resolved. SQLite is told to follow none, and would mean those too; the file's
/// own name and those of its journals must not be links.
fn resolved(path: &Path) -> PathBuf {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match (folder.canonicalize(), path.file_name()) {
        (Ok(folder), Some(name)) => folder.join(name),
        _ => path.to_owned(),
    }
}

/// Whether the file alone is not the whole state. Without a journal no process writes, and a reader leaves nothing
/// beside the file: an ordinary reader would make an index of a journal there, or fail where nothing can be made.
fn has_journal(path: &Path) -> bool {
    fs::metadata(beside(path, "-wal")).is_ok_and(|wal| wal.len() > 0)
}

/// Opens a file that no process can write now.
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

/// Replaces the settings in the job's row, of which `state` was read.
pub(super) fn set_settings(tx: &Transaction<'_>, state: &JobState, settings: &[(String, String)]) -> rusqlite::Result<()> {
    let plan: Vec<u8> = tx.query_row("SELECT plan FROM job", [], |row| row.get(0))?;
    let (plan_id, settings) = (state.plan_id.to_be_bytes(), encode(&settings));
    let checksum = job_checksum(&plan_id, &state.name, &plan, &settings, &state.binding.end_offsets, state.origin);
    tx.execute("UPDATE job SET settings = ?1, checksum = ?2", params![settings, checksum]).map(drop)
}

/// Covers what a resume takes from the job's row.
pub(super) fn job_checksum(
    plan_id: &[u8; 16],
    name: &str,
    plan: &[u8],
    settings: &[u8],
    end_offsets: &[i64],
    origin: StateOrigin,
) -> i64 {
    xxh3_64(&encode(&(plan_id, name, plan, settings, end_offsets, origin))).cast_signed()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
