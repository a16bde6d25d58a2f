//! Thousands of small files, which share blocks: each record, each place of a dead letter and each commit is as exact
//! as with large ones, whatever is killed or changed.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use whole_program::faults::{self, patience};
use whole_program::multiset::Multiset;
use whole_program::program::{Finished, Program};
use whole_program::scene::{Scene, assert_balances, folder};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, killed_workers_of_small_files_lose_nothing_and_name_each_place),
    test!(Waits, Kafka, a_small_file_that_changed_in_mid_run_is_named_and_the_others_are_sent),
    test!(Works, Nothing, a_file_takes_few_bytes_of_plan_state_and_status),
    test!(Works, Nothing, what_very_many_files_have_in_common_is_told_in_few_lines),
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

/// What a job of this number of files takes: of the plan for programs, on disk, and of status for people and programs.
fn sizes(files: u64) -> [(&'static str, u64); 4] {
    let program = folder("few-bytes-a-file", &[("record.key", "\".k\""), ("workers.count", "2")]);
    // Beside the two records that are there already.
    for file in 0..files {
        program.write(&format!("data/ev-{file:06}.jsonl"), format!("{{\"n\":{file},\"k\":\"c-{}\"}}\n", file % 97));
    }
    let told = |words: &[&str]| {
        let told = program.run(words, patience()).expect_code(0);
        // Of paths the test's own folder is no part.
        told.stdout.replace(&program.folder().canonicalize().expect("it is there").display().to_string(), "").len() as u64
    };
    let plan = told(&["plan", "-o", "json"]);
    let report = program.run(&["run", "-o", "json"], patience()).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], files + 2, "{report:#}");
    let sizes = [
        ("plan -o json", plan),
        ("state", bytes_below(&program.join(".shardlift"))),
        ("status", told(&["status"])),
        ("status -o json", told(&["status", "-o", "json"])),
    ];
    program.assert_nothing_left();
    sizes
}

fn bytes_below(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).expect("it can be read").map(|entry| entry.expect("it can be read"));
    let size = |path: PathBuf| if path.is_dir() { bytes_below(&path) } else { path.metadata().expect("it is there").len() };
    entries.map(|entry| size(entry.path())).sum()
}

fn a_file_takes_few_bytes_of_plan_state_and_status(_: &Clusters) {
    const FEW: u64 = 200;
    const MORE: u64 = 5_000;
    /// Bytes of each file.
    const MOST: f64 = 100.0;
    for ((what, few), (_, many)) in sizes(FEW).into_iter().zip(sizes(FEW + MORE)) {
        let each = (many as f64 - few as f64) / MORE as f64;
        println!("{what}: {each:.1} bytes a file");
        assert!(each <= MOST, "{what} takes {each:.1} bytes a file");
    }
}

/// Runs a command that must end with `code` and say these things in no more lines than a screen has.
fn says_in_few_lines(program: &Program, words: &[&str], code: i32, said: &[&str]) {
    in_few_lines(words, &program.run(words, patience()).expect_code(code), said);
}

fn in_few_lines(words: &[&str], finished: &Finished, said: &[&str]) {
    let all = format!("{}\n{}", finished.stdout, finished.stderr);
    assert!(all.lines().count() <= 80 && all.len() < 12_000, "{words:?} says too much:\n{all}");
    said.iter().for_each(|part| assert!(all.contains(part), "{words:?} does not say {part:?}:\n{all}"));
}

fn what_very_many_files_have_in_common_is_told_in_few_lines(_: &Clusters) {
    const MANY: usize = 1000;
    let named = |ending: &str, number: usize| format!("data/f-{number:04}.{ending}");
    let of_many = |ending: &str, keys: &[(&str, &str)], text: &str| {
        let program = folder("very-many-files", keys);
        (0..MANY).for_each(|number| drop(program.write(&named(ending, number), text)));
        program
    };

    let empty = of_many("jsonl", &[], "");
    let of_all = "1,000 of 1,001 files have no record, ";
    says_in_few_lines(&empty, &["plan"], 0, &["1,001 files (1,000 are empty, data/f-0000.jsonl for example)", of_all]);
    says_in_few_lines(&empty, &["run"], 0, &[of_all]);

    // Two workers read each of them, and each has the same to say.
    let cut_off = of_many("jsonl", &[("record.key", "\".k\""), ("workers.count", "2")], "{\"k\":1}\n{\"k\":2,\"x");
    says_in_few_lines(&cut_off, &["plan"], 0, &["997 more files end in a record that is not whole"]);
    says_in_few_lines(&cut_off, &["run"], 0, &["990 more such warnings"]);

    let truncated = of_many("jsonl", &[], "{\"k\":1}\n");
    let files: Vec<PathBuf> = (0..MANY).map(|number| truncated.join(named("jsonl", number))).collect();
    assert!(Command::new("gzip").args(&files).status().expect("gzip can be started").success());
    for number in 0..MANY {
        let path = truncated.join(named("jsonl.gz", number));
        let whole = std::fs::read(&path).expect("gzip made it");
        std::fs::write(&path, &whole[..whole.len() - 4]).expect("it can be written");
    }
    says_in_few_lines(&truncated, &["plan"], 0, &["997 more compressed files are not whole", "can't be read either"]);
    // Each cuts the shard once more, until it is too much.
    let run = truncated.run(&["run", "-o", "json", "--progress", "none"], patience()).expect_code(7);
    let (report, more) = (run.json(), "more files can't be read: the attempts in `shardlift report -o json` name them");
    let reasons = report["reasons"].as_array().expect("a list");
    assert!(reasons.len() < 10 && reasons.iter().any(|reason| reason == more), "{reasons:#?}");
    assert!(run.stderr.contains(more) && run.stderr.lines().count() < 30, "{}", run.stderr);

    let links = folder("very-many-files", &[]);
    std::fs::create_dir_all(links.join("data")).expect("it can be made");
    (0..MANY).for_each(|number| symlink("gone", links.join(named("jsonl", number))).expect("it can be made"));
    says_in_few_lines(&links, &["plan"], 7, &["which is not there", "997 more names are no files that can be read"]);

    let csv = [("source.csv.paths", "[\"data/*.csv\"]")];
    says_in_few_lines(&of_many("csv", &csv, "a,b\n"), &["plan"], 0, &["none of 1,000 files has a record, "]);
    says_in_few_lines(&of_many("csv", &csv, "a,a\n"), &["plan"], 7, &["997 more files do not begin as they must"]);

    closed_ones(&of_many("jsonl", &[("source.jsonl.paths", "[\"data/**/*.jsonl\"]")], "{}\n"), MANY);
}

/// Files and folders that the planning user may not read. Needs root, to run the program as another user.
fn closed_ones(program: &Program, many: usize) {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    let close = |path: PathBuf| std::fs::set_permissions(path, Permissions::from_mode(0o000)).expect("it is ours");
    let as_stranger = |said: &[&str]| {
        let words = ["plan"];
        let finished = program.spawn(program.command_of_a_stranger(&words)).finish(patience()).expect_code(7);
        in_few_lines(&words, &finished, said);
    };
    (0..many).for_each(|number| close(program.join(format!("data/f-{number:04}.jsonl"))));
    as_stranger(&["data/f-0000.jsonl: can't be read: Permission denied", "997 more files can't be read either"]);
    for number in 0..many {
        let folder = program.join(format!("data/d-{number:04}"));
        std::fs::create_dir(&folder).expect("it can be made");
        close(folder);
    }
    as_stranger(&["data/d-0000: can't be searched for ", "997 more folders can't be searched either"]);
}
