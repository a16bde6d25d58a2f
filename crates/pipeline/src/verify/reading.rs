//! Reading the two sides of a slice.
//!
//! Responsible for: what of source and topic belongs to a part of a slice, and telling how far the reading is. Not
//! responsible for: what is done with the records.

use super::hash::{Hasher, RecordHash};
use super::slices::Slice;
use super::source::{self, SourceLine, SourceRecord};
use super::{TopicReader, TopicRecord, Verification, VerifyError, VerifyProgress};

/// A record of the topic.
#[derive(Clone, Copy)]
pub(super) struct FoundRecord<'a> {
    pub(super) record: TopicRecord<'a>,
    /// Of one that is not the job's: as if it had the job's headers.
    pub(super) hash: RecordHash,
    /// Whether it may be the job's.
    pub(super) own: bool,
}

/// Both sides, and which slice is read.
pub(super) struct Reading<'a, 'b> {
    pub(super) job: &'a Verification<'b>,
    /// Whether times are compared if the job sets them.
    pub(super) times: bool,
    pub(super) topic: &'a mut dyn TopicReader,
    pub(super) progress: &'a mut dyn FnMut(VerifyProgress),
    /// The number of the slice, from 1.
    pub(super) slice: u32,
    /// How many slices there are.
    pub(super) slices: u32,
    /// How many lines the source has that are not blank.
    pub(super) lines: u64,
}

impl Reading<'_, '_> {
    /// Visits the source's records of one part, or of all parts in the source's order, until `visit` says that it has
    /// enough.
    pub(super) fn source(
        &mut self,
        slice: &Slice,
        part: Option<u64>,
        visit: &mut dyn FnMut(SourceRecord<'_>) -> bool,
    ) -> Result<(), VerifyError> {
        let Reading { job, times, progress, slice: number, slices, lines, .. } = self;
        let at = VerifyProgress { slice: *number, slices: *slices, of: *lines, ..VerifyProgress::default() };
        let mut report = |lines| progress(VerifyProgress { records: lines, done: lines, ..at });
        source::read(job, *times, &mut report, &mut |line| match line {
            SourceLine::Record(record) if part.map_or(slice.contains(&record.hash), |part| slice.holds(&record.hash, part)) => {
                visit(record)
            }
            _ => true,
        })?;
        Ok(())
    }

    /// Visits the topic's records of one part until `visit` says that it has enough.
    pub(super) fn topic(
        &mut self,
        slice: &Slice,
        part: u64,
        visit: &mut dyn FnMut(FoundRecord<'_>) -> bool,
    ) -> Result<(), VerifyError> {
        let mut hasher = Hasher::of(self.job, self.times);
        let (mut records, mut wanted) = (0, true);
        self.topic.restart()?;
        let of = self.topic.left();
        while wanted
            && self.topic.next(&mut |record| {
                records += 1;
                let own = hasher.owns(&record);
                let hash = if own { hasher.found(&record) } else { hasher.found_with_headers(&record) };
                if wanted && slice.holds(&hash, part) {
                    wanted = visit(FoundRecord { record, hash, own });
                }
            })?
        {
            let (slice, slices) = (self.slice, self.slices);
            let done = of.saturating_sub(self.topic.left());
            (self.progress)(VerifyProgress { slice, slices, topic: true, records, done, of, about: false });
        }
        Ok(())
    }
}
