//! A topic in memory against files, compared with a naive oracle, in slices of any size.

use std::collections::{HashMap, HashSet};

use migration::Plan;
use migration::job::{FieldPath, OnMissing, RecordRules, ShardOrder, ShardRules, TimestampUnit, Validate};
use migration::report::verify::Compared;
use proptest::prelude::*;

use super::compaction as compaction_of_topics;
use super::*;
use crate::dead_letter::Held;
use crate::doubles::MemorySource;
use crate::source::PlanRules;

mod compaction;
mod last_values;
mod made_rows;
mod missing;
mod others;

const PARTITIONS: u32 = 3;

fn partition(key: &[u8], partitions: u32) -> Option<u32> {
    // As with librdkafka's default: no fixed partition for an empty key.
    (!key.is_empty()).then(|| key.iter().map(|&b| u32::from(b)).sum::<u32>() % partitions)
}

/// What the topic double says it reads.
const RANGES: [PartitionRange; PARTITIONS as usize] = [
    PartitionRange { start: 0, end: 9, older: 0, gone: 0 },
    PartitionRange { start: 5, end: 9, older: 5, gone: 0 },
    PartitionRange { start: 9, end: 19, older: 0, gone: 7 },
];

type Record = (Option<Vec<u8>>, Vec<u8>);

/// A topic that hands out a few records at a time.
#[derive(Clone, Default)]
struct Topic {
    /// Which partitions are read; `None`: all.
    only: Option<Vec<u32>>,
    records: Vec<(u32, Record)>,
    at: usize,
    step: usize,
    restarts: usize,
    /// From this restart on it has one record less.
    shrinks: Option<usize>,
    compacted: Option<bool>,
    /// Headers and time of records that have others than the first has.
    details: HashMap<usize, (Vec<u8>, Option<i64>)>,
    headers: Vec<u8>,
    time: Option<i64>,
}

impl Topic {
    fn new(records: Vec<(u32, Record)>) -> Topic {
        Topic { records, ..Topic::default() }
    }
}

impl TopicReader for Topic {
    fn restart(&mut self) -> Result<(), VerifyError> {
        self.at = 0;
        self.restarts += 1;
        if self.shrinks == Some(self.restarts) {
            self.records.pop();
        }
        Ok(())
    }

    fn next(&mut self, visit: &mut dyn FnMut(TopicRecord<'_>)) -> Result<bool, VerifyError> {
        // 0 to 4 records.
        self.step = (self.step + 1) % 5;
        let end = (self.at + self.step).min(self.records.len());
        for (offset, (partition, (key, value))) in self.records.iter().enumerate().take(end).skip(self.at) {
            if self.only.as_ref().is_some_and(|only| !only.contains(partition)) {
                continue;
            }
            let (headers, time) =
                self.details.get(&offset).map_or((&self.headers, self.time), |(headers, time)| (headers, *time));
            visit(TopicRecord { partition: *partition, offset: offset as i64, key: key.as_deref(), value, headers, time });
        }
        self.at = end;
        Ok(end < self.records.len())
    }

    fn left(&self) -> u64 {
        (self.records.len() - self.at) as u64
    }

    fn ranges(&self) -> Vec<PartitionRange> {
        RANGES.to_vec()
    }

    fn is_compacted(&self) -> Option<bool> {
        self.compacted
    }

    fn retention(&self) -> Retention {
        Retention::Embedded
    }
}

struct Dataset {
    source: MemorySource,
    plan: Plan,
    rules: RecordRules,
    dead: Places,
}

impl Dataset {
    fn new(lines: &[String]) -> Dataset {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let source = MemorySource::new(vec![text.into_bytes()], 1000);
        let sizes = ShardRules { target_size: Some(300), order: ShardOrder::LargestFirst, by_key: Some(false) };
        let rules = PlanRules::of_one_worker(&sizes);
        let plan = source.plan(&rules).unwrap();
        let rules = RecordRules {
            key: Some(FieldPath(vec!["k".to_owned()])),
            on_missing: OnMissing::Null,
            validate: Validate::Field,
            timestamp: None,
            timestamp_unit: TimestampUnit::Rfc3339,
            headers: Vec::new(),
        };
        Dataset { source, plan, rules, dead: Places::new() }
    }

