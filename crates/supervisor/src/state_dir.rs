//! The job's folder on disk: who may use it, and where its files are.
//!
//! Responsible for making it private, for the two locks, and for paths. Not responsible for what the files hold.
//!
//! `supervisor.lock` tells whether a supervisor is alive; children close it. `workers.lock` is kept by every worker, so
//! a new supervisor that gets it knows that no worker of a dead one is left.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::fd::{AsRawFd as _, RawFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use migration::Exit;
use migration::printable::{printable, printable_path};
use migration::units::show_utc;
use process::{FileId, LockError, LockFile, PrivateFolder};

const SUPERVISOR_LOCK: &str = "supervisor.lock";
/// How the words of a repair begin.
const REPAIR: &str = "verify --repair on ";
const WORKERS_LOCK: &str = "workers.lock";
/// `status` takes the supervisor's lock for a moment, so a busy one is tried again for this time.
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
    /// It is another user's.
    #[error(
        "{path} is the state of another user's job: it belongs to {owner} and is closed to this user; ask that user, use sudo, or \
         choose another job.state_dir"
    )]
    Strangers {
        /// Which.
        path: String,
        /// Whose.
        owner: String,
    },
    /// Others could have put there what this run would believe or write to.
    #[error(
        "the state directory {path} is not only this user's: {what}; choose another job.state_dir, have it given to this user (chown, \
         chmod), or let it pass with --accept owner"
    )]
    Untrusted {
        /// Which.
        path: String,
        /// Who owns it or may write there.
        what: String,
    },
    /// It is not there any more, or something else has its name.
    #[error(
        "{path} was removed or replaced while this run used it: how far the job is can't be kept any more, and another run may have \
         begun it anew; look at the topic (`shardlift verify`) before you go on"
    )]
    Gone {
        /// The folder or the file in it.
        path: String,
    },
}

impl StateDirError {
    /// The exit code that fits: 75 when it can be tried again later, else 74.
    pub fn exit(&self) -> Exit {
        match self {
            StateDirError::Supervisor { .. } | StateDirError::Workers { .. } => Exit::Stopped,
            StateDirError::Unusable { .. }
            | StateDirError::Strangers { .. }
            | StateDirError::Untrusted { .. }
            | StateDirError::Gone { .. } => Exit::State,
        }
    }
}

/// A job's folder with both locks held.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    folder: PrivateFolder,
    workers: LockFile,
    supervisor: LockFile,
}

/// Whether a folder may be used that others own or write to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owners {
    /// Only if it is this user's or root's, and only one of this user's groups may write there too.
    Trusted,
    /// Any user: the command said so.
    Any,
}

/// What a run's folder, its locks and its checkpoint are, to notice that they have gone. Each look costs four system
/// calls.
#[derive(Clone, Debug)]
pub struct StateGuard {
    known: Vec<(PathBuf, FileId)>,
}

impl StateGuard {
    /// An error if something else has one of the names by now, or nothing.
    pub fn check(&self) -> Result<(), StateDirError> {
        let gone = |(path, id): &&(PathBuf, FileId)| !FileId::at(path).is_ok_and(|found| found == *id);
        match self.known.iter().find(gone) {
            Some((path, _)) => Err(StateDirError::Gone { path: printable_path(path) }),
            None => Ok(()),
        }
    }
}

impl StateDir {
    /// Makes the folder if need be (mode 0700) and takes both locks, waiting at most 500 ms for the supervisor's and 5
    /// s for the workers'. No link is followed, whatever user owns the folder.
    pub fn open(path: &Path, owners: Owners) -> Result<Self, StateDirError> {
        Self::open_as(path, owners, &holder_text())
    }

    /// The same for a repair, which sends nothing as the job itself: its holder says so.
    pub fn open_to_repair(path: &Path, owners: Owners) -> Result<Self, StateDirError> {
        Self::open_as(path, owners, &format!("{REPAIR}{}", holder_text()))
    }

