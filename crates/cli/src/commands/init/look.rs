//! The look at the data: a plan of all files, and records of some of them.
//!
//! Responsible for which files and places are read. Not responsible for what a file may be: planning says that.

use std::path::Path;
use std::time::{Duration, Instant};

use migration::job::{CsvFormat, CsvHeader, CsvSource, FileRules, JsonlSource, ShardRules, SourceRules, WindowLimit};
use migration::printable::printable_path;
use migration::sample::{RecordSample, SampledFile};
use migration::{Exit, Plan, UserError};
use pipeline::fate::Look;
use pipeline::source::{PlanRules, wait_for_rows};
use pipeline::{BlockPool, Reader, Rows, Source, SourceError};
use serde_json::Value;

use super::walk::{Walk, kind};

/// About how many records are looked at.
const RECORDS: u64 = 1000;
/// How many files: the first, the last, and others between them.
const FILES: usize = 20;
/// How long.
const WITHIN: Duration = Duration::from_secs(10);
/// What may stand between two fields of CSV.
const DELIMITERS: &[u8] = b",;\t|";
/// As the config's default.
const MAX_LINE: u64 = 4 << 20;

/// What was seen of the data.
pub struct Looked {
    pub plan: Plan,
    pub sample: RecordSample,
    /// What stands between two fields, if the files are CSV.
    pub delimiter: Option<char>,
}

/// Looks at the files of some patterns. They are CSV if all patterns are named so. `needs_fields`: whether lines that
/// are not JSON are of no use.
pub fn look(patterns: &[String], needs_fields: bool) -> Result<Looked, UserError> {
    let files = FileRules { paths: patterns.to_vec(), max_line: MAX_LINE };
    if !patterns.iter().all(|pattern| is_csv(pattern)) {
        return read_as(SourceRules::Jsonl(JsonlSource { raw: false, files }), None, needs_fields);
    }
    let csv = |delimiter: u8| {
        let format = CsvFormat {
            delimiter,
            quote: b'"',
            header: CsvHeader::FirstRow,
            multiline: true,
            null: String::new(),
            types: Default::default(),
        };
        read_as(SourceRules::Csv(CsvSource { files: files.clone(), format }), Some(char::from(delimiter)), needs_fields)
    };
    // The delimiter is the one that parts most columns, of those by which most rows have as many fields as there are
    // columns.
    let columns =
        |looked: &Looked| if looked.sample.invalid * 2 > looked.sample.records { 0 } else { looked.sample.fields.len() };
    let mut best = csv(DELIMITERS[0]);
    for delimiter in &DELIMITERS[1..] {
        let other = csv(*delimiter);
        if best.as_ref().map_or(0, columns) < other.as_ref().map_or(0, columns) {
            best = other;
        }
    }
    best
}

