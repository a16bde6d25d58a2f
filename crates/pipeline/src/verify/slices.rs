//! The hash space in buckets: which of them differ, and slices of those that fit in memory.
//!
//! Where count and sum of a bucket are the same on both sides, its records are: nothing of it is looked at again. So
//! some records of others in a topic cost the matching of the few buckets that they fall in, not of the whole source.

use std::rc::Rc;

use super::hash::RecordHash;

/// 2^16 buckets are 4 MiB, and a bucket of 10^11 records still fits in parts. 2^21 are 128 MiB, which are given back
/// before any records are matched.
const BUCKET_BITS: std::ops::RangeInclusive<u32> = 16..=21;

/// How many records a bucket is to have.
const BUCKET_RECORDS: u64 = 16;

/// What is known of a bucket when both sides were read once.
#[derive(Clone, Copy, Default)]
struct Bucket {
    /// Records of the source.
    source: u64,
    /// Records of the topic that may be the source's.
    topic: u64,
    /// The sum of the source's hashes without that of the topic's. A sum, unlike an exclusive or, sees pairs of copies.
    sum: u128,
    /// The same of hashes without times.
    timeless: u128,
    /// Records of the topic that stand in another partition than their key chooses.
    misplaced: u64,
}

impl Bucket {
    fn differs(&self, times: bool) -> bool {
        self.source != self.topic || if times { self.sum != 0 } else { self.timeless != 0 }
    }
}

/// Both sides as multisets in constant memory.
pub(super) struct Buckets {
    bits: u32,
    all: Vec<Bucket>,
}

impl Buckets {
    /// For a source that probably has this number of records.
    pub(super) fn of(records: u64) -> Buckets {
        let bits = (records / BUCKET_RECORDS).max(1).ilog2().clamp(*BUCKET_BITS.start(), *BUCKET_BITS.end());
        Buckets { bits, all: vec![Bucket::default(); 1 << bits] }
    }

    /// Takes a record of the source.
    pub(super) fn expect(&mut self, hash: &RecordHash) {
        let bucket = &mut self.all[bucket(hash, self.bits)];
        bucket.source += 1;
        bucket.sum = bucket.sum.wrapping_add(hash.record);
        bucket.timeless = bucket.timeless.wrapping_add(hash.timeless);
    }

    /// Takes a record of the topic.
    pub(super) fn find(&mut self, hash: &RecordHash, misplaced: bool) {
        let bucket = &mut self.all[bucket(hash, self.bits)];
        bucket.topic += 1;
        bucket.sum = bucket.sum.wrapping_sub(hash.record);
        bucket.timeless = bucket.timeless.wrapping_sub(hash.timeless);
        bucket.misplaced += u64::from(misplaced);
    }

    /// Whether both sides have the same records, their times included or not.
    pub(super) fn are_equal(&self, times: bool) -> bool {
        !self.all.iter().any(|bucket| bucket.differs(times))
    }

    /// The buckets that differ, and those where something is misplaced, in slices of at most `limit` source records in
    /// each part; and how many records of the topic are in them.
    pub(super) fn into_slices(self, times: bool, limit: usize) -> (Vec<Slice>, u64) {
        let wanted = |bucket: &Bucket| bucket.differs(times) || bucket.misplaced > 0;
        let limit = limit.max(1) as u64;
        let marks = Rc::new(Marks { bits: self.bits, wanted: self.all.iter().map(wanted).collect() });
        let topic = self.all.iter().filter(|bucket| wanted(bucket)).map(|bucket| bucket.topic).sum();
        let mut slices = Vec::new();
        let (mut start, mut records) = (0, 0);
        let mut add = |start, end, records: u64| {
            slices.push(Slice { start, end, parts: records.div_ceil(limit).max(1), marks: Rc::clone(&marks) });
        };
        for (bucket, about) in self.all.iter().enumerate().filter(|(_, bucket)| wanted(bucket)) {
            if records + about.source > limit && records > 0 {
                add(start, bucket, records);
                (start, records) = (bucket, 0);
            }
            records += about.source;
        }
        add(start, self.all.len(), records);
        (slices, topic)
    }
}

fn bucket(hash: &RecordHash, bits: u32) -> usize {
    (hash.slice() >> (u64::BITS - bits)) as usize
}

/// Which buckets are matched record by record.
struct Marks {
    bits: u32,
    wanted: Vec<bool>,
}

/// Some buckets. More than one part only when a single bucket is too large: then each part takes some of its records.
#[derive(Clone)]
pub(super) struct Slice {
    start: usize,
    end: usize,
    pub(super) parts: u64,
    marks: Rc<Marks>,
}

impl Slice {
    pub(super) fn holds(&self, hash: &RecordHash, part: u64) -> bool {
        self.contains(hash) && self.part(hash) == part
    }

    /// Whether any part holds it.
    pub(super) fn contains(&self, hash: &RecordHash) -> bool {
        let bucket = bucket(hash, self.marks.bits);
        (self.start..self.end).contains(&bucket) && self.marks.wanted[bucket]
    }

    fn part(&self, hash: &RecordHash) -> u64 {
        let low = hash.record & u128::from(u64::MAX);
        if self.parts == 1 { 0 } else { ((low * u128::from(self.parts)) >> 64) as u64 }
    }
}
