//! CSV with line ends in quotes, through kills, a split and a resume: the topic has each row's object, as the `csv`
//! crate reads it.
//!
//! Short by default; `scripts/fault-tests csv::` sends a million rows.

use std::fmt::Write as _;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use whole_program::faults::{self, kill_workers, number, patience};
use whole_program::multiset::Multiset;
use whole_program::program::Program;
use whole_program::random::Random;
use whole_program::scene::{PATIENCE, Scene, Verdict, assert_balances};
use whole_program::steering::{distant, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, rows_survive_kills_and_a_split),
    test!(Waits, Kafka, compressed_rows_arrive_and_bad_ones_are_letters),
    test!(Works, Nothing, init_writes_a_config_for_csv),
];

/// Records of a chunk nearby.
const CHUNK: u64 = 5_000;

/// How many rows are sent: `SHARDLIFT_TEST_CSV_ROWS`.
fn rows() -> u64 {
    number("SHARDLIFT_TEST_CSV_ROWS", 60_000)
}

const PATHS: (&str, &str) = ("source.csv.paths", "[\"data/*.csv*\"]");

fn rows_survive_kills_and_a_split(clusters: &Clusters) {
    // One shard, whose starts of rows are near enough to cut it for eight workers.
    let target = if rows() > 200_000 { "\"64MiB\"" } else { "\"4MiB\"" };
    let by_place = ("shards.by_key", "false");
    let plan = [PATHS, ("shards.target_size", target), by_place, ("record.key", "\".customer_id\"")];
    let slow = [&plan[..], &[("workers.count", "1"), ("workers.chunk", "{ records = 50 }")]].concat();
    let scene = distant(clusters.distant(), "csv", &slow);
    let file = write_rows(&scene.program, "data/rows.csv", 71, rows());
    let source = read_by_csv(&file);
    assert_eq!(source.len(), rows());

    let mut running = scene.start(&[]);
    scene.await_records();
    scene.steer(&["scale", "8"]);
    wait_until("eight work on the pieces", patience(), || workers(&running) == 8);
    let mut killed = kill_workers(&scene, &running, 2);
    let first_bound = 50 * killed + 2 * 50 * 8;
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("all processes are gone", patience(), || scene.program.processes().is_empty());

    // What is left goes without the distance, and is disturbed again.
    let chunk = format!("{{ records = {CHUNK}, interval = \"60s\" }}");
    let near = [("workers.count", "4"), ("workers.chunk", chunk.as_str()), ("limits.rate_records", "20_000")];
    scene.configure(&[&plan[..], &near].concat());
    running = scene.start(&[]);
    let before = killed;
    killed += kill_workers(&scene, &running, 2);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["outcome"], &report["records"]["acknowledged"]), (&json!("done"), &json!(rows())), "{report:#}");
    assert!(report["shards"]["total"].as_u64() >= Some(8), "it was split: {report:#}");
    faults::assert_no_shard_was_repeated(&report);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    let bound = first_bound + (killed - before) * CHUNK;
    assert!(difference.duplicates <= bound, "{difference:?}, at most {bound}");
    faults::assert_told(&report, difference.duplicates);
    println!(
        "csv: {} rows, {} shards, {killed} kills of workers and one of the supervisor, {} duplicates (told: {} at most)",
        rows(),
        report["shards"]["total"],
        difference.duplicates,
        report["records"]["resent"]
    );
    scene.program.assert_nothing_left();
}

