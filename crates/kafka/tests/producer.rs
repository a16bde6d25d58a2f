//! The producer against the embedded broker: what is delivered, refused and failed, and that nothing else counts.

mod common;

use std::time::{Duration, Instant};

use common::*;
use kafka::{EmbeddedBroker, EmbeddedOptions, Producer, ProducerOptions, TransactionOptions};
use migration::report::AnswerTimes;
use migration::{FailureKind, Incarnation, ShardId, TopicLedger};
use pipeline::group::{Key, RECORD_OVERHEAD};
use pipeline::lanes::group_bytes;
use pipeline::{Blame, Sink};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};

const LONG: Duration = Duration::from_secs(30);

#[test]
fn records_without_keys_arrive_once_and_in_order() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    assert_eq!(producer.partitions(), 16);
    assert_eq!(producer.leader(3), Some(1));
    for round in 0..3 {
        for partition in 0..16 {
            producer.hand_over(partition, numbered(&format!("{partition}-{round}"), 1_000)).unwrap();
        }
        let done = wait(&mut producer, 16, LONG).unwrap();
        assert!(done.iter().all(|d| d.acknowledged == 1_000 && d.refused.is_empty() && d.group.len() == 1_000));
    }
    assert_eq!(producer.outstanding(), 0);
    let (first, last) = producer.deliveries().unwrap();
    assert!(first < last);
    producer.finish().unwrap();
    let found = read(&job);
    for partition in 0..16 {
        let expected: Vec<_> = (0..3).flat_map(|r| (0..1_000).map(move |i| (None, format!("{partition}-{r}-{i}")))).collect();
        assert_eq!(found[&partition], expected);
    }
}

#[test]
fn null_empty_and_other_keys_stay_what_they_are() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    producer.hand_over(5, group([(None, "a"), (Some(""), "b"), (Some("k\"ü"), "c")])).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    let expected = vec![(None, "a".to_owned()), (Some(String::new()), "b".into()), (Some("k\"ü".into()), "c".into())];
    assert_eq!(read(&job)[&5], expected);
}

#[test]
fn headers_and_timestamps_go_with_the_record() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.record.headers = vec![("source".into(), "backfill".into()), ("empty".into(), String::new())];
    let mut producer = producer(&job);
    let mut timed = numbered("t", 2);
    let block = std::rc::Rc::new(pipeline::Block { bytes: b"dated".to_vec(), ..Default::default() });
    timed.push(&block, 0, 5, Key::Null, Some(1_600_000_000_000));
    timed.push(&block, 0, 5, Key::Null, Some(0));
    producer.hand_over(0, timed).unwrap();
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert_eq!(done[0].acknowledged, 3);
    // The client takes 0 for "now": better set aside than sent with another time.
    assert!(matches!(&done[0].refused[..], [r] if r.index == 3 && r.blame == Blame::Own), "{:?}", done[0].refused);
    producer.finish().unwrap();

    use rdkafka::Message;
    use rdkafka::consumer::{BaseConsumer, Consumer};
    use rdkafka::message::Headers;
    let consumer: BaseConsumer =
        rdkafka::ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).set("group.id", "test").create().unwrap();
    let mut assignment = rdkafka::TopicPartitionList::new();
    assignment.add_partition_offset(TOPIC, 0, rdkafka::Offset::Beginning).unwrap();
    consumer.assign(&assignment).unwrap();
    let messages: Vec<_> = std::iter::from_fn(|| consumer.poll(LONG)).take(3).map(|m| m.unwrap().detach()).collect();
    for message in &messages {
        let headers = message.headers().unwrap();
        assert_eq!((headers.get(0).key, headers.get(0).value), ("source", Some(&b"backfill"[..])));
        assert_eq!((headers.get(1).key, headers.get(1).value), ("empty", Some(&b""[..])));
    }
    assert_eq!(messages[2].timestamp().to_millis(), Some(1_600_000_000_000));
    assert!(messages[0].timestamp().to_millis().unwrap() > 1_700_000_000_000);
}

