//! Dead letters in a topic: kcat reads them, kills leave each record sent or with one letter that counts, and they are
//! sent again as those in files are.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::DirBuilderExt as _;

use serde_json::Value;
use whole_program::clusters::OtherCluster;
use whole_program::faults::{self, patience};
use whole_program::kafka::Kafka;
use whole_program::multiset::Multiset;
use whole_program::program::Finished;
use whole_program::scene::{PATIENCE, Scene, Verdict, assert_balances, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation, TopicRecord};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, letters_in_a_topic_are_read_and_sent_again),
    test!(Waits, Kafka, killed_workers_leave_one_letter_that_counts_for_each_record),
    test!(Waits, Kafka, a_third_of_the_records_as_letters_is_no_trouble),
    test!(Waits, Kafka, a_topic_of_letters_that_would_lose_some_is_refused),
    test!(Waits, Kafka, where_letters_go_stays_once_one_is_set_aside),
    test!(Waits, Kafka, a_topic_that_goes_while_letters_are_written_stops_the_job),
];

/// One of ten records has the key's old name.
const ONE_OF: u64 = 10;

/// A scene with a dataset of `lines` lines, one of `one_of` of which is bad, a topic of letters, and a job.
fn scene<'a>(kafka: &'a Kafka, topic: &str, lines: u64, one_of: u64, keys: &[(&str, &str)]) -> Scene<'a> {
    let scene = Scene::with_topic(kafka, topic, 4, &[]);
    kafka.create_topic(&letters_topic(topic), 3, &["retention.ms=604800000"]);
    let line = |n: u64| match n % one_of {
        3 => format!("{{\"order\":{n},\"cust\":\"c-{}\"}}\n", n % 7),
        _ => format!("{{\"order\":{n},\"customer_id\":\"c-{}\"}}\n", n % 7),
    };
    scene.program.write("data/1.jsonl", (0..lines / 2).map(line).collect::<String>());
    scene.program.write("data/2.jsonl", (lines / 2..lines).map(line).collect::<String>());
    let own = [
        ("record.key", "\".customer_id\""),
        ("limits.max_bad_records", "1_000_000"),
        ("shards.by_key", "false"),
        ("dead_letters.to", "\"topic\""),
    ];
    scene.configure(&[&own, keys].concat());
    scene
}

fn letters_topic(topic: &str) -> String {
    format!("{topic}-dead-letters")
}

fn letters(scene: &Scene<'_>) -> Vec<TopicRecord> {
    topic::all(scene.kafka.bootstrap(), &letters_topic(&scene.topic), Isolation::Committed)
}

/// A letter's headers by their names without what they have in common.
fn headers(letter: &TopicRecord) -> BTreeMap<String, String> {
    let pairs = letter.headers.trim_start_matches("shardlift.").split(",shardlift.");
    pairs.filter_map(|pair| pair.split_once('=')).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn dlq(scene: &Scene<'_>, words: &[&str]) -> Finished {
    scene.program.run(&[&["dlq"], words].concat(), PATIENCE)
}

fn list(scene: &Scene<'_>) -> Value {
    dlq(scene, &["list", "-o", "json"]).expect_code(0).json()
}

fn verified(scene: &Scene<'_>) -> Finished {
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME, "{}", finished.stdout);
    finished
}

