//! The topic reader and preflight against the embedded broker.

mod common;

use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use kafka::{PreflightProblemKind, TopicReader, preflight, wait_for_brokers};
use migration::Job;
use pipeline::group::Key;
use pipeline::verify::{TopicReader as _, encode_header};
use pipeline::{Block, Group, Sink};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn the_range_is_from_the_given_starts_to_the_ends_at_the_first_restart() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    for partition in 0..3 {
        producer.hand_over(partition, numbered("a", 2_000)).unwrap();
    }
    wait(&mut producer, 3, LONG).unwrap();
    // Partition 0 from the middle, 1 from its end, 2 from the beginning, the others are empty.
    let mut reader = TopicReader::new(&job, vec![1_500, 2_000, 0]);
    let first = read_with(&mut reader);
    producer.hand_over(0, numbered("later", 10)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let again = read_with(&mut reader);
    assert_eq!(first, again);
    assert_eq!(first.keys().copied().collect::<Vec<_>>(), [0, 2]);
    assert_eq!((first[&0].len(), first[&2].len()), (500, 2_000));
    assert_eq!(first[&0][0].1, "a-1500");
    assert_eq!(gone(&reader), []);
    assert_eq!(read(&job)[&0].len(), 2_010);
}

#[test]
fn headers_and_times_are_read_as_they_were_sent() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.record.headers = vec![("origin".into(), "orders".into()), ("empty".into(), String::new())];
    let mut sent = Group::default();
    let block = Rc::new(Block { bytes: b"{}".to_vec(), ..Block::default() });
    sent.push(&block, 0, 2, Key::Null, Some(1_700_000_000_123));
    let mut producer = producer(&job);
    producer.hand_over(0, sent).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let mut expected = Vec::new();
    encode_header(&mut expected, b"origin", Some(b"orders"));
    encode_header(&mut expected, b"empty", Some(b""));
    let read = |job: &Job| {
        let mut found = Vec::new();
        let mut reader = TopicReader::new(job, Vec::new());
        reader.restart().unwrap();
        while reader.next(&mut |record| found.push((record.headers.to_vec(), record.time))).unwrap() {}
        found
    };
    assert_eq!(read(&job), [(expected, Some(1_700_000_000_123))]);
    job.record.headers.clear();
    assert_eq!(read(&job), [(Vec::new(), Some(1_700_000_000_123))], "headers that are not compared are not looked at");
}

#[test]
fn an_empty_topic_is_read_at_once() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let start = Instant::now();
    assert!(read(&job).is_empty());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[test]
fn what_retention_took_is_gone() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    // The embedded broker keeps 5 MiB of a partition.
    let value = "x".repeat(100_000);
    for _ in 0..12 {
        producer.hand_over(0, group(vec![(None, value.as_str()); 8])).unwrap();
        wait(&mut producer, 1, LONG).unwrap();
    }
    let mut reader = TopicReader::new(&job, vec![0; 16]);
    let found = read_with(&mut reader);
    let [(0, taken)] = gone(&reader)[..] else { panic!("{:?}", reader.ranges()) };
    assert!(taken > 0);
    assert_eq!(taken + found[&0].len() as i64, 96);
    // The same in the next pass.
    assert_eq!(read_with(&mut reader), found);
    assert_eq!(gone(&reader), [(0, taken)]);
}

#[test]
fn many_records_of_all_partitions() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    for round in 0..5 {
        for partition in 0..16 {
            producer.hand_over(partition, numbered(&format!("r{round}"), 5_000)).unwrap();
        }
        wait(&mut producer, 16, LONG).unwrap();
    }
    let found = read(&job);
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 400_000);
}

#[test]
fn a_reader_without_a_broker_says_so() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut reader = TopicReader::new(&job, Vec::new());
    reader.restart().unwrap();
    assert_eq!(gone(&reader), []);
    let mut other = common::job(&broker.bootstrap());
    other.kafka.topic = "elsewhere".into();
    let error = TopicReader::new(&other, Vec::new()).restart().unwrap_err();
    assert!(error.to_string().contains("elsewhere"), "{error}");
}

#[test]
fn preflight_finds_the_ends_and_survives_what_the_embedded_broker_lacks() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    producer.hand_over(3, numbered("a", 100)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let start = Instant::now();
    let found = preflight(&job, Duration::from_secs(10)).unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert!(found.cluster_id.is_some());
    assert_eq!(found.partitions.len(), 16);
    assert_eq!((found.partitions[3].low, found.partitions[3].high), (0, 100));
    assert_eq!((found.partitions[4].low, found.partitions[4].high), (0, 0));
    assert_eq!(found.settings.max_message_bytes, 1_000_000);
    assert_eq!((found.topic_id, found.warnings), (None, Vec::new()));
}

#[test]
fn preflight_names_a_missing_topic_and_how_to_create_it() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.kafka.topic = "elsewhere".into();
    let problem = preflight(&job, Duration::from_secs(10)).unwrap_err();
    assert_eq!(problem.kind, PreflightProblemKind::NoTopic, "{problem}");
    assert!(problem.message.contains("--create --topic elsewhere"), "{problem}");
    assert!(!problem.message.contains("min.insync"), "{problem}");
    job.kafka.delivery = migration::job::Delivery::ExactlyOnce;
    let problem = preflight(&job, Duration::from_secs(10)).unwrap_err();
    assert!(problem.message.ends_with("--replication-factor 3 --config min.insync.replicas=2"), "{problem}");
    job.accept.insert(migration::Accept::Unreplicated);
    let problem = preflight(&job, Duration::from_secs(10)).unwrap_err();
    assert!(!problem.message.contains("min.insync"), "{problem}");
}

#[test]
fn preflight_without_a_broker_is_unreachable_in_time() {
    let job = job("127.0.0.1:1");
    let start = Instant::now();
    let problem = preflight(&job, Duration::from_millis(1_500)).unwrap_err();
    assert_eq!(problem.kind, PreflightProblemKind::Unreachable, "{problem}");
    assert!(problem.message.contains("127.0.0.1:1") && problem.message.contains("refused"), "{problem}");
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
}

#[test]
fn preflight_refuses_properties_that_no_client_takes() {
    let mut job = job("127.0.0.1:1");
    set(&mut job, "security.protocol", "carrier-pigeon");
    assert_eq!(preflight(&job, LONG).unwrap_err().kind, PreflightProblemKind::BadConfig);
}

#[test]
fn waiting_for_brokers_ends_when_one_answers() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    assert!(wait_for_brokers(&job, LONG));
    broker.set_down(true).unwrap();
    let start = Instant::now();
    assert!(!wait_for_brokers(&job, Duration::from_millis(1_200)));
    assert!(start.elapsed() >= Duration::from_millis(1_200) && start.elapsed() < Duration::from_secs(4));
}
