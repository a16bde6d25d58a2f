//! Dead letters that are in a topic: read in a helper process into a file that has no name, from its first record on.
//!
//! Responsible for: which topic, whose letters, and where they are kept while a command looks at them. Not responsible
//! for which of them count (`pipeline::dead_letter`).

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Seek as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka::TopicReader;
use migration::printable::printable_path;
use migration::{Exit, Job, UserError};
use pipeline::dead_letter::{self, Places};
use pipeline::dead_letter::{DeadLetter, LetterPlace, LetterReader, LetterSpool, SpooledLetters, TopicLetter};
use pipeline::verify::{TopicReader as _, VerifyError, headers_of};

use crate::helper;
use crate::interrupt::Interrupt;
use crate::letters::Letters;

/// What the files are called in which letters are kept while they are looked at, with a process's number behind it.
const SPOOL: &str = "letters-read-";

/// How long making one takes at most.
const MAKING: Duration = Duration::from_secs(10);

/// Letters that can be read.
#[derive(Debug)]
pub enum OpenLetters {
    /// In the files of their shards.
    Files,
    /// Read from their topic.
    Spooled {
        /// The lines.
        file: File,
        /// Where they stand in it.
        letters: SpooledLetters,
    },
}

impl OpenLetters {
    /// Makes the letters readable: those of a topic are read, in a helper process. `job` has the brokers; it is asked
    /// for only if the letters are in a topic.
    pub fn of(letters: &Letters, job: &Job, interrupt: Option<&Interrupt>) -> Result<OpenLetters, UserError> {
        if letters.topic.is_none() || letters.counted == 0 {
            return Ok(OpenLetters::Files);
        }
        let spool = SpoolFile::make(&letters.job_folder).map_err(|error| letters.unreadable(&error))?;
        let read = helper::ask("shardlift lettr", interrupt, || {
            let file = OpenOptions::new().write(true).open(&spool.path).map_err(|error| letters.unreadable(&error))?;
            read_here(letters, job, file)
        })?;
        let file = spool.file.try_clone().map_err(|error| letters.unreadable(&error))?;
        tell_gone(letters, &read);
        Ok(OpenLetters::Spooled { file, letters: read })
    }

    /// Hands each letter to `visit`.
    pub fn each(
        &self,
        letters: &Letters,
        visit: &mut dyn FnMut(LetterPlace, DeadLetter) -> io::Result<()>,
    ) -> Result<(), UserError> {
        let read = match self {
            OpenLetters::Files => dead_letter::each(&letters.folder, &letters.committed, process::open_private_below, visit),
            OpenLetters::Spooled { file, letters } => letters.each(file, visit),
        };
        read.map_err(|error| letters.unreadable(&error))
    }
}

/// Reads letters one by one at places where they were seen.
pub enum OneByOne<'a> {
    /// From the files of their shards.
    Files(LetterReader<'a>),
    /// From what was read of their topic.
    Spooled(&'a File, &'a SpooledLetters),
}

impl<'a> OneByOne<'a> {
    /// Of these.
    pub fn of(letters: &'a Letters, open: &'a OpenLetters) -> OneByOne<'a> {
        match open {
            OpenLetters::Files => OneByOne::Files(LetterReader::new(&letters.folder, process::open_private_below)),
            OpenLetters::Spooled { file, letters } => OneByOne::Spooled(file, letters),
        }
    }

    /// The letter there.
    pub fn read(&mut self, place: LetterPlace) -> io::Result<DeadLetter> {
        match self {
            OneByOne::Files(reader) => reader.read(place),
            OneByOne::Spooled(file, letters) => letters.read(file, place),
        }
    }
}

/// Where the records of letters in a topic stand, how many letters there are, and how many that don't count. Makes a
/// client: in a helper process.
pub fn places_here(letters: &Letters, job: &Job) -> Result<(Places, u64, u64), UserError> {
    let places = |error: io::Error| letters.unreadable(&error);
    let spool = SpoolFile::make(&letters.job_folder).map_err(places)?;
    let read = read_here(letters, job, spool.file.try_clone().map_err(places)?)?;
    tell_gone(letters, &read);
    Ok((read.places(&spool.file).map_err(places)?, read.count(), read.uncommitted))
}