/// Whether a pattern names files of CSV, compressed or not.
fn is_csv(pattern: &str) -> bool {
    let name = pattern.to_lowercase();
    let name = [".gz", ".zst"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(&name).to_owned();
    [".csv", ".tsv", ".csv*", ".tsv*"].iter().any(|end| name.ends_with(end))
}

fn read_as(rules: SourceRules, delimiter: Option<char>, needs_fields: bool) -> Result<Looked, UserError> {
    let wrong = |error: SourceError| UserError::new(Exit::Source, error);
    let source = sources::source_of(&rules, WindowLimit::default());
    // One shard of everything: to cut files is not needed to look at them.
    let shards = ShardRules::uncut();
    let rules = PlanRules { needs_fields, ..PlanRules::of_one_worker(&shards) };
    let mut plan = source.plan(&rules).map_err(wrong)?;
    let sample = sample(source.as_ref(), &mut plan).map_err(wrong)?;
    Ok(Looked { plan, sample, delimiter })
}

/// Looks at records of some files. A file that can't be read is told with the plan's notes, unless there is nothing
/// else.
fn sample(source: &dyn Source, plan: &mut Plan) -> Result<RecordSample, SourceError> {
    let wanted = spread(plan.objects.len(), FILES);
    let mut reading = SampleReading {
        sample: RecordSample::default(),
        walk: Walk::new(),
        pool: BlockPool::new(4 << 20),
        deadline: Instant::now() + WITHIN,
        of_place: 0,
    };
    let mut unreadable = Vec::new();
    for (done, &object) in wanted.iter().enumerate() {
        let left = RECORDS.saturating_sub(reading.sample.records).div_ceil((wanted.len() - done) as u64);
        if let Err(error) = reading.file(source, plan, object, left) {
            unreadable.push(error);
        }
    }
    let sample = reading.sample;
    match unreadable.first() {
        Some(error) if sample.records == 0 => Err(error.clone()),
        _ => {
            plan.notes.extend(unreadable.into_iter().map(|error| error.0));
            Ok(sample)
        }
    }
}

/// Up to `most` of the numbers below `count`, the first and the last among them, in their order.
fn spread(count: usize, most: usize) -> Vec<usize> {
    let taken = count.min(most);
    (0..taken).map(|index| if taken > 1 { index * (count - 1) / (taken - 1) } else { 0 }).collect()
}

struct SampleReading {
    sample: RecordSample,
    walk: Walk,
    pool: BlockPool,
    deadline: Instant,
    /// How many records of a place are still to be looked at.
    of_place: u64,
}

impl SampleReading {
    /// Looks at some records of a file, at its start and, where it can be entered there, in its middle and near its
    /// end.
    fn file(&mut self, source: &dyn Source, plan: &Plan, object: usize, wished: u64) -> Result<(), SourceError> {
        let path = &plan.objects[object].path;
        let (records, invalid) = (self.sample.records, self.sample.invalid);
        let mut probes = source.probes(plan, object as u32)?;
        let places = probes.readers.len() as u64;
        let mut reached = 0;
        let mut result = Ok(());
        for (place, reader) in (0..).zip(&mut probes.readers) {
            let left = wished.saturating_sub(self.sample.records - records);
            self.of_place = left.div_ceil(places - place);
            result = self.place(reader.as_mut(), path, &mut reached);
            if result.is_err() {
                break;
            }
        }
        let (records, invalid) = (self.sample.records - records, self.sample.invalid - invalid);
        self.sample.files.push(SampledFile { path: path.clone(), records, invalid });
        result
    }

    /// Looks at records from one place on, behind what was looked at before: the places of a small file overlap.
    fn place(&mut self, reader: &mut dyn Reader, path: &Path, reached: &mut u64) -> Result<(), SourceError> {
        let mut rows = Rows::default();
        while self.of_place > 0 && Instant::now() < self.deadline && wait_for_rows(reader, &mut self.pool, &mut rows)? {
            let Some(block) = rows.block.clone() else { continue };
            for (index, look) in rows.looks() {
                let start = block.place_of(index, &rows.rows[index]).start;
                if start < *reached || look == Look::Blank {
                    continue;
                }
                if self.of_place == 0 {
                    return Ok(());
                }
                self.add(look, path, start);
                self.of_place -= 1;
                *reached = start + 1;
            }
        }
        Ok(())
    }

    /// Adds a row to what was seen: `run` sends it, or sets it aside.
    fn add(&mut self, look: Look<'_>, path: &Path, start: u64) {
        let parsed = match look {
            Look::Blank => return,
            Look::Bad(reason) => Err(reason.to_owned()),
            Look::Record(text) => serde_json::from_slice(text).map_err(|_| "it is not JSON".to_owned()),
        };
        let what = match parsed {
            Ok(Value::Object(record)) => return self.sample.add(self.walk.values(&record)),
            Ok(value) => format!("it is {}", with_article(kind(&value))),
            Err(what) => what,
        };
        self.sample.add_invalid(|| format!("{} byte {start}: {what}", printable_path(path)));
    }
}

fn with_article(kind: &str) -> String {
    match kind {
        "null" => kind.to_owned(),
        "array" => "an array".to_owned(),
        other => format!("a {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_csv() {
        for name in ["a.csv", "data/*.CSV", "x.tsv.gz", "x.csv.zst", "data/*.csv*"] {
            assert!(is_csv(name), "{name}");
        }
        for name in ["a.jsonl", "csv", "a.csv/*.jsonl", "a.csv.bak"] {
            assert!(!is_csv(name), "{name}");
        }
    }

    #[test]
    fn files_are_spread_over_all() {
        assert_eq!(spread(0, 20), [0; 0]);
        assert_eq!(spread(1, 20), [0]);
        assert_eq!(spread(3, 20), [0, 1, 2]);
        let some = spread(43, 20);
        assert_eq!((some.len(), some[0], some[19]), (20, 0, 42));
        assert!(some.windows(2).all(|two| two[1] > two[0] && two[1] - two[0] <= 3), "{some:?}");
    }
}
