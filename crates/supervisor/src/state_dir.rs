//! The job's folder on disk: who may use it, and where its files are.
//!
//! Responsible for making it private, for the two locks, and for paths. Not responsible for what the files hold.
//!
//! `supervisor.lock` tells whether a supervisor is alive; children close it. `workers.lock` is kept by every worker, so a
//! new supervisor that gets it knows that no worker of a dead one is left.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::Exit;
use process::{LockError, LockFile};

/// `status` takes the supervisor's lock for a moment, so a busy one is tried again for so long.
const SUPERVISOR_WAIT: Duration = Duration::from_millis(500);
/// Workers of a dead supervisor are gone after a second; this is for a machine under load.
const WORKERS_WAIT: Duration = Duration::from_secs(5);

/// Why the job's folder can't be used.
#[derive(Debug, thiserror::Error)]
pub enum StateDirError {
    /// Another supervisor works on this job.
    #[error("another supervisor works on this job ({holder}); stop it first, or wait for its end (`shardlift status`)")]
    Supervisor {
        /// What it wrote about itself.
        holder: String,
    },
    /// Workers of a dead supervisor are still there.
    #[error("workers of an earlier supervisor still hold {path} after {} s; run again when they are gone", WORKERS_WAIT.as_secs())]
    Workers {
        /// The lock's path.
        path: String,
    },
    /// The system refused something.
    #[error("the state directory {path} can't be used: {cause}; it must be on a local, writable disk with space left")]
    Unusable {
        /// Which.
        path: String,
        /// What the system said.
        cause: String,
    },
}

impl StateDirError {
    /// The exit code that fits: 75 when it can be tried again later, else 74.
    pub fn exit(&self) -> Exit {
        match self {
            StateDirError::Supervisor { .. } | StateDirError::Workers { .. } => Exit::Stopped,
            StateDirError::Unusable { .. } => Exit::State,
        }
    }
}

/// A job's folder with both locks held.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    workers: LockFile,
    _supervisor: LockFile,
}

impl StateDir {
    /// Makes the folder if need be (mode 0700) and takes both locks, waiting at most 500 ms for the supervisor's and 5 s for
    /// the workers'.
    pub fn open(path: &Path) -> Result<Self, StateDirError> {
        let unusable = |cause: io::Error| Self::unusable(path, cause);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        if fs::metadata(path).map_err(unusable)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(path, Permissions::from_mode(0o700)).map_err(unusable)?;
        }
        let supervisor =
            LockFile::exclusive(path.join("supervisor.lock"), SUPERVISOR_WAIT, &holder_text()).map_err(|e| match e {
                LockError::Busy { holder_text, .. } => StateDirError::Supervisor { holder: holder_text },
                LockError::Io { source, .. } => unusable(source),
            })?;
        let workers = LockFile::exclusive(path.join("workers.lock"), WORKERS_WAIT, "").map_err(|e| match e {
            LockError::Busy { path, .. } => StateDirError::Workers { path },
            LockError::Io { source, .. } => unusable(source),
        })?;
        Ok(StateDir { path: path.to_owned(), workers, _supervisor: supervisor })
    }

    /// Who works on the job in `path` now, in its own words; `None` if nobody does. Waits for nothing and changes nothing.
    pub fn holder(path: &Path) -> Result<Option<String>, StateDirError> {
        match LockFile::shared_nonblocking(path.join("supervisor.lock")) {
            Ok(_) => Ok(None),
            Err(LockError::Busy { holder_text, .. }) => Ok(Some(holder_text)),
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(LockError::Io { source, .. }) => Err(Self::unusable(path, source)),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The checkpoint of the job in `path`.
    pub fn store_path(path: &Path) -> PathBuf {
        path.join("state.sqlite")
    }

    /// The folder of dead letters of the job in `path`, one file a shard.
    pub fn dead_letters_path(path: &Path) -> PathBuf {
        path.join("dead-letters")
    }

    /// The workers' lock, which every worker must keep.
    pub fn workers_lock(&self) -> RawFd {
        self.workers.as_raw_fd()
    }

    /// Forgets the job: removes checkpoint and dead letters, keeps the locks.
    pub fn clear(&self) -> Result<(), StateDirError> {
        let store = Self::store_path(&self.path);
        // The checkpoint first, and its journal after it: what is left by a crash in between is no valid state.
        for suffix in ["", "-wal", "-shm", ".new", ".new-journal"] {
            let mut file = store.clone().into_os_string();
            file.push(suffix);
            ignore_missing(fs::remove_file(&file)).map_err(|cause| Self::unusable(&self.path, cause))?;
        }
        ignore_missing(fs::remove_dir_all(Self::dead_letters_path(&self.path)))
            .map_err(|cause| Self::unusable(&self.path, cause))
    }

    fn unusable(path: &Path, cause: io::Error) -> StateDirError {
        StateDirError::Unusable { path: path.display().to_string(), cause: cause.to_string() }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn holder_text() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    format!("host {}, process {}, started at {since} (Unix time)", process::host_name(), std::process::id())
}
