//! Exactly-once on a real Kafka: the rules of docs/design/0009-exactly-once.md one by one. Needs a cluster started by
//! `scripts/kafka start`; without one the tests say so and pass, or fail if SHARDLIFT_REQUIRE_KAFKA=1.

mod admin;
mod common;
mod end_txn;

use std::process::{Command, Stdio};
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use end_txn::{Fate, Proxy};
use kafka::{
    JobLook, PreflightProblemKind, Producer, ProducerOptions, TransactionOptions, Written, create_progress_topic, read_job,
    write_plan,
};
use migration::BoundTopic;
use migration::job::{Brokers, CheckpointRules, Delivery};
use migration::progress::{plan_key, plan_transactional_id, shard_key};
use migration::{
    DamagedJob, Failure, FailureKind, Incarnation, Job, JobInTopic, Plan, ShardId, StoredJob, StoredPlan, TopicLedger,
};
use pipeline::group::Key;
use pipeline::{Block, Group, Sink};
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Message as _, Offset, TopicPartitionList};

const LONG: Duration = Duration::from_secs(60);
const SHARD: ShardId = ShardId(3);

fn script(arguments: &[&str]) -> Option<String> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts/kafka");
    let output = Command::new(script).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn bootstrap(job: &Job) -> String {
    let Brokers::Bootstrap(brokers) = &job.kafka.brokers else { unreachable!("the jobs of these tests have addresses") };
    brokers.join(",")
}

/// A job for a fresh topic and a fresh progress topic, if there is a cluster. Both are deleted when dropped.
struct Fresh {
    job: Job,
}

impl Fresh {
    fn topic(name: &str, partitions: u32, config: &[&str]) -> Option<Fresh> {
        Self::with_progress(name, partitions, config, 16)
    }

    fn with_progress(name: &str, partitions: u32, config: &[&str], progress: u32) -> Option<Fresh> {
        let Some(bootstrap) = script(&["bootstrap"]).filter(|b| !b.is_empty() && script(&["status"]).is_some()) else {
            assert!(std::env::var("SHARDLIFT_REQUIRE_KAFKA").as_deref() != Ok("1"), "no real Kafka, and one is required");
            eprintln!("skipped: no real Kafka; start one with: scripts/kafka start");
            return None;
        };
        let mut job = job(&bootstrap);
        job.name = format!("{name}-{}", std::process::id());
        job.kafka.topic = format!("kafka-crate-eo-{}", job.name);
        job.kafka.delivery = Delivery::ExactlyOnce;
        job.checkpoint.topic = format!("kafka-crate-eo-{}-progress", job.name);
        admin::create(&bootstrap, &job.kafka.topic, partitions, config);
        create_progress_topic(&job, progress, 1, LONG).unwrap();
        Some(Fresh { job })
    }

    fn ledger(&self) -> TopicLedger {
        ledger(&self.job, 1, 7)
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        let bootstrap = bootstrap(&self.job);
        admin::delete(&bootstrap, &self.job.kafka.topic);
        admin::delete(&bootstrap, &self.job.checkpoint.topic);
    }
}

fn ledger(job: &Job, generation: u32, plan_id: u128) -> TopicLedger {
    TopicLedger { topic: job.checkpoint.topic.clone(), job: job.name.clone(), of: Incarnation { plan_id, generation } }
}

fn options_for(job: &Job, ledger: &TopicLedger, shard: ShardId, attempt: u32) -> ProducerOptions {
    let mut options = ProducerOptions::for_job(job, &shard.to_string(), 1_000_000);
    options.transaction = Some(TransactionOptions::new(job, ledger, shard, attempt));
    options
}

fn start(job: &Job, ledger: &TopicLedger, attempt: u32) -> Result<Box<Producer>, Failure> {
    Producer::create(&options_for(job, ledger, SHARD, attempt)).map(Box::new)
}

/// Sends a group of numbered records to a partition, and waits for its reports.
fn send(producer: &mut Producer, partition: u32, prefix: &str, records: usize) -> Result<(), Failure> {
    producer.hand_over(partition, numbered(prefix, records))?;
    wait(producer, 1, LONG).map(drop)
}

/// The values that a reader of committed records sees in partition 0.
fn values(job: &Job) -> Vec<String> {
    read(job).remove(&0).unwrap_or_default().into_iter().map(|(_, value)| value).collect()
}

