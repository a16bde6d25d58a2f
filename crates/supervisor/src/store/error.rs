//! What can be wrong with a checkpoint, and what to do about it. The exit code is always 74.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

/// Why the checkpoint can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// There is none.
    #[error("there is no state at {path}; nothing was run yet under this job's name")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// There is one already.
    #[error("{path} exists already; run without --restart continues it")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Not a checkpoint of this program.
    #[error("{path} is no checkpoint of shardlift: {what}; move it away, or choose another job.name or job.state_dir")]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A checkpoint of another version of this program.
    #[error(
        "{path} is a job's state in version {found} of its format, and this program reads version {known} only: finish the job \
         with the program that wrote it, or start over with --restart (which sends everything again)"
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The version of this program.
        known: i64,
    },
    /// Damaged.
    #[error(
        "{path} is damaged: {what}; put a good copy in its place, or start over with --restart (which sends everything again)"
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What was seen.
        what: String,
    },
    /// A write that would make it wrong.
    #[error("{path}: refused to record {what}; this is a bug, please report it; the state is as it was before")]
    Refused {
        /// The file.
        path: PathBuf,
        /// What.
        what: String,
    },
    /// A result about what it was, and is not any more.
    #[error("{path}: the job was run, or started over, while topic and source were compared")]
    Outdated {
        /// The file.
        path: PathBuf,
    },
    /// Written to outside of a run.
    #[error("{path}: written to outside of a run; this is a bug, please report it")]
    NoRun {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the system said no.
    #[error(
        "{path} can't be read or written: {cause}; the state on disk is as it was before; make room or fix access, then run again"
    )]
    Disk {
        /// The file.
        path: PathBuf,
        /// What was said.
        cause: String,
    },
}

/// Sorts SQLite's errors by what a person does next.
pub(super) fn at<T>(path: &Path, result: rusqlite::Result<T>) -> Result<T, StateError> {
    result.map_err(|e| from_sqlite(path, &e))
}

pub(super) fn io_at<T>(path: &Path, result: io::Result<T>) -> Result<T, StateError> {
    result.map_err(|e| StateError::Disk { path: path.to_owned(), cause: e.to_string() })
}

pub(super) fn corrupt(path: &Path, what: impl Into<String>) -> StateError {
    StateError::Corrupt { path: path.to_owned(), what: what.into() }
}

fn from_sqlite(path: &Path, error: &rusqlite::Error) -> StateError {
    use rusqlite::Error as E;
    match error {
        E::SqliteFailure(cause, _) => match cause.code {
            ErrorCode::NotADatabase => StateError::Foreign { path: path.to_owned(), what: error.to_string() },
            ErrorCode::DatabaseCorrupt | ErrorCode::SchemaChanged | ErrorCode::TypeMismatch | ErrorCode::Unknown => {
                corrupt(path, error.to_string())
            }
            _ => StateError::Disk { path: path.to_owned(), cause: error.to_string() },
        },
        E::SqliteSingleThreadedMode | E::InvalidPath(_) => StateError::Disk { path: path.to_owned(), cause: error.to_string() },
        _ => corrupt(path, error.to_string()),
    }
}
