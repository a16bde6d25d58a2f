//! Files made for a test, read through the public functions and compared with a naive reading of the same bytes.

mod changes;
mod first_look;
mod planning;
mod reading;

use std::io::Write;
use std::path::{Path, PathBuf};

use migration::job::{FileRules, FlushPolicy, JsonlSource, ShardOrder, ShardRules, WindowLimit};
use migration::{Cut, Plan, Position, ShardId};
use pipeline::fate::Look;
use pipeline::source::{Changes, PlanRules, wait_for_rows};
use pipeline::{BlockPool, Next, Reader, Rows, Source, SourceError};
use tempfile::TempDir;

use super::JsonlFiles;

const MAX_LINE: u64 = 4 << 20;

/// A folder that goes when the test ends.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new() -> Folder {
        // Plans hold the paths that links lead to, so that none may be in the temporary folder's own.
        Folder(tempfile::tempdir_in(std::env::temp_dir().canonicalize().unwrap()).unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    pub(crate) fn source(&self, patterns: &[&str]) -> FileRules {
        let paths = patterns.iter().map(|p| self.path().join(p).to_str().unwrap().to_owned()).collect();
        FileRules { paths, max_line: MAX_LINE }
    }
}

fn by_size(target_size: u64) -> ShardRules {
    ShardRules { target_size: Some(target_size), order: ShardOrder::Source, by_key: Some(false) }
}

/// Whatever the files look like: what they may be is tested beside [`crate::files::Expects`].
fn source(files: &FileRules) -> JsonlFiles {
    JsonlFiles::new(JsonlSource { raw: true, files: files.clone() }, WindowLimit::default())
}

fn plan(
    files: &FileRules,
    shards: &ShardRules,
    flush: FlushPolicy,
    workers: u32,
    record_limit: Option<u64>,
) -> Result<Plan, SourceError> {
    source(files).plan(&PlanRules { flush, workers, most_workers: workers, record_limit, ..PlanRules::of_one_worker(shards) })
}

/// A plan of the files beside those of another.
fn beside(plan: &Plan, files: &FileRules) -> Plan {
    let shards = by_size(100_000);
    let rules = PlanRules { beside: Some(plan), ..PlanRules::of_one_worker(&shards) };
    source(files).plan(&rules).unwrap()
}

fn changes(plan: &Plan, files: &FileRules) -> Result<Changes, SourceError> {
    source(files).changes(plan)
}

/// Any change is an error that names the files.
fn unchanged(plan: &Plan, files: &FileRules) -> Result<(), SourceError> {
    let changes = changes(plan, files)?;
    if changes.is_empty() { Ok(()) } else { Err(changes.error(false)) }
}

fn cuts(plan: &Plan, shard: ShardId, from: &Position, pieces: u32) -> Result<Vec<Cut>, SourceError> {
    source(&FileRules { paths: Vec::new(), max_line: plan.max_line }).cuts(plan, shard, from, pieces)
}

fn planned(source: &FileRules, target: u64, limit: Option<u64>) -> Plan {
    plan(source, &by_size(target), FlushPolicy::Chunk, 1, limit).unwrap()
}

/// A line as it was read: what the block holds, its whole length, and where a position stands after it.
#[derive(Clone, Debug, PartialEq)]
struct Read {
    kept: Vec<u8>,
    whole: u64,
    after: Position,
}

/// Reads a shard from a position to its end, with as little memory as a pool allows.
fn read(plan: &Plan, shard: ShardId, from: Position, max_line: u64) -> Result<Vec<Read>, SourceError> {
    let mut reader = open_with(plan, shard, from, max_line)?;
    let lines = drain(reader.as_mut(), from)?;
    reader.unchanged()?;
    Ok(lines)
}

/// Opens a shard of a plan with another `max_line`.
fn open_with(plan: &Plan, shard: ShardId, from: Position, max_line: u64) -> Result<Box<dyn Reader>, SourceError> {
    super::open::open(&Plan { max_line, ..plan.clone() }, shard, from, WindowLimit::default())
}

/// Opens a shard as it was planned.
fn open(plan: &Plan, shard: ShardId, from: Position) -> Result<Box<dyn Reader>, SourceError> {
    super::open::open(plan, shard, from, WindowLimit::default())
}

fn drain(reader: &mut dyn Reader, from: Position) -> Result<Vec<Read>, SourceError> {
    let mut pool = BlockPool::new(0);
    let (mut lines, mut all, mut after) = (Rows::default(), Vec::new(), from);
    while wait_for_rows(reader, &mut pool, &mut lines)? {
        let Some(block) = &lines.block else { continue };
        assert!(!lines.rows.is_empty());
        let mut before = (block.segment, block.place);
        for (index, line) in lines.rows.iter().enumerate() {
            let segment = block.segment_of(index);
            // A segment that follows in the block begins at its start, or its object's.
            let begin = if segment == before.0 { before.1 } else { line.after - line.counts };
            assert_eq!(line.counts, line.after - begin);
            before = (segment, line.after);
            after = Position { segment, place: line.after, records: after.records + 1 };
            let kept = block.bytes[line.start as usize..][..line.len as usize].to_vec();
            assert_eq!(matches!(lines.look(block, index), Look::Bad(_)), kept.len() as u64 != line.whole);
            all.push(Read { kept, whole: line.whole, after });
        }
    }
    assert!(!wait_for_rows(reader, &mut pool, &mut lines)?, "the end stays the end");
    Ok(all)
}

/// All shards one after another.
fn read_all(plan: &Plan, max_line: u64) -> Result<Vec<Read>, SourceError> {
    let mut all = Vec::new();
    for shard in &plan.shards {
        all.extend(read(plan, shard.id, shard.start, max_line)?);
    }
    Ok(all)
}

/// What the rules make of a file's bytes: (kept bytes, whole length, place after the line).
fn naive(bytes: &[u8], max_line: u64) -> Vec<(Vec<u8>, u64, u64)> {
    let mut at = if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    let mut lines = Vec::new();
    while at < bytes.len() {
        let rest = &bytes[at..];
        let (mut line, next) = match rest.iter().position(|&b| b == b'\n') {
            Some(end) => (rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]), at + end + 1),
            None => (rest, bytes.len()),
        };
        let whole = line.len() as u64;
        if whole > max_line {
            line = &line[..(64 << 10).min(max_line as usize)];
        }
        lines.push((line.to_vec(), whole, next as u64));
        at = next;
    }
    lines
}

fn strip(lines: &[Read]) -> Vec<(Vec<u8>, u64, u64)> {
    lines.iter().map(|line| (line.kept.clone(), line.whole, line.after.place)).collect()
}

fn kept(lines: &[Read]) -> Vec<Vec<u8>> {
    lines.iter().map(|line| line.kept.clone()).collect()
}

/// One gzip member for each piece.
pub(crate) fn gzip<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut packed = Vec::new();
    for piece in pieces {
        let mut encoder = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
        encoder.write_all(piece).unwrap();
        encoder.finish().unwrap();
    }
    packed
}

/// One zstd frame for each piece.
pub(crate) fn zstd<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    pieces.into_iter().flat_map(|piece| ::zstd::encode_all(piece, 1).unwrap()).collect()
}

fn said(result: Result<impl Sized, SourceError>, path: &Path, words: &str) {
    let text = result.err().expect("an error").0;
    assert!(text.contains(path.to_str().unwrap()) && text.contains(words), "`{text}` does not say `{words}`");
}
