//! The commands that steer a job (row 9 of steering), without a job, with one that runs, that is done, that was killed,
//! that stops: what each says, its exit code, and that nothing is left behind. Signals that steer, and `status --watch`
//! in a real terminal.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use whole_program::program::{Finished, Program, Running};
use whole_program::suite::{Clusters, Test};
use whole_program::terminal::{self, Terminal};
use whole_program::test;
use whole_program::waiting::{wait_until, wait_until_still};

/// Enough for anything here on a busy machine.
const LIMIT: Duration = Duration::from_secs(60);
/// Every command that steers.
const COMMANDS: [&[&str]; 6] =
    [&["scale", "4"], &["scale", "-1"], &["pause"], &["continue"], &["throttle", "1000"], &["throttle", "--bytes", "1MiB/s"]];
/// Little enough for the embedded broker.
const RECORDS: u64 = 60_000;
/// At this rate a run lasts as long as a test wants it to.
const SLOW: &str =
    "[limits]\nrate_records = 1_000\n[shards]\nby_key = false\ntarget_size = \"64KiB\"\n[workers]\nchunk = { records = 200 }\n";
const SOCKET: &str = ".shardlift/j/control.sock";

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Nothing, without_a_job),
    test!(Waits, Nothing, with_a_finished_job),
    test!(Waits, Nothing, with_a_killed_job),
    test!(Waits, Nothing, with_a_running_job),
    test!(Waits, Nothing, with_more_workers_than_there_are_partitions),
    test!(Waits, Nothing, with_a_job_that_stops),
    test!(Waits, Nothing, with_a_job_in_one_process),
    test!(Waits, Nothing, with_a_supervisor_that_stands_still),
    test!(Waits, Nothing, signals_steer),
    test!(Waits, Nothing, a_terminals_own_signals_do_not),
    test!(Waits, Nothing, a_job_is_watched_from_another_terminal),
];

/// A job on the embedded broker with more lines in its config.
fn job(what: &str, more: &str) -> Program {
    let program = Program::new(what);
    let lines: String = (0..RECORDS).map(|n| format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 1000)).collect();
    program.write("data.jsonl", lines);
    let config = "[job]\nname = \"j\"\n[source.jsonl]\npaths = [\"data.jsonl\"]\n[record]\nkey = \".k\"\n[kafka]\nbrokers = \
                  \"embedded\"\ntopic = \"t\"\n";
    program.write("orchestrator.toml", format!("{config}{more}\n"));
    program
}

fn ask(program: &Program, words: &[&str]) -> Finished {
    program.run(words, LIMIT)
}

/// Asks for JSON and gives the answer of a command that has to succeed.
fn answer(program: &Program, words: &[&str]) -> Value {
    let finished = ask(program, &[words, &["-o", "json"]].concat()).expect_code(0);
    let object = finished.json();
    assert_eq!(object["_command"], words[0]);
    assert_eq!(object["job"], "j");
    assert_eq!(finished.stderr, "", "an answer needs no other words");
    object
}

/// Starts a slow run and waits until it can be steered.
fn start(program: &Program, words: &[&str]) -> Running {
    let running = program.start(&[&["run", "-o", "json", "--progress", "plain"], words].concat());
    wait_until("the run can be steered", LIMIT, || program.join(SOCKET).exists());
    running
}

/// Lets the run end and gives its report.
fn let_it_end(program: &Program, running: Running) -> Value {
    answer(program, &["throttle", "none"]);
    let finished = running.finish(LIMIT).expect_code(0);
    let report = finished.json();
    assert_eq!(report["records"]["acknowledged"], RECORDS, "{report:#}");
    assert_eq!(report["verify"]["duplicates"], 0, "{report:#}");
    assert!(!program.join(SOCKET).exists(), "a run takes its socket away");
    program.assert_nothing_left();
    report
}

