//! `init`: it finds nested fields, elements of arrays and times in a sample of several files, proposes what is safe,
//! and refuses what was typed against what is there.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use whole_program::program::Program;
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, init_finds_fields_in_a_sample_of_many_files),
    test!(Works, Nothing, init_takes_the_fields_that_were_typed),
    test!(Works, Nothing, init_refuses_fields_that_no_record_has),
    test!(Works, Nothing, init_writes_nothing_for_lines_that_are_no_objects),
];

const LIMIT: Duration = Duration::from_secs(60);

/// Files whose keys, elements and times stand in objects and arrays.
fn nested(program: &Program, files: u64) {
    for file in 0..files {
        let text = (0..200).fold(String::new(), |mut text, n| {
            let (id, customer, at) = (file * 200 + n, n * 7 % 90, 1_760_000_000_000 + (file * 200 + n) * 1000);
            let _ = writeln!(
                text,
                "{{\"id\":{id},\"customer\":{{\"id\":\"c{customer}\"}},\"kind_id\":1,\"meta\":{{\"created_at\":{at}}},\
                 \"items\":[{{\"sku\":\"s{}\"}},{{\"sku\":\"t\"}}]}}",
                n % 5
            );
            text
        });
        program.write(&format!("data/orders-{file:02}.jsonl"), text);
    }
}

fn field<'a>(seen: &'a Value, path: &str) -> &'a Value {
    let fields = seen["fields"].as_array().expect("a list");
    fields.iter().find(|field| field["path"] == path).unwrap_or_else(|| panic!("no {path} in {seen:#}"))
}

fn config(program: &Program, name: &str) -> String {
    std::fs::read_to_string(program.join(name)).expect("it was written")
}

fn init_finds_fields_in_a_sample_of_many_files(_: &Clusters) {
    let program = Program::new("init-nested");
    nested(&program, 43);
    let seen = program.run(&["init", "--from", "data/*.jsonl", "-o", "json"], LIMIT).expect_code(0).json();
    assert_eq!((&seen["files"], &seen["sampled_records"]), (&json!(43), &json!(1000)), "{seen:#}");
    let sampled = seen["sampled"].as_array().expect("a list");
    let names: Vec<&str> = sampled.iter().filter_map(|file| file["path"].as_str()?.rsplit('/').next()).collect();
    assert!(names.len() == 20 && names[0] == "orders-00.jsonl" && names[19] == "orders-42.jsonl", "{names:?}");
    assert!(sampled.iter().all(|file| file["records"] == 50 && file["invalid"] == 0), "{sampled:?}");
    assert_eq!(seen["key"], ".customer.id", "neither the one that each record has for itself, nor the one that all have");
    assert_eq!(seen["timestamp"], json!({ "path": ".meta.created_at", "unit": "ms", "active": false }));
    assert_eq!(field(&seen, ".items[].sku")["in_array"], true);
    assert_eq!(field(&seen, ".items[].sku")["present"], 1000);
    assert_eq!(field(&seen, ".meta.created_at")["time"]["unit"], "ms");
    // A topic deletes by the times of its records: the proposal is a comment.
    let text = config(&program, "orchestrator.toml");
    assert!(text.contains("\nkey = \".customer.id\"\n") && text.contains("\n#   timestamp = \".meta.created_at\"\n"), "{text}");
    assert!(text.contains("\n#   timestamp_unit = \"ms\"\n"), "{text}");
    program.run(&["plan"], LIMIT).expect_code(0);

    let again = program.run(&["init", "--from", "data/*.jsonl"], LIMIT).expect_code(2);
    assert!(again.stderr.contains("exists already"), "{}", again.stderr);
    let words = program.run(&["init", "--from", "data/*.jsonl", "-c", "other.toml"], LIMIT).expect_code(0).stdout;
    for part in [
        "43 files",
        "looked at 1,000 records of 20 of them",
        "orders-00.jsonl  50 records",
        "… 8 files, 400 records",
        ".items[].sku",
        "can't be a key",
        "a time (ms), 2025-10-09 to 2025-10-09",
        "key .customer.id",
        "proposed as a comment: timestamp .meta.created_at (ms)",
    ] {
        assert!(words.contains(part), "{part}: {words}");
    }
}

fn init_takes_the_fields_that_were_typed(_: &Clusters) {
    let program = Program::new("init-typed");
    nested(&program, 2);
    let with = |arguments: &[&str], file: &str| {
        let all = [&["init", "--from", "data/*.jsonl", "-o", "json", "-c", file], arguments].concat();
        (program.run(&all, LIMIT).expect_code(0).json(), config(&program, file))
    };
    let (seen, text) = with(&["--key", ".id", "--timestamp", ".meta.created_at"], "a.toml");
    assert_eq!((&seen["key"], &seen["timestamp"]["active"]), (&json!(".id"), &json!(true)), "{seen:#}");
    assert!(text.contains("\nkey = \".id\"\n") && text.contains("\ntimestamp = \".meta.created_at\"\n"), "{text}");
    assert!(text.contains("\ntimestamp_unit = \"ms\"\n"), "{text}");
    program.run(&["run", "-c", "a.toml"], LIMIT).expect_code(0);
    let (seen, text) = with(&["--key", "none", "--timestamp", "none"], "b.toml");
    assert!(seen["key"].is_null() && seen["timestamp"].is_null(), "{seen:#}");
    assert!(!text.contains("\nkey =") && !text.contains(".meta.created_at"), "{text}");
    let (seen, _) = with(&["--key", ".kind_id"], "c.toml");
    assert!(seen["notes"].to_string().contains("all go to one partition"), "{seen:#}");
}

fn init_refuses_fields_that_no_record_has(_: &Clusters) {
    let program = Program::new("init-refused");
    nested(&program, 2);
    for (arguments, parts) in [
        (["--key", ".customer.idd"], ["no record of 400 sampled has it", "fields are .customer.id, .id"]),
        (["--key", ".customer"], ["it is an object", "fields are .customer.id"]),
        (["--key", ".items"], ["it is an array", "fields are"]),
        (["--key", "customer"], ["must start with a dot", "--key"]),
        (["--timestamp", ".customer.id"], ["its values are no times", "fields that are times: .meta.created_at"]),
        (["--timestamp", ".at"], ["no record of 400 sampled has it", ".meta.created_at"]),
        (["--brokers", "https://kafka:9092"], ["no https://", "--brokers"]),
    ] {
        let all = [&["init", "--from", "data/*.jsonl"], &arguments[..]].concat();
        let refused = program.run(&all, LIMIT).expect_code(2);
        assert!(parts.iter().all(|part| refused.stderr.contains(part)), "{arguments:?}: {}", refused.stderr);
        assert!(!program.join("orchestrator.toml").exists(), "{arguments:?}");
    }
    let refused = program.run(&["init", "--from", "~/data/*.jsonl"], LIMIT).expect_code(2);
    assert!(refused.stderr.contains("home folder"), "{}", refused.stderr);
}

fn init_writes_nothing_for_lines_that_are_no_objects(_: &Clusters) {
    let program = Program::new("init-no-objects");
    program.write("data/rows.jsonl", "[1,\"a\"]\n[2,\"b\"]\n[3,\"c\"]\n");
    let refused = program.run(&["init", "--from", "data/rows.jsonl"], LIMIT).expect_code(7);
    assert!(refused.stderr.contains("array"), "{}", refused.stderr);
    assert!(!program.join("orchestrator.toml").exists());
    program.run(&["init", "--from", "data/rows.jsonl", "--key", "none"], LIMIT).expect_code(0);
    assert!(!config(&program, "orchestrator.toml").contains("\nkey ="));
}