#[test]
fn a_permanent_error_of_the_broker_is_a_refusal_of_every_record_of_the_batch_and_of_nothing_else() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    for error in
        [E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, E::RD_KAFKA_RESP_ERR_INVALID_RECORD, E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP]
    {
        let mut producer = producer(&job);
        producer.hand_over(2, numbered("warm", 1)).unwrap();
        wait(&mut producer, 1, LONG).unwrap();
        broker.push_request_errors(RDKafkaApiKey::Produce, &[error]);
        producer.hand_over(2, numbered("bad", 10)).unwrap();
        let done = wait(&mut producer, 1, LONG).unwrap();
        assert_eq!(done[0].acknowledged, 0);
        let indexes: Vec<_> = done[0].refused.iter().map(|r| r.index).collect();
        assert_eq!(indexes, (0..10).collect::<Vec<_>>(), "{error:?}");
        assert!(done[0].refused.iter().all(|r| r.blame == Blame::Unknown && !r.reason.is_empty()));
        // The producer goes on.
        producer.hand_over(2, numbered("good", 10)).unwrap();
        assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 10);
        producer.finish().unwrap();
    }
}

#[test]
fn a_record_that_the_client_refuses_is_the_only_one_of_its_group() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer =
        Box::new(Producer::create(&kafka::ProducerOptions { max_message_bytes: 5_000, ..options(&job) }).unwrap());
    let most = producer.limits().record_bytes;
    let (fits, large) = ("y".repeat(most), "x".repeat(most + 1));
    producer.hand_over(1, group([(None, "a"), (None, large.as_str()), (None, "b"), (None, fits.as_str())])).unwrap();
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert_eq!(done[0].acknowledged, 3);
    assert!(matches!(&done[0].refused[..], [r] if r.index == 1 && r.blame == Blame::Own), "{:?}", done[0].refused);
    // A group of which nothing was taken comes back too.
    producer.hand_over(1, group([(None, large.as_str())])).unwrap();
    assert_eq!(producer.outstanding(), 1, "until then it is not a report that was lost");
    let done = wait(&mut producer, 1, LONG).unwrap();
    assert_eq!((done[0].acknowledged, done[0].refused.len()), (0, 1));
    producer.finish().unwrap();
    assert_eq!(read(&job)[&1], [(None, "a".to_owned()), (None, "b".into()), (None, fits)]);
}

#[test]
fn retriable_errors_are_invisible() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    set(&mut job, "retry.backoff.ms", "10");
    let mut producer = producer(&job);
    let errors = [
        E::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
        E::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
        E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND,
        E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE,
        E::RD_KAFKA_RESP_ERR_KAFKA_STORAGE_ERROR,
    ];
    for error in errors {
        broker.push_request_errors(RDKafkaApiKey::Produce, &[error]);
        producer.hand_over(0, numbered("x", 100)).unwrap();
        let done = wait(&mut producer, 1, LONG).unwrap();
        assert_eq!((done[0].acknowledged, done[0].refused.len()), (100, 0), "{error:?}");
    }
    producer.finish().unwrap();
}

#[test]
fn what_no_retry_can_cure_fails_the_attempt() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    for error in [E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, E::RD_KAFKA_RESP_ERR_POLICY_VIOLATION] {
        let mut producer = producer(&job);
        broker.push_request_errors(RDKafkaApiKey::Produce, &[error]);
        producer.hand_over(0, numbered("x", 100)).unwrap();
        let failure = wait(&mut producer, 1, LONG).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
        // It stays failed.
        assert_eq!(producer.poll(Duration::ZERO, &mut Vec::new()), Err(failure.clone()));
        assert_eq!(producer.hand_over(1, numbered("x", 1)), Err(failure.clone()));
        assert_eq!(producer.finish().unwrap_err().kind, FailureKind::Retry);
    }
}

#[test]
fn with_the_broker_gone_a_timeout_is_unreachable_and_nothing_counts() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    // No user can set it; with it a record comes back that would wait for ever.
    let mut options = options(&job);
    options.properties.push(("message.timeout.ms".into(), "1500".into()));
    let mut producer = Producer::create(&options).expect("the broker is there");
    producer.hand_over(0, numbered("before", 10)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    broker.set_down(true).unwrap();
    producer.hand_over(0, numbered("during", 10)).unwrap();
    let failure = wait(&mut producer, 1, LONG).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    let start = Instant::now();
    drop(producer);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    broker.set_down(false).unwrap();
    assert_eq!(read(&job)[&0].len(), 10);
}

#[test]
fn a_broker_that_comes_back_gets_everything_once() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    broker.set_down(true).unwrap();
    producer.hand_over(0, numbered("x", 100)).unwrap();
    let mut done = Vec::new();
    producer.poll(Duration::from_millis(1_500), &mut done).unwrap();
    assert!(done.is_empty());
    assert!(producer.outstanding() >= 100);
    broker.set_down(false).unwrap();
    assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 100);
    producer.finish().unwrap();
    assert_eq!(read(&job)[&0].len(), 100);
}

