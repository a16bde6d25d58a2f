//! Matches records one by one, slice by slice.
//!
//! For each part of a slice the source's records go into a table; a record of the topic takes one away. What is left is
//! missing, what finds nothing left is a surplus copy, what finds no entry is unexpected. When all parts of a slice are
//! matched, missing and unexpected records of one key and partition (without a key: of one value) are paired. Examples
//! that only this pairing tells apart are named by reading both sides once more, until enough are known. In a compacted
//! topic, what compaction explains is taken from the missing ones before they are paired.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use super::compaction::{self, Newest};
use super::hash::{self, Mixed, RecordHash};
use super::reading::Reading;
use super::slices::{Sizes, Slice};
use super::{
    TopicReader, TopicRecord, Verification, VerifyError, VerifyExample, VerifyKind, VerifyProgress, VerifyReport, topic_example,
};

/// Completes `report`, whose refused lines are counted already. `times`: whether times are compared if the job sets
/// them.
pub(super) fn find(
    job: &Verification<'_>,
    times: bool,
    sizes: &Sizes,
    topic: &mut dyn TopicReader,
    progress: &mut dyn FnMut(VerifyProgress),
    report: &mut VerifyReport,
) -> Result<(), VerifyError> {
    let refused = report.missing;
    let newest = Newest::of(topic);
    let records = if newest.is_some() { job.limits.records / compaction::SMALLER } else { job.limits.records };
    let mut todo = sizes.slices(records);
    let mut search = AlteredSearch {
        details: hash::Hasher::new(job.rules, times).has_details(),
        read: Reading { job, times, topic, progress, slice: 0, slices: 0 },
        table: EntryTable::default(),
        groups: Groups::default(),
        newest,
        found: FoundExamples::default(),
    };
    let mut sum = Tally::default();
    while let Some(slice) = todo.pop() {
        search.read.slice += 1;
        search.read.slices = search.read.slice + todo.len() as u32;
        match search.compare(&slice)? {
            Some(tally) => {
                search.name(&slice, &tally, report)?;
                sum.add(&tally);
            }
            None => {
                search.read.slice -= 1;
                todo.extend(slice.halves().into_iter().flatten());
            }
        }
    }
    let nothing = Tally { topic_records: sum.topic_records, misplaced: sum.misplaced, ..Tally::default() };
    if sum.topic_records != report.topic_records || sum == nothing {
        let (then, now) = (report.topic_records, sum.topic_records);
        let what = format!("the topic changed while it was compared: {then} records at first, {now} later; verify again");
        return Err(VerifyError::NotNow(what));
    }
    report.missing = refused + sum.missing;
    report.superseded = sum.superseded;
    report.duplicates = sum.duplicates;
    report.altered = sum.altered;
    report.misplaced = sum.misplaced;
    report.unexpected = sum.unexpected;
    Ok(())
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Tally {
    topic_records: u64,
    missing: u64,
    superseded: u64,
    duplicates: u64,
    altered: u64,
    misplaced: u64,
    unexpected: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.topic_records += other.topic_records;
        self.missing += other.missing;
        self.superseded += other.superseded;
        self.duplicates += other.duplicates;
        self.altered += other.altered;
        self.misplaced += other.misplaced;
        self.unexpected += other.unexpected;
    }
}

type EntryTable = HashMap<[u64; 2], EqualRecords, BuildHasherDefault<Mixed>>;
type Groups = HashMap<u64, KeyDifferences, BuildHasherDefault<Mixed>>;

/// Equal records of the source.
struct EqualRecords {
    /// What altered ones are paired by, and what compaction takes older ones of; 0 for none.
    group: u64,
    /// How many the topic has not shown.
    left: u64,
}

/// Differences with one key and partition: how many records of each side; after pairing, how many pairs are not yet
/// named.
#[derive(Default)]
struct KeyDifferences {
    source: u64,
    topic: u64,
}

/// Bytes of an item of either table.
#[cfg(test)]
pub(super) fn entry_bytes() -> (usize, usize) {
    (size_of::<([u64; 2], EqualRecords)>(), size_of::<(u64, KeyDifferences)>())
}

/// Examples of one slice on their way.
#[derive(Default)]
struct FoundExamples {
    duplicates: Vec<VerifyExample>,
    misplaced: Vec<VerifyExample>,
    /// Altered records as the topic has them, with their group; the source's side is added when it is met.
    altered: Vec<(u64, VerifyExample)>,
}

struct AlteredSearch<'a, 'b> {
    read: Reading<'a, 'b>,
    /// Whether more than key and value is compared: else records without a key can't be altered.
    details: bool,
    table: EntryTable,
    groups: Groups,
    /// Of a compacted topic.
    newest: Option<Newest>,
    found: FoundExamples,
}

