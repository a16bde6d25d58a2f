//! One request of each kind, answered with a code.

use std::fmt;
use std::time::{Duration, Instant};

use kafka::{EmbeddedBroker, PreflightProblemKind, Producer, ProducerOptions, TopicReader, preflight};
use migration::{Exit, Failure, FailureKind, Job};
use pipeline::verify::{TopicReader as _, VerifyError};
use pipeline::{Blame, Sink as _};
use rdkafka::types::{RDKafkaApiKey as Api, RDKafkaRespErr as E};

use super::common::*;

/// Longer than anything here takes on a busy machine.
pub const LONG: Duration = Duration::from_secs(40);
/// For how long a topic's metadata has an error.
const A_WHILE: Duration = Duration::from_millis(333);
pub const RECORDS: usize = 10;
/// Where a partition begins, and where it ends, are two questions.
pub const BOTH: [(); 2] = [(); 2];

/// What became of it.
pub enum Outcome {
    Unseen,
    /// The broker says that it has it, and is believed.
    There,
    SetAside,
    GoesOn(FailureKind),
    Stops(Exit),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Unseen => f.write_str("nothing is seen of it"),
            Outcome::There => f.write_str("delivered: the broker has that batch"),
            Outcome::SetAside => f.write_str("set aside"),
            Outcome::GoesOn(FailureKind::Fenced) => f.write_str("a successor goes on (fenced: no death)"),
            Outcome::GoesOn(FailureKind::Retry) => f.write_str("a successor goes on (a death)"),
            Outcome::GoesOn(_) => f.write_str("a successor goes on (no death)"),
            Outcome::Stops(exit) => write!(f, "stops: exit {}", exit.code()),
        }
    }
}

impl From<&Failure> for Outcome {
    fn from(failure: &Failure) -> Outcome {
        match failure.kind {
            FailureKind::Retry | FailureKind::Unreachable | FailureKind::Fenced => Outcome::GoesOn(failure.kind),
            FailureKind::Refused => {
                assert!(!failure.refused.is_empty(), "{failure}");
                Outcome::SetAside
            }
            FailureKind::GaveUp => Outcome::Stops(Exit::Stopped),
            FailureKind::Source => Outcome::Stops(Exit::Source),
            FailureKind::Permanent | FailureKind::TooManyBad => Outcome::Stops(Exit::Failed),
            FailureKind::State => Outcome::Stops(Exit::State),
            FailureKind::Ledger | FailureKind::Topic => Outcome::Stops(Exit::Preflight),
        }
    }
}

fn scene() -> (EmbeddedBroker, Job) {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    set(&mut job, "retry.backoff.ms", "10");
    (broker, job)
}

/// Sends records and looks at what came of them. What is acknowledged is in the topic, in its order; only if all is, is
/// the end of the attempt a good one.
fn sent(job: &Job, mut producer: Box<Producer>, code: E) -> Outcome {
    let done = producer.hand_over(0, numbered("x", RECORDS)).and_then(|()| wait(&mut producer, 1, LONG));
    let topic = read(job);
    let there = topic.get(&0).map_or(&[][..], Vec::as_slice);
    let done = match done {
        Ok(done) => done,
        Err(failure) => {
            producer.finish().expect_err("a producer that failed has no good end");
            return Outcome::from(&failure);
        }
    };
    let (acknowledged, refused) = (done[0].acknowledged, &done[0].refused);
    assert_eq!(acknowledged + refused.len(), RECORDS);
    if refused.is_empty() && there.len() <= 1 && code == E::RD_KAFKA_RESP_ERR_DUPLICATE_SEQUENCE_NUMBER {
        return Outcome::There;
    }
    if refused.is_empty() {
        let numbers: Vec<String> = there.iter().filter_map(|(_, value)| value.strip_prefix("x-").map(str::to_owned)).collect();
        // Where a batch that was written is sent again the mock cluster has it twice; real brokers know it again.
        let first: Vec<&String> = numbers.iter().take(RECORDS).collect();
        assert_eq!(first, (0..RECORDS).map(|n| n.to_string()).collect::<Vec<_>>().iter().collect::<Vec<_>>());
        producer.finish().unwrap();
        return Outcome::Unseen;
    }
    assert_eq!(acknowledged, 0);
    assert!(refused.iter().all(|refused| refused.blame == Blame::Unknown), "these are halved");
    Outcome::SetAside
}

