//! Everything arrives, once, where it belongs, in order (rows 1 and 8): a million lines without a key and with one; a
//! topic with a small batch limit.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::Value;
use whole_program::multiset::{Difference, Multiset};
use whole_program::murmur2::partition_of;
use whole_program::program::Finished;
use whole_program::scene::{PARTITIONS, Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, a_million_lines_without_a_key),
    // Its short form is `order::four_workers_keep_the_order`.
    test!(Nightly, Kafka, a_million_lines_with_a_key),
    test!(Works, Kafka, a_small_batch_limit_refuses_nothing),
    test!(Works, Kafka, one_line_too_large_ends_with_5),
    test!(Works, Kafka, one_line_too_large_may_be_allowed),
    test!(Nightly, Kafka, a_comparison_keeps_up),
];

const MILLION: u64 = 1_000_000;
const WORKERS: (&str, &str) = ("workers.count", "4");
const SHARDS: (&str, &str) = ("shards.target_size", "\"16MiB\"");

fn a_million_lines_without_a_key(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "million");
    scene.configure(&[WORKERS, SHARDS]);
    let source = scene.orders(1, MILLION);
    assert_report(&scene.run(&[]).expect_code(0));
    let values = read_in_order(&scene, false);
    assert_eq!(scene.verify_against(&source, &values), Difference::default());
    scene.program.assert_nothing_left();
}

fn a_million_lines_with_a_key(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "million-keyed");
    scene.configure(&[WORKERS, ("record.key", "\".customer_id\"")]);
    let source = scene.orders(2, MILLION);
    assert_report(&scene.run(&["--verify"]).expect_code(0));
    let values = read_in_order(&scene, true);
    assert_eq!(scene.verify_against(&source, &values), Difference::default());
    scene.program.assert_nothing_left();
}

fn assert_report(finished: &Finished) {
    let report = finished.json();
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["exit_code"], 0);
    assert_eq!(report["records"]["read"], MILLION);
    assert_eq!(report["records"]["acknowledged"], MILLION);
    assert_eq!(report["records"]["resent"], 0);
    assert_balances(&report);
    assert_eq!(report["shards"]["done"], report["shards"]["total"]);
    let partitions = report["partitions"].as_array().expect("a list");
    assert_eq!(partitions.len() as u64, u64::from(PARTITIONS));
    assert_eq!(partitions.iter().filter_map(Value::as_u64).sum::<u64>(), MILLION);
    assert_times(&report);
}

/// verify reads as fast as it can: a client that stands still whenever its queue is full took 18 s for a million lines.
fn a_comparison_keeps_up(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "million-compared");
    scene.configure(&[WORKERS, SHARDS]);
    scene.orders(1, MILLION);
    scene.run(&[]).expect_code(0);
    let (_, verified) = scene.verify();
    println!("verify took {:.1} s", verified.elapsed.as_secs_f64());
    assert!(verified.elapsed < Duration::from_secs(12), "verify took {:?}", verified.elapsed);
    scene.program.assert_nothing_left();
}

