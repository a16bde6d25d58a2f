//! `compare web`: the server's one thread stops under a blocking flush and not under the others, each answer of the
//! produce route is a delivered record, and nothing is left behind.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use whole_program::dataset::Orders;
use whole_program::kafka::Kafka;
use whole_program::program::{Program, Running};
use whole_program::root;
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Nothing, every_flush_is_served_and_has_its_figures),
    test!(Nightly, Nothing, a_blocking_flush_delays_requests_that_need_no_record),
    test!(Waits, Nothing, a_shared_producer_serves_all),
    test!(Waits, Nothing, an_interruption_keeps_what_there_is),
    test!(Works, Nothing, nonsense_is_refused),
    test!(Works, Kafka, each_answer_is_a_record_in_the_topic),
    test!(Works, Kafka, its_own_topic_is_gone_afterwards),
];

const PATIENCE: Duration = Duration::from_secs(120);

/// Connections that ask for the produce route, by default.
const CLIENTS: u64 = 8;

/// A folder with the root's config and a few records.
fn folder(what: &str) -> Program {
    let program = Program::new(what);
    let config = std::fs::read(root().join("orchestrator.toml")).expect("the root has a config");
    program.write("orchestrator.toml", config);
    let mut orders = Orders::new(70, 500, 0);
    let mut lines = Vec::new();
    (0..500).for_each(|_| orders.next_line(&mut lines));
    program.write("data/orders-0.jsonl", lines);
    program
}

/// `compare web -o json` with these words, to its end.
fn compare(program: &Program, words: &[&str]) -> Value {
    program.run(&[&["compare", "web", "-o", "json"], words].concat(), PATIENCE).expect_code(0).json()
}

/// A figure of a flush.
fn figure(object: &Value, flush: &str, name: &str) -> f64 {
    let results = object["results"].as_array().expect("a list");
    let result = results.iter().find(|result| result["flush"] == flush);
    let value = result.and_then(|result| result[name].as_f64());
    value.unwrap_or_else(|| panic!("no {name} of {flush} in {object:#}"))
}

/// Each run counted as many delivery reports as there were answers, and one for each connection's slot and first
/// request before.
fn assert_all_delivered(object: &Value, clients: u64) {
    for round in object["rounds"].as_array().expect("a list") {
        assert_eq!(round["failure"], Value::Null, "{round:#}");
        let answers = round["produce_latency_ms"]["count"].as_u64().expect("a number");
        assert!(answers > 0, "{round:#}");
        assert_eq!(round["records"].as_u64(), Some(answers + 2 * clients), "{round:#}");
    }
}

fn every_flush_is_served_and_has_its_figures(_: &Clusters) {
    let program = folder("web-shape");
    let object = compare(&program, &["--seconds", "1", "--rounds", "1"]);
    assert_eq!((&object["_command"], &object["interrupted"]), (&Value::from("compare web"), &Value::from(false)));
    assert_eq!(object["results"].as_array().map(Vec::len), Some(3), "{object:#}");
    assert_all_delivered(&object, CLIENTS);
    for flush in ["blocking", "cooperative", "wakeup"] {
        for name in ["plain_latency_p50_ms", "produce_latency_p50_ms", "heartbeat_ticks_per_flush_ms"] {
            assert!(figure(&object, flush, name) >= 0.0, "{object:#}");
        }
        for name in ["plain_requests_per_second", "produce_requests_per_second"] {
            assert!(figure(&object, flush, name) > 0.0, "{object:#}");
        }
    }
    program.assert_nothing_left();
}

fn a_blocking_flush_delays_requests_that_need_no_record(_: &Clusters) {
    let program = folder("web");
    let object = compare(&program, &["--seconds", "1.5", "--rounds", "1"]);
    assert_eq!((&object["_command"], &object["interrupted"]), (&Value::from("compare web"), &Value::from(false)));
    assert_eq!(object["results"].as_array().map(Vec::len), Some(3), "{object:#}");
    assert_all_delivered(&object, CLIENTS);
    let of = |flush, name| figure(&object, flush, name);
    for better in ["cooperative", "wakeup"] {
        assert!(of("blocking", "plain_latency_p50_ms") >= 10.0 * of(better, "plain_latency_p50_ms"), "{object:#}");
        assert!(of(better, "plain_requests_per_second") >= 5.0 * of("blocking", "plain_requests_per_second"), "{object:#}");
        assert!(of(better, "produce_requests_per_second") >= 1.5 * of("blocking", "produce_requests_per_second"), "{object:#}");
        assert!(of(better, "heartbeat_ticks_per_flush_ms") >= 0.3, "others run meanwhile: {object:#}");
    }
    // Eight connections take turns, a round trip of 10 ms each.
    assert!(of("blocking", "produce_latency_p50_ms") >= 60.0, "{object:#}");
    assert!(of("blocking", "heartbeat_ticks_per_flush_ms") <= 0.1, "the call stops the thread: {object:#}");
    program.assert_nothing_left();
}

