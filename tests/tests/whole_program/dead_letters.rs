//! Records that were set aside: what a user is told of them, and what may be mended as long as nothing was sent.

use serde_json::{Value, json};
use whole_program::faults::patience;
use whole_program::kafka::Kafka;
use whole_program::multiset::{Difference, Multiset};
use whole_program::scene::{Scene, assert_balances, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, a_wrong_key_is_mended_without_starting_over),
    test!(Waits, Kafka, lines_that_are_too_long_are_marked_and_counted_as_one_reason),
    test!(Waits, Kafka, rules_are_fixed_once_a_record_was_sent_or_may_have_been),
    test!(Waits, Kafka, a_source_may_change_as_long_as_nothing_was_sent),
];

/// Records of the topic's name, each with a customer.
const LINES: u64 = 400;
/// The check that would say before the first record that none has the key.
const ANY_KEY: [&str; 2] = ["--accept", "mapping"];

/// A scene with a dataset of nested objects in two files, and a job with this key.
fn scene<'a>(kafka: &'a Kafka, topic: &str, key: &str) -> Scene<'a> {
    let scene = Scene::with_topic(kafka, topic, 4, &[]);
    for file in 0..2 {
        let order = |n: u64| format!("{{\"order\":{n},\"customer\":{{\"id\":\"c-{}\"}},\"total\":\"secret-{n}\"}}\n", n % 7);
        let text: String = (file * LINES / 2..(file + 1) * LINES / 2).map(order).collect();
        scene.program.write(&format!("data/orders-0{file}.jsonl"), text);
    }
    set_key(&scene, key);
    scene
}

fn set_key(scene: &Scene<'_>, key: &str) {
    scene.configure(&[("record.key", &format!("{key:?}")), ("workers.count", "2")]);
}

fn source(scene: &Scene<'_>) -> Multiset {
    Multiset::of_lines(&[scene.program.join("data/orders-00.jsonl"), scene.program.join("data/orders-01.jsonl")])
}

/// What the plan brings up.
fn risks(scene: &Scene<'_>) -> String {
    scene.program.run(&["plan", "-o", "json"], patience()).expect_code(0).json()["risks"].to_string()
}

fn a_wrong_key_is_mended_without_starting_over(clusters: &Clusters) {
    let scene = scene(clusters.one(), "wrong-key", ".customer.idd");
    let report = scene.run(&ANY_KEY).expect_code(5).json();
    assert_eq!(report["records"]["acknowledged"], 0);
    let dropped = report["records"]["dead_lettered"].as_u64().expect("a count");
    assert_reasons(&scene, &report, dropped);
    let changed = "record.key was .customer.idd and is .customer.id";

    set_key(&scene, ".customer.id");
    let foretold = format!("{changed}; no record of job wrong-key was sent yet, so `run` begins it anew with this plan");
    assert!(risks(&scene).contains(&foretold), "{}", risks(&scene));
    // To compare is no beginning.
    refused(&scene.program, &["verify"], 3, &[changed, "no record of it was sent yet", "`shardlift run` begins the job anew"]);

    let finished = scene.run(&[]).expect_code(0);
    let told = format!(
        "{changed}; no record of job wrong-key was sent yet, so it begins anew; {dropped} dead letters of before are dropped"
    );
    let told = if dropped == 1 { told.replace("letters of before are", "letter of before is") } else { told };
    assert!(finished.stderr.contains(&told), "it says so:\n{}", finished.stderr);
    let report = finished.json();
    assert_balances(&report);
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&LINES.into(), &0.into()));
    assert_eq!(report["runs"].as_array().map(Vec::len), Some(1), "it is a job that begins: {report:#}");
    assert_eq!(report["notices"], Value::from(vec![told]), "and stays known");
    assert!(!scene.program.join(".shardlift/wrong-key/dead-letters").exists(), "letters of before are gone");
    assert_eq!(scene.judge_and_verify(&source(&scene)), Difference::default());
    // Nothing is sent twice by another run.
    let again = scene.run(&[]).expect_code(0);
    assert!(!again.stderr.contains("begins anew"), "{}", again.stderr);
    assert_eq!(scene.judge(&source(&scene)).0, Difference::default());
    scene.program.assert_nothing_left();
}

