//! `compare`: every variant delivers what it counts, the result has the names that others rely on, the ratios of the
//! story come out roughly, and nothing is left behind after an end or an interruption.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::dataset::Orders;
use whole_program::faults::kill_process;
use whole_program::program::{Program, binary};
use whole_program::scene::{PARTITIONS, PATIENCE, Scene, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Nothing, every_variant_runs_and_has_its_names),
    test!(Waits, Nothing, the_reference_flushes_each_record),
    test!(Waits, Nothing, a_flush_is_predicted_and_measured_apart),
    test!(Nightly, Nothing, the_ratios_of_the_story),
    test!(Waits, Nothing, what_an_interrupted_comparison_keeps),
    test!(Waits, Nothing, a_killed_comparison_leaves_no_process),
    test!(Waits, Nothing, a_killed_worker_ends_its_round),
    test!(Waits, Nothing, "a_full_disk_ends_it_with_what_there_is", a_full_disk_ends_it),
    test!(Works, Nothing, what_is_refused),
    test!(Waits, Nothing, brokers_of_the_config_are_left_alone),
    test!(Works, Kafka, real_brokers_got_what_was_counted),
    test!(Works, Kafka, the_topic_of_a_comparison_goes_with_it),
];

/// What the JSON of each row has at least.
const NAMES: [&str; 15] = [
    "variant",
    "workers",
    "records",
    "elapsed_ms",
    "records_per_second",
    "relative_speed",
    "relative_speed_error",
    "flush_share",
    "cpu_cores",
    "cpu_us_per_record",
    "latency_p50_ms",
    "latency_p99_ms",
    "heartbeat_delay_p50_ms",
    "heartbeat_delay_p99_ms",
    "peak_memory_bytes",
];

/// What a worker sends before its clock begins, and may have in flight when it stops.
const WARM_UPS: u64 = 5;

/// A folder with some orders and a config for the embedded broker.
fn folder(what: &str, lines: u64) -> Program {
    let program = Program::new(what);
    let mut text = Vec::new();
    let mut orders = Orders::new(7, lines, 0);
    (0..lines).for_each(|_| orders.next_line(&mut text));
    program.write("data/orders.jsonl", text);
    let keys =
        "job.name = \"c\"\nkafka.topic = \"orders\"\nsource.jsonl.paths = [\"data/*.jsonl\"]\nrecord.key = \".customer_id\"\n";
    program.write("orchestrator.toml", keys);
    program
}

fn rows(result: &Value) -> &Vec<Value> {
    result["results"].as_array().unwrap_or_else(|| panic!("no results in {result:#}"))
}

fn row<'a>(result: &'a Value, variant: &str, workers: u64) -> &'a Value {
    let found = rows(result).iter().find(|row| row["variant"] == variant && row["workers"] == workers);
    found.unwrap_or_else(|| panic!("no row for {variant} × {workers} in {result:#}"))
}

fn number(row: &Value, name: &str) -> f64 {
    row[name].as_f64().unwrap_or_else(|| panic!("no number {name} in {row:#}"))
}

/// The lines of the only file of results.
fn kept(program: &Program) -> Vec<Value> {
    let files: Vec<PathBuf> = kept_files(program);
    assert_eq!(files.len(), 1, "one file of results, and no temporary folder: {files:?}");
    let text = fs::read_to_string(&files[0]).expect("results are text");
    text.lines().map(|line| serde_json::from_str(line).expect("each line is JSON")).collect()
}

fn kept_files(program: &Program) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(program.join(".shardlift/compare")) else { return Vec::new() };
    entries.map(|entry| entry.expect("the folder can be read").path()).collect()
}

