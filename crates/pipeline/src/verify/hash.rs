//! Hashes of records, and their sum.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

/// What a record is matched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHash {
    /// Of key and value.
    pub(super) record: u128,
    /// Of the key; `None` for a null key.
    pub(super) key: Option<u64>,
}

impl RecordHash {
    /// What slices are cut by: equal keys have it equal, and without a key equal records.
    pub(super) fn slice(&self) -> u64 {
        self.key.unwrap_or((self.record >> 64) as u64)
    }

    /// Both halves, as a table holds them.
    pub(super) fn halves(&self) -> [u64; 2] {
        [(self.record >> 64) as u64, self.record as u64]
    }

    /// What altered records are paired by; never 0. `None` for a null key.
    pub(super) fn group(&self, partition: u32) -> Option<u64> {
        self.key.map(|key| xxh3_64_with_seed(&key.to_le_bytes(), u64::from(partition)).max(1))
    }
}

/// Hashes records; keeps some memory between them.
#[derive(Default)]
pub(super) struct Hasher {
    joined: Vec<u8>,
}

impl Hasher {
    /// A null key, an empty one, and any way to share bytes between key and value have different hashes.
    pub(super) fn hash(&mut self, key: Option<&[u8]>, value: &[u8]) -> RecordHash {
        self.joined.clear();
        let length = key.map_or(u64::MAX, |key| key.len() as u64);
        self.joined.extend_from_slice(&length.to_le_bytes());
        self.joined.extend_from_slice(key.unwrap_or_default());
        self.joined.extend_from_slice(value);
        RecordHash { record: xxh3_128(&self.joined), key: key.map(xxh3_64) }
    }
}

/// A multiset of records in constant memory. The sum, unlike an exclusive or, sees pairs of copies.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) records: u64,
    sum: u128,
}

impl Sum {
    pub(super) fn add(&mut self, hash: &RecordHash) {
        self.records += 1;
        self.sum = self.sum.wrapping_add(hash.record);
    }
}
