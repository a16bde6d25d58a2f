//! The fuzz targets in a form that every compiler has: their corpus as it is, then random changes of it, for as long as
//! `SHARDLIFT_TEST_FUZZ_S` says for each target (short, if not set). `SHARDLIFT_TEST_SEED` repeats a run. It knows
//! nothing of coverage; libFuzzer does (`scripts/nightly fuzz`).

use std::collections::BTreeSet;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fuzzing::mutation::{Random, input};
use fuzzing::{LONGEST, TARGETS, Target};

const SHORT_S: f64 = 0.8;

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz")
}

fn number<T: std::str::FromStr>(variable: &str) -> Option<T> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{variable} is no number: {text:?}")))
}

fn corpus(target: &Target) -> Vec<Vec<u8>> {
    let folder = folder().join("corpus").join(target.name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// What it panics on is named, so that it can be kept.
fn holds(target: &Target, data: &[u8], seed: u64) {
    if catch_unwind(|| (target.run)(data)).is_err() {
        let hex: String = data.iter().map(|byte| format!("{byte:02x}")).collect();
        panic!("{} (SHARDLIFT_TEST_SEED={seed}) breaks a promise with these bytes: {hex}", target.name);
    }
}

#[test]
fn any_bytes_keep_the_promises() {
    let seconds = number("SHARDLIFT_TEST_FUZZ_S").unwrap_or(SHORT_S);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    let seed = number("SHARDLIFT_TEST_SEED").unwrap_or(now);
    for target in TARGETS {
        let corpus = corpus(target);
        corpus.iter().for_each(|data| holds(target, data, seed));
        let (mut random, mut inputs) = (Random(seed), 0);
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_secs_f64(seconds) {
            holds(target, &input(&corpus, &mut random), seed);
            inputs += 1;
        }
        println!("{}: {} of its corpus, {inputs} changed ones in {seconds} s, seed {seed}", target.name, corpus.len());
        assert!(inputs > 0);
    }
}

#[test]
fn each_target_has_a_small_corpus_and_a_form_for_libfuzzer() {
    let names: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    let manifest = std::fs::read_to_string(folder().join("Cargo.toml")).unwrap();
    for target in TARGETS {
        let corpus = corpus(target);
        assert!((1..=60).contains(&corpus.len()), "{}: {}", target.name, corpus.len());
        assert!(corpus.iter().all(|data| data.len() <= LONGEST), "{}", target.name);
        assert!(manifest.contains(&format!("path = \"fuzz_targets/{}.rs\"", target.name)), "{}", target.name);
        let code = std::fs::read_to_string(folder().join("fuzz_targets").join(format!("{}.rs", target.name))).unwrap();
        assert!(code.contains(&format!("fuzzing::run(\"{}\", data)", target.name)), "{}", target.name);
    }
    let folders = std::fs::read_dir(folder().join("corpus")).unwrap();
    let folders: BTreeSet<String> = folders.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(folders, names);
}