    fn path(&self) -> String {
        MemorySource::name(0).to_str().unwrap().to_owned()
    }

    fn expected(&self) -> Expected<'_> {
        Expected { source: &self.source, plan: &self.plan, rules: &self.rules, dead_letters: &self.dead }
    }

    fn verify(&self, topic: &mut Topic, limits: VerifyLimits) -> Result<VerifyReport, VerifyError> {
        let expected = &[self.expected()];
        let job = Verification {
            expected,
            rules: &self.rules,
            partitioner: partition,
            partitions: PARTITIONS,
            last_values: last_values(expected, PARTITIONS, topic),
            limits,
        };
        let mut last = 0;
        let mut surplus = Vec::new();
        let mut list = |record: &TopicRecord<'_>| {
            surplus.push((record.partition, record.offset));
            Ok(())
        };
        let mut listings = Listings { surplus: &mut list, missing: None };
        let before = topic.clone();
        let result = verify(&job, topic, &mut listings, &mut |progress| {
            assert!(progress.slice >= last && progress.slice <= progress.slices);
            assert!(progress.about || progress.done <= progress.of, "{progress:?}");
            last = progress.slice;
        });
        if let Ok(report) = &result {
            // One number of processes each time, for each costs tables of its own.
            let processes = 1 + (report.topic_records + report.source_records) as u32 % 4;
            let mut sorted = surplus.clone();
            sorted.sort_unstable();
            assert_eq!(together(&job, &before, processes), (report.clone(), sorted), "with {processes} processes");
            assert_eq!(surplus.len() as u64, report.duplicates, "each surplus copy is listed, and once");
            let listed = surplus.iter().collect::<HashSet<_>>();
            assert_eq!(listed.len(), surplus.len());
            let named = report.examples.iter().filter(|example| example.kind == VerifyKind::Duplicate);
            assert!(named.into_iter().all(|e| surplus.iter().any(|copy| Some(*copy) == e.partition.zip(e.offset))));
        }
        result
    }
}

/// The same by several processes: what they tell each other goes through bytes. Also the surplus copies.
fn together(job: &Verification<'_>, topic: &Topic, processes: u32) -> (VerifyReport, Vec<(u32, i64)>) {
    let divided = division_of(job.expected, processes).unwrap();
    let offsets: Vec<u64> =
        (0..PARTITIONS).map(|of| topic.records.iter().filter(|(partition, _)| *partition == of).count() as u64).collect();
    let sets = divide_partitions(&offsets, processes);
    assert!(divided.len() <= processes as usize);
    let mut counted = Counted::none(job);
    for process in 0..processes as usize {
        let mut topic = Topic { only: Some(sets.get(process).cloned().unwrap_or_default()), ..topic.clone() };
        let part = count(job, divided.part(process), &mut topic, &mut |_| ()).unwrap();
        for (number, block) in part.blocks().enumerate() {
            assert!(counted.add_block(number, &block));
            assert!(!counted.add_block(number, &block[1..]) && !counted.add_block(1 << 40, &block));
        }
        let totals = serde_json::from_str(&serde_json::to_string(part.totals()).unwrap()).unwrap();
        counted.add_totals(job.limits.examples, totals);
    }
    let (mut report, differing) = counted.settle(job, topic.compacted, Retention::Embedded);
    let mut surplus = Vec::new();
    if let Some(differing) = differing {
        let mut matched = Vec::new();
        for process in 0..processes as usize {
            let mut list = |record: &TopicRecord<'_>| {
                surplus.push((record.partition, record.offset));
                Ok(())
            };
            let mut listings = Listings { surplus: &mut list, missing: None };
            let (topic, step) = (&mut topic.clone(), processes as usize);
            matched.push(differing.find(job, topic, (process, step), &report, &mut listings, &mut |_| ()).unwrap());
        }
        matched.reverse();
        differing.finish(matched, job.limits.examples, &mut report).unwrap();
    }
    report.examples.sort();
    surplus.sort_unstable();
    (report, surplus)
}

