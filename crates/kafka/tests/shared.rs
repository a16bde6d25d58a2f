//! One producer for several workers, and the descriptor that says when to serve it, against the embedded broker.

mod common;

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use common::*;
use kafka::Wakeup;
use kafka::compare::{SharedProducer, SlotSink};
use migration::FailureKind;
use migration::job::FlushPolicy;
use pipeline::Sink;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as E};

const LONG: Duration = Duration::from_secs(30);

fn shared(bootstrap: &str, slots: u32) -> (SharedProducer, Vec<SlotSink>) {
    let shared = SharedProducer::create(&options(&job(bootstrap)), slots).unwrap();
    let taken = (0..slots).map(|slot| shared.slot(slot).unwrap()).collect();
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
    let (shared, mut slots) = shared(&broker.bootstrap(), 3);
    assert_eq!(slots.iter().map(SlotSink::partitions).collect::<Vec<_>>(), [5, 5, 6]);
    for (index, slot) in slots.iter_mut().enumerate() {
        for partition in 0..slot.partitions() {
            slot.hand_over(partition, numbered(&format!("{index}/{partition}"), 100)).unwrap();
        }
    }
    assert_eq!(shared.outstanding(), 1_600);
    // Only the last one polls; it must not get the others', and the others must not lose theirs.
    let mut last = Vec::new();
    let deadline = Instant::now() + LONG;
    while shared.queue_length() > 0 || last.len() < 6 {
        assert!(Instant::now() < deadline);
        slots[2].poll(Duration::from_millis(50), &mut last).unwrap();
    }
    for (index, slot) in slots.iter_mut().enumerate() {
        let mut done = if index == 2 { std::mem::take(&mut last) } else { Vec::new() };
        assert_eq!(slot.outstanding(), if index == 2 { 0 } else { 500 });
        slot.poll(Duration::ZERO, &mut done).unwrap();
        done.sort_by_key(|delivered| delivered.partition);
        assert_eq!(done.len(), slot.partitions() as usize);
        for (partition, delivered) in done.iter().enumerate() {
            assert_eq!((delivered.partition, delivered.acknowledged), (partition as u32, 100));
            assert_eq!(delivered.group.message(0).value, format!("{index}/{partition}-0").as_bytes());
        }
        assert_eq!(slot.outstanding(), 0);
        assert!(slot.deliveries().is_some_and(|(first, last)| first <= last));
    }
    slots.into_iter().for_each(|slot| Box::new(slot).finish().unwrap());
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
    let (shared, mut slots) = shared(&broker.bootstrap(), 16);
    assert!(shared.slot(0).is_err_and(|failure| failure.message.contains("is taken")));
    assert!(shared.slot(16).is_err_and(|failure| failure.message.contains("does not exist")));
    let mut first = slots.remove(0);
    assert!(first.hand_over(1, numbered("x", 1)).is_err_and(|failure| failure.message.contains("no partition 1")));
    first.hand_over(0, numbered("x", 1)).unwrap();
    drop(first);
    assert!(shared.slot(0).is_err_and(|failure| failure.message.contains("in flight")));
    let second = &mut slots[0];
    second.hand_over(0, numbered("y", 1)).unwrap();
    let mut done = Vec::new();
    while done.is_empty() {
        second.poll(Duration::from_millis(50), &mut done).unwrap();
    }
    // By now the first one's record is delivered, too; it was not fetched, and the next one in the slot does not get
    // it.
    while shared.slot(0).is_err() {
        shared.serve(Duration::from_millis(50)).unwrap();
    }
    let mut again = shared.slot(0).unwrap();
    assert_eq!(again.outstanding(), 0);
    again.hand_over(0, numbered("z", 3)).unwrap();
    done.clear();
    while done.is_empty() {
        again.poll(Duration::from_millis(50), &mut done).unwrap();
    }
    assert_eq!((done.len(), done[0].acknowledged), (1, 3));
    let third = slots.remove(1);
    Box::new(third).finish().unwrap();
    assert!(shared.slot(2).is_ok());
}

#[test]
fn fewer_partitions_than_seats_are_refused() {
    let broker = broker();
    let failure = SharedProducer::create(&options(&job(&broker.bootstrap())), 17).err().unwrap();
    assert_eq!(failure.kind, FailureKind::Permanent);
    assert!(failure.message.contains("16 partitions, but 17 workers"), "{failure}");
}