/// The phases of the workers' threads add up to their wall time, and what has no name is at most 5 % of it. Both with
/// an allowance for each attempt, because a machine that is busy with other things takes the processor away anywhere,
/// and delays an exit.
fn assert_times(report: &Value) {
    const ALLOWANCE_MS: f64 = 100.0;
    let attempts = report["attempts"].as_array().expect("a list");
    let phases: f64 = report["phases_ms"].as_object().expect("an object").values().filter_map(Value::as_f64).sum();
    let wall: f64 = attempts.iter().filter_map(|attempt| attempt["elapsed_ms"].as_f64()).sum();
    let allowance = ALLOWANCE_MS * attempts.len() as f64;
    assert!((phases - wall).abs() < 0.05 * wall + allowance, "phases sum up to {phases} ms, attempts to {wall} ms: {report:#}");
    let other = report["phases_ms"]["other"].as_f64().expect("a number");
    assert!(other <= 0.05 * wall + allowance / 4.0, "{other} ms of {wall} ms are `other`: {report:#}");
    assert!(report["cpu_ms"]["workers"].as_f64().is_some_and(|ms| ms > 0.0), "{report:#}");
    assert!(report["workers"]["peak_memory_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20), "{report:#}");
}

/// The topic's values, after a check that within a partition records stand in source order: without a key those of a
/// shard, with one those of the whole dataset, each on the partition that Java gives it.
fn read_in_order(scene: &Scene, keyed: bool) -> Multiset {
    let text = std::fs::read(scene.program.join("data/orders.jsonl")).expect("the dataset can be read");
    let lines: HashMap<&[u8], u32> = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).zip(0u32..).collect();
    let mut shard_of = Vec::new();
    let pieces = if keyed { vec![lines.len() as u64] } else { scene.records_in_order() };
    for (shard, records) in pieces.into_iter().enumerate() {
        shard_of.resize(shard_of.len() + records as usize, shard);
    }
    assert_eq!(shard_of.len(), lines.len(), "the plan's shards are the dataset");
    let mut last: HashMap<(usize, u32), u32> = HashMap::new();
    let mut values = Multiset::new();
    topic::read(scene.kafka.bootstrap(), &scene.topic, Isolation::Uncommitted, |record| {
        let value = record.value.expect("no value is null");
        values.add(&value);
        let line = lines[value.as_slice()];
        let before = last.insert((shard_of[line as usize], record.partition), line);
        assert!(before < Some(line), "line {line} stands after line {before:?} in partition {}", record.partition);
        if keyed {
            let key = record.key.expect("every record has a key");
            assert_eq!(key, customer_of(&value), "the key is the field's value");
            assert_eq!(record.partition, partition_of(&key, PARTITIONS), "{}", String::from_utf8_lossy(&key));
        } else {
            assert_eq!(record.key, None);
        }
    });
    values
}

fn customer_of(line: &[u8]) -> &[u8] {
    const FIELD: &[u8] = b"\"customer_id\":\"";
    let start = line.windows(FIELD.len()).position(|window| window == FIELD).expect("every order has a customer") + FIELD.len();
    let length = line[start..].iter().position(|byte| *byte == b'"').expect("a string ends");
    &line[start..start + length]
}

/// 20,000 lines of 128 bytes for a topic that takes batches of 100,000 bytes; the middle one may be replaced.
fn small_batches<'a>(clusters: &'a Clusters, topic: &str, middle: Option<&str>) -> (Scene<'a>, Multiset) {
    let scene = Scene::with_topic(clusters.one(), topic, PARTITIONS, &["max.message.bytes=100000"]);
    let mut text = String::new();
    let mut source = Multiset::new();
    for number in 0..20_000 {
        let short = format!("{{\"n\":{number:0>122}}}");
        let line = middle.filter(|_| number == 10_000).unwrap_or(&short);
        source.add(line.as_bytes());
        text += line;
        text.push('\n');
    }
    scene.program.write("data/orders.jsonl", text);
    (scene, source)
}

fn large() -> String {
    format!("{{\"n\":10000,\"text\":\"{}\"}}", "x".repeat(200_000))
}

fn a_small_batch_limit_refuses_nothing(clusters: &Clusters) {
    let (scene, source) = small_batches(clusters, "small-batches", None);
    scene.configure(&[WORKERS]);
    let report = scene.run(&[]).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], 20_000);
    assert_balances(&report);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

fn one_line_too_large_ends_with_5(clusters: &Clusters) {
    let (scene, _) = small_batches(clusters, "too-large", Some(&large()));
    scene.configure(&[WORKERS]);
    let report = scene.run(&[]).expect_code(5).json();
    assert_eq!(report["outcome"], "failed");
    assert_eq!(report["exit_code"], 5);
    assert_balances(&report);
    // Running again above the limit ends at once.
    let again = scene.run(&[]).expect_code(5);
    assert_eq!(again.json()["workers"]["forked"], report["workers"]["forked"], "no worker is started any more");
    scene.program.assert_nothing_left();
}

fn one_line_too_large_may_be_allowed(clusters: &Clusters) {
    let (scene, source) = small_batches(clusters, "too-large-allowed", Some(&large()));
    scene.configure(&[WORKERS, ("limits.max_bad_records", "1000")]);
    let report = scene.run(&[]).expect_code(0).json();
    assert_eq!(report["outcome"], "done");
    assert_eq!(report["records"]["acknowledged"], 19_999);
    assert_eq!(report["records"]["dead_lettered"], 1);
    assert_balances(&report);
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0]["record"], large());
    assert_eq!(letters[0]["start"], 10_000 * 129);
    assert_eq!(letters[0]["bytes"], large().len());
    // verify takes the dead letter for what it is; the independent reader misses one value.
    let (difference, records) = scene.judge(&source);
    assert_eq!((difference, records), (Difference { missing: 1, ..Difference::default() }, 19_999));
    let (_, verified) = scene.verify();
    verified.expect_code(0);
    scene.program.assert_nothing_left();
}
