//! The binding's own flush against the embedded broker: it counts as ours does, and it shows its floor.

mod common;

use std::time::{Duration, Instant};

use common::*;
use kafka::compare::StockFlush;
use migration::FailureKind;
use migration::job::FlushPolicy;
use pipeline::{Delivered, Sink};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};

fn stock(bootstrap: &str) -> Box<StockFlush> {
    let mut job = job(bootstrap);
    job.workers.flush = FlushPolicy::Record;
    job.record.headers = vec![("source".into(), "backfill".into())];
    Box::new(StockFlush::create(&options(&job)).unwrap())
}

fn flush(sink: &mut StockFlush) -> Vec<Delivered> {
    let mut done = Vec::new();
    let deadline = Instant::now() + Duration::from_secs(30);
    while sink.outstanding() > 0 {
        assert!(Instant::now() < deadline);
        sink.poll(Duration::from_millis(50), &mut done).unwrap();
    }
    done
}

#[test]
fn records_arrive_once_and_each_flush_takes_a_tenth_of_a_second() {
    let broker = broker();
    let mut sink = stock(&broker.bootstrap());
    assert_eq!(sink.partitions(), 16);
    // The first delivery also waits for a producer id.
    sink.hand_over(0, numbered("warm", 1)).unwrap();
    flush(&mut sink);
    let started = Instant::now();
    for round in 0..5 {
        sink.hand_over(3, numbered(&format!("r{round}"), 10)).unwrap();
        assert_eq!(sink.outstanding(), 10);
        let done = flush(&mut sink);
        assert!(matches!(&done[..], [d] if (d.partition, d.acknowledged, d.refused.len()) == (3, 10, 0)));
    }
    assert!(started.elapsed() >= Duration::from_millis(450), "the binding has improved: {:?}", started.elapsed());
    assert!(sink.deliveries().is_some());
    sink.finish().unwrap();
    let expected: Vec<_> = (0..5).flat_map(|r| (0..10).map(move |i| (None, format!("r{r}-{i}")))).collect();
    assert_eq!(read(&job(&broker.bootstrap()))[&3], expected);
}

#[test]
fn a_poll_without_a_wait_does_not_flush() {
    let broker = broker();
    let mut sink = stock(&broker.bootstrap());
    let mut done = Vec::new();
    sink.hand_over(1, group([(Some("k"), "v")])).unwrap();
    assert!(sink.hand_over(1, numbered("x", 1)).is_err(), "one group of a partition at a time");
    let deadline = Instant::now() + Duration::from_secs(30);
    while done.is_empty() {
        assert!(Instant::now() < deadline);
        sink.poll(Duration::ZERO, &mut done).unwrap();
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(sink.outstanding(), 0);
    assert_eq!(read(&job(&broker.bootstrap()))[&1], [(Some("k".to_owned()), "v".to_owned())]);
}

#[test]
fn refusals_and_failures_are_told_apart() {
    let broker = broker();
    let mut sink = stock(&broker.bootstrap());
    broker.push_request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    sink.hand_over(2, numbered("large", 10)).unwrap();
    let done = flush(&mut sink);
    assert_eq!((done[0].acknowledged, done[0].refused.len()), (0, 10));
    assert!(done[0].refused.iter().all(|refusal| refusal.blame == pipeline::Blame::Unknown));
    broker.push_request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    sink.hand_over(2, numbered("forbidden", 1)).unwrap();
    let failure = sink.poll(Duration::from_millis(50), &mut Vec::new()).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Permanent, "{failure}");
    assert!(sink.finish().is_err());
}

#[test]
fn without_a_topic_nothing_is_created() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.kafka.topic = "nowhere".into();
    assert_eq!(StockFlush::create(&options(&job)).err().unwrap().kind, FailureKind::Unreachable);
}

#[test]
fn without_brokers_a_topic_is_neither_created_nor_deleted() {
    // Nothing listens there.
    let job = job("127.0.0.1:9");
    let one = kafka::NewTopic { partitions: 1, replication: None, retention_bytes: None };
    for problem in [
        kafka::create_topic(&job, "x", &one, Duration::from_millis(500)).unwrap_err(),
        kafka::delete_topic(&job, "x", Duration::from_millis(500)).unwrap_err(),
    ] {
        assert_eq!(problem.kind, kafka::PreflightProblemKind::Unreachable);
        assert!(problem.message.contains("127.0.0.1:9"), "{problem}");
    }
}
