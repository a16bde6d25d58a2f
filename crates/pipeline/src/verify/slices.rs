//! Slices of the hash space that fit in memory.

use super::hash::RecordHash;

/// The hash space is counted in 2^16 buckets: half a MiB, and a bucket of 10^11 records still fits in parts.
const BUCKET_BITS: u32 = 16;

/// How many source records each bucket has.
pub(super) struct Sizes(Vec<u64>);

impl Default for Sizes {
    fn default() -> Self {
        Sizes(vec![0; 1 << BUCKET_BITS])
    }
}

impl Sizes {
    pub(super) fn add(&mut self, hash: &RecordHash) {
        self.0[bucket(hash)] += 1;
    }

    /// Slices of at most `limit` source records in each part, the last first.
    pub(super) fn slices(&self, limit: usize) -> Vec<Slice> {
        let limit = limit.max(1) as u64;
        let mut slices = Vec::new();
        let (mut start, mut records) = (0, 0);
        for (bucket, &size) in self.0.iter().enumerate() {
            if records + size > limit && bucket > start {
                slices.push(Slice { start, end: bucket, parts: records.div_ceil(limit).max(1) });
                (start, records) = (bucket, 0);
            }
            records += size;
        }
        slices.push(Slice { start, end: self.0.len(), parts: records.div_ceil(limit).max(1) });
        slices.reverse();
        slices
    }
}

fn bucket(hash: &RecordHash) -> usize {
    (hash.slice() >> (u64::BITS - BUCKET_BITS)) as usize
}

/// Some buckets. More than one part only when a single bucket is too large: then each part takes some of its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    start: usize,
    end: usize,
    pub(super) parts: u64,
}

impl Slice {
    pub(super) fn holds(&self, hash: &RecordHash, part: u64) -> bool {
        self.contains(hash) && self.part(hash) == part
    }

    /// Whether any part holds it.
    pub(super) fn contains(&self, hash: &RecordHash) -> bool {
        (self.start..self.end).contains(&bucket(hash))
    }

    fn part(&self, hash: &RecordHash) -> u64 {
        let low = hash.record & u128::from(u64::MAX);
        if self.parts == 1 { 0 } else { ((low * u128::from(self.parts)) >> 64) as u64 }
    }

    /// Two halves, the later first; `None` for a single bucket.
    pub(super) fn halves(&self) -> Option<[Slice; 2]> {
        let middle = self.start.midpoint(self.end);
        let half = |start, end| Slice { start, end, parts: self.parts };
        (middle > self.start).then(|| [half(middle, self.end), half(self.start, middle)])
    }
}
