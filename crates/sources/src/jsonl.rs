//! JSON lines in files: plain, gzip or zstd.
//!
//! Responsible for: reading a shard's lines from any position that a line of it ends at. Not responsible for what a
//! line means: nothing here parses JSON, but to warn of a last line that was cut off.
//!
//! A line ends with `\n`; one `\r` before it belongs to the end. The last line of a file may lack its end, and then
//! keeps a `\r`. A byte order mark is skipped at byte 0 of a file (of the decompressed stream), nowhere else. Files are
//! read, never mapped: a file that shrinks is an error, not a signal.

mod open;
#[cfg(test)]
pub(crate) mod tests;

use std::path::Path;

use migration::job::{JsonlSource, WindowLimit};
use migration::printable::printable_path;
use migration::{Cut, Plan, Position, Segment, ShardId, SourceObject, Token};
use pipeline::mapping::not_whole;
use pipeline::source::{Beginning, Changes, PlanRules, Probes, Sent};
use pipeline::{Reader, Source, SourceError};

use crate::files::{self, Expects, Format};

/// Files of JSON lines.
#[derive(Clone, Debug)]
pub struct JsonlFiles {
    source: JsonlSource,
    windows: WindowLimit,
}

impl JsonlFiles {
    /// The files that a job names. `windows` is what a compressed file may need of memory.
    pub fn new(source: JsonlSource, windows: WindowLimit) -> JsonlFiles {
        JsonlFiles { source, windows }
    }
}

impl Source for JsonlFiles {
    fn plan(&self, rules: &PlanRules<'_>) -> Result<Plan, SourceError> {
        files::plan(self, &self.source.files, rules)
    }

    fn check(&self, plan: &Plan) -> Result<(), SourceError> {
        files::check_windows(plan, self.windows)
    }

    fn open(&self, plan: &Plan, shard: ShardId, from: &Position, _: Option<&Token>) -> Result<Box<dyn Reader>, SourceError> {
        open::open(plan, shard, *from, self.windows)
    }

    fn changes(&self, plan: &Plan) -> Result<Changes, SourceError> {
        files::changes(plan, &self.source.files)
    }

    fn cuts(&self, plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
        files::cuts(plan, shard, from, pieces)
    }

    fn probes(&self, plan: &Plan, object: u32) -> Result<Probes, SourceError> {
        files::probes(self, plan, object)
    }

    fn replaced(
        &self,
        plan: &Plan,
        sent: &dyn Fn(u32) -> Result<Sent, String>,
    ) -> Result<Vec<(u32, SourceObject)>, SourceError> {
        files::replaced(plan, self.windows, sent)
    }

    fn beginning(&self, object: &SourceObject, place: u64) -> Result<Box<dyn Beginning>, SourceError> {
        Ok(Box::new(files::FileBeginning::open(object, place, self.windows)?))
    }
}

impl Format for JsonlFiles {
    fn expects(&self, needs_fields: bool) -> Expects {
        if self.source.raw { Expects::Anything } else { Expects::Lines { needs_fields } }
    }

    fn windows(&self) -> WindowLimit {
        self.windows
    }

    fn cut_off(&self, path: &Path, line: &[u8]) -> Option<String> {
        cut_off(path, line)
    }

    fn reader(&self, segments: Vec<(SourceObject, Segment)>, from: Position) -> Result<Box<dyn Reader>, SourceError> {
        open::reader(segments, from, self.source.files.max_line, self.windows)
    }
}

/// What to tell of the last line of a file when it has no line end: an object or array that is not whole was probably
/// cut off.
fn cut_off(path: &Path, line: &[u8]) -> Option<String> {
    let open = line.trim_ascii_start().first().is_some_and(|first| matches!(first, b'{' | b'['));
    let (what, at) = open.then(|| not_whole(line)).flatten()?;
    Some(format!(
        "{}: its last line has no line end and is not whole ({what} at byte {at} of the line): was the file cut off? \
         record.validate = \"whole\" sets such records aside",
        printable_path(path)
    ))
}