fn tell_gone(letters: &Letters, read: &SpooledLetters) {
    let (gone, topic) = (read.gone.iter().map(|one| one.letters).sum::<u64>(), letters.topic.as_deref().unwrap_or_default());
    if gone > 0 {
        tracing::warn!(
            "{gone} of {} dead letters of job {} are gone from topic {topic} (retention, or deleted records): which records they \
             were is not known",
            letters.counted,
            letters.origin.job
        );
    }
}

/// Reads the topic of some letters into a file that is empty. Makes a client: in a helper process.
fn read_here(letters: &Letters, job: &Job, mut file: File) -> Result<SpooledLetters, UserError> {
    let topic = letters.topic.as_deref().unwrap_or_default();
    let unreadable = |error: VerifyError| match error {
        VerifyError::NotNow(_) => UserError::new(Exit::Stopped, error).hint("run the same command again"),
        error => UserError::new(Exit::Preflight, error)
            .hint(format!("topic {topic} has the job's dead letters: have it there, with the right to read it")),
    };
    let at = |error: io::Error| letters.unreadable(&error);
    file.rewind().map_err(at)?;
    let mut spool = LetterSpool::new(file);
    let mut reader = TopicReader::of_letters(job, topic);
    reader.restart().map_err(unreadable)?;
    let mut failed = Ok(());
    let mut more = true;
    while more {
        more = reader
            .next(&mut |record| {
                let headers: Vec<_> = headers_of(record.headers).collect();
                if let Some(letter) = TopicLetter::of(&letters.origin, &headers, record.value)
                    && failed.is_ok()
                {
                    failed = spool.add(&letter, record.time.unwrap_or(0));
                }
            })
            .map_err(unreadable)?;
        std::mem::replace(&mut failed, Ok(())).map_err(at)?;
    }
    spool.end(&letters.counts).map_err(at)
}

/// A file in the job's folder that goes with this object; one that a killed process left goes with the next.
struct SpoolFile {
    path: PathBuf,
    file: File,
}

impl SpoolFile {
    fn make(job_folder: &Path) -> io::Result<SpoolFile> {
        for entry in fs::read_dir(job_folder)? {
            let entry = entry?;
            let spool = entry.file_name().to_str().is_some_and(|name| name.starts_with(SPOOL));
            if spool && let Ok(file) = File::open(entry.path()) {
                remove_left(&entry.path(), &file);
            }
        }
        // Numbers of processes come again, in containers soon.
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        let path = job_folder.join(format!("{SPOOL}{}-{nanos}", std::process::id()));
        let mut options = OpenOptions::new();
        let file = process::open_private(&path, options.read(true).write(true).create_new(true).mode(0o600))?;
        file.try_lock().map_err(|error| match error {
            TryLockError::Error(error) => error,
            TryLockError::WouldBlock => io::ErrorKind::WouldBlock.into(),
        })?;
        Ok(SpoolFile { path, file })
    }
}

/// Removes a file that nothing uses: who uses one holds its lock, but for the moment in which it is made. One that is
/// gone meanwhile was removed by another process that does this.
fn remove_left(path: &Path, file: &File) {
    let made = file.metadata().and_then(|facts| facts.modified());
    let old = made.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > MAKING));
    if old && file.try_lock().is_ok() {
        drop(fs::remove_file(path));
    }
}

impl Drop for SpoolFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{}: {error}", printable_path(&self.path));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_process_left_goes_and_what_another_uses_stays() {
        let folder = tempfile::tempdir().unwrap();
        let left = folder.path().join(format!("{SPOOL}1"));
        let used = folder.path().join(format!("{SPOOL}2"));
        fs::write(&left, "x").unwrap();
        fs::write(&used, "x").unwrap();
        let new = folder.path().join(format!("{SPOOL}3"));
        fs::write(&new, "x").unwrap();
        for old in [&left, &used] {
            let made = std::time::SystemTime::now() - 2 * MAKING;
            OpenOptions::new().write(true).open(old).unwrap().set_modified(made).unwrap();
        }
        let held = File::open(&used).unwrap();
        held.try_lock().unwrap();
        let spool = SpoolFile::make(folder.path()).unwrap();
        assert!(!left.exists() && used.exists() && new.exists() && spool.path.exists());
        let path = spool.path.clone();
        drop(spool);
        assert!(!path.exists());
    }
}