impl AlteredSearch<'_, '_> {
    /// Counts a slice's differences. `None`: too many keys for the memory, and the slice can be split.
    fn compare(&mut self, slice: &Slice) -> Result<Option<Tally>, VerifyError> {
        self.groups.clear();
        self.newest.iter_mut().for_each(Newest::clear);
        self.found = FoundExamples::default();
        let limit = if slice.halves().is_some() { self.read.job.limits.keys } else { usize::MAX };
        let mut tally = Tally::default();
        for part in 0..slice.parts {
            self.load(slice, part)?;
            if !self.take_away(slice, part, limit, Some(&mut tally))? {
                return Ok(None);
            }
            for entry in self.table.values().filter(|entry| entry.left > 0) {
                tally.missing += entry.left;
                if let Some(newest) = &mut self.newest {
                    newest.miss(entry.group, entry.left);
                    continue;
                }
                // A key's unexpected records are known by now, or may come in another part.
                if slice.parts > 1 && entry.group != 0 {
                    self.groups.entry(entry.group).or_default().source += entry.left;
                } else if let Some(group) = self.groups.get_mut(&entry.group) {
                    group.source += entry.left;
                }
            }
        }
        if self.newest.is_some() && tally.missing > 0 {
            tally.superseded = self.explain(slice)?;
            tally.missing -= tally.superseded;
        }
        for group in self.groups.values_mut() {
            let pairs = group.source.min(group.topic);
            tally.altered += pairs;
            *group = KeyDifferences { source: pairs, topic: pairs };
        }
        tally.missing -= tally.altered;
        tally.unexpected -= tally.altered;
        Ok(Some(tally))
    }

    /// How many of the missing records compaction may have taken; the others are left to be paired.
    fn explain(&mut self, slice: &Slice) -> Result<u64, VerifyError> {
        let AlteredSearch { read, groups, newest: Some(newest), .. } = self else { return Ok(0) };
        let job = read.job;
        // All parts of a slice in one reading: the order of a key's records counts.
        read.source(slice, None, &mut |record| {
            newest.follow(job, record.key, &record.hash, record.order);
            true
        })?;
        Ok(newest.judge(&mut |group, missing| {
            if let Some(group) = groups.get_mut(&group) {
                group.source = missing;
            }
        }))
    }

    /// Puts the source's records of one part into the table.
    fn load(&mut self, slice: &Slice, part: u64) -> Result<(), VerifyError> {
        let AlteredSearch { read, details, table, newest, .. } = self;
        let job = read.job;
        let (partitioner, partitions) = (job.partitioner, job.partitions);
        table.clear();
        read.source(slice, Some(part), &mut |record| {
            table
                .entry(record.hash.halves())
                .or_insert_with(|| {
                    let group = match newest {
                        Some(newest) => newest.expect(job, record.key, &record.hash),
                        None if record.key.is_none() && *details => record.hash.group_without_key(),
                        None => {
                            let partition = record.key.and_then(|key| partitioner(key, partitions));
                            partition.and_then(|p| record.hash.group(p)).unwrap_or(0)
                        }
                    };
                    EqualRecords { group, left: 0 }
                })
                .left += 1;
            true
        })
    }

    /// Takes the topic's records of one part out of the table; counts what is found if asked. False: too many keys.
    fn take_away(
        &mut self,
        slice: &Slice,
        part: u64,
        limit: usize,
        mut tally: Option<&mut Tally>,
    ) -> Result<bool, VerifyError> {
        let AlteredSearch { read, details, table, groups, newest, found } = self;
        let job = read.job;
        read.topic(slice, part, &mut |record, hash| {
            let entry = table.get_mut(&hash.halves());
            let Some(tally) = &mut tally else {
                entry.into_iter().for_each(|entry| entry.left = entry.left.saturating_sub(1));
                return true;
            };
            tally.topic_records += 1;
            if let Some(newest) = newest {
                newest.see(job, &record, &hash, slice.parts == 1);
            }
            if entry.is_some() && job.misplaces(&record) {
                tally.misplaced += 1;
                if found.misplaced.len() < job.limits.examples {
                    found.misplaced.push(topic_example(VerifyKind::Misplaced, &record));
                }
            }
            match entry {
                Some(entry) if entry.left > 0 => entry.left -= 1,
                Some(_) => {
                    tally.duplicates += 1;
                    if found.duplicates.len() < job.limits.examples {
                        found.duplicates.push(topic_example(VerifyKind::Duplicate, &record));
                    }
                }
                None => {
                    tally.unexpected += 1;
                    if let Some(group) = group_of(&record, &hash, *details) {
                        groups.entry(group).or_default().topic += 1;
                    }
                }
            }
            groups.len() <= limit
        })?;
        Ok(groups.len() <= limit)
    }