pub fn produce(code: E) -> Outcome {
    let (broker, job) = scene();
    let mut producer = producer(&job);
    producer.hand_over(0, numbered("warm", 1)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    broker.push_request_errors(Api::Produce, &[code]);
    sent(&job, producer, code)
}

fn created(job: &Job, code: E) -> Outcome {
    match Producer::create(&ProducerOptions { metadata_timeout: LONG, ..options(job) }) {
        Ok(producer) => sent(job, Box::new(producer), code),
        Err(failure) => Outcome::from(&failure),
    }
}

pub fn init_producer_id(code: E) -> Outcome {
    let (broker, job) = scene();
    broker.push_request_errors(Api::InitProducerId, &[code]);
    created(&job, code)
}

/// Does something while the topic's metadata has an error for a while.
fn while_wrong(code: E, what: impl Fn(&Job) -> Outcome + Send + Sync) -> Outcome {
    let (broker, job) = scene();
    broker.set_topic_error(TOPIC, code).unwrap();
    std::thread::scope(|scope| {
        let what = scope.spawn(|| what(&job));
        std::thread::sleep(A_WHILE);
        broker.set_topic_error(TOPIC, E::RD_KAFKA_RESP_ERR_NO_ERROR).unwrap();
        what.join().expect("a panic of a case is one of the test")
    })
}

pub fn metadata(code: E) -> Outcome {
    while_wrong(code, |job| created(job, code))
}

fn checked(job: &Job) -> Outcome {
    match preflight(job, LONG) {
        Ok(found) => {
            assert_eq!(found.partitions.len(), 16);
            Outcome::Unseen
        }
        Err(problem) => Outcome::Stops(match problem.kind {
            PreflightProblemKind::Unreachable => Exit::Stopped,
            PreflightProblemKind::BadConfig => Exit::Config,
            _ => Exit::Preflight,
        }),
    }
}

pub fn preflight_metadata(code: E) -> Outcome {
    while_wrong(code, checked)
}

pub fn preflight_offsets(code: E) -> Outcome {
    let (broker, job) = scene();
    broker.push_request_errors(Api::ListOffsets, &BOTH.map(|()| code));
    checked(&job)
}

pub fn verify_offsets(code: E) -> Outcome {
    verified(Api::ListOffsets, &BOTH.map(|()| code))
}

pub fn verify_fetch(code: E) -> Outcome {
    verified(Api::Fetch, &[code])
}

/// Reads a topic of which all is known: every record, or an error.
pub fn verified(api: Api, codes: &[E]) -> Outcome {
    let (broker, job) = scene();
    let mut producer = producer(&job);
    producer.hand_over(0, numbered("x", RECORDS)).unwrap();
    wait(&mut producer, 1, LONG).unwrap();
    producer.finish().unwrap();
    broker.push_request_errors(api, codes);
    match read_to_the_end(&job) {
        Ok(records) => {
            assert_eq!(records, RECORDS, "{api:?}, {codes:?}: not all, and said to be all");
            Outcome::Unseen
        }
        // Then nothing is said of records; not that one is missing.
        Err(VerifyError::NotNow(_)) => Outcome::Stops(Exit::Stopped),
        Err(_) => Outcome::Stops(Exit::Preflight),
    }
}

fn read_to_the_end(job: &Job) -> Result<usize, VerifyError> {
    let (mut reader, mut records) = (TopicReader::new(job, Vec::new()), 0);
    reader.restart()?;
    let begin = Instant::now();
    while reader.next(&mut |_| records += 1)? {
        assert!(begin.elapsed() < 2 * LONG, "it is read for ever");
    }
    Ok(records)
}