#[test]
fn dropping_a_producer_with_groups_in_flight_is_quick_and_frees_them() {
    let broker = broker_at(Duration::from_millis(2_000));
    let mut job = job(&broker.bootstrap());
    set(&mut job, "compression.type", "lz4");
    let block = std::rc::Rc::new(pipeline::Block { bytes: vec![b'x'; 1 << 20], ..Default::default() });
    for down in [false, true] {
        let mut producer = Producer::create(&kafka::ProducerOptions { metadata_timeout: LONG, ..options(&job) }).unwrap();
        for partition in 0..16 {
            let mut group = pipeline::Group::default();
            for i in 0..1_000u32 {
                group.push(&block, i * 1_000, 1_000, Key::Null, None);
            }
            producer.hand_over(partition, group).unwrap();
        }
        producer.poll(Duration::from_millis(100), &mut Vec::new()).unwrap();
        if down {
            broker.set_down(true).unwrap();
        }
        let start = Instant::now();
        drop(producer);
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(std::rc::Rc::strong_count(&block), 1);
    }
}

#[test]
fn one_record_at_a_time_takes_a_round_trip_and_not_a_tick() {
    let broker = broker_at(Duration::from_millis(5));
    let mut job = job(&broker.bootstrap());
    job.workers.flush = migration::job::FlushPolicy::Record;
    let mut producer = producer(&job);
    let mut times: Vec<Duration> = (0..40)
        .map(|i| {
            let start = Instant::now();
            producer.hand_over(i % 16, numbered("x", 1)).unwrap();
            wait(&mut producer, 1, LONG).unwrap();
            start.elapsed()
        })
        .collect();
    times.sort();
    // What the client itself adds it adds to most of them; what a busy machine adds it adds to some.
    let quarter = times[10];
    assert!(times[0] >= Duration::from_millis(5) && quarter < Duration::from_millis(20), "{times:?}");
}

/// A group of records of this size, as many as the producer's limits let a lane put into one.
fn largest(producer: &Producer, bytes: usize) -> pipeline::Group {
    let limits = producer.limits();
    let by_bytes = group_bytes(limits.batch_bytes, false) / (bytes + RECORD_OVERHEAD);
    let block = std::rc::Rc::new(pipeline::Block { bytes: vec![b'x'; bytes], ..Default::default() });
    let mut group = pipeline::Group::default();
    (0..by_bytes.min(limits.batch_records)).for_each(|_| group.push(&block, 0, bytes as u32, Key::Null, None));
    group
}

#[test]
fn the_largest_group_is_one_batch_however_far_the_brokers_are() {
    let round_trip = Duration::from_millis(200);
    let broker = broker_at(round_trip);
    let job = job(&broker.bootstrap());
    // Cut by their number, and by their bytes: those leave after the client's linger.
    for (bytes, mean, records) in
        [(132, Some(132), 6_049), (132, None, 6_237), (20, Some(20), 20_000), (1_000, Some(1_000), 970)]
    {
        let far = ProducerOptions { round_trip: Some(round_trip), mean_record_bytes: mean, ..options(&job) };
        let mut producer = Producer::create(&far).unwrap();
        let mut times: Vec<Duration> = (0..3)
            .map(|_| {
                let group = largest(&producer, bytes);
                assert_eq!(group.len(), records);
                let handed = Instant::now();
                producer.hand_over(0, group).unwrap();
                let done = wait(&mut producer, 1, LONG).unwrap();
                assert_eq!(done[0].acknowledged, records);
                handed.elapsed()
            })
            .collect();
        times.sort();
        // What does not fit into the first batch waits for its answer.
        assert!(times[0] >= round_trip && times[0] < 2 * round_trip, "{bytes} {times:?}");
        Box::new(producer).finish().unwrap();
    }
}

#[test]
fn near_brokers_get_small_batches_and_far_ones_full_ones() {
    let job = job("127.0.0.1:1");
    let most = |ms, mean_record_bytes| {
        let round_trip = Some(Duration::from_millis(ms));
        let properties = ProducerOptions { round_trip, mean_record_bytes, ..options(&job) }.properties_for_speed(&[]);
        properties.into_iter().find(|(name, _)| name == "batch.num.messages").map(|(_, value)| value).unwrap()
    };
    assert_eq!(
        [most(0, Some(132)), most(2, None), most(4, Some(132)), most(20, Some(132)), most(80, None)],
        ["2500", "2500", "4000", "6049", "20000"]
    );
}

