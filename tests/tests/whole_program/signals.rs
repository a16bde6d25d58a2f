//! Signals (row 4): the first drains and exits with 75, running again finishes without a duplicate, the second stops at
//! once; to the process, to its group, and from a real terminal.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use whole_program::faults::{self, attempts};
use whole_program::kafka::Kafka;
use whole_program::multiset::{Difference, Multiset};
use whole_program::program::{Finished, Running};
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::terminal::Terminal;
use whole_program::test;
use whole_program::waiting::{wait_until, wait_until_still};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, sigint_to_the_group_drains),
    test!(Waits, Kafka, sigterm_to_the_supervisor_drains),
    test!(Waits, Kafka, sigint_to_a_single_process_drains),
    test!(Waits, Kafka, ctrl_c_in_a_terminal_drains),
    test!(Light, Kafka, a_second_signal_stops_at_once),
    test!(Waits, Kafka, a_stop_while_the_limit_of_bad_records_is_passed_ends_with_the_limit),
];

/// `drain_timeout` of the tests.
const DRAIN: Duration = Duration::from_secs(10);
/// For the rest of a job, which is not stopped any more.
const NO_LIMIT: [&str; 2] = ["--set", "limits.rate_records=\"none\""];
/// About 40 s of work, so that a run is in its middle when it is stopped.
const LINES: u64 = 160_000;
/// What the first signal finds open or not yet recorded at most: two chunks of four workers.
const TWO_CHUNKS: u64 = 4 * 2 * 1_000;

fn scene<'a>(kafka: &'a Kafka, name: &str) -> (Scene<'a>, Multiset) {
    let scene = Scene::new(kafka, name);
    // The number of workers comes with -w.
    scene.configure(&faults::slow_keys(&[("record.key", "\".customer_id\""), ("workers.drain_timeout", "\"10s\"")]));
    let source = scene.orders(6, LINES);
    (scene, source)
}

/// Waits until records have been sent, far from the end.
fn await_middle(scene: &Scene) {
    wait_until("workers have committed", faults::patience(), || {
        scene.status().is_some_and(|status| attempts(&status).iter().any(|attempt| attempt.committed > 0))
    });
}

fn sigint_to_the_group_drains(clusters: &Clusters) {
    let (scene, source) = scene(clusters.one(), "sigint");
    drain(&scene, &["-w", "4"], &|running| running.signal_group(Signal::SIGINT));
    finish_elsewhere(&scene, &source, &["-w", "2"]);
}

fn sigterm_to_the_supervisor_drains(clusters: &Clusters) {
    let (scene, source) = scene(clusters.one(), "sigterm");
    // As `timeout -s TERM` does it, which is one stop.
    drain(&scene, &["-w", "2"], &|running| {
        running.signal(Signal::SIGTERM);
        std::thread::sleep(Duration::from_millis(30));
        running.signal_group(Signal::SIGTERM);
    });
    // The state belongs to the job, not to the number of processes: one process can finish what several began.
    finish_elsewhere(&scene, &source, &["--single"]);
}

fn sigint_to_a_single_process_drains(clusters: &Clusters) {
    let (scene, source) = scene(clusters.one(), "sigint-single");
    drain(&scene, &["--single"], &|running| running.signal_group(Signal::SIGINT));
    finish_elsewhere(&scene, &source, &["-w", "3"]);
}

fn drain(scene: &Scene, words: &[&str], stop: &dyn Fn(&Running)) {
    let running = scene.start(words);
    await_middle(scene);
    let asked = Instant::now();
    stop(&running);
    let finished = running.finish(DRAIN + Duration::from_secs(5));
    assert!(asked.elapsed() <= DRAIN, "the drain took {:?}", asked.elapsed());
    assert_stopped(scene, finished);
}

fn assert_stopped(scene: &Scene, finished: Finished) {
    let report = finished.expect_code(75).json();
    assert_eq!((&report["outcome"], &report["exit_code"]), (&Value::from("stopped"), &Value::from(75)));
    assert_balances(&report);
    assert_eq!(report["records"]["resent"], 0, "a drain loses no work: {report:#}");
    scene.program.assert_nothing_left();
    assert_eq!(scene.status().expect("there is a state")["outcome"], "stopped");
}

