//! What the tests of a running job's steering share: commands from another terminal, and how many workers there are.
//!
//! Short by default (for every change), full through `scripts/fault-tests`.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::faults::{self, number};
use crate::kafka::Kafka;
use crate::program::Running;
use crate::random::Random;
use crate::scene::{PARTITIONS, Scene, assert_balances};
use crate::timeline::{ARRIVAL, now_ms};

/// The longest that a command may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// How many commands a seeded test gives: `SHARDLIFT_TEST_COMMANDS`, default 30.
pub fn commands() -> u64 {
    number("SHARDLIFT_TEST_COMMANDS", 30)
}

/// How long a pause lasts: `SHARDLIFT_TEST_PAUSE_S`, default 12 s; more than twice the heartbeat timeout of its test.
pub fn pause() -> Duration {
    Duration::from_secs(number("SHARDLIFT_TEST_PAUSE_S", 12))
}

/// What a command said.
#[derive(Debug)]
pub struct Answer {
    /// Its JSON result.
    pub json: Value,
    /// When it was started, in milliseconds since 1970.
    pub asked_ms: i64,
    /// When it had ended.
    pub answered_ms: i64,
}

impl Answer {
    /// A number of the result.
    pub fn number(&self, name: &str) -> u64 {
        self.json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {:#}", self.json))
    }
}

impl Scene<'_> {
    /// Gives the running job a command from another process, such as `["scale", "8"]`; it has to be taken.
    pub fn steer(&self, words: &[&str]) -> Answer {
        let asked_ms = now_ms();
        let finished = self.program.run(&[words, &["-o", "json"]].concat(), PATIENCE).expect_code(0);
        Answer { json: finished.json(), asked_ms, answered_ms: now_ms() }
    }
}

/// A scene whose broker is a round trip away, with a flush after each record: its rate is set by the round trip. The
/// broker notes when records arrive. `keys` come on top.
pub fn distant<'a>(kafka: &'a Kafka, topic: &str, keys: &[(&str, &str)]) -> Scene<'a> {
    let scene = Scene::with_topic(kafka, topic, PARTITIONS, &[ARRIVAL]);
    let brokers = format!("[\"{}\"]", kafka.distant());
    scene.configure(&[&[("kafka.brokers", brokers.as_str()), ("workers.flush", "\"record\"")], keys].concat());
    scene
}

/// Stops a run of a distant scene and does the rest without the distance, which takes no time. Returns the stopped
/// run's report.
pub fn finish_nearby(scene: &Scene, running: Running) -> Value {
    running.signal(Signal::SIGTERM);
    let report = running.finish(faults::patience()).expect_code(75).json();
    scene.configure(&[]);
    let whole = scene.run(&[]).expect_code(0).json();
    assert_balances(&whole);
    assert_eq!(whole["outcome"], "done");
    report
}

/// The processes of a run that work on a shard, by their names.
pub fn workers(running: &Running) -> u64 {
    let children = running.children();
    children.iter().filter(|child| child.name.starts_with("shard ") && child.state != 'Z').count() as u64
}

/// A random command: scale, pause, continue or throttle.
pub fn random_command(random: &mut Random) -> Vec<String> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
    let number = |number: u64| number.to_string();
    match random.between(0, 12) {
        0 | 1 => words(&["scale", &number(random.between(1, 13))]),
        2 | 3 => words(&["scale", &format!("+{}", random.between(1, 5))]),
        4 | 5 => words(&["scale", &format!("-{}", random.between(1, 5))]),
        6 => words(&["scale", "auto"]),
        7 => words(&["pause"]),
        8 | 9 => words(&["continue"]),
        10 => words(&["throttle", &number(random.between(500, 10_000))]),
        _ => words(&["throttle", &number(10_000), "--bytes", &format!("{}KiB/s", random.between(100, 4000))]),
    }
}
