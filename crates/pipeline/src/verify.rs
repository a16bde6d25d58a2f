//! Verify: the source against the topic, independent of every count that was kept while sending.
//!
//! Responsible for: reading both sides again and saying what differs. Not responsible for: how a topic is read
//! ([`TopicReader`]), or how a difference is shown (values of records are raw here; the caller masks them).
//!
//! What is compared of a record: key and value; its headers and its time, where the job sets them; and whether it
//! stands in the partition that its key chooses. Times that the brokers wrote over the job's (`LogAppendTime`) are not
//! compared, and the report says how many there are.
//!
//! A topic may live: others write to it while the job runs. Where the job sets headers, a record without them is
//! another producer's and is counted as that. Without headers nothing tells another producer's record from a copy of
//! the job's own that was altered: a record that the source does not have is unexpected, and the report's reader
//! decides what that means.
//!
//! First both sides are reduced to a count and a sum of 128-bit hashes over what is compared, in buckets by key. Only
//! of buckets that differ the records are matched one by one, in slices that fit in memory ([`VerifyLimits`]), each
//! with a reading of both sides. Records with one key are in one bucket, so that altered ones are paired there; a
//! bucket too large for a slice is split once more by record. Limits: matching takes equal 128-bit hashes for equal
//! records, pairing equal 64-bit hashes for equal keys; memory stays bounded whatever others wrote; the places of dead
//! letters are held in memory.
//!
//! In a compacted topic a record may be gone because a newer one of its key came after it; then it is not called
//! missing. And there the order counts: the newest record of a key has to be the last one that the source has. Where
//! each key's order was promised the first reading sees buckets whose records came in another order, and those are
//! matched, too.
//!
//! Several processes can do it together: each counts a part of both sides ([`count()`]), which are added
//! ([`Counted`]), and each matches some of the slices ([`Differing`]). Every reader of the topic is given the same
//! range. What is found is the same with any number of processes.

mod compaction;
mod count;
mod differences;
mod division;
mod hash;
mod listing;
mod reading;
mod slices;
mod source;
#[cfg(test)]
mod tests;

use migration::Plan;
use migration::job::RecordRules;
use migration::report::verify::{LastValues, PartitionRange, Retention, VerifyExample, VerifyKind, VerifyReport};

use serde::{Deserialize, Serialize};

use crate::dead_letter::Places;
use crate::{Source, SourceError};
pub use count::{Counted, CountedTotals, count};
pub use differences::{Differing, MatchedSlices};
pub use division::{DividedSource, SourcePart, divide_partitions};
pub use listing::list;

/// A record as it stands in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopicRecord<'a> {
    /// Its partition.
    pub partition: u32,
    /// Its offset in the partition.
    pub offset: i64,
    /// `None` is a null key.
    pub key: Option<&'a [u8]>,
    /// The value; a null value is an empty one here.
    pub value: &'a [u8],
    /// Its headers, in their order, each added by [`encode_header`]; empty unless the job sets headers.
    pub headers: &'a [u8],
    /// The time that its producer gave it, milliseconds since 1970; `None`: the brokers wrote their own over it.
    pub time: Option<i64>,
}

/// Which records of a topic may be the job's: those with its headers, or all if it sets none.
pub(crate) fn owns(rules: &RecordRules) -> impl Fn(&TopicRecord<'_>) -> bool {
    let hasher = hash::Hasher::new(rules, false);
    move |record| hasher.owns(record)
}

/// Adds a header of a record to those before it, so that equal bytes are equal headers. A null value is no empty one.
pub fn encode_header(headers: &mut Vec<u8>, name: &[u8], value: Option<&[u8]>) {
    headers.extend_from_slice(&(name.len() as u64).to_le_bytes());
    headers.extend_from_slice(&value.map_or(u64::MAX, |value| value.len() as u64).to_le_bytes());
    headers.extend_from_slice(name);
    headers.extend_from_slice(value.unwrap_or_default());
}

/// Names and values of the headers that [`encode_header`] wrote.
pub fn headers_of(headers: &[u8]) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> {
    encoded_headers(headers).filter_map(|header| {
        let (name, rest) = header.split_first_chunk::<8>()?;
        let (value, rest) = rest.split_first_chunk::<8>()?;
        let (name, bytes) = rest.split_at_checked(usize::try_from(u64::from_le_bytes(*name)).ok()?)?;
        Some((name, (u64::from_le_bytes(*value) != u64::MAX).then_some(bytes)))
    })
}

