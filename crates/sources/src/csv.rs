//! CSV in files, plain or in gzip or zstd: each row becomes a JSON object by the names in the header.
//!
//! Responsible for: where a row ends, what its fields are, and the object that it becomes; from any position that a row
//! of a file ends at. Not responsible for: what becomes of that object.
//!
//! The rules are those of RFC 4180 and, where that is silent, of the `csv` crate, whose reading judges ours in the
//! tests:
//!
//! - `\n`, `\r\n` and a `\r` alone end a row. The last row of a file may lack its end. A row without any byte is blank.
//! - A quote opens a quoted field only where the field begins; anywhere else it is a byte like others. In a quoted
//!   field a quote stands twice for itself; what stands once closes it. Quoted fields may hold delimiters and line
//!   ends; with `multiline = false` every line end ends a row.
//! - What `csv` mends without a word is a bad row here: text behind a closing quote, a quote that is never closed, a
//!   number of fields that is not the header's, bytes that are not UTF-8.
//!
//! Why the fields are not found by `csv-core`: it does not say whether a field had quotes (an empty one is `null`, an
//! empty one in quotes is not), where a row ends in the file, or that it mended something; and it copies each field
//! once more.

mod dialect;
mod fields;
mod head;
mod header;
mod reader;
mod row;
mod row_ends;
mod row_starts;
#[cfg(test)]
mod tests;
mod text;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::{Duration, Instant};

use migration::job::{CsvFormat, CsvHeader, CsvSource, FileRules, ShardRules, WindowLimit};
use migration::printable::printable_path;
use migration::units::show_size;
use migration::{Compression, Cut, Plan, Position, Segment, ShardId, SourceObject, Token};
use pipeline::source::{Beginning, Changes, PlanRules, Probes, Sent};
use pipeline::{Reader, Source, SourceError};

use crate::files::{self, Expects, Format, unreadable};
use dialect::Dialect;
use fields::{Field, Fields, Misquoted};
use head::{BOM, Head};
use header::Header;
use reader::RowReader;
use row::RowMaker;
use row_ends::RowEnds;
use row_starts::row_starts;

/// What a row may end with.
const LINE_ENDS: &[u8] = b"\r\n";

/// How far apart the starts of rows are that a plan keeps, at most and at least, and how many each shard has.
const STARTS_APART: (u64, u64) = (16 << 10, 16 << 20);
const STARTS_PER_SHARD: u64 = 16;

/// How often a long pass says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(10);

/// Files of CSV.
#[derive(Clone, Debug)]
pub struct CsvFiles {
    files: FileRules,
    format: CsvFormat,
    windows: WindowLimit,
}

impl CsvFiles {
    /// The files that a job names. `windows` is what a compressed file may need of memory.
    pub fn new(source: CsvSource, windows: WindowLimit) -> CsvFiles {
        CsvFiles { files: source.files, format: source.format, windows }
    }

    fn dialect(&self) -> Dialect {
        Dialect::from(&self.format)
    }
}

impl Source for CsvFiles {
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
        files::plan(self, &self.files, rules)
    }

    fn check(&self, plan: &Plan) -> Result<(), SourceError> {
        files::check_windows(plan, self.windows)
    }

    fn open(&self, plan: &Plan, shard: ShardId, from: &Position, _: Option<&Token>) -> Result<Box<dyn Reader>, SourceError> {
        let mut source = self.clone();
        source.files.max_line = plan.max_line;
        source.reader(files::segments_of(plan, shard)?, *from)
    }

    fn changes(&self, plan: &Plan) -> Result<Changes, SourceError> {
        files::changes(plan, &self.files)
    }

    fn cuts(&self, plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
        files::cuts(plan, shard, from, pieces)
    }

    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
        files::probes(self, plan, object)
    }

    /// Where rows start in the others is not known without a pass over them: they are not cut.
    fn replaced(
        &self,
        plan: &Plan,
        sent: &dyn Fn(u32) -> Result<Sent, String>,
    ) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        let mut found = files::replaced(plan, self.windows, sent)?;
        found.iter_mut().for_each(|(_, object)| object.splittable &= !self.format.multiline);
        Ok(found)
    }

    fn beginning(&self, object: &SourceObject, place: u64) -> Result<Box<dyn Beginning>, SourceError> {
        Ok(Box::new(files::FileBeginning::open(object, place, self.windows)?))
    }
}

impl Format for CsvFiles {
    fn expects(&self, _: bool) -> Expects {
        Expects::Csv { names_inside: self.format.header == CsvHeader::FirstRow }
    }

    fn windows(&self) -> WindowLimit {
        self.windows
    }

    fn begins(&self, object: &SourceObject) -> Result<bool, SourceError> {
        let head = Head::of(object, self)?;
        Ok(object.compression != Compression::None || head.end < object.known_bytes())
    }

    fn reader(&self, segments: Vec<(SourceObject, Segment)>, from: Position) -> Result<Box<dyn Reader>, SourceError> {
        let reader = RowReader::new(self.clone(), segments, from)?;
        let left = reader.left();
        Ok(files::gathered(Box::new(reader), left))
    }

    /// One pass over the file, unless each line end ends a row or nothing is to be cut.
    fn find_starts(&self, object: &mut SourceObject, bytes: u64, target: u64) -> Result<Option<String>, SourceError> {
        if !self.format.multiline {
            return Ok(None);
        }
        if target == ShardRules::UNCUT {
            // Starts of rows serve cuts alone.
            object.splittable = false;
            return Ok(None);
        }
        let (least, most) = STARTS_APART;
        let apart = (target / STARTS_PER_SHARD).clamp(least, most).min(target).max(1);
        let rows_begin = Head::of(object, self)?.end;
        let cant_read = |error| unreadable(&object.path, error);
        let mut file = File::open(&object.path).map_err(cant_read)?;
        let mut mark = [0; BOM.len()];
        let marked = bytes >= mark.len() as u64 && file.read_exact(&mut mark).is_ok() && mark == *BOM;
        let from = if marked { mark.len() as u64 } else { 0 };
        file.seek(SeekFrom::Start(from)).map_err(cant_read)?;
        let wished = (1..).map(|number: u64| number.saturating_mul(apart));
        let path = printable_path(&object.path);
        let mut told = Instant::now();
        let tell = |place| {
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                tracing::info!("{path}: looked through {} of {} for the starts of rows", show_size(place), show_size(bytes));
            }
        };
        let found = row_starts(file.take(bytes - from), self.dialect(), from, wished, tell).map_err(cant_read)?;
        object.record_starts = found.starts.into_iter().filter(|start| *start > rows_begin).collect();
        object.splittable = !object.record_starts.is_empty();
        Ok(found.never_closed.map(|row| {
            format!("{path}: a quote in the row that begins at byte {row} is never closed: the rest of the file is that row")
        }))
    }
}

/// A row without its end.
fn without_end(row: &[u8]) -> &[u8] {
    row.strip_suffix(b"\r\n").or(row.strip_suffix(b"\n")).or(row.strip_suffix(b"\r")).unwrap_or(row)
}
