//! One job under test: its topic, its config, its runs on one machine or several, and its workers.

use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::Delivery;
use super::network::Network;
use super::source::Source;
use crate::kafka::Kafka;
use crate::program::{Finished, Process, Program, Running};
use crate::scene::config;
use crate::timeline::ARRIVAL;

/// The topic of progress that all jobs of a cluster share.
pub const PROGRESS: &str = "shardlift-progress";
/// The longest that a run may take once nothing disturbs it any more.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// Partitions of a job's topic.
pub const PARTITIONS: u32 = 8;

/// Where trials run: a cluster with a network before it, and the dataset.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    /// The cluster.
    pub kafka: &'a Kafka,
    /// The network before it, for jobs that go through it.
    pub network: &'a Network,
    /// What is sent.
    pub source: &'a Source,
    /// How many brokers it has.
    pub count: u32,
}

/// A cluster of trials, with the network before it.
pub struct Cluster {
    /// Its brokers.
    pub kafka: Kafka,
    network: Network,
    count: u32,
}

impl Cluster {
    /// Starts one broker or three.
    pub fn start(count: u32) -> Self {
        let network = Network::listen(count as u16);
        let kafka = Kafka::start_behind_proxy(count, network.first_port());
        let behind = kafka.call(&["behind-proxy"]);
        network.connect_to(behind.lines().map(|line| line.parse().expect("scripts/kafka prints addresses")).collect());
        kafka.create_topic(PROGRESS, 16, &["cleanup.policy=compact"]);
        Cluster { kafka, network, count }
    }

    /// For trials with a dataset.
    pub fn place<'a>(&'a self, source: &'a Source) -> Place<'a> {
        Place { kafka: &self.kafka, network: &self.network, source, count: self.count }
    }
}

/// What a job is like.
#[derive(Clone, Debug)]
pub struct Shape {
    /// What is promised.
    pub delivery: Delivery,
    /// Whether records have keys.
    pub keyed: bool,
    /// Records of a chunk.
    pub chunk: u64,
    /// Whether its clients reach the brokers through the network.
    pub through_network: bool,
    /// Worker processes at the start.
    pub workers: u64,
    /// `shards.target_size`.
    pub shard: &'static str,
    /// `limits.rate_records`.
    pub rate: Option<u64>,
    /// More keys of the config, with their values.
    pub more: Vec<(&'static str, String)>,
}

/// A job.
pub struct Job<'a> {
    /// Where it runs.
    pub place: Place<'a>,
    /// Its name and its topic's.
    pub name: String,
    /// What it is like.
    pub shape: Shape,
    /// Its folder, and all of its processes.
    pub program: Program,
    /// When it began, in milliseconds since 1970.
    pub began_ms: i64,
}

impl<'a> Job<'a> {
    /// Makes its topic and writes its config. The name must be new in its cluster.
    pub fn new(place: Place<'a>, name: &str, shape: Shape) -> Self {
        place.kafka.create_topic(name, PARTITIONS, &[ARRIVAL]);
        let program = Program::new(name);
        let began_ms = crate::timeline::now_ms();
        let job = Job { place, name: name.to_owned(), shape, program, began_ms };
        job.configure(&job.place.source.path().display().to_string());
        job
    }

    /// Writes the config, with the dataset at a path.
    pub fn configure(&self, source: &str) {
        let near = self.place.kafka.bootstrap().to_owned();
        let brokers = if self.shape.through_network { self.place.network.bootstrap() } else { near };
        let brokers: Vec<String> = brokers.split(',').map(|broker| format!("\"{broker}\"")).collect();
        let mut keys: Vec<(&str, String)> = vec![
            ("kafka.brokers", format!("[{}]", brokers.join(", "))),
            ("source.jsonl.paths", format!("[\"{source}\"]")),
            ("workers.count", self.shape.workers.to_string()),
            ("workers.chunk", format!("{{ records = {}, interval = \"60s\" }}", self.shape.chunk)),
            // Random kills may hit one position more than five times; that quarantines a shard, and is another test's.
            ("workers.restart.max_without_progress", "1000".to_owned()),
            ("shards.target_size", format!("\"{}\"", self.shape.shard)),
        ];
        if self.shape.keyed {
            keys.push(("record.key", "\".customer_id\"".to_owned()));
        }
        if let Some(rate) = self.shape.rate {
            keys.push(("limits.rate_records", rate.to_string()));
        }
        if self.shape.delivery == Delivery::ExactlyOnce {
            keys.push(("kafka.delivery", "\"exactly-once\"".to_owned()));
            keys.push(("checkpoint.topic", format!("\"{PROGRESS}\"")));
            if self.place.count < 3 {
                keys.push(("checks.accept", "[\"unreplicated\"]".to_owned()));
            }
        }
        keys.extend(self.shape.more.iter().map(|(key, value)| (*key, value.clone())));
        let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
        self.program.write("orchestrator.toml", config(&self.name, "", &keys));
    }

