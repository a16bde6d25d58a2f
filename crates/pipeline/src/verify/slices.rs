//! The hash space in buckets: which of them differ, and slices of those that fit in memory.
//!
//! Where count and sum of a bucket are the same on both sides, its records are: nothing of it is looked at again. So
//! some records of others in a topic cost the matching of the few buckets that they fall in, not of the whole source.

use std::rc::Rc;

use super::hash::RecordHash;

/// 2^16 buckets are 4 MiB, and a bucket of 10^11 records still fits in parts. 2^20 are 64 MiB in each process that
/// counts (80 MiB with the order), which are given back before any records are matched: with 10^9 records a bucket has
/// a thousand, so that some thousand differences still fit in one slice.
const BUCKET_BITS: std::ops::RangeInclusive<u32> = 16..=20;

/// Buckets in a block.
const BLOCK: usize = 4096;

/// What the hash of an order is multiplied by before the next record: odd, so that nothing of it is shifted out.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

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

/// In which order a bucket's records come on both sides: a polynomial over their hashes. Differing ones say that the
/// order differs; in buckets that two partitions share they say nothing.
#[derive(Clone, Copy, Default)]
struct BucketOrder {
    source: u64,
    topic: u64,
}

/// Bytes of a bucket and its order in a block.
const BUCKET_BYTES: usize = 56;
const ORDER_BYTES: usize = 16;

/// Both sides as multisets in constant memory, and as sequences if their order counts.
pub(super) struct Buckets {
    bits: u32,
    all: Vec<Bucket>,
    /// Empty: the order does not count.
    orders: Vec<BucketOrder>,
}

impl Buckets {
    /// For a source that probably has this number of records. `ordered`: the order of a bucket's records counts.
    pub(super) fn of(records: u64, ordered: bool) -> Buckets {
        let bits = (records / BUCKET_RECORDS).max(1).ilog2().clamp(*BUCKET_BITS.start(), *BUCKET_BITS.end());
        let orders = if ordered { vec![BucketOrder::default(); 1 << bits] } else { Vec::new() };
        Buckets { bits, all: vec![Bucket::default(); 1 << bits], orders }
    }

    /// Takes a record of the source.
    pub(super) fn expect(&mut self, hash: &RecordHash) {
        let index = bucket(hash, self.bits);
        let bucket = &mut self.all[index];
        bucket.source += 1;
        bucket.sum = bucket.sum.wrapping_add(hash.record);
        bucket.timeless = bucket.timeless.wrapping_add(hash.timeless);
        if let Some(order) = self.orders.get_mut(index) {
            order.source = order.source.wrapping_mul(STEP).wrapping_add(hash.timeless as u64);
        }
    }

    /// Takes a record of the topic.
    pub(super) fn find(&mut self, hash: &RecordHash, misplaced: bool) {
        let index = bucket(hash, self.bits);
        let bucket = &mut self.all[index];
        bucket.topic += 1;
        bucket.sum = bucket.sum.wrapping_sub(hash.record);
        bucket.timeless = bucket.timeless.wrapping_sub(hash.timeless);
        bucket.misplaced += u64::from(misplaced);
        if let Some(order) = self.orders.get_mut(index) {
            order.topic = order.topic.wrapping_mul(STEP).wrapping_add(hash.timeless as u64);
        }
    }

    /// All of them as blocks of bytes, for another process.
    pub(super) fn blocks(&self) -> impl Iterator<Item = Vec<u8>> {
        (0..self.all.len()).step_by(BLOCK).map(|start| {
            let end = (start + BLOCK).min(self.all.len());
            let mut block = Vec::with_capacity((end - start) * (BUCKET_BYTES + ORDER_BYTES));
            for (index, bucket) in (start..).zip(&self.all[start..end]) {
                block.extend_from_slice(&bucket.source.to_le_bytes());
                block.extend_from_slice(&bucket.topic.to_le_bytes());
                block.extend_from_slice(&bucket.sum.to_le_bytes());
                block.extend_from_slice(&bucket.timeless.to_le_bytes());
                block.extend_from_slice(&bucket.misplaced.to_le_bytes());
                if let Some(order) = self.orders.get(index) {
                    block.extend_from_slice(&order.source.to_le_bytes());
                    block.extend_from_slice(&order.topic.to_le_bytes());
                }
            }
            block
        })
    }