fn line(key: &str, value: u32) -> String {
    if key == "-" { format!("{{\"v\":{value}}}") } else { format!("{{\"k\":\"{key}\",\"v\":{value}}}") }
}

fn record(key: &str, value: u32) -> Record {
    ((key != "-").then(|| key.as_bytes().to_vec()), line(key, value).into_bytes())
}

fn at(key: &str) -> u32 {
    partition(key.as_bytes(), PARTITIONS).unwrap_or(0)
}

fn tiny(examples: usize) -> VerifyLimits {
    VerifyLimits { examples, records: 2, keys: 1 }
}

#[test]
fn the_same_records_in_any_order_are_clean() {
    let lines: Vec<_> = (0..50).map(|i| line(["a", "b", "", "-"][i % 4], i as u32 / 8)).collect();
    let mut source = Dataset::new(&[lines.clone(), vec![String::new(), "not JSON".to_owned()]].concat());
    let place = lines.iter().map(|l| l.len() as u64 + 1).sum::<u64>() + 1;
    source.dead.entry(source.path()).or_default().insert(place, Held::of(8, b"not JSON"));
    // Records without a key, or with one that chooses no partition, may be anywhere.
    let place = |key, i| if key == "a" || key == "b" { at(key) } else { i % PARTITIONS };
    let mut records: Vec<_> =
        (0..50).map(|i| (["a", "b", "", "-"][i % 4], i as u32)).map(|(key, i)| (place(key, i), record(key, i / 8))).collect();
    records.reverse();
    let mut topic = Topic::new(records);
    let report = source.verify(&mut topic, VerifyLimits::default()).unwrap();
    assert_eq!((report.older(), report.gone().collect::<Vec<_>>()), (5, vec![(2, 7)]));
    let partitions = RANGES.to_vec();
    let compared = Compared { partitions: true, ..Compared::default() };
    let expected = VerifyReport {
        source_records: 51,
        dead_lettered: 1,
        topic_records: 50,
        compared,
        partitions,
        retention: Retention::Embedded,
        ..VerifyReport::default()
    };
    assert_eq!((report, topic.restarts), (expected, 1));
}

#[test]
fn each_difference_is_named() {
    let source =
        Dataset::new(&[line("a", 1), line("b", 2), line("c", 3), line("-", 4), "no JSON".to_owned(), "x".repeat(1001)]);
    let unexpected = (0, (None, b"other".to_vec()));
    let changed = (at("b"), (Some(b"b".to_vec()), b"changed".to_vec()));
    let topic = || {
        Topic::new(vec![
            (at("a"), record("a", 1)),
            (at("a"), record("a", 1)),
            unexpected.clone(),
            changed.clone(),
            (1, record("-", 4)),
        ])
    };
    for limits in [VerifyLimits::default(), tiny(10)] {
        let report = source.verify(&mut topic(), limits).unwrap();
        assert_eq!((report.source_records, report.topic_records), (6, 5));
        assert_eq!((report.missing, report.duplicates, report.altered, report.unexpected), (3, 1, 1, 1));
        let named: Vec<_> = report.examples.iter().map(|e| (e.kind, e.start, e.partition.zip(e.offset))).collect();
        let expected = [
            (VerifyKind::Missing, Some(32), None),
            (VerifyKind::Missing, Some(56), None),
            (VerifyKind::Missing, Some(64), None),
            (VerifyKind::Duplicate, None, Some((at("a"), 1))),
            (VerifyKind::Altered, Some(16), Some((at("b"), 3))),
            (VerifyKind::Unexpected, None, Some((0, 2))),
        ];
        assert_eq!(named, expected);
        assert_eq!(report.examples[4].value, b"changed");
        assert_eq!(report.examples[4].key.as_deref(), Some(&b"b"[..]));
        assert_eq!(report.examples[2].value.len(), EXAMPLE_BYTES);
        assert!(report.examples.iter().all(|e| e.start.is_none() || e.path.as_ref() == Some(&source.path())));
    }
}

