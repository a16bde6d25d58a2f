//! The records of the source that a topic lacks, as a comparison lists them: in files of its own, and from these in the
//! source's order.
//!
//! Responsible for: that any number of records needs little memory. Not responsible for: what is done with them.
//!
//! Each helper writes a file. In it stand runs of records whose numbers increase: a run ends with a slice of what was
//! compared. A record is an entry: number (u64), which of the sources expected has it (u32), length of its line (u32),
//! all little endian, and the line.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use migration::printable::printable_path;
use migration::{Exit, UserError};
use pipeline::verify::MissingRecord;

const ENTRY: usize = 16;

/// Where the list of a comparison is written.
pub struct MissingList {
    folder: PathBuf,
}

/// A record of the list.
pub struct ListedRecord {
    /// Which of the sources expected has it.
    pub expected: u32,
    /// Its line.
    pub line: Vec<u8>,
}

impl MissingList {
    /// One in a folder that is there, in which nothing else has such names.
    pub fn new(folder: &Path) -> MissingList {
        MissingList { folder: folder.to_owned() }
    }

    fn path(&self, helper: usize) -> PathBuf {
        self.folder.join(format!("missing-{helper}"))
    }

    /// Makes the file of a helper.
    pub fn open(&self, helper: usize) -> Result<BufWriter<File>, UserError> {
        let path = self.path(helper);
        let made = process::open_private(&path, OpenOptions::new().write(true).create(true).mode(0o600));
        let made = made.and_then(|file| file.set_len(0).map(|()| file));
        made.map(|file| BufWriter::with_capacity(1 << 18, file)).map_err(|error| self.refused(&error))
    }

    /// Adds a record.
    pub fn add(record: &MissingRecord<'_>, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&record.number.to_le_bytes())?;
        out.write_all(&record.expected.to_le_bytes())?;
        out.write_all(&(record.value.len() as u32).to_le_bytes())?;
        out.write_all(record.value)
    }

    /// Why it can't be used.
    pub fn refused(&self, error: &dyn std::fmt::Display) -> UserError {
        let folder = printable_path(&self.folder);
        UserError::new(Exit::State, format!("the list of missing records in {folder} can't be used: {error}"))
    }

    /// Hands over all records that were listed, in the source's order. How many there are.
    pub fn read(&self, visit: &mut dyn FnMut(ListedRecord) -> io::Result<()>) -> Result<u64, UserError> {
        self.merge(visit).map_err(|error| self.refused(&error))
    }

    fn merge(&self, visit: &mut dyn FnMut(ListedRecord) -> io::Result<()>) -> io::Result<u64> {
        let mut files = Vec::new();
        loop {
            match process::open_private(&self.path(files.len()), OpenOptions::new().read(true)) {
                Ok(file) => files.push(file),
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        // The head of each run: number, where its entry stands, where the run ends.
        let mut heads = BinaryHeap::new();
        for (index, file) in files.iter().enumerate() {
            let (mut at, end) = (0, file.metadata()?.len());
            let (mut start, mut first, mut last) = (0, None, None);
            while at < end {
                let entry = LineHead::read(file, at)?;
                if last.is_some_and(|last| entry.number <= last) {
                    heads.extend(first.map(|first| Reverse((first, index, start, at))));
                    (start, first) = (at, None);
                }
                first.get_or_insert(entry.number);
                last = Some(entry.number);
                at = entry.end(at);
            }
            heads.extend(first.map(|first| Reverse((first, index, start, end))));
        }
        let mut count = 0;
        while let Some(Reverse((_, index, at, end))) = heads.pop() {
            let file = &files[index];
            let entry = LineHead::read(file, at)?;
            let mut line = vec![0; entry.length as usize];
            file.read_exact_at(&mut line, at + ENTRY as u64)?;
            visit(ListedRecord { expected: entry.expected, line })?;
            count += 1;
            let next = entry.end(at);
            if next < end {
                heads.push(Reverse((LineHead::read(file, next)?.number, index, next, end)));
            }
        }
        Ok(count)
    }
}

/// What stands before a line.
struct LineHead {
    number: u64,
    expected: u32,
    length: u32,
}

impl LineHead {
    fn read(file: &File, at: u64) -> io::Result<LineHead> {
        let mut bytes = [0; ENTRY];
        file.read_exact_at(&mut bytes, at)?;
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = bytes;
        Ok(LineHead {
            number: u64::from_le_bytes([a, b, c, d, e, f, g, h]),
            expected: u32::from_le_bytes([i, j, k, l]),
            length: u32::from_le_bytes([m, n, o, p]),
        })
    }

    fn end(&self, at: u64) -> u64 {
        at + ENTRY as u64 + u64::from(self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_helpers_listed_in_runs_comes_in_the_sources_order() {
        let folder = tempfile::tempdir().unwrap();
        let list = MissingList::new(folder.path());
        let write = |helper: usize, numbers: &[u64]| {
            let mut out = list.open(helper).unwrap();
            for &number in numbers {
                let (expected, line) = (u32::from(number > 50), format!("record {number}"));
                MissingList::add(&MissingRecord { expected, number, value: line.as_bytes() }, &mut out).unwrap();
            }
            out.flush().unwrap();
        };
        let read = || {
            let mut found = Vec::new();
            let count = list.read(&mut |record| {
                found.push((record.expected, String::from_utf8(record.line).unwrap()));
                Ok(())
            });
            assert_eq!(count.unwrap(), found.len() as u64);
            found
        };
        assert_eq!(read(), []);
        write(0, &[5, 9, 70, 2, 3, 60, 1]);
        write(1, &[]);
        write(2, &[4, 80, 8]);
        let numbers = [1, 2, 3, 4, 5, 8, 9, 60, 70, 80];
        let wanted: Vec<_> = numbers.iter().map(|n| (u32::from(*n > 50), format!("record {n}"))).collect();
        assert_eq!(read(), wanted);
        // A shorter list takes the place of a longer one; a torn one is an error.
        write(0, &[7]);
        assert_eq!(read().len(), 4);
        std::fs::write(folder.path().join("missing-1"), [1; 20]).unwrap();
        assert_eq!(list.read(&mut |_| Ok(())).unwrap_err().exit, Exit::State);
    }
}