fn every_variant_runs_and_has_its_names(_: &Clusters) {
    let program = folder("variants", 3_000);
    let words = ["compare", "-o", "json", "--variants", "all", "--workers", "2,5", "--rtt", "1ms", "--rounds", "1"];
    let limits = ["--flush", "record", "--seconds", "20", "--records", "60", "--html", "page.html", "--csv", "table.csv"];
    let finished = program.run(&[&words[..], &limits].concat(), PATIENCE).expect_code(0);
    let result = finished.json();
    assert_eq!((&result["_command"], &result["_version"]), (&Value::from("compare"), &Value::from(1)));
    // Five variants with two and with five workers, two that have one.
    assert_eq!(rows(&result).len(), 5 * 2 + 2, "{result:#}");
    for row in rows(&result) {
        let missing: Vec<_> = NAMES.iter().filter(|name| row.get(**name).is_none()).collect();
        assert!(missing.is_empty(), "{missing:?} are missing in {row:#}");
        assert_eq!(row["records"], 60, "each worker stops at its share: {row:#}");
        assert!((0.01..=1.0).contains(&number(row, "flush_share")), "{row:#}");
        assert!(number(row, "cpu_us_per_record") > 10.0 && number(row, "peak_memory_bytes") > 1e6, "{row:#}");
    }
    // A row and its line in the table, a run and its line in the file of results.
    let table = fs::read_to_string(program.join("table.csv")).expect("the table was written");
    assert_eq!(table.lines().count(), 1 + rows(&result).len());
    let page = fs::read_to_string(program.join("page.html")).expect("the page was written");
    assert!(page.contains("id=\"result\"") && page.contains("green-wakeup"));
    let lines = kept(&program);
    assert_eq!(lines.len(), 1 + rows(&result).len());
    assert!(lines[0]["comparison"]["conditions"].is_object() && lines[1..].iter().all(|line| line["round"].is_object()));
    program.assert_nothing_left();
}

/// Whatever was typed first; and with a producer that all tasks share, too, each worker stops at its share.
fn the_reference_flushes_each_record(_: &Clusters) {
    let program = folder("reference", 3_000);
    let words = ["compare", "-o", "json", "--variants", "green-blocking,green-cooperative,green-wakeup", "--workers", "7"];
    let limits = ["--seconds", "20", "--records", "70", "--rtt", "1ms", "--rounds", "1"];
    let flushes = ["--flush", "chunk,record", "--shared-producer"];
    let result = program.run(&[&words[..], &limits, &flushes].concat(), PATIENCE).expect_code(0).json();
    let first = &rows(&result)[0];
    assert_eq!((&first["variant"], &first["flush"]), (&Value::from("single"), &Value::from("record")), "{result:#}");
    assert_eq!(number(first, "relative_speed"), 1.0);
    assert_eq!(rows(&result).len(), 2 * 4, "{result:#}");
    for row in rows(&result).iter().filter(|row| row["flush"] == "record") {
        assert_eq!(row["records"], 70, "{row:#}");
    }
    // Where a producer is not like the others, the result says so.
    let instead = result["conditions"]["properties_instead"].as_array().expect("a list");
    let [only] = instead.as_slice() else { panic!("{instead:?}") };
    assert_eq!((&only["variant"], &only["flush"]), (&Value::from("green-wakeup"), &Value::from("record")));
    assert_eq!(only["properties"], serde_json::json!({ "linger.ms": "1", "batch.num.messages": "7" }));
    program.assert_nothing_left();
}

fn a_flush_is_predicted_and_measured_apart(_: &Clusters) {
    let program = folder("apart", 5_000);
    let words = ["compare", "-o", "json", "--rtt", "10ms", "--wait", "2.5ms", "--seconds", "0.3", "--rounds", "2"];
    let result = program
        .run(&[&words[..], &["--flush", "record", "--variants", "processes", "--workers", "2"]].concat(), PATIENCE)
        .expect_code(0)
        .json();
    let single = row(&result, "single", 1);
    assert_eq!(number(single, "relative_speed"), 1.0, "the reference runs without being asked for");
    assert!((0.0..=1.0).contains(&number(single, "predicted_flush_share")), "{single:#}");
    assert!(!result["advice"].as_array().expect("a list").is_empty());
    assert_eq!(result["interrupted"], false);
    let apart = kept(&program).iter().filter(|line| line["apart"].is_object()).count();
    assert_eq!(apart, 2, "the flush is measured apart in each round");
    program.assert_nothing_left();
}