/// The values of partition 0 that a reader of committed records sees now: it waits for no open transaction.
fn visible(job: &Job) -> Vec<String> {
    let consumer: BaseConsumer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap(job))
        .set("group.id", "none")
        .set("isolation.level", "read_committed")
        .set("enable.partition.eof", "true")
        .create()
        .unwrap();
    let mut from = TopicPartitionList::new();
    from.add_partition_offset(&job.kafka.topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&from).unwrap();
    let mut values = Vec::new();
    loop {
        match consumer.poll(LONG).expect("an end") {
            Ok(message) => values.push(String::from_utf8(message.payload().unwrap().to_vec()).unwrap()),
            Err(KafkaError::PartitionEOF(_)) => return values,
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_chunk_and_its_progress_are_committed_together_and_a_successor_goes_on() {
    let Some(fresh) = Fresh::topic("together", 2, &[]) else { return };
    let ledger = fresh.ledger();
    let mut producer = start(&fresh.job, &ledger, 1).unwrap();
    assert_eq!(producer.resumed(), None);
    let mut sent = 0;
    for chunk in 0..5 {
        send(&mut producer, 0, &format!("c{chunk}"), 1_000).unwrap();
        assert_eq!(visible(&fresh.job).len(), sent, "nothing is visible before the commit");
        sent += 1_000;
        producer.commit(&entry(sent as u64)).unwrap();
    }
    // One in which everything was set aside.
    producer.commit(&entry(5_500)).unwrap();
    producer.finish().unwrap();
    assert_eq!(values(&fresh.job).len(), 5_000);

    let mut producer = start(&fresh.job, &ledger, 2).unwrap();
    assert_eq!(producer.resumed(), Some(&entry(5_500)));
    // What is left open is not there, and a successor is not held up by it.
    send(&mut producer, 0, "open", 1_000).unwrap();
    drop(producer);
    let mut producer = start(&fresh.job, &ledger, 3).unwrap();
    assert_eq!(producer.resumed(), Some(&entry(5_500)));
    send(&mut producer, 0, "last", 10).unwrap();
    producer.commit(&entry(5_510)).unwrap();
    let error = {
        send(&mut producer, 1, "left", 10).unwrap();
        producer.finish().unwrap_err()
    };
    assert!(error.message.contains("not committed"), "{error}");
    let found = visible(&fresh.job);
    assert_eq!(found.len(), 5_010);
    assert!(found.iter().all(|value| !value.starts_with("open")));
}

#[test]
fn an_older_producer_is_fenced_and_what_it_had_is_not_there() {
    let Some(fresh) = Fresh::topic("fence", 2, &[]) else { return };
    let ledger = fresh.ledger();
    let mut older = start(&fresh.job, &ledger, 1).unwrap();
    send(&mut older, 0, "committed", 100).unwrap();
    older.commit(&entry(100)).unwrap();
    send(&mut older, 0, "lost", 100).unwrap();
    let mut newer = start(&fresh.job, &ledger, 2).unwrap();
    assert_eq!(newer.resumed(), Some(&entry(100)));
    let failure = older.commit(&entry(200)).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Fenced, "{failure}");
    // It is no proof of a competitor, and does not say so.
    assert!(failure.message.contains("or the brokers take this one for an older one"), "{failure}");
    send(&mut newer, 0, "newer", 50).unwrap();
    newer.commit(&entry(150)).unwrap();
    // One that still sends: the first bad report only says that the client threw it away.
    let mut third = start(&fresh.job, &ledger, 3).unwrap();
    assert_eq!(third.resumed(), Some(&entry(150)));
    let failure = send(&mut newer, 0, "zombie", 100).and_then(|()| newer.commit(&entry(250))).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Fenced, "{failure}");
    let again = newer.commit(&entry(250)).unwrap_err();
    assert_eq!(again.kind, FailureKind::Fenced, "it stays so: {again}");
    send(&mut third, 0, "third", 10).unwrap();
    third.commit(&entry(160)).unwrap();
    let found = values(&fresh.job);
    let of = |prefix: &str| found.iter().filter(|value| value.starts_with(prefix)).count();
    assert_eq!((found.len(), of("committed"), of("newer"), of("third")), (160, 100, 50, 10));
}

#[test]
fn progress_goes_only_behind_records_that_are_delivered() {
    let Some(fresh) = Fresh::topic("behind", 1, &[]) else { return };
    let mut producer = start(&fresh.job, &fresh.ledger(), 1).unwrap();
    producer.hand_over(0, numbered("a", 20_000)).unwrap();
    let failure = producer.commit(&entry(20_000)).unwrap_err();
    assert!(failure.message.contains("in flight (a bug of this program)"), "{failure}");
    drop(producer);
    let producer = start(&fresh.job, &fresh.ledger(), 2).unwrap();
    assert_eq!(producer.resumed(), None);
    assert_eq!(values(&fresh.job).len(), 0);
}

/// A transaction of another, with a record of this key in the progress topic, that is left open.
fn neighbour(job: &Job, id: &str, key: &str, value: &str) -> BaseProducer {
    let producer: BaseProducer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap(job)).set("transactional.id", id).create().unwrap();
    producer.init_transactions(LONG).unwrap();
    producer.begin_transaction().unwrap();
    let record = BaseRecord::to(&job.checkpoint.topic).key(key).payload(value).partition(0);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    producer.flush(LONG).unwrap();
    producer
}