/// A source whose job sets headers, times, or both; and its topic.
fn detailed(headers: bool, times: bool, key: &str) -> (Dataset, Topic) {
    let mut source =
        Dataset::new(&(1..5).map(|v| format!("{},\"t\":7}}", line(key, v).trim_end_matches('}'))).collect::<Vec<_>>());
    let records = String::from_utf8(source.source.bytes(0).to_vec()).unwrap();
    let key = (key != "-").then(|| key.as_bytes().to_vec());
    let partition = key.as_ref().and_then(|key| partition(key, PARTITIONS)).unwrap_or(0);
    let mut topic = Topic::new(records.lines().map(|line| (partition, (key.clone(), line.as_bytes().to_vec()))).collect());
    if headers {
        source.rules.headers = vec![("origin".into(), "orders".into()), ("empty".into(), String::new())];
        encode_header(&mut topic.headers, b"origin", Some(b"orders"));
        encode_header(&mut topic.headers, b"empty", Some(b""));
    }
    topic.time = Some(99);
    if times {
        (source.rules.timestamp, source.rules.timestamp_unit) =
            (Some(FieldPath(vec!["t".into()])), TimestampUnit::Milliseconds);
        topic.time = Some(7);
    }
    (source, topic)
}

fn header(name: &str, value: Option<&str>) -> Vec<u8> {
    let mut encoded = Vec::new();
    encode_header(&mut encoded, name.as_bytes(), value.map(str::as_bytes));
    encoded
}

#[test]
fn other_headers_and_other_times_are_altered_records() {
    let right = [header("origin", Some("orders")), header("empty", Some(""))];
    let wrong_headers = [
        Vec::new(),
        right[0].clone(),
        [right[1].clone(), right[0].clone()].concat(),
        [right[0].clone(), header("empty", None)].concat(),
        [right.concat(), right[1].clone()].concat(),
        [header("origino", Some("rders")), right[1].clone()].concat(),
    ];
    for (headers, times, key) in
        [(true, false, "a"), (false, true, "a"), (true, true, "b"), (true, true, "-"), (false, false, "a")]
    {
        let (source, topic) = detailed(headers, times, key);
        let clean =
            source.verify(&mut Topic { records: topic.records.clone(), details: HashMap::new(), ..topic }, tiny(9)).unwrap();
        assert!(clean.is_clean(None), "{clean:?}");
        assert_eq!(clean.compared, Compared { partitions: true, headers, times, replaced_times: 0 });
        let wrong_times = [Some(8), Some(-1)].map(|time| (right.concat(), time));
        let wrong =
            wrong_headers.iter().map(|wrong| (true, (wrong.clone(), Some(7)))).chain(wrong_times.map(|wrong| (false, wrong)));
        for (of_headers, wrong) in wrong {
            let (source, topic) = detailed(headers, times, key);
            let mut topic = Topic { details: HashMap::from([(2, wrong)]), ..topic };
            for limits in [VerifyLimits::default(), tiny(9)] {
                let report = source.verify(&mut topic, limits).unwrap();
                let altered = u64::from(if of_headers { headers } else { times });
                let counts = (report.missing, report.duplicates, report.altered, report.misplaced, report.unexpected);
                // A time of the right one's for a job without times counts for nothing.
                assert_eq!(counts, (0, 0, altered, 0, 0), "{headers} {times} {key} {of_headers}");
                let named: Vec<_> = report.examples.iter().map(|e| (e.kind, e.start.is_some(), e.offset)).collect();
                assert_eq!(named, vec![(VerifyKind::Altered, true, Some(2)); altered as usize]);
                assert_eq!(report.is_clean(None), altered == 0);
            }
        }
    }
}