    /// Adds what another process counted behind what is counted here, by one of its blocks. False: these are no bytes
    /// of one.
    pub(super) fn add_block(&mut self, number: usize, mut block: &[u8]) -> bool {
        let start = number.saturating_mul(BLOCK);
        let indices = start..start.saturating_add(BLOCK).min(self.all.len());
        let each = if self.orders.is_empty() { BUCKET_BYTES } else { BUCKET_BYTES + ORDER_BYTES };
        if indices.is_empty() || indices.len() * each != block.len() {
            return false;
        }
        for index in indices {
            let taken = (|| {
                let other = Bucket {
                    source: u64::from_le_bytes(take(&mut block)?),
                    topic: u64::from_le_bytes(take(&mut block)?),
                    sum: u128::from_le_bytes(take(&mut block)?),
                    timeless: u128::from_le_bytes(take(&mut block)?),
                    misplaced: u64::from_le_bytes(take(&mut block)?),
                };
                let order = match self.orders.is_empty() {
                    true => BucketOrder::default(),
                    false => BucketOrder {
                        source: u64::from_le_bytes(take(&mut block)?),
                        topic: u64::from_le_bytes(take(&mut block)?),
                    },
                };
                Some((other, order))
            })();
            let Some((other, order)) = taken else { return false };
            self.add_bucket(index, &other, order);
        }
        true
    }

    fn add_bucket(&mut self, index: usize, other: &Bucket, behind: BucketOrder) {
        let bucket = &mut self.all[index];
        bucket.source += other.source;
        bucket.topic += other.topic;
        bucket.sum = bucket.sum.wrapping_add(other.sum);
        bucket.timeless = bucket.timeless.wrapping_add(other.timeless);
        bucket.misplaced += other.misplaced;
        if let Some(order) = self.orders.get_mut(index) {
            order.source = order.source.wrapping_mul(power(other.source)).wrapping_add(behind.source);
            order.topic = order.topic.wrapping_mul(power(other.topic)).wrapping_add(behind.topic);
        }
    }

    /// Whether both sides have the same records, their times included or not.
    pub(super) fn are_equal(&self, times: bool) -> bool {
        !self.all.iter().any(|bucket| bucket.differs(times))
    }

    /// Whether both sides have their records in the same order, where that counts.
    pub(super) fn are_in_order(&self) -> bool {
        self.orders.iter().all(|order| order.source == order.topic)
    }

    /// The buckets that differ, in order as well, and those where something is misplaced, in slices of at most `limit`
    /// source records in each part; and how many records of the topic are in them.
    pub(super) fn into_slices(self, times: bool, limit: usize) -> (Vec<Slice>, u64) {
        let in_order = |index: usize| self.orders.get(index).is_none_or(|order| order.source == order.topic);
        let wanted = |(index, bucket): (usize, &Bucket)| bucket.differs(times) || bucket.misplaced > 0 || !in_order(index);
        let limit = limit.max(1) as u64;
        let marks = Rc::new(Marks { bits: self.bits, wanted: self.all.iter().enumerate().map(wanted).collect() });
        let marked = || self.all.iter().enumerate().filter(|(index, _)| marks.wanted[*index]);
        let topic = marked().map(|(_, bucket)| bucket.topic).sum();
        let mut slices = Vec::new();
        let (mut start, mut records) = (0, 0);
        let mut add = |start, end, records: u64| {
            slices.push(Slice { start, end, parts: records.div_ceil(limit).max(1), marks: Rc::clone(&marks) });
        };
        for (bucket, about) in marked() {
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
    (hash.slice >> (u64::BITS - bits)) as usize
}

/// [`STEP`], multiplied by itself as often.
fn power(mut exponent: u64) -> u64 {
    let (mut power, mut square) = (1u64, STEP);
    while exponent > 0 {
        if exponent & 1 == 1 {
            power = power.wrapping_mul(square);
        }
        square = square.wrapping_mul(square);
        exponent >>= 1;
    }
    power
}

fn take<const BYTES: usize>(from: &mut &[u8]) -> Option<[u8; BYTES]> {
    let (taken, rest) = from.split_first_chunk::<BYTES>()?;
    *from = rest;
    Some(*taken)
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