fn letters_in_a_topic_are_read_and_sent_again(clusters: &Clusters) {
    let scene = scene(clusters.one(), "letters-topic", 400, ONE_OF, &[]);
    let finished = scene.run(&["--verify"]).expect_code(0);
    let report = finished.json();
    assert_balances(&report);
    assert_eq!((&report["records"]["dead_lettered"], &report["records"]["acknowledged"]), (&40.into(), &360.into()));
    assert!(finished.stderr.contains("7 days"), "it says how long they stay:\n{}", finished.stderr);
    let folder = scene.program.join(".shardlift/letters-topic");
    assert!(!folder.join("dead-letters").exists(), "nothing of them is in the state directory");

    // Each as it stood in the source, at the place that its headers say.
    let seen = letters(&scene);
    assert_eq!(seen.len(), 40);
    for letter in &seen {
        let said = headers(letter);
        assert_eq!((said["reason"].as_str(), said["job"].as_str()), ("no field .customer_id", "letters-topic"));
        let file = std::fs::read(&said["path"]).expect("a file of the source");
        let (start, bytes): (usize, usize) = (said["start"].parse().unwrap(), said["bytes"].parse().unwrap());
        assert_eq!(letter.value.as_deref(), Some(&file[start..start + bytes]), "{said:?}");
        assert!(letter.key.is_none() && !said.contains_key("cut"), "{said:?}");
        assert!(said.contains_key("shard") && said["attempt"] == "1", "{said:?}");
    }
    let places: BTreeSet<_> = seen.iter().map(headers).map(|said| (said["path"].clone(), said["start"].clone())).collect();
    assert_eq!(places.len(), 40);

    // By the program: counts, reasons, records.
    let listed = list(&scene);
    let reason = &listed["reasons"][0];
    assert_eq!((&listed["set_aside"], &reason["reason"]), (&40.into(), &"no field .customer_id".into()), "{listed:#}");
    let shown = scene.program.run(&["status"], patience()).expect_code(0).stdout;
    assert!(shown.contains("topic letters-topic-dead-letters"), "{shown}");
    let records = dlq(&scene, &["show", "--records"]).expect_code(0).stdout;
    let orders: Vec<u64> = records.lines().map(|line| line[9..].split(',').next().unwrap().parse().unwrap()).collect();
    assert_eq!(orders, (0..400).filter(|n| n % 10 == 3).collect::<Vec<_>>(), "in the order of the source");
    assert_eq!(verified(&scene).number("/dead_lettered"), 40);

    // Of another cluster nothing is read.
    let other = OtherCluster::start();
    for words in [&["list"][..], &["show"], &["retry"]] {
        let refused = dlq(&scene, &[words, &["-b", &other.address]].concat()).expect_code(4);
        assert!(refused.stderr.contains("the state of job letters-topic belongs to another cluster"), "{}", refused.stderr);
    }
    other.end();

    // Half of them are mended, sent again, and not set aside any more.
    let mended: Vec<String> = records.lines().map(|line| line.replace("\"cust\"", "\"customer_id\"")).collect();
    scene.program.write("mended.jsonl", mended.join("\n"));
    dlq(&scene, &["retry", "--edited", "mended.jsonl"]).expect_code(0);
    assert_eq!(list(&scene)["set_aside"], 0);
    assert_eq!(verified(&scene).number("/retried"), 40);
    let left = std::fs::read_dir(&folder).expect("it is there").flatten().map(|entry| entry.file_name());
    assert!(!left.into_iter().any(|name| name.to_string_lossy().starts_with("letters-read-")), "nothing is left");
    scene.program.assert_nothing_left();
}

fn killed_workers_leave_one_letter_that_counts_for_each_record(clusters: &Clusters) {
    let lines = faults::lines_for_kills();
    let keys = faults::keys(&[]);
    let scene = scene(clusters.one(), "letters-kills", lines, ONE_OF, &keys);
    let running = scene.start(&[]);
    scene.await_records();
    let killed = faults::kill_workers(&scene, &running, 6);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    let counted = report["records"]["dead_lettered"].as_u64().expect("a count");
    assert_eq!(counted, (0..lines).filter(|n| n % ONE_OF == 3).count() as u64);
    // Of each record one counts, however many there are.
    let listed = list(&scene);
    assert_eq!((listed["set_aside"].as_u64(), listed["reasons"][0]["count"].as_u64()), (Some(counted), Some(counted)));
    let records = dlq(&scene, &["show", "--records"]).expect_code(0).stdout;
    let distinct: BTreeSet<&str> = records.lines().collect();
    assert_eq!((records.lines().count() as u64, distinct.len() as u64), (counted, counted));
    let seen = letters(&scene);
    let places: BTreeSet<_> = seen.iter().map(headers).map(|said| (said["path"].clone(), said["start"].clone())).collect();
    assert_eq!(places.len() as u64, counted, "a reader that knows path and start sees each once");
    // None of the good ones is missing, and no bad one is in the topic.
    let (verdict, finished) = scene.verify();
    assert_eq!((verdict.missing, verdict.unexpected, verdict.altered), (0, 0, 0), "{}", finished.stdout);
    println!("letters-kills: {killed} kills, {counted} letters, {} left behind", seen.len() as u64 - counted);
}

fn a_third_of_the_records_as_letters_is_no_trouble(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "letters-many", 4, &[]);
    scene.kafka.create_topic(&letters_topic("letters-many"), 3, &[]);
    let line = |n: u64| match n % 3 {
        0 => format!("{{\"order\":{n}}}\n"),
        _ => format!("{{\"order\":{n},\"customer_id\":\"c-{}\"}}\n", n % 70),
    };
    scene.program.write("data/1.jsonl", (0..300_000).map(line).collect::<String>());
    scene.configure(&[
        ("record.key", "\".customer_id\""),
        ("limits.max_bad_records", "1_000_000"),
        ("dead_letters.to", "\"topic\""),
        ("workers.count", "2"),
    ]);
    let report = scene.run(&["--verify", "--accept", "mapping"]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["records"]["dead_lettered"], &report["records"]["acknowledged"]), (&100_000.into(), &200_000.into()));
    let mut seen = Multiset::new();
    letters(&scene).iter().for_each(|letter| seen.add(letter.value.as_deref().unwrap_or_default()));
    assert_eq!(seen.len(), 100_000);
    assert_eq!(list(&scene)["set_aside"], 100_000);
    println!("letters-many: 100,000 letters of 300,000 records in {} ms", report["elapsed_ms"]);
}

