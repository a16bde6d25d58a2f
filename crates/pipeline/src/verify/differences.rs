//! Matches records one by one, slice by slice.
//!
//! For each part of a slice the source's records go into a table; a record of the topic takes one away. What is left is
//! missing, what finds nothing left is a surplus copy, what finds no entry is unexpected, or another producer's if it
//! lacks the job's headers. Where records are missing the topic is read again for what stands in their place: a record
//! without the job's headers that equals a missing one but for them; and, when all parts of a slice are matched, an
//! unexpected record of a missing one's key and partition (without a key: of its value). Each takes one of the missing
//! ones away: a pair is an altered record. So memory is needed for what the source has, and none for what others wrote,
//! however much that is. In a compacted topic, what compaction explains is taken from the missing ones before they are
//! paired, and records without the job's headers are paired with none.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use migration::report::verify::PartitionRange;
use serde::{Deserialize, Serialize};

use super::compaction::{Explained, Newest};
use super::count::add_gone;
use super::hash::{Hasher, Mixed, RecordHash};
use super::reading::{FoundRecord, Reading};
use super::slices::Slice;
use super::{
    LastValues, Listings, TopicReader, TopicRecord, Verification, VerifyError, VerifyExample, VerifyKind, VerifyProgress,
    VerifyReport, topic_example,
};

/// What the first pass found to differ: slices of the hash space that are matched, in any order and by any process.
pub struct Differing {
    pub(super) slices: Vec<Slice>,
    /// How many records of the topic that may be the job's the first reading found in them.
    pub(super) in_slices: u64,
    /// Whether times are compared if the job sets them.
    pub(super) times: bool,
    /// How many lines the source has that are not blank.
    pub(super) lines: u64,
    /// Whether both sides have the same records, and only their order differs.
    pub(super) equal: bool,
}

/// What was found in some slices.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MatchedSlices {
    slices: Vec<MatchedSlice>,
    partitions: Vec<PartitionRange>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct MatchedSlice {
    number: u32,
    tally: Tally,
    examples: Vec<VerifyExample>,
}

impl Differing {
    /// How many slices there are.
    pub fn slices(&self) -> usize {
        self.slices.len()
    }

    /// Matches the slices that are one process's of some: its number, from 0, and how many they are. `report`: what the
    /// first pass found.
    pub fn find(
        &self,
        job: &Verification<'_>,
        topic: &mut dyn TopicReader,
        (first, step): (usize, usize),
        report: &VerifyReport,
        listings: &mut Listings<'_>,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<MatchedSlices, VerifyError> {
        let &Differing { ref slices, times, lines, .. } = self;
        let newest = Newest::of(&*topic);
        let read = Reading { job, times, topic, progress, slice: 0, slices: slices.len() as u32, lines };
        let mut search = AlteredSearch {
            details: Hasher::of(job, times).has_details(),
            newest,
            read,
            listings,
            table: EntryTable::default(),
            groups: Groups::default(),
            found: FoundExamples::default(),
        };
        let mut named = Named { limit: job.limits.examples, before: report.examples.clone(), own: Vec::new() };
        let mut matched = MatchedSlices::default();
        for (slice, number) in slices.iter().zip(1..).skip(first).step_by(step.max(1)) {
            search.read.slice = number;
            let tally = search.compare(slice, &mut named)?;
            let examples = std::mem::take(&mut named.own);
            named.before.extend_from_slice(&examples);
            matched.slices.push(MatchedSlice { number, tally, examples });
        }
        matched.partitions = search.read.topic.ranges();
        Ok(matched)
    }

