//! verify --repair: what is missing is sent, nothing else is, and what is left is told.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use whole_program::program::Finished;
use whole_program::scene::{PATIENCE, Scene};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, what_is_missing_is_sent_and_the_rest_is_left),
    test!(Works, Kafka, a_repair_of_a_compacted_topic_ends_with_the_last_values),
    test!(Waits, Kafka, a_killed_repair_is_made_again_and_nothing_runs_beside_it),
];

fn repair(scene: &Scene, words: &[&str]) -> Finished {
    scene.program.run(&[&["verify", "--repair", "-o", "json"], words].concat(), PATIENCE)
}

/// No folder of a repair is left.
fn assert_no_space_left(scene: &Scene) {
    let folders = std::fs::read_dir(scene.program.join(".shardlift")).expect("there is state");
    let names: Vec<_> = folders.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|name| name.contains(".repair-")), "{names:?}");
}

fn what_is_missing_is_sent_and_the_rest_is_left(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "repaired");
    let headers = ("record.headers", "{ origin = \"orders\" }");
    scene.configure(&[("record.key", "\".customer_id\""), ("record.timestamp", "\".created_at\""), headers]);
    let source = scene.orders(50, 20_000);
    // Nothing was sent yet, and then not all of it.
    repair(&scene, &["--yes"]).expect_code(4);
    scene.program.write("data/zz.jsonl", "{\"n\":\"no key\"}\n");
    scene.run(&[]).expect_code(5);
    let refused = repair(&scene, &["--yes"]).expect_code(4);
    assert!(refused.stderr.contains("is not at its end, as far as is known here"), "{}", refused.stderr);
    scene.run(&["--set", "limits.max_bad_records=1"]).expect_code(0);
    // Nothing is missing: nothing is asked.
    let whole = repair(&scene, &[]).expect_code(0).json();
    assert_eq!((&whole["outcome"], &whole["repaired"]["records"]), (&json!("same"), &json!(0)), "{whole:#}");

    for (partition, offset) in [(1, 10), (3, 200)] {
        kafka.delete_records(&scene.topic, partition, offset);
    }
    let ends = kafka.end_offsets(&scene.topic);
    let refused = repair(&scene, &[]).expect_code(2);
    assert!(refused.stderr.contains("210 records are missing, and there is no terminal"), "{}", refused.stderr);
    assert_eq!(kafka.end_offsets(&scene.topic), ends, "nothing was sent");
    let done = repair(&scene, &["--yes"]).expect_code(0);
    assert!(done.stderr.contains("BEHIND newer ones of the same key, whose order is not restored"), "{}", done.stderr);
    let done = done.json();
    let told = (&done["repaired"]["records"], &done["repaired"]["before"]["missing"], &done["missing"]);
    assert_eq!(told, (&json!(210), &json!(210), &json!(0)), "{done:#}");
    let sent: u64 = kafka.end_offsets(&scene.topic).iter().sum::<u64>() - ends.iter().sum::<u64>();
    assert_eq!(sent, 210);
    assert_eq!(scene.judge(&source).0, Default::default(), "with headers, times and partitions as verify compares them");
    assert_eq!(scene.status().expect("there is a state")["verify"]["missing"], json!(0));

    // A copy stays, and is a difference that is left.
    let record = kafka.records(&scene.topic).into_iter().find(|record| record.partition == 2).expect("the topic has it");
    let text = |bytes: Option<Vec<u8>>| String::from_utf8(bytes.expect("not null")).expect("orders are text");
    let words = ["-H", "origin=orders", "-p", "2"];
    kafka.produce_as(&scene.topic, &words, &[(&text(record.key), "{\"altered\":true}")]);
    kafka.delete_records(&scene.topic, 0, 7);
    let left = repair(&scene, &["--yes", "-w", "3"]).expect_code(6).json();
    let told = (&left["repaired"]["records"], &left["missing"], &left["unexpected"]);
    assert_eq!(told, (&json!(7), &json!(0), &json!(1)), "{left:#}");
    assert_no_space_left(&scene);
    scene.program.assert_nothing_left();
}

fn a_repair_of_a_compacted_topic_ends_with_the_last_values(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::with_topic(kafka, "repaired-compacted", 2, &["cleanup.policy=compact,delete"]);
    scene.configure(&[("record.key", "\".k\"")]);
    let lines: String = (0..2000).map(|n| format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 200)).collect();
    scene.program.write("data/keys.jsonl", &lines);
    scene.run(&[]).expect_code(0);
    let end = kafka.end_offsets(&scene.topic)[0];
    kafka.delete_records(&scene.topic, 0, end);
    let done = repair(&scene, &["--yes"]).expect_code(0).json();
    let told = (&done["missing"], &done["outdated"], &done["last_values"], &done["repaired"]["records"]);
    assert_eq!(told, (&json!(0), &json!(0), &json!("compared"), &json!(end)), "{done:#}");
    // An old value over the last one is told, and nothing is sent over it.
    kafka.produce(&scene.topic, &[("7", "{\"k\":\"7\",\"n\":7}")]);
    let left = repair(&scene, &["--yes"]).expect_code(6).json();
    assert_eq!((&left["outdated"], &left["repaired"]["records"]), (&json!(1), &json!(0)), "{left:#}");
    scene.program.assert_nothing_left();
}

fn a_killed_repair_is_made_again_and_nothing_runs_beside_it(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "repaired-killed");
    scene.configure(&[("record.key", "\".customer_id\""), ("workers.chunk.records", "200")]);
    let source = scene.orders(51, 20_000);
    scene.run(&[]).expect_code(0);
    kafka.delete_records(&scene.topic, 1, 2000);
    let ends: u64 = kafka.end_offsets(&scene.topic).iter().sum();
    let slow = ["verify", "--repair", "--yes", "-o", "json", "--set", "limits.rate_records=300"];
    let mut running = scene.program.start(&slow);
    let sent = || kafka.end_offsets(&scene.topic).iter().sum::<u64>() - ends;
    wait_until("some of it is sent", PATIENCE, || sent() > 200);
    let refused = scene.run(&[]).expect_code(75);
    assert!(refused.stderr.contains("(verify --repair on host "), "{}", refused.stderr);
    let status = scene.program.run(&["status"], PATIENCE).expect_code(0).stdout;
    assert!(status.contains(": done (exit 0) after ") && status.contains("verify --repair on host "), "{status}");
    assert!(running.is_running());
    running.signal(Signal::SIGKILL);
    drop(running.finish(PATIENCE));
    wait_until("its workers are gone", Duration::from_secs(10), || scene.program.processes().is_empty());
    let before = sent();
    assert!(before < 2000, "it was killed on its way");
    let asked = repair(&scene, &[]).expect_code(2);
    assert!(asked.stderr.contains(" lacks ") && !asked.stderr.contains("sent now"), "{}", asked.stderr);
    let done = repair(&scene, &["--yes"]).expect_code(0).json();
    let again = done["repaired"]["records"].as_u64().unwrap_or(0);
    println!("a repair of 2,000 records was killed after {before}, the next one sent {again}");
    assert_eq!((again, &done["duplicates"]), (2000 - before, &Value::from(0)), "{done:#}");
    assert_eq!(scene.judge(&source).0, Default::default());
    assert_no_space_left(&scene);
    scene.program.assert_nothing_left();
}