/// Bounds are generous: other tests run on the same processors.
fn the_ratios_of_the_story(_: &Clusters) {
    let program = folder("ratios", 20_000);
    let words = ["compare", "-o", "json", "--rtt", "10ms", "--wait", "2.5ms", "--seconds", "1.5", "--rounds", "2"];
    let variants = ["--flush", "record", "--variants", "green-blocking,green-cooperative,processes", "--workers", "4,7"];
    let result = program.run(&[&words[..], &variants].concat(), PATIENCE).expect_code(0).json();
    let speed = |variant, workers| number(row(&result, variant, workers), "relative_speed");
    assert_eq!(speed("single", 1), 1.0, "the reference runs without being asked for");
    assert!(speed("processes", 4) >= 3.0, "{result:#}");
    assert!((1.0..=1.6).contains(&speed("green-blocking", 7)), "{result:#}");
    assert!(speed("green-cooperative", 7) >= 2.5, "{result:#}");
    let single = row(&result, "single", 1);
    let predicted = number(single, "predicted_flush_share");
    assert!((number(single, "flush_share") - predicted).abs() <= 0.15, "{single:#}");
    // Nothing else runs on the thread while a flush blocks it; a cooperative one lets a heartbeat tick about each
    // millisecond.
    let ticks = |variant| number(row(&result, variant, 7), "heartbeat_ticks_per_flush_ms");
    assert!(ticks("green-blocking") <= 0.2 && ticks("green-cooperative") >= 0.5, "{result:#}");
    assert!(!result["advice"].as_array().expect("a list").is_empty());
    assert_eq!(result["interrupted"], false);
    let apart = kept(&program).iter().filter(|line| line["apart"].is_object()).count();
    assert_eq!(apart, 2, "the flush is measured apart in each round");
}

fn what_an_interrupted_comparison_keeps(_: &Clusters) {
    let program = folder("interrupted", 5_000);
    for (signal, group) in [(Signal::SIGINT, true), (Signal::SIGTERM, false)] {
        kept_files(&program).iter().for_each(|file| fs::remove_file(file).expect("an earlier file of results"));
        let words = ["compare", "-o", "json", "--variants", "single,processes", "--workers", "3", "--seconds", "1"];
        let running = program.start(&[&words[..], &["--rounds", "50"]].concat());
        wait_until("two runs have ended, a third goes on", PATIENCE, || {
            let files = kept_files(&program);
            files
                .iter()
                .filter(|path| path.is_file())
                .any(|path| fs::read_to_string(path).is_ok_and(|text| text.lines().count() >= 3) && files.len() == 2)
        });
        if group {
            running.signal_group(signal)
        } else {
            running.signal(signal)
        }
        let finished = running.finish(PATIENCE).expect_code(75);
        let result = finished.json();
        assert_eq!(result["interrupted"], true);
        assert!(!rows(&result).is_empty() && number(&rows(&result)[0], "records_per_second") > 0.0, "{result:#}");
        assert!(finished.stderr.contains("interrupted"), "{}", finished.stderr);
        program.assert_nothing_left();
        assert!(kept(&program).len() >= 3, "what had ended is kept");
    }
}

/// No process can clean up after a SIGKILL, but none goes on either.
fn a_killed_comparison_leaves_no_process(_: &Clusters) {
    let program = folder("killed", 5_000);
    // The reference goes first.
    let running = program.start(&["compare", "--variants", "processes", "--workers", "3", "--seconds", "8", "--rounds", "9"]);
    wait_until("workers are at work", PATIENCE, || {
        running.processes().iter().filter(|process| process.name.starts_with("shard 0")).count() == 3
    });
    running.signal(Signal::SIGKILL);
    running.finish(PATIENCE).expect_code(137);
    wait_until("every process is gone", PATIENCE, || program.processes().is_empty());
}

