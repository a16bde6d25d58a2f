//! Thousands of small files, which share blocks: each record, each place of a dead letter and each commit is as exact
//! as with large ones, whatever is killed or changed.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use whole_program::faults::{self, patience};
use whole_program::multiset::Multiset;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, killed_workers_of_small_files_lose_nothing_and_name_each_place),
    test!(Waits, Kafka, a_small_file_that_changed_in_mid_run_is_named_and_the_others_are_sent),
];

const FILES: usize = 2000;
const LINES: usize = 8;
/// Rows of a chunk.
const CHUNK: u64 = 500;

/// What is in the files.
struct SmallFiles {
    records: Multiset,
    /// File and place of each line without the key.
    bad: BTreeSet<(String, u64)>,
}

/// Writes the files: some without a last line end, some with `\r\n` and blank lines, some with a byte order mark, some
/// empty, some packed, and lines without the key in some.
fn dataset(scene: &Scene<'_>) -> SmallFiles {
    let (mut records, mut bad, mut packed) = (Multiset::new(), BTreeSet::new(), Vec::new());
    for file in 0..FILES {
        let name = format!("data/f-{file:04}.jsonl");
        let end = if file % 3 == 1 { "\r\n" } else { "\n" };
        let mut text = String::from(if file % 7 == 2 { "\u{feff}" } else { "" });
        for line in 0..if file % 11 == 5 { 0 } else { LINES } {
            if file % 50 == 13 && line == 5 {
                let packed = if file % 10 == 3 { ".gz" } else { "" };
                let path = scene.program.join(&name).to_str().expect("text").to_owned() + packed;
                bad.insert((path, text.len() as u64));
                text += &format!("{{\"n\":{line}}}{end}");
                continue;
            }
            let record = format!("{{\"n\":{line},\"k\":\"f-{file}\"}}");
            records.add(record.as_bytes());
            text += &(record + end);
            if file % 3 == 1 && line == 2 {
                text += " \r\n\r\n";
            }
        }
        if file % 4 == 0 {
            text.truncate(text.trim_end().len());
        }
        let path = scene.program.write(&name, text);
        if file % 10 == 3 {
            packed.push(path);
        }
    }
    assert!(Command::new("gzip").args(&packed).status().expect("gzip can be started").success());
    SmallFiles { records, bad }
}

fn keys<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    let chunk: &str = "{ records = 500, interval = \"60s\" }";
    let mut keys = vec![
        ("record.key", "\".k\""),
        ("shards.by_key", "false"),
        ("limits.max_bad_records", "1000"),
        ("workers.count", "2"),
        ("workers.chunk", chunk),
        ("limits.rate_records", "5_000"),
    ];
    keys.extend(more);
    keys
}

fn killed_workers_of_small_files_lose_nothing_and_name_each_place(clusters: &Clusters) {
    const KILLS: u64 = 3;
    let scene = Scene::new(clusters.one(), "small-files");
    scene.configure(&keys(&[]));
    let SmallFiles { records, bad } = dataset(&scene);
    let running = scene.start(&[]);
    scene.await_records();
    faults::kill_workers(&scene, &running, KILLS);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["workers"]["restarts"], KILLS);
    assert_eq!(report["records"]["acknowledged"], records.len(), "{report:#}");
    assert_eq!(report["records"]["dead_lettered"], bad.len() as u64, "{report:#}");
    let (difference, _) = scene.judge(&records);
    let (verdict, _) = scene.verify();
    assert_eq!((verdict.missing, verdict.altered, verdict.duplicates), (0, 0, difference.duplicates));
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    assert!(difference.duplicates <= CHUNK * KILLS, "{difference:?} after {KILLS} kills");
    faults::assert_told(&report, difference.duplicates);
    let canonical = |path: &str| PathBuf::from(path).canonicalize().expect("it is there");
    let told: BTreeSet<_> = scene
        .dead_letters()
        .iter()
        .map(|letter| (canonical(letter["path"].as_str().expect("a path")), letter["start"].as_u64().expect("a place")))
        .collect();
    let expected: BTreeSet<_> = bad.iter().map(|(path, start)| (canonical(path), *start)).collect();
    assert_eq!(told, expected);
    // Chunks are as large as they may be: neither a file nor a block ends one.
    let chunks = report["attempts"].as_array().map_or(0, |attempts| attempts.iter().map(flushes).sum::<u64>());
    let rows = report["records"]["read"].as_u64().expect("a count");
    assert!(chunks <= rows / CHUNK + 2 * (KILLS + 4), "{chunks} chunks for {rows} rows");
    scene.program.assert_nothing_left();
}

/// How often an attempt waited for all reports.
fn flushes(attempt: &serde_json::Value) -> u64 {
    attempt["flush"]["count"].as_u64().unwrap_or_else(|| panic!("no flushes in {attempt:#}"))
}

fn a_small_file_that_changed_in_mid_run_is_named_and_the_others_are_sent(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "small-files-changed");
    scene.configure(&keys(&[]));
    let SmallFiles { records, bad } = dataset(&scene);
    let running = scene.start(&[]);
    scene.await_records();
    // Near the end of the last shard, so that it is read after it changed.
    let path = scene.program.join("data/f-1990.jsonl");
    let text = std::fs::read_to_string(&path).expect("it is there");
    std::fs::write(&path, text.replace("\"n\":7", "\"n\":8")).expect("it can be written");
    let finished = running.finish(patience()).expect_code(7);
    let report = finished.json();
    let named = format!("{}: was modified or replaced since the plan", path.canonicalize().expect("it is there").display());
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains(&named), "{reasons}");
    let sent = report["records"]["acknowledged"].as_u64().expect("a count");
    assert_eq!(sent, records.len() - LINES as u64, "all but those of the file: {report:#}");
    assert_eq!(report["records"]["dead_lettered"], bad.len() as u64);
    scene.program.assert_nothing_left();
}