/// The names of all files of the job's state.
fn state_files(program: &Program) -> BTreeSet<String> {
    let Ok(entries) = fs::read_dir(program.join(".shardlift/j")) else { return BTreeSet::new() };
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

/// Every command says what is the case and exits with 4, in text and JSON alike, and leaves no trace.
fn assert_refused(program: &Program, parts: &[&str]) {
    let before = state_files(program);
    for words in COMMANDS {
        for output in [&["-o", "text"], &["-o", "json"]] {
            let finished = ask(program, &[words, output].concat()).expect_code(4);
            match output[1] {
                "json" => assert_eq!(finished.json()["exit_code"], 4, "{words:?}"),
                _ => assert_eq!(finished.stdout, "", "no job, no answer: {words:?}"),
            }
            for part in parts {
                assert!(finished.stderr.contains(part), "{words:?} says {part:?}: {}", finished.stderr);
            }
        }
    }
    assert_eq!(state_files(program), before, "nothing is left behind");
}

fn without_a_job(_: &Clusters) {
    let program = job("no-job", "");
    assert_refused(&program, &["job j has no state in", "it was never run", "next: run it with `shardlift run`"]);
    let watch = ask(&program, &["status", "--watch"]).expect_code(4);
    assert!(watch.stderr.contains("it was never run"), "{}", watch.stderr);
    assert!(!program.join(".shardlift").exists(), "no folder is made");
    for words in COMMANDS {
        let finished = ask(&program, &[words, &["-c", "nowhere.toml"]].concat()).expect_code(3);
        assert!(finished.stderr.contains("nowhere.toml"), "{}", finished.stderr);
    }
    let wrong: [&[&str]; 7] = [
        &["scale"],
        &["scale", "many"],
        &["scale", "2.5"],
        &["scale", "4294967296"],
        &["throttle"],
        &["throttle", "0"],
        &["throttle", "5KiB"],
    ];
    for words in wrong {
        assert_eq!(ask(&program, words).expect_code(2).stdout, "", "{words:?}");
    }
    program.assert_nothing_left();
}

fn with_a_finished_job(_: &Clusters) {
    let program = job("finished-job", "[limits]\nmax_bad_records = 1\n");
    ask(&program, &["run"]).expect_code(0);
    assert_refused(&program, &["job j does not run", "ago, and every shard is done"]);
    let watch = ask(&program, &["status", "--watch"]).expect_code(0);
    assert!(watch.stdout.starts_with("j: done (exit 0)"), "{}", watch.stdout);
    assert_eq!(watch.stderr, "job j does not run\n");
    // One that ended badly, too.
    program.write("data.jsonl", "{\"k\":\"a\"}\nbroken\nbroken too\n");
    ask(&program, &["run", "--restart", "--yes"]).expect_code(5);
    assert_refused(&program, &["job j does not run: it ended", "with exit code 5", "look at that before you run it again"]);
    program.assert_nothing_left();
}

fn with_a_killed_job(_: &Clusters) {
    let program = job("killed-job", SLOW);
    let running = start(&program, &["-w", "2"]);
    answer(&program, &["pause"]);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(LIMIT).code, 137);
    wait_until("its processes are gone", LIMIT, || program.processes().is_empty());
    assert!(program.join(SOCKET).exists(), "a killed run leaves its socket");
    assert_refused(&program, &["job j does not run: its last run was killed", "`shardlift run` continues"]);
    let status = ask(&program, &["status", "-o", "json"]).expect_code(0).json();
    assert_eq!(status["outcome"], "stopped");
    assert_eq!(status["steering"][0]["text"], "paused");
    assert_eq!(status["standing"], Value::Null);
    // The next run takes the name over. It begins as the config says, not paused.
    let running = program.start(&["run", "-o", "json", "-w", "2"]);
    let mut standing = Value::Null;
    wait_until("the next run can be steered", LIMIT, || {
        let finished = ask(&program, &["scale", "3", "-o", "json"]);
        if finished.code == 0 {
            standing = finished.json();
        }
        finished.code == 0
    });
    assert_eq!((&standing["asked"], &standing["paused"]), (&3.into(), &false.into()), "{standing:#}");
    let_it_end(&program, running);
}

