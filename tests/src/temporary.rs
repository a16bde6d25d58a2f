//! A folder that is gone when its owner is.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A new folder below the system's temporary one; removed on drop. `SHARDLIFT_TEST_KEEP=1` keeps those of failed tests.
pub struct TempDir(PathBuf);

impl TempDir {
    /// A fresh, empty one.
    pub fn new(what: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        loop {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = std::env::temp_dir().join(format!("shardlift-test-{}-{number}-{what}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => return TempDir(path),
                // Left by a killed run whose process had the same number.
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => panic!("can't create {}: {error}", path.display()),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("SHARDLIFT_TEST_KEEP").is_some() {
            eprintln!("kept: {}", self.0.display());
            return;
        }
        // A test that made something unreadable on purpose has to undo it; what can't be removed is seen by the next listing.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
