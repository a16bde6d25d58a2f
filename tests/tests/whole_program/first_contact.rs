//! The first contact of a new user: what would lose or spoil records is refused before the first one, with what to do
//! about it, and nothing is in the topic or in the job's way afterwards.
//!
//! What is wrong with brokers and their security is `first_contact_secured`'s subject.

use std::fmt::Write as _;
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
    test!(Waits, Kafka, files_that_are_no_json_lines_are_refused_by_each_command),
    test!(Works, Kafka, a_key_that_no_record_has_is_refused_and_leaves_nothing_behind),
    test!(Waits, Kafka, a_unit_that_gives_odd_years_is_told_with_the_one_that_fits),
    test!(Works, Nothing, init_finds_nested_keys_all_files_and_what_a_pattern_leaves_out),
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

/// Two objects, compressed or wrapped by each tool itself.
const BZIP2: &[u8] = b"BZh91AY&SY2\x98M\xda\x00\x00\x07Y\x80\x00\x10\x10\x000\x10\x04 \x00\x0a \x00!(\x04\xfdP\x83&!8O\x1a$\x9c/\xc5\xdc\x91N\x14$\x0c\xa6\x13v\x80";
const XZ: &[u8] = b"\xfd7zXZ\x00\x00\x04\xe6\xd6\xb4F\x02\x00!\x01\x16\x00\x00\x00t/\xe5\xa3\x01\x00\x11{\x22id\x22:1}\x0a{\x22id\x22:2}\x0a\x00\x00\x00\xfd\xd7\xb0\x10N\x16\x1b\xc5\x00\x01*\x12K\x08T\xbc\x1f\xb6\xf3}\x01\x00\x00\x00\x00\x04YZ";
const ZIP: &[u8] = b"PK\x03\x04\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x06,\xa5\x04\x12\x00\x00\x00\x12\x00\x00\x00\x07\x00\x00\x00a.jsonl{\x22id\x22:1}\x0a{\x22id\x22:2}\x0aPK\x01\x02\x14\x03\x14\x00\x00\x00\x00\x00\x00\x00!\x00\x06,\xa5\x04\x12\x00\x00\x00\x12\x00\x00\x00\x07\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x80\x01\x00\x00\x00\x00a.jsonlPK\x05\x06\x00\x00\x00\x00\x01\x00\x01\x005\x00\x00\x007\x00\x00\x00\x00\x00";

fn utf16(text: &str) -> Vec<u8> {
    [0xfeff].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// The frame of a Parquet file, and bytes with line ends between.
fn parquet() -> Vec<u8> {
    let mut file = b"PAR1".to_vec();
    file.extend((0..4_000u32).flat_map(|number| number.wrapping_mul(2_654_435_761).to_le_bytes()));
    file.extend([0x10, 0, 0, 0]);
    file.extend(b"PAR1");
    file
}

/// Without a key a job needs nothing of a line: all of these were sent as they stood.
fn files_that_are_no_json_lines_are_refused_by_each_command(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("foreign", 3, &[]);
    let cases: [(&str, Vec<u8>, &str); 8] = [
        ("data.parquet", parquet(), "Parquet"),
        ("data.jsonl.bz2", BZIP2.to_vec(), "bzip2"),
        ("data.jsonl.xz", XZ.to_vec(), "xz"),
        ("data.zip", ZIP.to_vec(), "zip"),
        ("data.jsonl", utf16("{\"id\":1}\r\n{\"id\":2}\r\n"), "UTF-16"),
        ("array.json", b"[{\"id\":1},{\"id\":2}]\n".to_vec(), "array"),
        ("lines.json", b"[\n{\"id\":1},\n{\"id\":2}\n]\n".to_vec(), "array"),
        ("rows.jsonl", b"id,name\n1,a\n2,b\n3,\"c\"\n".to_vec(), "CSV"),
    ];
    std::thread::scope(|scope| {
        for case in &cases {
            scope.spawn(move || {
                let (name, content, says) = case;
                let program = Program::new("foreign");
                let path = format!("data/{name}");
                program.write(&path, content);
                let said = [says, path.as_str()];
                refused(&program, &["init", "--from", "data/*"], 7, &said);
                assert!(!program.join("orchestrator.toml").exists(), "{name}: init wrote a config");
                let keys = [("source.jsonl.paths", "[\"data/*\"]"), ("kafka.topic", "\"foreign\"")];
                program.write("orchestrator.toml", whole_program::scene::config("foreign", kafka.bootstrap(), &keys));
                refused(&program, &["plan"], 7, &said);
                refused(&program, &["run"], 7, &said);
                let checked = program.run(&["check"], PATIENCE).expect_code(7);
                assert!(checked.stdout.contains(says), "{name}: {}", checked.stdout);
            });
        }
    });
    assert!(kafka.records("foreign").is_empty(), "nothing was sent");
}

/// A slip of the pen in the key's path: named at once, and mended without `--restart`.
fn a_key_that_no_record_has_is_refused_and_leaves_nothing_behind(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "slip", 3, &[]);
    let line = |number: u64| format!("{{\"order\":{number},\"customer\":{{\"id\":\"c{}\",\"name\":\"n\"}}}}\n", number % 70);
    let path = scene.program.write("data/orders.jsonl", (0..5_000).map(line).collect::<String>());
    scene.configure(&[("record.key", "\".customer.idd\"")]);
    let said = ["no record of ", " has .customer.idd", "fields are ", ".customer.id", ".order"];
    refused(&scene.program, &["run"], 4, &said);
    let planned = scene.program.run(&["plan"], PATIENCE).expect_code(4);
    said.iter().for_each(|part| assert!(planned.stdout.contains(part), "no {part:?}: {planned:?}"));
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

/// 40 files of one kind, 3 compressed ones beside them that `*.jsonl` does not mean, and a key one level down.
fn init_finds_nested_keys_all_files_and_what_a_pattern_leaves_out(_: &Clusters) {
    let program = Program::new("init-nested");
    for file in 0..43 {
        let mut lines = String::new();
        for line in 0..20 {
            let _ = writeln!(
                lines,
                "{{\"at\":\"2026-11-0{}T10:00:00Z\",\"customer\":{{\"id\":\"c{}\"}},\"n\":{line}}}",
                line % 9 + 1,
                line % 7
            );
        }
        let path = program.write(&format!("data/part-{file:02}.jsonl"), lines);
        if file >= 40 {
            let zipped = std::process::Command::new("gzip").arg(path).status();
            assert!(zipped.is_ok_and(|status| status.success()), "gzip can be run");
        }
    }
    let all = program.run(&["init", "--from", "data/*.jsonl*"], PATIENCE).expect_code(0);
    assert!((all.stdout.clone() + &all.stderr).contains("43 files"), "{all:?}");
    let config = std::fs::read_to_string(program.join("orchestrator.toml")).expect("init wrote a config");
    assert!(config.contains("record.key = \".customer.id\"") || config.contains("key = \".customer.id\""), "{config}");
    std::fs::remove_file(program.join("orchestrator.toml")).expect("it is there");
    let some = program.run(&["init", "--from", "data/*.jsonl"], PATIENCE).expect_code(0);
    let said = some.stdout + &some.stderr;
    assert!(said.contains("40 files"), "{said}");
    assert!(said.contains("3 ") && said.contains(".jsonl.gz"), "what the pattern leaves out: {said}");
    program.assert_nothing_left();
}
