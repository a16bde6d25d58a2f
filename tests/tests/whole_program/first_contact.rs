//! The first contact of a new user: what would lose or spoil records is refused before the first one, with what to do
//! about it, and nothing is in the topic or in the job's way afterwards.
//!
//! What is wrong with brokers and their security is `first_contact_secured`'s subject.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use whole_program::multiset::Multiset;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene, Verdict, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, old_events_are_refused_where_retention_would_delete_them),
    test!(Works, Kafka, a_key_that_no_record_has_is_refused_and_leaves_nothing_behind),
    test!(Waits, Kafka, a_unit_that_gives_odd_years_is_told_with_the_one_that_fits),
];

const DAY_MS: u64 = 86_400_000;
/// 7 days, the broker's own default.
const RETENTION: &str = "retention.ms=604800000";

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64
}

/// Events of the last four months, the same number each day, with times of this unit (its length in milliseconds).
fn months_of_events(program: &Program, in_a_ms: f64) -> Multiset {
    let now = now_ms();
    let line = |number: u64| {
        let at = (now - 120 * DAY_MS + number * 120 * DAY_MS / 1_200) as f64 * in_a_ms;
        format!("{{\"id\":{number},\"at\":{at:.0}}}\n")
    };
    let path = program.write("data/events.jsonl", (0..1_200).map(line).collect::<String>());
    Multiset::of_lines(&[path])
}

/// Both commands that hold retention are given, each does what it says, and the records stay as long as it is held.
fn old_events_are_refused_where_retention_would_delete_them(clusters: &Clusters) {
    let kafka = clusters.one();
    let time = [("record.timestamp", "\".at\""), ("record.timestamp_unit", "\"ms\"")];
    let scene = Scene::with_topic(kafka, "retention", 3, &[RETENTION]);
    scene.configure(&time);
    let source = months_of_events(&scene.program, 1.0);
    let hold = format!(
        "kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name retention --add-config retention.ms=-1",
        kafka.bootstrap()
    );
    let put_back = hold.replace("retention.ms=-1", RETENTION);
    let finished = refused(&scene.program, &["run"], 4, &["retention", "7 days", &hold, &put_back, "--accept retention"]);
    assert!(finished.stderr.lines().count() < 10, "{}", finished.stderr);
    let checked = scene.program.run(&["check"], PATIENCE).expect_code(4);
    assert!(checked.stdout.contains(&hold) && checked.stdout.contains(&put_back), "{}", checked.stdout);
    assert!(kafka.records("retention").is_empty(), "nothing was sent");

    // What the message says: held, sent, compared.
    kafka.alter_topic("retention", &["retention.ms=-1"]);
    let sent = scene.run(&[]).expect_code(0);
    assert_eq!(sent.number("/records/acknowledged"), source.len());
    assert_eq!(scene.verify().0, Verdict::SAME);
    assert!(scene.judge(&source).0 == whole_program::multiset::Difference::default(), "an independent reader agrees");
    scene.program.assert_nothing_left();

    // Who wants them deleted may say so.
    let scene = Scene::with_topic(kafka, "retention-accepted", 3, &[RETENTION]);
    scene.configure(&time);
    months_of_events(&scene.program, 1.0);
    let sent = scene.run(&["--accept", "retention"]).expect_code(0).json();
    assert_eq!(sent["accepted"], Value::from(vec!["retention"]), "{sent:#}");
    // Events of a week or less pass without a word.
    let scene = Scene::with_topic(kafka, "retention-fresh", 3, &[RETENTION]);
    scene.configure(&time);
    let now = now_ms();
    let fresh: String = (0..100).map(|n| format!("{{\"id\":{n},\"at\":{}}}\n", now - n * DAY_MS / 20)).collect();
    scene.program.write("data/events.jsonl", fresh);
    let sent = scene.run(&[]).expect_code(0);
    assert!(!sent.stderr.contains("retention"), "{}", sent.stderr);
    scene.program.assert_nothing_left();
}

/// A slip of the pen in the key's path: named at once, and mended without `--restart`.
fn a_key_that_no_record_has_is_refused_and_leaves_nothing_behind(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "slip", 3, &[]);
    let line = |number: u64| format!("{{\"order\":{number},\"customer\":{{\"id\":\"c{}\",\"name\":\"n\"}}}}\n", number % 70);
    let path = scene.program.write("data/orders.jsonl", (0..5_000).map(line).collect::<String>());
    scene.configure(&[("record.key", "\".customer.idd\"")]);
    let said = ["no record of ", " has .customer.idd", "fields are ", ".customer.id", ".order"];
    refused(&scene.program, &["run"], 4, &said);
    assert!(scene.dead_letters().is_empty(), "nothing was set aside");
    assert!(scene.kafka.records("slip").is_empty(), "nothing was sent");
    scene.configure(&[("record.key", "\".customer.id\"")]);
    let sent = scene.run(&[]).expect_code(0);
    assert_eq!(sent.number("/records/acknowledged"), 5_000);
    assert_eq!(scene.judge_and_verify(&Multiset::of_lines(&[path])), whole_program::multiset::Difference::default());
    scene.program.assert_nothing_left();
}

fn a_unit_that_gives_odd_years_is_told_with_the_one_that_fits(clusters: &Clusters) {
    let kafka = clusters.one();
    // The unit of the times as a part of a millisecond, the unit that is declared, the one that fits.
    let cases = [(1.0, "us", "ms"), (0.001, "ms", "s"), (1.0, "s", "ms")];
    for (number, (in_a_ms, declared, fits)) in cases.into_iter().enumerate() {
        let unit = format!("\"{declared}\"");
        let time = [("record.timestamp", "\".at\""), ("record.timestamp_unit", unit.as_str())];
        let fits = format!("record.timestamp_unit = \"{fits}\"");
        let scene = |name: &str, config: &str| {
            let scene = Scene::with_topic(kafka, &format!("unit-{number}-{name}"), 2, &[config]);
            scene.configure(&time);
            months_of_events(&scene.program, in_a_ms);
            scene
        };
        // No broker takes a record of the year 58,549; one of 1970 stays in a topic that deletes nothing.
        let kept = scene("kept", "retention.ms=-1");
        if declared == "s" {
            refused(&kept.program, &["run"], 4, &["year 58", &fits]);
        } else {
            let told = kept.run(&[]).expect_code(0);
            assert!(told.stderr.contains("1970") && told.stderr.contains(&fits), "{}", told.stderr);
        }
        let deleted = scene("deleted", RETENTION);
        refused(&deleted.program, &["run"], 4, &[&fits]);
        assert!(kafka.records(&deleted.topic).is_empty(), "nothing was sent");
    }
}
