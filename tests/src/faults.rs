//! What the fault tests share: how many faults, how long a run lasts, and whom to kill.
//!
//! Short by default (for every change), full through `scripts/fault-tests`. A kill counts only if its worker had
//! committed a chunk and had more to do.

use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::program::Running;
use crate::random::Random;
use crate::scene::Scene;
use crate::waiting::wait_until;

/// Records a second of a run with faults, all workers together.
pub const RATE: u64 = 20_000;
/// Workers of a run with faults.
pub const WORKERS: u64 = 4;
/// Records of a chunk.
pub const CHUNK: u64 = 10_000;

/// How many kills a test makes: `SHARDLIFT_TEST_KILLS`, default 3.
pub fn kills() -> u64 {
    number("SHARDLIFT_TEST_KILLS", 3)
}

/// How long a run would last without a fault: `SHARDLIFT_TEST_RUN_S`, default 12 s.
pub fn run_time() -> Duration {
    Duration::from_secs(number("SHARDLIFT_TEST_RUN_S", 12))
}

/// How long a broker stays away: `SHARDLIFT_TEST_OUTAGE_S`, default 3 s; starting it again comes on top.
pub fn outage() -> Duration {
    Duration::from_secs(number("SHARDLIFT_TEST_OUTAGE_S", 3))
}

/// The longest a run with faults may take.
pub fn patience() -> Duration {
    run_time() * 4 + outage() + Duration::from_secs(120)
}

/// A number from a variable of the environment.
pub fn number(variable: &str, default: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable} is a number, not {text:?}")),
        Err(_) => default,
    }
}

/// Lines of a dataset whose run lasts `run_time()`.
pub fn lines() -> u64 {
    run_time().as_secs() * RATE
}

/// Lines of a dataset whose run is not over before the last kill, however slow the machine is that finds whom to kill.
/// What is left after that is sent without a limit.
pub fn lines_for_kills() -> u64 {
    lines() + 20 * RATE
}

/// The config of a run with faults, with more keys.
pub fn keys<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut keys = vec![
        ("workers.count", "4"),
        ("workers.chunk", "{ records = 10_000, interval = \"60s\" }"),
        ("shards.target_size", "\"4MiB\""),
        ("limits.rate_records", "20_000"),
    ];
    keys.extend(more);
    keys
}

/// The config of a run that is disturbed once in its middle and goes on without a limit: its first chunk ends soon, and
/// what is left lasts longer than any machine needs to disturb it.
pub fn slow_keys<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let mut keys = vec![
        ("workers.chunk", "{ records = 1_000, interval = \"60s\" }"),
        ("shards.target_size", "\"4MiB\""),
        ("limits.rate_records", "4_000"),
    ];
    keys.extend(more);
    keys
}

/// An attempt of a shard, as the report has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Its shard's number.
    pub shard: u64,
    /// Its number within the shard.
    pub number: u64,
    /// Its process; 0 before its first commit.
    pub pid: u32,
    /// How it ended, or `running`.
    pub outcome: String,
    /// Records that it committed.
    pub committed: u64,
}

/// The attempts of a report.
pub fn attempts(report: &Value) -> Vec<Attempt> {
    let list = report["attempts"].as_array().unwrap_or_else(|| panic!("no attempts in {report:#}"));
    let number = |attempt: &Value, name: &str| attempt[name].as_u64().unwrap_or_else(|| panic!("no {name} in {attempt:#}"));
    let parse = |attempt: &Value| Attempt {
        shard: number(attempt, "shard"),
        number: number(attempt, "attempt"),
        pid: u32::try_from(attempt["pid"].as_u64().unwrap_or(0)).expect("process ids are below 2^22"),
        outcome: attempt["outcome"].as_str().expect("an attempt has an outcome").to_owned(),
        committed: number(attempt, "acknowledged"),
    };
    list.iter().map(parse).collect()
}

