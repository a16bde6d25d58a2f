//! Files that are hard to read, or that have several names: what is said of them is so.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, a_line_that_takes_longer_than_the_heartbeat_timeout),
    test!(Works, Nothing, a_window_needs_memory_that_is_named),
    test!(Works, Nothing, padding_and_a_line_cut_off_are_told),
    test!(Works, Kafka, another_spelling_is_the_same_job),
];

/// A folder with a config for the embedded broker.
fn folder(what: &str, keys: &[(&str, &str)]) -> Program {
    let program = Program::new(what);
    let keys = [&[("kafka.brokers", "\"embedded\""), ("workers.count", "1")], keys].concat();
    program.write("orchestrator.toml", config(what, "", &keys));
    program
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip starts");
    gzip.stdin.take().expect("stdin is a pipe").write_all(content).expect("gzip takes it");
    gzip.wait_with_output().expect("gzip ends").stdout
}

fn records(report: &Value, name: &str) -> u64 {
    report["records"][name].as_u64().unwrap_or_else(|| panic!("no records.{name} in {report:#}"))
}

/// A worker passes over 12 GiB of zeros, which are 12 MB as stored: some seconds without a record.
fn a_line_that_takes_longer_than_the_heartbeat_timeout(_: &Clusters) {
    let keys = [("workers.heartbeat_timeout", "\"2s\""), ("limits.max_bad_records", "1")];
    let program = folder("long-line", &keys);
    let zeros = gzip(&vec![0; 1 << 20]).repeat(12 << 10);
    program.write("data/1.jsonl.gz", [&gzip(b"{\"n\":1}\n")[..], &zeros, &gzip(b"\n{\"n\":2}\n")].concat());
    let report = program.run(&["run", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    assert_eq!((records(&report, "acknowledged"), records(&report, "dead_lettered")), (2, 1), "{report:#}");
    assert_eq!(report["verify"]["outcome"], "same", "{report:#}");
    program.assert_nothing_left();
}

/// A frame that says it needs a window of 2 GiB; its one block is stored as it is.
fn a_window_needs_memory_that_is_named(_: &Clusters) {
    let program = folder("window", &[]);
    let content = b"{\"n\":1}\n".repeat(1000);
    let block = (content.len() as u32) << 3 | 1;
    program.write("data/1.jsonl.zst", [&[0x28, 0xb5, 0x2f, 0xfd, 0, 0xa8][..], &block.to_le_bytes()[..3], &content].concat());
    for command in ["plan", "run"] {
        let refused = program.run(&[command], PATIENCE).expect_code(7);
        for part in ["1.jsonl.zst", "a window of 2.0 GiB", "workers.memory_limit to \"2240MiB\" or more"] {
            assert!(refused.stderr.contains(part), "{command} does not say {part:?}:\n{}", refused.stderr);
        }
    }
    let words = ["run", "-o", "json", "--set", "workers.memory_limit=2240MiB"];
    let report = program.run(&words, PATIENCE).expect_code(0).json();
    assert_eq!((records(&report, "acknowledged"), &report["verify"]["outcome"]), (1000, &"same".into()), "{report:#}");
    program.assert_nothing_left();
}

fn padding_and_a_line_cut_off_are_told(_: &Clusters) {
    let program = folder("padded", &[]);
    program.write("data/1.jsonl.gz", [&gzip(b"{\"n\":1}\n{\"n\":2}{\"n\":3}\n")[..], &[0; 5000]].concat());
    program.write("data/2.jsonl", "{\"n\":4}\n{\"n\":");
    let plan = program.run(&["plan"], PATIENCE).expect_code(0);
    let cut_off = "data/2.jsonl: its last line has no line end and is not whole";
    assert!(plan.stdout.contains(cut_off), "{}", plan.stdout);
    let run = program.run(&["run", "-o", "json"], PATIENCE).expect_code(0);
    for part in ["data/1.jsonl.gz: 5,000 zero bytes behind the gzip stream", cut_off] {
        assert!(run.stderr.contains(part), "run does not say {part:?}:\n{}", run.stderr);
    }
    let report = run.json();
    assert_eq!(records(&report, "acknowledged"), 4);
    // Once the log is gone, the job's history tells it, and in a process of its own or not.
    let told = |report: &Value| {
        let notices = report["notices"].as_array().expect("a list");
        let has = |part: &str| notices.iter().any(|notice| notice.as_str().is_some_and(|text| text.contains(part)));
        assert!(has("5,000 zero bytes") && has(cut_off) && notices.len() == 2, "{report:#}");
    };
    told(&report);
    told(&program.run(&["report", "-o", "json"], PATIENCE).expect_code(0).json());
    let text = program.run(&["status"], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("5,000 zero bytes") && text.contains(cut_off), "{text}");
    told(&program.run(&["run", "-o", "json", "--single"], PATIENCE).expect_code(0).json());
    assert!(report["notes"][0].as_str().is_some_and(|note| note.contains(cut_off)), "{report:#}");
    let words = ["run", "-o", "json", "--set", "record.validate=whole", "--set", "limits.max_bad_records=2"];
    let report = program.run(&words, PATIENCE).expect_code(0).json();
    assert_eq!((records(&report, "acknowledged"), records(&report, "dead_lettered")), (2, 2), "{report:#}");
    let garbage = [&gzip(b"{\"n\":1}\n")[..], b"{\"n\":2}\n"].concat();
    program.write("data/1.jsonl.gz", &garbage);
    let refused = program.run(&["run"], PATIENCE).expect_code(7);
    let said = format!("8 bytes from byte {} of the file on are no gzip stream", garbage.len() - 8);
    assert!(refused.stderr.contains(&said), "{}", refused.stderr);
    program.assert_nothing_left();
}

/// The job goes on, and the topic is compared, from wherever the config and its files are named.
fn another_spelling_is_the_same_job(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "spelled");
    scene.configure(&[("workers.count", "1")]);
    let source = scene.orders(8, 2000);
    let report = scene.run(&[]).expect_code(0).json();
    assert_eq!(records(&report, "acknowledged"), 2000);
    std::fs::create_dir(scene.program.join("sub")).expect("a folder can be made");
    std::os::unix::fs::symlink(scene.program.folder(), scene.program.join("link")).expect("a link can be made");
    let paths = "source.jsonl.paths=[\"./link/data/../data/*.jsonl\"]";
    for words in [
        &["run", "-o", "json", "-c", "sub/../orchestrator.toml"][..],
        &["run", "-o", "json", "-c", "link/orchestrator.toml"],
        &["run", "-o", "json", "--set", paths],
    ] {
        let report = scene.program.run(words, PATIENCE).expect_code(0).json();
        assert_eq!((records(&report, "read"), &report["outcome"]), (2000, &"done".into()), "{words:?}: {report:#}");
    }
    let (difference, _) = scene.judge(&source);
    assert_eq!(difference, Default::default(), "nothing was sent twice");
    scene.program.run(&["verify", "-c", "link/orchestrator.toml"], PATIENCE).expect_code(0);
    for command in ["run", "verify"] {
        let other = scene.program.run(&[command, "--set", "source.jsonl.max_line=50"], PATIENCE).expect_code(3);
        assert!(other.stderr.contains("source.jsonl.max_line was 4,194,304 and is 50"), "{}", other.stderr);
    }
    scene.program.assert_nothing_left();
}
