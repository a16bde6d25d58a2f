//! What preflight and a producer make of a topic that is not as it should be.

mod common;

use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::*;
use kafka::{Connecting, PreflightProblemKind, Producer, ProducerOptions, TopicLook, TopicWatch, Turns, preflight};
use migration::{BoundTopic, Failure, FailureKind, TopicChange};
use pipeline::Sink as _;

fn bound(partitions: u32) -> BoundTopic {
    BoundTopic { name: TOPIC.into(), partitions, keyed: true, ..BoundTopic::default() }
}

#[test]
fn partitions_without_a_leader_share_one_time_limit_and_are_named() {
    let broker = broker();
    for partition in [3, 5, 7] {
        broker.set_leader(TOPIC, partition, false).unwrap();
    }
    let started = Instant::now();
    let problem = preflight(&job(&broker.bootstrap()), Duration::from_secs(2)).unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    assert_eq!(problem.kind, PreflightProblemKind::Unreachable);
    assert!(problem.message.ends_with("within 2s: partitions 3, 5 and 7 have no leader"), "{}", problem.message);
}

#[test]
fn a_leader_that_comes_back_in_time_is_enough() {
    let broker = broker();
    broker.set_leader(TOPIC, 3, false).unwrap();
    let job = job(&broker.bootstrap());
    let found = std::thread::scope(|scope| {
        let asked = scope.spawn(|| preflight(&job, Duration::from_secs(60)));
        std::thread::sleep(Duration::from_millis(700));
        assert!(!asked.is_finished());
        broker.set_leader(TOPIC, 3, true).unwrap();
        asked.join().unwrap()
    });
    assert_eq!(found.unwrap().partitions.len(), 16);
}

fn create(bootstrap: &str, bound: BoundTopic) -> Result<Producer, Failure> {
    let job = job(bootstrap);
    let topic = bound.name.clone();
    let metadata_timeout = Duration::from_secs(2);
    Producer::create(&ProducerOptions { bound: Some(bound), topic, metadata_timeout, ..options(&job) })
}

#[test]
fn a_producer_writes_to_the_partitions_that_its_topic_had_when_the_job_began() {
    let broker = broker();
    let producer = create(&broker.bootstrap(), bound(4)).unwrap();
    assert_eq!((producer.partitions(), producer.seen().partitions), (4, 16));
}

#[test]
fn a_producer_refuses_another_topic_of_its_name() {
    let broker = broker();
    let failure = create(&broker.bootstrap(), bound(20)).err().unwrap();
    let message = "topic orders was deleted and made again (it had 20 partitions, has 16)";
    assert_eq!(failure, Failure::new(FailureKind::Topic, message));
    let failure = create(&broker.bootstrap(), BoundTopic { name: "gone".into(), ..bound(16) }).err().unwrap();
    assert_eq!(failure, Failure::new(FailureKind::Topic, "topic gone was deleted"));
}

#[test]
fn without_topic_ids_a_watch_sees_partitions_and_ends_that_went_back() {
    let broker = broker();
    let job = job(&broker.bootstrap());
    let look = |bound: &BoundTopic, reached| TopicWatch::new(&job, bound, reached).unwrap().look(Duration::from_secs(20));
    assert_eq!(look(&bound(16), vec![0; 16]), TopicLook::Same);
    assert_eq!(look(&bound(14), vec![0; 14]), TopicLook::Changed(TopicChange::Added { was: 14, is: 16 }));
    let mut producer = producer(&job);
    producer.hand_over(2, numbered("x", 10)).unwrap();
    wait(&mut producer, 1, Duration::from_secs(20)).unwrap();
    let mut reached = vec![0; 16];
    reached[2] = 10;
    let mut watch = TopicWatch::new(&job, &bound(16), vec![0; 16]).unwrap();
    assert_eq!(watch.look(Duration::from_secs(20)), TopicLook::Same);
    assert_eq!(look(&bound(16), reached.clone()), TopicLook::Same);
    // As if the topic had been made again since: it holds less than it did.
    reached[2] = 11;
    let went_back = TopicChange::WentBack { partition: 2, was: 11, is: 10 };
    assert_eq!(look(&bound(16), reached), TopicLook::Changed(went_back));
}

/// The longest time in which a producer that is being made says nothing, and how that ends.
fn longest_silence(bootstrap: &str, bound: BoundTopic, step: Duration) -> (Duration, Failure) {
    let job = job(bootstrap);
    let options =
        ProducerOptions { topic: bound.name.clone(), bound: Some(bound), metadata_timeout: 2 * SECOND, ..options(&job) };
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut alive = || {
        longest = longest.max(last.elapsed());
        last = Instant::now();
        true
    };
    let mut connecting = Connecting::new(options).unwrap();
    let failure = connecting.wait(&mut Turns::new(step, &mut alive)).err().expect("it was not told what it asked");
    (longest.max(last.elapsed()), failure)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_producer_that_gets_no_answer_says_often_that_it_is_alive() {
    let (broker, step) = (broker(), Duration::from_millis(200));
    // It accepts connections and never answers.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    // The embedded broker tells its topics, and answers no question for a topic's id.
    let with_id = BoundTopic { id: Some("an id".to_owned()), ..bound(16) };
    for (bootstrap, said) in [(address, "no metadata of topic"), (broker.bootstrap(), "don't tell which topic it is")] {
        let (silence, failure) = longest_silence(&bootstrap, with_id.clone(), step);
        assert_eq!(failure.kind, FailureKind::Unreachable, "{failure:?}");
        assert!(failure.message.contains(said), "{}", failure.message);
        assert!(silence < 3 * step, "silent for {silence:?}");
    }
}

#[test]
fn a_wait_that_is_ended_does_not_say_that_it_took_all_its_time() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let job = job(&silent.local_addr().unwrap().to_string());
    let mut connecting = Connecting::new(ProducerOptions { metadata_timeout: 900 * SECOND, ..options(&job) }).unwrap();
    let failure = connecting.wait(&mut Turns::new(SECOND, &mut || false)).err().expect("no broker answers");
    assert!(failure.message.contains("no metadata of topic") && !failure.message.contains("900000"), "{failure:?}");
}

/// Takes connections on to a broker.
#[expect(clippy::disallowed_methods, reason = "this is the tests' process; the supervisor is another one")]
fn forward(listener: std::net::TcpListener, broker: String) {
    let copy = |mut from: TcpStream, mut to: TcpStream| std::thread::spawn(move || std::io::copy(&mut from, &mut to));
    std::thread::spawn(move || {
        for here in listener.incoming() {
            let (here, there) = (here.unwrap(), TcpStream::connect(&broker).unwrap());
            copy(here.try_clone().unwrap(), there.try_clone().unwrap());
            copy(there, here);
        }
    });
}

#[test]
fn a_client_that_was_not_answered_can_be_asked_again() {
    let broker = broker();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let job = job(&listener.local_addr().unwrap().to_string());
    let mut connecting =
        Connecting::new(ProducerOptions { metadata_timeout: Duration::from_millis(50), ..options(&job) }).unwrap();
    let first = connecting.wait(&mut Turns::new(SECOND, &mut || true)).err().expect("no broker is there yet");
    assert_eq!(first.kind, FailureKind::Unreachable);
    forward(listener, broker.bootstrap());
    let deadline = Instant::now() + 30 * SECOND;
    while let Err(failure) = connecting.wait(&mut Turns::new(SECOND, &mut || true)) {
        assert_eq!(failure.kind, FailureKind::Unreachable);
        assert!(Instant::now() < deadline, "{failure:?}");
    }
}
