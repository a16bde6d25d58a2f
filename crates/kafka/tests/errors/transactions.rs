//! One request of each kind that exactly-once delivery makes, answered with a code.

use std::time::Instant;

use kafka::{Connecting, EmbeddedBroker, EmbeddedOptions, Producer, ProducerOptions, TransactionOptions, Turns};
use migration::job::Delivery;
use migration::{Exit, Failure, FailureKind, Incarnation, Job, ShardId, TopicLedger};
use pipeline::Sink as _;
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as E};

use super::common::*;
use super::drive::{BOTH, LONG, Outcome, RECORDS};

/// What is said of a batch because of one of its records.
pub const REFUSING: &[E] = &[
    E::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
    E::RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE,
    E::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP,
    E::RD_KAFKA_RESP_ERR_INVALID_RECORD,
];
/// How often a batch can be halved.
const HALVES: usize = RECORDS.ilog2() as usize;
const CHUNK: u64 = RECORDS as u64;

fn scene() -> (EmbeddedBroker, Job) {
    let topics = vec![TOPIC.into(), job("").checkpoint.topic];
    let broker = EmbeddedBroker::start(&EmbeddedOptions { partitions: 2, topics, ..EmbeddedOptions::default() }).unwrap();
    let mut job = job(&broker.bootstrap());
    job.kafka.delivery = Delivery::ExactlyOnce;
    set(&mut job, "retry.backoff.ms", "10");
    (broker, job)
}

/// As a worker does, which asks again while brokers are in trouble.
fn start(job: &Job, attempt: u32) -> Result<Box<Producer>, Failure> {
    let of = Incarnation { plan_id: 7, generation: 1 };
    let ledger = TopicLedger { topic: job.checkpoint.topic.clone(), job: job.name.clone(), of };
    let transaction = Some(TransactionOptions::new(job, &ledger, ShardId(7), attempt));
    let mut connecting = Connecting::new(ProducerOptions { transaction, metadata_timeout: LONG, ..options(job) })?;
    let since = Instant::now();
    loop {
        match connecting.wait(&mut Turns::one(&mut || true)) {
            Err(failure) if failure.kind == FailureKind::Unreachable && since.elapsed() < LONG => {}
            came => return came.map(Box::new),
        }
    }
}

fn send(producer: &mut Producer, prefix: &str) -> Result<(), Failure> {
    producer.hand_over(0, numbered(prefix, RECORDS))?;
    let done = wait(producer, 1, LONG)?;
    assert_eq!(done[0].acknowledged, RECORDS, "one that is refused ends the attempt");
    Ok(())
}

/// When the code is to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    Start,
    Records,
    Progress,
}

/// Commits a chunk, then another of which one request has the code, and looks at what came of it.
fn chunk(api: Api, codes: &[E], moment: Moment) -> Outcome {
    let (broker, job) = scene();
    let push = |now| {
        if moment == now {
            broker.push_request_errors(api, codes);
        }
    };
    push(Moment::Start);
    let mut producer = match start(&job, 1) {
        Ok(producer) => producer,
        Err(failure) => return failed(&job, &failure, codes[0], &[None]),
    };
    assert_eq!(producer.resumed(), None);
    send(&mut producer, "first").unwrap();
    producer.commit(&entry(CHUNK)).unwrap();
    push(Moment::Records);
    let committed = send(&mut producer, "x").and_then(|()| {
        push(Moment::Progress);
        producer.commit(&entry(2 * CHUNK))
    });
    match committed {
        Ok(()) => counted(&job, producer, codes[0]),
        Err(failure) => {
            producer.commit(&entry(2 * CHUNK)).expect_err("a producer that failed commits nothing");
            producer.finish().expect_err("a producer that failed has no good end");
            // The mock cluster does not hide what is not committed.
            let further = (api == Api::EndTxn).then_some(Some(2 * CHUNK));
            failed(&job, &failure, codes[0], &[Some(CHUNK)].into_iter().chain(further).collect::<Vec<_>>())
        }
    }
}