#[test]
fn a_producer_knows_how_far_away_its_brokers_are() {
    let measured = |ms| {
        let broker = broker_at(Duration::from_millis(ms));
        let mut producer = producer(&job(&broker.bootstrap()));
        assert_eq!(producer.quickest_us(), None);
        for round in 0..3 {
            producer.hand_over(round, numbered("x", 2_500)).unwrap();
            wait(&mut producer, 1, LONG).unwrap();
        }
        let (answers, quickest) = (producer.answers(), producer.quickest_us().expect("it was answered"));
        assert_eq!((answers.count, producer.held_back()), (3, AnswerTimes::default()));
        assert!(answers.mean_us() >= Some(quickest) && answers.longest_us >= quickest, "{answers:?} {quickest}");
        Duration::from_micros(quickest)
    };
    let (near, far) = (measured(0), measured(40));
    assert!(far >= Duration::from_millis(40) && far < Duration::from_millis(80) && near < far, "{near:?} {far:?}");
}

#[test]
fn the_first_delivery_does_not_wait_for_the_clients_timer() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let times: Vec<Duration> = (0..5)
        .map(|_| {
            let start = Instant::now();
            let mut producer = producer(&job);
            producer.hand_over(0, numbered("x", 1)).unwrap();
            wait(&mut producer, 1, LONG).unwrap();
            let elapsed = start.elapsed();
            producer.finish().unwrap();
            elapsed
        })
        .collect();
    // A timer would make each of them wait, a busy machine some.
    let fastest = times.iter().min().expect("there are five");
    assert!(*fastest < Duration::from_millis(300), "{times:?}");
}

#[test]
fn misuse_is_an_error_and_loses_nothing() {
    let broker = broker_at(Duration::from_millis(100));
    let job = job(&broker.bootstrap());
    let mut producer = producer(&job);
    assert!(producer.hand_over(0, pipeline::Group::default()).is_err());
    assert!(producer.hand_over(16, numbered("x", 1)).is_err());
    producer.hand_over(0, numbered("x", 1)).unwrap();
    assert!(producer.hand_over(0, numbered("y", 1)).is_err());
    assert_eq!(wait(&mut producer, 1, LONG).unwrap()[0].acknowledged, 1);
    producer.hand_over(0, numbered("z", 1)).unwrap();
    assert!(producer.finish().is_err());
}

#[test]
fn without_a_broker_nothing_is_created() {
    let mut alone = job("127.0.0.1:1");
    alone.kafka.give_up_after = Duration::from_secs(1);
    let start = Instant::now();
    let failure = Producer::create(&options(&alone)).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Unreachable);
    assert!(failure.message.contains("refused") && start.elapsed() < Duration::from_secs(4), "{failure}");
}

#[test]
fn a_topic_that_does_not_exist_is_never_made() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.kafka.topic = "elsewhere".into();
    job.kafka.give_up_after = LONG; // a busy machine may need seconds for the first answer
    for _ in 0..2 {
        let failure = Producer::create(&options(&job)).err().unwrap();
        assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
        assert!(failure.message.contains("elsewhere"), "{failure}");
    }
}

/// A job with exactly-once on an embedded broker, which knows transactions well enough for one attempt.
fn transactional(name: &str) -> (EmbeddedBroker, ProducerOptions) {
    let topics = vec![TOPIC.to_owned(), "progress".to_owned()];
    let broker = EmbeddedBroker::start(&EmbeddedOptions { topics, ..EmbeddedOptions::default() }).unwrap();
    let job = job(&broker.bootstrap());
    let ledger = TopicLedger { topic: "progress".to_owned(), job: name.to_owned(), of: Incarnation::default() };
    let transaction = Some(TransactionOptions::new(&job, &ledger, ShardId(0), 1));
    (broker, ProducerOptions { transaction, ..options(&job) })
}

#[test]
fn a_partition_that_takes_nothing_for_a_transactions_time_is_no_fault_of_the_worker() {
    let (broker, mut options) = transactional("late");
    options.transaction.as_mut().unwrap().timeout = Duration::from_secs(2);
    let mut producer = Producer::create(&options).unwrap();
    broker.push_request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1_000]);
    let sent = producer.hand_over(0, numbered("late", 10)).and_then(|()| wait(&mut producer, 1, LONG));
    let failure = sent.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Unreachable, "{failure}");
    assert!(failure.message.contains("not written within the time of its transaction"), "{failure}");
}