/// A gzip file is read whole, a killed worker's successor goes on in its middle; a row that is none is set aside as it
/// stands.
fn compressed_rows_arrive_and_bad_ones_are_letters(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "csv-gzip");
    let bad = ["short", "1,2,3,4,5,6,7", "x,\"y\"z,,,,", "9,c,\"a\nb\",nan,,"];
    let keys = [
        PATHS,
        ("source.csv.types", "{ total = \"number\" }"),
        ("limits.max_bad_records", "10"),
        ("workers.chunk", "{ records = 500 }"),
        ("limits.rate_records", "2_000"),
    ];
    scene.configure(&keys);
    let file = write_rows(&scene.program, "rows", 72, 8_000);
    let good = std::fs::read_to_string(&file).expect("the file is text");
    let expected = read_by_csv_with(&file, &["total"]);
    let text = good.replacen("\r\n", &format!("\r\n\r\n{}\r\n\n", bad.join("\r\n")), 1);
    scene.program.write("data/rows.csv", text);
    let zipped = Command::new("gzip").arg(scene.program.join("data/rows.csv")).status().expect("gzip can be started");
    assert!(zipped.success());
    let running = scene.start(&[]);
    scene.await_records();
    kill_workers(&scene, &running, 1);
    let report = scene.let_it_end(running).expect_code(0).json();
    assert_balances(&report);
    let records = &report["records"];
    assert_eq!((&records["filtered"], &records["dead_lettered"]), (&json!(2), &json!(4)), "{report:#}");
    let (difference, _) = scene.judge(&expected);
    assert_eq!((difference.missing, difference.unexpected), (0, 0), "{difference:?}");
    let (verdict, verified) = scene.verify();
    assert_eq!(verdict, Verdict { duplicates: difference.duplicates, ..Verdict::SAME }, "{verified:?}");
    let letters = scene.dead_letters();
    let seen: Vec<&str> = letters.iter().map(|letter| letter["record"].as_str().expect("text")).collect();
    assert_eq!(seen, bad);
    let reasons: Vec<&str> = letters.iter().map(|letter| letter["reason"].as_str().expect("text")).collect();
    assert_eq!(reasons[0], "the row has 1 field and 6 are expected");
    assert_eq!(reasons[3], "column `total` is not a JSON number");
    assert_eq!(letters[1]["bytes"], 13);
    scene.program.assert_nothing_left();
}

/// The config that `init` writes for a CSV file runs as it is.
fn init_writes_a_config_for_csv(_: &Clusters) {
    let program = Program::new("csv-init");
    let file = write_rows(&program, "orders.csv", 73, 2_000);
    let seen = program.run(&["init", "--from", "orders.csv", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!((&seen["sampled_records"], &seen["invalid_records"]), (&json!(1000), &json!(0)), "{seen:#}");
    assert_eq!((&seen["key"], &seen["topic"]), (&json!(".customer_id"), &json!("orders")), "{seen:#}");
    let plan = program.run(&["plan", "--limit", "10", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!(plan["records_estimate"], 10, "{plan:#}");
    let report = program.run(&["run", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], read_by_csv(&file).len(), "{report:#}");
    program.assert_nothing_left();
}

/// Writes rows, a third of which have line ends, quotes or delimiters in quotes.
fn write_rows(program: &Program, name: &str, seed: u64, rows: u64) -> std::path::PathBuf {
    let mut random = Random::new(seed);
    let mut file = "\u{feff}id,customer_id,note,total,city,\"last \"\"seen\"\"\"\r\n".to_owned();
    for row in 0..rows {
        let customer = random.between(0, 5_000);
        let note = match random.between(0, 9) {
            0 => "\"two\nlines\"",
            1 => "\"he said \"\"no\"\",\r\n\r\nand left\"",
            2 => "\"\"",
            3 => "\"\"\"\"\"\"",
            _ => "plain",
        };
        let (city, end) = [("Zürich", "\r\n"), ("\"東京\n,\"", "\n"), ("", "\r\n")][random.between(0, 3) as usize];
        let _ = write!(file, "{row},c{customer},{note},{}.{:02},{city},2026-11-28{end}", row % 1000, row % 100);
    }
    program.write(name, file)
}

fn read_by_csv(file: &std::path::Path) -> Multiset {
    read_by_csv_with(file, &[])
}

/// The objects of a file's rows as the `csv` crate reads them. It can't say whether an empty field has quotes: in our
/// rows those of the notes have.
fn read_by_csv_with(file: &std::path::Path, numbers: &[&str]) -> Multiset {
    let mut reader = csv::Reader::from_path(file).expect("the file is there");
    let names = reader.headers().expect("a header").clone();
    let mut all = Multiset::new();
    for row in reader.records() {
        let row = row.expect("a row");
        let mut object = String::new();
        for (name, field) in names.iter().zip(&row) {
            let value = match field {
                "" if name != "note" => Value::Null,
                field => field.into(),
            };
            let value = if numbers.contains(&name) { field.to_owned() } else { value.to_string() };
            let _ = write!(object, "{}{}:{value}", if object.is_empty() { '{' } else { ',' }, json!(name));
        }
        object.push('}');
        all.add(object.as_bytes());
    }
    all
}
