//! Reads the source as verify needs it: each line once, as a record with its hash.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZeroU64;

use migration::Shard;
use serde::{Deserialize, Serialize};

use super::division::SourcePart;
use super::hash::{Hasher, RecordHash};
use super::{Expected, MissingRecord, Verification, VerifyExample, VerifyKind, head};
use crate::dead_letter::Held;
use crate::fate::{self, Look, Takes};
use crate::mapping::Mapping;
use crate::source::wait_for_rows;
use crate::{BlockPool, RecordPlace, Rows, SourceError};

/// What reading may hold at a time, besides one line of `max_line`.
const POOL_BYTES: usize = 4 << 20;

/// A line that is neither blank nor a dead letter as it should be.
pub(super) enum SourceLine<'a> {
    Record(SourceRecord<'a>),
    /// It can't become a record.
    NoRecord(SourcePlace<'a>),
    /// A dead letter that does not hold it.
    AlteredLetter(SourcePlace<'a>),
}

/// A record that the topic should have.
pub(super) struct SourceRecord<'a> {
    pub(super) hash: RecordHash,
    pub(super) key: Option<&'a [u8]>,
    pub(super) place: SourcePlace<'a>,
    pub(super) order: SourceOrder,
    /// Which of the [`Expected`] has it.
    expected: u32,
}

/// Where a record stands among all: those of one key and stretch were sent in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceOrder {
    pub(super) stretch: Stretch,
    /// The number of its line among all that are not blank, in the plan's order.
    pub(super) number: NonZeroU64,
}

/// A part of the source that one worker after the other went through from its beginning to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Counted on from one [`Expected`] to the next.
    Shard(u32),
    /// The same, of shards with sets of partitions that are not all cut at the same places: a segment of the plan,
    /// which no set is cut inside of.
    Segment(u32),
}

/// Where a line stands and what it holds.
#[derive(Clone, Copy)]
pub(super) struct SourcePlace<'a> {
    path: &'a str,
    start: u64,
    value: &'a [u8],
}

impl SourcePlace<'_> {
    pub(super) fn example(&self, kind: VerifyKind) -> VerifyExample {
        let (path, start) = (Some(self.path.to_owned()), Some(self.start));
        VerifyExample { kind, path, start, partition: None, offset: None, key: None, value: head(self.value) }
    }
}

impl<'a> SourceRecord<'a> {
    pub(super) fn example(&self, kind: VerifyKind) -> VerifyExample {
        VerifyExample { key: self.key.map(head), ..self.place.example(kind) }
    }

    pub(super) fn missing(&self) -> MissingRecord<'a> {
        MissingRecord { expected: self.expected, number: self.order.number.get(), value: self.place.value }
    }
}

/// What was read, in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SourceCounts {
    /// Non-blank lines of all that is expected.
    pub(super) lines: u64,
    /// Of these: dead letters.
    letters: u64,
    /// Non-blank lines of the job's own source.
    pub(super) records: u64,
    /// Of these: dead letters.
    pub(super) dead_lettered: u64,
    /// Dead letters of any of them that do not hold what the source has there.
    pub(super) altered_letters: u64,
}

impl SourceCounts {
    /// Non-blank lines of what is expected beside the job's own source, without dead letters.
    pub(super) fn retried(&self) -> u64 {
        (self.lines - self.records) - (self.letters - self.dead_lettered)
    }

    pub(super) fn add(&mut self, other: &SourceCounts) {
        self.lines += other.lines;
        self.letters += other.letters;
        self.records += other.records;
        self.dead_lettered += other.dead_lettered;
        self.altered_letters += other.altered_letters;
    }
}

/// Hands every line that is neither blank nor a dead letter as it should be to `visit`, in the plan's order, until it
/// returns false. `progress` hears the number of lines after each block. `times`: see [`Hasher::new`].
pub(super) fn read(
    job: &Verification<'_>,
    times: bool,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(SourceLine<'_>) -> bool,
) -> Result<SourceCounts, SourceError> {
    let mut reading = ReadExpected::new(job, times);
    let mut before = (0, 0);
    for (index, expected) in job.expected.iter().enumerate() {
        if !reading.read(expected, index as u32, expected.plan.once(), before, progress, visit)? {
            break;
        }
        before.0 += expected.plan.shards.len() as u32;
        before.1 += expected.plan.segments.len() as u32;
    }
    Ok(reading.counts)
}

/// The same of a part of what is expected. What is said of the order of its records holds within the part, and for
/// nothing else.
pub(super) fn read_part(
    job: &Verification<'_>,
    part: &SourcePart<'_>,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(SourceLine<'_>) -> bool,
) -> Result<SourceCounts, SourceError> {
    let mut reading = ReadExpected::new(job, true);
    for (index, (expected, plan)) in job.expected.iter().zip(part.plans).enumerate() {
        let shards = part.pieces.iter().filter(|piece| piece.expected as usize == index);
        let shards = shards.filter_map(|piece| plan.shards.get(piece.shard.0 as usize));
        if !reading.read(&Expected { plan, ..*expected }, index as u32, shards, (0, 0), progress, visit)? {
            break;
        }
    }
    Ok(reading.counts)
}