/// The headers that [`encode_header`] wrote one after the other, each as it wrote it.
fn encoded_headers(mut headers: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (name, rest) = headers.split_first_chunk::<8>()?;
        let (value, _) = rest.split_first_chunk::<8>()?;
        let value = u64::from_le_bytes(*value);
        let value = if value == u64::MAX { 0 } else { value };
        let bytes = u64::from_le_bytes(*name).checked_add(value)?.checked_add(16)?;
        let header;
        (header, headers) = headers.split_at_checked(usize::try_from(bytes).ok()?)?;
        Some(header)
    })
}

/// Reads the job's part of a topic, as often as wanted: from the partitions' end offsets when the job first ran to
/// where their logs ended when the first pass began, so that all passes see the same range.
pub trait TopicReader {
    /// Goes to the start of the range. Called before each pass, the first included. The range is that of some
    /// partitions, or of all.
    fn restart(&mut self) -> Result<(), VerifyError>;

    /// Hands the next few records to `visit`, in any order of partitions; none when the broker has nothing yet. False:
    /// every partition is at its end.
    fn next(&mut self, visit: &mut dyn FnMut(TopicRecord<'_>)) -> Result<bool, VerifyError>;

    /// How many offsets of the range are left before every partition is at its end.
    fn left(&self) -> u64;

    /// What all partitions have to read, whether this reader reads them or not; `gone` may grow while it reads.
    fn ranges(&self) -> Vec<PartitionRange>;

    /// Whether the topic is compacted (`cleanup.policy`); `None`: the brokers don't tell.
    fn is_compacted(&self) -> Option<bool>;

    /// What deletes the topic's oldest records.
    fn retention(&self) -> Retention;
}

/// Why a comparison could not be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The source can't be read, or changed since the plan.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The topic can't be read: what failed, where, what was seen.
    #[error("{0}")]
    Topic(String),
    /// The topic can't be judged now, and may be later: another producer's open transaction, brokers that don't answer,
    /// a topic that changes while it is read.
    #[error("{0}")]
    NotNow(String),
    /// A surplus copy, or a missing record, could not be listed: why.
    #[error("what differs can't be listed: {0}")]
    Listing(String),
}

/// Records that the topic should have: a dataset, and what became of its lines.
#[derive(Clone, Copy)]
pub struct Expected<'a> {
    /// Where the records come from.
    pub source: &'a dyn Source,
    /// The source, as it was planned: with what the longest line is that is a record.
    pub plan: &'a Plan,
    /// How a line becomes a record.
    pub rules: &'a RecordRules,
    /// Where records stand that were set aside, and what was kept of them: they are not expected in the topic.
    pub dead_letters: &'a Places,
}

/// What is compared.
#[derive(Clone, Copy)]
pub struct Verification<'a> {
    /// What the job sent, then what was sent again of its dead letters. The report's source is the first one.
    pub expected: &'a [Expected<'a>],
    /// What is compared of a record: the same headers, and times or none, for all that is expected.
    pub rules: &'a RecordRules,
    /// Which partition a key chooses, of how many; `None`: any.
    pub partitioner: fn(&[u8], u32) -> Option<u32>,
    /// How many partitions the topic had when the job began: keys choose among them.
    pub partitions: u32,
    /// Whether the newest record of each key is held against the source's last one: see [`last_values`].
    pub last_values: LastValues,
    /// Memory and number of examples.
    pub limits: VerifyLimits,
}

impl Verification<'_> {
    /// Whether a record stands in another partition than its key chooses. Keys that choose none may be anywhere.
    fn misplaces(&self, record: &TopicRecord<'_>) -> bool {
        let chosen = record.key.and_then(|key| (self.partitioner)(key, self.partitions));
        chosen.is_some_and(|partition| partition != record.partition)
    }
}

/// How much a comparison may hold and name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifyLimits {
    /// Examples of each kind.
    pub examples: usize,
    /// Source records in a slice, 33 bytes each.
    pub records: usize,
    /// Keys with missing records that are paired with unexpected ones at a time, 25 bytes each.
    pub keys: usize,
}

