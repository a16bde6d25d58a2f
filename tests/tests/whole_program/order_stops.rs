//! Where order forbids to go on: a file that can't be read to its end, a line whose reading kills the worker. Nothing
//! behind it is sent, and the rest follows in order once it is mended. And what is refused or told before a record
//! moves.

use std::fs;

use serde_json::Value;
use whole_program::customers::{Customers, OrdersFile, Written};
use whole_program::order::{Findings, Judge, by_murmur2};
use whole_program::scene::{PARTITIONS, PATIENCE, Scene, Verdict, assert_balances, folder, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

use crate::order::assert_order;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, nothing_behind_a_damaged_file_is_sent_until_it_is_mended),
    test!(Works, Kafka, without_order_a_damaged_file_stops_no_other),
    test!(Works, Kafka, nothing_behind_a_line_that_kills_its_worker_is_sent),
    test!(Works, Kafka, a_job_that_began_without_order_is_not_told_to_keep_it),
    test!(Works, Nothing, order_needs_a_key),
    test!(Works, Nothing, a_plan_tells_which_order_holds),
    test!(Works, Kafka, a_plan_asks_the_brokers_that_the_flag_names),
];

const KEY: (&str, &str) = ("record.key", "\".customer_id\"");
const WORKERS: (&str, &str) = ("workers.count", "4");
const CHUNK: (&str, &str) = ("workers.chunk", "{ records = 500 }");

/// A job of five files whose fourth, a compressed one, is cut off; and the whole of it.
fn cut_off<'a>(clusters: &'a Clusters, topic: &str) -> (Scene<'a>, Written, Vec<u8>) {
    let scene = Scene::new(clusters.one(), topic);
    let written = Customers::new(86, 15_000, 1_000, 5).write(&scene.program.join("data"));
    let whole = fs::read(&damaged(&written).path).expect("it was written");
    fs::write(&damaged(&written).path, &whole[..whole.len() * 2 / 3]).expect("it can be written");
    scene.configure(&[KEY, WORKERS, CHUNK]);
    (scene, written, whole)
}

fn damaged(written: &Written) -> &OrdersFile {
    &written.files[3]
}

fn mend(written: &Written, whole: &[u8]) {
    fs::write(&damaged(written).path, whole).expect("it can be written");
}

fn judge<'a>(scene: &Scene, written: &'a Written) -> Judge<'a> {
    Judge::read(scene, &written.expected, PARTITIONS, by_murmur2)
}

/// The run says what is wrong with the file and how to go on.
fn assert_told_damaged(report: &Value) {
    assert_balances(report);
    let said = report["reasons"].to_string();
    assert!(said.contains("orders-003.jsonl.gz"), "{report:#}");
    assert!(said.contains("put a whole copy of the file in its place and run again"), "{report:#}");
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
}

/// Everything before a place is sent, nothing behind another, and what is there is in order, once.
fn assert_sent_up_to(judge: Judge, written: &Written, places: std::ops::Range<u64>) {
    let all = written.expected.len();
    assert_eq!(judge.seen(0..places.start), places.start, "all before it is sent");
    assert_eq!(judge.seen(places.end..all), 0, "nothing behind it is sent");
    let sent = judge.seen(0..all);
    assert_eq!(judge.findings(), Findings { missing: all - sent, ..Findings::default() });
}

fn assert_done(scene: &Scene, written: &Written, report: &Value, order: &str) {
    assert_balances(report);
    let seen = (&report["outcome"], &report["records"]["acknowledged"]);
    assert_eq!(seen, (&"done".into(), &written.expected.len().into()), "{report:#}");
    assert_order(report, order);
    assert_eq!(scene.verify().0, Verdict::SAME);
}