    /// Names differences of a compared slice, as far as the report has room for more of their kind.
    fn name(&mut self, slice: &Slice, tally: &Tally, report: &mut VerifyReport) -> Result<(), VerifyError> {
        let examples = self.read.job.limits.examples;
        let room =
            |report: &VerifyReport, kind| examples - report.examples.iter().filter(|e| e.kind == kind).count().min(examples);
        let duplicates = room(report, VerifyKind::Duplicate);
        report.examples.extend(self.found.duplicates.drain(..).take(duplicates));
        let misplaced = room(report, VerifyKind::Misplaced);
        report.examples.extend(self.found.misplaced.drain(..).take(misplaced));
        let altered = room(report, VerifyKind::Altered).min(usize::try_from(tally.altered).unwrap_or(usize::MAX));
        let mut unexpected = room(report, VerifyKind::Unexpected).min(usize::try_from(tally.unexpected).unwrap_or(usize::MAX));
        let mut missing = room(report, VerifyKind::Missing).min(usize::try_from(tally.missing).unwrap_or(usize::MAX));
        if altered + unexpected > 0 {
            for part in 0..slice.parts {
                self.match_again(slice, part)?;
                unexpected -= self.name_in_topic(slice, part, altered, unexpected, report)?;
            }
        }
        if altered + missing > 0 {
            for part in 0..slice.parts {
                self.match_again(slice, part)?;
                missing -= self.name_in_source(slice, part, missing, report)?;
            }
        }
        report.examples.extend(self.found.altered.drain(..).map(|(_, example)| example));
        Ok(())
    }

    /// The table of a part as it was after matching; it still is when there is only one.
    fn match_again(&mut self, slice: &Slice, part: u64) -> Result<(), VerifyError> {
        if slice.parts > 1 {
            self.load(slice, part)?;
            self.take_away(slice, part, usize::MAX, None)?;
        }
        Ok(())
    }

    /// Returns how many unexpected records it named.
    fn name_in_topic(
        &mut self,
        slice: &Slice,
        part: u64,
        altered: usize,
        unexpected: usize,
        report: &mut VerifyReport,
    ) -> Result<usize, VerifyError> {
        let AlteredSearch { read, details, table, groups, found, .. } = self;
        let mut named = 0;
        read.topic(slice, part, &mut |record, hash| {
            if table.contains_key(&hash.halves()) {
                return true;
            }
            let id = group_of(&record, &hash, *details).unwrap_or(0);
            match groups.get_mut(&id).filter(|group| group.topic > 0) {
                Some(group) => {
                    group.topic -= 1;
                    if found.altered.len() < altered {
                        found.altered.push((id, topic_example(VerifyKind::Altered, &record)));
                    }
                }
                None if named < unexpected => {
                    named += 1;
                    report.examples.push(topic_example(VerifyKind::Unexpected, &record));
                }
                None => {}
            }
            found.altered.len() < altered || named < unexpected
        })?;
        Ok(named)
    }

    /// Returns how many missing records it named.
    fn name_in_source(
        &mut self,
        slice: &Slice,
        part: u64,
        missing: usize,
        report: &mut VerifyReport,
    ) -> Result<usize, VerifyError> {
        let AlteredSearch { read, table, groups, newest, found, .. } = self;
        let mut named = 0;
        read.source(slice, Some(part), &mut |record| {
            let Some(entry) = table.get_mut(&record.hash.halves()).filter(|entry| entry.left > 0) else { return true };
            if newest.as_ref().is_some_and(|newest| !newest.contradicts(entry.group, record.order)) {
                return true;
            }
            entry.left -= 1;
            match groups.get_mut(&entry.group).filter(|group| group.source > 0) {
                Some(group) => {
                    group.source -= 1;
                    let waiting = found.altered.iter_mut().find(|(id, example)| *id == entry.group && example.path.is_none());
                    if let Some((_, example)) = waiting {
                        let place = record.example(VerifyKind::Altered);
                        (example.path, example.start) = (place.path, place.start);
                    }
                }
                None if named < missing => {
                    named += 1;
                    report.examples.push(record.example(VerifyKind::Missing));
                }
                None => {}
            }
            named < missing || found.altered.iter().any(|(_, example)| example.path.is_none())
        })?;
        Ok(named)
    }
}

/// What a record of the topic is paired by. Without a key: its value, if `details` can be what is altered.
fn group_of(record: &TopicRecord<'_>, hash: &RecordHash, details: bool) -> Option<u64> {
    hash.group(record.partition).or_else(|| details.then(|| hash.group_without_key()))
}
