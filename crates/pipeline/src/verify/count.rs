//! The first pass: both sides, or a part of them, as counts and sums of hashes.
//!
//! Responsible for: what is counted, and that counts of parts add up to those of the whole. Not responsible for: which
//! parts there are, and naming what differs.

use migration::report::verify::{Compared, PartitionRange, Retention, VerifyExample, VerifyKind, VerifyReport};
use serde::{Deserialize, Serialize};

use super::differences::Differing;
use super::division::SourcePart;
use super::hash::Hasher;
use super::slices::Buckets;
use super::source::{self, SourceCounts, SourceLine};
use super::{LastValues, TopicReader, Verification, VerifyError, VerifyProgress, compaction, topic_example};

/// What was counted of both sides, or of a part of them.
pub struct Counted {
    buckets: Buckets,
    totals: CountedTotals,
}

/// All of it but the buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CountedTotals {
    source: SourceCounts,
    /// Rows that can't become a record and are no dead letter.
    missing: u64,
    /// Some of them, and of altered letters, each in the source's order.
    missing_examples: Vec<VerifyExample>,
    letter_examples: Vec<VerifyExample>,
    topic: TopicTotals,
    /// What was read of the topic, by partition; empty when nothing was.
    partitions: Vec<PartitionRange>,
}

/// What the first reading of the topic shows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct TopicTotals {
    records: u64,
    /// Those without the job's headers.
    others: u64,
    /// Records that may be the job's whose times are the brokers' own.
    replaced_times: u64,
    /// Records that may be the job's in another partition than their key chooses.
    misplaced: u64,
    /// Those of them with the lowest partitions and offsets.
    examples: Vec<VerifyExample>,
}