impl Default for VerifyLimits {
    /// Ten examples, and together at most 190 MiB: hash tables of 2^22 and 2^21 places, seven eighths full.
    fn default() -> Self {
        VerifyLimits { examples: 10, records: (1 << 22) / 8 * 7, keys: (1 << 21) / 8 * 7 }
    }
}

/// How far a comparison has come, or one of the processes that make it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProgress {
    /// 0: counting and summing. From 1: the slice that is matched.
    pub slice: u32,
    /// How many slices there are; 0 before it is known that any are needed.
    pub slices: u32,
    /// Whether the topic is being read, else the source.
    pub topic: bool,
    /// Records of this reading so far.
    pub records: u64,
    /// How much of this reading is done: lines of the source, offsets of the topic, where one may stand for no record.
    pub done: u64,
    /// Of how much.
    pub of: u64,
    /// Whether `of` is the plan's estimate.
    pub about: bool,
}

/// How much of a key or value an example keeps.
const EXAMPLE_BYTES: usize = 256;

fn head(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.len().min(EXAMPLE_BYTES)].to_vec()
}

/// Whether a comparison can tell which record of a key should be its newest one: in a compacted topic whose records of
/// one key were sent in the source's order, each to the partition that it chooses among those that the topic has now.
pub fn last_values(expected: &[Expected<'_>], partitions: u32, topic: &dyn TopicReader) -> LastValues {
    let ordered = expected.first().is_some_and(|job| job.plan.partitions.is_some());
    match topic.is_compacted() {
        Some(true) if ordered && topic.ranges().len() == partitions as usize => LastValues::Compared,
        Some(true) => LastValues::NotPromised,
        Some(false) | None => LastValues::NotCompacted,
    }
}

/// A record of the source that the topic lacks.
#[derive(Clone, Copy, Debug)]
pub struct MissingRecord<'a> {
    /// Which of [`Verification::expected`] has it, by index.
    pub expected: u32,
    /// Its number in the source's order, with gaps.
    pub number: u64,
    /// The record's value, which is what its row holds.
    pub value: &'a [u8],
}

/// Gets each missing record.
pub type ListMissing<'a> = &'a mut dyn FnMut(&MissingRecord<'_>) -> std::io::Result<()>;

/// What gets each difference of a kind, one by one. An error ends the comparison.
pub struct Listings<'a> {
    /// Each surplus copy, once.
    pub surplus: &'a mut dyn FnMut(&TopicRecord<'_>) -> std::io::Result<()>,
    /// Each record of the source that is missing and is not altered, once: of one slice after the other, within a
    /// reading in the source's order. Rows that can't become a record are none. `None`: it costs a reading that is not
    /// needed.
    pub missing: Option<ListMissing<'a>>,
}

/// Compares the source with the topic, in this process alone. `progress` is called often: for each block that is read.
pub fn verify(
    job: &Verification<'_>,
    topic: &mut dyn TopicReader,
    listings: &mut Listings<'_>,
    progress: &mut dyn FnMut(VerifyProgress),
) -> Result<VerifyReport, VerifyError> {
    let divided = division_of(job.expected, 1)?;
    let counted = count(job, divided.part(0), topic, progress)?;
    let (mut report, differing) = counted.settle(job, topic.is_compacted(), topic.retention());
    if let Some(differing) = differing {
        let matched = differing.find(job, topic, (0, 1), &report, listings, progress)?;
        differing.finish(vec![matched], job.limits.examples, &mut report)?;
    }
    report.examples.sort();
    Ok(report)
}

/// Divides the source for this number of processes; refuses one that can't be read again.
pub fn division_of(expected: &[Expected<'_>], processes: u32) -> Result<DividedSource, VerifyError> {
    if !expected.iter().all(|expected| expected.source.repeatable()) {
        let text = "the source gives other rows when it is read again: there is nothing to compare the topic with";
        return Err(SourceError(text.to_owned()).into());
    }
    Ok(DividedSource::new(expected, processes)?)
}

fn topic_example(kind: VerifyKind, record: &TopicRecord<'_>) -> VerifyExample {
    let (partition, offset) = (Some(record.partition), Some(record.offset));
    VerifyExample { kind, path: None, start: None, partition, offset, key: record.key.map(head), value: head(record.value) }
}