#[test]
fn whoever_serves_tells_those_who_have_something_to_fetch() {
    let broker = broker();
    let (shared, mut slots) = shared(&broker.bootstrap(), 4);
    let told: Rc<RefCell<Vec<u32>>> = Rc::default();
    let (list, probe) = (Rc::clone(&told), shared.clone());
    shared.when_ready(move |slot| {
        // Looking at the producer is allowed.
        let _ = probe.queue_length();
        list.borrow_mut().push(slot);
    });
    slots[1].hand_over(0, numbered("x", 10)).unwrap();
    slots[3].hand_over(2, numbered("x", 10)).unwrap();
    let deadline = Instant::now() + LONG;
    while told.borrow().len() < 2 {
        assert!(Instant::now() < deadline);
        shared.serve(Duration::from_millis(50)).unwrap();
    }
    let mut seen = told.take();
    seen.sort_unstable();
    assert_eq!(seen, [1, 3]);
    // A failure of the client is that of each slot.
    broker.push_request_errors(RDKafkaApiKey::Produce, &[E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    slots[0].hand_over(0, numbered("x", 1)).unwrap();
    while shared.serve(Duration::from_millis(50)).is_ok() {
        assert!(Instant::now() < deadline);
    }
    let mut seen = told.take();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
    assert!(slots.iter_mut().all(|slot| slot.poll(Duration::ZERO, &mut Vec::new()).is_err()));
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
    let (shared, mut slots) = shared(&broker.bootstrap(), 8);
    let wakeup = shared.wakeup().unwrap();
    let told: Rc<RefCell<Vec<u32>>> = Rc::default();
    let list = Rc::clone(&told);
    shared.when_ready(move |slot| list.borrow_mut().push(slot));
    let mut done = Vec::new();
    for round in 0..300 {
        slots.iter_mut().for_each(|slot| slot.hand_over(0, numbered("x", 1)).unwrap());
        let mut fetched = 0;
        while fetched < slots.len() {
            assert!(signalled(&wakeup), "round {round}: {fetched} groups came, then no signal");
            shared.serve(Duration::ZERO).unwrap();
            for slot in told.take() {
                done.clear();
                slots[slot as usize].poll(Duration::ZERO, &mut done).unwrap();
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
    let mut slots: Vec<SlotSink> = (0..64).map(|slot| shared.slot(slot).unwrap()).collect();
    assert!(slots.iter().all(|slot| slot.partitions() == 1));
    let asked: Rc<RefCell<u32>> = Rc::default();
    let count = Rc::clone(&asked);
    shared.when_waiting(move || *count.borrow_mut() += 1);
    for round in 0..20 {
        for (index, slot) in slots.iter_mut().enumerate() {
            slot.hand_over(0, numbered(&format!("{index}/{round}"), 1 + index % 3)).unwrap();
        }
        assert_eq!((shared.queue_length(), slots[5].outstanding()), (0, 3), "nothing is sent before it is asked for");
        shared.send_waiting().unwrap();
        for (index, slot) in slots.iter_mut().enumerate() {
            let (mut done, deadline) = (Vec::new(), Instant::now() + LONG);
            while done.is_empty() {
                assert!(Instant::now() < deadline);
                slot.poll(Duration::from_millis(50), &mut done).unwrap();
            }
            assert_eq!((done.len(), done[0].partition, done[0].acknowledged), (1, 0, 1 + index % 3));
            assert_eq!(done[0].group.message(0).value, format!("{index}/{round}-0").as_bytes());
            assert_eq!(slot.outstanding(), 0);
        }
    }
    assert!(*asked.borrow() >= 64 * 20);
    assert_eq!(shared.outstanding(), 0);
    slots.into_iter().for_each(|slot| Box::new(slot).finish().unwrap());
    drop(shared);
    let found = read(&job(&broker.bootstrap()));
    let values: usize = found.values().map(Vec::len).sum();
    assert_eq!((found.len(), values), (4, 20 * (0..64).map(|index| 1 + index % 3).sum::<usize>()));
}

#[test]
fn the_client_waits_for_a_record_of_each_seat_of_a_partition() {
    let gathers = |flush, slots, partitions| {
        let mut job = job("127.0.0.1:1");
        job.workers.flush = flush;
        let properties = SharedProducer::options_together(&options(&job), slots, partitions).properties_for_speed(&[]);
        let value = |wanted: &str| properties.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.clone()).unwrap();
        (value("linger.ms"), value("batch.num.messages"))
    };
    let one_ms = |records: &str| ("1".to_owned(), records.to_owned());
    assert_eq!(gathers(FlushPolicy::Record, 64, 16), one_ms("16"));
    assert_eq!(gathers(FlushPolicy::Record, 64, 1), one_ms("64"));
    assert_eq!(
        gathers(FlushPolicy::Record, 7, 16),
        one_ms("7"),
        "partitions with unequally many slots are never complete together"
    );
    assert_eq!(gathers(FlushPolicy::Record, 5, 16), one_ms("1"));
    // Chunks gather by themselves.
    assert_eq!(gathers(FlushPolicy::Chunk, 64, 16), ("5".to_owned(), "2500".to_owned()));
}
