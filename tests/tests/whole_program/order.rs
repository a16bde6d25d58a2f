//! Records of a key keep the source's order: with one worker and with several, through kills, splits of sets and
//! resumes, with rows that have no key or are no records. An independent judge holds first and last copies against the
//! source.
//!
//! Short by default; `scripts/fault-tests order::` sends two million orders of 120,000 customers in 43 files.

use std::collections::BTreeSet;

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::customers::{Customers, Fate, Form, MAX_LINE, Written};
use whole_program::faults::{self, kill_workers, kills, number, patience};
use whole_program::order::{Findings, Judge, Partitioner, by_crc32, by_murmur2};
use whole_program::program::Running;
use whole_program::scene::{PARTITIONS, Scene, Verdict, assert_balances, dead_letters};
use whole_program::steering::{distant, workers};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, "one_worker_keeps_the_order", |clusters| keep_order(clusters, 1)),
    test!(Works, Kafka, "two_workers_keep_the_order", |clusters| keep_order(clusters, 2)),
    test!(Works, Kafka, "four_workers_keep_the_order", |clusters| keep_order(clusters, 4)),
    test!(Works, Kafka, csv_keeps_the_order),
    test!(Waits, Kafka, scaled_killed_and_resumed_it_keeps_the_order),
    test!(Waits, Kafka, added_partitions_keep_the_order),
    test!(Works, Kafka, "odd_rows_count_once", |clusters| odd_rows(clusters, "order-odd", "murmur2", by_murmur2, None)),
    test!(Works, Kafka, "odd_rows_up_to_a_limit_count_once", |clusters| {
        odd_rows(clusters, "order-odd-limit", "crc32", by_crc32, Some(7_500))
    }),
];

const KEY: (&str, &str) = ("record.key", "\".customer_id\"");

/// The dataset of the first two rows of the table: `SHARDLIFT_TEST_ORDERS`, default 60,000, of its customers in files.
fn dataset(seed: u64) -> Customers {
    match number("SHARDLIFT_TEST_ORDERS", 60_000) {
        few @ ..200_000 => Customers::new(seed, few, 5_000, 11),
        many => Customers::new(seed, many, 120_000, 43),
    }
}

fn write(scene: &Scene, customers: &Customers) -> Written {
    customers.write(&scene.program.join("data"))
}

/// Row 1.
fn keep_order(clusters: &Clusters, workers: u64) {
    let scene = Scene::new(clusters.one(), &format!("order-{workers}"));
    let written = write(&scene, &dataset(81));
    scene.configure(&[KEY, ("workers.count", &workers.to_string())]);
    let report = scene.run(&["--verify"]).expect_code(0).json();
    assert_all_sent(&report, &written);
    assert_eq!(report["records"]["resent"], 0, "{report:#}");
    assert_eq!(report["shards"]["total"], workers, "a set for each worker: {report:#}");
    assert_eq!(report["verify"]["outcome"], "same", "{report:#}");
    assert_eq!(Judge::read(&scene, &written.expected, PARTITIONS, by_murmur2).findings(), Findings::default());
    scene.program.assert_nothing_left();
}

fn assert_all_sent(report: &Value, written: &Written) {
    assert_balances(report);
    let seen = (&report["outcome"], &report["records"]["acknowledged"]);
    assert_eq!(seen, (&"done".into(), &written.expected.len().into()), "{report:#}");
    assert_order(report, "key");
}

/// The report says which order was kept.
pub fn assert_order(report: &Value, order: &str) {
    assert_eq!(report["order"], order, "{report:#}");
}

fn csv_keeps_the_order(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "order-csv");
    let written = write(&scene, &Customers { form: Form::Csv, ..Customers::new(82, 60_000, 5_000, 11) });
    scene.configure(&[KEY, ("source.csv.paths", "[\"data/*.csv*\"]"), ("workers.count", "4")]);
    let report = scene.run(&[]).expect_code(0).json();
    assert_all_sent(&report, &written);
    assert_eq!(Judge::read(&scene, &written.expected, PARTITIONS, by_murmur2).findings(), Findings::default());
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

/// Row 2: one set is parted for more workers while it is on its way, at a distance that makes a worker slow; workers
/// and supervisor are killed; another run has more workers, the last ones have fewer.
fn scaled_killed_and_resumed_it_keeps_the_order(clusters: &Clusters) {
    let slow = [KEY, ("workers.count", "1"), ("workers.chunk", "{ records = 50 }")];
    let scene = distant(clusters.distant(), "order-disturbed", &slow);
    let written = write(&scene, &dataset(83));

    let running = scene.start(&[]);
    scene.await_records();
    scene.steer(&["scale", "4"]);
    await_sets(&scene, &running, 4);
    let mut killed = kill_workers(&scene, &running, 1);
    scene.steer(&["scale", "2"]);
    wait_until("two are left", patience(), || workers(&running) == 2);
    await_more(&scene);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("all processes are gone", patience(), || scene.program.processes().is_empty());

    let running = scene.start(&["-w", "6"]);
    await_sets(&scene, &running, 6);
    killed += kill_workers(&scene, &running, 1);
    running.signal(Signal::SIGTERM);
    running.finish(patience()).expect_code(75);

    // What is left goes without the distance, and is disturbed again.
    let chunk = ("workers.chunk", "{ records = 2_000, interval = \"60s\" }");
    scene.configure(&[KEY, chunk, ("workers.count", "3"), ("limits.rate_records", "20_000")]);
    let running = scene.start(&[]);
    killed += kill_workers(&scene, &running, kills() - 1);
    let report = scene.let_it_end(running).expect_code(0).json();

    assert_all_sent(&report, &written);
    let found = Judge::read(&scene, &written.expected, PARTITIONS, by_murmur2).findings();
    assert_eq!(found, Findings { duplicates: found.duplicates, ..Findings::default() });
    faults::assert_told(&report, found.duplicates);
    assert_eq!(scene.verify().0, Verdict { duplicates: found.duplicates, ..Verdict::SAME });
    println!(
        "{}: {} orders, {} sets, {killed} kills of workers and one of the supervisor, {} duplicates (told: {} at most)",
        scene.topic,
        written.expected.len(),
        report["shards"]["total"],
        found.duplicates,
        report["records"]["resent"],
    );
    scene.program.assert_nothing_left();
}

