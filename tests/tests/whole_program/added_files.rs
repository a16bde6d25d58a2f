//! A source that grows: files that come day by day are added to a job, with a key and without one, through kills and
//! splits; and files that have another time of modification. An independent judge holds the topic against the source.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::customers::{Customers, Form, Written};
use whole_program::faults::{self, patience};
use whole_program::order::{Findings, Judge, by_murmur2};
use whole_program::program::Finished;
use whole_program::scene::{PARTITIONS, PATIENCE, Scene, Verdict, assert_balances, folder, refused};
use whole_program::steering::{distant, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

use crate::order::assert_order;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, three_days_of_files_are_sent_in_order_by_key),
    test!(Works, Kafka, three_days_of_files_are_sent_without_a_key),
    test!(Waits, Kafka, sets_that_are_split_and_killed_behind_an_addition_keep_the_order),
    test!(Works, Kafka, new_files_are_checked_as_those_of_a_job_that_begins),
    test!(Works, Kafka, a_file_with_another_time_goes_on_if_that_is_accepted),
    test!(Works, Nothing, what_add_has_nothing_to_do_with),
];

const KEY: (&str, &str) = ("record.key", "\".customer_id\"");
const CHUNK: (&str, &str) = ("workers.chunk", "{ records = 200 }");
/// A run's middle is 10 s long; nothing waits for its end.
const SLOW: [&str; 2] = ["--set", "limits.rate_records=\"400\""];
const FILES_A_DAY: usize = 2;

/// Three days of files, of which none has come.
struct Days {
    written: Written,
    /// Where they wait.
    away: PathBuf,
}

impl Days {
    fn new(scene: &Scene, seed: u64) -> Days {
        let away = scene.program.join("away");
        fs::create_dir(&away).expect("a folder can be made in a new folder");
        Days { written: Customers::new(seed, 12_000, 700, 6).write(&away), away }
    }

    /// The files of a day, from 1, come.
    fn come(&self, scene: &Scene, day: usize) {
        for file in &self.written.files[(day - 1) * FILES_A_DAY..day * FILES_A_DAY] {
            let name = file.path.strip_prefix(&self.away).expect("it is there");
            fs::rename(&file.path, scene.program.join("data").join(name)).expect("it can be moved");
        }
    }

    /// How many records the first days have.
    fn records(&self, days: usize) -> u64 {
        self.written.files[days * FILES_A_DAY - 1].places.end
    }
}

/// A run of new files is refused, and told how they are sent.
fn refused_without_add(scene: &Scene) {
    let finished = scene.run(&[]).expect_code(7);
    for part in ["match the source's paths now and did not when planned", "`shardlift run --add` adds new files to the plan"] {
        assert!(finished.stderr.contains(part), "{}", finished.stderr);
    }
    let plan = scene.program.run(&["plan"], PATIENCE).expect_code(0).stdout;
    assert!(plan.contains("and `run --add` sends them behind all others"), "{plan}");
}

fn kill(scene: &Scene, running: whole_program::program::Running) {
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("all processes are gone", patience(), || scene.program.processes().is_empty());
}

fn assert_sent(report: &Value, records: u64) {
    assert_balances(report);
    assert_eq!((&report["outcome"], &report["records"]["acknowledged"]), (&"done".into(), &records.into()), "{report:#}");
}

/// Everything once, or twice where a kill allows it; `verify` says the same, and what was added is in the history.
fn assert_topic(scene: &Scene, days: &Days, report: &Value, by_key: bool) -> u64 {
    assert_sent(report, days.written.expected.len());
    let judge = Judge::read(scene, &days.written.expected, PARTITIONS, by_murmur2);
    let found = Findings { examples: Vec::new(), ..judge.findings() };
    let expected = if by_key { Findings::default() } else { Findings { examples: Vec::new(), ..found.clone() } };
    assert_eq!(found, Findings { duplicates: found.duplicates, missing: 0, unexpected: 0, ..expected });
    faults::assert_told(report, found.duplicates);
    assert_eq!(scene.verify().0, Verdict { duplicates: found.duplicates, ..Verdict::SAME });
    let status = scene.status().expect("there is a state");
    let events = status["events"].to_string();
    assert_eq!(events.matches("were added to the plan, and their records come behind all others").count(), 2, "{events}");
    found.duplicates
}