/// Reads a part of the source, and the partitions that `topic` reads, for the first time.
pub fn count(
    job: &Verification<'_>,
    part: SourcePart<'_>,
    topic: &mut dyn TopicReader,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<Counted, VerifyError> {
    let mut counted = Counted::none(job);
    counted.read_source(job, &part, progress)?;
    counted.see_topic(job, topic, progress)?;
    counted.totals.partitions = topic.ranges();
    Ok(counted)
}

impl Counted {
    /// Nothing yet. Parts are added to it in the order of the source.
    pub fn none(job: &Verification<'_>) -> Counted {
        let records = job.expected.iter().map(|expected| expected.plan.records_estimate()).sum();
        let buckets = Buckets::of(records, job.last_values == LastValues::Compared);
        Counted { buckets, totals: CountedTotals::default() }
    }

    /// All of it but the buckets, for another process.
    pub fn totals(&self) -> &CountedTotals {
        &self.totals
    }

    /// The buckets as blocks of bytes, for another process.
    pub fn blocks(&self) -> impl Iterator<Item = Vec<u8>> {
        self.buckets.blocks()
    }

    /// Adds the block of this number of what another process counted behind what is counted here. False: it is none.
    pub fn add_block(&mut self, number: usize, block: &[u8]) -> bool {
        self.buckets.add_block(number, block)
    }

    /// Adds the rest of what another process counted behind what is counted here.
    pub fn add_totals(&mut self, examples: usize, behind: CountedTotals) {
        let totals = &mut self.totals;
        totals.source.add(&behind.source);
        totals.missing += behind.missing;
        let extend = |into: &mut Vec<VerifyExample>, more: Vec<_>| {
            into.extend(more);
            into.truncate(examples);
        };
        extend(&mut totals.missing_examples, behind.missing_examples);
        extend(&mut totals.letter_examples, behind.letter_examples);
        let (topic, more) = (&mut totals.topic, behind.topic);
        topic.records += more.records;
        topic.others += more.others;
        topic.replaced_times += more.replaced_times;
        topic.misplaced += more.misplaced;
        topic.examples.extend(more.examples);
        topic.examples.sort_by_key(place);
        topic.examples.truncate(examples);
        add_gone(&mut totals.partitions, &behind.partitions);
    }

    fn read_source(
        &mut self,
        job: &Verification<'_>,
        part: &SourcePart<'_>,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<(), VerifyError> {
        let Counted { buckets, totals } = self;
        let at = VerifyProgress { of: part.records_estimate(), about: true, ..VerifyProgress::default() };
        let mut report = |lines| progress(VerifyProgress { records: lines, done: lines, ..at });
        let keep = |into: &mut Vec<_>, example: &dyn Fn() -> VerifyExample| {
            if into.len() < job.limits.examples {
                into.push(example());
            }
        };
        totals.source = source::read_part(job, part, &mut report, &mut |line| {
            match line {
                SourceLine::Record(record) => buckets.expect(&record.hash),
                SourceLine::NoRecord(place) => {
                    totals.missing += 1;
                    keep(&mut totals.missing_examples, &|| place.example(VerifyKind::Missing));
                }
                SourceLine::AlteredLetter(place) => {
                    keep(&mut totals.letter_examples, &|| place.example(VerifyKind::Letter));
                }
            }
            true
        })?;
        Ok(())
    }

    fn see_topic(
        &mut self,
        job: &Verification<'_>,
        topic: &mut dyn TopicReader,
        progress: &mut dyn FnMut(VerifyProgress),
    ) -> Result<(), VerifyError> {
        let Counted { buckets, totals: CountedTotals { topic: seen, .. } } = self;
        let mut hasher = Hasher::of(job, true);
        let examples = job.limits.examples;
        topic.restart()?;
        let of = topic.left();
        while topic.next(&mut |record| {
            seen.records += 1;
            if !hasher.owns(&record) {
                seen.others += 1;
                return;
            }
            let misplaced = job.misplaces(&record);
            buckets.find(&hasher.found(&record), misplaced);
            seen.replaced_times += u64::from(record.time.is_none());
            if misplaced {
                seen.misplaced += 1;
                let at = (Some(record.partition), Some(record.offset));
                let behind = seen.examples.partition_point(|example| place(example) < at);
                if behind < examples {
                    seen.examples.insert(behind, topic_example(VerifyKind::Misplaced, &record));
                    seen.examples.truncate(examples);
                }
            }
        })? {
            let (records, done) = (seen.records, of.saturating_sub(topic.left()));
            progress(VerifyProgress { topic: true, records, done, of, ..VerifyProgress::default() });
        }
        Ok(())
    }

    /// What all parts together say; and where both sides differ, what is to be matched.
    pub fn settle(
        self,
        job: &Verification<'_>,
        compacted: Option<bool>,
        retention: Retention,
    ) -> (VerifyReport, Option<Differing>) {
        let Counted { buckets, totals } = self;
        let CountedTotals { source, missing, missing_examples, letter_examples, topic, partitions } = totals;
        let times = job.rules.timestamp.is_some();
        let compared = Compared {
            partitions: job.rules.key.is_some(),
            headers: !job.rules.headers.is_empty(),
            times,
            replaced_times: if times { topic.replaced_times } else { 0 },
        };
        let mut report = VerifyReport {
            source_records: source.records,
            dead_lettered: source.dead_lettered,
            retried: source.retried(),
            altered_letters: source.altered_letters,
            topic_records: topic.records,
            missing,
            others: topic.others,
            compared,
            compacted,
            last_values: job.last_values,
            retention,
            partitions,
            ..VerifyReport::default()
        };
        report.examples.extend(missing_examples);
        report.examples.extend(letter_examples);
        let times = report.compared.replaced_times == 0;
        let equal = buckets.are_equal(times);
        if equal && buckets.are_in_order() {
            report.misplaced = topic.misplaced;
            report.examples.extend(topic.examples);
            return (report, None);
        }
        let limit = if compacted == Some(true) { job.limits.records / compaction::SMALLER } else { job.limits.records };
        let (slices, in_slices) = buckets.into_slices(times, limit);
        (report, Some(Differing { slices, in_slices, times, lines: source.lines, equal }))
    }
}

fn place(example: &VerifyExample) -> (Option<u32>, Option<i64>) {
    (example.partition, example.offset)
}

/// Takes over what another reader of the same ranges found gone.
pub(super) fn add_gone(ranges: &mut Vec<PartitionRange>, others: &[PartitionRange]) {
    if ranges.is_empty() {
        ranges.extend_from_slice(others);
    }
    for (range, other) in ranges.iter_mut().zip(others) {
        range.gone = range.gone.max(other.gone);
    }
}