/// Waits until sets were parted for this number of workers.
fn await_sets(scene: &Scene, running: &Running, count: u64) {
    wait_until("each worker has a set", patience(), || workers(running) == count);
    let status = scene.status().expect("there is a state");
    assert_eq!(status["shards"]["total"], count, "{status:#}");
    let events = status["events"].to_string();
    assert!(events.contains(" is split into "), "{events}");
}

fn await_more(scene: &Scene) {
    let committed = scene.acknowledged();
    wait_until("more is committed", patience(), || scene.acknowledged() > committed);
}

/// Row 3: keys stay where the job's plan says.
fn added_partitions_keep_the_order(clusters: &Clusters) {
    const PARTITIONS: u32 = 3;
    let scene = Scene::with_topic(clusters.one(), "order-added", PARTITIONS, &[]);
    let written = write(&scene, &Customers::new(84, 20_000, 500, 5));
    let chunk = ("workers.chunk", "{ records = 500, interval = \"1s\" }");
    scene.configure(&[KEY, chunk, ("workers.count", "2"), ("limits.rate_records", "500")]);
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.add_partitions(&scene.topic, 7);
    let stopped = running.finish(patience()).expect_code(4).json();
    assert!(stopped["reasons"].to_string().contains("--accept partitions"), "{stopped:#}");
    let rest = ["--set", "limits.rate_records=\"none\"", "--accept", "partitions", "-w", "4"];
    let report = scene.run(&rest).expect_code(0).json();
    assert_all_sent(&report, &written);
    assert_eq!(Judge::read(&scene, &written.expected, PARTITIONS, by_murmur2).findings(), Findings::default());
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

/// Row 4: rows without a key, blank, bad and too long ones are each in one set, and counted there. With a limit the job
/// looks at keys only, without one at times, too.
fn odd_rows(clusters: &Clusters, topic: &str, partitioner: &str, chooses: Partitioner, limit: Option<u64>) {
    let scene = Scene::new(clusters.one(), topic);
    let timed = limit.is_none();
    let mut written = write(&scene, &Customers { odd_every: 9, timed, ..Customers::new(85, 20_000, 1_000, 6) });
    let (mut words, mut job) = (Vec::new(), topic.to_owned());
    if let Some(limit) = limit {
        written = written.first(limit);
        words = vec!["--limit".to_owned(), limit.to_string()];
        job += &format!(".limit-{limit}");
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let partitioner = format!("\"{partitioner}\"");
    let mut keys = vec![
        KEY,
        ("record.on_missing", "\"null\""),
        ("kafka.partitioner", &partitioner),
        ("source.jsonl.max_line", MAX_LINE),
        ("limits.max_bad_records", "5_000"),
        ("workers.count", "4"),
        ("workers.chunk", "{ records = 1_000 }"),
    ];
    keys.extend(timed.then_some(("record.timestamp", "\".created_at\"")));
    scene.configure(&keys);
    let report = scene.run(&words).expect_code(0).json();
    assert_all_sent(&report, &written);
    let counts = ["read", "filtered", "dead_lettered", "resent"].map(|name| report["records"][name].as_u64());
    let (rows, blank, dead) = (written.fates.len() as u64, written.count(Fate::Filtered), written.count(Fate::Dead));
    assert_eq!(counts, [rows, blank, dead, 0].map(Some), "{report:#}");
    let letters = dead_letters(&scene.program.join(format!(".shardlift/{job}/dead-letters")));
    let places: BTreeSet<String> = letters.iter().map(|letter| format!("{} {}", letter["path"], letter["start"])).collect();
    assert_eq!((letters.len() as u64, places.len() as u64), (dead, dead), "each has one letter");
    let judge = Judge::read(&scene, &written.expected, PARTITIONS, chooses);
    // Four sets of eight partitions: 0 and 4 belong together.
    assert!(judge.keyless_partitions().is_subset(&[0, 4].into()), "{:?}", judge.keyless_partitions());
    assert!(!judge.keyless_partitions().is_empty(), "there are rows without a key");
    assert_eq!(judge.findings(), Findings::default());
    let (verdict, verified) = scene.verify_with(&words);
    assert_eq!(verdict, Verdict::SAME);
    assert_eq!(verified.number("/source_records"), rows - blank, "{}", verified.stdout);
    scene.program.assert_nothing_left();
}
