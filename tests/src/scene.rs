//! One job on real Kafka under test: a place to run in, a dataset, a topic, and the judge who compares the two.
//!
//! Responsible for: what every whole-program test needs. Not for: what a single test wants to show.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::dataset::Orders;
use crate::kafka::Kafka;
use crate::multiset::{Difference, Multiset};
use crate::program::{Finished, Program, Running};
use crate::topic::{self, Isolation};
use crate::waiting::wait_until;

/// Partitions of a test's topic, unless said.
pub const PARTITIONS: u32 = 8;

/// The longest a run without limits may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(180);

/// One job under test.
pub struct Scene<'a> {
    /// The cluster.
    pub kafka: &'a Kafka,
    /// Where the job runs.
    pub program: Program,
    /// Its topic; also the job's name.
    pub topic: String,
}

/// What `verify` said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// In the source, not in the topic.
    pub missing: u64,
    /// Surplus copies.
    pub duplicates: u64,
    /// One missing and one unexpected of the same key and partition, or without a key of the same value.
    pub altered: u64,
    /// In another partition than their key chooses.
    pub misplaced: u64,
    /// In the topic, not in the source.
    pub unexpected: u64,
}

impl Verdict {
    /// No difference.
    pub const SAME: Verdict = Verdict { missing: 0, duplicates: 0, altered: 0, misplaced: 0, unexpected: 0 };
}

impl<'a> Scene<'a> {
    /// A scene with a new topic of eight partitions.
    pub fn new(kafka: &'a Kafka, topic: &str) -> Self {
        Self::with_topic(kafka, topic, PARTITIONS, &[])
    }

    /// A scene with a new topic of `partitions` partitions and `key=value` configs. The topic goes with its cluster.
    pub fn with_topic(kafka: &'a Kafka, topic: &str, partitions: u32, configs: &[&str]) -> Self {
        kafka.create_topic(topic, partitions, configs);
        let program = Program::new(topic);
        std::fs::create_dir(program.join("data")).expect("a folder can be made in a new folder");
        Scene { kafka, program, topic: topic.to_owned() }
    }

    /// Writes the config: what every job needs, and these keys (dotted paths with their TOML values). The brokers are
    /// the cluster's own addresses unless `kafka.brokers` is among them.
    pub fn configure(&self, keys: &[(&str, &str)]) {
        self.program.write("orchestrator.toml", config(&self.topic, self.kafka.bootstrap(), keys));
    }

    /// Writes `lines` orders to `data/orders.jsonl` and returns what they are.
    pub fn orders(&self, seed: u64, lines: u64) -> Multiset {
        let path = self.program.join("data/orders.jsonl");
        let file = File::create(&path).unwrap_or_else(|error| panic!("can't create {}: {error}", path.display()));
        write_orders(BufWriter::with_capacity(1 << 20, file), seed, lines)
    }

    /// The same as one gzip file, `data/orders.jsonl.gz`.
    pub fn orders_gzip(&self, seed: u64, lines: u64) -> Multiset {
        let path = self.program.join("data/orders.jsonl.gz");
        let file = File::create(&path).unwrap_or_else(|error| panic!("can't create {}: {error}", path.display()));
        let mut gzip = Command::new("gzip").arg("-1").stdin(Stdio::piped()).stdout(file).spawn().expect("gzip can be started");
        let source = write_orders(BufWriter::new(gzip.stdin.take().expect("stdin is a pipe")), seed, lines);
        assert!(gzip.wait().expect("gzip can be waited for").success(), "gzip failed");
        source
    }

    /// `shardlift run -o json` with these words, to its end.
    pub fn run(&self, words: &[&str]) -> Finished {
        self.start(words).finish(PATIENCE)
    }

    /// Starts `shardlift run -o json` with these words.
    pub fn start(&self, words: &[&str]) -> Running {
        self.program.start(&[&["run", "-o", "json"], words].concat())
    }

    /// Waits until records have been committed.
    pub fn await_records(&self) {
        wait_until("records have been committed", PATIENCE, || self.acknowledged() > 0);
    }

