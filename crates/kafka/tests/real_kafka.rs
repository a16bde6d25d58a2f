//! What only a real Kafka can judge. Needs a cluster started by `scripts/kafka start`; without one the tests say so and
//! pass, or fail if SHARDLIFT_REQUIRE_KAFKA=1.

mod admin;
mod common;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use common::*;
use kafka::{
    NewTopic, PreflightProblemKind, ProducerOptions, TopicReader, TopicShape, create_progress_topic, create_topic,
    delete_topic, existing_records, preflight, progress_topic, topic_shape,
};
use migration::Job;
use migration::check::facts::{ExistingRecords, Replicas};
use migration::job::{Brokers, Property};
use pipeline::verify::{TopicReader as _, VerifyError};
use pipeline::{Blame, Sink};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

const LONG: Duration = Duration::from_secs(60);

fn script(arguments: &[&str]) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka");
    let output = Command::new(script).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// A job for a fresh topic, if there is a cluster. The topic is deleted when dropped.
struct Fresh {
    job: Job,
}

impl Fresh {
    fn topic(name: &str, partitions: u32, config: &[&str]) -> Option<Fresh> {
        let Some(bootstrap) = script(&["bootstrap"]).filter(|b| !b.is_empty() && script(&["status"]).is_some()) else {
            assert!(std::env::var("SHARDLIFT_REQUIRE_KAFKA").as_deref() != Ok("1"), "no real Kafka, and one is required");
            eprintln!("skipped: no real Kafka; start one with: scripts/kafka start");
            return None;
        };
        let mut job = job(&bootstrap);
        job.kafka.topic = format!("kafka-crate-{name}-{}", std::process::id());
        admin::create(&bootstrap, &job.kafka.topic, partitions, config);
        Some(Fresh { job })
    }
}

fn bootstrap(job: &Job) -> String {
    let Brokers::Bootstrap(brokers) = &job.kafka.brokers else { unreachable!("the jobs of these tests have addresses") };
    brokers.join(",")
}

impl Drop for Fresh {
    fn drop(&mut self) {
        admin::delete(&bootstrap(&self.job), &self.job.kafka.topic);
    }
}

#[test]
fn one_bad_record_in_a_batch_refuses_the_batch_and_no_other_partition() {
    let Some(fresh) = Fresh::topic("compacted", 4, &["cleanup.policy=compact"]) else { return };
    let mut producer = producer(&fresh.job);
    for round in 0..20 {
        let good: Vec<String> = (0..500).map(|i| format!("{round}-{i}")).collect();
        for partition in [0, 2, 3] {
            producer.hand_over(partition, group(good.iter().map(|v| (Some(v.as_str()), v.as_str())))).unwrap();
        }
        let bad = group(good.iter().enumerate().map(|(i, v)| ((i != 250).then_some(v.as_str()), v.as_str())));
        producer.hand_over(1, bad).unwrap();
        for done in wait(&mut producer, 4, LONG).unwrap() {
            if done.partition == 1 {
                assert_eq!((done.acknowledged, done.refused.len()), (0, 500));
                // A key that is missing is not named in the answer, unlike a time.
                assert!(done.refused.iter().all(|r| r.blame == Blame::Unknown), "{:?}", done.refused[250]);
                // Halved, as the lanes do it, all but the culprit pass.
                let halves = [done.group.select(0..250), done.group.select(250..251), done.group.select(251..500)];
                for (half, expected) in halves.into_iter().zip([250, 0, 249]) {
                    producer.hand_over(1, half).unwrap();
                    assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, expected);
                }
            } else {
                assert_eq!((done.acknowledged, done.refused.len()), (500, 0));
            }
        }
    }
    producer.finish().unwrap();
    let found = read(&fresh.job);
    for partition in 0..4 {
        let expected: Vec<_> = (0..20)
            .flat_map(|r| (0..500).filter(move |&i| partition != 1 || i != 250).map(move |i| format!("{r}-{i}")))
            .collect();
        let values: Vec<_> = found[&partition].iter().map(|(_, value)| value.clone()).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
}

