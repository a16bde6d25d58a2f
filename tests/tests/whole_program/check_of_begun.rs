//! `check` of a job that has begun judges as the `run` that would go on with it, by the same exit code, and changes
//! nothing: neither the folder nor what Kafka has.

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::faults::{self, patience};
use whole_program::kafka::Kafka;
use whole_program::program::Finished;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

use crate::exactly_once::{ELSEWHERE, FAST, KEYED, Once, PROGRESS_PARTITIONS, with_letters};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, what_a_run_of_a_begun_job_refuses_a_check_refuses),
    test!(Waits, Kafka, topics_that_were_made_again_are_found_by_a_check),
];

fn what_a_run_of_a_begun_job_refuses_a_check_refuses(clusters: &Clusters) {
    let kafka = clusters.one();
    let keys = [&KEYED[..], &[("shards.by_key", "false")]].concat();
    let once = Once::new(kafka, "begun", &faults::slow_keys(&keys));
    once.scene.orders(71, 20_000);
    with_letters(&once, 3);
    let running = once.scene.start(&[]);
    once.scene.await_records();
    assert_says(&checked(&once, &[], 75), "state", "job begun runs now");
    running.signal(Signal::SIGTERM);
    running.finish(patience()).expect_code(75);
    assert_says(&checked(&once, &[], 0), "state", "job begun has begun");

    kafka.create_topic("begun-other", 8, &[]);
    kafka.create_topic("begun-other-progress", 2, &["cleanup.policy=compact"]);
    let delivery = ["--set", "kafka.delivery=\"at-least-once\""];
    refused(&once, &delivery, 3, "state", "kafka.delivery was exactly-once and is at-least-once");
    refused(&once, &["--set", "record.key=\".id\""], 3, "state", "record.key was .customer_id and is .id");
    refused(&once, &["-t", "begun-other"], 4, "state", "another topic: begun then, begun-other now");
    let progress = ["--set", "checkpoint.topic=\"begun-other-progress\""];
    refused(&once, &progress, 4, "state", "has no progress of job begun");
    refused(&once, &ELSEWHERE, 4, "state", "3 dead letters of job begun went to files");

    let (path, orders) = (once.scene.program.join("data/orders.jsonl"), "data/orders.jsonl");
    let planned = std::fs::read(&path).expect("it was written");
    let modified = path.metadata().and_then(|file| file.modified()).expect("the disk knows times");
    once.scene.program.write(orders, [&planned[..], b"{\"n\":1}\n"].concat());
    refused(&once, &[], 7, "files", "orders.jsonl");
    once.scene.program.write(orders, planned);
    let file = std::fs::File::options().append(true).open(&path).expect("it is there");
    file.set_modified(modified).expect("it is ours");

    kafka.produce(&once.progress, &[("begun/shard/00000", "garbage")]);
    refused(&once, &[], 4, "state", "shard 00000: it is no progress of a shard");
    once.scene.run(&[&ELSEWHERE[..], &FAST, &["--restart", "--yes"]].concat()).expect_code(0);
    refused(&once, &[], 4, "state", "(start 2), and the state here is of start 1");
    let done = checked(&once, &ELSEWHERE, 0);
    assert_says(&done, "state", "job begun is done");
    let shown = once.scene.program.run(&[&["check"][..], &ELSEWHERE].concat(), patience()).expect_code(0).stdout;
    assert!(shown.ends_with("the job is done: `shardlift run` sends nothing\n"), "{shown}");
    once.scene.program.assert_nothing_left();
}

fn topics_that_were_made_again_are_found_by_a_check(clusters: &Clusters) {
    let kafka = clusters.one();
    let once = Once::new(kafka, "begun-again", &faults::slow_keys(&[]));
    once.scene.orders(72, 20_000);
    once.begun();
    let elsewhere = checked(&once, &ELSEWHERE, 0);
    assert_says(&elsewhere, "state", "job begun-again was begun by ");
    assert_says(&elsewhere, "state", "acknowledged: `run` goes on from there");
    make_again(kafka, "begun-again", 8, &[]);
    refused(&once, &[], 4, "state", "topic begun-again was deleted and made again");
    make_again(kafka, &once.progress, PROGRESS_PARTITIONS, &["cleanup.policy=compact"]);
    refused(&once, &[], 4, "state", "has no progress of job begun-again");
    once.scene.program.assert_nothing_left();
}

fn make_again(kafka: &Kafka, topic: &str, partitions: u32, configs: &[&str]) {
    kafka.delete_topic(topic);
    wait_until("it is gone", patience(), || !kafka.has_topic(topic));
    kafka.create_topic(topic, partitions, configs);
}

/// What a check says, which ends with this code and changes nothing.
fn checked(once: &Once<'_>, words: &[&str], code: i32) -> Value {
    let scene = &once.scene;
    let idle = code != 75;
    let there = || (scene.kafka.end_offsets(&once.progress), scene.program.join("elsewhere").exists());
    let before = there();
    let found: Finished = scene.program.run(&[&["check", "-o", "json"], words].concat(), patience());
    assert!(!idle || there() == before, "a check changes nothing: {before:?}, {:?}", there());
    assert_eq!(found.code, code, "{words:?}\n{}\n{}", found.stdout, found.stderr);
    found.json()
}

/// Both end with this code; the check has this in the row of this name.
fn refused(once: &Once<'_>, words: &[&str], code: i32, row: &str, says: &str) {
    assert_says(&checked(once, words, code), row, says);
    let run = once.scene.run(words);
    assert_eq!(run.code, code, "run {words:?}: {}", run.stderr);
}

fn assert_says(checked: &Value, row: &str, says: &str) {
    let all = checked["checks"].as_array().expect("a list");
    let mut told = all.iter().filter(|one| one["name"] == row).filter_map(|one| one["fact"].as_str());
    assert!(told.any(|fact| fact.contains(says)), "{says:?} is not in {row}: {checked:#}");
}
