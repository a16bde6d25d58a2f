//! What a user does first: the root's orchestrator.toml on the embedded broker, the commands of the README, one process
//! alone, a part of the data.

use serde_json::Value;
use whole_program::dataset::Orders;
use whole_program::multiset::Difference;
use whole_program::program::{Finished, Program};
use whole_program::scene::{PATIENCE, Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;
use whole_program::{kafka::Kafka, multiset::Multiset, root};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, the_config_at_the_root_runs_without_a_kafka),
    test!(Works, Nothing, one_process_alone_does_the_same),
    test!(Works, Nothing, a_limit_is_a_job_of_its_own),
    test!(Waits, Nothing, a_stopped_embedded_run_starts_over),
    test!(Waits, Nothing, the_embedded_broker_serves_others),
    test!(Works, Kafka, the_readmes_commands_work),
    test!(Works, Kafka, flush_after_each_record),
];

const LINES: u64 = 20_000;

/// A folder with the root's config and a small dataset of the kind that it names.
fn first_folder(what: &str) -> Program {
    let program = Program::new(what);
    let config = std::fs::read(root().join("orchestrator.toml")).expect("the root has a config");
    program.write("orchestrator.toml", config);
    let mut orders = Orders::new(50, LINES, 0);
    for file in 0..2 {
        let mut lines = Vec::new();
        (0..LINES / 2).for_each(|_| orders.next_line(&mut lines));
        program.write(&format!("data/orders-{file}.jsonl"), lines);
    }
    program
}

fn assert_done(report: &Value, records: u64) {
    assert_balances(report);
    assert_eq!((&report["outcome"], &report["exit_code"]), (&Value::from("done"), &Value::from(0)), "{report:#}");
    assert_eq!(report["records"]["acknowledged"], records, "{report:#}");
    assert_eq!(report["verify"]["outcome"], "same", "an embedded run verifies before it ends: {report:#}");
    assert_eq!(report["verify"]["topic_records"], records);
}

fn the_config_at_the_root_runs_without_a_kafka(_: &Clusters) {
    let program = first_folder("first-run");
    assert_done(&program.run(&["run", "-o", "json"], PATIENCE).expect_code(0).json(), LINES);
    program.assert_nothing_left();
    // The report is there after the run; the broker is not.
    let status = program.run(&["status"], PATIENCE).expect_code(0);
    assert!(status.stdout.contains("20,000"), "{}", status.stdout);
    let verify = program.run(&["verify"], PATIENCE).expect_code(4);
    assert!(verify.stderr.contains("embedded"), "{}", verify.stderr);
    // Again, for people: the text balances too.
    let again = program.run(&["run"], PATIENCE).expect_code(0);
    assert!(again.stdout.contains("20,000"), "{}", again.stdout);
    program.assert_nothing_left();
}

fn one_process_alone_does_the_same(_: &Clusters) {
    let program = first_folder("single");
    let report = program.run(&["run", "--single", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_done(&report, LINES);
    let pids: std::collections::BTreeSet<_> =
        report["attempts"].as_array().expect("a list").iter().filter_map(|attempt| attempt["pid"].as_u64()).collect();
    assert_eq!(pids.len(), 1, "all attempts in the calling process: {report:#}");
    program.assert_nothing_left();
}

fn a_limit_is_a_job_of_its_own(_: &Clusters) {
    let program = first_folder("limit");
    let report = program.run(&["run", "--limit", "12345", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!(report["job"], "first-run.limit-12345");
    assert_done(&report, 12_345);
    let none = program.run(&["status"], PATIENCE);
    assert_ne!(none.code, 0, "the job without a limit was never run: {none:?}");
    assert_eq!(program.run(&["status", "--limit", "12345", "-o", "json"], PATIENCE).expect_code(0).json()["outcome"], "done");
    program.assert_nothing_left();
}

fn a_stopped_embedded_run_starts_over(_: &Clusters) {
    let program = first_folder("stopped");
    let running = program.start(&["run", "--set", "limits.rate_records=500"]);
    wait_until("records have been committed", PATIENCE, || {
        let status = program.run(&["status", "-o", "json"], PATIENCE);
        status.code == 0 && status.number("/records/acknowledged") > 0
    });
    running.signal_group(nix::sys::signal::Signal::SIGINT);
    let stopped = running.finish(PATIENCE).expect_code(75);
    assert!((stopped.stdout + &stopped.stderr).contains("starts over"));
    program.assert_nothing_left();
    assert_done(&program.run(&["run", "-o", "json"], PATIENCE).expect_code(0).json(), LINES);
    program.assert_nothing_left();
}

fn the_embedded_broker_serves_others(_: &Clusters) {
    let program = first_folder("broker");
    let broker = program.start(&["broker", "--partitions", "3"]);
    wait_until("its address is printed", PATIENCE, || broker.stdout().contains('\n'));
    let text = broker.stdout();
    let address = text.lines().next().expect("a first line");
    assert!(address.split(':').nth(1).is_some_and(|port| port.parse::<u16>().is_ok()), "the address alone: {address:?}");
    assert!(std::net::TcpStream::connect(address).is_ok(), "the broker listens on {address}");
    broker.signal(nix::sys::signal::Signal::SIGTERM);
    broker.finish(PATIENCE);
    program.assert_nothing_left();
}

/// The `shardlift …` lines of the README's shell blocks, each behind the block's `export SHARDLIFT_…` lines before it.
fn readme_commands() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let (mut inside, mut exports) = (false, String::new());
    let mut commands = Vec::new();
    for line in readme.lines() {
        let command = line.split(" # ").next().expect("a first part").trim();
        if line.starts_with("```") {
            (inside, exports) = (line == "```sh", String::new());
        } else if inside && line.starts_with("export SHARDLIFT_") {
            exports += &format!("{command}; ");
        } else if inside && line.starts_with("shardlift ") {
            commands.push(format!("{exports}{command}"));
        }
    }
    commands
}

/// In the README's order, in one folder, on a real Kafka in the place of the example's.
fn the_readmes_commands_work(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("orders", 8, &[]);
    let program = first_folder("readme");
    let commands = readme_commands();
    for name in ["init", "plan", "run", "status", "verify"] {
        assert!(commands.iter().any(|command| command.contains(&format!("shardlift {name}"))), "{name}: {commands:?}");
    }
    for command in &commands {
        let finished = shell(&program, kafka, command);
        assert_eq!(finished.code, 0, "{command}\n{}\n{}", finished.stdout, finished.stderr);
        assert!(!finished.stdout.is_empty(), "{command} prints its result");
    }
    let files = ["data/orders-0.jsonl", "data/orders-1.jsonl"].map(|name| program.join(name));
    let topic = whole_program::topic::values(kafka.bootstrap(), "orders", whole_program::topic::Isolation::Uncommitted);
    assert_eq!(Multiset::of_lines(&files).difference(&topic), Difference::default());
    program.assert_nothing_left();
}

/// Runs a line as a user's shell does; the example's brokers are this Kafka.
fn shell(program: &Program, kafka: &Kafka, line: &str) -> Finished {
    program.spawn(program.shell(&line.replace("kafka-1:9092,kafka-2:9092", kafka.bootstrap()))).finish(PATIENCE)
}

fn flush_after_each_record(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "flush-record");
    scene.configure(&[("workers.flush", "\"record\""), ("workers.count", "2"), ("record.key", "\".customer_id\"")]);
    let source = scene.orders(51, 2_000);
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert!(report["flush"]["count"].as_u64() >= Some(2_000), "at least one flush a record: {}", report["flush"]);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}
