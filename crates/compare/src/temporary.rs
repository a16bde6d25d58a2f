//! The folder that one run has to itself, and those that a killed comparison left.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What their names begin with; the number of the process that made them follows.
const PREFIX: &str = "run-";
/// A killed run's workers may still write for a moment: only their leader is waited for.
const ATTEMPTS: u32 = 20;
const REST: Duration = Duration::from_millis(50);

/// A folder for one run, gone with its end.
pub(super) struct Temporary(PathBuf);

impl Temporary {
    pub(super) fn create(folder: &Path) -> io::Result<Temporary> {
        let path = folder.join(format!("{PREFIX}{}", std::process::id()));
        // What a process of the same number left when it was killed.
        drop(fs::remove_dir_all(&path));
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(Temporary(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        for _ in 0..ATTEMPTS {
            match fs::remove_dir_all(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => std::thread::sleep(REST),
                Ok(()) | Err(_) => return,
            }
        }
        tracing::warn!("the temporary folder {} could not be removed", migration::printable::printable_path(&self.0));
    }
}

/// Removes what comparisons left here that were killed. Another one that goes on keeps its own.
pub(super) fn remove_leftovers(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let maker = name.to_str().and_then(|name| name.strip_prefix(PREFIX)?.parse::<u32>().ok());
        if maker.is_some_and(|pid| !Path::new("/proc").join(pid.to_string()).exists()) {
            // What can't be removed is not in the way.
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_comparison_left_goes_and_what_another_one_needs_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        // No process has this number: it is above the kernel's limit.
        let (dead, alive, other) =
            (folder.join("run-4194305"), folder.join(format!("run-{}", std::process::id())), folder.join("run-x"));
        [&dead, &alive, &other].into_iter().for_each(|path| fs::create_dir(path).expect("a folder"));
        fs::write(dead.join("file"), "x").expect("a file");
        remove_leftovers(folder);
        assert_eq!([&dead, &alive, &other].map(|path| path.exists()), [false, true, true]);
    }

    #[test]
    fn a_folder_of_a_run_goes_with_its_end() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let temporary = Temporary::create(folder).expect("a folder");
        let path = temporary.path().to_owned();
        fs::write(path.join("file"), "x").expect("a file");
        drop(temporary);
        assert!(!path.exists());
    }
}
