//! One producer for several workers, and the descriptor that says when to serve it, against the embedded broker.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use kafka::Wakeup;
use kafka::compare::{Seat, SharedProducer};
use migration::FailureKind;
use migration::job::FlushPolicy;
use pipeline::Sink;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};

const LONG: Duration = Duration::from_secs(30);

fn shared(bootstrap: &str, seats: u32) -> (SharedProducer, Vec<Seat>) {
    let shared = SharedProducer::create(&options(&job(bootstrap)), seats).unwrap();
    let taken = (0..seats).map(|seat| shared.seat(seat).unwrap()).collect();
    (shared, taken)
}

/// Waits until the descriptor is signalled, without serving the client.
fn signalled(wakeup: &Wakeup) -> bool {
    let deadline = Instant::now() + LONG;
    while !wakeup.drain() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(Duration::from_micros(50));
    }
    true
}

#[test]
fn each_seat_gets_its_own_records_and_writes_to_its_own_partitions() {
    let broker = broker();
    let (shared, mut seats) = shared(&broker.bootstrap(), 3);
    assert_eq!(seats.iter().map(Seat::partitions).collect::<Vec<_>>(), [5, 5, 6]);
    for (index, seat) in seats.iter_mut().enumerate() {
        for partition in 0..seat.partitions() {
            seat.hand_over(partition, numbered(&format!("{index}/{partition}"), 100)).unwrap();
        }
    }
    assert_eq!(shared.outstanding(), 1_600);
    // Only the last one polls; it must not get the others', and the others must not lose theirs.
    let mut last = Vec::new();
    let deadline = Instant::now() + LONG;
    while shared.queue_length() > 0 || last.len() < 6 {
        assert!(Instant::now() < deadline);
        seats[2].poll(Duration::from_millis(50), &mut last).unwrap();
    }
    for (index, seat) in seats.iter_mut().enumerate() {
        let mut done = if index == 2 { std::mem::take(&mut last) } else { Vec::new() };
        assert_eq!(seat.outstanding(), if index == 2 { 0 } else { 500 });
        seat.poll(Duration::ZERO, &mut done).unwrap();
        done.sort_by_key(|delivered| delivered.partition);
        assert_eq!(done.len(), seat.partitions() as usize);
        for (partition, delivered) in done.iter().enumerate() {
            assert_eq!((delivered.partition, delivered.acknowledged), (partition as u32, 100));
            assert_eq!(delivered.group.message(0).value, format!("{index}/{partition}-0").as_bytes());
        }
        assert_eq!(seat.outstanding(), 0);
        assert!(seat.deliveries().is_some_and(|(first, last)| first <= last));
    }
    seats.into_iter().for_each(|seat| Box::new(seat).finish().unwrap());
    drop(shared);
    let found = read(&job(&broker.bootstrap()));
    for (first, index, count) in [(0, 0, 5), (5, 1, 5), (10, 2, 6)] {
        for partition in 0..count {
            let expected: Vec<_> = (0..100).map(|i| (None, format!("{index}/{partition}-{i}"))).collect();
            assert_eq!(found[&(first + partition)], expected);
        }
    }
}