/// A commit that counts: its records and its progress are there.
fn counted(job: &Job, producer: Box<Producer>, code: E) -> Outcome {
    producer.finish().unwrap();
    let resumed = start(job, 2).unwrap().resumed().cloned();
    let mut there = read(job).remove(&0).unwrap_or_default();
    there.retain(|(_, value)| value.starts_with("x-"));
    let is_whole = resumed == Some(entry(2 * CHUNK)) && there.len() >= RECORDS;
    if !is_whole && code == E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER {
        return Outcome::There;
    }
    assert!(is_whole && is_right(code, &Outcome::Unseen), "{code:?}: {resumed:?}, {} records", there.len());
    Outcome::Unseen
}

/// An attempt that ended; a successor knows how far the shard is, and goes on.
fn failed(job: &Job, failure: &Failure, code: E, how_far: &[Option<u64>]) -> Outcome {
    let mut successor = start(job, 2).unwrap();
    let resumed = successor.resumed().map(|entry| entry.position.records);
    assert!(how_far.contains(&resumed), "{resumed:?}");
    send(&mut successor, "again").unwrap();
    successor.commit(&entry(3 * CHUNK)).unwrap();
    successor.finish().unwrap();
    let outcome = Outcome::from(failure);
    assert!(is_right(code, &outcome), "{code:?}: {outcome}: {failure}");
    outcome
}

/// What a code must lead to wherever it comes in a transaction: a right that is missing stops the job, and a producer
/// that is taken for an older one is followed by a successor, which is no death.
fn is_right(code: E, outcome: &Outcome) -> bool {
    match code {
        E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED
        | E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED => matches!(outcome, Outcome::Stops(Exit::Failed)),
        E::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH | E::RD_KAFKA_RESP_ERR_PRODUCER_FENCED => {
            matches!(outcome, Outcome::GoesOn(FailureKind::Fenced))
        }
        _ => true,
    }
}

pub fn find_coordinator(code: E) -> Outcome {
    chunk(Api::FindCoordinator, &[code], Moment::Start)
}

pub fn init_producer_id(code: E) -> Outcome {
    chunk(Api::InitProducerId, &[code], Moment::Start)
}

pub fn add_partitions(code: E) -> Outcome {
    chunk(Api::AddPartitionsToTxn, &[code], Moment::Records)
}

pub fn produce(code: E) -> Outcome {
    // The batch, then each first half of it, until a record is alone.
    let trials = if REFUSING.contains(&code) { HALVES + 2 } else { 1 };
    chunk(Api::Produce, &vec![code; trials], Moment::Records)
}

pub fn produce_refused_once(code: E) -> Outcome {
    chunk(Api::Produce, &[code], Moment::Records)
}

pub fn add_progress(code: E) -> Outcome {
    chunk(Api::AddPartitionsToTxn, &[code], Moment::Progress)
}

pub fn produce_progress(code: E) -> Outcome {
    chunk(Api::Produce, &[code], Moment::Progress)
}

pub fn end(code: E) -> Outcome {
    chunk(Api::EndTxn, &[code], Moment::Progress)
}

pub fn progress_offsets(code: E) -> Outcome {
    resumed(Api::ListOffsets, &BOTH.map(|()| code))
}

pub fn progress_fetch(code: E) -> Outcome {
    resumed(Api::Fetch, &[code])
}

/// A successor asks how far the shard is: it knows, or does not begin.
fn resumed(api: Api, codes: &[E]) -> Outcome {
    let (broker, job) = scene();
    let mut producer = start(&job, 1).unwrap();
    send(&mut producer, "x").unwrap();
    producer.commit(&entry(CHUNK)).unwrap();
    producer.finish().unwrap();
    broker.push_request_errors(api, codes);
    match start(&job, 2) {
        Ok(successor) => {
            assert_eq!(successor.resumed(), Some(&entry(CHUNK)), "{api:?}, {codes:?}: else all would be sent again");
            assert!(is_right(codes[0], &Outcome::Unseen), "{codes:?}");
            Outcome::Unseen
        }
        Err(failure) => {
            // One question is two requests, and after the first answer the second may not be sent any more.
            broker.clear_request_errors(api);
            failed(&job, &failure, codes[0], &[Some(CHUNK)])
        }
    }
}
