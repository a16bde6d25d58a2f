//! The judge of order: reads a topic and holds each key's and each partition's records against the source's order.
//!
//! Responsible for: what is missing, twice or unknown, where each record stands, and what stands in which order. It
//! knows the values and keys of the source, and nothing of how the program came to send them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use xxhash_rust::xxh3::xxh3_128;

use crate::murmur2;
use crate::scene::Scene;
use crate::topic::{self, Isolation, TopicRecord};

/// How many findings are described in words.
const EXAMPLES: usize = 10;

/// Where a key belongs among a number of partitions; `None`: the key counts as none.
pub type Partitioner = fn(&[u8], u32) -> Option<u32>;

/// As Java's producer does.
pub fn by_murmur2(key: &[u8], partitions: u32) -> Option<u32> {
    Some(murmur2::partition_of(key, partitions))
}

/// As librdkafka does by itself: an empty key counts as none.
pub fn by_crc32(key: &[u8], partitions: u32) -> Option<u32> {
    (!key.is_empty()).then(|| crc32(key) % partitions)
}

/// The common CRC-32, bit by bit, apart from the product's.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let shift = |crc: u32| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| shift(crc));
    !bytes.iter().fold(!0, byte)
}

/// What the topic shall have, in the source's order; a record's place is its index. Each value is there once.
#[derive(Default, Clone, PartialEq, Eq)]
pub struct Expected {
    places: HashMap<u128, u32>,
    /// By place, the number of its key; `None` = it has no key.
    keys: Vec<Option<u32>>,
    numbers: HashMap<Vec<u8>, u32>,
}

impl Expected {
    /// The next record.
    pub fn add(&mut self, key: Option<&[u8]>, value: &[u8]) {
        let place = u32::try_from(self.keys.len()).expect("datasets are smaller");
        let next = u32::try_from(self.numbers.len()).expect("datasets are smaller");
        let number = key.map(|key| *self.numbers.entry(key.to_vec()).or_insert(next));
        self.keys.push(number);
        let before = self.places.insert(xxh3_128(value), place);
        assert_eq!(before, None, "two records have the value {}", String::from_utf8_lossy(value));
    }

    /// How many records.
    pub fn len(&self) -> u64 {
        self.keys.len() as u64
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// How many keys.
    pub fn keys(&self) -> u64 {
        self.numbers.len() as u64
    }

    /// Only its first records.
    #[must_use]
    pub fn first(&self, records: u64) -> Expected {
        let mut first = self.clone();
        first.keys.truncate(usize::try_from(records).expect("datasets fit into memory"));
        first.places.retain(|_, place| u64::from(*place) < records);
        first
    }
}

/// What does not follow the source's order.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Disorder {
    /// Keys of which a record stands behind a later one of the same key.
    pub keys: u64,
    /// Records that stand behind a later one in their partition, whatever their keys.
    pub records: u64,
}

/// How a topic differs from what it shall have. The default is: not at all.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Records that the topic lacks.
    pub missing: u64,
    /// Surplus copies.
    pub duplicates: u64,
    /// Values that the source does not have.
    pub unexpected: u64,
    /// Records whose key is not the source's.
    pub other_keys: u64,
    /// Records in another partition than their key's.
    pub misplaced: u64,
    /// Of each record only its first copy looked at.
    pub first_copies: Disorder,
    /// Of each record only its last copy looked at: what a compacted topic keeps.
    pub last_copies: Disorder,
    /// Some of it in words.
    pub examples: Vec<String>,
}

/// Sees a topic's records and judges them.
pub struct Judge<'a> {
    expected: &'a Expected,
    partitions: u32,
    partitioner: Partitioner,
    /// By place, how many copies were seen.
    copies: Vec<u32>,
    /// By partition, the places of its records as they stand.
    logs: BTreeMap<u32, Vec<u32>>,
    keyless: BTreeSet<u32>,
    found: Findings,
}

impl<'a> Judge<'a> {
    /// Of a job for a topic that had this number of partitions when it began.
    pub fn new(expected: &'a Expected, partitions: u32, partitioner: Partitioner) -> Self {
        let copies = vec![0; expected.keys.len()];
        let (logs, keyless, found) = Default::default();
        Judge { expected, partitions, partitioner, copies, logs, keyless, found }
    }

    /// Reads the whole topic of a scene.
    pub fn read(scene: &Scene, expected: &'a Expected, partitions: u32, partitioner: Partitioner) -> Self {
        let mut judge = Judge::new(expected, partitions, partitioner);
        topic::read(scene.kafka.bootstrap(), &scene.topic, Isolation::Uncommitted, |record| judge.see(&record));
        judge
    }