#[test]
fn times_that_the_brokers_wrote_are_told_and_not_compared() {
    let (source, topic) = detailed(true, true, "a");
    let headers = topic.headers.clone();
    let mut topic = Topic { details: HashMap::from([(1, (headers.clone(), None)), (3, (headers, Some(8)))]), ..topic };
    let report = source.verify(&mut topic, tiny(9)).unwrap();
    assert!(report.is_clean(None), "{report:?}");
    assert_eq!(report.compared.replaced_times, 1);
    // Everything else is, in all passes.
    topic.details.insert(0, (Vec::new(), Some(7)));
    let report = source.verify(&mut topic, tiny(9)).unwrap();
    assert_eq!((report.altered, report.missing, report.unexpected), (1, 0, 0));
    // A job that sets no times has none to compare.
    let (source, topic) = detailed(true, false, "a");
    let report = source.verify(&mut Topic { time: None, ..topic }, tiny(9)).unwrap();
    assert!(report.is_clean(None) && report.compared.replaced_times == 0, "{report:?}");
}

#[test]
fn a_record_in_another_partition_than_its_key_chooses_is_misplaced() {
    let source = Dataset::new(&[line("a", 1), line("b", 2), line("", 3), line("-", 4)]);
    let elsewhere = |key: &str| (at(key) + 1) % PARTITIONS;
    let all = vec![(elsewhere("a"), record("a", 1)), (at("b"), record("b", 2)), (2, record("", 3)), (2, record("-", 4))];
    let counts = |report: &VerifyReport| {
        (report.missing, report.duplicates, report.altered, report.misplaced, report.unexpected, report.is_clean(None))
    };
    for limits in [VerifyLimits::default(), tiny(9)] {
        let mut topic = Topic::new(all.clone());
        let report = source.verify(&mut topic, limits).unwrap();
        assert_eq!((counts(&report), topic.restarts), ((0, 0, 0, 1, 0, false), 1), "one reading tells it");
        let named: Vec<_> = report.examples.iter().map(|e| (e.kind, e.partition.zip(e.offset))).collect();
        assert_eq!(named, [(VerifyKind::Misplaced, Some((elsewhere("a"), 0)))]);
        // A surplus copy that is misplaced is both; what the source does not have is unexpected wherever it is.
        let foreign = (elsewhere("b"), (Some(b"b".to_vec()), b"foreign".to_vec()));
        let more = [all.clone(), vec![(elsewhere("b"), record("b", 2)), foreign]].concat();
        let report = source.verify(&mut Topic::new(more), limits).unwrap();
        assert_eq!(counts(&report), (0, 1, 0, 2, 1, false));
    }
}

#[test]
fn a_letter_that_does_not_hold_its_record_is_told() {
    let lines = ["one", "two", "three"].map(str::to_owned);
    let mut source = Dataset::new(&[&lines[..], &["x".repeat(1001)]].concat());
    let right =
        [(0, Held::of(3, b"one")), (4, Held::of(3, b"two")), (8, Held::of(5, b"three")), (14, Held::of(1001, &[b'x'; 1000]))];
    let wrong =
        [(4, Held::of(3, b"twO")), (8, Held::of(6, b"three")), (14, Held::of(1002, &[b'x'; 1000])), (14, Held::of(1001, b""))];
    source.dead.insert(source.path(), right.into());
    let report = source.verify(&mut Topic::default(), tiny(9)).unwrap();
    assert_eq!((report.dead_lettered, report.altered_letters, report.examples), (4, 0, Vec::new()));
    for (start, held) in wrong {
        source.dead.insert(source.path(), right.into());
        source.dead.get_mut(&source.path()).unwrap().insert(start, held);
        let report = source.verify(&mut Topic::default(), tiny(9)).unwrap();
        assert_eq!((report.dead_lettered, report.altered_letters, report.missing), (4, 1, 0));
        let named: Vec<_> = report.examples.iter().map(|e| (e.kind, e.start)).collect();
        assert_eq!(named, [(VerifyKind::Letter, Some(start))]);
    }
}

#[test]
fn null_and_empty_keys_differ() {
    let source = Dataset::new(&[line("", 1)]);
    let report = source.verify(&mut Topic::new(vec![(0, (None, record("", 1).1))]), tiny(1)).unwrap();
    assert_eq!((report.missing, report.unexpected, report.altered), (1, 1, 0));
}

