//! A sample of a source before its first record is sent: a few rows of many files, mapped as a run maps them.
//!
//! Responsible for: which files and rows are looked at, and what of them is counted. Not responsible for what follows
//! from it: `migration::check` and `migration::advice` judge it.
//!
//! It takes little time, whatever the source holds: it stops after the time that it is given, and then says how many
//! files it saw. They come in an order that spreads over the source, so that a part of them is a sample, too.

mod fields;
mod files;
mod pace;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::{Duration, Instant};

use migration::Plan;
use migration::check::facts::{SampledPlace, SampledRecord, SourceSample};
use migration::job::RecordRules;

use crate::fate::{self, Look, Takes};
use crate::mapping::{FieldLook, Mapped, Mapping, not_whole};
use crate::reason;
use crate::{BlockPool, Next, Reader, Row, Rows, Source, SourceError};

use fields::FieldTally;
use files::{UnpackedShare, WantedFile};
use pace::ReadingPace;

/// How many files are looked at.
const FILES: usize = 100;
/// About how many rows.
const ROWS: usize = 3000;
/// At least and at most this number of one place of a file.
const ROWS_OF_PLACE: (usize, usize) = (10, 1000);
/// Places of a file that can be entered anywhere.
const PLACES: usize = 3;
/// What reading may hold: blocks are small, because little of each is used.
const POOL_BYTES: usize = 1 << 20;
/// How many rows the fields of objects are taken from.
const ROWS_FOR_FIELDS: usize = 300;
/// How many of the first records are kept, and how much of their values.
const FIRST: usize = 3;
const VALUE_KEPT: usize = 4 << 10;
/// What is kept of keys, and how many texts of times and how much of each.
const KEY_KEPT: usize = 256;
/// The longest wait for a source before it is asked again.
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Looks at a few rows of the plan's files, for no longer than `within` and one more block. A file that can't be read
/// is told in the sample, unless there is nothing else.
pub fn sample(source: &dyn Source, plan: &Plan, rules: &RecordRules, within: Duration) -> Result<SourceSample, SourceError> {
    let deadline = Instant::now() + within;
    let wanted = files::wanted(plan, FILES);
    let places: usize = wanted.iter().map(|one| if plan.objects[one.object].splittable { PLACES } else { 1 }).sum();
    let mut sampler = RowSampler::new(rules, places.max(1), deadline);
    let mut unpacked = UnpackedShare::default();
    let mut first_error = None;
    for one in &wanted {
        if Instant::now() >= deadline {
            break;
        }
        match sampler.file(source, plan, one) {
            Ok(ratio) => unpacked.add(&plan.objects[one.object], ratio),
            Err(error) => {
                sampler.sample.unreadable.push(error.to_string());
                first_error.get_or_insert(error);
            }
        }
        sampler.sample.files_sampled += 1;
    }
    match first_error {
        Some(error) if sampler.sample.rows == 0 => Err(error),
        _ => Ok(SourceSample { files: plan.objects.len() as u64, unpacked_bytes: unpacked.of_plan(plan), ..sampler.finish() }),
    }
}

struct RowSampler<'a> {
    rules: &'a RecordRules,
    mapping: Mapping,
    look: FieldLook,
    takes: Takes,
    headers_bytes: u64,
    pool: BlockPool,
    rows: Rows,
    rows_of_place: usize,
    rows_for_fields: usize,
    deadline: Instant,
    sample: SourceSample,
    /// Where each kind of reason stands in the sample's list.
    reasons: HashMap<String, usize>,
    keys: HashMap<Vec<u8>, u64>,
    fields: FieldTally,
    pace: ReadingPace,
}

impl<'a> RowSampler<'a> {
    fn new(rules: &'a RecordRules, places: usize, deadline: Instant) -> Self {
        RowSampler {
            rules,
            mapping: Mapping::new(rules),
            look: FieldLook::new(rules),
            takes: Takes::anything(),
            headers_bytes: rules.headers.iter().map(|(name, value)| (name.len() + value.len()) as u64).sum(),
            pool: BlockPool::new(POOL_BYTES),
            rows: Rows::default(),
            rows_of_place: (ROWS / places).clamp(ROWS_OF_PLACE.0, ROWS_OF_PLACE.1),
            rows_for_fields: ROWS_FOR_FIELDS.div_ceil(places),
            deadline,
            sample: SourceSample::default(),
            reasons: HashMap::new(),
            keys: HashMap::new(),
            fields: FieldTally::default(),
            pace: ReadingPace::default(),
        }
    }

    /// Looks at the rows of one file, of those that the plan has. Gives bytes for each stored byte.
    fn file(&mut self, source: &dyn Source, plan: &Plan, wanted: &WantedFile) -> Result<f64, SourceError> {
        let object = &plan.objects[wanted.object];
        let path = object.path.to_string_lossy();
        let mut probes = source.probes(plan, wanted.object as u32)?;
        // Behind the last row that was looked at: the places of a small file overlap.
        let mut reached = 0;
        for reader in &mut probes.readers {
            self.place(reader.as_mut(), wanted, &path, &mut reached)?;
        }
        Ok(probes.unpacked)
    }

