//! How a run ends when something happens around it: signals outside of the supervisor's loop, helpers that die, limits
//! of the machine, state that belongs to something else. Each time the exit code, the one JSON object, and nothing left
//! behind.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use whole_program::program::{Finished, Process, Program, Running};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// Enough for each of these runs on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// What a stop may take that has nothing to drain: less than the drain's time limit (20 s), more than a busy machine
/// needs.
const AT_ONCE: Duration = Duration::from_secs(15);
/// The promises: a second signal, and a refusal before anything begins.
const A_SECOND: Duration = Duration::from_secs(1);
/// Enough for a comparison that can be seen, little enough for the embedded broker.
const RECORDS: u64 = 300_000;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, a_signal_ends_the_comparison_after_a_run),
    test!(Works, Nothing, a_comparison_that_breaks_still_gives_the_result),
    test!(Waits, Nothing, a_signal_before_anything_was_sent),
    test!(Waits, Nothing, a_dead_embedded_broker_is_not_waited_for),
    test!(Alone, Nothing, a_second_signal_ends_a_run_at_once),
    test!(Works, Nothing, a_low_limit_of_descriptors_is_raised),
    test!(Alone, Nothing, too_few_descriptors_are_refused_at_once),
    test!(Works, Nothing, the_report_says_where_dead_letters_are),
    test!(Waits, Nothing, letters_whose_folder_is_removed_in_mid_run_are_no_success),
    test!(Waits, Nothing, letters_of_shards_that_are_done_are_missed_at_the_end),
    test!(Works, Nothing, init_and_run_find_the_same_records),
    test!(Works, Nothing, the_help_names_every_exit_code),
    test!(Works, Kafka, the_embedded_broker_never_replaces_real_state),
];

/// A job on the embedded broker with `extra` lines in its config.
fn job(what: &str, extra: &str) -> Program {
    let program = Program::new(what);
    let lines: String = (0..RECORDS).map(|n| format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 1000)).collect();
    program.write("data.jsonl", lines);
    program.write(
        "orchestrator.toml",
        format!(
            "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"data.jsonl\"]\n[record]\nkey = \".k\"\n[kafka]\nbrokers = \
             \"embedded\"\ntopic = \"t\"\n{extra}\n"
        ),
    );
    program
}

/// Blank lines are no records to either, bad ones are to both.
fn init_and_run_find_the_same_records(_: &Clusters) {
    let program = Program::new("init-and-run");
    let long = format!("{{\"k\":\"{}\"}}", "x".repeat(5 << 20));
    program.write("data.jsonl", format!("{{\"k\":\"a\"}}\n\n  \n\t\r\n{{\"k\":1}}\n{long}\nbroken\n \n"));
    let arguments = ["init", "--from", "data.jsonl", "-t", "t", "-o", "json"];
    let seen = program.run(&arguments, LIMIT).expect_code(0).json();
    assert_eq!((&seen["sampled_records"], &seen["invalid_records"]), (&4.into(), &2.into()), "{seen}");
    let bad = ["--set", "limits.max_bad_records = 10", "--set", "record.key = \".k\""];
    let report = program.run(&[&["run", "-o", "json"], &bad[..]].concat(), LIMIT).json();
    let records = &report["records"];
    assert_eq!((&records["read"], &records["filtered"]), (&8.into(), &4.into()), "{report}");
    assert_eq!((&records["acknowledged"], &records["dead_lettered"]), (&2.into(), &2.into()), "{report}");
}

/// Waits for a child of the run whose name begins with `name`.
fn child(running: &Running, name: &str) -> Process {
    let mut found = None;
    wait_until(name, LIMIT, || {
        found = running.children().into_iter().find(|process| process.name.starts_with(name));
        found.is_some()
    });
    found.expect("waited for")
}

fn signal(process: &Process, signal: Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(process.pid).expect("process ids are small"));
    nix::sys::signal::kill(pid, signal).expect("a living child of the run");
}

