//! A file for a result that takes long: opened before the work begins, so that a name that can't be written to is
//! noticed then.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::{Exit, UserError};

/// A file that waits for its text. What it held before stays until then; one that was made here goes if nothing is
/// written.
pub struct OutputFile {
    path: PathBuf,
    file: File,
    made: bool,
}

impl OutputFile {
    /// Opens those that were asked for.
    pub fn open(path: Option<&Path>) -> Result<Option<OutputFile>, UserError> {
        let open = |path: &Path| {
            let made = !path.exists();
            let file = OpenOptions::new().write(true).create(true).truncate(false).open(path);
            file.map(|file| OutputFile { path: path.to_owned(), file, made }).map_err(|error| refused(path, &error))
        };
        path.map(open).transpose()
    }

    /// Refuses to be one of the files that the job is made of, by whatever name.
    pub fn is_none_of<'a>(&self, inputs: impl IntoIterator<Item = &'a Path>) -> Result<(), UserError> {
        is_none_of(&self.path, self.file.metadata(), inputs)
    }

    /// Writes it.
    pub fn write(mut self, text: &str) -> Result<(), UserError> {
        // A pipe has no length.
        let emptied = if self.file.metadata().is_ok_and(|about| about.is_file()) { self.file.set_len(0) } else { Ok(()) };
        let written = emptied.and_then(|()| self.file.write_all(text.as_bytes()));
        self.made &= written.is_err();
        written.map_err(|error| refused(&self.path, &error))
    }
}

impl Drop for OutputFile {
    fn drop(&mut self) {
        if self.made {
            drop(std::fs::remove_file(&self.path));
        }
    }
}

/// Refuses a file, by whatever name, that is one of `inputs`. One that is not there yet is none of them.
pub fn is_none_of<'a>(
    path: &Path,
    own: io::Result<Metadata>,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<(), UserError> {
    let Ok(own) = own else { return Ok(()) };
    let same = |input: &&Path| input.metadata().is_ok_and(|input| (input.dev(), input.ino()) == (own.dev(), own.ino()));
    inputs.into_iter().find(same).map_or(Ok(()), |input| {
        let (path, input) = (printable_path(path), printable_path(input));
        let message = format!("the result can't be written to {path}: the job reads {input}");
        Err(UserError::new(Exit::Usage, message).hint("name another file"))
    })
}

/// A result that can't be written.
pub fn refused(path: &Path, error: &io::Error) -> UserError {
    UserError::new(Exit::State, format!("the result can't be written to {}: {error}", printable_path(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_there_early_and_stays_only_with_its_text() {
        let temporary = tempfile::tempdir().expect("a folder");
        let folder = temporary.path();
        let path = folder.join("page.html");
        drop(OutputFile::open(Some(&path)).ok().flatten().expect("writable"));
        assert!(!path.exists());
        std::fs::write(&path, "an older and longer page").expect("writable");
        let file = OutputFile::open(Some(&path)).ok().flatten().expect("writable");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "an older and longer page");
        file.is_none_of([folder, Path::new("/none")]).expect("another file");
        let other_name = folder.join("../").join(folder.file_name().expect("a name")).join("page.html");
        assert_eq!(file.is_none_of([other_name.as_path()]).expect_err("the same file").exit, Exit::Usage);
        file.write("new").expect("writable");
        assert_eq!(std::fs::read_to_string(&path).expect("readable"), "new");
        let refused = OutputFile::open(Some(&folder.join("none/page.html"))).err().expect("there is no such folder");
        assert_eq!(refused.exit, Exit::State);
        assert!(OutputFile::open(None).is_ok_and(|file| file.is_none()));
    }
}