fn with_a_running_job(_: &Clusters) {
    let program = job("running-job", SLOW);
    // The socket's address can't hold such a path.
    let deep = program.join("d".repeat(150));
    fs::create_dir(&deep).expect("a folder can be made");
    let state = format!("job.state_dir=\"{}\"", deep.display());
    let place = ["--set", state.as_str()];
    let running = program.start(&[&["run", "-o", "json", "-w", "2", "--progress", "plain"], &place[..]].concat());
    let socket = deep.join("j/control.sock");
    wait_until("the run can be steered", LIMIT, || socket.exists());
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).expect("it is there").permissions());
    assert_eq!(mode & 0o777, 0o600);
    let ask = |words: &[&str]| ask(&program, &[words, &place[..]].concat());
    let answer = |words: &[&str]| answer(&program, &[words, &place[..]].concat());

    let text = ask(&["scale", "4"]).expect_code(0).stdout;
    assert!(text.starts_with("4 workers asked, ") && text.contains("at most 1,000 records/s"), "{text}");
    wait_until("four workers run", LIMIT, || answer(&["scale", "4"])["running"] == 4);
    assert_eq!(answer(&["scale", "+2"])["asked"], 6);
    // One may be between two shards when it is asked to leave.
    wait_until("six workers run", LIMIT, || answer(&["scale", "6"])["running"] == 6);
    let fewer = answer(&["scale", "-3"]);
    assert_eq!((&fewer["asked"], &fewer["stopping"]), (&3.into(), &false.into()), "{fewer:#}");
    assert!(fewer["leaving"].as_u64() >= Some(1), "{fewer:#}");
    assert_eq!(answer(&["scale", "-100"])["asked"], 1, "one is always left");
    assert!(answer(&["scale", "auto"])["asked"].as_u64() >= Some(1));
    let throttled = answer(&["throttle", "1.5k/s", "--bytes", "1MiB/s"]);
    assert_eq!((&throttled["rate_records"], &throttled["rate_bytes"]), (&1500.0.into(), &1048576.0.into()));
    let throttled = answer(&["throttle", "--bytes", "none"]);
    assert_eq!((&throttled["rate_records"], &throttled["rate_bytes"]), (&1500.0.into(), &Value::Null));
    assert_eq!(answer(&["pause"])["paused"], true);
    assert_eq!(answer(&["continue"])["paused"], false);
    // What can't be is refused with a reason, and changes nothing.
    for (words, part) in [(["scale", "0"], "at least 1 worker"), (["scale", "100000"], "more than the")] {
        let finished = ask(&words).expect_code(4);
        assert!(finished.stdout.is_empty() && finished.stderr.contains(part), "{words:?}: {}", finished.stderr);
    }
    let status = ask(&["status", "-o", "json"]).expect_code(0).json();
    assert_eq!(status["outcome"], "running");
    assert_eq!(status["standing"]["rate_records"], 1500.0);
    assert_eq!(status["standing"]["paused"], false);
    let status = ask(&["status"]).expect_code(0).stdout;
    assert!(status.contains("at most 1,500 records/s"), "{status}");

    answer(&["throttle", "none"]);
    let finished = running.finish(LIMIT).expect_code(0);
    let report = finished.json();
    assert_eq!(report["records"]["acknowledged"], RECORDS);
    let turns = report["steering"].as_array().expect("a list");
    let texts: Vec<&str> = turns.iter().map(|turn| turn["text"].as_str().expect("a text")).collect();
    assert_eq!(&texts[..4], ["scaled 2 -> 4", "scaled 4 -> 6", "scaled 6 -> 3", "scaled 3 -> 1"]);
    assert_eq!(texts.last(), Some(&"throttle taken away"));
    assert!(turns.windows(2).all(|pair| pair[0]["unix_ms"].as_u64() <= pair[1]["unix_ms"].as_u64()));
    for text in texts {
        assert!(finished.stderr.contains(&format!(" info {text}\n")), "the log has {text:?}: {}", finished.stderr);
    }
    assert!(!socket.exists());
    program.assert_nothing_left();
}

fn with_more_workers_than_there_are_partitions(_: &Clusters) {
    let program = job("partitions-job", "[limits]\nrate_records = 1_000\n[workers]\nchunk = { records = 200 }\n");
    let running = start(&program, &["-w", "16"]);
    wait_until("a worker runs for each partition", LIMIT, || answer(&program, &["scale", "16"])["running"] == 16);
    assert_eq!(answer(&program, &["scale", "16"])["fewer_because"], Value::Null);
    let why = "order by key gives each of the 16 partitions left one worker";
    let told = format!("18 workers asked, 16 running, 0 shards waiting, at most 1,000 records/s; no more run: {why}");
    assert_eq!(ask(&program, &["scale", "18"]).expect_code(0).stdout.trim_end(), told);
    let status = ask(&program, &["status"]).expect_code(0).stdout;
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&status).contains(&told), "{status}");
    assert_eq!(ask(&program, &["status", "-o", "json"]).json()["standing"]["fewer_because"], why);
    running.signal(Signal::SIGINT);
    running.finish(LIMIT).expect_code(75);
    program.assert_nothing_left();
}

