//! The story in Python (`scripts/story`): it runs, its claims show at a small size, and it leaves nothing behind.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::program::{Finished, Program, binary};
use whole_program::root;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

const PATIENCE: Duration = Duration::from_secs(180);

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Python, it_says_what_it_can_do),
    test!(Works, Python, every_figure_is_there),
    test!(Nightly, Python, the_claims_show_in_seconds),
    test!(Nightly, Python, the_web_scene_shows_in_seconds),
    test!(Waits, Python, nothing_is_left_after_an_interrupt),
    test!(Waits, Python, nothing_is_left_after_a_kill),
    test!(Works, Python, "the_document_is_what_the_raw_results_say", the_document_is_current),
];

fn story(program: &Program, words: &[&str]) -> Command {
    let mut command = program.other_command(root().join("scripts/story/run"));
    command.args(words).env("SHARDLIFT", binary());
    command
}

/// Runs it to its end. Returns its raw results without the conditions, and what it printed.
fn tell(program: &Program, words: &[&str]) -> (Vec<Value>, Finished) {
    let common = ["--rounds", "1", "--raw", "raw.jsonl", "--seconds"];
    let finished = program.spawn(story(program, &[&common, words].concat())).finish(PATIENCE).expect_code(0);
    let text = std::fs::read_to_string(program.join("raw.jsonl")).expect("raw results were written");
    let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("each line is JSON"));
    let conditions = lines.next().expect("a first line");
    assert_eq!((&conditions["conditions"]["rtt_ms"], &conditions["conditions"]["rounds"]), (&10.0.into(), &1.into()));
    (lines.collect(), finished)
}

fn find<'a>(runs: &'a [Value], variant: &str, workers: u64) -> &'a Value {
    let found = runs.iter().find(|run| run["variant"] == variant && run["workers"] == workers);
    found.unwrap_or_else(|| panic!("{variant} {workers} in {runs:?}"))
}

fn figure(run: &Value, name: &str) -> f64 {
    run[name].as_f64().unwrap_or_else(|| panic!("{name} in {run}"))
}

fn it_says_what_it_can_do(_: &Clusters) {
    let program = Program::new("story-help");
    let help = program.spawn(story(&program, &["--help"])).finish(PATIENCE).expect_code(0);
    for scene in ["single", "green-blocking", "green-cooperative", "processes", "heartbeat", "web"] {
        assert!(help.stdout.contains(scene), "{scene} in {}", help.stdout);
    }
    let refused = program.spawn(story(&program, &["gren"])).finish(PATIENCE).expect_code(2);
    assert!(refused.stderr.contains("no such scene: gren"), "{}", refused.stderr);
    let mut without = story(&program, &["single"]);
    let missing = program.spawn({
        without.env("SHARDLIFT", program.join("no-such-file"));
        without
    });
    let missing = missing.finish(PATIENCE).expect_code(1);
    assert!(missing.stderr.contains("cargo build --release"), "{}", missing.stderr);
    program.assert_nothing_left();
}

/// What the table and the claims are made of. Each run checks by the topic that it sent what it says.
fn every_figure_is_there(_: &Clusters) {
    let program = Program::new("story-shape");
    let (runs, finished) = tell(&program, &["0.5", "heartbeat", "web"]);
    let web = |run: &&Value| run.get("plain_latency_p50_ms").is_some();
    assert_eq!((runs.len(), runs.iter().filter(web).count()), (7, 4), "the reference, two heartbeats, and the web: {runs:?}");
    for run in &runs {
        assert!(figure(run, "records") > 0.0, "{run}");
    }
    for variant in ["single", "green-blocking", "green-cooperative"] {
        let run = find(&runs, variant, 1);
        for name in ["records_per_second", "flush_share", "latency_p50_ms", "heartbeat_ticks_per_flush_ms"] {
            assert!(figure(run, name) >= 0.0, "{run}");
        }
    }
    for words in ["7. ", "8. "] {
        assert!(finished.stdout.contains(words), "claim {words} is judged: {}", finished.stdout);
    }
    program.assert_nothing_left();
}

/// Bounds far from what is measured on a quiet machine: they fail when a variant doesn't do what its name says.
fn the_claims_show_in_seconds(_: &Clusters) {
    let program = Program::new("story");
    let (runs, finished) = tell(&program, &["0.5", "heartbeat", "processes"]);
    assert_eq!(runs.len(), 7, "the reference, two heartbeats, four numbers of processes: {runs:?}");
    for run in &runs {
        assert!(figure(run, "records") > 0.0 && figure(run, "latency_p50_ms") >= 10.0, "{run}");
    }
    let (single, four) = (find(&runs, "single", 1), find(&runs, "processes", 4));
    assert!(figure(single, "flush_share") > 0.5, "{single}");
    assert!(figure(four, "records_per_second") > 1.5 * figure(single, "records_per_second"), "{four} against {single}");
    let ticks = |variant| figure(find(&runs, variant, 1), "heartbeat_ticks_per_flush_ms");
    assert_eq!(ticks("green-blocking"), 0.0, "a blocking flush lets no other green thread run");
    assert!(ticks("green-cooperative") > 0.1, "a cooperative one does: {}", ticks("green-cooperative"));
    assert!(finished.stdout.contains("8. the C call blocks the OS thread: 0.00 ticks"), "{}", finished.stdout);
    program.assert_nothing_left();
}

fn the_web_scene_shows_in_seconds(_: &Clusters) {
    let program = Program::new("story-web");
    let (runs, finished) = tell(&program, &["0.5", "web"]);
    let find = |flush: &str| runs.iter().find(|run| run["flush"] == flush && run["shared_producer"] == false).expect("a run");
    let (blocking, cooperative) = (find("blocking"), find("cooperative"));
    assert!(figure(blocking, "plain_latency_p50_ms") > 10.0, "a plain request waits for at least one flush: {blocking}");
    let gain = figure(blocking, "plain_latency_p50_ms") / figure(cooperative, "plain_latency_p50_ms");
    assert!(gain > 5.0, "{blocking} against {cooperative}");
    assert!(finished.stdout.contains("7. plain requests are no longer delayed"), "{}", finished.stdout);
    program.assert_nothing_left();
}

fn nothing_is_left_after_an_interrupt(_: &Clusters) {
    let program = Program::new("story-interrupt");
    let running = program.spawn(story(&program, &["--seconds", "30", "--raw", "raw.jsonl", "processes"]));
    wait_until("the first run goes on", PATIENCE, || running.stderr().contains("1 of 5: single"));
    running.signal_group(Signal::SIGINT);
    let stopped = running.finish(PATIENCE).expect_code(130);
    assert!(!stopped.stderr.contains("Traceback"), "{}", stopped.stderr);
    program.assert_nothing_left();
}

fn nothing_is_left_after_a_kill(_: &Clusters) {
    let program = Program::new("story-kill");
    let running = program.spawn(story(&program, &["--seconds", "30", "--raw", "raw.jsonl", "web"]));
    let asks =
        |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.contains("web_clients.py"));
    wait_until("the server is asked", PATIENCE, || running.processes().iter().any(|process| asks(process.pid)));
    running.signal(Signal::SIGKILL);
    running.finish(PATIENCE).expect_code(137);
    program.assert_nothing_left();
}

fn the_document_is_current(_: &Clusters) {
    let program = Program::new("story-table");
    let mut table = program.other_command(root().join("scripts/story/table"));
    table.arg("--check");
    program.spawn(table).finish(PATIENCE).expect_code(0);
}
