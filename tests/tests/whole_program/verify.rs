//! verify is honest (row 7): it judges by source and topic alone, and names each kind of difference.

use serde_json::Value;
use whole_program::multiset::Difference;
use whole_program::scene::{Scene, Verdict};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, each_difference_is_named),
    test!(Works, Kafka, without_keys_altered_is_missing_and_unexpected),
    test!(Works, Kafka, what_was_there_before_the_job_is_not_judged),
    test!(Works, Kafka, a_run_that_verifies_exits_with_6),
];

const LINES: u64 = 20_000;

fn each_difference_is_named(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    let source = scene.orders(10, LINES);
    scene.run(&[]).expect_code(0);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let state = scene.status();

    // An extra copy of a record.
    let records = kafka.records(&scene.topic);
    let record = records.iter().find(|record| record.partition == 3 && record.offset == 5).expect("the topic has it");
    let key = text(record.key.as_deref());
    kafka.produce(&scene.topic, &[(&key, &text(record.value.as_deref()))]);
    let examples = expect(&scene, Verdict { duplicates: 1, ..Verdict::SAME });
    assert!(examples.contains("duplicate"), "{examples}");
    assert_eq!(scene.judge_and_verify(&source), Difference { duplicates: 1, ..Difference::default() });

    // A record that nobody knows.
    kafka.produce(&scene.topic, &[("stranger", "{\"foreign\":true}")]);
    let examples = expect(&scene, Verdict { duplicates: 1, unexpected: 1, ..Verdict::SAME });
    assert!(examples.contains("unexpected"), "{examples}");

    // A changed value: the oldest record of a partition goes, and one of the same key with another value comes.
    let oldest = records.iter().find(|record| record.partition == 0 && record.offset == 0).expect("the topic has it");
    kafka.delete_records(&scene.topic, 0, 1);
    kafka.produce(&scene.topic, &[(&text(oldest.key.as_deref()), "{\"altered\":true}")]);
    let examples = expect(&scene, Verdict { duplicates: 1, altered: 1, unexpected: 1, missing: 0 });
    assert!(examples.contains("altered"), "{examples}");

    // Deleted records.
    kafka.delete_records(&scene.topic, 1, 10);
    let examples = expect(&scene, Verdict { duplicates: 1, altered: 1, unexpected: 1, missing: 10 });
    assert!(examples.contains("missing") && examples.contains("orders.jsonl"), "{examples}");
    let (_, verified) = scene.verify();
    assert!(verified.json()["gone"].to_string().contains("10"), "{}", verified.stdout);
    let seen = Difference { missing: 11, duplicates: 1, unexpected: 2 };
    assert_eq!(scene.judge_and_verify(&source), seen);

    // Values are masked unless asked for.
    assert!(!examples.contains("\\\"foreign\\\"") && !examples.contains("stranger"), "{examples}");
    let shown = scene.program.run(&["verify", "-o", "json", "--show-values"], whole_program::scene::PATIENCE).expect_code(6);
    assert!(shown.stdout.contains("stranger"), "{}", shown.stdout);
    assert_eq!(scene.status(), state, "verify leaves the state as it is");
    scene.program.assert_nothing_left();
}

/// Runs verify, checks its figures and returns its examples.
fn expect(scene: &Scene, verdict: Verdict) -> String {
    let (seen, finished) = scene.verify();
    assert_eq!(seen, verdict, "{}", finished.stdout);
    assert_eq!(finished.json()["outcome"], "different");
    finished.json()["examples"].to_string()
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("not null").to_vec()).expect("orders are text")
}

fn without_keys_altered_is_missing_and_unexpected(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-keyless");
    scene.configure(&[]);
    let source = scene.orders(11, LINES);
    scene.run(&[]).expect_code(0);
    let first = kafka.records(&scene.topic).into_iter().find(|record| record.offset == 0).expect("the topic has records");
    kafka.delete_records(&scene.topic, first.partition, 1);
    kafka.produce(&scene.topic, &[("", "{\"altered\":true}")]);
    let (seen, finished) = scene.verify();
    assert_eq!(seen, Verdict { missing: 1, unexpected: 1, ..Verdict::SAME }, "{}", finished.stdout);
    scene.judge_and_verify(&source);
    scene.program.assert_nothing_left();
}

/// A topic that production uses already: only what came since the job's start is compared.
fn what_was_there_before_the_job_is_not_judged(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-used");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(12, LINES);
    let old: Vec<(String, String)> = (0..500).map(|n| (format!("k{n}"), format!("{{\"old\":{n}}}"))).collect();
    let old: Vec<(&str, &str)> = old.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    kafka.produce(&scene.topic, &old);
    scene.run(&[]).expect_code(0);
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME);
    assert_eq!(finished.json()["outcome"], Value::from("same"));
    assert_eq!(finished.number("/topic_records"), LINES);
    scene.program.assert_nothing_left();
}

/// The topic loses a record while the job runs; `run --verify` finds it.
fn a_run_that_verifies_exits_with_6(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-run");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(13, LINES);
    scene.run(&[]).expect_code(0);
    kafka.produce(&scene.topic, &[("stranger", "{}")]);
    // The job is done; running it again only verifies.
    let report = scene.run(&["--verify"]).expect_code(6).json();
    assert_eq!(report["exit_code"], 6, "{report:#}");
    assert_eq!(report["verify"]["unexpected"], 1, "{report:#}");
    assert_eq!(report["records"]["acknowledged"], LINES);
    scene.program.assert_nothing_left();
}