#[test]
fn the_topics_limit_is_found_and_kept() {
    let Some(fresh) = Fresh::topic("small", 2, &["max.message.bytes=100000"]) else { return };
    let found = preflight(&fresh.job, LONG).unwrap();
    assert_eq!((found.settings.max_message_bytes, found.partitions.len(), found.warnings), (100_000, 2, Vec::new()));
    assert!(found.topic_id.is_some_and(|id| id.len() == 22) && found.cluster_id.is_some());

    let mut producer = Box::new(kafka::Producer::create(&ProducerOptions::for_job(&fresh.job, "1", 100_000)).unwrap());
    let value = "x".repeat(128);
    // As large as the lanes make a group: 0.9 of the batch, 40 bytes a record.
    let records = 90_000 / (128 + 40);
    for _ in 0..20_000 / records {
        producer.hand_over(0, group(vec![(None, value.as_str()); records])).unwrap();
        let done = wait(&mut producer, 1, LONG).unwrap();
        assert_eq!(done[0].acknowledged, records, "{:?}", done[0].refused.first());
    }
    let large = "y".repeat(200_000);
    producer.hand_over(0, group([(None, value.as_str()), (None, large.as_str()), (None, value.as_str())])).unwrap();
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert!(
        done[0].acknowledged == 2 && matches!(&done[0].refused[..], [r] if r.index == 1 && r.blame == Blame::Own),
        "{:?}",
        done[0].refused
    );
    producer.finish().unwrap();
    // With the limit unknown the client lets through what the broker does not.
    let mut producer = common::producer(&fresh.job);
    producer.hand_over(1, group([(None, large.as_str())])).unwrap();
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert!(matches!(&done[0].refused[..], [r] if r.index == 0 && r.blame == Blame::Own), "{:?}", done[0].refused);
    producer.hand_over(1, group([(None, value.as_str())])).unwrap();
    assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 1);
    producer.finish().unwrap();
}

#[test]
fn what_keeps_records_and_how_well_they_are_replicated_is_asked() {
    let config = ["retention.ms=86400000", "cleanup.policy=compact,delete", "message.timestamp.type=LogAppendTime"];
    let Some(fresh) = Fresh::topic("retention", 2, &config) else { return };
    let found = preflight(&fresh.job, LONG).unwrap();
    let retention = found.retention.expect("the brokers tell settings");
    assert_eq!((retention.ms, retention.ms_is_own), (Some(86_400_000), true));
    assert!(!retention.bytes_is_own, "the cluster's own: {retention:?}");
    assert!(retention.deletes && retention.append_time);
    assert_eq!(found.replicas, Replicas { assigned: 1, in_sync: 1, least: Some(1) });
    assert!(found.round_trip.is_some_and(|time| time < Duration::from_secs(1)), "{:?}", found.round_trip);
}

/// Another producer, which uses transactions.
fn transactional(job: &Job) -> BaseProducer {
    let producer: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap(job))
        .set("transactional.id", &job.kafka.topic)
        .create()
        .unwrap();
    producer.init_transactions(LONG).unwrap();
    producer
}

/// Five records of a transaction that is left open.
fn open_transaction(job: &Job) -> BaseProducer {
    let producer = transactional(job);
    producer.begin_transaction().unwrap();
    for _ in 0..5 {
        producer.send(BaseRecord::<(), _>::to(&job.kafka.topic).payload("open").partition(0)).map_err(|(e, _)| e).unwrap();
    }
    producer.flush(LONG).unwrap();
    producer
}