fn a_topic_of_letters_that_would_lose_some_is_refused(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = scene(kafka, "letters-refused", 20, ONE_OF, &[]);
    let letters = letters_topic(&scene.topic);
    kafka.alter_topic(&letters, &["cleanup.policy=compact"]);
    refused(&scene.program, &["run"], 4, &["letters-refused-dead-letters", "cleanup.policy"]);
    kafka.alter_topic(&letters, &["cleanup.policy=delete", "max.message.bytes=10000"]);
    refused(&scene.program, &["run"], 4, &["letters-refused-dead-letters", "max.message.bytes"]);
    let other = [("dead_letters.to", "\"topic\""), ("dead_letters.topic", "\"letters-none-of-that-name\"")];
    scene.configure(&other);
    refused(&scene.program, &["run"], 4, &["letters-none-of-that-name", "does not exist"]);
    assert!(!kafka.has_topic("letters-none-of-that-name"), "it is not made");
    // Where they go may change while none is set aside.
    scene.configure(&[("record.key", "\".order\""), ("dead_letters.to", "\"file\"")]);
    scene.run(&[]).expect_code(0);
    kafka.alter_topic(&letters, &["max.message.bytes=1048588"]);
    scene.configure(&[("record.key", "\".order\""), ("dead_letters.to", "\"topic\"")]);
    let moved = scene.run(&[]).expect_code(0).stderr;
    assert!(moved.contains("go to topic letters-refused-dead-letters from now on"), "{moved}");
    assert!(!scene.run(&[]).expect_code(0).stderr.contains("from now on"), "it is said once");
    scene.configure(&[("record.key", "\".order\""), ("dead_letters.to", "\"file\"")]);
    assert!(scene.run(&[]).expect_code(0).stderr.contains("go to files below "));
    // Letters that a worker left are no reason for others elsewhere.
    let folder = scene.program.join(".shardlift/letters-refused/dead-letters");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder).expect("it can be made");
    scene.program.write(".shardlift/letters-refused/dead-letters/00000.jsonl", "{\"reason\":\"none\"}\n");
    scene.configure(&[("record.key", "\".order\""), ("dead_letters.to", "\"topic\"")]);
    refused(&scene.program, &["run"], 3, &["a worker that died left 1 dead letter in ", "keep dead_letters.to"]);
}

fn where_letters_go_stays_once_one_is_set_aside(clusters: &Clusters) {
    let keys = [("dead_letters.topic", "\"letters-stay-dead-letters\"")];
    let scene = scene(clusters.one(), "letters-stay", 20, ONE_OF, &keys);
    let files = [("record.key", "\".customer_id\""), ("limits.max_bad_records", "9"), ("dead_letters.to", "\"file\"")];
    scene.configure(&files);
    scene.run(&[]).expect_code(0);
    scene.configure(&[&files[..2], &[("dead_letters.to", "\"topic\"")]].concat());
    let said = ["dead_letters.topic was not set and is letters-stay-dead-letters", "2 records are set aside in files below "];
    for command in ["run", "plan"] {
        refused(&scene.program, &[command], 3, &said);
    }
    scene.configure(&files);
    scene.run(&["--verify"]).expect_code(0);
}

fn a_topic_that_goes_while_letters_are_written_stops_the_job(clusters: &Clusters) {
    let kafka = clusters.one();
    let keys = [("limits.rate_records", "2_000"), ("workers.chunk.records", "500"), ("workers.count", "2")];
    let scene = scene(kafka, "letters-gone", 60_000, ONE_OF, &keys);
    let running = scene.start(&[]);
    scene.await_records();
    kafka.delete_topic(&letters_topic(&scene.topic));
    let finished = scene.let_it_end(running).expect_code(74);
    assert!(finished.stderr.contains("letters-gone-dead-letters"), "{}", finished.stderr);
    // It is there again, and the job goes on: what was committed is gone with the topic, and said to be.
    kafka.create_topic(&letters_topic(&scene.topic), 3, &[]);
    scene.configure(&[
        ("record.key", "\".customer_id\""),
        ("limits.max_bad_records", "1_000_000"),
        ("shards.by_key", "false"),
        ("dead_letters.to", "\"topic\""),
    ]);
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["dead_lettered"], 6_000);
    let listed = dlq(&scene, &["list"]).expect_code(0);
    assert!(listed.stderr.contains("are gone from topic letters-gone-dead-letters"), "{}", listed.stderr);
}
