//! Workers that connect while the one before them in their slot ends: what happens to them costs nothing, and no more
//! workers send than were asked for.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use whole_program::faults::{attempts, kill_process, kills, patience};
use whole_program::multiset::{Difference, Multiset};
use whole_program::program::{Running, state_of};
use whole_program::scene::{Scene, assert_balances};
use whole_program::steering::workers;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

use crate::exactly_once::Once;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, one_that_is_killed_costs_nothing),
    test!(Waits, Kafka, exactly_once_holds_with_them),
    test!(Waits, Kafka, a_stop_ends_them_with_nothing_sent),
];

const WORKERS: u64 = 2;
/// Many shards, so that there are many of them.
const LINES: u64 = 40_000;
const KEYS: [(&str, &str); 4] = [
    ("workers.count", "2"),
    ("workers.chunk", "{ records = 10_000, interval = \"60s\" }"),
    ("workers.restart", "{ max_without_progress = 20, backoff = \"100ms..1s\" }"),
    ("shards.target_size", "\"150KiB\""),
];

/// The process of a worker that has no slot yet; `None`: the run is over.
fn early(running: &mut Running) -> Option<u32> {
    let start = Instant::now();
    while running.is_running() {
        assert!(start.elapsed() < patience(), "no worker came early");
        let children = running.children();
        let alive = children.iter().filter(|child| child.state != 'Z');
        let (mut next, mut sends) = (None, 0);
        for child in alive {
            match child.name.split(' ').next() {
                Some("next") => next = Some(child.pid),
                Some("shard") => sends += 1,
                _ => {}
            }
        }
        assert!(sends <= WORKERS, "{sends} workers have a slot: {children:?}");
        if next.is_some() {
            return next;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

/// Kills workers that have no slot yet, and as many that have one. How many there were of each. Those that have one
/// stand still meanwhile, so that no other gets it.
fn kill_some(running: &mut Running, with_others: bool) -> (u64, u64) {
    let (mut free, mut others) = (0, 0);
    while free < kills() {
        if early(running).is_none() {
            break;
        }
        let admitted = with_slot(running);
        admitted.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
        // Who had a slot all along, and who has none now.
        let (stopped, next) = (with_slot(running), early_now(running));
        if stopped.len() as u64 == WORKERS && stopped.iter().all(|pid| admitted.contains(pid)) {
            free += next.map_or(0, |pid| u64::from(kill_process(pid)));
            if let Some(pid) = stopped.first().filter(|_| with_others) {
                others += u64::from(kill_process(*pid));
            }
            // The supervisor has seen its end before a slot becomes free.
            next.iter().for_each(|pid| _ = wait_until("it is reaped", patience(), || state_of(*pid).is_none()));
        }
        admitted.iter().for_each(|pid| signal(*pid, Signal::SIGCONT));
    }
    assert!(free > 0, "the run was over before any was killed");
    (free, others)
}

fn with_slot(running: &Running) -> Vec<u32> {
    let children = running.children();
    children.iter().filter(|child| child.name.starts_with("shard ") && child.state != 'Z').map(|child| child.pid).collect()
}

fn early_now(running: &Running) -> Option<u32> {
    running.children().iter().find(|child| child.name.starts_with("next ") && child.state != 'Z').map(|child| child.pid)
}

/// It may have ended.
fn signal(pid: u32, signal: Signal) {
    let _ = kill(Pid::from_raw(i32::try_from(pid).expect("process ids are below 2^22")), signal);
}

/// The attempts that ended like this without having sent anything.
fn without_a_slot(report: &Value, outcome: &str) -> usize {
    let all = report["attempts"].as_array().expect("a list");
    let nothing = |attempt: &&Value| attempt["outcome"] == outcome && attempt["resent"] == 0 && attempt["resent_exact"] == true;
    all.iter().filter(nothing).count()
}

fn assert_done(report: &Value, source: &Multiset) {
    assert_balances(report);
    assert_eq!((&report["outcome"], &report["records"]["acknowledged"]), (&"done".into(), &source.len().into()), "{report:#}");
}

fn one_that_is_killed_costs_nothing(clusters: &Clusters) {
    let brokers = format!("[{:?}]", clusters.distant().distant());
    let scene = Scene::new(clusters.distant(), "early-killed");
    scene.configure(&[&KEYS[..], &[("kafka.brokers", brokers.as_str())]].concat());
    let source = scene.orders(71, LINES);
    let mut running = scene.start(&[]);
    let (killed, _) = kill_some(&mut running, false);
    let report = running.finish(patience()).expect_code(0).json();
    assert_done(&report, &source);
    let difference = scene.judge_and_verify(&source);
    assert_eq!(difference, Difference::default(), "none had sent anything");
    assert_eq!(without_a_slot(&report, "died") as u64, killed, "{report:#}");
    println!("early-killed: {killed} kills, 0 duplicates");
    scene.program.assert_nothing_left();
}

fn exactly_once_holds_with_them(clusters: &Clusters) {
    let brokers = format!("[{:?}]", clusters.distant().distant());
    let once = Once::new(clusters.distant(), "early-once", &[&KEYS[..], &[("kafka.brokers", brokers.as_str())]].concat());
    let source = once.scene.orders(72, LINES);
    let mut running = once.scene.start(&[]);
    let (free, others) = kill_some(&mut running, true);
    let report = running.finish(patience()).expect_code(0).json();
    assert_done(&report, &source);
    assert_eq!(once.judge(&source), Difference::default());
    println!("early-once: {free} early workers and {others} others killed, 0 missing, 0 duplicates of {}", source.len());
    once.scene.program.assert_nothing_left();
}

fn a_stop_ends_them_with_nothing_sent(clusters: &Clusters) {
    let brokers = format!("[{:?}]", clusters.distant().distant());
    let scene = Scene::new(clusters.distant(), "early-stopped");
    scene.configure(&[&KEYS[..], &[("kafka.brokers", brokers.as_str())]].concat());
    let source = scene.orders(73, LINES);
    for _ in 0..3 {
        let mut running = scene.start(&[]);
        if early(&mut running).is_none() {
            break;
        }
        assert!(workers(&running) <= WORKERS);
        running.signal(Signal::SIGTERM);
        running.finish(patience()).expect_code(75);
    }
    let report = scene.run(&[]).expect_code(0).json();
    assert_done(&report, &source);
    assert_eq!(scene.judge_and_verify(&source), Difference::default(), "a stop costs no duplicate");
    let died = attempts(&report).iter().filter(|attempt| attempt.outcome == "died").count();
    assert_eq!((died, &report["records"]["resent"]), (0, &0.into()), "{report:#}");
    println!("early-stopped: {} attempts ended before they had a slot", without_a_slot(&report, "drained"));
    scene.program.assert_nothing_left();
}