#[test]
fn a_topic_that_changes_between_passes_is_an_error() {
    let source = Dataset::new(&[line("a", 1)]);
    let records = vec![(0, record("a", 1)), (0, record("a", 1))];
    let mut topic = Topic { shrinks: Some(2), ..Topic::new(records) };
    let error = source.verify(&mut topic, tiny(1)).unwrap_err();
    assert!(matches!(error, VerifyError::NotNow(_)), "{error}");
    assert!(error.to_string().contains("2 records at first, 1 later"), "{error}");
}

#[test]
fn a_changed_source_is_an_error() {
    let mut source = Dataset::new(&[line("a", 1)]);
    source.source = source.source.clone().changed();
    assert!(matches!(source.verify(&mut Topic::default(), tiny(1)), Err(VerifyError::Source(_))));
}

#[test]
fn slices_cover_what_differs_once_and_fit() {
    let mut hasher = hash::Hasher::new(&Dataset::new(&[]).rules, true);
    let hot = std::iter::repeat_n(Some(&b"hot"[..]), 500).chain(std::iter::repeat_n(None, 500));
    let hashes: Vec<_> = hot.enumerate().map(|(i, key)| hasher.expected(key, &i.to_le_bytes(), None)).collect();
    for (limit, in_topic) in [1, 7, 100, 499, 5000].into_iter().flat_map(|limit| [(limit, 0), (limit, 700)]) {
        let mut buckets = slices::Buckets::of(0, false);
        hashes.iter().for_each(|hash| buckets.expect(hash));
        hashes.iter().take(in_topic).for_each(|hash| buckets.find(hash, false));
        assert!(!buckets.are_equal(true));
        let (slices, found) = buckets.into_slices(true, limit);
        // All with the key are in one bucket, which is equal if all are there; of the others each has its own.
        assert_eq!(found, 0, "of the topic nothing is in buckets that differ");
        let parts: Vec<_> = slices.iter().flat_map(|slice| (0..slice.parts).map(move |part| (slice, part))).collect();
        let held = |hash| parts.iter().filter(|(slice, part)| slice.holds(hash, *part)).count();
        assert!(hashes[..in_topic].iter().all(|hash| held(hash) == 0), "{limit}");
        assert!(hashes[in_topic..].iter().all(|hash| held(hash) == 1), "{limit}");
        for (slice, part) in &parts {
            let records = hashes.iter().filter(|hash| slice.holds(hash, *part)).count();
            // Parts of one hot key are cut by hash, evenly but not exactly.
            assert!(records <= limit || slice.parts > 1 && records <= 2 * limit + 8, "{limit}: {records}");
        }
    }
}

#[test]
fn only_what_differs_is_matched() {
    let lines: Vec<_> = (0..2_000).map(|v| line(&format!("k{v}"), v)).collect();
    let source = Dataset::new(&lines);
    let sent = |v: u32| (at(&format!("k{v}")), record(&format!("k{v}"), v));
    let foreign = (0, (Some(b"zz".to_vec()), b"foreign".to_vec()));
    let mut topic = Topic::new((1..2_000).map(sent).chain([foreign]).collect());
    // Both fit in one slice of two records; all together would need a thousand.
    let report = source.verify(&mut topic, tiny(9)).unwrap();
    assert_eq!((report.missing, report.unexpected, report.duplicates), (1, 1, 0));
    assert!(topic.restarts <= 4, "{}", topic.restarts);
}

#[test]
fn production_tables_stay_below_the_promise() {
    let limits = VerifyLimits::default();
    let table = limits.records * 8 / 7 * (32 + 1) + limits.keys * 8 / 7 * (24 + 1);
    assert!(table <= 192 << 20, "{table}");
    assert_eq!(differences::entry_bytes(), (32, 24));
    // In a compacted topic the slices are smaller, and each source record may have a key of its own.
    let records = (limits.records / compaction_of_topics::SMALLER) * 8 / 7;
    let table = records * (32 + 1 + compaction_of_topics::key_bytes() + 1) + limits.keys * 8 / 7 * (24 + 1);
    assert!(table <= 192 << 20, "{table}");
}