/// The others would wait for its figures until their process is killed, minutes later.
fn a_killed_worker_ends_its_round(_: &Clusters) {
    let program = folder("worker-killed", 5_000);
    // The reference goes first.
    let words = ["compare", "--variants", "processes", "--workers", "3", "--seconds", "6", "--rounds", "1"];
    let running = program.start(&words);
    let mut workers = Vec::new();
    wait_until("workers are at work", PATIENCE, || {
        workers = running.processes();
        workers.retain(|process| process.name.starts_with("shard 0"));
        workers.len() == 3
    });
    assert!(kill_process(workers[0].pid));
    let finished = running.finish(PATIENCE).expect_code(5);
    assert!(finished.stdout.contains("SIGKILL"), "the row says why it has no figure: {}", finished.stdout);
    program.assert_nothing_left();
}

/// A limit on the size of files stands for the disk: the results' file meets it after a few runs.
fn a_full_disk_ends_it(_: &Clusters) {
    let program = folder("full", 5_000);
    for words in [&["compare", "--variants", "single", "--flush", "record"][..], &["compare", "web", "--flush", "wakeup"]] {
        let mut command = program.other_command("bash");
        command.args(["-c", "trap '' XFSZ; ulimit -f 8; exec \"$@\"", "bash"]).arg(binary());
        command.args(words).args(["--rtt", "1ms", "--seconds", "0.2", "--rounds", "50"]);
        let finished = program.spawn(command).finish(PATIENCE).expect_code(74);
        assert!(finished.stderr.contains("results can't be kept"), "{words:?}: {}", finished.stderr);
        assert!(finished.stdout.contains("interrupted") && finished.stdout.contains("p99 ms"), "{}", finished.stdout);
        program.assert_nothing_left();
    }
}

fn what_is_refused(_: &Clusters) {
    let program = folder("refused", 1);
    let refused = |words: &[&str], code: i32, text: &str| {
        let finished = program.run(&[&["compare"], words].concat(), PATIENCE).expect_code(code);
        assert!(finished.stderr.contains(text) && finished.stdout.is_empty(), "{words:?}: {}", finished.stderr);
        program.assert_nothing_left();
    };
    refused(&["-c", "none.toml"], 3, "none.toml");
    refused(&["--variants", "green"], 2, "green-blocking");
    refused(&["--rtt", "2s"], 2, "more than 1s");
    refused(&["--into-topic", "orders"], 2, "--into-topic");
    for file in ["--html", "--csv"] {
        // Before anything runs, not after minutes.
        refused(&[file, "none/result"], 74, "none/result");
    }
    refused(&["--html", "result", "--csv", "result"], 2, "both name result");
    // What the job is made of is never replaced, by whatever name.
    for (file, input) in
        [("--csv", "orchestrator.toml"), ("--html", "data/orders.jsonl"), ("--csv", "./data/../data/orders.jsonl")]
    {
        let before = fs::read(program.join(input)).unwrap();
        refused(&[file, input], 2, "the job reads");
        refused(&["web", file, input], 2, "the job reads");
        assert_eq!(fs::read(program.join(input)).unwrap(), before);
    }
    refused(&["--records", "3", "--workers", "4"], 2, "less than a record for each of 4 workers");
    refused(&["--set", "source.jsonl.paths=[\"none/*\"]"], 7, "none");
    program.write("blank.jsonl", "\n\n");
    // A source without any record: known after one round, and said.
    let blank = ["compare", "--variants", "single", "--seconds", "0.5", "--set", "source.jsonl.paths=[\"blank.jsonl\"]"];
    let finished = program.run(&blank, PATIENCE).expect_code(5);
    assert!(finished.stdout.contains("no record was acknowledged"), "{}", finished.stdout);
    assert!(!finished.stderr.contains("round 2"), "{}", finished.stderr);
    let finished = program.run(&["compare-round"], PATIENCE).expect_code(2);
    assert!(finished.stderr.contains("for shardlift itself"), "{}", finished.stderr);
    // One record is enough.
    let one = [
        "compare",
        "-o",
        "json",
        "--flush",
        "record",
        "--variants",
        "single",
        "--rtt",
        "0ms",
        "--records",
        "50",
        "--rounds",
        "1",
    ];
    let result = program.run(&one, PATIENCE).expect_code(0).json();
    assert_eq!(
        (&rows(&result)[0]["records"], &result["conditions"]["source_repeated"]),
        (&Value::from(50), &Value::from(true))
    );
}