#[test]
fn own_progress_behind_a_neighbours_open_transaction_is_waited_for_and_a_stranger_is_not() {
    let Some(fresh) = Fresh::with_progress("hidden", 1, &[], 1) else { return };
    let ledger = fresh.ledger();
    let mut producer = start(&fresh.job, &ledger, 1).unwrap();
    producer.commit(&entry(100)).unwrap();
    let stranger = neighbour(&fresh.job, &format!("stranger-{}", fresh.job.name), "other/shard/00003", "{}");
    // Nothing own is behind it.
    let began = Instant::now();
    let mut second = start(&fresh.job, &ledger, 2).unwrap();
    assert_eq!(second.resumed(), Some(&entry(100)));
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Now there is: the last stable offset is before it.
    second.commit(&entry(200)).unwrap();
    drop(second);
    let began = Instant::now();
    let third = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(1_500));
            stranger.commit_transaction(LONG).unwrap();
        });
        start(&fresh.job, &ledger, 3).map(|producer| producer.resumed().cloned())
    });
    assert_eq!(third.unwrap(), Some(entry(200)), "the older one was there to be read");
    assert!(began.elapsed() >= Duration::from_millis(1_400), "{:?}", began.elapsed());

    // An own record that was never committed stands behind a neighbour, too: it does not count.
    let stranger = neighbour(&fresh.job, &format!("stranger-{}", fresh.job.name), "other/shard/00003", "{}");
    let key = shard_key(&fresh.job.name, SHARD);
    drop(neighbour(&fresh.job, &ledger.transactional_id(SHARD), &key, "not committed"));
    let fourth = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            stranger.abort_transaction(LONG).unwrap();
        });
        start(&fresh.job, &ledger, 4).map(|producer| producer.resumed().cloned())
    });
    assert_eq!(fourth.unwrap(), Some(entry(200)));

    // It lasts: that is said, and it can be asked again.
    let stranger = neighbour(&fresh.job, &format!("stranger-{}", fresh.job.name), "other/shard/00003", "{}");
    let mut fifth = start(&fresh.job, &ledger, 5).unwrap();
    fifth.commit(&entry(300)).unwrap();
    let mut options = options_for(&fresh.job, &ledger, SHARD, 6);
    options.metadata_timeout = Duration::from_secs(2);
    let mut connecting = kafka::Connecting::new(options).unwrap();
    let mut yes = || true;
    let failure = connecting.wait(&mut kafka::Turns::one(&mut yes)).err().expect("it can't be read");
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.message.contains("while a transaction is open there"), "{failure}");
    assert_eq!(connecting.awaits(), kafka::Awaited::Progress, "a broker and a leader are there");
    stranger.commit_transaction(LONG).unwrap();
    assert_eq!(connecting.wait(&mut kafka::Turns::one(&mut yes)).unwrap().resumed(), Some(&entry(300)));
}

/// Another machine goes on with a job whose worker died between its progress and the end of its transaction.
#[test]
fn a_job_is_read_once_the_transaction_before_its_newest_record_has_ended() {
    let Some(fresh) = Fresh::with_progress("elsewhere", 1, &[], 1) else { return };
    let ledger = fresh.ledger();
    assert_eq!(write_plan(&fresh.job, &plan_of(&fresh.job, 1, "here"), 0).unwrap(), Written::Ours);
    let (id, key) = (ledger.transactional_id(SHARD), shard_key(&fresh.job.name, SHARD));
    let died = neighbour(&fresh.job, &id, &key, "not committed");
    let began = Instant::now();
    let found = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_secs(4));
            died.abort_transaction(LONG).unwrap();
        });
        // Brokers answer all the time: it is not their patience that counts.
        // One that goes on does not wait: its attempt takes the id over, which ends this.
        let at_once = read_job(&fresh.job, JobLook::Plan, Duration::from_secs(1)).unwrap();
        assert!(matches!(at_once, JobInTopic::Whole(_)) && began.elapsed() < Duration::from_secs(3), "{at_once:?}");
        read_job(&fresh.job, JobLook::Any, Duration::from_secs(1)).unwrap()
    });
    assert!(matches!(found, JobInTopic::Whole(_)), "{found:?}");
    assert!(began.elapsed() >= Duration::from_millis(3_900), "{:?}", began.elapsed());
}