/// Row 5.
fn nothing_behind_a_damaged_file_is_sent_until_it_is_mended(clusters: &Clusters) {
    let (scene, written, whole) = cut_off(clusters, "order-damaged");
    let report = scene.run(&[]).expect_code(7).json();
    assert_told_damaged(&report);
    assert!(report["reasons"].to_string().contains("shards.by_key"), "the other way is named, too: {report:#}");
    assert_sent_up_to(judge(&scene, &written), &written, damaged(&written).places.clone());
    // Again nothing comes of it, and nothing twice.
    let again = scene.run(&[]).expect_code(7).json();
    assert_eq!(again["records"]["acknowledged"], report["records"]["acknowledged"], "{again:#}");
    mend(&written, &whole);
    let report = scene.run(&["-w", "2"]).expect_code(0).json();
    assert_eq!(judge(&scene, &written).findings(), Findings::default());
    assert_done(&scene, &written, &report, "key");
    scene.program.assert_nothing_left();
}

/// Who needs what is behind it more than the order says so.
fn without_order_a_damaged_file_stops_no_other(clusters: &Clusters) {
    let (scene, written, whole) = cut_off(clusters, "order-given-up");
    assert_told_damaged(&scene.run(&[]).expect_code(7).json());
    let report = scene.run(&["--set", "shards.by_key=false"]).expect_code(7).json();
    assert_told_damaged(&report);
    assert_order(&report, "shard");
    let judged = judge(&scene, &written);
    let behind = damaged(&written).places.end..written.expected.len();
    assert_eq!(judged.seen(behind.clone()), behind.end - behind.start, "what is behind it is sent");
    let found = judged.findings();
    assert_eq!((found.duplicates, found.unexpected, found.misplaced), (0, 0, 0), "{found:?}");
    mend(&written, &whole);
    let report = scene.run(&[]).expect_code(0).json();
    let found = judge(&scene, &written).findings();
    assert_eq!((found.missing, found.duplicates, found.unexpected, found.misplaced), (0, 0, 0, 0), "{found:?}");
    assert!(found.first_copies.keys > 0, "the rest came behind what had been sent: {found:?}");
    assert_done(&scene, &written, &report, "shard");
    scene.program.assert_nothing_left();
}

/// A line for which a worker of this job has no memory. Where it has, the topic has no room for it: a dead letter.
fn nothing_behind_a_line_that_kills_its_worker_is_sent(clusters: &Clusters) {
    const LENGTH: usize = 6_000_000;
    let scene = Scene::new(clusters.one(), "order-killing");
    let written = Customers::new(87, 10_000, 500, 3).write(&scene.program.join("data"));
    scene.configure(&[
        KEY,
        WORKERS,
        ("workers.chunk", "{ records = 200 }"),
        ("workers.in_flight", "\"6MiB\""),
        ("workers.memory_limit", "\"12MiB\""),
        ("workers.restart", "{ max_without_progress = 2, backoff = \"100ms..200ms\" }"),
        ("source.jsonl.max_line", "\"6MiB\""),
        ("limits.max_bad_records", "1"),
    ]);
    let file = &written.files[2];
    let text = fs::read_to_string(&file.path).expect("it was written");
    let at = text.len() / 2 + text[text.len() / 2..].find('\n').expect("lines end") + 1;
    let place = file.places.start + text[..at].lines().count() as u64;
    let line = format!("{{\"customer_id\":\"c7\",\"note\":\"{}\"}}\n", "x".repeat(LENGTH));
    fs::write(&file.path, [&text[..at], &line, &text[at..]].concat()).expect("it can be written");

    let report = scene.run(&[]).expect_code(5).json();
    assert_balances(&report);
    assert_eq!(report["shards"]["quarantined"], 4, "each set stops there: {report:#}");
    let judged = judge(&scene, &written);
    assert_eq!(judged.seen(place..written.expected.len()), 0, "nothing behind it is sent");
    let found = judged.findings();
    assert!(found.first_copies == Default::default() && found.last_copies == Default::default(), "{found:?}");

    let report = scene.run(&["--set", "workers.memory_limit=\"512MiB\""]).expect_code(0).json();
    assert_eq!(report["records"]["dead_lettered"], 1, "{report:#}");
    assert_eq!(scene.dead_letters().len(), 1);
    let found = judge(&scene, &written).findings();
    assert_eq!(found, Findings { duplicates: found.duplicates, ..Findings::default() });
    whole_program::faults::assert_told(&report, found.duplicates);
    assert_eq!(scene.verify().0, Verdict { duplicates: found.duplicates, ..Verdict::SAME });
    scene.program.assert_nothing_left();
}

