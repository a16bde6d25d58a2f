//! Tests of the harness itself: the cluster, the independent reader, outages. What the other tests judge by has to be
//! right.

use std::process::{Command, Stdio};
use std::time::Duration;

use whole_program::admin::{Operation, Rule};
use whole_program::kafka::Kafka;
use whole_program::multiset::{Difference, Multiset};
use whole_program::murmur2::partition_of;
use whole_program::program::wait_gone;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{Isolation, values};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, the_reader_sees_what_kcat_sent),
    test!(Works, Kafka, deleted_records_are_missing),
    test!(Works, Kafka, an_open_transaction_is_there_and_not_to_be_read),
    test!(Works, Kafka, rules_partitions_and_settings_take_effect),
    test!(Outage, Kafka, data_survive_a_killed_broker),
    test!(Outage, Kafka, a_dropped_cluster_leaves_nothing),
];

/// For what takes a moment, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn thousand() -> Vec<(String, String)> {
    (0..1000).map(|n| (format!("key-{}", n % 37), format!("{{\"n\":{n},\"text\":\"\u{e9}\\t\"}}"))).collect()
}

fn send(kafka: &Kafka, topic: &str) -> Multiset {
    let records = thousand();
    let borrowed: Vec<(&str, &str)> = records.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    kafka.produce(topic, &borrowed);
    let mut sent = Multiset::new();
    records.iter().for_each(|(_, value)| sent.add(value.as_bytes()));
    sent
}

fn the_reader_sees_what_kcat_sent(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("reader", 8, &[]);
    let sent = send(kafka, "reader");
    let mut seen = Multiset::new();
    let mut next = [0; 8];
    for record in kafka.records("reader") {
        let key = record.key.expect("all have keys");
        assert_eq!(record.partition, partition_of(&key, 8), "{}", String::from_utf8_lossy(&key));
        assert_eq!(record.offset, next[record.partition as usize], "offsets are read in order");
        next[record.partition as usize] += 1;
        seen.add(&record.value.expect("all have values"));
    }
    assert_eq!(sent.difference(&seen), Difference::default());
    assert_eq!(seen.len(), 1000);
}

fn deleted_records_are_missing(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("deleted-records", 1, &[]);
    let sent = send(kafka, "deleted-records");
    kafka.delete_records("deleted-records", 0, 10);
    let seen = values(kafka.bootstrap(), "deleted-records", Isolation::Uncommitted);
    assert_eq!(sent.difference(&seen), Difference { missing: 10, ..Difference::default() });
}

fn an_open_transaction_is_there_and_not_to_be_read(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("transaction", 2, &[]);
    let seen = |isolation| values(kafka.bootstrap(), "transaction", isolation).len();
    let open = kafka.open_transaction("transaction", 1, &["one", "two", "three"]);
    kafka.produce("transaction", &[("after", "it")]);
    assert_eq!(kafka.end_offsets("transaction").iter().sum::<u64>(), 4);
    assert_eq!(seen(Isolation::Uncommitted), 4);
    assert!(seen(Isolation::Committed) <= 1, "nothing behind its first record is read");
    open.commit();
    wait_until("its records are read", PATIENCE, || seen(Isolation::Committed) == 4);
    kafka.open_transaction("transaction", 1, &["gone"]).abort();
    assert_eq!((seen(Isolation::Committed), seen(Isolation::Uncommitted)), (4, 5));
    // The coordinator answers before it has written the end to the partition.
    wait_until("each end is a record of its own", PATIENCE, || {
        kafka.end_offsets("transaction").iter().sum::<u64>() == 4 + 1 + 2
    });
}

fn rules_partitions_and_settings_take_effect(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("altered", 1, &["retention.ms=1000000"]);
    assert!(kafka.has_topic("altered"));
    let kcat = |words: &[&str]| {
        let output = Command::new("kcat").args(["-b", kafka.bootstrap()]).args(words).stdin(Stdio::null()).output();
        output.expect("kcat can be started")
    };
    kafka.add_partitions("altered", 3);
    assert_eq!(kafka.end_offsets("altered"), [0, 0, 0]);
    let produce = ["-P", "-t", "altered", "-X", "message.timeout.ms=5000", "-p", "2", "-l", "/etc/hostname"];
    assert!(kcat(&produce).status.success());
    // A broker takes over what the controller answered a little later.
    let becomes = |what: &str, writable: bool| wait_until(what, PATIENCE, || kcat(&produce).status.success() == writable);
    kafka.alter_topic("altered", &["max.message.bytes=1"]);
    becomes("every record is too large", false);
    kafka.alter_topic("altered", &["max.message.bytes=1000000"]);
    becomes("none is too large", true);
    kafka.add_rule("altered", Rule::Allow, Operation::Describe);
    becomes("to write is not allowed", false);
    kafka.add_rule("altered", Rule::Allow, Operation::Write);
    becomes("to write is allowed", true);
    kafka.remove_rules("altered");
    assert!(kafka.end_offsets("altered")[2] >= 3);
    kafka.delete_topic("altered");
    assert!(!kafka.has_topic("altered"));
}

fn data_survive_a_killed_broker(clusters: &Clusters) {
    let kafka = clusters.outage();
    kafka.create_topic("survivor", 2, &[]);
    let sent = send(&kafka, "survivor");
    let before = kafka.pid(1);
    kafka.kill(1);
    assert_eq!(kafka.try_call(&["status"]).status.code(), Some(3));
    kafka.restart(1);
    assert_ne!(kafka.pid(1), before);
    let seen = values(kafka.bootstrap(), "survivor", Isolation::Committed);
    assert_eq!(sent.difference(&seen), Difference::default());
}

fn a_dropped_cluster_leaves_nothing(_: &Clusters) {
    let kafka = Kafka::start();
    let process = kafka.pid(1);
    let log = kafka.call(&["log", "1"]);
    drop(kafka);
    wait_gone(process, PATIENCE);
    assert!(!std::path::Path::new(&log).exists());
}