/// Each wait alone is too short for it.
#[test]
fn a_scan_goes_on_from_where_the_last_wait_left_it() {
    let Some(fresh) = Fresh::with_progress("long", 1, &[], 1) else { return };
    start(&fresh.job, &fresh.ledger(), 1).unwrap().commit(&entry(7)).unwrap();
    let other: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap(&fresh.job))
        .set("queue.buffering.max.messages", "1000000")
        .create()
        .unwrap();
    for i in 0..800_000 {
        let key = format!("other/shard/{i}");
        let record = BaseRecord::to(&fresh.job.checkpoint.topic).key(&key).payload("{}").partition(0);
        other.send(record).map_err(|(error, _)| error).unwrap();
    }
    other.flush(LONG).unwrap();
    let mut connecting = kafka::Connecting::new(options_for(&fresh.job, &fresh.ledger(), SHARD, 2)).unwrap();
    let mut waits = 0;
    let producer = loop {
        waits += 1;
        assert!(waits < 1_000, "it never comes to the end");
        // The first question is for whether to go on after 200 ms of the scan.
        let mut no = || false;
        match connecting.wait(&mut kafka::Turns::new(Duration::from_secs(1), &mut no)) {
            Ok(producer) => break producer,
            Err(failure) => assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}"),
        }
    };
    println!("{waits} waits");
    assert_eq!(producer.resumed(), Some(&entry(7)));
}

#[test]
fn a_producer_has_the_limit_of_its_topic_when_it_takes_over_and_does_so_once() {
    let Some(fresh) = Fresh::topic("limit", 2, &["max.message.bytes=50000"]) else { return };
    let id = kafka::preflight(&fresh.job, LONG).unwrap().topic_id;
    assert!(id.is_some());
    let mut options = options_for(&fresh.job, &fresh.ledger(), SHARD, 1);
    options.bound = Some(BoundTopic { name: options.topic.clone(), id, partitions: 2, ..BoundTopic::default() });
    let mut producer = Box::new(Producer::create(&options).unwrap());
    assert_eq!(producer.settings().unwrap().max_message_bytes, 50_000);
    assert_eq!(producer.limits().batch_bytes, 50_000, "not those of the options");
    send(&mut producer, 0, "sent", 10).unwrap();
    producer.commit(&entry(10)).unwrap();
    producer.finish().unwrap();
}

#[test]
fn an_own_record_is_found_however_many_stand_behind_it() {
    let Some(fresh) = Fresh::with_progress("far", 1, &[], 1) else { return };
    let mut producer = start(&fresh.job, &fresh.ledger(), 1).unwrap();
    producer.commit(&entry(7)).unwrap();
    let other: BaseProducer = rdkafka::ClientConfig::new().set("bootstrap.servers", bootstrap(&fresh.job)).create().unwrap();
    for i in 0..6_000 {
        let key = format!("other/shard/{i}");
        let record = BaseRecord::to(&fresh.job.checkpoint.topic).key(&key).payload("{}").partition(0);
        other.send(record).map_err(|(error, _)| error).unwrap();
    }
    other.flush(LONG).unwrap();
    assert_eq!(start(&fresh.job, &fresh.ledger(), 2).unwrap().resumed(), Some(&entry(7)));
}

#[test]
fn records_of_other_starts_and_plans_are_told_apart() {
    let Some(fresh) = Fresh::topic("starts", 1, &[]) else { return };
    let of = |generation, plan_id| ledger(&fresh.job, generation, plan_id);
    let mut producer = start(&fresh.job, &of(2, 7), 1).unwrap();
    producer.commit(&entry(10)).unwrap();
    let refused = |ledger: &TopicLedger| start(&fresh.job, ledger, 1).err().expect("it does not go on");
    let failure = refused(&of(1, 7));
    assert_eq!(failure.kind, FailureKind::Ledger);
    assert!(failure.message.contains("started over at another place (generation 2, and this is 1)"), "{failure}");
    let failure = refused(&of(2, 8));
    assert_eq!(failure.kind, FailureKind::Ledger);
    assert!(failure.message.contains("another plan of a job of this name"), "{failure}");
    // An older start means nothing, whatever its plan was.
    for plan_id in [7, 8] {
        assert_eq!(start(&fresh.job, &of(3, plan_id), 1).unwrap().resumed(), None);
    }
    assert_eq!(start(&fresh.job, &of(2, 7), 2).unwrap().resumed(), Some(&entry(10)));
}

#[test]
fn a_progress_topic_that_is_not_there_is_told_with_what_to_do() {
    let Some(mut fresh) = Fresh::topic("missing", 1, &[]) else { return };
    admin::delete(&bootstrap(&fresh.job), &fresh.job.checkpoint.topic);
    fresh.job.checkpoint.topic += "-other";
    // An empty one is what a job needs that begins, and what one that has begun must not have.
    let failure = start(&fresh.job, &fresh.ledger(), 1).err().expect("there is none");
    let problem = |look| read_job(&fresh.job, look, LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Topic, "{failure}");
    for said in [failure.message, problem(JobLook::Begun).message] {
        assert!(said.contains("is gone") && !said.contains("--create"), "{said}");
    }
    assert_eq!(problem(JobLook::Any).kind, PreflightProblemKind::NoProgressTopic);
    assert!(problem(JobLook::Any).message.contains("shardlift check --create"), "{}", problem(JobLook::Any));
}

