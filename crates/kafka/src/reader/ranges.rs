//! How far each partition is read: what a fetched record, an end or an error does to it.
//!
//! Responsible for: that each partition is done exactly once, whatever comes twice or in an unusual order. Not
//! responsible for: asking the brokers.

use std::collections::BTreeSet;

use migration::report::verify::PartitionRange;
use pipeline::verify::TopicRecord;
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use crate::classify::{Verdict, verdict};
use crate::ffi::{Code, Fetched};

/// What is read of one partition, as fixed at the first [`pipeline::verify::TopicReader::restart`], and how far it has
/// come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Range {
    /// The first offset that could be read when the range was fixed.
    pub(super) low: i64,
    /// The job's start.
    pub(super) start: i64,
    /// The first offset that is not read.
    pub(super) end: i64,
    /// The next offset to visit.
    pub(super) position: i64,
    /// Offsets of the range that can't be read any more.
    pub(super) gone: i64,
}

/// How reading goes on after the next offset could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// From this offset on.
    From(i64),
    /// The partition is done.
    Done,
    /// The log ends below what was read already: it lost records at its end.
    CutOff,
}

impl Range {
    /// From `start` (without one: the first offset) to where the log ended.
    pub(super) fn new(start: Option<i64>, (low, high): (i64, i64)) -> Range {
        let start = start.unwrap_or(low);
        let end = high.max(start);
        Range { low, start, end, position: start, gone: (low.min(end) - start).max(0) }
    }

    /// Goes back to the first offset that can be read.
    pub(super) fn rewind(&mut self) {
        self.position = self.start + self.gone;
    }

    /// How many offsets are left to visit.
    pub(super) fn left(&self) -> u64 {
        u64::try_from(self.end - self.position).unwrap_or(0)
    }

    pub(super) fn is_read(&self) -> bool {
        self.position >= self.end
    }

    /// The next offset can't be read; the log has `low` to `high` now.
    pub(super) fn skip(&mut self, (low, high): (i64, i64)) -> Next {
        if !self.is_read() && low > self.position {
            self.position = low.min(self.end);
            // Every pass counts from the start: what is below the first offset is gone.
            self.gone = self.gone.max(self.position - self.start);
        }
        if self.is_read() {
            Next::Done
        } else if high < self.position {
            Next::CutOff
        } else {
            Next::From(self.position)
        }
    }

    /// The same as the comparison tells it.
    pub(super) fn told(&self) -> PartitionRange {
        PartitionRange { start: self.start, end: self.end, older: (self.start - self.low).max(0), gone: self.gone }
    }
}

/// What one fetch brought besides records.
#[derive(Default)]
pub(super) struct FetchOutcome {
    /// Whether any partition came nearer to its end.
    pub(super) advanced: bool,
    /// Partitions whose next offset can't be read any more.
    pub(super) skipped: BTreeSet<u32>,
    /// The first partition that is refused.
    pub(super) failed: Option<(u32, Code, String)>,
}

impl FetchOutcome {
    pub(super) fn take(&mut self, fetched: Fetched<'_>, ranges: &mut [Range], visit: &mut dyn FnMut(TopicRecord<'_>)) {
        let Some(range) = ranges.get_mut(fetched.partition as usize) else { return };
        if range.is_read() {
            return;
        }
        match fetched.code.known() {
            Some(E::RD_KAFKA_RESP_ERR_NO_ERROR) => {
                if fetched.offset < range.position {
                    // Fetched before a skip, or from the middle of a batch that begins before the start.
                    return;
                }
                range.position = fetched.offset + 1;
                self.advanced = true;
                // An offset beyond the end proves that the range is read: whatever was between is not a committed
                // record.
                if fetched.offset < range.end {
                    let Fetched { partition, offset, key, value, headers, time, .. } = fetched;
                    visit(TopicRecord { partition, offset, key, value, headers, time });
                }
            }
            // Nothing committed below this offset is left to read. Below the range's end: the log was cut off, or a
            // transaction is open there.
            Some(E::RD_KAFKA_RESP_ERR__PARTITION_EOF) => {
                self.advanced |= fetched.offset > range.position;
                range.position = range.position.max(fetched.offset);
            }
            Some(E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET | E::RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE) => {
                self.skipped.insert(fetched.partition);
            }
            _ if verdict(fetched.code) == Verdict::AllRejected => {
                let text = String::from_utf8_lossy(fetched.value).into_owned();
                self.failed.get_or_insert((fetched.partition, fetched.code, text));
            }
            // The client goes on by itself.
            _ => {}
        }
    }
}