    fn place(
        &mut self,
        reader: &mut dyn Reader,
        wanted: &WantedFile,
        path: &str,
        reached: &mut u64,
    ) -> Result<(), SourceError> {
        let mut rows = std::mem::take(&mut self.rows);
        let (mut taken, mut spent) = (0, Duration::ZERO);
        'blocks: while Instant::now() < self.deadline {
            let begun = Instant::now();
            let next = reader.next(&mut self.pool, &mut rows)?;
            spent += begun.elapsed();
            match next {
                Next::End => break,
                Next::Later { until } => {
                    let until = until.min(self.deadline);
                    std::thread::sleep(until.saturating_duration_since(Instant::now()).min(LONGEST_WAIT));
                    continue;
                }
                Next::Rows => {}
            }
            let Some(block) = rows.block.clone() else { continue };
            spent += self.time_to_map(&rows);
            self.pace.add(rows.rows.len(), spent);
            spent = Duration::ZERO;
            for (index, look) in rows.looks().filter(|(_, look)| *look != Look::Blank) {
                let row = &rows.rows[index];
                let start = block.place_of(index, row).start;
                if wanted.is_behind(start) {
                    break 'blocks;
                }
                if start < *reached || !wanted.has(start) {
                    continue;
                }
                self.add(row, look, || SampledPlace { path: path.to_owned(), start }, taken < self.rows_for_fields);
                (*reached, taken) = (start + 1, taken + 1);
                if taken == self.rows_of_place || Instant::now() >= self.deadline {
                    break 'blocks;
                }
            }
        }
        rows.clear();
        self.rows = rows;
        Ok(())
    }

    /// How long it takes to make records of these rows, apart from what a sample adds.
    fn time_to_map(&mut self, rows: &Rows) -> Duration {
        let begun = Instant::now();
        for (_, look) in rows.looks() {
            if let Look::Record(value) = look {
                black_box(fate::record(&mut self.mapping, &self.takes, value).is_ok());
            }
        }
        begun.elapsed()
    }

    fn add(&mut self, row: &Row, look: Look<'_>, place: impl Fn() -> SampledPlace, fields: bool) {
        self.sample.rows += 1;
        self.sample.row_bytes += row.counts;
        let value = match look {
            Look::Blank => return,
            Look::Bad(reason) => return self.set_aside(reason.to_owned(), place),
            Look::Record(value) => value,
        };
        self.add_fields(value, fields);
        let mapped = fate::record(&mut self.mapping, &self.takes, value);
        let Mapped { key, timestamp } = match mapped {
            Ok(mapped) => mapped,
            Err(reason) => return self.set_aside(reason, place),
        };
        let key = key.bytes(value);
        let bytes = (key.map_or(0, <[u8]>::len) + value.len()) as u64 + self.headers_bytes;
        let sample = &mut self.sample;
        sample.records += 1;
        sample.record_bytes += bytes;
        if sample.largest.as_ref().is_none_or(|(largest, _)| bytes > *largest) {
            sample.largest = Some((bytes, place()));
        }
        sample.times_ms.extend(timestamp);
        if sample.first.len() < FIRST {
            sample.first.push(SampledRecord {
                place: place(),
                key: key.map(<[u8]>::to_vec),
                time_ms: timestamp,
                value: value[..value.len().min(VALUE_KEPT)].to_vec(),
                value_bytes: value.len() as u64,
                headers: self.rules.headers.clone(),
            });
        }
        if let Some(key) = key.map(|key| &key[..key.len().min(KEY_KEPT)]) {
            match self.keys.get_mut(key) {
                Some(records) => *records += 1,
                None => drop(self.keys.insert(key.to_vec(), 1)),
            }
        }
    }

    fn add_fields(&mut self, value: &[u8], all: bool) {
        let is_object = value.trim_ascii_start().starts_with(b"{") && not_whole(value).is_none();
        self.sample.objects += u64::from(is_object);
        if is_object && all {
            self.fields.add(value);
        }
        let Some(seen) = self.look.look(value) else { return };
        self.sample.looked += 1;
        self.sample.without_key += u64::from(seen.without_key);
        self.sample.without_time += u64::from(seen.without_time);
    }

    fn set_aside(&mut self, reason: String, place: impl Fn() -> SampledPlace) {
        let list = &mut self.sample.set_aside;
        let at = *self.reasons.entry(reason::kind(&reason).into_owned()).or_insert(list.len());
        match list.get_mut(at) {
            Some((_, rows, _)) => *rows += 1,
            None => list.push((reason, 1, place())),
        }
    }

    fn finish(self) -> SourceSample {
        let mut sample = self.sample;
        sample.set_aside.sort_by_key(|(_, rows, _)| std::cmp::Reverse(*rows));
        sample.keys = self.keys.into_iter().collect();
        sample.keys.sort_by(|(a, of_a), (b, of_b)| of_b.cmp(of_a).then_with(|| a.cmp(b)));
        sample.fields = self.fields.most_frequent_first();
        sample.speed = self.pace.speed();
        sample
    }
}

/// The first fields of an object, as paths; none of what is no object.
pub(crate) fn fields_of(object: &[u8], most: usize) -> Vec<String> {
    let mut fields = FieldTally::default();
    fields.add(object);
    fields.most_frequent_first().into_iter().take(most).map(|(path, _)| path).collect()
}

#[cfg(test)]
mod tests;