/// A production broker that answers nothing: who came waits to be accepted, and can be counted.
struct Counted {
    address: String,
    listener: TcpListener,
}

impl Counted {
    fn new() -> Counted {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a listener that does not wait");
        Counted { address: listener.local_addr().expect("an address").to_string(), listener }
    }

    /// How many connections came since it was last asked.
    fn count(&self) -> usize {
        std::iter::from_fn(|| self.listener.accept().ok()).count()
    }
}

/// Neither the config, nor a variable, nor `--set` makes a comparison write to production: only `-b` on its command
/// line. And it compares what the job would run: its flush, and its order.
fn brokers_of_the_config_are_left_alone(_: &Clusters) {
    let program = folder("left-alone", 5_000);
    let production = Counted::new();
    let secured: [&str; 5] = [
        "\"security.protocol\" = \"SASL_SSL\"",
        "\"sasl.mechanism\" = \"SCRAM-SHA-512\"",
        "\"sasl.username\" = \"u\"",
        "\"sasl.password\" = { env = \"NOT_SET_HERE\" }",
        "\"ssl.ca.location\" = \"none.pem\"",
    ];
    let text = fs::read_to_string(program.join("orchestrator.toml")).expect("a config");
    let brokers = format!("kafka.brokers = [\"{}\"]\n", production.address);
    program.write("orchestrator.toml", format!("{text}{brokers}[kafka.properties]\n{}\n", secured.join("\n")));
    let words = ["compare", "-o", "json", "--variants", "processes", "--workers", "2,32", "--rtt", "1ms", "--seconds", "0.6"];
    let mut command =
        program.command(&[&words[..], &["--set", &format!("kafka.brokers=[\"{}\"]", production.address)]].concat());
    command.env("SHARDLIFT_BROKERS", &production.address);
    let finished = program.spawn(command).finish(PATIENCE).expect_code(0);
    let told = format!("{} is not contacted: `-b {}` compares there", production.address, production.address);
    assert!(finished.stderr.contains(&told), "{}", finished.stderr);
    assert!(finished.stderr.contains("more workers than the topic has partitions (16 partitions)"), "{}", finished.stderr);
    let result = finished.json();
    let conditions = &result["conditions"];
    assert_eq!((&conditions["brokers"], &conditions["by_key"]), (&Value::from("embedded"), &Value::from(true)));
    let settings: Vec<_> = rows(&result).iter().map(|row| (row["workers"].as_u64(), row["flush"].as_str())).collect();
    assert_eq!(settings, [(Some(1), Some("chunk")), (Some(2), Some("chunk"))]);
    let conclusion = &result["conclusion"];
    assert_eq!((&conclusion["workers"], &conclusion["flush"]), (&Value::from(2), &Value::from("chunk")), "{conclusion:#}");
    assert!(
        conclusion["why"].as_str().is_some_and(|why| why.contains(" ± ") && why.contains("times single")),
        "{conclusion:#}"
    );

    let web = ["compare", "web", "--seconds", "0.3", "--rounds", "1"];
    let finished = program.run(&web, PATIENCE).expect_code(0);
    assert!(finished.stderr.contains("is not contacted") && finished.stdout.contains("one round is no fact"), "{finished:?}");
    assert_eq!(production.count(), 0, "not one connection to the brokers of the config");
    // The listener counts: with the flag the brokers are meant.
    program.write("plain.toml", text);
    let words = ["compare", "-c", "plain.toml", "-b", &production.address, "--variants", "single"];
    let running = program.start(&words);
    wait_until("the flag's brokers are asked", PATIENCE, || production.count() > 0);
    running.signal(Signal::SIGTERM);
    running.finish(PATIENCE).expect_code(75);
    program.assert_nothing_left();
}