/// The supervisor stands still while its worker sets aside one record more than may be; when it goes on, both that and
/// the signal wait for it.
fn a_stop_while_the_limit_of_bad_records_is_passed_ends_with_the_limit(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "stop-and-limit");
    scene.configure(&[
        ("record.key", "\".k\""),
        ("workers.count", "1"),
        ("workers.chunk", "{ interval = \"60s\" }"),
        ("limits.rate_records", "5_000"),
    ]);
    // The bad record comes after two seconds, and as many follow.
    let line = |number: u64| if number == 10_000 { "{}\n".to_owned() } else { format!("{{\"k\":{number}}}\n") };
    scene.program.write("data/events.jsonl", (0..20_000).map(line).collect::<String>());
    let running = scene.start(&[]);
    let worker = || running.children().into_iter().find(|child| child.name.contains("00000"));
    wait_until("a worker runs", faults::patience(), || worker().is_some());
    running.signal(Signal::SIGSTOP);
    wait_until("the worker has ended", faults::patience(), || worker().is_none_or(|worker| worker.state == 'Z'));
    running.signal(Signal::SIGTERM);
    running.signal(Signal::SIGCONT);
    let report = running.finish(faults::patience()).expect_code(5).json();
    assert_balances(&report);
    assert_eq!(
        (&report["outcome"], &report["records"]["dead_lettered"]),
        (&Value::from("failed"), &Value::from(1)),
        "{report:#}"
    );
    let reason = report["reasons"][0].as_str().expect("it says why");
    assert!(reason.contains("limits.max_bad_records = 0"), "{report:#}");
    assert_eq!(report["records"]["read"], 10_001, "what was taken before is committed: {report:#}");
    scene.program.assert_nothing_left();
}

/// Runs the rest; the topic then has every record once.
fn finish_elsewhere(scene: &Scene, source: &Multiset, words: &[&str]) {
    let before = scene.status().expect("there is a state");
    let sent = before["records"]["acknowledged"].as_u64().expect("a number");
    assert!(0 < sent && sent < source.len(), "stopped in the middle: {before:#}");
    let report = scene.run(&[words, &NO_LIMIT].concat()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len());
    faults::assert_no_shard_was_repeated(&report);
    assert_eq!(scene.judge_and_verify(source), Difference::default());
    scene.program.assert_nothing_left();
}

/// A broker that stands still keeps the drain from ending; only the second signal can.
fn a_second_signal_stops_at_once(clusters: &Clusters) {
    let kafka = clusters.outage();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let (scene, source) = scene(&kafka, &format!("second-{code}"));
        let running = scene.start(&["-w", "4"]);
        await_middle(&scene);
        let broker = Pid::from_raw(scene.kafka.pid(1).cast_signed());
        kill(broker, Signal::SIGSTOP).expect("the broker runs");
        // Each worker then has a chunk that can't be delivered; without one there would be nothing to drain.
        let still = Duration::from_millis(2500);
        wait_until_still("every worker waits for the broker", still, faults::patience(), || scene.acknowledged());
        running.signal_group(signal);
        let stops = || scene.status().is_some_and(|status| status["standing"]["stopping"] == true);
        wait_until("the first signal is taken", faults::patience(), stops);
        // Two signals of one kind within half a second are one.
        std::thread::sleep(Duration::from_millis(550));
        let mut running = running;
        let drains = running.is_running();
        let asked = Instant::now();
        if drains {
            running.signal_group(signal);
        }
        let finished = running.finish(Duration::from_secs(5));
        let took = asked.elapsed();
        kill(broker, Signal::SIGCONT).expect("the broker is stopped");
        assert!(drains, "the drain waits for delivery reports: {finished:?}");
        assert!(took <= Duration::from_secs(1), "the second signal took {took:?}");
        let finished = finished.expect_code(code);
        assert_eq!(finished.json()["exit_code"], code);
        scene.program.assert_nothing_left();
        let report = scene.run(&[&["-w", "2"][..], &NO_LIMIT].concat()).expect_code(0).json();
        assert_balances(&report);
        let difference = scene.judge_and_verify(&source);
        assert_eq!((difference.missing, difference.unexpected), (0, 0));
        assert!(difference.duplicates <= TWO_CHUNKS, "{difference:?}");
        scene.program.assert_nothing_left();
    }
}

fn ctrl_c_in_a_terminal_drains(clusters: &Clusters) {
    let (scene, source) = scene(clusters.one(), "ctrl-c");
    // The result goes to a file, the display to the terminal.
    let command = scene.program.shell("exec shardlift run -w 4 -o json > result");
    let terminal = Terminal::start(&command, 100, 30);
    await_middle(&scene);
    wait_until("bars are drawn in a terminal, and a line for each worker", faults::patience(), || {
        let screen = terminal.screen();
        (screen.contains('█') || screen.contains('░')) && screen.contains("shard 0000")
    });
    let asked = Instant::now();
    terminal.press("C-c");
    let code = terminal.exit_code(DRAIN);
    let elapsed = asked.elapsed();
    println!("ctrl-c: ended {:.1} s after Ctrl-C", elapsed.as_secs_f64());
    // The terminal draws what it was sent after the program has ended.
    wait_until("the bars are taken away", faults::patience(), || {
        let screen = terminal.screen();
        !screen.contains('█') && !screen.contains('░')
    });
    let stderr = terminal.screen();
    drop(terminal);
    let stdout = std::fs::read_to_string(scene.program.join("result")).expect("the shell made it");
    assert_stopped(&scene, Finished { code, stdout, stderr, elapsed });
    finish_elsewhere(&scene, &source, &["-w", "1"]);
}