    /// Starts a run on a machine: each number has a state directory of its own.
    pub fn start(&self, machine: u32) -> Running {
        self.start_with(machine, &[])
    }

    /// The same with more words.
    pub fn start_with(&self, machine: u32, words: &[&str]) -> Running {
        let state = state(machine);
        self.program.start(&[&["run", "-o", "json", "--set", &state], words].concat())
    }

    /// Takes the limits of a machine's run away, and waits for its end.
    pub fn let_it_end(&self, machine: u32, mut running: Running) -> Result<Value, String> {
        let words = ["throttle", "none", "--bytes", "none"];
        crate::waiting::wait_until("the limits are gone, or the run", PATIENCE, || {
            !running.is_running() || self.command(machine, &words).code == 0
        });
        self.finish(machine, Some(running))
    }

    /// Another machine gets what a machine has on its disk; nothing may run there meanwhile, or all of it stands still.
    /// Dead letters in files bind an exactly-once job to its state directory, so that an empty one is refused.
    pub fn copy_state(&self, from: u32, to: u32) {
        let path = |machine: u32| self.program.join(format!("state-{machine}"));
        let copied = std::process::Command::new("cp").arg("-a").arg(path(from)).arg(path(to)).status();
        assert!(copied.is_ok_and(|status| status.success()), "a state directory can be copied");
    }

    /// A command about a machine's state to its end.
    pub fn command(&self, machine: u32, words: &[&str]) -> Finished {
        let state = state(machine);
        self.program.run(&[words, &["--set", &state]].concat(), PATIENCE)
    }

    /// Runs again until a run ends with 0; its report. A run may say 75, which asks for just that.
    pub fn finish(&self, machine: u32, mut running: Option<Running>) -> Result<Value, String> {
        let begin = Instant::now();
        loop {
            let finished = running.take().unwrap_or_else(|| self.start(machine)).finish(PATIENCE);
            match finished.code {
                0 => return Ok(finished.json()),
                75 if begin.elapsed() < PATIENCE => {}
                code => return Err(format!("a run ended with {code}: {}", last_lines(&finished.stderr))),
            }
        }
    }

    /// The plan's shards: each one's number, and the bytes of the source that it has.
    pub fn shards(&self, machine: u32) -> Vec<(u64, u64, u64)> {
        let plan = self.command(machine, &["plan", "-o", "json"]);
        if plan.code != 0 {
            return Vec::new();
        }
        let plan = plan.json();
        let shards = plan["shards"].as_array().cloned().unwrap_or_default();
        let part = |shard: &Value| {
            let segment = &shard["segments"][0];
            Some((shard["id"].as_u64()?, segment["start"].as_u64()?, segment["end"].as_u64()?))
        };
        shards.iter().filter_map(part).collect()
    }
}

/// `--set` for a machine's state directory.
fn state(machine: u32) -> String {
    format!("job.state_dir=\"state-{machine}\"")
}

/// The workers of a run that live, with the numbers of their shards.
pub fn workers(running: &Running) -> Vec<(u64, Process)> {
    let children = running.children().into_iter().filter(|child| child.state != 'Z');
    children.filter_map(|child| Some((shard_of(&child)?, child))).collect()
}

/// The shard of a worker, by its name.
fn shard_of(process: &Process) -> Option<u64> {
    process.name.strip_prefix("shard ")?.split_whitespace().next()?.parse().ok()
}

/// Waits until a run has workers; false if it ended first.
pub fn await_workers(running: &mut Running, limit: Duration) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < limit && running.is_running() {
        if !workers(running).is_empty() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    false
}

/// Sends a signal to a process; false if it has gone.
pub fn send(pid: u32, signal: Signal) -> bool {
    assert!(pid > 1, "{pid} would be a group or every process");
    kill(Pid::from_raw(i32::try_from(pid).expect("process ids are below 2^22")), signal).is_ok()
}

/// Whether a process is there, a zombie or not.
pub fn is_there(pid: u32) -> bool {
    fs::metadata(format!("/proc/{pid}")).is_ok()
}

/// Milliseconds since 1970 of a moment that has just been.
pub fn unix_ms(moment: Instant) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from((now - moment.elapsed()).as_millis()).expect("it is not so late")
}

/// The end of what was said.
pub fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(8)..].join(" / ")
}
