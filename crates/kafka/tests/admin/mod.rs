//! Topics for the tests, by rdkafka's own client: Kafka's tools would start a JVM for each.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

const LONG: Duration = Duration::from_secs(60);

fn client(bootstrap: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap()
}

/// The client answers from a thread of its own; we only look.
fn wait<T>(answer: impl Future<Output = T>) -> T {
    let mut answer = pin!(answer);
    let start = Instant::now();
    loop {
        if let Poll::Ready(answer) = answer.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return answer;
        }
        assert!(start.elapsed() < LONG, "no answer");
        sleep(Duration::from_millis(5));
    }
}

/// Creates a topic with `key=value` configs and waits until each partition has a leader.
pub fn create(bootstrap: &str, name: &str, partitions: u32, configs: &[&str]) {
    let pairs = configs.iter().map(|config| config.split_once('=').unwrap());
    let new = NewTopic::new(name, partitions.cast_signed(), TopicReplication::Fixed(1));
    let new = pairs.fold(new, |new, (key, value)| new.set(key, value));
    let client = client(bootstrap);
    wait(client.create_topics([&new], &AdminOptions::new())).unwrap().remove(0).unwrap();
    let start = Instant::now();
    loop {
        let metadata = client.inner().fetch_metadata(Some(name), LONG).unwrap();
        let partitions_there = metadata.topics()[0].partitions();
        if partitions_there.len() == partitions as usize && partitions_there.iter().all(|partition| partition.leader() >= 0) {
            return;
        }
        assert!(start.elapsed() < LONG, "topic {name} has no leaders");
        sleep(Duration::from_millis(20));
    }
}

/// Deletes a topic, if it is there.
pub fn delete(bootstrap: &str, name: &str) {
    let _ = wait(client(bootstrap).delete_topics(&[name], &AdminOptions::new()));
}

/// Deletes a partition's records before `offset`.
pub fn delete_records(bootstrap: &str, topic: &str, partition: i32, offset: i64) {
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
    wait(client(bootstrap).delete_records(&before, &AdminOptions::new())).unwrap();
}
