//! verify with several processes: what is found is the same with any number; and last values of a compacted topic.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use whole_program::scene::{PATIENCE, Scene};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, several_processes_find_what_one_finds),
    test!(Works, Kafka, with_more_processes_than_parts_all_is_read),
    test!(Waits, Kafka, one_of_several_that_is_killed_leaves_nothing_judged),
    test!(Works, Kafka, an_older_value_that_stands_last_in_a_compacted_topic_is_outdated),
];

const LINES: u64 = 1_000_000;

/// What `verify -w` finds, but for the time that it took, and that time.
fn found(scene: &Scene, workers: &str, code: i32) -> (Value, Duration) {
    let begun = Instant::now();
    let finished = scene.program.run(&["verify", "-o", "json", "-w", workers], PATIENCE).expect_code(code);
    let took = begun.elapsed();
    let mut found = finished.json();
    found["elapsed_ms"] = json!(null);
    (found, took)
}

fn several_processes_find_what_one_finds(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-together");
    scene.configure(&[("record.key", "\".customer_id\""), ("limits.max_bad_records", "10")]);
    scene.orders(40, LINES);
    // A second file, which no process can enter in its middle, and a third one with a dead letter.
    scene.orders_gzip(41, 20_000);
    scene.program.write("data/zz.jsonl", "{\"customer_id\":\"z\"}\nno JSON\n{\"customer_id\":\"y\"}\n");
    scene.run(&[]).expect_code(0);
    let (one, alone) = found(&scene, "1", 0);
    assert_eq!((&one["outcome"], &one["source_records"]), (&json!("same"), &json!(LINES + 20_003)), "{one:#}");
    println!("verify of {LINES} records: 1 process {alone:.1?}");
    for workers in ["2", "4"] {
        let (together, took) = found(&scene, workers, 0);
        assert_eq!(together, one);
        println!("verify of {LINES} records: {workers} processes {took:.1?}, {:.2}x", alone.as_secs_f64() / took.as_secs_f64());
    }
    // One of each kind of difference.
    let records = kafka.records(&scene.topic);
    let text = |bytes: &Option<Vec<u8>>| String::from_utf8(bytes.clone().expect("not null")).expect("orders are text");
    let copied = records.iter().find(|record| record.partition == 3 && record.offset == 5).expect("the topic has it");
    let oldest = records.iter().find(|record| record.partition == 0 && record.offset == 0).expect("the topic has it");
    let (key, value) = (text(&copied.key), text(&copied.value));
    kafka.produce(&scene.topic, &[(&key, &value), ("stranger", "{}"), (&text(&oldest.key), "{\"altered\":true}")]);
    kafka.produce_as(&scene.topic, &["-p", "7"], &[("z", "{\"customer_id\":\"z\"}"), ("y", "{\"customer_id\":\"y\"}")]);
    kafka.delete_records(&scene.topic, 0, 1);
    kafka.delete_records(&scene.topic, 1, 5);
    let (one, _) = found(&scene, "1", 6);
    let counts = ["missing", "duplicates", "altered", "misplaced", "unexpected"].map(|name| one[name].as_u64().unwrap_or(99));
    assert!(counts[0] == 5 && counts[1] >= 3 && counts[2] == 1 && counts[3] >= 1 && counts[4] == 1, "{one:#}");
    for workers in ["2", "3", "4"] {
        assert_eq!(found(&scene, workers, 6).0, one);
    }
    // A run can do so, too, and the copies are listed once.
    scene.run(&["--verify", "--set", "verify.workers=3", "--duplicates", "list.jsonl"]).expect_code(6);
    let listed = std::fs::read_to_string(scene.program.join("list.jsonl")).expect("it is there");
    assert_eq!(listed.lines().count() as u64, counts[1], "{listed}");
    scene.program.assert_nothing_left();
}

fn with_more_processes_than_parts_all_is_read(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-by-many");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.program.write("data/one.jsonl", "{\"customer_id\":\"z\"}\n");
    scene.run(&[]).expect_code(0);
    let workers = ["1", "2", "3", "5", "8", "32"];
    for workers in workers {
        assert_eq!(found(&scene, workers, 0).0["source_records"], 1, "with {workers}");
    }
    let record = kafka.records(&scene.topic).pop().expect("it is there");
    kafka.delete_records(&scene.topic, record.partition, 1);
    for workers in workers {
        let (found, _) = found(&scene, workers, 6);
        assert_eq!((&found["source_records"], &found["missing"]), (&json!(1), &json!(1)), "with {workers}: {found:#}");
    }
    scene.program.assert_nothing_left();
}

fn one_of_several_that_is_killed_leaves_nothing_judged(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-together-killed");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(42, 10_000);
    scene.run(&[]).expect_code(0);
    // It holds the helper that reads the partition, and the others have read theirs.
    let transaction = kafka.open_transaction(&scene.topic, 0, &["a"]);
    let verify = scene.program.start(&["verify", "-w", "3"]);
    let helpers =
        || verify.children().into_iter().filter(|child| child.name.starts_with("shardlift verif")).collect::<Vec<_>>();
    wait_until("it has met the transaction", PATIENCE, || verify.stderr().contains("transaction is open in partition 0"));
    // Those before the one that reads have ended, and those behind it wait for it: the last one.
    let last = helpers().into_iter().max_by_key(|helper| helper.pid).expect("one at least still reads");
    let killed = Instant::now();
    kill(Pid::from_raw(i32::try_from(last.pid).expect("process ids are small")), Signal::SIGKILL).expect("it lives");
    let finished = verify.finish(PATIENCE).expect_code(75);
    assert!(finished.stderr.contains("nothing was judged"), "{}", finished.stderr);
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}: the others were waited for", killed.elapsed());
    transaction.abort();
    assert_eq!(found(&scene, "3", 0).0["outcome"], "same");
    scene.program.assert_nothing_left();
}

fn an_older_value_that_stands_last_in_a_compacted_topic_is_outdated(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::with_topic(kafka, "verified-last", 4, &["cleanup.policy=compact"]);
    scene.configure(&[("record.key", "\".k\"")]);
    let lines: String = (0..1000).map(|n| format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 100)).collect();
    scene.program.write("data/keys.jsonl", &lines);
    scene.run(&[]).expect_code(0);
    let (fine, _) = found(&scene, "2", 0);
    assert_eq!((&fine["outcome"], &fine["last_values"], &fine["outdated"]), (&json!("same"), &json!("compared"), &json!(0)));
    kafka.produce(&scene.topic, &[("7", "{\"k\":\"7\",\"n\":7}")]);
    for workers in ["1", "3"] {
        let (found, _) = found(&scene, workers, 6);
        assert_eq!(
            (&found["duplicates"], &found["outdated"], &found["missing"]),
            (&json!(1), &json!(1), &json!(0)),
            "{found:#}"
        );
        let examples = found["examples"].as_array().expect("some");
        let outdated = examples.iter().find(|example| example["kind"] == "outdated").expect("it is named");
        // Where the last record of the key stands in the source.
        let start = lines.find("{\"k\":\"7\",\"n\":907}").expect("it is there");
        assert_eq!(outdated["start"], json!(start), "{outdated:#}");
    }
    let text = scene.program.run(&["verify"], PATIENCE).expect_code(6).stdout;
    assert!(text.contains("of 1 key the newest record is not the last one of the source"), "{text}");
    // Its last value again.
    kafka.produce(&scene.topic, &[("7", "{\"k\":\"7\",\"n\":907}")]);
    assert_eq!(found(&scene, "2", 6).0["outdated"], json!(0));
    scene.program.assert_nothing_left();
}