/// One step of making a topic from a source record.
#[derive(Clone, Debug)]
enum Fate {
    Kept,
    Lost,
    Copied(u32),
    Changed,
    /// In another partition than its key chooses, if it chooses one.
    Moved,
    /// Set aside: not in the topic, or against the rules there.
    Dead(bool),
}

/// Missing, duplicate, altered, misplaced and unexpected records.
fn oracle(expected: &[Record], topic: &[(u32, Record)]) -> (u64, u64, u64, u64, u64) {
    let mut left: HashMap<&Record, u64> = HashMap::new();
    expected.iter().for_each(|record| *left.entry(record).or_default() += 1);
    let (mut duplicates, mut misplaced, mut unexpected) = (0, 0, 0);
    let mut pairs: HashMap<(&[u8], u32), (u64, u64)> = HashMap::new();
    for (partition, record) in topic {
        let chosen = record.0.as_ref().and_then(|key| self::partition(key, PARTITIONS));
        misplaced += u64::from(left.contains_key(record) && chosen.is_some_and(|chosen| chosen != *partition));
        match left.get_mut(record) {
            Some(0) => duplicates += 1,
            Some(n) => *n -= 1,
            None => {
                unexpected += 1;
                if let Some(key) = &record.0 {
                    pairs.entry((key, *partition)).or_default().1 += 1;
                }
            }
        }
    }
    for ((key, _), &n) in &left {
        if let Some((key, partition)) = key.as_ref().and_then(|key| Some((key, partition(key, PARTITIONS)?))) {
            pairs.entry((key, partition)).or_default().0 += n;
        }
    }
    let altered = pairs.values().map(|(a, b)| a.min(b)).sum::<u64>();
    (left.values().sum::<u64>() - altered, duplicates, altered, misplaced, unexpected - altered)
}

/// Every example is true, none is there twice, and there are as many as asked for.
fn check_examples(report: &VerifyReport, topic: &[(u32, Record)], examples: usize) {
    let mut seen = HashSet::new();
    for example in &report.examples {
        assert!(seen.insert((
            example.kind == VerifyKind::Misplaced,
            example.path.clone(),
            example.start,
            example.partition,
            example.offset
        )));
        if let Some(offset) = example.offset {
            let (partition, (key, value)) = &topic[offset as usize];
            assert_eq!((example.partition, &example.key, &example.value), (Some(*partition), key, value));
        }
        let sides = (example.start.is_some(), example.offset.is_some());
        let expected = match example.kind {
            VerifyKind::Missing | VerifyKind::Letter => (true, false),
            VerifyKind::Altered | VerifyKind::Outdated => (true, true),
            VerifyKind::Duplicate | VerifyKind::Misplaced | VerifyKind::Unexpected => (false, true),
        };
        assert_eq!(sides, expected, "{example:?}");
    }
    let named = |kind| report.examples.iter().filter(|e| e.kind == kind).count() as u64;
    let wanted = |count: u64| count.min(examples as u64);
    assert_eq!(named(VerifyKind::Missing), wanted(report.missing));
    assert_eq!(named(VerifyKind::Duplicate), wanted(report.duplicates));
    assert_eq!(named(VerifyKind::Altered), wanted(report.altered));
    assert_eq!(named(VerifyKind::Misplaced), wanted(report.misplaced));
    assert_eq!(named(VerifyKind::Unexpected), wanted(report.unexpected));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn counts_and_examples_are_those_of_an_oracle(
        fates in prop::collection::vec(
            (
                prop::sample::select(vec!["a", "a", "a", "b", "c", "", "-"]),
                0u32..12,
                prop_oneof![
                    8 => Just(Fate::Kept),
                    1 => Just(Fate::Lost),
                    1 => (1u32..4).prop_map(Fate::Copied),
                    2 => Just(Fate::Changed),
                    1 => Just(Fate::Moved),
                    1 => any::<bool>().prop_map(Fate::Dead),
                ],
            ),
            0..60,
        ),
        extra in prop::collection::vec((prop::sample::select(vec!["a", "b", "zz", "-"]), 0u32..15, 0..PARTITIONS), 0..6),
        examples in prop::sample::select(vec![0usize, 1, 3, 1000]),
        records in prop::sample::select(vec![1usize, 2, 9, 1000]),
        keys in prop::sample::select(vec![1usize, 2, 1000]),
        turn: prop::sample::Index,
    ) {
        let lines: Vec<_> = fates.iter().map(|(key, value, _)| line(key, *value)).collect();
        let mut source = Dataset::new(&lines);
        let (mut expected, mut topic, mut place) = (Vec::new(), Vec::new(), 0);
        for (line, (key, value, fate)) in lines.iter().zip(&fates) {
            let record = record(key, *value);
            let partition = at(key);
            match fate {
                Fate::Kept => topic.push((partition, record.clone())),
                Fate::Lost => {}
                Fate::Copied(copies) => topic.extend((0..=*copies).map(|_| (partition, record.clone()))),
                Fate::Changed => topic.push((partition, (record.0.clone(), format!("changed {value}").into_bytes()))),
                Fate::Moved => topic.push(((partition + 1) % PARTITIONS, record.clone())),
                Fate::Dead(sent) => {
                    let held = Held::of(line.len() as u64, line.as_bytes());
                    source.dead.entry(source.path()).or_default().insert(place, held);
                    topic.extend(sent.then(|| (partition, record.clone())));
                }
            }
            if !matches!(fate, Fate::Dead(_)) {
                expected.push(record);
            }
            place += line.len() as u64 + 1;
        }
        topic.extend(extra.iter().map(|(key, value, partition)| (*partition, record(key, *value))));
        if !topic.is_empty() {
            let by = turn.index(topic.len());
            topic.rotate_left(by);
        }
        let report = source.verify(&mut Topic::new(topic.clone()), VerifyLimits { examples, records, keys }).unwrap();
        prop_assert_eq!(report.source_records, lines.len() as u64);
        prop_assert_eq!(report.dead_lettered, (lines.len() - expected.len()) as u64);
        prop_assert_eq!(report.topic_records, topic.len() as u64);
        let counts = (report.missing, report.duplicates, report.altered, report.misplaced, report.unexpected);
        prop_assert_eq!(counts, oracle(&expected, &topic));
        check_examples(&report, &topic, examples);
    }
}

