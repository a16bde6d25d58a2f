//! The open chunk: what was taken since the last commit, and when it is time to close it.

use std::time::{Duration, Instant};

use migration::job::ChunkLimits;
use migration::{Chunk, Counts, Histogram, LedgerEntry, Position, Receipt, Token, Work};

/// The records between the last commit and the next.
#[derive(Debug)]
pub struct OpenChunk {
    /// Its number in the attempt, from 1.
    pub number: u64,
    /// Where its records went so far.
    pub counts: Counts,
    /// Duration of each flush in it.
    pub flush: Histogram,
    /// Acknowledged records by partition.
    pub partitions: Vec<u64>,
    /// What was delivered.
    pub receipt: Receipt,
    limits: ChunkLimits,
    /// When its first line was taken, or passed over.
    since: Option<Instant>,
    /// It is to be closed, whatever its limits are.
    over: bool,
}

impl OpenChunk {
    /// The attempt's first chunk.
    pub fn first(limits: ChunkLimits, partitions: usize) -> Self {
        OpenChunk {
            number: 1,
            counts: Counts::default(),
            flush: Histogram::default(),
            partitions: vec![0; partitions],
            receipt: Receipt::default(),
            limits,
            since: None,
            over: false,
        }
    }

    /// Whether nothing was passed since the last commit.
    pub fn is_empty(&self) -> bool {
        self.counts.passed() == 0
    }

    /// Notes that lines were taken at `now`.
    pub fn took(&mut self, lines: u64, bytes: u64, now: Instant) {
        self.counts.read += lines;
        self.counts.bytes_read += bytes;
        if lines > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// Notes that lines of other shards were passed over at `now`: they fill no chunk, but its position is to be kept
    /// now and then.
    pub fn passed_over(&mut self, lines: u64, bytes: u64, now: Instant) {
        self.counts.others += lines;
        self.counts.bytes_others += bytes;
        if lines > 0 {
            self.since.get_or_insert(now);
        }
    }

    /// How many more records it holds.
    pub fn records_left(&self) -> u64 {
        self.limits.records.saturating_sub(self.counts.read)
    }

    /// How many more bytes it holds.
    pub fn bytes_left(&self) -> u64 {
        self.limits.bytes.saturating_sub(self.counts.bytes_read)
    }

    /// Whether it holds as much as it may.
    pub fn full(&self) -> bool {
        self.over || self.records_left() == 0 || self.bytes_left() == 0
    }

    /// Takes nothing more.
    pub fn end_here(&mut self) {
        self.over = true;
    }

    /// When its interval is over; `None` while it is empty.
    pub fn deadline(&self) -> Option<Instant> {
        self.since.map(|since| since + self.limits.interval.min(Duration::from_secs(86_400)))
    }

    /// Gives it away as it is and opens the next.
    pub fn end(&mut self) -> OpenChunk {
        let next = OpenChunk { number: self.number + 1, ..OpenChunk::first(self.limits, self.partitions.len()) };
        std::mem::replace(self, next)
    }

    /// How far the shard is if the chunk is closed at `position`, with the shard's dead letters being `letters` bytes
    /// long. `before`: how far it is without the chunk.
    pub fn entry(&self, before: &LedgerEntry, position: Position, token: Option<Token>, letters: u64) -> LedgerEntry {
        let (mut counts, mut receipt) = (before.counts, before.receipt);
        counts.add(&self.counts);
        receipt.add(&self.receipt);
        LedgerEntry { position, counts, token, letters, receipt }
    }

    /// Closes it at an entry. `rest` is the work that it does not count.
    pub fn close(self, at: &LedgerEntry, rest: Work) -> Chunk {
        let OpenChunk { number, counts, flush, partitions, receipt, .. } = self;
        let LedgerEntry { position, token, letters, .. } = at.clone();
        Chunk { number, position, token, counts, work: Work { flush, partitions, ..rest }, letters, receipt }
    }

    /// Its work so far, with `rest` that it does not count.
    pub fn work(&self, rest: Work) -> Work {
        Work { flush: self.flush.clone(), partitions: self.partitions.clone(), ..rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk() -> OpenChunk {
        OpenChunk::first(ChunkLimits { records: 10, bytes: 100, interval: Duration::from_secs(1) }, 2)
    }

    #[test]
    fn the_first_limit_reached_counts() {
        let now = Instant::now();
        let mut by_records = chunk();
        by_records.took(9, 9, now);
        assert!(!by_records.full());
        by_records.took(1, 1, now);
        assert!(by_records.full());
        let mut by_bytes = chunk();
        by_bytes.took(1, 100, now);
        assert!(by_bytes.full());
    }

    #[test]
    fn others_fill_no_chunk_but_its_interval_runs() {
        let now = Instant::now();
        let mut chunk = chunk();
        chunk.passed_over(0, 0, now);
        assert!(chunk.is_empty() && chunk.deadline().is_none());
        chunk.passed_over(1_000, 5_000, now);
        assert!(!chunk.is_empty() && !chunk.full());
        assert_eq!(chunk.deadline(), Some(now + Duration::from_secs(1)));
        let counts = chunk.end().counts;
        assert_eq!((counts.read, counts.bytes_read, counts.passed(), counts.bytes_passed()), (0, 0, 1_000, 5_000));
        assert!(counts.balance());
    }

    #[test]
    fn the_interval_begins_with_the_first_line() {
        let now = Instant::now();
        let mut chunk = chunk();
        assert_eq!(chunk.deadline(), None);
        chunk.took(0, 0, now);
        assert_eq!(chunk.deadline(), None);
        chunk.took(1, 5, now);
        chunk.took(1, 5, now + Duration::from_millis(500));
        assert_eq!(chunk.deadline(), Some(now + Duration::from_secs(1)));
        let closed = chunk.end().close(&LedgerEntry::default(), Work::default());
        assert_eq!((closed.number, closed.counts.read, chunk.number), (1, 2, 2));
        assert!(chunk.is_empty() && chunk.deadline().is_none());
    }
}