    /// The next record of its partition.
    pub fn see(&mut self, record: &TopicRecord) {
        let value = record.value.as_deref().unwrap_or_default();
        let Some(&place) = self.expected.places.get(&xxh3_128(value)) else {
            self.found.unexpected += 1;
            return self.describe(|| format!("unexpected: {record:?}"));
        };
        self.copies[place as usize] += 1;
        self.logs.entry(record.partition).or_default().push(place);
        let number = record.key.as_ref().map(|key| self.expected.numbers.get(key).copied());
        if number != self.expected.keys[place as usize].map(Some) {
            self.found.other_keys += 1;
            return self.describe(|| format!("another key: {record:?}"));
        }
        match record.key.as_deref().and_then(|key| (self.partitioner)(key, self.partitions)) {
            Some(partition) if partition != record.partition => {
                self.found.misplaced += 1;
                self.describe(|| format!("belongs to partition {partition}: {record:?}"));
            }
            Some(_) => {}
            None => {
                self.keyless.insert(record.partition);
            }
        }
    }

    /// The partitions that have records whose key chooses none.
    pub fn keyless_partitions(&self) -> &BTreeSet<u32> {
        &self.keyless
    }

    /// How many different records of a range of places were seen.
    pub fn seen(&self, places: std::ops::Range<u64>) -> u64 {
        let copies = &self.copies[places.start as usize..places.end as usize];
        copies.iter().filter(|copies| **copies > 0).count() as u64
    }

    /// What was found in all.
    pub fn findings(mut self) -> Findings {
        self.found.missing = self.copies.iter().filter(|copies| **copies == 0).count() as u64;
        self.found.duplicates = self.copies.iter().map(|copies| u64::from(copies.saturating_sub(1))).sum();
        let logs = std::mem::take(&mut self.logs);
        let (mut first, mut last) = (BTreeSet::new(), BTreeSet::new());
        for (partition, log) in &logs {
            let of_first = self.disorder(log.iter().copied(), |place| place, &mut first);
            // From behind, and with the places turned round, a last copy is a first one.
            let of_last = self.disorder(log.iter().rev().copied(), |place| u32::MAX - place, &mut last);
            if of_first + of_last > 0 {
                self.describe(|| format!("partition {partition}: {of_first} first and {of_last} last copies out of order"));
            }
            self.found.first_copies.records += of_first;
            self.found.last_copies.records += of_last;
        }
        self.found.first_copies.keys = first.len() as u64;
        self.found.last_copies.keys = last.len() as u64;
        self.found
    }

    /// How many of a partition's records come behind one of a higher rank, and adds the keys of which one does. Only
    /// the first copy of each that comes along counts.
    fn disorder(&self, log: impl Iterator<Item = u32>, rank: fn(u32) -> u32, keys: &mut BTreeSet<u32>) -> u64 {
        let mut seen = vec![false; self.copies.len()];
        let (mut highest, mut highest_of_key) = (0, HashMap::new());
        let mut wrong = 0;
        for place in log {
            if std::mem::replace(&mut seen[place as usize], true) {
                continue;
            }
            let rank = rank(place);
            wrong += u64::from(rank < highest);
            highest = highest.max(rank);
            if let Some(key) = self.expected.keys[place as usize] {
                let before: &mut u32 = highest_of_key.entry(key).or_default();
                if rank < *before {
                    keys.insert(key);
                }
                *before = rank.max(*before);
            }
        }
        wrong
    }

    fn describe(&mut self, text: impl FnOnce() -> String) {
        if self.found.examples.len() < EXAMPLES {
            let text = text();
            self.found.examples.push(text);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARTITIONS: u32 = 4;

    /// Twelve records of the keys a, b and c in turn.
    fn expected() -> Expected {
        let mut expected = Expected::default();
        (0..12).for_each(|n| expected.add(Some(key(n)), value(n).as_bytes()));
        expected
    }

    fn key(number: usize) -> &'static [u8] {
        [&b"a"[..], b"b", b"c"][number % 3]
    }

    fn value(number: usize) -> String {
        format!("value {number}")
    }

    fn record(number: usize) -> TopicRecord {
        let partition = murmur2::partition_of(key(number), PARTITIONS);
        let (key, value) = (Some(key(number).to_vec()), Some(value(number).into_bytes()));
        TopicRecord { partition, offset: 0, timestamp: 0, key, value, headers: String::new() }
    }

    fn judged(records: &[TopicRecord]) -> Findings {
        let expected = expected();
        let mut judge = Judge::new(&expected, PARTITIONS, by_murmur2);
        records.iter().for_each(|record| judge.see(record));
        Findings { examples: Vec::new(), ..judge.findings() }
    }

    fn in_order(numbers: &[usize]) -> Findings {
        judged(&numbers.iter().map(|number| record(*number)).collect::<Vec<_>>())
    }

    #[test]
    fn the_sources_order_is_right_whatever_the_partitions_order() {
        assert_eq!(in_order(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]), Findings::default());
        // kcat shows one partition after the other, or mixed.
        let mut records: Vec<TopicRecord> = (0..12).map(record).collect();
        records.sort_by_key(|record| record.partition);
        assert_eq!(judged(&records), Findings::default());
    }

