//! A folder that is gone when its owner is.

use std::path::{Path, PathBuf};

/// A new folder below the system's temporary one; removed on drop. `SHARDLIFT_TEST_KEEP=1` keeps those of failed tests.
pub struct TempDir(tempfile::TempDir);

impl TempDir {
    /// A fresh, empty one.
    pub fn new(what: &str) -> Self {
        let prefix = format!("shardlift-test-{what}-");
        TempDir(tempfile::Builder::new().prefix(&prefix).tempdir().expect("a temporary folder can be made"))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Keeps it after its owner is gone.
    pub fn keep(&mut self) {
        self.0.disable_cleanup(true);
    }

    /// A path in it.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() && std::env::var_os("SHARDLIFT_TEST_KEEP").is_some() {
            self.0.disable_cleanup(true);
            eprintln!("kept: {}", self.0.path().display());
        }
    }
}
