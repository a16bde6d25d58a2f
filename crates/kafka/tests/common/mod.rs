//! A job, an embedded broker and groups to send.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka::{EmbeddedBroker, EmbeddedOptions, Producer, ProducerOptions, TopicReader};
use migration::job::*;
use migration::{Counts, Failure, Job, LedgerEntry, Position, Receipt};
use pipeline::group::Key;
use pipeline::verify::TopicReader as _;
use pipeline::{Block, Delivered, Group, Sink};

pub const TOPIC: &str = "orders";

/// A job that sends to `bootstrap`.
pub fn job(bootstrap: &str) -> Job {
    Job {
        name: "test".into(),
        state_dir: "unused".into(),
        source: SourceRules::Jsonl(JsonlSource { raw: false, files: FileRules { paths: Vec::new(), max_line: 4 << 20 } }),
        shards: ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(false) },
        record: RecordRules {
            key: None,
            on_missing: OnMissing::DeadLetter,
            validate: Validate::Field,
            timestamp: None,
            timestamp_unit: TimestampUnit::Rfc3339,
            headers: Vec::new(),
        },
        kafka: KafkaRules {
            brokers: Brokers::Bootstrap(vec![bootstrap.into()]),
            topic: TOPIC.into(),
            partitioner: Partitioner::Murmur2,
            give_up_after: Duration::from_secs(900),
            client_id: None,
            delivery: Delivery::AtLeastOnce,
            properties: Vec::new(),
        },
        workers: WorkerRules {
            count: None,
            max: 64,
            flush: FlushPolicy::Chunk,
            chunk: ChunkLimits { records: 1_000_000, bytes: 256 << 20, interval: Duration::from_secs(1) },
            in_flight: 32 << 20,
            restart: RestartRules {
                max_without_progress: 5,
                backoff_min: Duration::from_millis(100),
                backoff_max: Duration::from_secs(30),
            },
            heartbeat_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(20),
            memory_limit: 512 << 20,
        },
        limits: Limits { rate_records: None, rate_bytes: None, max_bad_records: 0 },
        dead_letters: DeadLetterRules { to: LettersTo::File, topic: None },
        checkpoint: CheckpointRules { topic: "shardlift-progress".into() },
        verify: VerifyRules { allow_duplicates: false, workers: 1 },
        accept: BTreeSet::new(),
        record_limit: None,
    }
}

pub fn set(job: &mut Job, name: &str, value: &str) {
    job.kafka.properties.push((name.into(), Property::Plain(value.into())));
}

pub fn broker() -> EmbeddedBroker {
    broker_at(Duration::ZERO)
}

pub fn broker_at(rtt: Duration) -> EmbeddedBroker {
    let options = EmbeddedOptions { topics: vec![TOPIC.into()], rtt, ..EmbeddedOptions::default() };
    EmbeddedBroker::start(&options).unwrap()
}

pub fn options(job: &Job) -> ProducerOptions {
    ProducerOptions::for_job(job, "7", 1_000_000)
}

pub fn producer(job: &Job) -> Box<Producer> {
    Box::new(Producer::create(&options(job)).unwrap())
}

/// A group of (key, value) records.
pub fn group<'a>(records: impl IntoIterator<Item = (Option<&'a str>, &'a str)>) -> Group {
    let mut group = Group::default();
    for (key, value) in records {
        let block = Rc::new(Block { bytes: value.as_bytes().to_vec(), ..Block::default() });
        let key = key.map_or(Key::Null, |k| Key::Copied(k.as_bytes()));
        group.push(&block, 0, value.len() as u32, key, None);
    }
    group
}

/// `n` records without keys in one block: `PREFIX-0`, `PREFIX-1`, …
pub fn numbered(prefix: &str, n: usize) -> Group {
    let mut bytes = Vec::new();
    let mut ranges = Vec::new();
    for i in 0..n {
        let start = bytes.len();
        bytes.extend_from_slice(format!("{prefix}-{i}").as_bytes());
        ranges.push((start, bytes.len() - start));
    }
    let block = Rc::new(Block { bytes, ..Block::default() });
    let mut group = Group::default();
    for (start, len) in ranges {
        group.push(&block, start as u32, len as u32, Key::Null, None);
    }
    group
}

/// Polls until `groups` groups are back.
pub fn wait(producer: &mut Producer, groups: usize, limit: Duration) -> Result<Vec<Delivered>, Failure> {
    let deadline = Instant::now() + limit;
    let mut done = Vec::new();
    while done.len() < groups {
        assert!(Instant::now() < deadline, "{} of {groups} groups after {limit:?}", done.len());
        producer.poll(Duration::from_millis(50), &mut done)?;
    }
    Ok(done)
}

/// Everything that the topic holds, by partition in order of offsets.
pub fn read(job: &Job) -> BTreeMap<u32, Vec<(Option<String>, String)>> {
    let mut reader = TopicReader::new(job, Vec::new());
    read_with(&mut reader)
}

pub fn read_with(reader: &mut TopicReader) -> BTreeMap<u32, Vec<(Option<String>, String)>> {
    let mut found: BTreeMap<u32, Vec<(Option<String>, String)>> = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    reader.restart().unwrap();
    while reader.next(&mut |r| found.entry(r.partition).or_default().push((r.key.map(text), text(r.value)))).unwrap() {}
    found
}

/// How many offsets of the range can't be read any more, by partition.
pub fn gone(reader: &TopicReader) -> Vec<(u32, i64)> {
    (0..).zip(reader.ranges()).map(|(partition, range)| (partition, range.gone)).filter(|gone| gone.1 > 0).collect()
}

/// How far a shard is after these records.
pub fn entry(records: u64) -> LedgerEntry {
    LedgerEntry {
        position: Position { segment: 0, place: records * 10, records },
        counts: Counts { read: records, acknowledged: records, ..Counts::default() },
        token: None,
        letters: 0,
        receipt: Receipt { records, sum: u128::from(records) << 70 },
    }
}