    /// Completes `report`, whose refused lines, and records of other producers, are counted already, with what was
    /// found in all slices.
    pub fn finish(&self, matched: Vec<MatchedSlices>, examples: usize, report: &mut VerifyReport) -> Result<(), VerifyError> {
        let mut slices = Vec::new();
        for MatchedSlices { slices: some, partitions } in matched {
            add_gone(&mut report.partitions, &partitions);
            slices.extend(some);
        }
        slices.sort_by_key(|slice| slice.number);
        let mut sum = Tally::default();
        for slice in slices {
            sum.add(&slice.tally);
            for example in slice.examples {
                if report.examples.iter().filter(|other| other.kind == example.kind).count() < examples {
                    report.examples.push(example);
                }
            }
        }
        if sum.topic_records != self.in_slices || sum.is_nothing() && !self.equal {
            let (then, now) = (report.topic_records, report.topic_records - self.in_slices + sum.topic_records);
            let what = format!("the topic changed while it was compared: {then} records at first, {now} later; verify again");
            return Err(VerifyError::NotNow(what));
        }
        report.missing += sum.missing;
        report.superseded = sum.superseded;
        report.doubtful = sum.doubtful;
        report.outdated = sum.outdated;
        report.duplicates = sum.duplicates;
        report.altered = sum.altered;
        report.misplaced = sum.misplaced;
        report.unexpected = sum.unexpected;
        report.others = report.others.saturating_sub(sum.stripped);
        Ok(())
    }
}

/// Examples, as far as there is room for them.
struct Named {
    /// Of each kind.
    limit: usize,
    /// Those of before.
    before: Vec<VerifyExample>,
    /// Those of the slice that is matched.
    own: Vec<VerifyExample>,
}

