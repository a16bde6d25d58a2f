//! What `plan` says of records before any is sent: the first ones as they would be, sizes, time, and what would refuse
//! a run.

use std::net::TcpListener;
use std::process::Command;

use serde_json::Value;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene, config, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, the_first_records_are_shown_and_masked),
    test!(Works, Nothing, a_byte_rate_is_judged_on_decompressed_bytes),
    test!(Works, Nothing, no_broker_is_contacted_that_is_not_named),
    test!(Works, Nothing, a_field_that_no_record_has_is_refused_and_shown),
    test!(Works, Nothing, times_older_than_a_week_are_told),
    test!(Works, Kafka, named_brokers_tell_partitions_and_the_round_trip),
];

const LINES: u64 = 5_000;

/// Lines of customers and times of 2023.
fn lines() -> String {
    (0..LINES)
        .map(|n| {
            format!(
                "{{\"customer\":{{\"id\":\"customer-{}\"}},\"at\":{},\"note\":\"{}\"}}\n",
                n % 97,
                1_700_000_000_000u64 + n,
                "confidential ".repeat(9)
            )
        })
        .collect()
}

fn job(what: &str, brokers: &str, keys: &[(&str, &str)]) -> Program {
    let program = Program::new(what);
    program.write("data/1.jsonl", lines());
    let own = if keys.iter().any(|(name, _)| *name == "record.key") { &[][..] } else { &[("record.key", "\".customer.id\"")] };
    program.write("orchestrator.toml", config(what, brokers, &[own, keys].concat()));
    program
}

const TIMES: [(&str, &str); 2] = [("record.timestamp", "\".at\""), ("record.timestamp_unit", "\"ms\"")];

fn plan(program: &Program, words: &[&str]) -> String {
    program.run(&[&["plan"], words].concat(), PATIENCE).expect_code(0).stdout
}

fn json(program: &Program, words: &[&str]) -> Value {
    serde_json::from_str(&plan(program, &[&["-o", "json"], words].concat())).expect("an object")
}

fn the_first_records_are_shown_and_masked(_: &Clusters) {
    let headers = ("record.headers", "{ source = \"backfill\" }");
    let program = job("preview", "localhost:1", &[&TIMES[..], &[headers]].concat());
    let text = plan(&program, &[]);
    for part in [
        "the first 3 records as sent (masked; --show-values shows keys and values)",
        "key \"c•••••••-0\" (10 bytes), partition unknown (-b asks how many there are), 2023-11-14 22:13:20 UTC, headers source = \
         \"backfill\", value of ",
        "{\"customer\":{\"id\":\"••••••••-•\"},\"at\":•••••••••••••,\"note\":\"•••••••••••• ",
        "in the topic: each replica, before the client compresses",
        "how fast the brokers take records shows only when they are sent (-b asks how far away they are)",
        " records twice (workers.chunk)",
        "nothing was sent",
    ] {
        assert!(text.contains(part), "{part:?} is missing:\n{text}");
    }
    assert!(!text.contains("customer-0") && !text.contains("confidential"), "{text}");
    let shown = plan(&program, &["--show-values"]);
    assert!(shown.contains("key \"customer-0\"") && shown.contains("\"note\":\"confidential"), "{shown}");

    let object = json(&program, &[]);
    let (first, bytes) = (&object["preview"][0], lines().len() as u64);
    assert_eq!((&object["unpacked_bytes"], &object["bytes"]), (&bytes.into(), &bytes.into()), "{object:#}");
    assert!(object["topic_bytes"].as_u64() > Some(bytes), "keys, headers and lengths: {object:#}");
    assert_eq!((&first["key"], &first["key_bytes"]), (&"c•••••••-0".into(), &10.into()), "{object:#}");
    assert_eq!((&first["timestamp_ms"], &first["masked"]), (&1_700_000_000_000u64.into(), &true.into()));
    assert_eq!((&first["headers"]["source"], &first["partition"]), (&"backfill".into(), &Value::Null));
    assert!(!object.to_string().contains("confidential"));
    let shown = json(&program, &["--show-values"]);
    assert_eq!((&shown["preview"][0]["key"], &shown["preview"][0]["masked"]), (&"customer-0".into(), &false.into()));
    assert!(shown["preview"][2]["value"].as_str().is_some_and(|value| value.contains("confidential")));

    // Of a limited job only its own records are there.
    let two = json(&program, &["--limit", "2"]);
    assert_eq!(two["preview"].as_array().map(Vec::len), Some(2), "{two:#}");
    assert_eq!(two["resent_a_death"], 2);
}