    /// How many records are committed; 0 while there is no state yet.
    pub fn acknowledged(&self) -> u64 {
        self.status().and_then(|status| status["records"]["acknowledged"].as_u64()).unwrap_or(0)
    }

    /// Takes the limits of a running job away and waits for its end. A test that needs a run's middle gives the job a
    /// limit that no machine is too slow for, and does not wait for the rest of it.
    pub fn let_it_end(&self, mut running: Running) -> Finished {
        wait_until("the limits are gone, or the run", PATIENCE, || {
            !running.is_running() || self.program.run(&["throttle", "none", "--bytes", "none"], PATIENCE).code == 0
        });
        running.finish(PATIENCE)
    }

    /// `shardlift status -o json`; `None` while there is no state yet.
    pub fn status(&self) -> Option<Value> {
        let status = self.program.run(&["status", "-o", "json"], PATIENCE);
        (status.code == 0).then(|| status.json())
    }

    /// How the topic differs from `source`, by the independent reader, and how many records it has.
    pub fn judge(&self, source: &Multiset) -> (Difference, u64) {
        let values = topic::values(self.kafka.bootstrap(), &self.topic, Isolation::Uncommitted);
        (source.difference(&values), values.len())
    }

    /// The judge's difference, after a check that `verify` reports exactly the same and exits accordingly.
    pub fn judge_and_verify(&self, source: &Multiset) -> Difference {
        let values = topic::values(self.kafka.bootstrap(), &self.topic, Isolation::Uncommitted);
        self.verify_against(source, &values)
    }

    /// The same for values that the independent reader has read already.
    pub fn verify_against(&self, source: &Multiset, values: &Multiset) -> Difference {
        let difference = source.difference(values);
        let (verdict, verified) = self.verify();
        assert_eq!(verified.number("/source_records"), source.len(), "verify counts the source");
        assert_eq!(verified.number("/topic_records"), values.len(), "verify counts the topic");
        // The judge knows no keys: what verify calls altered is to the judge one missing and one unexpected value.
        let seen = Difference {
            missing: verdict.missing + verdict.altered,
            duplicates: verdict.duplicates,
            unexpected: verdict.unexpected + verdict.altered,
        };
        assert_eq!(seen, difference, "verify (left) and the independent reader (right)");
        difference
    }

    /// Runs `verify` and checks that its exit code fits what it says.
    pub fn verify(&self) -> (Verdict, Finished) {
        self.verify_with(&[])
    }

    /// The same with more words, such as `--limit`.
    pub fn verify_with(&self, words: &[&str]) -> (Verdict, Finished) {
        let finished = self.program.run(&[&["verify", "-o", "json"], words].concat(), PATIENCE);
        let number = |name: &str| finished.number(&format!("/{name}"));
        let verdict = Verdict {
            missing: number("missing"),
            duplicates: number("duplicates"),
            altered: number("altered"),
            misplaced: number("misplaced"),
            unexpected: number("unexpected"),
        };
        // Without headers what the source does not have may be another producer's.
        let judged = verdict.unexpected > 0 && finished.json()["compared"]["headers"] == true;
        let expected = if judged || (Verdict { unexpected: 0, ..verdict }) != Verdict::SAME { 6 } else { 0 };
        (verdict, finished.expect_code(expected))
    }

    /// All dead letters of the job, as the files have them.
    pub fn dead_letters(&self) -> Vec<Value> {
        dead_letters(&self.program.join(format!(".shardlift/{}/dead-letters", self.topic)))
    }

    /// How many lines each shard of the plan has; for plain files without blank lines.
    pub fn records_of_shards(&self) -> Vec<u64> {
        self.shards().into_iter().map(|(_, records)| records).collect()
    }

    /// The same in the order of the dataset: a shard that was split ends before the shards that this added.
    pub fn records_in_order(&self) -> Vec<u64> {
        let mut shards = self.shards();
        shards.sort_unstable();
        shards.into_iter().map(|(_, records)| records).collect()
    }