    #[test]
    fn a_reversed_pair_of_a_key_is_found() {
        let found = in_order(&[3, 1, 2, 0, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!((found.first_copies.keys, found.last_copies.keys), (1, 1));
        assert!(found.first_copies.records > 0 && found.last_copies.records > 0, "{found:?}");
        assert_eq!((found.missing, found.duplicates), (0, 0));
    }

    #[test]
    fn a_reversed_pair_of_two_keys_in_one_partition_is_found_there() {
        let mut expected = Expected::default();
        expected.add(Some(b"a"), b"1");
        expected.add(Some(b"b"), b"2");
        let mut judge = Judge::new(&expected, 1, by_murmur2);
        for (key, value) in [("b", "2"), ("a", "1")] {
            let (key, value) = (Some(key.into()), Some(value.into()));
            judge.see(&TopicRecord { partition: 0, offset: 0, timestamp: 0, key, value, headers: String::new() });
        }
        let found = judge.findings();
        let one = Disorder { keys: 0, records: 1 };
        assert_eq!((found.first_copies, found.last_copies, found.misplaced), (one, one, 0), "{found:?}");
    }

    #[test]
    fn a_chunk_that_is_repeated_in_order_is_only_twice() {
        // The last chunk, again and from its start.
        let numbers = [0, 1, 2, 3, 4, 5, 6, 7, 3, 4, 5, 6, 7, 8, 9, 10, 11];
        assert_eq!(in_order(&numbers), Findings { duplicates: 5, ..Findings::default() });
    }

    #[test]
    fn a_late_duplicate_breaks_only_the_last_copies() {
        let found = in_order(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 6]);
        assert_eq!((found.duplicates, found.first_copies), (1, Disorder::default()));
        assert_eq!(found.last_copies.keys, 1, "{found:?}");
        assert!(found.last_copies.records >= 1, "{found:?}");
    }

    #[test]
    fn an_early_record_breaks_only_the_first_copies() {
        let found = in_order(&[0, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
        assert_eq!((found.duplicates, found.last_copies), (1, Disorder::default()));
        assert_eq!(found.first_copies.keys, 1, "{found:?}");
    }

    #[test]
    fn a_key_in_another_partition_and_another_key_are_found() {
        let mut records: Vec<TopicRecord> = (0..12).map(record).collect();
        records[5].partition = (records[5].partition + 1) % PARTITIONS;
        assert_eq!(judged(&records).misplaced, 1);
        records[5] = TopicRecord { key: Some(b"a".to_vec()), ..record(5) };
        assert_eq!(judged(&records).other_keys, 1);
        records[5].key = None;
        assert_eq!(judged(&records).other_keys, 1);
    }

    #[test]
    fn what_is_missing_and_what_is_unknown_is_counted() {
        let mut records: Vec<TopicRecord> = (0..11).map(record).collect();
        records.push(TopicRecord { value: Some(b"what?".to_vec()), ..record(11) });
        let found = judged(&records);
        assert_eq!((found.missing, found.unexpected), (1, 1));
    }

    #[test]
    fn a_key_that_chooses_no_partition_may_be_anywhere_and_is_told() {
        let mut expected = Expected::default();
        expected.add(Some(b""), b"1");
        expected.add(None, b"2");
        let mut judge = Judge::new(&expected, 8, by_crc32);
        for (partition, key, value) in [(3, Some(Vec::new()), "1"), (5, None, "2")] {
            let value = Some(value.into());
            judge.see(&TopicRecord { partition, offset: 0, timestamp: 0, key, value, headers: String::new() });
        }
        assert_eq!(judge.keyless_partitions().iter().copied().collect::<Vec<_>>(), [3, 5]);
        assert_eq!((judge.seen(0..2), judge.seen(1..1)), (2, 0));
        assert_eq!(judge.findings(), Findings::default());
    }

    #[test]
    fn only_the_first_records_can_be_expected() {
        let expected = expected().first(5);
        let mut judge = Judge::new(&expected, PARTITIONS, by_murmur2);
        (0..6).for_each(|number| judge.see(&record(number)));
        let found = judge.findings();
        assert_eq!((found.missing, found.unexpected), (0, 1));
    }

    #[test]
    fn crc32_is_the_common_one() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!((by_crc32(b"", 8), by_murmur2(b"", 8).is_some()), (None, true));
    }
}