fn with_a_job_that_stops(_: &Clusters) {
    let program = job("stopping-job", &format!("{SLOW}drain_timeout = \"60s\"\n"));
    let running = start(&program, &["-w", "2"]);
    let committed = || answer(&program, &["scale", "2"])["records"]["read"].as_u64();
    wait_until("records have been committed", LIMIT, || committed() > Some(0));
    // A broker that stands still keeps the drain from ending.
    let broker = running.children().into_iter().find(|child| child.name.starts_with("shardlift brok")).expect("it is there");
    let broker = Pid::from_raw(broker.pid.cast_signed());
    kill(broker, Signal::SIGSTOP).expect("the broker runs");
    wait_until_still("both workers wait for the broker", Duration::from_secs(2), LIMIT, committed);
    running.signal(Signal::SIGTERM);
    wait_until("the job stops", LIMIT, || ask(&program, &["status", "-o", "json"]).json()["standing"]["stopping"] == true);
    for words in COMMANDS {
        let finished = ask(&program, words).expect_code(4);
        assert!(finished.stderr.contains("job j: the job is stopping"), "{words:?}: {}", finished.stderr);
    }
    kill(broker, Signal::SIGCONT).expect("the broker is stopped");
    running.finish(LIMIT).expect_code(75);
    assert_refused(&program, &["job j does not run: it was stopped", "with exit code 75 (stopped by signal 15)"]);
    program.assert_nothing_left();
}

fn with_a_job_in_one_process(_: &Clusters) {
    let program = job("single-job", SLOW);
    let running = start(&program, &["--single"]);
    for words in [["scale", "4"], ["scale", "auto"]] {
        let finished = ask(&program, &words).expect_code(4);
        assert!(finished.stderr.contains("runs in one process (--single)"), "{}", finished.stderr);
    }
    let read = |object: &Value| object["records"]["read"].as_u64().expect("a number");
    assert_eq!(answer(&program, &["pause"])["paused"], true);
    let still = || read(&answer(&program, &["pause"]));
    wait_until_still("nothing moves while it is paused", Duration::from_secs(1), Duration::from_secs(20), still);
    let paused = still();
    assert_eq!(answer(&program, &["continue"])["paused"], false);
    wait_until("it goes on", LIMIT, || read(&answer(&program, &["continue"])) > paused);
    assert_eq!(answer(&program, &["throttle", "500"])["rate_records"], 500.0);
    let_it_end(&program, running);
}

/// Whether the wish was taken is not known: the command says so, and does not wait for ever.
fn with_a_supervisor_that_stands_still(_: &Clusters) {
    let program = job("standing-still", SLOW);
    let running = start(&program, &["-w", "1"]);
    running.signal(Signal::SIGSTOP);
    let finished = ask(&program, &["scale", "2"]).expect_code(75);
    assert!(finished.stderr.contains("did not answer within 10 s"), "{}", finished.stderr);
    assert!(finished.elapsed < Duration::from_secs(20), "{:?}", finished.elapsed);
    running.signal(Signal::SIGCONT);
    wait_until("what was asked before is taken now", LIMIT, || answer(&program, &["pause"])["asked"] == 2);
    answer(&program, &["continue"]);
    let_it_end(&program, running);
}

fn signals_steer(_: &Clusters) {
    let program = job("signals", SLOW);
    let running = start(&program, &["-w", "2"]);
    let asked = |expected: u64| {
        let mut found = 0;
        wait_until("a signal is taken", LIMIT, || {
            let status = ask(&program, &["status", "-o", "json"]).expect_code(0).json();
            found = status["standing"]["asked"].as_u64().unwrap_or(0);
            found == expected
        });
    };
    running.signal(Signal::SIGTTIN);
    asked(3);
    running.signal(Signal::SIGTTIN);
    asked(4);
    running.signal(Signal::SIGTTOU);
    asked(3);
    // To the whole group, as some tools send them: the workers must not stop, nor end.
    for (signal, expected) in [(Signal::SIGTTIN, 4), (Signal::SIGTTOU, 3)] {
        running.signal_group(signal);
        asked(expected);
    }
    let lines =
        |stderr: String| stderr.lines().filter(|line| line.contains(": process ")).map(str::to_owned).collect::<Vec<_>>();
    // Asked again if one of them was between two shards.
    wait_until("each worker's state is printed", LIMIT, || {
        let before = lines(running.stderr()).len();
        running.signal_group(Signal::SIGUSR1);
        std::thread::sleep(Duration::from_millis(500));
        lines(running.stderr()).len() >= before + 3
    });
    for line in lines(running.stderr()) {
        for part in [" info shard ", " attempt ", ": process ", "record ", " records/s, flush ", " %, ", "peak memory "] {
            assert!(line.contains(part), "{part:?} in {line:?}");
        }
    }
    let stopped = running.children().into_iter().filter(|child| child.state == 'T').count();
    assert_eq!(stopped, 0);
    let report = let_it_end(&program, running);
    assert_eq!(report["workers"]["restarts"], 0);
    let texts: Vec<&Value> = report["steering"].as_array().expect("a list").iter().map(|turn| &turn["text"]).collect();
    assert_eq!(texts[..3], ["scaled 2 -> 3", "scaled 3 -> 4", "scaled 4 -> 3"]);
}