/// The reason stands, with its count, its first place and no value, in the run's result, `status`, the report and the
/// page.
fn assert_reasons(scene: &Scene<'_>, report: &Value, letters: u64) {
    let file = scene.program.join("data/orders-00.jsonl").canonicalize().expect("it is there");
    let file = file.to_string_lossy();
    let reason = json!({ "reason": "no field .customer.idd", "count": letters, "path": file, "start": 0 });
    let expected = json!({ "reasons": [reason], "unread": 0, "retries": [] });
    assert_eq!(report["dead_letters"], expected, "{report:#}");
    assert_eq!(scene.status().expect("it ran")["dead_letters"], expected);
    let first = format!("no field .customer.idd, {} {file} byte 0", if letters == 1 { "at" } else { "first at" });
    let records = if letters == 1 { "record was" } else { "records were" };
    let said = format!(
        "{letters} {records} set aside (limits.max_bad_records = 0): {letters} {first}; fields there: .order, .customer.id, .total"
    );
    assert_eq!(report["reasons"], json!([said]), "the run's last message");
    assert_eq!(scene.status().expect("it ran")["reasons"], json!([said]), "and the state's");
    let page = scene.program.join("page.html");
    for command in [&["status"][..], &["report", "--html", page.to_str().expect("text")]] {
        let shown = scene.program.run(command, patience()).expect_code(0).stdout;
        let lines = format!("{letters}  {}", first.replacen(", ", "\n                ", 1));
        assert!(shown.contains(&lines), "{command:?}:\n{shown}");
        assert!(!shown.contains("secret-"), "no value of a record:\n{shown}");
    }
    let page = std::fs::read_to_string(page).expect("it was written");
    assert!(page.contains("Records that were set aside, and why") && page.contains("no field .customer.idd"));
    assert!(!page.contains("secret-"), "no value of a record");
}

fn lines_that_are_too_long_are_marked_and_counted_as_one_reason(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "too-long", 2, &[]);
    let long = |letters: usize| format!("{{\"x\":\"{}\"}}\n", "y".repeat(letters));
    scene.program.write("data/1.jsonl", format!("{{\"x\":1}}\n{}{{\"x\":2}}\n{}", long(100_000), long(2_000_000)));
    scene.configure(&[("source.jsonl.max_line", "\"80KiB\""), ("limits.max_bad_records", "5")]);
    let report = scene.run(&["--verify"]).expect_code(0).json();
    let reasons = &report["dead_letters"]["reasons"];
    assert_eq!((reasons.as_array().map(Vec::len), &reasons[0]["count"], &reasons[0]["start"]), (Some(1), &2.into(), &8.into()));
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), 2);
    for letter in letters {
        let kept = letter["record"].as_str().expect("text").len();
        assert_eq!((&letter["cut"], kept), (&true.into(), 64 << 10), "{}", letter["reason"]);
        assert!(letter["bytes"].as_u64() > Some(80 << 10));
    }
    scene.verify();
    scene.program.assert_nothing_left();
}

fn rules_are_fixed_once_a_record_was_sent_or_may_have_been(clusters: &Clusters) {
    // Another one writes to the topic meanwhile: it could have been this job.
    let scene = scene(clusters.one(), "wrong-key-shared", ".customer.idd");
    scene.run(&ANY_KEY).expect_code(5);
    scene.kafka.produce(&scene.topic, &[("k", "another's")]);
    set_key(&scene, ".customer.id");
    let said = [
        "record.key was .customer.idd and is .customer.id",
        "no record of it was acknowledged, but whether none was sent can't be told: partition",
        "ended at 0 when the job began, and ends at 1",
        "--restart",
    ];
    refused(&scene.program, &["run"], 3, &said);
    assert!(!scene.dead_letters().is_empty(), "all is as it was");

    // Once records were sent, they stay what they are.
    scene.run(&["--restart", "--yes"]).expect_code(0);
    set_key(&scene, ".order");
    let said = ["record.key was .customer.id and is .order", "half of the topic would follow other rules", "undo the change"];
    refused(&scene.program, &["run"], 3, &said);
    refused(&scene.program, &["plan"], 3, &said);
    refused(&scene.program, &["verify"], 3, &said);
    scene.program.assert_nothing_left();
}

fn a_source_may_change_as_long_as_nothing_was_sent(clusters: &Clusters) {
    let scene = scene(clusters.one(), "wrong-files", ".customer.id");
    // Of another kind than the job expects: not a record of it can be sent.
    scene.program.write("data/other.jsonl", "{\"order\":1}\n".repeat(9));
    let narrow = |paths: &str| {
        let key = ("record.key", "\".customer.id\"");
        scene.configure(&[key, ("source.jsonl.paths", paths), ("limits.max_bad_records", "100")]);
    };
    narrow("[\"data/other.jsonl\"]");
    let report = scene.run(&ANY_KEY).expect_code(0).json();
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&0.into(), &9.into()));
    narrow("[\"data/orders-*.jsonl\"]");
    assert!(risks(&scene).contains("so `run` begins it anew with this plan"), "{}", risks(&scene));
    let finished = scene.run(&[]).expect_code(0);
    assert!(finished.stderr.contains("so it begins anew; 9 dead letters of before are dropped"), "{}", finished.stderr);
    assert_eq!(scene.judge_and_verify(&source(&scene)), Difference::default());
    // From now on the files are those of the plan.
    narrow("[\"data/other.jsonl\"]");
    refused(&scene.program, &["run"], 7, &["--restart"]);
    scene.program.assert_nothing_left();
}
