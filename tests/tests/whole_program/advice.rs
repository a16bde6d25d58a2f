//! What a report says limits a run that waits for delivery reports, and the number to try: far brokers, a topic with a
//! worker for each partition, chunks that are too small, a quota.

use std::time::Duration;

use serde_json::Value;
use whole_program::clusters::OtherCluster;
use whole_program::program::Program;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Nothing, far_brokers_are_told_with_the_workers_to_try),
    test!(Waits, Nothing, order_by_key_with_a_worker_for_each_partition_is_told),
    test!(Waits, Nothing, small_chunks_are_told_with_the_size_to_try),
    test!(Waits, Kafka, a_quota_is_told_with_what_it_held_back),
];

/// The longest a run may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A distance beside which what a busy machine takes for an answer is little.
const FAR: &str = "200ms";
/// A worker that waits for its answers, and not at its chunks' ends.
const WAITS: &str = "in_flight = \"2MiB\", chunk = { interval = \"60s\" }";

/// The report of a run of two workers to an embedded broker that is far away.
fn far_away(name: &str, partitions: &str, records: u64, keys: &str, workers: &str) -> Value {
    let broker = OtherCluster::start_with(&["--rtt", FAR, "--partitions", partitions]);
    let program = Program::new(name);
    let line = |id: u64| format!("{{\"id\":{id},\"key\":\"k{}\",\"pad\":\"{id:0300}\"}}\n", id % 977);
    program.write("data.jsonl", (0..records).map(line).collect::<String>());
    let config = format!(
        "job.name = \"{name}\"\nsource.jsonl = {{ paths = [\"data.jsonl\"], max_line = \"64KiB\" }}\nshards.target_size = \"4MiB\"\n{keys}\n\
         kafka = {{ brokers = [\"{}\"], topic = \"orders\" }}\nworkers = {{ count = 2, {workers} }}\n",
        broker.address
    );
    program.write("orchestrator.toml", config);
    let report = program.run(&["run", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_balances(&report);
    program.assert_nothing_left();
    broker.end();
    report
}

fn advice(report: &Value) -> &str {
    println!("{}", report["advice"]);
    report["advice"].as_str().unwrap_or_else(|| panic!("no advice: {report:#}"))
}

fn far_brokers_are_told_with_the_workers_to_try(_: &Clusters) {
    let report = far_away("advice-far", "16", 100_000, "", WAITS);
    let told = advice(&report);
    assert!(told.contains("waiting for delivery reports from brokers 2") && told.contains(" ms away"), "{told}");
    assert!(told.contains("more workers wait at the same time: workers.count = "), "{told}");
    assert!(report["answers"]["count"].as_u64() > Some(0) && report["held_back"]["count"] == 0, "{report:#}");
}

fn order_by_key_with_a_worker_for_each_partition_is_told(_: &Clusters) {
    let report = far_away("advice-key", "2", 40_000, "record.key = \".key\"", WAITS);
    let told = advice(&report);
    assert!(told.contains("order by key gives a partition to one worker, the topic has 2 partitions"), "{told}");
    assert!(!told.contains("workers.count"), "more of them would have nothing to do: {told}");
}

fn small_chunks_are_told_with_the_size_to_try(_: &Clusters) {
    let report = far_away("advice-chunk", "16", 20_000, "", "chunk = { records = 500 }");
    let told = advice(&report);
    assert!(told.contains("the wait for delivery reports at chunk ends, one for each "), "{told}");
    assert!(told.contains(": workers.chunk.records = "), "{told}");
}

fn a_quota_is_told_with_what_it_held_back(clusters: &Clusters) {
    let name = "advice-quota";
    let scene = Scene::new(clusters.one(), name);
    scene.kafka.call(&[
        "tool",
        "kafka.admin.ConfigCommand",
        "--bootstrap-server",
        scene.kafka.bootstrap(),
        "--alter",
        "--entity-type",
        "clients",
        "--entity-name",
        name,
        "--add-config",
        "producer_byte_rate=500000",
    ]);
    scene.configure(&[("kafka.client_id", &format!("\"{name}\"")), ("workers.count", "2")]);
    // A quota lets about ten seconds of it pass at once.
    let source = scene.orders(71, 80_000);
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len());
    let told = advice(&report);
    assert!(
        told.contains("brokers held records back for ") && told.contains("a quota of the cluster limits this run"),
        "{told}"
    );
    assert!(report["held_back"]["count"].as_u64() > Some(0), "{report:#}");
    scene.program.assert_nothing_left();
}