fn tmux_is_there() -> bool {
    let there = terminal::is_available();
    if !there {
        println!("skipped: needs tmux; scripts/setup --tests installs it");
        assert!(std::env::var_os("SHARDLIFT_REQUIRE_KAFKA").is_none_or(|value| value != "1"), "CI must not skip");
    }
    there
}

/// A job in the background of a terminal that stops a process that writes there, or reads: neither stops nor scales it.
fn a_terminals_own_signals_do_not(_: &Clusters) {
    if !tmux_is_there() {
        return;
    }
    let program = job("tostop", SLOW);
    let line = "set -m; stty tostop; shardlift run -o json -w 2 --progress json > result & wait $!";
    let mut command = program.other_command("bash");
    let path = program.shell("true");
    let path = path.get_envs().find(|(name, _)| *name == "PATH").and_then(|(_, value)| value).expect("it sets the path");
    command.args(["-c", line]).env("PATH", path);
    let terminal = Terminal::start(&command, 100, 30);
    wait_until("the run can be steered", LIMIT, || program.join(SOCKET).exists());
    wait_until("it writes to its terminal", LIMIT, || terminal.screen().contains("\"_event\":\"progress\""));
    let status = ask(&program, &["status", "-o", "json"]).expect_code(0).json();
    assert_eq!(status["standing"]["asked"], 2);
    assert_eq!(status["steering"], serde_json::json!([]));
    answer(&program, &["throttle", "none"]);
    assert_eq!(terminal.exit_code(LIMIT), 0, "{}", terminal.screen());
    drop(terminal); // with its shell
    program.assert_nothing_left();
}

fn a_job_is_watched_from_another_terminal(_: &Clusters) {
    if !tmux_is_there() {
        return;
    }
    let program = job("watched", SLOW);
    let running = start(&program, &["-w", "2"]);
    let watch = program.shell("exec shardlift status --watch");
    let terminal = Terminal::start(&watch, 100, 30);
    let shows = |terminal: &Terminal, part: &str| wait_until(part, LIMIT, || terminal.screen().contains(part));
    shows(&terminal, "shard 0000");
    answer(&program, &["scale", "4"]);
    shows(&terminal, "info scaled 2 -> 4");
    shows(&terminal, "  scaled 2 -> 4 at ");
    answer(&program, &["pause"]);
    shows(&terminal, "░ paused");
    answer(&program, &["continue"]);
    terminal.press("C-c");
    assert_eq!(terminal.exit_code(LIMIT), 130);
    // The terminal draws what it was sent after the program has ended.
    wait_until("the bars are taken away", LIMIT, || {
        let screen = terminal.screen();
        !screen.contains('█') && !screen.contains('░')
    });
    drop(terminal);
    // The job goes on, and a second watcher sees its end. One that is stopped meanwhile comes back.
    let second = Terminal::start(&program.shell("exec shardlift status --watch"), 100, 50);
    shows(&second, "shard 000");
    let events = program.start(&["status", "--watch", "--progress", "json", "-o", "json"]);
    wait_until("events are printed", LIMIT, || events.stderr().contains("\"_event\":\"progress\""));
    let report = let_it_end_while_watched(&program, running);
    assert_eq!(second.exit_code(LIMIT), 0);
    shows(&second, "turned while it ran");
    drop(second); // with its shell
    let watched = events.finish(LIMIT).expect_code(0).json();
    assert_eq!(watched["outcome"], "done");
    assert_eq!(watched["records"], report["records"]);
    program.assert_nothing_left();
}

fn let_it_end_while_watched(program: &Program, running: Running) -> Value {
    answer(program, &["throttle", "none"]);
    running.finish(LIMIT).expect_code(0).json()
}