    /// Whether a holder, in its own words, repairs the topic of a job that does not run.
    pub fn repairs(holder: &str) -> bool {
        holder.starts_with(REPAIR)
    }

    fn open_as(path: &Path, owners: Owners, holder: &str) -> Result<Self, StateDirError> {
        let unusable = |cause: io::Error| Self::unusable(path, cause);
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let folder = PrivateFolder::open(path).map_err(unusable)?;
        if owners == Owners::Trusted
            && let Some(what) = folder.objection().map_err(unusable)?
        {
            return Err(StateDirError::Untrusted { path: printable_path(path), what });
        }
        let supervisor = LockFile::exclusive(path.join(SUPERVISOR_LOCK), SUPERVISOR_WAIT, holder).map_err(|e| match e {
            LockError::Busy { holder_text, .. } => StateDirError::Supervisor { holder: printable(&holder_text) },
            LockError::Io { source, .. } => unusable(source),
        })?;
        let workers = LockFile::exclusive(path.join(WORKERS_LOCK), WORKERS_WAIT, "").map_err(|e| match e {
            LockError::Busy { path, .. } => StateDirError::Workers { path: printable(&path) },
            LockError::Io { source, .. } => unusable(source),
        })?;
        Ok(StateDir { path: path.to_owned(), folder, workers, supervisor })
    }

    /// What is there now; only when the checkpoint has been made.
    pub fn guard(&self) -> Result<StateGuard, StateDirError> {
        let store = Self::store_path(&self.path);
        let known = (|| -> io::Result<Vec<(PathBuf, FileId)>> {
            Ok(vec![
                (self.path.clone(), self.folder.id()?),
                (self.path.join(SUPERVISOR_LOCK), self.supervisor.id()?),
                (self.path.join(WORKERS_LOCK), self.workers.id()?),
                (store.clone(), FileId::at(&store)?),
            ])
        })();
        known.map(|known| StateGuard { known }).map_err(|cause| Self::unusable(&self.path, cause))
    }

    /// Who works on the job in `path` now, in its own words; `None` if no process does. Waits for nothing and changes
    /// nothing.
    pub fn holder(path: &Path) -> Result<Option<String>, StateDirError> {
        match LockFile::shared_nonblocking(path.join(SUPERVISOR_LOCK)) {
            Ok(_) => Ok(None),
            Err(LockError::Busy { holder_text, .. }) => Ok(Some(printable(&holder_text))),
            Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(LockError::Io { source, .. }) => Err(Self::unusable(path, source)),
        }
    }

    /// Whether there is a checkpoint of the job in `path`, readable or not. An error where that can't be seen.
    pub fn has_store(path: &Path) -> Result<bool, StateDirError> {
        match Self::store_path(path).symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(Self::unusable(path, error)),
            Err(_) => Ok(false),
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
        self.clear_checkpoint()?;
        ignore_missing(fs::remove_dir_all(Self::dead_letters_path(&self.path)))
            .map_err(|cause| Self::unusable(&self.path, cause))
    }

    /// Removes the checkpoint alone.
    pub fn clear_checkpoint(&self) -> Result<(), StateDirError> {
        let store = Self::store_path(&self.path);
        // The checkpoint first, and its journal after it: what is left by a crash in between is no valid state.
        for suffix in ["", "-wal", "-shm", ".new", ".new-journal"] {
            let mut file = store.clone().into_os_string();
            file.push(suffix);
            ignore_missing(fs::remove_file(&file)).map_err(|cause| Self::unusable(&self.path, cause))?;
        }
        Ok(())
    }

    fn unusable(path: &Path, cause: io::Error) -> StateDirError {
        if let Some(owner) = (cause.kind() == io::ErrorKind::PermissionDenied).then(|| process::closed_by(path)).flatten() {
            return StateDirError::Strangers { path: printable_path(path), owner };
        }
        StateDirError::Unusable { path: printable_path(path), cause: cause.to_string() }
    }
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    result.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

fn holder_text() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0));
    format!("host {}, process {}, started at {}", process::host_name(), std::process::id(), show_utc(since))
}