/// One record in each block, as a source would give them: 100 bytes from one to the next, with these times.
fn with_times(times: &[i64]) -> Group {
    let mut group = Group::default();
    for (i, &time) in times.iter().enumerate() {
        let block =
            Rc::new(Block { bytes: format!("v{i}").into_bytes(), segment: 2, place: 100 * i as u64, ..Block::default() });
        group.push(&block, 0, block.bytes.len() as u32, Key::Null, Some(time));
    }
    group
}

#[test]
fn what_the_brokers_refuse_for_good_is_named_by_its_places_and_the_transaction_is_lost() {
    let hour = "message.timestamp.before.max.ms=3600000";
    let Some(fresh) = Fresh::topic("refused", 2, &[hour]) else { return };
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis() as i64;
    let old = now - 7_200_000;
    let mut producer = start(&fresh.job, &fresh.ledger(), 1).unwrap();
    send(&mut producer, 1, "before", 10).unwrap();
    producer.hand_over(0, with_times(&[now, old, now, old, now])).unwrap();
    let failure = wait(&mut producer, 1, LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    let places: Vec<_> = failure.refused.iter().map(|record| (record.segment, record.start)).collect();
    assert_eq!(places, [(2, 100), (2, 300)]);
    assert!(failure.refused.iter().all(|record| record.reason.contains("timestamp")), "{:?}", failure.refused);
    drop(producer);
    let mut producer = start(&fresh.job, &fresh.ledger(), 2).unwrap();
    send(&mut producer, 1, "again", 10).unwrap();
    producer.hand_over(0, with_times(&[now, now, now])).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    producer.commit(&entry(13)).unwrap();
    let found = read(&fresh.job);
    assert_eq!(found[&0].len(), 3);
    assert!(found[&1].iter().all(|(_, value)| value.starts_with("again")) && found[&1].len() == 10);
    // What the client itself does not take dooms nothing.
    let large = "x".repeat(2_000_000);
    producer.hand_over(0, group([(None, "fine"), (None, large.as_str())])).unwrap();
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert_eq!((done[0].acknowledged, done[0].refused.len()), (1, 1));
    producer.commit(&entry(15)).unwrap();
    producer.finish().unwrap();
    assert_eq!(read(&fresh.job)[&0].len(), 4);
}

#[test]
fn records_that_a_refusal_does_not_name_are_found() {
    let Some(fresh) = Fresh::topic("unnamed", 2, &["cleanup.policy=compact"]) else { return };
    let mut producer = start(&fresh.job, &fresh.ledger(), 1).unwrap();
    send_keyed(&mut producer, 1, 10, &[]).unwrap();
    let failure = send_keyed(&mut producer, 0, 500, &[123, 400]).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    let places: Vec<_> = failure.refused.iter().map(|record| (record.segment, record.start)).collect();
    assert_eq!(places, [(2, 12_300), (2, 40_000)]);
    drop(producer);
    let mut producer = start(&fresh.job, &fresh.ledger(), 2).unwrap();
    assert_eq!((producer.resumed(), read(&fresh.job).len()), (None, 0));
    send_keyed(&mut producer, 0, 100, &[]).unwrap();
    producer.commit(&entry(100)).unwrap();
    assert_eq!(read(&fresh.job)[&0].len(), 100);
}

#[test]
fn a_search_for_refused_records_takes_its_time_and_is_silent_for_no_longer_than_a_commit() {
    let Some(fresh) = Fresh::topic("long", 2, &["cleanup.policy=compact"]) else { return };
    let mut options = options_for(&fresh.job, &fresh.ledger(), SHARD, 1);
    // Less than one of its steps takes.
    options.transaction.as_mut().unwrap().commit_timeout = Duration::from_millis(200);
    let mut producer = Producer::create(&options).unwrap();
    producer.hand_over(0, keyed(2_000, &[1_234])).unwrap();
    let (mut longest, mut done) = (Duration::ZERO, Vec::new());
    let failure = loop {
        let (began, left) = (Instant::now(), producer.outstanding());
        let polled = producer.poll(Duration::from_millis(50), &mut done);
        assert!(done.is_empty() && left > 0, "it is waited for");
        longest = longest.max(began.elapsed());
        if let Err(failure) = polled {
            break failure;
        }
    };
    assert_eq!(failure.kind, FailureKind::Refused, "{failure}");
    assert_eq!(failure.refused.iter().map(|record| record.start).collect::<Vec<_>>(), [123_400]);
    assert!(longest < Duration::from_secs(5), "{longest:?}");
}

/// Records with keys, but for those at these indexes, 100 bytes from one to the next.
fn keyed(records: usize, without: &[usize]) -> Group {
    let mut group = Group::default();
    for i in 0..records {
        let block =
            Rc::new(Block { bytes: format!("v{i}").into_bytes(), segment: 2, place: 100 * i as u64, ..Block::default() });
        let key = if without.contains(&i) { Key::Null } else { Key::Copied(&block.bytes) };
        group.push(&block, 0, block.bytes.len() as u32, key, None);
    }
    group
}

fn send_keyed(producer: &mut Producer, partition: u32, records: usize, without: &[usize]) -> Result<(), Failure> {
    producer.hand_over(partition, keyed(records, without))?;
    wait(producer, 1, LONG).map(drop)
}

fn plan_of(job: &Job, generation: u32, made_by: &str) -> StoredPlan {
    let mut plan = Plan::default();
    (0..10).for_each(|_| plan.add(Vec::new(), 0));
    StoredPlan {
        of: Incarnation { plan_id: 77, generation },
        name: job.name.clone(),
        created_ms: 1_700_000_000_000,
        made_by: made_by.into(),
        parent_ms: None,
        plan,
        binding: Default::default(),
        settings: Vec::new(),
    }
}

fn whole(job: &Job) -> StoredJob {
    match read_job(job, JobLook::Any, LONG).unwrap() {
        JobInTopic::Whole(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

fn damage(job: &Job) -> DamagedJob {
    match read_job(job, JobLook::Any, Duration::from_secs(5)).unwrap() {
        JobInTopic::Damaged(damage) => damage,
        other => panic!("{other:?}"),
    }
}

/// Puts records into the progress topic as any program could; without a value the key's record is removed.
fn put(job: &Job, records: &[(String, Option<&str>)]) {
    let other: BaseProducer = rdkafka::ClientConfig::new()
        .set("bootstrap.servers", bootstrap(job))
        .set("partitioner", "murmur2_random")
        .create()
        .unwrap();
    for (key, value) in records {
        let record: BaseRecord<'_, str, str> = BaseRecord::to(&job.checkpoint.topic).key(key.as_str());
        let record = value.iter().fold(record, |record, value| record.payload(value));
        other.send(record).map_err(|(error, _)| error).unwrap();
    }
    other.flush(LONG).unwrap();
}

/// What was advised for it, `--restart`, cures it: a later start than all that is there takes its place.
#[test]
fn a_job_that_lost_its_plan_is_started_over_behind_all_that_is_left() {
    let Some(fresh) = Fresh::topic("lost-plan", 1, &[]) else { return };
    let job = &fresh.job;
    let large = plan_of(job, 2, &"x".repeat(1_000_000));
    assert_eq!(write_plan(job, &large, 0).unwrap(), Written::Ours);
    let old = ledger(job, 2, 77);
    start(job, &old, 1).unwrap().commit(&entry(10)).unwrap();
    // One part of two is gone, then the other, too.
    put(job, &[(plan_key(&job.name, 1), None)]);
    let found = damage(job);
    assert!(found.generation == 2 && found.what.contains("is not there as a whole"), "{found:?}");
    put(job, &[(plan_key(&job.name, 0), None)]);
    let found = damage(job);
    assert!(found.generation == 2 && found.what.contains("and no plan of it"), "{found:?}");
    // Records that nothing understands are removed with it, the other ones mean nothing.
    put(job, &[(plan_key(&job.name, 1), Some("?")), (shard_key(&job.name, ShardId(9)), Some("?"))]);
    let found = damage(job);
    assert!(found.generation == 2 && found.what.contains("part 1 of the plan: it has version 63"), "{found:?}");
    let third = plan_of(job, 3, "y");
    let problem = write_plan(job, &plan_of(job, 1, "y"), 0).unwrap_err();
    assert_eq!(problem.message, found.what, "it was not seen when the start was counted");
    assert_eq!(write_plan(job, &third, 2).unwrap(), Written::Ours);
    assert_eq!(whole(job), StoredJob { plan: third, shards: Vec::new() });
    assert_eq!(start(job, &ledger(job, 3, 77), 1).unwrap().resumed(), None, "it goes on from nothing");
    let ninth = options_for(job, &ledger(job, 3, 77), ShardId(9), 1);
    assert_eq!(Producer::create(&ninth).unwrap().resumed(), None);
}

#[test]
fn a_plan_is_written_once_by_whoever_is_first_and_read_with_its_shards() {
    let Some(fresh) = Fresh::topic("plan", 1, &[]) else { return };
    let job = &fresh.job;
    assert_eq!(read_job(job, JobLook::Any, LONG).unwrap(), JobInTopic::Nothing);
    // Of several who begin at once one writes, and the others have its plan.
    let written: Vec<_> = std::thread::scope(|scope| {
        let begun: Vec<_> =
            (0..4).map(|i| scope.spawn(move || write_plan(job, &plan_of(job, 1, &format!("host-{i}")), 0).unwrap())).collect();
        begun.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(written.iter().filter(|written| **written == Written::Ours).count(), 1, "{written:?}");
    let first = whole(job);
    for other in &written {
        assert!(matches!(other, Written::Ours) || *other == Written::Others(Box::new(first.clone())), "{other:?}");
    }
    // Again the same: it is there.
    assert_eq!(write_plan(job, &first.plan, 0).unwrap(), Written::Ours);
    // Shards of this start and plan belong to it.
    let of = first.plan.of;
    for (shard, of, records) in [(0, of, 10), (5, of, 20), (6, Incarnation { plan_id: 1, ..of }, 30)] {
        let ledger = TopicLedger { of, ..fresh.ledger() };
        let mut producer = Producer::create(&options_for(job, &ledger, ShardId(shard), 1)).unwrap();
        producer.commit(&entry(records)).unwrap();
    }
    let found = whole(job);
    assert_eq!(found.shards, [(ShardId(0), entry(10)), (ShardId(5), entry(20))]);
    // A plan of several parts replaces it only for one who knows it.
    let large = plan_of(job, 2, &"x".repeat(2_000_000));
    assert_eq!(write_plan(job, &large, 0).unwrap(), Written::Others(Box::new(found)));
    assert_eq!(write_plan(job, &large, 1).unwrap(), Written::Ours);
    assert_eq!(whole(job), StoredJob { plan: large, shards: Vec::new() });
    let small = plan_of(job, 3, "y");
    assert_eq!(write_plan(job, &small, 2).unwrap(), Written::Ours);
    assert_eq!(whole(job).plan, small);
    // A stranger's open transaction holds none of this up.
    let _stranger = neighbour(job, &format!("stranger-{}", job.name), "other/shard/00003", "{}");
    let began = Instant::now();
    assert_eq!(whole(job).plan, small);
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    assert_ne!(plan_transactional_id(&job.name), fresh.ledger().transactional_id(ShardId(0)));
}

/// A cluster of its own, of which a broker is reached through a proxy only.
struct Behind {
    folder: String,
    proxy: Proxy,
    job: Job,
}

impl Behind {
    fn proxy(name: &str) -> Option<Behind> {
        if std::env::var("SHARDLIFT_REQUIRE_KAFKA").as_deref() != Ok("1") && script(&["status"]).is_none() {
            eprintln!("skipped: no real Kafka; start one with: scripts/kafka start");
            return None;
        }
        let folder = std::env::temp_dir().join(format!("kafka-crate-{name}-{}", std::process::id()));
        let folder = folder.to_str().unwrap().to_owned();
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        script(&["--dir", &folder, "start", "--proxy", &free.to_string()]).expect("a cluster starts");
        let behind = script(&["--dir", &folder, "behind-proxy"]).unwrap();
        let proxy = Proxy::start(free, behind);
        let mut job = job(&format!("127.0.0.1:{free}"));
        job.name = name.to_owned();
        job.kafka.topic = "records".to_owned();
        job.kafka.delivery = Delivery::ExactlyOnce;
        job.checkpoint = CheckpointRules { topic: "progress".to_owned() };
        admin::create(&bootstrap(&job), "records", 2, &[]);
        create_progress_topic(&job, 4, 1, LONG).unwrap();
        Some(Behind { folder, proxy, job })
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        let _ = script(&["--dir", &self.folder, "stop"]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn a_commit_whose_answer_is_lost_ends_the_attempt_whatever_the_client_says_of_it() {
    let Some(behind) = Behind::proxy("lost-answer") else { return };
    let (job, ledger) = (&behind.job, ledger(&behind.job, 1, 7));
    let mut records = 0;
    let chunk = |producer: &mut Producer, records: &mut u64| {
        send(producer, 0, &format!("{records:06}"), 100)?;
        *records += 100;
        producer.commit(&entry(*records))
    };
    for round in 1..=6 {
        let mut producer = start(job, &ledger, round).unwrap();
        assert_eq!(producer.resumed().map_or(0, |entry| entry.position.records), records, "round {round}");
        chunk(&mut producer, &mut records).unwrap();
        let late = round % 2 == 1;
        behind.proxy.next(if late { Fate::Late } else { Fate::AnswerLost });
        let failure = chunk(&mut producer, &mut records).expect_err("it is not known whether it counts");
        assert!(behind.proxy.met());
        assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
        // The client asked again and was told that all is well: only its log says what happened.
        assert!(failure.message.contains("the answer to a commit was lost (EndTxn returned _TRANSPORT in state"), "{failure}");
        drop(producer);
        // The successor knows how far it is, and the request that is late then ends nothing of its chunk.
        let mut producer = start(job, &ledger, round + 100).unwrap();
        assert_eq!(producer.resumed(), Some(&entry(records)));
        send(&mut producer, 0, &format!("{records:06}"), 100).unwrap();
        let before = visible(job).len();
        let codes = behind.proxy.let_go();
        assert!(codes.len() == usize::from(late) && codes.iter().all(|&code| code != 0), "{codes:?}");
        assert_eq!(visible(job).len(), before, "the late request ended what came after it");
        records += 100;
        producer.commit(&entry(records)).unwrap();
    }
    let expected: Vec<String> =
        (0..records / 100).flat_map(|chunk| (0..100).map(move |i| format!("{:06}-{i}", chunk * 100))).collect();
    assert_eq!(values(job), expected);

    // No answer at all.
    let mut options = options_for(job, &ledger, SHARD, 200);
    options.transaction.as_mut().unwrap().commit_timeout = Duration::from_secs(2);
    let mut producer = Producer::create(&options).unwrap();
    behind.proxy.next(Fate::Silence);
    let began = Instant::now();
    let failure = chunk(&mut producer, &mut records).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.message.contains("the answer to a commit was lost"), "{failure}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    let began = Instant::now();
    drop(producer);
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(start(job, &ledger, 201).unwrap().resumed(), Some(&entry(records - 100)));
}

/// What a child of [`what_dies_at_any_moment_loses_and_doubles_nothing`] is.
const CHILD: &str = "KAFKA_CRATE_CHILD";
const CHUNK: u64 = 200;
const CHUNKS: u64 = 1_500;

/// No test of its own: what is killed.
#[test]
fn child_that_sends_chunks() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let [bootstrap, name, attempt] = told.split(' ').collect::<Vec<_>>()[..] else { panic!("{told}") };
    let mut job = job(bootstrap);
    (job.name, job.kafka.topic) = (name.to_owned(), format!("kafka-crate-eo-{name}"));
    job.checkpoint.topic = format!("kafka-crate-eo-{name}-progress");
    let mut producer = start(&job, &ledger(&job, 1, 7), attempt.parse().unwrap()).unwrap();
    let mut next = producer.resumed().map_or(0, |entry| entry.position.records);
    while next < CHUNKS * CHUNK {
        for partition in 0..2 {
            let first = next + u64::from(partition) * CHUNK / 2;
            let lines: Vec<String> = (first..first + CHUNK / 2).map(|i| format!("{i}")).collect();
            producer.hand_over(partition, group(lines.iter().map(|line| (None, line.as_str())))).unwrap();
        }
        wait(&mut producer, 2, LONG).unwrap();
        next += CHUNK;
        producer.commit(&entry(next)).unwrap();
    }
    producer.finish().unwrap();
}

#[test]
fn what_dies_at_any_moment_loses_and_doubles_nothing() {
    let Some(fresh) = Fresh::topic("dies", 2, &[]) else { return };
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut kills, mut attempt) = (0, 0);
    loop {
        attempt += 1;
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_sends_chunks"])
            .env(CHILD, format!("{} {} {attempt}", bootstrap(&fresh.job), fresh.job.name))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        // The last is left to finish.
        if kills < 30 {
            std::thread::sleep(Duration::from_millis(60 + random(300)));
            if child.try_wait().unwrap().is_none() {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
                continue;
            }
        }
        assert!(child.wait().unwrap().success());
        break;
    }
    assert_eq!(kills, 30, "it was done before");
    let found = read(&fresh.job);
    for partition in 0..2 {
        let expected: Vec<String> = (0..CHUNKS)
            .flat_map(|chunk| (0..CHUNK / 2).map(move |i| chunk * CHUNK + u64::from(partition) * CHUNK / 2 + i))
            .map(|i| i.to_string())
            .collect();
        let values: Vec<_> = found[&partition].iter().map(|(_, value)| value.clone()).collect();
        assert!(values == expected, "partition {partition}: {} of {} records, {kills} kills", values.len(), expected.len());
    }
    eprintln!("{kills} kills, {attempt} attempts, {} records: 0 lost, 0 twice, in order", CHUNKS * CHUNK);
}

#[test]
fn a_successor_commits_soon_after_a_predecessor_that_died_in_a_transaction() {
    let Some(fresh) = Fresh::topic("soon", 2, &[]) else { return };
    let ledger = fresh.ledger();
    let mut predecessor = start(&fresh.job, &ledger, 0).unwrap();
    let (mut begun, mut committed) = (Vec::new(), Vec::new());
    for attempt in 1..=21 {
        send(&mut predecessor, 0, "open", 100).unwrap();
        drop(predecessor);
        let since = Instant::now();
        let mut successor = start(&fresh.job, &ledger, attempt).unwrap();
        begun.push(since.elapsed());
        send(&mut successor, 0, "sent", 100).unwrap();
        successor.commit(&entry(u64::from(attempt) * 100)).unwrap();
        committed.push(since.elapsed());
        predecessor = successor;
    }
    begun.sort_unstable();
    committed.sort_unstable();
    let of = |times: &[Duration]| (times[0], times[times.len() / 2], times[times.len() * 9 / 10]);
    eprintln!("least, median, 90 %: {:?} to the begin, {:?} to the first commit", of(&begun), of(&committed));
    // Without being woken the client asks again only after 500 ms.
    assert!(begun[0] < Duration::from_millis(400), "{:?}", of(&begun));
}