/// Everything that was counted is in the topic; beside it only warm-up records and what was in flight when a clock
/// stopped.
fn real_brokers_got_what_was_counted(clusters: &Clusters) {
    let kafka = clusters.one();
    let program = folder("counted", 3_000);
    let some = "single,green-wakeup,processes";
    for (flush, variants, settings) in [("record", "all", 7), ("chunk", some, 3)] {
        let topic = format!("compare-into-{flush}");
        kafka.create_topic(&topic, 16, &[]);
        let into = ["--into-topic", &topic, "-b", kafka.bootstrap(), "--flush", flush, "--variants", variants];
        let words = ["compare", "-o", "json", "--workers", "3", "--records", "60", "--rounds", "1", "--seconds", "20"];
        let result = program.run(&[&words[..], &into].concat(), PATIENCE).expect_code(0).json();
        assert_eq!(rows(&result).len(), settings, "{result:#}");
        let counted: u64 = rows(&result).iter().map(|row| row["records"].as_u64().expect("a number")).sum();
        let workers: u64 = rows(&result).iter().map(|row| row["workers"].as_u64().expect("a number")).sum();
        let there = kafka.records(&topic).len() as u64;
        assert!(counted >= 60 * settings as u64, "{result:#}");
        assert!(there >= counted + workers * WARM_UPS, "{flush}: {there} in the topic, {counted} counted");
        if flush == "record" {
            assert!(there <= counted + workers * (WARM_UPS + 1), "{there} in the topic, {counted} counted");
        }
        assert_eq!(result["conditions"]["topic"], topic.as_str());
        assert!(result["conditions"]["rtt_ms"].is_null(), "{result:#}");
    }
    program.assert_nothing_left();
}

fn the_topic_of_a_comparison_goes_with_it(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "compare-own");
    scene.program.write("orchestrator.toml", config(&scene.topic, scene.kafka.bootstrap(), &[]));
    scene.orders(3, 2_000);
    let words = ["compare", "-o", "json", "--variants", "single,processes", "--workers", "2", "--seconds", "0.5"];
    let words = [&words[..], &["-b", scene.kafka.bootstrap()]].concat();
    let once = [&words[..], &["--rounds", "1", "--flush", "record,chunk", "--records", "50000"]].concat();
    let finished = scene.program.run(&once, PATIENCE).expect_code(0);
    assert!(finished.stderr.contains("retention.bytes is 256.0 MiB a partition"), "{}", finished.stderr);
    let result = finished.json();
    let topic = result["conditions"]["topic"].as_str().expect("a name").to_owned();
    assert!(topic.starts_with("shardlift-compare-"), "{topic}");
    // Like the job's own.
    let conditions = &result["conditions"];
    assert_eq!((&conditions["partitions"], &conditions["replication"]), (&Value::from(PARTITIONS), &Value::from(1)));
    await_no_topic_of_a_comparison(&scene);
    assert_eq!(scene.kafka.records(&scene.topic).len(), 0, "the job's own topic is never touched");

    let running = scene.program.start(&[&words[..], &["--rounds", "50"]].concat());
    wait_until("a run has ended", PATIENCE, || running.stderr().contains("run 2 of"));
    assert!(has_topic_of_a_comparison(&scene), "it is there while the comparison goes on");
    running.signal_group(Signal::SIGINT);
    let result = running.finish(PATIENCE).expect_code(75).json();
    assert_eq!(result["interrupted"], true);
    await_no_topic_of_a_comparison(&scene);
    scene.program.assert_nothing_left();
}

/// Brokers tell each other for a moment.
fn await_no_topic_of_a_comparison(scene: &Scene) {
    wait_until("the topic is gone", PATIENCE, || !has_topic_of_a_comparison(scene));
}

/// The tests that make some run one at a time.
fn has_topic_of_a_comparison(scene: &Scene) -> bool {
    scene.kafka.topics().iter().any(|topic| topic.starts_with("shardlift-compare-"))
}