fn a_byte_rate_is_judged_on_decompressed_bytes(_: &Clusters) {
    let program = job("packed", "localhost:1", &[("source.jsonl.paths", "[\"data/*.gz\"]")]);
    let text = lines();
    let file = std::fs::File::open(program.join("data/1.jsonl")).expect("it was written");
    let gzip = Command::new("gzip").arg("-9c").stdin(file).output().expect("gzip starts");
    let packed = gzip.stdout;
    assert!(packed.len() * 10 < text.len());
    std::fs::remove_file(program.join("data/1.jsonl")).expect("it is there");
    program.write("data/1.jsonl.gz", &packed);
    let object = json(&program, &["--set", "limits.rate_bytes=\"10kB\"", "--set", "limits.rate_records=1000"]);
    let unpacked = object["unpacked_bytes"].as_u64().expect("it is known");
    assert!(unpacked.abs_diff(text.len() as u64) < 1000, "{unpacked} for {}", text.len());
    let ms = |by: &str| {
        let bounds = object["expected_by"].as_array().expect("a list");
        bounds.iter().find(|bound| bound["by"] == by).and_then(|bound| bound["ms"].as_u64()).expect(by)
    };
    // Keys and values, without line ends.
    let sent = (text.len() as u64 - LINES + LINES * 11) as f64;
    assert!((ms("rate_bytes") as f64 / 1000.0 / (sent / 10_000.0) - 1.0).abs() < 0.05, "{object:#}");
    assert!(ms("rate_records").abs_diff(5_000) < 500, "{object:#}");
    assert_eq!(object["expected_ms"], ms("rate_bytes"));
}

fn no_broker_is_contacted_that_is_not_named(_: &Clusters) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.set_nonblocking(true).expect("it can be asked without waiting");
    let address = listener.local_addr().expect("it has one").to_string();
    let program = job("unasked", &address, &TIMES);
    assert!(plan(&program, &[]).contains("nothing was sent"));
    assert!(listener.accept().is_err(), "the broker of the config was asked");
    refused(&program, &["plan", "-b", &address, "--set", "kafka.give_up_after=2s"], 4, &["kafka.brokers"]);
    assert!(listener.accept().is_ok(), "the broker that -b names was not asked");
}

fn a_field_that_no_record_has_is_refused_and_shown(_: &Clusters) {
    let program = job("typo", "localhost:1", &[("record.key", "\".customer.idd\"")]);
    let finished = program.run(&["plan"], PATIENCE);
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(finished.stdout.contains("nothing was sent"), "the plan is shown all the same: {}", finished.stdout);
    let said = "has .customer.idd (record.key); fields are .customer.id, .at, .note";
    for text in [&finished.stdout, &finished.stderr] {
        assert!(text.contains(said), "{said:?} is missing:\n{text}");
    }
    assert!(plan(&program, &["--accept", "mapping"]).contains(said));
}

fn times_older_than_a_week_are_told(_: &Clusters) {
    let program = job("old", "localhost:1", &TIMES);
    let told = "times of sampled records begin at 2023-11-14 22:13:20 UTC";
    assert!(plan(&program, &[]).contains(told), "{}", plan(&program, &[]));
    let none = job("young", "localhost:1", &[]);
    assert!(!plan(&none, &[]).contains("times of"), "{}", plan(&none, &[]));
}

fn named_brokers_tell_partitions_and_the_round_trip(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "preview", 4, &["retention.ms=3600000"]);
    let keys = [("record.key", "\".customer.id\""), ("workers.flush", "\"record\""), ("workers.count", "2")];
    scene.configure(&keys);
    scene.program.write("data/1.jsonl", lines());
    let named = ["-b", scene.kafka.bootstrap()];
    let object = json(&scene.program, &named);
    assert!(object["preview"][0]["partition"].as_u64() < Some(4), "{object:#}");
    let bounds = object["expected_by"].as_array().expect("a list").clone();
    assert!(bounds.iter().any(|bound| bound["by"] == "round_trip" && bound["ms"].as_u64() > Some(0)), "{object:#}");
    let text = plan(&scene.program, &named);
    assert!(text.contains("for each record (workers.flush = \"record\", 2 workers)"), "{text}");
    assert!(text.contains("(10 bytes), partition "), "{text}");
    // What the topic would do to old times refuses a run, and so ends the plan.
    let old = ["--set", "record.timestamp=.at", "--set", "record.timestamp_unit=ms"];
    let finished = scene.program.run(&[&["plan"], &named[..], &old].concat(), PATIENCE);
    assert_eq!(finished.code, 4, "{finished:?}");
    assert!(finished.stdout.contains("retention: ") && finished.stderr.contains("retention.ms"), "{finished:?}");
    assert_eq!(scene.kafka.end_offsets(&scene.topic).iter().sum::<u64>(), 0, "nothing was sent");

    // A job that has begun shows records, and no time.
    scene.run(&[]).expect_code(0);
    let begun = json(&scene.program, &[]);
    assert_eq!((&begun["expected_ms"], &begun["frozen"]), (&Value::Null, &true.into()), "{begun:#}");
    assert!(begun["preview"][0]["partition"].as_u64() < Some(4), "{begun:#}");
    std::fs::remove_file(scene.program.join("data/1.jsonl")).expect("it is there");
    let gone = json(&scene.program, &[]);
    assert_eq!(gone["preview"].as_array().map(Vec::len), Some(0), "{gone:#}");
    assert!(gone["risks"].to_string().contains("data/1.jsonl"), "{gone:#}");
}