impl Named {
    /// How many more of a kind there is room for.
    fn room(&self, kind: VerifyKind) -> usize {
        let named = self.before.iter().chain(&self.own).filter(|example| example.kind == kind).count();
        self.limit.saturating_sub(named)
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Tally {
    /// Those that may be the job's.
    topic_records: u64,
    missing: u64,
    superseded: u64,
    /// Of the superseded ones.
    doubtful: u64,
    /// Keys.
    outdated: u64,
    duplicates: u64,
    altered: u64,
    misplaced: u64,
    unexpected: u64,
    /// Of the altered ones: they lack the job's headers.
    stripped: u64,
    /// Records of other producers in this slice.
    others: u64,
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.topic_records += other.topic_records;
        self.missing += other.missing;
        self.superseded += other.superseded;
        self.doubtful += other.doubtful;
        self.outdated += other.outdated;
        self.duplicates += other.duplicates;
        self.altered += other.altered;
        self.misplaced += other.misplaced;
        self.unexpected += other.unexpected;
        self.stripped += other.stripped;
        self.others += other.others;
    }

    /// Whether nothing that differs was found.
    fn is_nothing(&self) -> bool {
        (self.missing, self.superseded, self.duplicates, self.altered, self.unexpected) == (0, 0, 0, 0, 0)
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

/// Missing records of one key and partition.
#[derive(Default)]
struct KeyDifferences {
    /// Those in whose place nothing was found.
    missing: u64,
    /// The others, as long as they are not named.
    paired: u64,
}

/// Bytes of an item of either table.
#[cfg(test)]
pub(super) fn entry_bytes() -> (usize, usize) {
    (size_of::<([u64; 2], EqualRecords)>(), size_of::<(u64, KeyDifferences)>())
}

/// What an altered record was paired by.
#[derive(Clone, Copy, PartialEq, Eq)]
enum PairedBy {
    Group(u64),
    Record([u64; 2]),
}

/// Examples of one slice on their way.
#[derive(Default)]
struct FoundExamples {
    duplicates: Vec<VerifyExample>,
    misplaced: Vec<VerifyExample>,
    unexpected: Vec<VerifyExample>,
    /// Altered records as the topic has them; the source's side is added when it is met.
    altered: Vec<(PairedBy, VerifyExample)>,
}

/// Some of the groups of a slice: as many as fit in memory.
#[derive(Clone, Copy)]
struct Share {
    number: u64,
    of: u64,
}

impl Share {
    const ALL: Share = Share { number: 0, of: 1 };

    fn has(self, group: u64) -> bool {
        ((u128::from(group) * u128::from(self.of)) >> 64) as u64 == self.number
    }
}

struct AlteredSearch<'a, 'b, 'c> {
    read: Reading<'a, 'b>,
    /// Whether more than key and value is compared: else records without a key can't be altered.
    details: bool,
    listings: &'a mut Listings<'c>,
    table: EntryTable,
    groups: Groups,
    /// Of a compacted topic.
    newest: Option<Newest>,
    found: FoundExamples,
}

impl AlteredSearch<'_, '_, '_> {
    /// Counts a slice's differences, and names some as far as there is room for more of their kind.
    fn compare(&mut self, slice: &Slice, report: &mut Named) -> Result<Tally, VerifyError> {
        self.groups.clear();
        self.newest.iter_mut().for_each(Newest::clear);
        self.found = FoundExamples::default();
        let mut tally = Tally::default();
        let mut entries = 0;
        for part in 0..slice.parts {
            self.load(slice, part)?;
            self.count(slice, part, &mut tally)?;
            if tally.others > 0 {
                self.dress(slice, part, Some(&mut tally))?;
            }
            for entry in self.table.values().filter(|entry| entry.left > 0) {
                tally.missing += entry.left;
                entries += 1;
                match &mut self.newest {
                    Some(newest) => newest.miss(entry.group, entry.left),
                    // What they are paired with may come in another part.
                    None if slice.parts > 1 && entry.group != 0 => {
                        self.groups.entry(entry.group).or_default().missing += entry.left;
                    }
                    None => {}
                }
            }
        }
        let last_values = self.read.job.last_values == LastValues::Compared;
        if self.newest.is_some() && (tally.missing > 0 || last_values) {
            let explained = self.explain(slice)?;
            (tally.superseded, tally.doubtful) = (explained.records, explained.doubtful);
            tally.missing -= explained.records;
            if last_values {
                tally.outdated = explained.outdated;
                self.name_outdated(slice, report)?;
            }
        }
        let undressed = tally.others > 0;
        if tally.missing > 0 && tally.unexpected > 0 {
            self.found.unexpected.clear();
            let fit = (self.read.job.limits.keys as u64 * 7 / 8).max(1);
            let of = if slice.parts == 1 { 1 + entries / fit } else { 1 };
            for number in 0..of {
                let share = Share { number, of };
                self.gather(share, slice.parts == 1);
                self.pair(slice, share, undressed, &mut tally, report)?;
                self.name_in_source(slice, share, undressed, report)?;
            }
        } else if tally.missing > 0 || !self.found.altered.is_empty() {
            self.name_in_source(slice, Share::ALL, undressed, report)?;
        }
        self.name(report);
        Ok(tally)
    }

    /// How many of the missing records compaction may have taken, and of how many keys the newest one is not the last.
    fn explain(&mut self, slice: &Slice) -> Result<Explained, VerifyError> {
        let AlteredSearch { read, newest: Some(newest), .. } = self else { return Ok(Explained::default()) };
        let job = read.job;
        // All parts of a slice in one reading: the order of a key's records counts.
        read.source(slice, None, &mut |record| {
            newest.follow(job, record.key, &record.hash, record.order);
            true
        })?;
        Ok(newest.judge(&mut |_, _| ()))
    }

    /// Names some keys whose newest record is not the source's last one: that one as it stands in the topic, and where
    /// the last one stands in the source.
    fn name_outdated(&mut self, slice: &Slice, report: &mut Named) -> Result<(), VerifyError> {
        let AlteredSearch { read, newest: Some(newest), .. } = self else { return Ok(()) };
        let job = read.job;
        let mut found = newest.outdated(report.room(VerifyKind::Outdated));
        if found.is_empty() {
            return Ok(());
        }
        for part in 0..slice.parts {
            read.topic(slice, part, &mut |FoundRecord { record, hash, own }| {
                let group = newest.group(job, record.key, &hash, Some(record.partition));
                let wanted = found.iter_mut().find(|one| own && (one.group, one.offset) == (group, record.offset));
                wanted.into_iter().for_each(|one| one.example = Some(topic_example(VerifyKind::Outdated, &record)));
                true
            })?;
        }
        read.source(slice, None, &mut |record| {
            let group = newest.group(job, record.key, &record.hash, None);
            let wanted = found.iter_mut().find(|one| (one.group, one.stretch) == (group, record.order.stretch));
            if let Some(example) = wanted.and_then(|one| one.example.as_mut()) {
                let source = record.example(VerifyKind::Outdated);
                (example.path, example.start) = (source.path, source.start);
            }
            true
        })?;
        report.own.extend(found.into_iter().filter_map(|one| one.example));
        Ok(())
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

    /// Takes the topic's records of one part out of the table, and counts what is found.
    fn count(&mut self, slice: &Slice, part: u64, tally: &mut Tally) -> Result<(), VerifyError> {
        let AlteredSearch { read, table, newest, found, listings, .. } = self;
        let job = read.job;
        let examples = job.limits.examples;
        let keep = |into: &mut Vec<VerifyExample>, kind, record: &TopicRecord<'_>| {
            if into.len() < examples {
                into.push(topic_example(kind, record));
            }
        };
        let mut unwritten = None;
        read.topic(slice, part, &mut |one| {
            let FoundRecord { record, hash, own } = one;
            if let Some(newest) = newest {
                newest.see(job, &one, table.contains_key(&hash.halves()), slice.parts == 1);
            }
            if !own {
                tally.others += 1;
                return true;
            }
            tally.topic_records += 1;
            match table.get_mut(&hash.halves()) {
                Some(entry) => {
                    if job.misplaces(&record) {
                        tally.misplaced += 1;
                        keep(&mut found.misplaced, VerifyKind::Misplaced, &record);
                    }
                    if entry.left > 0 {
                        entry.left -= 1;
                    } else {
                        tally.duplicates += 1;
                        keep(&mut found.duplicates, VerifyKind::Duplicate, &record);
                        unwritten = (listings.surplus)(&record).err();
                    }
                }
                None => {
                    tally.unexpected += 1;
                    keep(&mut found.unexpected, VerifyKind::Unexpected, &record);
                }
            }
            unwritten.is_none()
        })?;
        unwritten.map_or(Ok(()), |error| Err(VerifyError::Listing(error.to_string())))
    }

    /// Takes records that equal missing ones but for the job's headers; counts them if asked.
    fn dress(&mut self, slice: &Slice, part: u64, mut tally: Option<&mut Tally>) -> Result<(), VerifyError> {
        let AlteredSearch { read, table, newest: None, found, .. } = self else { return Ok(()) };
        let mut left = table.values().filter(|entry| entry.left > 0).count();
        if left == 0 {
            return Ok(());
        }
        let examples = read.job.limits.examples;
        read.topic(slice, part, &mut |FoundRecord { record, hash, own }| {
            let halves = hash.halves();
            let Some(entry) = table.get_mut(&halves).filter(|entry| !own && entry.left > 0) else { return true };
            entry.left -= 1;
            left -= usize::from(entry.left == 0);
            if let Some(tally) = &mut tally {
                tally.altered += 1;
                tally.stripped += 1;
                if found.altered.len() < examples {
                    found.altered.push((PairedBy::Record(halves), topic_example(VerifyKind::Altered, &record)));
                }
            }
            left > 0
        })
    }

    /// Prepares the groups of a share. `from_table`: those without compaction are not gathered yet.
    fn gather(&mut self, share: Share, from_table: bool) {
        let AlteredSearch { table, groups, newest, .. } = self;
        if let Some(newest) = newest {
            groups.clear();
            newest.judge(&mut |group, missing| {
                if missing > 0 && share.has(group) {
                    groups.insert(group, KeyDifferences { missing, paired: 0 });
                }
            });
        } else if from_table {
            groups.clear();
            for entry in table.values().filter(|entry| entry.left > 0 && entry.group != 0 && share.has(entry.group)) {
                groups.entry(entry.group).or_default().missing += entry.left;
            }
        }
    }

    /// Pairs unexpected records with missing ones, and names both kinds in the topic.
    fn pair(
        &mut self,
        slice: &Slice,
        share: Share,
        undressed: bool,
        tally: &mut Tally,
        report: &Named,
    ) -> Result<(), VerifyError> {
        let altered = report.room(VerifyKind::Altered);
        let unexpected = report.room(VerifyKind::Unexpected);
        for part in 0..slice.parts {
            self.match_again(slice, part, undressed)?;
            let AlteredSearch { read, details, table, groups, found, .. } = self;
            read.topic(slice, part, &mut |FoundRecord { record, hash, own }| {
                let group = group_of(&record, &hash, *details).unwrap_or(0);
                if !own || !share.has(group) || table.contains_key(&hash.halves()) {
                    return true;
                }
                match groups.get_mut(&group).filter(|group| group.missing > 0) {
                    Some(pair) => {
                        pair.missing -= 1;
                        pair.paired += 1;
                        tally.missing -= 1;
                        tally.unexpected -= 1;
                        tally.altered += 1;
                        if found.altered.len() < altered {
                            found.altered.push((PairedBy::Group(group), topic_example(VerifyKind::Altered, &record)));
                        }
                    }
                    None if found.unexpected.len() < unexpected => {
                        found.unexpected.push(topic_example(VerifyKind::Unexpected, &record));
                    }
                    None => {}
                }
                true
            })?;
        }
        Ok(())
    }

    /// The table of a part as it was after matching; it still is when there is only one.
    fn match_again(&mut self, slice: &Slice, part: u64, undressed: bool) -> Result<(), VerifyError> {
        if slice.parts == 1 {
            return Ok(());
        }
        self.load(slice, part)?;
        let AlteredSearch { read, table, .. } = self;
        read.topic(slice, part, &mut |FoundRecord { hash, own, .. }| {
            let entry = table.get_mut(&hash.halves()).filter(|_| own);
            entry.into_iter().for_each(|entry| entry.left = entry.left.saturating_sub(1));
            true
        })?;
        if undressed { self.dress(slice, part, None) } else { Ok(()) }
    }

    /// Adds what is found of a slice, as far as there is room.
    fn name(&mut self, report: &mut Named) {
        let FoundExamples { duplicates, misplaced, unexpected, altered } = std::mem::take(&mut self.found);
        let altered = altered.into_iter().map(|(_, example)| example).collect();
        for (kind, found) in [
            (VerifyKind::Duplicate, duplicates),
            (VerifyKind::Misplaced, misplaced),
            (VerifyKind::Unexpected, unexpected),
            (VerifyKind::Altered, altered),
        ] {
            let room = report.room(kind);
            report.own.extend(found.into_iter().take(room));
        }
    }

    /// Names missing records, and adds the source's side to altered ones, in a share of the groups.
    fn name_in_source(&mut self, slice: &Slice, share: Share, undressed: bool, report: &mut Named) -> Result<(), VerifyError> {
        self.found.altered.truncate(report.room(VerifyKind::Altered));
        // All of them are wanted, not only some to name.
        let all = self.listings.missing.is_some();
        for part in 0..slice.parts {
            let mut missing = report.room(VerifyKind::Missing);
            let waits = |found: &FoundExamples| found.altered.iter().any(|(_, example)| example.path.is_none());
            if missing == 0 && !waits(&self.found) && !all {
                return Ok(());
            }
            self.match_again(slice, part, undressed)?;
            let AlteredSearch { read, table, groups, newest, found, listings, .. } = self;
            let mut unwritten = None;
            if !waits(found) && !table.values().any(|entry| entry.left > 0) {
                continue;
            }
            read.source(slice, Some(part), &mut |record| {
                let halves = record.hash.halves();
                let mut place = |by: PairedBy| {
                    let waiting = found.altered.iter_mut().find(|(id, example)| *id == by && example.path.is_none());
                    waiting.is_some_and(|(_, example)| {
                        let source = record.example(VerifyKind::Altered);
                        (example.path, example.start) = (source.path, source.start);
                        true
                    })
                };
                if place(PairedBy::Record(halves)) {
                    return all || missing > 0 || waits(found);
                }
                let left = |entry: &&mut EqualRecords| entry.left > 0 && share.has(entry.group);
                let Some(entry) = table.get_mut(&halves).filter(left) else { return true };
                if newest.as_ref().is_some_and(|newest| !newest.contradicts(entry.group, record.order)) {
                    return true;
                }
                entry.left -= 1;
                match groups.get_mut(&entry.group).filter(|group| group.paired > 0) {
                    Some(group) => {
                        group.paired -= 1;
                        place(PairedBy::Group(entry.group));
                    }
                    _ => {
                        if missing > 0 {
                            missing -= 1;
                            report.own.push(record.example(VerifyKind::Missing));
                        }
                        if let Some(list) = &mut listings.missing {
                            unwritten = list(&record.missing()).err();
                        }
                    }
                }
                unwritten.is_none() && (all || missing > 0 || waits(found))
            })?;
            if let Some(error) = unwritten {
                return Err(VerifyError::Listing(error.to_string()));
            }
        }
        Ok(())
    }
}

/// What a record of the topic is paired by. Without a key: its value, if `details` can be what is altered.
fn group_of(record: &TopicRecord<'_>, hash: &RecordHash, details: bool) -> Option<u64> {
    hash.group(record.partition).or_else(|| details.then(|| hash.group_without_key()))
}