/// The second day is killed in its middle, right after it was added, and gone on with.
fn three_days(clusters: &Clusters, topic: &str, seed: u64, key: Option<(&str, &str)>) {
    let scene = Scene::new(clusters.one(), topic);
    let days = Days::new(&scene, seed);
    let keys: Vec<_> = [("workers.count", "2"), CHUNK].into_iter().chain(key).collect();
    scene.configure(&keys);
    days.come(&scene, 1);
    let report = scene.run(&[]).expect_code(0).json();
    assert_sent(&report, days.records(1));
    let shards = report["shards"]["total"].as_u64().expect("a number");

    days.come(&scene, 2);
    refused_without_add(&scene);
    assert_eq!(scene.program.run(&["status", "-o", "json"], PATIENCE).expect_code(0).json()["outcome"], "done");
    let verified = scene.program.run(&["verify", "-o", "json"], PATIENCE).expect_code(7).json();
    assert_eq!(verified["new_files"].as_array().map(Vec::len), Some(FILES_A_DAY), "{verified:#}");
    let running = scene.start(&[&SLOW[..], &["--add"]].concat());
    wait_until("some of the new records are committed", PATIENCE, || scene.acknowledged() > days.records(1));
    let busy = scene.run(&["--add"]).expect_code(75);
    assert!(busy.stderr.contains("a plan grows between two runs"), "{}", busy.stderr);
    kill(&scene, running);
    let status = scene.status().expect("there is a state");
    assert!(status["shards"]["done"].as_u64() < status["shards"]["total"].as_u64(), "{status:#}");
    assert_sent(&scene.run(&[]).expect_code(0).json(), days.records(2));

    days.come(&scene, 3);
    let report = scene.run(&["--add"]).expect_code(0).json();
    if key.is_some() {
        assert_order(&report, "key");
        assert_eq!(report["shards"]["total"], shards, "the sets go on: {report:#}");
    } else {
        assert!(report["shards"]["total"].as_u64() > Some(shards + 1), "each day has shards of its own: {report:#}");
    }
    let duplicates = assert_topic(&scene, &days, &report, key.is_some());
    println!("{topic}: {} records of three days, {duplicates} twice by one kill", days.written.expected.len());
    let nothing = scene.run(&["--add"]);
    assert!(nothing.stderr.contains("--add: no file of the source is new, so nothing is added"), "{}", nothing.stderr);
    scene.program.assert_nothing_left();
}

fn three_days_of_files_are_sent_in_order_by_key(clusters: &Clusters) {
    three_days(clusters, "days-by-key", 91, Some(KEY));
}

fn three_days_of_files_are_sent_without_a_key(clusters: &Clusters) {
    three_days(clusters, "days-keyless", 92, None);
}

/// One set that reads on in new files is parted for more workers, killed, and gone on with; then it grows again.
fn sets_that_are_split_and_killed_behind_an_addition_keep_the_order(clusters: &Clusters) {
    let keys = [KEY, ("workers.count", "1"), ("workers.chunk", "{ records = 50 }")];
    let scene = distant(clusters.distant(), "added-split", &keys);
    let days = Days::new(&scene, 93);
    days.come(&scene, 1);
    assert_sent(&scene.run(&["-b", scene.kafka.bootstrap()]).expect_code(0).json(), days.records(1));
    days.come(&scene, 2);
    let running = scene.start(&["--add"]);
    wait_until("some of the new records are committed", patience(), || scene.acknowledged() > days.records(1));
    scene.steer(&["scale", "3"]);
    wait_until("each worker has a set", patience(), || workers(&running) == 3);
    let committed = scene.acknowledged();
    wait_until("more is committed", patience(), || scene.acknowledged() > committed + 100);
    kill(&scene, running);
    days.come(&scene, 3);
    scene.configure(&[KEY, ("workers.count", "3")]);
    let report = scene.run(&["--add"]).expect_code(0).json();
    assert_eq!(report["shards"]["total"], 3, "{report:#}");
    assert_topic(&scene, &days, &report, true);
    scene.program.assert_nothing_left();
}

/// What a run would refuse of a job that begins, it refuses of new files, and the plan stays as it was.
fn new_files_are_checked_as_those_of_a_job_that_begins(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "added-checked");
    let written = Customers { form: Form::Csv, ..Customers::new(94, 3_000, 100, 3) }.write(&scene.program.join("data"));
    scene.configure(&[KEY, ("source.csv.paths", "[\"data/*.csv*\"]"), ("workers.count", "2")]);
    assert_sent(&scene.run(&[]).expect_code(0).json(), written.expected.len());
    let add = |code: i32, said: &str| {
        let finished = scene.run(&["--add"]).expect_code(code);
        assert!(finished.stderr.contains(said), "{said}:\n{}", finished.stderr);
    };
    let none = "order,customer,version,note\n1,c1,1,x\n";
    let new = scene.program.write("data/z.csv", none);
    add(4, "mapping: the only record has no .customer_id (record.key)");
    scene.program.write("data/z.csv", "order_id,customer_id,customer_id\n1,c1,c1\n");
    add(7, "has no usable header: columns 2 and 3 are both named `customer_id`");
    scene.program.write("data/z.csv", [0x50, 0x4b, 3, 4, 0, 0, 0, 0]);
    add(7, "z.csv: is ");
    assert_eq!(scene.status().expect("there is a state")["events"].to_string().matches("added to the plan").count(), 0);
    // Another order of columns, a name that comes first, an empty file, links: what is new is sent once.
    fs::remove_file(new).expect("it is ours");
    scene.program.write("data/a.csv", "customer_id,more,order_id\nc1,1,o1\nc2,1,o2\n");
    scene.program.write("data/b.csv", "");
    std::os::unix::fs::symlink(&written.files[0].path, scene.program.join("data/l.csv")).expect("a link can be made");
    fs::hard_link(&written.files[0].path, scene.program.join("data/h.csv")).expect("a link can be made");
    let finished = scene.run(&["--add"]).expect_code(0);
    for said in ["2 new files of 42 B were added to the plan", "a.csv: comes before planned files by its name", "(hard links)"]
    {
        assert!(finished.stderr.contains(said), "{said}:\n{}", finished.stderr);
    }
    assert_sent(&finished.json(), written.expected.len() + 2);
    // Under another name it is told, and not sent again.
    let [planned, renamed] = ["data/a.csv", "data/y.csv"].map(|name| scene.program.join(name));
    fs::rename(&planned, &renamed).expect("it can be moved");
    add(7, &format!("it is probably {} now", renamed.display()));
    fs::rename(&renamed, &planned).expect("it can be moved");
    fs::copy(&planned, scene.program.join("data/c.csv")).expect("it can be copied");
    add(0, "which is planned already: if it is a copy, its records are sent twice");
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

