//! Lock files by flock(2): held as long as any process has the open file, so a lock passes to children and ends with
//! the last of them, even by SIGKILL. What a lock protects is the caller's.
//!
//! Never fcntl(2): its locks belong to a process and are lost when any descriptor of the file is closed. Dropping a
//! lock only closes the descriptor and never unlocks, because unlocking would take the lock from the children as well.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::private::{FileId, open_private};

/// How often a busy lock is tried again.
const RETRY: Duration = Duration::from_millis(20);

/// More of a holder's text is not shown.
const TEXT_BYTES: u64 = 1024;

/// Why a lock is not held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process holds it.
    #[error("{path} is locked by another process ({holder_text})")]
    Busy {
        /// The lock file.
        path: String,
        /// What its holder wrote about itself: for messages only, it may be outdated or empty.
        holder_text: String,
    },
    /// The file could not be opened, locked or written.
    #[error("{path} can't be used as a lock file: {source}")]
    Io {
        /// The lock file.
        path: String,
        /// The system's answer.
        source: io::Error,
    },
}

/// A lock that is held until this value, and every copy of its descriptor that a child keeps, is closed.
#[derive(Debug)]
pub struct LockFile {
    file: File,
}

impl LockFile {
    /// Takes the lock for this process alone, trying again for `wait`. The file is made with mode 0600 when it is
    /// missing, and its content becomes `text`, which says who holds it.
    pub fn exclusive(path: impl AsRef<Path>, wait: Duration, text: &str) -> Result<LockFile, LockError> {
        let path = path.as_ref();
        let deadline = Instant::now() + wait;
        loop {
            let file = open(OpenOptions::new().read(true).write(true).create(true).mode(0o600), path)?;
            match file.try_lock() {
                Ok(()) if is_still_at(&file, path) => {
                    write_text(&file, text).map_err(io_error(path))?;
                    return Ok(LockFile { file });
                }
                // The file was removed or replaced between opening and locking it: that lock guards nothing.
                Ok(()) => continue,
                Err(TryLockError::Error(source)) => return Err(io_error(path)(source)),
                Err(TryLockError::WouldBlock) if Instant::now() >= deadline => return Err(busy(path, &file)),
                Err(TryLockError::WouldBlock) => std::thread::sleep(RETRY.min(wait)),
            }
        }
    }

    /// Takes the lock together with other readers, without waiting and without making or writing the file:
    /// [`LockError::Busy`] tells that another process holds it for itself.
    pub fn shared_nonblocking(path: impl AsRef<Path>) -> Result<LockFile, LockError> {
        let path = path.as_ref();
        let file = open(OpenOptions::new().read(true), path)?;
        match file.try_lock_shared() {
            Ok(()) => Ok(LockFile { file }),
            Err(TryLockError::WouldBlock) => Err(busy(path, &file)),
            Err(TryLockError::Error(source)) => Err(io_error(path)(source)),
        }
    }
}

impl LockFile {
    /// Which file it is.
    pub fn id(&self) -> io::Result<FileId> {
        FileId::of_open(&self.file)
    }
}

impl AsRawFd for LockFile {
    /// For [`ChildSettings::keep`](crate::ChildSettings::keep).
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// The descriptor is closed on exec, as all that the standard library opens; a link is never followed.
fn open(options: &mut OpenOptions, path: &Path) -> Result<File, LockError> {
    open_private(path, options).map_err(io_error(path))
}

fn is_still_at(file: &File, path: &Path) -> bool {
    matches!((FileId::of_open(file), FileId::at(path)), (Ok(ours), Ok(named)) if ours == named)
}

fn write_text(mut file: &File, text: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(text.as_bytes())
}

fn busy(path: &Path, mut file: &File) -> LockError {
    let mut bytes = Vec::new();
    // The text only decorates a message, so one that can't be read is an empty one.
    let _ = file.rewind().and_then(|()| file.take(TEXT_BYTES).read_to_end(&mut bytes));
    let text = String::from_utf8_lossy(&bytes).trim().to_owned();
    LockError::Busy { path: path.display().to_string(), holder_text: text }
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> LockError {
    let path = path.display().to_string();
    move |source| LockError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_removed_or_replaced_file_is_noticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let first = File::create(&path).unwrap();
        assert!(is_still_at(&first, &path));
        std::fs::remove_file(&path).unwrap();
        assert!(!is_still_at(&first, &path));
        let second = File::create(&path).unwrap();
        assert!(!is_still_at(&first, &path) && is_still_at(&second, &path));
    }
}