#[test]
fn what_was_sent_again_is_expected_beside_the_job() {
    let mut job = Dataset::new(&[line("a", 1), "{\"key\":\"b\"}".to_owned(), line("c", 3)]);
    job.dead.entry(job.path()).or_default().insert(16, Held::of(11, b"{\"key\":\"b\"}"));
    let mut again = Dataset::new(&[line("b", 2), line("b", 2), "still bad".to_owned()]);
    let place = 2 * (line("b", 2).len() as u64 + 1);
    again.dead.entry(again.path()).or_default().insert(place, Held::of(9, b"still bad"));
    let compare = |records: &[(&str, u32)], limits| {
        let expected = [job.expected(), again.expected()];
        let (rules, partitioner) = (&job.rules, partition);
        let last_values = LastValues::NotCompacted;
        let all = Verification { expected: &expected, rules, partitioner, partitions: PARTITIONS, last_values, limits };
        let records = records.iter().map(|(key, value)| (at(key), record(key, *value))).collect();
        let topic = Topic::new(records);
        let mut listings = Listings { surplus: &mut |_| Ok(()), missing: None };
        let report = verify(&all, &mut topic.clone(), &mut listings, &mut |_| ()).unwrap();
        (1..4).for_each(|processes| assert_eq!(together(&all, &topic, processes).0, report));
        report
    };
    for limits in [VerifyLimits::default(), tiny(9)] {
        let report = compare(&[("a", 1), ("c", 3), ("b", 2), ("b", 2)], limits);
        assert!(report.is_clean(None), "{report:?}");
        assert_eq!((report.source_records, report.dead_lettered, report.retried), (3, 1, 2));
        let report = compare(&[("a", 1), ("c", 3), ("c", 3), ("b", 2)], limits);
        assert_eq!((report.missing, report.duplicates, report.unexpected), (1, 1, 0));
    }
}