fn touch(path: &Path, seconds_ago: u64) {
    let file = File::options().append(true).open(path).expect("it is there");
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds_ago)).expect("it is ours");
}

/// What is said of a file that has another time.
fn assert_names_times(finished: &Finished, name: &str) {
    assert_eq!(finished.code, 7, "{finished:?}");
    let error = &finished.stderr;
    assert!(error.contains(&format!("{name}: has the planned size and the same first and last 64 KiB")), "{error}");
    assert_eq!(error.lines().next().unwrap_or_default().matches(" UTC").count(), 2, "both times: {error}");
    assert!(error.contains("run again with --accept mtime"), "{error}");
}

/// Before records were sent, between, in mid-run, and after all: of files that are cut and of ones that are not.
fn a_file_with_another_time_goes_on_if_that_is_accepted(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "retimed");
    scene.configure(&[("workers.count", "3"), CHUNK]);
    let source = scene.orders(95, 6_000);
    let orders = scene.program.join("data/orders.jsonl");
    scene.program.write("data/none.jsonl", "");
    let running = scene.start(&SLOW);
    scene.await_records();
    // A worker sees it at its file's end, or when it opens one.
    touch(&orders, 1_000);
    running.signal(Signal::SIGTERM);
    running.finish(patience()).expect_code(75);
    assert_names_times(&scene.run(&[]), "orders.jsonl");
    let accept = ["--accept", "mtime"];
    let running = scene.start(&[&SLOW[..], &accept].concat());
    let before = scene.acknowledged();
    wait_until("it goes on", PATIENCE, || scene.acknowledged() > before);
    touch(&orders, 2_000);
    scene.program.run(&["throttle", "none"], PATIENCE).expect_code(0);
    let stopped = running.finish(patience()).expect_code(7).json();
    let said = "if its bytes are the planned ones, run again with `--accept mtime`";
    assert!(stopped["reasons"].to_string().contains(said), "{stopped:#}");
    touch(&scene.program.join("data/none.jsonl"), 50);
    let report = scene.run(&accept).expect_code(0).json();
    assert_sent(&report, 6_000);
    assert!(report["notices"].to_string().contains("it is taken to be the same"), "{report:#}");
    scene.run(&[]).expect_code(0);

    // When all is sent: by `run` and `verify`, which keeps nothing of it.
    touch(&orders, 3_000);
    assert_names_times(&scene.run(&[]), "orders.jsonl");
    assert_names_times(&scene.program.run(&["verify", "-o", "json"], PATIENCE), "orders.jsonl");
    assert_eq!(scene.verify_with(&accept).0, Verdict::SAME);
    assert_names_times(&scene.run(&[]), "orders.jsonl");
    scene.run(&accept).expect_code(0);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.duplicates, difference.unexpected), (0, 0, 0));

    // Other bytes are another file, whatever is accepted.
    let mut text = fs::read(&orders).expect("it is there");
    text[10] ^= 1;
    fs::write(&orders, text).expect("it is ours");
    let other = scene.run(&accept).expect_code(7);
    assert!(other.stderr.contains("its first or last 64 KiB differ"), "{}", other.stderr);
    assert!(!other.stderr.contains("accept mtime"), "{}", other.stderr);
    scene.program.assert_nothing_left();
}

/// A job that begins, one with a limit, one that starts over.
fn what_add_has_nothing_to_do_with(_: &Clusters) {
    let program = folder("add", &[]);
    refused(&program, &["run", "--add", "--limit", "1"], 2, &["--add and --limit can't stand together"]);
    refused(&program, &["run", "--add", "--restart", "--yes"], 2, &["'--add' cannot be used with '--restart'"]);
    let first = program.run(&["run", "--add"], PATIENCE).expect_code(0);
    assert!(first.stderr.contains("--add: job tried has no plan yet, and begins with all files of the source"), "{first:?}");
    // An embedded broker's job begins anew with all files each time.
    program.write("data/2.jsonl", "{\"k\":\"c\"}\n");
    let again = program.run(&["run", "--add", "-o", "json"], PATIENCE).expect_code(0);
    assert_eq!(again.json()["records"]["acknowledged"], 3, "{again:?}");
    program.assert_nothing_left();
}