#[test]
fn a_seat_is_taken_once_and_free_again() {
    let broker = broker();
    let (shared, mut seats) = shared(&broker.bootstrap(), 16);
    assert!(shared.seat(0).is_err_and(|failure| failure.message.contains("is taken")));
    assert!(shared.seat(16).is_err_and(|failure| failure.message.contains("does not exist")));
    let mut first = seats.remove(0);
    assert!(first.hand_over(1, numbered("x", 1)).is_err_and(|failure| failure.message.contains("no partition 1")));
    first.hand_over(0, numbered("x", 1)).unwrap();
    drop(first);
    assert!(shared.seat(0).is_err_and(|failure| failure.message.contains("in flight")));
    let second = &mut seats[0];
    second.hand_over(0, numbered("y", 1)).unwrap();
    let mut done = Vec::new();
    while done.is_empty() {
        second.poll(Duration::from_millis(50), &mut done).unwrap();
    }
    // By now the first one's record is delivered, too; it was not fetched, and the next one in the seat does not get
    // it.
    while shared.seat(0).is_err() {
        shared.serve(Duration::from_millis(50)).unwrap();
    }
    let mut again = shared.seat(0).unwrap();
    assert_eq!(again.outstanding(), 0);
    again.hand_over(0, numbered("z", 3)).unwrap();
    done.clear();
    while done.is_empty() {
        again.poll(Duration::from_millis(50), &mut done).unwrap();
    }
    assert_eq!((done.len(), done[0].acknowledged), (1, 3));
    let third = seats.remove(1);
    Box::new(third).finish().unwrap();
    assert!(shared.seat(2).is_ok());
}

#[test]
fn fewer_partitions_than_seats_are_refused() {
    let broker = broker();
    let failure = SharedProducer::create(&options(&job(&broker.bootstrap())), 17).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Refused);
    assert!(failure.message.contains("16 partitions, but 17 workers"), "{failure}");
}

#[test]
fn whoever_serves_tells_those_who_have_something_to_fetch() {
    let broker = broker();
    let (shared, mut seats) = shared(&broker.bootstrap(), 4);
    let told: Rc<RefCell<Vec<u32>>> = Rc::default();
    let (list, probe) = (Rc::clone(&told), shared.clone());
    shared.when_ready(move |seat| {
        // Looking at the producer is allowed.
        let _ = probe.queue_length();
        list.borrow_mut().push(seat);
    });
    seats[1].hand_over(0, numbered("x", 10)).unwrap();
    seats[3].hand_over(2, numbered("x", 10)).unwrap();
    let deadline = Instant::now() + LONG;
    while told.borrow().len() < 2 {
        assert!(Instant::now() < deadline);
        shared.serve(Duration::from_millis(50)).unwrap();
    }
    let mut seen = told.take();
    seen.sort_unstable();
    assert_eq!(seen, [1, 3]);
    // A failure of the client is everybody's.
    broker.push_request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    seats[0].hand_over(0, numbered("x", 1)).unwrap();
    while shared.serve(Duration::from_millis(50)).is_ok() {
        assert!(Instant::now() < deadline);
    }
    let mut seen = told.take();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
    assert!(seats.iter_mut().all(|seat| seat.poll(Duration::ZERO, &mut Vec::new()).is_err()));
}

#[test]
fn no_wakeup_is_lost_in_a_thousand() {
    let broker = broker();
    let mut job = job(&broker.bootstrap());
    job.workers.flush = FlushPolicy::Record;
    let mut producer = producer(&job);
    let wakeup = producer.wakeup().unwrap();
    let mut done = Vec::new();
    for round in 0..1_000u32 {
        // From one record on an idle client to several partitions whose reports come one after the other.
        let groups = 1 + round % 4;
        (0..groups).for_each(|partition| producer.hand_over(partition, numbered("x", 1)).unwrap());
        while done.len() < groups as usize {
            assert!(signalled(&wakeup), "round {round}: {} of {groups} groups came, then no signal", done.len());
            producer.poll(Duration::ZERO, &mut done).unwrap();
        }
        done.clear();
    }
    assert_eq!(producer.outstanding(), 0);
    producer.finish().unwrap();
}

#[test]
fn a_shared_producer_wakes_whoever_serves_it() {
    let broker = broker();
    let (shared, mut seats) = shared(&broker.bootstrap(), 8);
    let wakeup = shared.wakeup().unwrap();
    let told: Rc<RefCell<Vec<u32>>> = Rc::default();
    let list = Rc::clone(&told);
    shared.when_ready(move |seat| list.borrow_mut().push(seat));
    let mut done = Vec::new();
    for round in 0..300 {
        seats.iter_mut().for_each(|seat| seat.hand_over(0, numbered("x", 1)).unwrap());
        let mut fetched = 0;
        while fetched < seats.len() {
            assert!(signalled(&wakeup), "round {round}: {fetched} groups came, then no signal");
            shared.serve(Duration::ZERO).unwrap();
            for seat in told.take() {
                done.clear();
                seats[seat as usize].poll(Duration::ZERO, &mut done).unwrap();
                fetched += done.len();
            }
        }
    }
}

