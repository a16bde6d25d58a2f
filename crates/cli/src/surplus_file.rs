//! The file that lists surplus copies: written while a comparison reads, under another name beside it, and there only
//! when the list is complete.
//!
//! Responsible for: that what the file held before stays until then, that only its owner can read it, and that a name
//! that can't be written to is noticed early. Not responsible for: what a line looks like.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use migration::job::SourceRules;
use migration::printable::printable_path;
use migration::{Exit, UserError};

use crate::output_file;

/// What stands behind the file's name until it is complete, before what makes the name this list's alone: another
/// comparison may write one for the same file.
const UNFINISHED: &str = ".shardlift-unfinished-";

/// A list that is being made.
pub struct SurplusFile {
    /// As it was typed.
    name: PathBuf,
    /// Where links lead.
    path: PathBuf,
    /// Where it is written to: beside it, or right there, if it is no ordinary file.
    unfinished: PathBuf,
}

impl SurplusFile {
    /// Prepares the one that was asked for.
    pub fn prepare(name: Option<&Path>) -> Result<Option<SurplusFile>, UserError> {
        let Some(name) = name else { return Ok(None) };
        let path = name.canonicalize().unwrap_or_else(|_| name.to_owned());
        let special = path.metadata().is_ok_and(|about| !about.is_file());
        let mut unfinished = path.clone().into_os_string();
        if !special {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
            unfinished.push(format!("{UNFINISHED}{}-{since}", std::process::id()));
        }
        let file = SurplusFile { name: name.to_owned(), path, unfinished: unfinished.into() };
        let made = if special {
            OpenOptions::new().write(true).open(&file.path)
        } else {
            OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file.unfinished)
        };
        made.map(|_| Some(file)).map_err(|error| output_file::refused(name, &error))
    }

    /// Refuses to be one of the files that the job is made of, by whatever name.
    pub fn is_none_of<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), UserError> {
        output_file::is_none_of(&self.name, fs::metadata(&self.path), inputs)
    }

    /// Refuses a name that the source's paths mean: the list would be a file of the dataset.
    pub fn is_outside(&self, source: &SourceRules) -> Result<(), UserError> {
        let typed = std::path::absolute(&self.name).unwrap_or_else(|_| self.name.clone());
        let folder = typed.parent().and_then(|folder| folder.canonicalize().ok()).zip(typed.file_name());
        let resolved = folder.map(|(folder, name)| folder.join(name));
        if ![Some(&typed), Some(&self.path), resolved.as_ref()]
            .into_iter()
            .flatten()
            .any(|path| sources::would_read(source, path))
        {
            return Ok(());
        }
        let message = format!(
            "the result can't be written to {}: the job reads all that its source's paths mean, and they mean that",
            printable_path(&self.name)
        );
        Err(UserError::new(Exit::Usage, message).hint("name a file elsewhere"))
    }

    /// Opens it for its lines; in whatever process, and in several.
    pub fn open(&self) -> Result<BufWriter<File>, UserError> {
        let file = OpenOptions::new().append(true).open(&self.unfinished);
        file.map(|file| BufWriter::with_capacity(1 << 18, file)).map_err(|error| self.refused(&error))
    }

    /// Why it can't be written to.
    pub fn refused(&self, error: &dyn std::fmt::Display) -> UserError {
        let message = format!("the list of duplicates can't be written to {}: {error}", printable_path(&self.name));
        UserError::new(Exit::State, message)
    }

    /// The list is complete.
    pub fn keep(self) -> Result<(), UserError> {
        let moved = if self.is_special() { Ok(()) } else { fs::rename(&self.unfinished, &self.path) };
        moved.map_err(|error: io::Error| self.refused(&error))
    }

    fn is_special(&self) -> bool {
        self.unfinished == self.path
    }
}

impl Drop for SurplusFile {
    fn drop(&mut self) {
        if !self.is_special() {
            drop(fs::remove_file(&self.unfinished));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn prepared(path: &Path) -> SurplusFile {
        SurplusFile::prepare(Some(path)).ok().flatten().expect("writable")
    }

    #[test]
    fn a_list_is_there_when_it_is_complete_and_for_its_owner_alone() {
        let temporary = tempfile::tempdir().expect("a folder");
        let (path, link) = (temporary.path().join("list"), temporary.path().join("link"));
        fs::write(&path, "before").expect("writable");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).expect("ours");
        symlink(&path, &link).expect("a link can be made");
        let listed = |list: &SurplusFile| list.open().expect("writable").write_all(b"a line\n").expect("writable");
        let list = prepared(&link);
        listed(&list);
        assert_eq!(fs::read_to_string(&path).expect("readable"), "before");
        drop(list);
        assert_eq!(fs::read_dir(temporary.path()).expect("readable").count(), 2, "nothing is left of it");
        // Another list for the same file, and its end, touch none but their own.
        let list = prepared(&link);
        drop(prepared(&link));
        list.is_none_of([temporary.path()]).expect("another file");
        assert_eq!(list.is_none_of([path.as_path()]).expect_err("the same file").exit, Exit::Usage);
        listed(&list);
        assert!(list.keep().is_ok());
        assert_eq!(fs::read_to_string(&path).expect("readable"), "a line\n");
        assert_eq!(path.metadata().expect("it is there").permissions().mode() & 0o777, 0o600);
        assert!(link.is_symlink());
        assert_eq!(fs::read_dir(temporary.path()).expect("readable").count(), 2);
        let refused = SurplusFile::prepare(Some(&path.join("none"))).err().expect("no such folder");
        assert_eq!(refused.exit, Exit::State);
        listed(&prepared(Path::new("/dev/null")));
        assert!(SurplusFile::prepare(None).is_ok_and(|none| none.is_none()));
    }
}
