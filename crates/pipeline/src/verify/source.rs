//! Reads the source as verify needs it: each line once, as a record with its hash.

use std::num::NonZeroU64;

use migration::ShardId;

use super::hash::{Hasher, RecordHash};
use super::{Verification, VerifyExample, VerifyKind, head};
use crate::dead_letter::Held;
use crate::mapping::Mapping;
use crate::source::is_blank;
use crate::{BlockPool, Line, Lines, SourceError};

/// What reading may hold at a time, besides one line of `max_line`.
const POOL_BYTES: usize = 4 << 20;

/// A line that is neither blank nor a dead letter as it should be.
pub(super) enum SourceLine<'a> {
    Record(SourceRecord<'a>),
    /// It can't become a record.
    Refused(SourcePlace<'a>),
    /// A dead letter that does not hold it.
    AlteredLetter(SourcePlace<'a>),
}

/// A record that the topic should have.
pub(super) struct SourceRecord<'a> {
    pub(super) hash: RecordHash,
    pub(super) key: Option<&'a [u8]>,
    pub(super) place: SourcePlace<'a>,
    pub(super) order: SourceOrder,
}

/// Where a record stands among all: those of one shard were sent in the order of their numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SourceOrder {
    pub(super) shard: ShardId,
    /// The number of its line among all that are not blank, in the plan's order.
    pub(super) number: NonZeroU64,
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

impl SourceRecord<'_> {
    pub(super) fn example(&self, kind: VerifyKind) -> VerifyExample {
        VerifyExample { key: self.key.map(head), ..self.place.example(kind) }
    }
}

#[derive(Default)]
pub(super) struct SourceCounts {
    /// Non-blank lines.
    pub(super) records: u64,
    pub(super) dead_lettered: u64,
    /// Of these: the letter does not hold what the source has there.
    pub(super) altered_letters: u64,
}

/// Hands every line that is neither blank nor a dead letter as it should be to `visit`, in the plan's order, until it returns false.
/// `progress` hears the number of lines after each block.
/// `times`: see [`Hasher::new`].
pub(super) fn read(
    job: &Verification<'_>,
    times: bool,
    progress: &mut dyn FnMut(u64),
    visit: &mut dyn FnMut(SourceLine<'_>) -> bool,
) -> Result<SourceCounts, SourceError> {
    let mut mapping = Mapping::new(job.rules);
    let mut hasher = Hasher::new(job.rules, times);
    let mut counts = SourceCounts::default();
    let mut pool = BlockPool::new(POOL_BYTES);
    let mut lines = Lines::default();
    for shard in &job.plan.shards {
        let mut reader = job.source.open(job.plan, shard.id, &job.plan.start(shard), None)?;
        while reader.next(&mut pool, &mut lines)? {
            reader.take_notices().iter().for_each(|notice| tracing::warn!("{notice}"));
            let Some(block) = &lines.block else { continue };
            let path = job.plan.object(&job.plan.segments(shard)[block.segment as usize]).path.to_string_lossy();
            let aside = job.dead_letters.get(&*path);
            for line in &lines.lines {
                let value = &block.bytes[line.start as usize..][..line.len as usize];
                if !line.too_long() && is_blank(value) {
                    continue;
                }
                counts.records += 1;
                let start = block.place + u64::from(line.start);
                let place = SourcePlace { path: &path, start, value };
                if let Some(held) = aside.and_then(|starts| starts.get(&start)) {
                    counts.dead_lettered += 1;
                    if *held != Held::of(line.whole, value) {
                        counts.altered_letters += 1;
                        if !visit(SourceLine::AlteredLetter(place)) {
                            return Ok(counts);
                        }
                    }
                    continue;
                }
                let number = NonZeroU64::MIN.saturating_add(counts.records);
                let order = SourceOrder { shard: shard.id, number };
                if !visit_line(line, place, order, &mut mapping, &mut hasher, visit) {
                    return Ok(counts);
                }
            }
            progress(counts.records);
        }
        reader.unchanged()?;
    }
    Ok(counts)
}

fn visit_line(
    line: &Line,
    place: SourcePlace<'_>,
    order: SourceOrder,
    mapping: &mut Mapping,
    hasher: &mut Hasher,
    visit: &mut dyn FnMut(SourceLine<'_>) -> bool,
) -> bool {
    match mapping.map(place.value) {
        Ok(mapped) if !line.too_long() => {
            let key = mapped.key.bytes(place.value);
            let hash = hasher.expected(key, place.value, mapped.timestamp);
            visit(SourceLine::Record(SourceRecord { hash, key, place, order }))
        }
        _ => visit(SourceLine::Refused(place)),
    }
}