/// Running attempts that have committed a chunk and have more to do. `records` are the sizes of the shards that the
/// plan began with; those of shards that a split added are unknown.
pub fn worth_killing(report: &Value, records: &[u64]) -> Vec<Attempt> {
    let all = attempts(report);
    let committed =
        |shard: u64| all.iter().filter(|attempt| attempt.shard == shard).map(|attempt| attempt.committed).sum::<u64>();
    let worth = |attempt: &&Attempt| {
        attempt.outcome == "running"
            && attempt.pid > 0
            && attempt.committed > 0
            && records.get(attempt.shard as usize).is_none_or(|records| committed(attempt.shard) < *records)
    };
    all.iter().filter(worth).cloned().collect()
}

/// Waits until some attempt is worth killing and returns those; empty when the run ended first.
pub fn await_worth_killing(scene: &Scene, records: &[u64], limit: Duration) -> Vec<Attempt> {
    let start = Instant::now();
    while start.elapsed() < limit {
        if let Some(status) = scene.status() {
            let worth = worth_killing(&status, records);
            if !worth.is_empty() || (status["outcome"] != "running" && status["shards"]["done"] == status["shards"]["total"]) {
                return worth;
            }
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("no attempt was worth killing within {limit:?}: {:#}", scene.status().unwrap_or_default());
}

/// SIGKILL for one process; false if it has gone already.
pub fn kill_process(pid: u32) -> bool {
    assert!(pid > 1, "{pid} would be a group or every process");
    kill(Pid::from_raw(i32::try_from(pid).expect("process ids are below 2^22")), Signal::SIGKILL).is_ok()
}

/// Kills workers that have committed something, one after the other, and waits until each is noticed. How many there
/// were.
pub fn kill_workers(scene: &Scene, running: &Running, wanted: u64) -> u64 {
    let died = || {
        let all = attempts(&scene.status().expect("there is a state"));
        all.iter().filter(|attempt| attempt.outcome == "died").count() as u64
    };
    let before = died();
    let mut killed = 0;
    let mut random = Random::seeded(&scene.topic);
    while killed < wanted {
        let committed = scene.acknowledged();
        wait_until("something is committed", patience(), || scene.acknowledged() > committed);
        let children = running.children();
        let at_work: Vec<_> = children.iter().filter(|child| child.name.starts_with("shard ") && child.state != 'Z').collect();
        if at_work.is_empty() {
            continue;
        }
        kill_process(random.pick(&at_work).pid);
        wait_until("the supervisor notices a death", patience(), || died() == before + killed + 1);
        killed += 1;
    }
    killed
}

/// Shards with a finished attempt, with how many attempts they had.
pub fn finished_shards(report: &Value) -> std::collections::BTreeMap<u64, usize> {
    let all = attempts(report);
    let finished = all.iter().filter(|attempt| attempt.outcome == "finished");
    finished.map(|done| (done.shard, all.iter().filter(|attempt| attempt.shard == done.shard).count())).collect()
}

/// Panics if a shard was started again after it had finished.
pub fn assert_no_shard_was_repeated(report: &Value) {
    let all = attempts(report);
    for (place, attempt) in all.iter().enumerate().filter(|(_, attempt)| attempt.outcome == "finished") {
        let again = all[place + 1..].iter().find(|later| later.shard == attempt.shard);
        assert!(again.is_none(), "shard {} was started again after it had finished: {again:?}", attempt.shard);
    }
}

/// Panics if the report's "sent again at most" is not true: the topic holds that many duplicates.
pub fn assert_told(report: &Value, duplicates: u64) {
    let resent = report["records"]["resent"].as_u64().expect("a number");
    assert!(duplicates <= resent, "{duplicates} duplicates, and the report says {resent} at most");
    assert!(
        duplicates == resent || report["records"]["resent_exact"] == false,
        "{duplicates} duplicates, {resent} said to be exact"
    );
    let told = |attempt: &&Value| attempt["restart"] == true;
    let restarts = report["attempts"].as_array().map_or(0, |all| all.iter().filter(told).count() as u64);
    assert_eq!(report["workers"]["restarts"], restarts, "{report:#}");
}
