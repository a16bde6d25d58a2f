//! The file of results: a line of JSON for each trial, and what they add up to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use whole_program::chaos::trial::Outcome;
use whole_program::root;

/// The file of results that is kept.
pub fn place() -> PathBuf {
    root().join("tests/chaos/results/trials.jsonl")
}

/// Appends a trial.
pub fn append(path: &Path, outcome: &Outcome, commit: &str) {
    let line = json!({
        "kind": outcome.kind,
        "delivery": outcome.delivery.name(),
        "seed": outcome.seed,
        "brokers": outcome.brokers,
        "faults": outcome.faults,
        "records": outcome.records,
        "lost": outcome.lost,
        "twice": outcome.twice,
        "verify": outcome.verify,
        "readers": outcome.readers.len(),
        "figures": outcome.figures,
        "wrong": outcome.wrong,
        "seconds": (outcome.seconds * 10.0).round() / 10.0,
        "commit": commit,
        "time": jiff::Timestamp::now().round(jiff::Unit::Second).expect("a time of today").to_string(),
    });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).expect("the folder of results can be made");
    }
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file of results can be written");
    // In one piece: two campaigns may write at the same time.
    file.write_all(format!("{line}\n").as_bytes()).expect("the file of results can be written");
}

/// All trials of a file; none if it is not there.
pub fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line of results is JSON")).collect()
}

/// How many faults of a kind there were that took effect, and in how many trials.
pub fn faults(results: &[Value], kind: &str, delivery: &str) -> (u64, u64) {
    let of_kind = results.iter().filter(|line| line["kind"] == kind && line["delivery"] == delivery);
    of_kind.fold((0, 0), |(faults, trials), line| (faults + line["faults"].as_u64().unwrap_or(0), trials + 1))
}
