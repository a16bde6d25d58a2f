//! The file of results: a line of JSON for each trial, and what they add up to.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use whole_program::chaos::trial::Outcome;
use whole_program::root;

/// The file of results that is kept.
pub fn place() -> PathBuf {
    root().join("tests/chaos/results/trials.jsonl")
}

/// What the program is built from, so that a commit is not that of another one.
const BUILT_FROM: [&str; 3] = ["crates", "Cargo.toml", "Cargo.lock"];

/// What the program under test was built from: as it was said (`SHARDLIFT_COMMIT`), or the checkout's commit with
/// `-dirty` if the program's files differ from it. Another build (`SHARDLIFT_BIN`) can't be told by the checkout.
pub fn commit(said: Option<&str>, other_build: bool, git: impl Fn(&[&str]) -> Option<String>) -> Result<String, String> {
    if let Some(said) = said.map(str::trim).filter(|said| !said.is_empty()) {
        return Ok(said.to_owned());
    }
    if other_build {
        return Err("SHARDLIFT_BIN is a build of its own: say its commit with SHARDLIFT_COMMIT=…".to_owned());
    }
    let ask = |words: &[&str]| git(words).ok_or("git can't say the commit here: say it with SHARDLIFT_COMMIT=…".to_owned());
    let commit = ask(&["rev-parse", "--short", "HEAD"])?;
    let changed = ask(&[&["status", "--porcelain", "--"][..], &BUILT_FROM].concat())?;
    Ok(format!("{}{}", commit.trim(), if changed.trim().is_empty() { "" } else { "-dirty" }))
}

/// What git prints in the checkout; `None` if it fails.
pub fn git(words: &[&str]) -> Option<String> {
    let output = Command::new("git").args(words).current_dir(root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
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