    /// Where each shard of the plan begins, and how many records it has.
    fn shards(&self) -> Vec<(u64, u64)> {
        let plan = self.program.run(&["plan", "-o", "json"], PATIENCE).expect_code(0).json();
        let file = std::fs::read(self.program.join("data/orders.jsonl")).expect("the dataset can be read");
        let shards = plan["shards"].as_array().expect("a plan has shards");
        let lines = |segment: &Value| {
            let place = |name: &str| segment[name].as_u64().unwrap_or_else(|| panic!("no {name} in {segment}")) as usize;
            file[place("start")..place("end")].iter().filter(|byte| **byte == b'\n').count() as u64
        };
        let segments = |shard: &Value| shard["segments"].as_array().expect("a list").clone();
        let start = |segments: &[Value]| segments[0]["start"].as_u64().expect("a segment has a start");
        shards.iter().map(segments).map(|all| (start(&all), all.iter().map(lines).sum())).collect()
    }
}

/// A config for a job of this name, and with a topic of this name if none is given, with more keys as dotted paths.
pub fn config(name: &str, bootstrap: &str, keys: &[(&str, &str)]) -> String {
    let brokers: Vec<String> = bootstrap.split(',').map(|broker| format!("\"{broker}\"")).collect();
    let mut text = format!("job.name = \"{name}\"\n");
    let given = |key: &str| keys.iter().any(|(path, _)| *path == key);
    if !given("kafka.topic") {
        text += &format!("kafka.topic = \"{name}\"\n");
    }
    if !given("kafka.brokers") {
        text += &format!("kafka.brokers = [{}]\n", brokers.join(", "));
    }
    if !keys.iter().any(|(path, _)| path.starts_with("source.") && path.ends_with(".paths")) {
        text += "source.jsonl.paths = [\"data/*.jsonl*\"]\n";
    }
    for (path, value) in keys {
        text += &format!("{path} = {value}\n");
    }
    text
}

/// A folder with a dataset of two records and a job called `tried` for the embedded broker, with more keys.
pub fn folder(what: &str, keys: &[(&str, &str)]) -> Program {
    let program = Program::new(what);
    program.write("data/1.jsonl", "{\"k\":\"a\"}\n{\"k\":\"b\"}\n");
    let keys = [&[("kafka.brokers", "\"embedded\"")], keys].concat();
    program.write("orchestrator.toml", config("tried", "", &keys));
    program
}

/// Runs a command that must end with `code`, print no result, and say all of `said`.
pub fn refused(program: &Program, words: &[&str], code: i32, said: &[&str]) -> Finished {
    let finished = program.run(words, PATIENCE);
    assert_eq!(finished.code, code, "{words:?}: {finished:?}");
    assert_eq!(finished.stdout, "", "{words:?} has no result");
    for part in said {
        assert!(finished.stderr.contains(part), "{words:?} does not say {part:?}:\n{}", finished.stderr);
    }
    program.assert_nothing_left();
    finished
}

/// The dead letters in a folder, ordered by file and line.
pub fn dead_letters(folder: &std::path::Path) -> Vec<Value> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    files.sort();
    let mut letters = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(&file).expect("dead letters are text");
        // Where letters were taken away there is a hole.
        let lines = text.lines().map(|line| line.trim_start_matches('\0'));
        letters.extend(lines.map(|line| serde_json::from_str::<Value>(line).expect("a dead letter is JSON")));
    }
    letters
}

/// Panics unless the report balances: `read = acknowledged + filtered + dead letters`, and it says so.
pub fn assert_balances(report: &Value) {
    let count = |name: &str| report["records"][name].as_u64().unwrap_or_else(|| panic!("no records.{name} in {report:#}"));
    assert_eq!(count("read"), count("acknowledged") + count("filtered") + count("dead_lettered"), "{report:#}");
    assert_eq!(report["balances"], true, "{report:#}");
}

fn write_orders(mut out: impl Write, seed: u64, lines: u64) -> Multiset {
    let mut orders = Orders::new(seed, lines, 0);
    let (mut line, mut source) = (Vec::new(), Multiset::new());
    for _ in 0..lines {
        line.clear();
        orders.next_line(&mut line);
        source.add(&line[..line.len() - 1]);
        out.write_all(&line).expect("the dataset can be written");
    }
    out.flush().expect("the dataset can be written");
    source
}