/// What `status -o json` says; nothing while there is no state.
fn status(program: &Program) -> serde_json::Value {
    serde_json::from_str(&program.run(&["status", "-o", "json"], LIMIT).stdout).unwrap_or_default()
}

fn await_records(program: &Program) {
    wait_until("records have been committed", LIMIT, || status(program)["records"]["acknowledged"].as_u64() > Some(0));
}

fn assert_result(finished: &Finished, outcome: &str, exit_code: u64) {
    let json = finished.json();
    assert_eq!(json["outcome"], outcome, "{json:#}");
    assert_eq!(finished.number("/exit_code"), exit_code);
    assert_eq!(finished.number("/records/acknowledged"), RECORDS);
    assert!(
        json["verify"].is_null() && json["reasons"][0].as_str().is_some_and(|text| text.contains("not verified")),
        "{json:#}"
    );
}

/// A job of some seconds with bad records, cut into shards of this size.
fn with_bad_records(what: &str, shard: &str, bad: impl Fn(u64) -> bool) -> Program {
    let program = Program::new(what);
    for (file, records) in [("data/0.jsonl", 0..200), ("data/1.jsonl", 200..8_000)] {
        let line = |n| if bad(n) { format!("{{\"n\":{n}}}\n") } else { format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 50) };
        program.write(file, records.map(line).collect::<String>());
    }
    program.write(
        "orchestrator.toml",
        format!(
            "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"data/*.jsonl\"]\n[record]\nkey = \".k\"\n[kafka]\nbrokers = \
             \"embedded\"\ntopic = \"t\"\n[workers]\ncount = 1\n[shards]\nby_key = false\ntarget_size = \"{shard}\"\n\
             [limits]\nrate_records = 1_000\nmax_bad_records = 1_000_000\n"
        ),
    );
    program
}

fn throttled_no_more(program: &Program, running: Running) -> Finished {
    program.run(&["throttle", "none"], LIMIT);
    running.finish(LIMIT)
}

/// Letters that go to a file without a name are in no file, and their records in no topic.
fn letters_whose_folder_is_removed_in_mid_run_are_no_success(_: &Clusters) {
    let program = with_bad_records("letters-folder", "1MB", |n| n % 20 == 7);
    let running = program.start(&["run", "-o", "json"]);
    wait_until("letters are committed", LIMIT, || status(&program)["records"]["dead_lettered"].as_u64() > Some(50));
    std::fs::remove_dir_all(program.join(".shardlift/j/dead-letters")).expect("it is there");
    let report = throttled_no_more(&program, running).expect_code(74).json();
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("dead letters can't be written") && reasons.contains("removed or replaced"), "{report:#}");
    let told = status(&program);
    assert!(told["missing_dead_letters"].as_u64() > Some(50), "{told:#}");
    program.assert_nothing_left();
    // The embedded broker's job starts over.
    program.run(&["run", "--set", "limits.rate_records=\"none\""], LIMIT).expect_code(0);
    assert_eq!(status(&program)["missing_dead_letters"], 0);
}

/// No letter is written any more when they go: the end has to look.
fn letters_of_shards_that_are_done_are_missed_at_the_end(_: &Clusters) {
    let program = with_bad_records("letters-done", "1kB", |n| n < 100);
    let running = program.start(&["run", "-o", "json"]);
    wait_until("the first shard is on its way", LIMIT, || status(&program)["records"]["acknowledged"].as_u64() > Some(1_000));
    std::fs::remove_dir_all(program.join(".shardlift/j/dead-letters")).expect("it is there");
    let finished = throttled_no_more(&program, running).expect_code(74);
    let report = finished.json();
    assert_eq!(
        (&report["records"]["acknowledged"], &report["records"]["dead_lettered"]),
        (&7_900.into(), &100.into()),
        "{report:#}"
    );
    let first = report["reasons"][0].as_str().expect("a reason");
    assert!(first.contains("100 dead letters that were committed are gone from ") && first.contains(".jsonl ("), "{first}");
    assert!(finished.stderr.contains("put them back"), "{}", finished.stderr);
    let told = program.run(&["status"], LIMIT).expect_code(0).stdout;
    assert!(told.contains("(exit 74)") && told.contains("100 dead letters that were committed are gone"), "{told}");
    program.assert_nothing_left();
}

/// So that no batch engine meets one that `--help` does not explain.
fn the_help_names_every_exit_code(_: &Clusters) {
    let help = Program::new("help").run(&["--help"], LIMIT).expect_code(0).stdout;
    let codes = help.split_once("Exit codes:").expect("the help has them").1.replace(['\n', ',', '·'], " ");
    for code in ["0", "1", "2", "3", "4", "5", "6", "7", "74", "75", "130", "143"] {
        assert!(codes.split_whitespace().any(|word| word == code), "{code} is not in {help}");
    }
}

fn a_signal_ends_the_comparison_after_a_run(_: &Clusters) {
    let program = job("compare-signal", "");
    let running = program.start(&["run", "-o", "json"]);
    let helper = child(&running, "shardlift verif");
    signal(&helper, Signal::SIGSTOP);
    let begin = Instant::now();
    running.signal_group(Signal::SIGINT);
    let finished = running.finish(LIMIT).expect_code(75);
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_result(&finished, "stopped", 75);
    let status = program.run(&["status", "-o", "json"], LIMIT).expect_code(0);
    assert_eq!((status.json()["outcome"].as_str(), status.number("/exit_code")), (Some("stopped"), 75));
    program.assert_nothing_left();
}

fn a_comparison_that_breaks_still_gives_the_result(_: &Clusters) {
    // Killed from outside it has judged nothing; what it does to itself is a fault of the program.
    for (by, outcome, exit) in [(Signal::SIGKILL, "stopped", 75), (Signal::SIGABRT, "failed", 1)] {
        let program = job("compare-breaks", "");
        let running = program.start(&["run", "-o", "json"]);
        signal(&child(&running, "shardlift verif"), by);
        let finished = running.finish(LIMIT).expect_code(exit);
        assert_result(&finished, outcome, u64::try_from(exit).expect("not negative"));
        let told = finished.json()["reasons"].to_string();
        assert_eq!(told.contains("nothing was judged"), exit == 75, "{told}");
        let verify = program.run(&["verify"], LIMIT).expect_code(4);
        assert!(verify.stderr.contains("the run kept no comparison of them"), "{}", verify.stderr);
        program.assert_nothing_left();
    }
}

fn a_signal_before_anything_was_sent(_: &Clusters) {
    let program = job("early-signal", "");
    // Nothing listens there: preflight waits.
    let running = program.start(&["run", "-o", "json", "-b", "127.0.0.1:1"]);
    child(&running, "shardlift check");
    running.signal(Signal::SIGTERM);
    let begin = Instant::now();
    let finished = running.finish(LIMIT).expect_code(75);
    assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
    assert_eq!(finished.json()["exit_code"], 75, "nothing began");
    program.assert_nothing_left();
}

fn a_dead_embedded_broker_is_not_waited_for(_: &Clusters) {
    for single in [&[][..], &["--single"]] {
        let program = job("dead-broker", "[limits]\nrate_records = 1000\n[workers]\ndrain_timeout = \"2s\"");
        let running = program.start(&[&["run", "-o", "json"], single].concat());
        let broker = child(&running, "shardlift brok");
        // Before that it would be preflight that finds no broker.
        await_records(&program);
        signal(&broker, Signal::SIGKILL);
        let begin = Instant::now();
        let finished = running.finish(LIMIT).expect_code(75);
        assert!(begin.elapsed() < AT_ONCE, "{:?}", begin.elapsed());
        assert!(finished.json()["reasons"][0].as_str().is_some_and(|text| text.contains("broker died")), "{}", finished.stdout);
        program.assert_nothing_left();
    }
}

fn a_second_signal_ends_a_run_at_once(_: &Clusters) {
    let program = job("second-signal", "[limits]\nrate_records = 1000\n[workers]\nchunk = { interval = \"60s\" }");
    let running = program.start(&["run", "-o", "json", "-w", "2"]);
    // Stopped workers can't drain.
    let worker = child(&running, "shard 0");
    signal(&worker, Signal::SIGSTOP);
    running.signal_group(Signal::SIGINT);
    wait_until("the job stops", LIMIT, || status(&program)["standing"]["stopping"] == true);
    // Two signals of one kind within half a second are one.
    std::thread::sleep(Duration::from_millis(550));
    let begin = Instant::now();
    running.signal_group(Signal::SIGINT);
    let finished = running.finish(LIMIT).expect_code(130);
    assert!(begin.elapsed() < A_SECOND, "{:?}", begin.elapsed());
    assert_eq!((finished.json()["outcome"].as_str(), finished.number("/exit_code")), (Some("stopped"), 130));
    program.assert_nothing_left();
}

/// A run of eight workers below such a limit of the shell's.
fn limited(program: &Program, limit: &str) -> Finished {
    let mut command = program.other_command("sh");
    let binary = whole_program::program::binary().display().to_string();
    command.args(["-c", &format!("ulimit {limit} && exec \"$0\" run -o json -w 8"), &binary]);
    program.spawn(command).finish(LIMIT)
}

fn a_low_limit_of_descriptors_is_raised(_: &Clusters) {
    let program = job("limits", "");
    limited(&program, "-Sn 40").expect_code(0);
    program.assert_nothing_left();
}

fn too_few_descriptors_are_refused_at_once(_: &Clusters) {
    let program = job("few-descriptors", "");
    let refused = limited(&program, "-n 40").expect_code(4);
    // 64 of its own, and both pipes of 8 workers and of the early ones behind them.
    assert!(refused.stderr.contains("96 open descriptors are needed and 40 are allowed"), "{}", refused.stderr);
    assert!(refused.elapsed < A_SECOND, "{:?}", refused.elapsed);
    program.assert_nothing_left();
}

fn the_embedded_broker_never_replaces_real_state(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("t", 4, &[]);
    let program = job("real-state", "");
    program.run(&["run", "-b", kafka.bootstrap()], LIMIT).expect_code(0);
    let finished = program.run(&["run", "-o", "json"], LIMIT).expect_code(4);
    assert!(finished.stderr.contains("real cluster") && finished.stderr.contains("--restart"), "{}", finished.stderr);
    let still = program.run(&["status", "-o", "json"], LIMIT).expect_code(0);
    assert_eq!(still.number("/records/acknowledged"), RECORDS);
    // Neither does a restart that can't begin: no file, no broker.
    program.run(&["run", "--restart", "--yes", "--set", "source.jsonl.paths = [\"none\"]"], LIMIT).expect_code(7);
    program.run(&["run", "--restart"], LIMIT).expect_code(2);
    let still = program.run(&["status", "-o", "json"], LIMIT).expect_code(0);
    assert_eq!(still.number("/records/acknowledged"), RECORDS);
    program.run(&["run", "--restart", "--yes"], LIMIT).expect_code(0);
    program.assert_nothing_left();
}

/// A run, and `status` after it. A short run whose shards wait once each is given no advice about chunks.
fn the_report_says_where_dead_letters_are(_: &Clusters) {
    let program = job("set-aside", "");
    program.write("data.jsonl", "{\"k\":\"a\"}\n{\"n\":1}\n");
    let folder = program.join(".shardlift/j/dead-letters").display().to_string();
    let run = program.run(&["run"], LIMIT).expect_code(5);
    let status = program.run(&["status"], LIMIT);
    for text in [&run.stdout, &status.stdout] {
        assert!(text.contains(&folder), "where the record was set aside:\n{text}");
        assert!(!text.contains("larger chunks"), "no chunk could be larger:\n{text}");
    }
    std::fs::remove_dir_all(program.join(".shardlift")).expect("the state");
    program.write("data.jsonl", "{\"k\":\"a\"}\n");
    let run = program.run(&["run"], LIMIT).expect_code(0);
    assert!(!run.stdout.contains("dead-letters"), "nothing was set aside:\n{}", run.stdout);
    program.assert_nothing_left();
}