/// How many warnings of readers are told one by one.
const NOTICES_TOLD: u64 = 3;

/// Warnings of readers: a hundred thousand files may have the same fault.
#[derive(Default)]
struct ToldNotices(u64);

impl ToldNotices {
    fn tell(&mut self, notices: Vec<String>) {
        for notice in notices {
            match self.0 {
                told if told < NOTICES_TOLD => tracing::warn!("{notice}"),
                _ => tracing::debug!("{notice}"),
            }
            self.0 += 1;
        }
    }
}

/// What was left out is counted, however the reading ended.
impl Drop for ToldNotices {
    fn drop(&mut self) {
        if self.0 > NOTICES_TOLD {
            tracing::warn!("{} more such warnings; -v logs them", self.0 - NOTICES_TOLD);
        }
    }
}

struct ReadExpected {
    hasher: Hasher,
    counts: SourceCounts,
    pool: BlockPool,
    rows: Rows,
    notices: ToldNotices,
}

impl ReadExpected {
    fn new(job: &Verification<'_>, times: bool) -> ReadExpected {
        let (pool, rows) = (BlockPool::new(POOL_BYTES), Rows::default());
        let (hasher, notices) = (Hasher::of(job, times), ToldNotices::default());
        ReadExpected { hasher, counts: SourceCounts::default(), pool, rows, notices }
    }

    /// Reads shards of one of the [`Expected`], the job's own (0) or another; `before` it are shards and segments of
    /// others. False: `visit` has enough.
    fn read<'s>(
        &mut self,
        expected: &Expected<'_>,
        number_of_it: u32,
        shards: impl Iterator<Item = &'s Shard>,
        before: (u32, u32),
        progress: &mut dyn FnMut(u64),
        visit: &mut dyn FnMut(SourceLine<'_>) -> bool,
    ) -> Result<bool, SourceError> {
        let ReadExpected { hasher, counts, pool, rows, notices } = self;
        let own = number_of_it == 0;
        let mut mapping = Mapping::new(expected.rules);
        let takes = Takes::anything();
        // Behind a file that can't be read sets of partitions may be cut by place, each for itself.
        let uneven = expected.plan.partitions.is_some() && !expected.plan.keeps_order_of_keys();
        for shard in shards {
            let mut reader = expected.source.open(expected.plan, shard.id, &shard.start, None)?;
            let mut object = ObjectLetters::default();
            while wait_for_rows(reader.as_mut(), pool, rows)? {
                notices.tell(reader.take_notices());
                for (index, look) in rows.looks() {
                    let Some(block) = &rows.block else { continue };
                    let (row, value) = (&rows.rows[index], rows.rows[index].text(block));
                    if look == Look::Blank {
                        continue;
                    }
                    counts.lines += 1;
                    counts.records += u64::from(own);
                    let RecordPlace { segment, start, .. } = block.place_of(index, row);
                    object.turn_to(expected, shard, segment);
                    let place = SourcePlace { path: &object.path, start, value };
                    if let Some(held) = object.letters.and_then(|starts| starts.get(&start)) {
                        counts.letters += 1;
                        counts.dead_lettered += u64::from(own);
                        if *held != Held::of(row.whole, value) {
                            counts.altered_letters += 1;
                            if !visit(SourceLine::AlteredLetter(place)) {
                                return Ok(false);
                            }
                        }
                        continue;
                    }
                    let number = NonZeroU64::MIN.saturating_add(counts.lines);
                    let stretch = match uneven {
                        true => Stretch::Segment(before.1 + shard.segments.start + segment),
                        false => Stretch::Shard(before.0 + shard.id.0),
                    };
                    let order = SourceOrder { stretch, number };
                    let went_on = match look {
                        Look::Record(value) => match fate::record(&mut mapping, &takes, value) {
                            Ok(mapped) => {
                                let key = mapped.key.bytes(value);
                                let hash = hasher.expected(key, value, mapped.timestamp);
                                let expected = number_of_it;
                                visit(SourceLine::Record(SourceRecord { hash, key, place, order, expected }))
                            }
                            Err(_) => visit(SourceLine::NoRecord(place)),
                        },
                        Look::Blank | Look::Bad(_) => visit(SourceLine::NoRecord(place)),
                    };
                    if !went_on {
                        return Ok(false);
                    }
                }
                if rows.block.is_some() {
                    progress(counts.lines);
                }
            }
            reader.unchanged()?;
        }
        Ok(true)
    }
}

/// The dead letters of the object that is read.
#[derive(Default)]
struct ObjectLetters<'a> {
    segment: Option<u32>,
    path: Cow<'a, str>,
    letters: Option<&'a HashMap<u64, Held>>,
}

impl<'a> ObjectLetters<'a> {
    fn turn_to(&mut self, expected: &Expected<'a>, shard: &Shard, segment: u32) {
        if self.segment != Some(segment) {
            let path = expected.plan.object(&expected.plan.segments(shard)[segment as usize]).path.to_string_lossy();
            *self = ObjectLetters { segment: Some(segment), letters: expected.dead_letters.get(&*path), path };
        }
    }
}