/// How many partitions are not at their end.
pub(super) fn unread(ranges: &[Range]) -> usize {
    ranges.iter().filter(|range| !range.is_read()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOST: Code = Code::of(E::RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET);
    const END: Code = Code::of(E::RD_KAFKA_RESP_ERR__PARTITION_EOF);

    fn fetched(partition: u32, offset: i64, code: Code) -> Fetched<'static> {
        Fetched { partition, offset, code, key: None, value: b"x", headers: b"", is_null: false, time: None, any_time: -1 }
    }

    /// Takes all of one fetch; the offsets that were visited.
    fn take(ranges: &mut [Range], all: &[Fetched<'_>]) -> (FetchOutcome, Vec<i64>) {
        let (mut outcome, mut visited) = (FetchOutcome::default(), Vec::new());
        all.iter().for_each(|&one| outcome.take(one, ranges, &mut |record| visited.push(record.offset)));
        (outcome, visited)
    }

    #[test]
    fn an_error_that_comes_twice_ends_a_partition_once() {
        // Two partitions; all of the first is taken away while it is read, and two of its fetches say so.
        let mut ranges = [Range::new(Some(0), (0, 10)), Range::new(Some(0), (0, 10))];
        let (outcome, _) = take(&mut ranges, &[fetched(0, 4, Code::NONE), fetched(0, 5, LOST), fetched(0, 5, LOST)]);
        assert_eq!(outcome.skipped, BTreeSet::from([0]));
        assert_eq!(ranges[0].skip((12, 12)), Next::Done);
        assert_eq!(ranges[0].skip((12, 12)), Next::Done);
        assert_eq!((unread(&ranges), ranges[0].gone), (1, 10));
    }

    #[test]
    fn a_record_beyond_the_end_after_an_error_ends_a_partition_once() {
        let mut ranges = [Range::new(Some(0), (0, 10)), Range::new(Some(0), (0, 10))];
        let (outcome, visited) = take(&mut ranges, &[fetched(0, 0, LOST), fetched(0, 10, Code::NONE), fetched(0, 10, END)]);
        assert!(visited.is_empty() && outcome.skipped.contains(&0));
        assert_eq!((ranges[0].skip((10, 20)), unread(&ranges)), (Next::Done, 1));
    }

    #[test]
    fn a_log_that_ends_below_the_position_is_cut_off() {
        let mut range = Range::new(Some(0), (0, 100));
        range.position = 50;
        assert_eq!(range.skip((0, 20)), Next::CutOff);
        assert_eq!(range.skip((0, 100)), Next::From(50), "it was there all the time: a new leader");
        assert_eq!((range.skip((70, 100)), range.gone), (Next::From(70), 70));
        range.rewind();
        assert_eq!((range.position, range.left()), (70, 30));
        range.position = 130;
        assert_eq!(range.left(), 0);
    }

    #[test]
    fn what_was_before_the_start_is_older_and_what_is_below_the_log_is_gone() {
        let told = |start, ends| Range::new(start, ends).told();
        assert_eq!(told(Some(10), (4, 30)), PartitionRange { start: 10, end: 30, older: 6, gone: 0 });
        assert_eq!(told(Some(10), (25, 30)), PartitionRange { start: 10, end: 30, older: 0, gone: 15 });
        assert_eq!(told(None, (4, 30)), PartitionRange { start: 4, end: 30, older: 0, gone: 0 });
    }

    #[test]
    fn an_end_below_the_ranges_end_is_no_progress_the_second_time() {
        let mut ranges = [Range::new(Some(0), (0, 10))];
        assert!(take(&mut ranges, &[fetched(0, 3, END)]).0.advanced);
        assert!(!take(&mut ranges, &[fetched(0, 3, END)]).0.advanced);
        assert_eq!(unread(&ranges), 1);
    }
}