#[test]
fn an_open_transaction_is_waited_for_and_named_when_it_lasts() {
    let Some(mut fresh) = Fresh::topic("open", 2, &[]) else { return };
    let transaction = open_transaction(&fresh.job);
    // A job that begins now begins behind it.
    let found = preflight(&fresh.job, LONG).unwrap();
    assert_eq!(found.partitions.iter().map(|ends| ends.high).collect::<Vec<_>>(), [5, 0]);
    let mut producer = producer(&fresh.job);
    for partition in 0..2 {
        producer.hand_over(partition, numbered("a", 10)).unwrap();
    }
    wait(&mut producer, 2, LONG).unwrap();

    fresh.job.kafka.give_up_after = Duration::from_secs(2);
    let (start, mut records) = (Instant::now(), 0);
    let mut reader = TopicReader::new(&fresh.job, vec![5, 0]);
    reader.restart().unwrap();
    let error = loop {
        match reader.next(&mut |_| records += 1) {
            Ok(more) => assert!(more, "partition 0 can't be read to its end"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, VerifyError::NotNow(_)), "{error:?}");
    assert!(error.to_string().contains("open in partition 0 since offset 0:"), "{error}");
    assert_eq!(records, 10, "all of partition 1");
    assert!(start.elapsed() >= Duration::from_secs(2) && start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());

    fresh.job.kafka.give_up_after = LONG;
    let mut reader = TopicReader::new(&fresh.job, vec![5, 0]);
    reader.restart().unwrap();
    let start = Instant::now();
    let mut ended = false;
    let mut records = 0;
    while reader.next(&mut |_| records += 1).unwrap() {
        if start.elapsed() > Duration::from_millis(1_500) && !ended {
            transaction.commit_transaction(LONG).unwrap();
            ended = true;
        }
    }
    assert!(ended);
    assert_eq!(records, 20);
    assert_eq!(
        reader.ranges().iter().map(|range| (range.start, range.end, range.older)).collect::<Vec<_>>(),
        [(5, 15, 5), (0, 10, 0)]
    );
}

#[test]
fn a_log_that_ends_below_the_position_is_an_error() {
    let Some(fresh) = Fresh::topic("again", 1, &[]) else { return };
    let mut producer = producer(&fresh.job);
    producer.hand_over(0, numbered("a", 100)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let mut reader = TopicReader::new(&fresh.job, vec![50]);
    assert_eq!(read_with(&mut reader)[&0].len(), 50);
    // Between two passes the topic is made again, with fewer records than were read.
    let topic = fresh.job.kafka.topic.as_str();
    let brokers = bootstrap(&fresh.job);
    admin::delete(&brokers, topic);
    admin::create(&brokers, topic, 1, &[]);
    let mut producer = common::producer(&fresh.job);
    producer.hand_over(0, numbered("b", 10)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let start = Instant::now();
    reader.restart().unwrap();
    let error = loop {
        assert!(start.elapsed() < LONG, "it goes on for ever");
        match reader.next(&mut |_| {}) {
            Ok(more) => assert!(more),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("partition 0 ends at offset 10 now and ended at 100"), "{error}");
}

#[test]
fn whether_a_topic_is_compacted_is_asked() {
    for (policy, expected) in [("compact", true), ("compact,delete", true), ("delete", false)] {
        let config = format!("cleanup.policy={policy}");
        let Some(fresh) = Fresh::topic(&format!("policy-{}", policy.len()), 1, &[&config]) else { return };
        let mut reader = TopicReader::new(&fresh.job, Vec::new());
        read_with(&mut reader);
        assert_eq!(reader.is_compacted(), Some(expected), "{policy}");
    }
}

#[test]
fn aborted_records_and_markers_are_not_read() {
    let Some(fresh) = Fresh::topic("aborted", 1, &[]) else { return };
    let transactional = transactional(&fresh.job);
    let topic = fresh.job.kafka.topic.clone();
    let mut expected = Vec::new();
    for round in 0..6 {
        transactional.begin_transaction().unwrap();
        for i in 0..100 {
            let value = format!("{round}-{i}");
            transactional.send(BaseRecord::<(), _>::to(&topic).payload(&value)).map_err(|(e, _)| e).unwrap();
            if round % 2 == 0 {
                expected.push((None, value));
            }
        }
        transactional.flush(LONG).unwrap();
        if round % 2 == 0 {
            transactional.commit_transaction(LONG).unwrap();
        } else {
            transactional.abort_transaction(LONG).unwrap();
        }
    }
    let start = Instant::now();
    assert_eq!(read(&fresh.job), BTreeMap::from([(0, expected)]));
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
}

#[test]
fn deleted_records_are_gone() {
    let Some(fresh) = Fresh::topic("deleted", 2, &[]) else { return };
    let mut producer = producer(&fresh.job);
    for partition in 0..2 {
        producer.hand_over(partition, numbered("a", 1_000)).unwrap();
    }
    wait(&mut producer, 2, LONG).unwrap();
    admin::delete_records(&bootstrap(&fresh.job), &fresh.job.kafka.topic, 1, 300);
    let mut reader = TopicReader::new(&fresh.job, vec![100, 100]);
    let found = read_with(&mut reader);
    assert_eq!((found[&0].len(), found[&1].len()), (900, 700));
    assert_eq!(gone(&reader), [(1, 200)]);
    // More are deleted between two passes.
    admin::delete_records(&bootstrap(&fresh.job), &fresh.job.kafka.topic, 1, 400);
    assert_eq!(read_with(&mut reader)[&1].len(), 600);
    assert_eq!(gone(&reader), [(1, 300)]);
}

#[test]
fn every_codec_is_read_back() {
    let Some(fresh) = Fresh::topic("compressed", 4, &[]) else { return };
    for codec in ["gzip", "snappy", "lz4", "zstd"] {
        let mut job = fresh.job.clone();
        job.kafka.properties.push(("compression.type".into(), Property::Plain(codec.into())));
        let mut producer = producer(&job);
        producer.hand_over(0, numbered(codec, 5_000)).unwrap();
        assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 5_000);
        producer.finish().unwrap();
    }
    assert_eq!(read(&fresh.job)[&0].len(), 20_000);
}

#[test]
fn a_topic_is_created_written_to_and_deleted() {
    // The cluster's own topic only says that there is a cluster.
    let Some(fresh) = Fresh::topic("admin", 1, &[]) else { return };
    let mut job = fresh.job.clone();
    job.kafka.topic = format!("kafka-crate-created-{}", std::process::id());
    let name = job.kafka.topic.clone();
    let six = NewTopic { partitions: 6, replication: Some(1), retention_bytes: Some(256 << 20) };
    create_topic(&job, &name, &six, LONG).unwrap();
    assert_eq!(topic_shape(&job, LONG).unwrap(), TopicShape { partitions: 6, replication: 1 });
    assert_eq!(preflight(&job, LONG).unwrap().replication, 1);
    let mut producer = producer(&job);
    assert_eq!(producer.partitions(), 6);
    producer.hand_over(5, numbered("x", 10)).unwrap();
    assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 10);
    producer.finish().unwrap();
    let again = create_topic(&job, &name, &six, LONG).unwrap_err();
    assert!(again.message.contains(&name) && again.message.contains("already exists"), "{again}");
    delete_topic(&job, &name, LONG).unwrap();
    delete_topic(&job, &name, LONG).unwrap();
    let gone = preflight(&job, LONG).unwrap_err();
    assert_eq!(gone.kind, PreflightProblemKind::NoTopic, "{gone}");
    // More replicas than any test cluster has brokers, and a name that no topic can have.
    let problem = create_topic(&job, &name, &NewTopic { replication: Some(100), ..six }, LONG).unwrap_err();
    assert!(problem.message.contains("eplication"), "{problem}");
    let problem = create_topic(&job, "no/such name", &NewTopic { retention_bytes: None, ..six }, LONG).unwrap_err();
    assert!(problem.message.contains("no/such name"), "{problem}");
}

#[test]
fn existing_records_are_sampled_and_growth_is_seen() {
    let Some(fresh) = Fresh::topic("existing", 4, &[]) else { return };
    let found = || preflight(&fresh.job, LONG).unwrap();
    let start = Instant::now();
    let empty = existing_records(&fresh.job, &found(), LONG).unwrap();
    assert_eq!(empty, ExistingRecords::default());
    assert!(start.elapsed() < Duration::from_secs(5), "an empty topic is not watched: {:?}", start.elapsed());

    let other: BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap(&fresh.job)).create().unwrap();
    let topic = fresh.job.kafka.topic.as_str();
    let send = |from: u32, to: u32| {
        for i in from..to {
            let key = format!("customer-{i}");
            let headers = OwnedHeaders::new().insert(Header { key: "trace", value: Some("x") });
            let record = BaseRecord::to(topic).key(&key).payload("{\"a\": 1}").timestamp(1_000 + i64::from(i)).headers(headers);
            other.send(record).map_err(|(e, _)| e).unwrap();
        }
        other.flush(LONG).unwrap();
    };
    send(0, 5_000);
    let (start, watch) = (Instant::now(), Duration::from_millis(300));
    let sample = existing_records(&fresh.job, &found(), watch).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    assert_eq!(sample.records, 5_000);
    assert!((1_000..=2_000).contains(&sample.sampled), "{sample:?}");
    // The client's own partitioner hashes by crc32.
    assert_eq!((sample.keyed, sample.hashed, sample.by_crc32), (sample.sampled, sample.sampled, sample.sampled));
    assert!(sample.by_murmur2 < sample.sampled / 2, "{sample:?}");
    assert_eq!(sample.values, [("JSON object".to_owned(), sample.sampled)]);
    assert_eq!(sample.keys, [("text".to_owned(), sample.sampled)]);
    assert_eq!((sample.headers, sample.newest_ms), (vec!["trace".to_owned()], Some(5_999)));
    assert_eq!(sample.grew.map(|(records, _)| records), Some(0));
    assert_eq!(sample.throttled, None);

    let before = found();
    let grown = std::thread::scope(|scope| {
        scope.spawn(|| {
            for i in 0..20 {
                send(5_000 + i, 5_001 + i);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        existing_records(&fresh.job, &before, Duration::from_millis(800)).unwrap()
    });
    assert!(grown.grew.is_some_and(|(records, time)| records > 0 && time >= Duration::from_millis(800)), "{:?}", grown.grew);
}

#[test]
fn the_progress_topic_is_made_compacted_and_described() {
    let Some(fresh) = Fresh::topic("progress-of", 1, &[]) else { return };
    let mut job = fresh.job.clone();
    job.checkpoint.topic = format!("kafka-crate-progress-{}", std::process::id());
    assert_eq!(progress_topic(&job, LONG).unwrap(), None);
    create_progress_topic(&job, 16, 1, LONG).unwrap();
    let found = progress_topic(&job, LONG).unwrap().expect("it was made");
    assert_eq!((found.partitions, found.replication, found.in_sync), (16, 1, 1));
    assert_eq!((found.keeps_the_newest(), found.min_in_sync, found.unclean_election), (Some(true), Some(1), Some(false)));
    assert!(found.rights.is_some_and(|rights| rights.len() == 4));
    let again = create_progress_topic(&job, 16, 1, LONG).unwrap_err();
    assert!(again.message.contains("already exists"), "{again}");
    // A topic of another kind is told from it.
    job.checkpoint.topic = fresh.job.kafka.topic.clone();
    assert_eq!(progress_topic(&job, LONG).unwrap().unwrap().keeps_the_newest(), Some(false));
    delete_topic(&job, &format!("kafka-crate-progress-{}", std::process::id()), LONG).unwrap();
}