fn a_shared_producer_serves_all(_: &Clusters) {
    let program = folder("web-shared");
    // More connections than partitions of the usual topic: each needs partitions of its own.
    let words = ["--shared-producer", "--clients", "20", "--others", "1", "--seconds", "1", "--rounds", "1"];
    let object = compare(&program, &[&words[..], &["--flush", "cooperative,wakeup"]].concat());
    assert_all_delivered(&object, 20);
    assert_eq!(object["results"].as_array().map(Vec::len), Some(2), "{object:#}");
    // One record at a time would be 100 a second at a round trip of 10 ms.
    for flush in ["cooperative", "wakeup"] {
        assert!(figure(&object, flush, "produce_requests_per_second") >= 150.0, "{object:#}");
    }
    let advice = object["advice"].to_string();
    assert!(advice.contains("--shared-producer"), "{advice}");
    program.assert_nothing_left();
}

fn an_interruption_keeps_what_there_is(_: &Clusters) {
    let program = folder("web-interrupted");
    let running = program.start(&["compare", "web", "-o", "json", "--seconds", "0.5", "--rounds", "100"]);
    interrupt_after_a_run(&program, running);
}

/// Interrupts it like a terminal once two runs have ended; the rounds that there are become the result.
fn interrupt_after_a_run(program: &Program, running: Running) {
    wait_until("two runs have ended", PATIENCE, || running.stderr().matches("plain p50").count() >= 2);
    running.signal_group(Signal::SIGINT);
    let object = running.finish(PATIENCE).expect_code(75).json();
    assert_eq!(object["interrupted"], true);
    assert!(object["rounds"].as_array().is_some_and(|rounds| rounds.len() >= 2), "{object:#}");
    assert!(object["results"].as_array().is_some_and(|results| !results.is_empty()), "{object:#}");
    program.assert_nothing_left();
}

fn nonsense_is_refused(_: &Clusters) {
    let program = folder("web-nonsense");
    let cases: [(&[&str], i32, &str); 9] = [
        (&["--clients", "0"], 2, "--clients"),
        (&["--others", "0"], 2, "--others"),
        (&["--seconds", "0"], 2, "--seconds"),
        (&["--rtt", "fast"], 2, "--rtt"),
        (&["--html", "none/page.html"], 74, "none/page.html"),
        (&["--flush", "green"], 2, "blocking, cooperative, wakeup"),
        (&["--set", "source.jsonl.paths=['nothing/*.jsonl']"], 7, "nothing/*.jsonl"),
        (&["--set", "record.key='.nobody'"], 7, ".nobody"),
        // Nothing listens there.
        (&["-b", "127.0.0.1:1", "--set", "kafka.give_up_after=2s"], 4, "check kafka.brokers"),
    ];
    for (words, code, said) in cases {
        let finished = program.run(&[&["compare", "web"], words].concat(), PATIENCE);
        let text = format!("{}{}", finished.stdout, finished.stderr);
        assert!(finished.code == code && text.contains(said), "{words:?} (exit {code}, {said}): {finished:#?}");
        assert!(!text.contains("topic shardlift-compare"), "no topic was made, none is to be deleted: {finished:#?}");
        program.assert_nothing_left();
    }
}

/// How many records a topic has, by the independent reader.
fn records_in(kafka: &Kafka, topic: &str) -> u64 {
    topic::values(kafka.bootstrap(), topic, Isolation::Uncommitted).len()
}

fn each_answer_is_a_record_in_the_topic(clusters: &Clusters) {
    let kafka = clusters.one();
    kafka.create_topic("web-records", 4, &[]);
    let program = folder("web-kafka");
    let brokers = ["-b", kafka.bootstrap(), "--into-topic", "web-records"];
    let object = compare(&program, &[&brokers[..], &["--seconds", "1", "--rounds", "2"]].concat());
    assert_all_delivered(&object, CLIENTS);
    let counted: u64 =
        object["results"].as_array().expect("a list").iter().filter_map(|result| result["records"].as_u64()).sum();
    assert_eq!(records_in(kafka, "web-records"), counted, "{object:#}");
    assert_eq!(object["conditions"]["rtt_ms"], Value::Null, "real brokers have their own: {object:#}");
    program.assert_nothing_left();
}

/// Topics of comparisons; the tests that make some run one at a time.
fn topics(kafka: &Kafka) -> usize {
    kafka.topics().iter().filter(|topic| topic.starts_with("shardlift-compare-")).count()
}

fn its_own_topic_is_gone_afterwards(clusters: &Clusters) {
    let kafka = clusters.one();
    // The job's own topic must not be needed, and must not be made.
    let program = folder("web-own-topic");
    let words = ["-b", kafka.bootstrap(), "--seconds", "0.5", "--flush", "wakeup"];
    assert_all_delivered(&compare(&program, &[&words[..], &["--rounds", "1"]].concat()), CLIENTS);
    wait_until("the topic is deleted", PATIENCE, || topics(kafka) == 0);
    let command = [&["compare", "web", "-o", "json"], &words[..], &["--rounds", "100"]].concat();
    let running = program.start(&command);
    wait_until("there is a topic", PATIENCE, || topics(kafka) == 1);
    interrupt_after_a_run(&program, running);
    wait_until("the topic is deleted", PATIENCE, || topics(kafka) == 0);
}