#[test]
fn a_wakeup_outlives_its_producer() {
    let broker = broker();
    let producer = producer(&job(&broker.bootstrap()));
    let wakeup = producer.wakeup().unwrap();
    assert!(wakeup.drain(), "readable from the start");
    producer.finish().unwrap();
    wakeup.drain();
}

#[test]
fn records_of_many_seats_travel_together_and_each_seat_gets_its_own_back() {
    let broker = broker();
    let shared = SharedProducer::create_together(&options(&job(&broker.bootstrap())), 64, 16).unwrap();
    let mut seats: Vec<Seat> = (0..64).map(|seat| shared.seat(seat).unwrap()).collect();
    assert!(seats.iter().all(|seat| seat.partitions() == 1));
    let asked: Rc<RefCell<u32>> = Rc::default();
    let count = Rc::clone(&asked);
    shared.when_waiting(move || *count.borrow_mut() += 1);
    for round in 0..20 {
        for (index, seat) in seats.iter_mut().enumerate() {
            seat.hand_over(0, numbered(&format!("{index}/{round}"), 1 + index % 3)).unwrap();
        }
        assert_eq!((shared.queue_length(), seats[5].outstanding()), (0, 3), "nothing is sent before it is asked for");
        shared.send_waiting().unwrap();
        for (index, seat) in seats.iter_mut().enumerate() {
            let (mut done, deadline) = (Vec::new(), Instant::now() + LONG);
            while done.is_empty() {
                assert!(Instant::now() < deadline);
                seat.poll(Duration::from_millis(50), &mut done).unwrap();
            }
            assert_eq!((done.len(), done[0].partition, done[0].acknowledged), (1, 0, 1 + index % 3));
            assert_eq!(done[0].group.message(0).value, format!("{index}/{round}-0").as_bytes());
            assert_eq!(seat.outstanding(), 0);
        }
    }
    assert!(*asked.borrow() >= 64 * 20);
    assert_eq!(shared.outstanding(), 0);
    seats.into_iter().for_each(|seat| Box::new(seat).finish().unwrap());
    drop(shared);
    let found = read(&job(&broker.bootstrap()));
    let values: usize = found.values().map(Vec::len).sum();
    assert_eq!((found.len(), values), (4, 20 * (0..64).map(|index| 1 + index % 3).sum::<usize>()));
}

#[test]
fn the_client_waits_for_a_record_of_each_seat_of_a_partition() {
    let gathers = |flush, seats, partitions| {
        let mut job = job("127.0.0.1:1");
        job.workers.flush = flush;
        let properties = SharedProducer::options_together(&options(&job), seats, partitions).properties_for_speed(&[]);
        let value = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap();
        (value("linger.ms"), value("batch.num.messages"))
    };
    let one_ms = |records: &str| ("1".to_owned(), records.to_owned());
    assert_eq!(gathers(FlushPolicy::Record, 64, 16), one_ms("16"));
    assert_eq!(gathers(FlushPolicy::Record, 64, 1), one_ms("64"));
    assert_eq!(
        gathers(FlushPolicy::Record, 7, 16),
        one_ms("7"),
        "partitions with unequally many seats are never complete together"
    );
    assert_eq!(gathers(FlushPolicy::Record, 5, 16), one_ms("1"));
    // Chunks gather by themselves.
    assert_eq!(gathers(FlushPolicy::Chunk, 64, 16), ("5".to_owned(), "2500".to_owned()));
}
