//! Hashes of records, and which records of a topic may be the job's.

use migration::job::RecordRules;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed, xxh3_128};

use super::{LastValues, TopicRecord, Verification, encode_header, encoded_headers};

/// What a record is matched by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordHash {
    /// Of all that is compared.
    pub(super) record: u128,
    /// The same without its time.
    pub(super) timeless: u128,
    /// Of key and value alone, the upper half.
    content: u64,
    /// Of the key; `None` for a null key.
    pub(super) key: Option<u64>,
    /// What slices are cut by: equal keys have it equal, and without a key equal values.
    pub(super) slice: u64,
}

impl RecordHash {
    /// Both halves, as a table holds them.
    pub(super) fn halves(&self) -> [u64; 2] {
        [(self.record >> 64) as u64, self.record as u64]
    }

    /// What altered records are paired by; never 0. `None` for a null key.
    pub(super) fn group(&self, partition: u32) -> Option<u64> {
        self.key.map(|key| xxh3_64_with_seed(&key.to_le_bytes(), u64::from(partition)).max(1))
    }

    /// The same for a record without a key, which has no partition of its own: its value.
    pub(super) fn group_without_key(&self) -> u64 {
        xxh3_64_with_seed(&self.content.to_le_bytes(), u64::MAX).max(1)
    }
}

/// For tables whose keys are hashes: takes them as they are. Slices fix the upper bits of one half, parts those of the
/// other: the mixture of both is even.
#[derive(Default)]
pub(super) struct Mixed(u64);

impl std::hash::Hasher for Mixed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.chunks_exact(8).for_each(|half| self.write_u64(u64::from_ne_bytes(half.try_into().expect("chunks of eight"))));
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = self.0.rotate_left(32) ^ half;
    }

    fn write_usize(&mut self, _length: usize) {}
}

/// Hashes records as far as the job's rules say what they should be; keeps some memory between them.
pub(super) struct Hasher {
    headers: Option<FixedHeaders>,
    times: bool,
    by_partition: Option<ByPartition>,
    joined: Vec<u8>,
}

/// Cuts slices so that the keys of one partition lie together.
struct ByPartition {
    choose: fn(&[u8], u32) -> Option<u32>,
    partitions: u32,
    /// How much of the hash space a partition has.
    width: u64,
}

/// The headers that each record of the source has.
struct FixedHeaders {
    hash: u128,
    /// All of them as [`encode_header`] writes them, one after the other.
    encoded: Vec<u8>,
    each: Vec<Vec<u8>>,
}

impl FixedHeaders {
    fn of(rules: &RecordRules) -> Option<FixedHeaders> {
        let encode = |(name, value): &(String, String)| {
            let mut encoded = Vec::new();
            encode_header(&mut encoded, name.as_bytes(), Some(value.as_bytes()));
            encoded
        };
        let each: Vec<_> = rules.headers.iter().map(encode).collect();
        let encoded = each.concat();
        (!each.is_empty()).then(|| FixedHeaders { hash: xxh3_128(&encoded), encoded, each })
    }

    /// Whether a record has all of them, wherever they stand among its own.
    fn are_among(&self, found: &[u8]) -> bool {
        found == self.encoded || self.each.iter().all(|wanted| encoded_headers(found).any(|header| header == wanted))
    }
}

impl ByPartition {
    fn slice(&self, key: &[u8], hash: u64) -> u64 {
        let Some(partition) = (self.choose)(key, self.partitions) else { return hash };
        let inside = ((u128::from(hash) * u128::from(self.width)) >> 64) as u64;
        u64::from(partition) * self.width + inside
    }
}

impl Hasher {
    /// `times`: whether times are compared where the rules name a field for them.
    pub(super) fn new(rules: &RecordRules, times: bool) -> Hasher {
        let times = times && rules.timestamp.is_some();
        Hasher { headers: FixedHeaders::of(rules), times, by_partition: None, joined: Vec::new() }
    }

    /// That of a comparison.
    pub(super) fn of(job: &Verification<'_>, times: bool) -> Hasher {
        let partitions = job.partitions.max(1);
        let by_partition = ByPartition { choose: job.partitioner, partitions, width: u64::MAX / u64::from(partitions) };
        let by_partition = (job.last_values == LastValues::Compared).then_some(by_partition);
        Hasher { by_partition, ..Hasher::new(job.rules, times) }
    }

    /// Whether the job's records have headers that tell them from others'.
    pub(super) fn has_headers(&self) -> bool {
        self.headers.is_some()
    }

    /// Whether more than key and value counts.
    pub(super) fn has_details(&self) -> bool {
        self.times || self.has_headers()
    }

    /// Whether a record of the topic may be the job's: it has the job's headers, or the job sets none.
    pub(super) fn owns(&self, record: &TopicRecord<'_>) -> bool {
        self.headers.as_ref().is_none_or(|headers| headers.are_among(record.headers))
    }

    /// A record as the source says that it should be.
    pub(super) fn expected(&mut self, key: Option<&[u8]>, value: &[u8], time: Option<i64>) -> RecordHash {
        let headers = self.headers.as_ref().map(|headers| headers.hash);
        self.hash(key, value, headers, time)
    }

    /// A record as it stands in the topic.
    pub(super) fn found(&mut self, record: &TopicRecord<'_>) -> RecordHash {
        let headers = self.headers.as_ref().map(|_| xxh3_128(record.headers));
        self.hash(record.key, record.value, headers, record.time)
    }

    /// A record as it would stand in the topic if it had the job's headers and no others.
    pub(super) fn found_with_headers(&mut self, record: &TopicRecord<'_>) -> RecordHash {
        self.expected(record.key, record.value, record.time)
    }

    /// A null key, an empty one, and any way to share bytes between key and value have different hashes.
    fn hash(&mut self, key: Option<&[u8]>, value: &[u8], headers: Option<u128>, time: Option<i64>) -> RecordHash {
        self.joined.clear();
        let length = key.map_or(u64::MAX, |key| key.len() as u64);
        self.joined.extend_from_slice(&length.to_le_bytes());
        self.joined.extend_from_slice(key.unwrap_or_default());
        self.joined.extend_from_slice(value);
        let content = xxh3_128(&self.joined);
        let timeless = headers.map_or(content, |headers| with(content, headers));
        let record = match time {
            // 65 bits: no time is as good as another.
            Some(time) if self.times => with(timeless, (time as u64).into()),
            None if self.times => with(timeless, u128::MAX),
            _ => timeless,
        };
        let (content, key_hash) = ((content >> 64) as u64, key.map(xxh3_64));
        let slice = match (&self.by_partition, key, key_hash) {
            (Some(by), Some(key), Some(hash)) => by.slice(key, hash),
            _ => key_hash.unwrap_or(content),
        };
        RecordHash { record, timeless, content, key: key_hash, slice }
    }
}

fn with(hash: u128, more: u128) -> u128 {
    let mut both = [0; 32];
    both[..16].copy_from_slice(&hash.to_le_bytes());
    both[16..].copy_from_slice(&more.to_le_bytes());
    xxh3_128(&both)
}