fn a_job_that_began_without_order_is_not_told_to_keep_it(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "order-later");
    let written = Customers::new(88, 2_000, 100, 3).write(&scene.program.join("data"));
    scene.configure(&[KEY, WORKERS]);
    scene.run(&["--set", "shards.by_key=false"]).expect_code(0);
    for command in ["plan", "run"] {
        let words = [command, "--set", "shards.by_key=true"];
        refused(&scene.program, &words, 3, &["shards.by_key", "--restart"]);
    }
    // By itself it goes on as it began.
    let report = scene.run(&[]).expect_code(0).json();
    assert_done(&scene, &written, &report, "shard");
    scene.program.assert_nothing_left();
}

fn order_needs_a_key(_: &Clusters) {
    let program = folder("order-keyless", &[("shards.by_key", "true")]);
    for command in ["plan", "run"] {
        refused(&program, &[command], 3, &["shards.by_key", "record.key"]);
    }
}

fn a_plan_tells_which_order_holds(_: &Clusters) {
    let program = folder("order-plan", &[("record.key", "\".k\""), ("workers.count", "4")]);
    let ordered = program.run(&["plan"], PATIENCE).expect_code(0).stdout;
    assert!(ordered.contains("1 to 4 sets of partitions"), "as many as workers, at most partitions: {ordered}");
    assert!(ordered.contains("order: each key's records keep the source's order over the whole dataset"), "{ordered}");
    let by_shard = program.run(&["plan", "--set", "shards.by_key=false"], PATIENCE).expect_code(0).stdout;
    assert!(by_shard.contains("order: kept within a shard and partition only"), "{by_shard}");
    assert!(!by_shard.contains("sets of partitions"), "{by_shard}");
    program.assert_nothing_left();
}

/// Without `-b` how many partitions the topic has is not known. A job that has begun with sets is told what `run` would
/// tell, and without any question to the brokers.
fn a_plan_asks_the_brokers_that_the_flag_names(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "order-asked", 3, &["cleanup.policy=compact"]);
    Customers::new(89, 2_000, 100, 3).write(&scene.program.join("data"));
    scene.configure(&[KEY, WORKERS]);
    let plan = |words: &[&str]| scene.program.run(&[&["plan"], words].concat(), PATIENCE).expect_code(0).stdout;
    let named = ["-b", scene.kafka.bootstrap()];
    assert!(plan(&[]).contains("1 to 4 sets of partitions"), "{}", plan(&[]));
    let asked = plan(&named);
    assert!(asked.contains("3 sets of partitions") && asked.contains("not begun"), "{asked}");
    assert!(asked.contains("only 3 partitions for 4 workers"), "{asked}");
    let unordered = plan(&[&named[..], &["--set", "shards.by_key=false"]].concat());
    assert!(unordered.contains("this topic is compacted"), "{unordered}");
    refused(&scene.program, &["plan", "-b", "127.0.0.1:1", "--set", "kafka.give_up_after=2s"], 4, &["kafka.brokers"]);
    scene.run(&[]).expect_code(0);
    let begun = plan(&["-b", "127.0.0.1:1", "--set", "shards.by_key=false"]);
    assert!(begun.contains("3 sets of partitions") && begun.contains("out of order"), "{begun}");
    scene.program.assert_nothing_left();
}
