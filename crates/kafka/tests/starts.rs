//! What the start of a producer costs, in round trips; design note 0010 lists them. The embedded broker answers each
//! request after a round trip and a new connection at once, and refuses the client's first question for versions, so
//! that each of the two connections costs one more here than with Kafka.

mod common;

use std::time::{Duration, Instant};

use common::*;
use kafka::{EmbeddedBroker, EmbeddedOptions, Producer, ProducerOptions, TransactionOptions, preflight};
use migration::{Incarnation, ShardId, TopicLedger};
use pipeline::Sink;

const RTT: Duration = Duration::from_millis(100);
const PROGRESS: &str = "progress";

/// How many round trips passed until a producer was there, and until its first records were delivered: the fewest of
/// three, because the machine may be busy.
fn round_trips(options: &ProducerOptions) -> (f64, f64) {
    let starts = (0..3).map(|_| {
        let began = Instant::now();
        let mut producer = Producer::create(options).unwrap();
        let created = began.elapsed();
        producer.hand_over(0, numbered("first", 10)).unwrap();
        wait(&mut producer, 1, Duration::from_secs(30)).unwrap();
        (created, began.elapsed())
    });
    let (created, delivered) = starts.min_by_key(|(_, delivered)| *delivered).unwrap();
    (created.as_secs_f64() / RTT.as_secs_f64(), delivered.as_secs_f64() / RTT.as_secs_f64())
}

fn far_broker(partitions: u32) -> EmbeddedBroker {
    let topics = vec![TOPIC.to_owned(), PROGRESS.to_owned()];
    EmbeddedBroker::start(&EmbeddedOptions { topics, partitions, rtt: RTT }).unwrap()
}

#[test]
fn a_preflight_asks_all_partitions_at_once() {
    let broker = far_broker(200);
    let began = Instant::now();
    let found = preflight(&job(&broker.bootstrap()), Duration::from_secs(10)).unwrap();
    assert_eq!(found.partitions.len(), 200);
    // One by one it would be 400 round trips: no more than these seconds have.
    assert!(began.elapsed() < 40 * RTT, "{:?}", began.elapsed());
}

#[test]
fn a_producer_is_there_after_two_connections_and_two_answers() {
    let broker = far_broker(8);
    let (created, delivered) = round_trips(&options(&job(&broker.bootstrap())));
    // Versions (2), metadata, versions (2), metadata; then the producer id and the records themselves.
    assert!(created < 6.8, "{created} round trips");
    assert!(delivered < 8.8, "{delivered} round trips");
}

#[test]
fn the_progress_topic_and_the_coordinator_are_asked_for_while_the_producer_connects() {
    let broker = far_broker(8);
    let job = job(&broker.bootstrap());
    let of = Incarnation { plan_id: 1, generation: 1 };
    let ledger = TopicLedger { topic: PROGRESS.to_owned(), job: "test".to_owned(), of };
    let transaction = Some(TransactionOptions::new(&job, &ledger, ShardId(0), 1));
    let (created, delivered) = round_trips(&ProducerOptions { transaction, ..options(&job) });
    // As above; then the coordinator, versions (2), the producer id, and twice where the log ends, for it is empty.
    assert!(created < 12.8, "{created} round trips");
    // The partition becomes one of the transaction, and gets the records.
    assert!(delivered < 14.8, "{delivered} round trips");
}
