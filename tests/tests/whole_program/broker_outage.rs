//! The broker away in mid-run, stopped cleanly and killed hard, then started on the same data (row 5): the run
//! completes by itself, delivers again within 5 s, nothing is missing, no duplicate, and no restart counts as a death.

use std::time::{Duration, Instant};

use serde_json::Value;
use whole_program::faults::{self, attempts, lines, outage, patience};
use whole_program::kafka::Kafka;
use whole_program::multiset::Difference;
use whole_program::program::Running;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Outage, Kafka, a_clean_stop_of_the_broker_is_waited_out),
    test!(Outage, Kafka, a_killed_broker_is_waited_out),
    test!(Outage, Kafka, killed_leaders_of_three_brokers_are_waited_out),
];

fn a_clean_stop_of_the_broker_is_waited_out(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::new(&kafka, "clean-stop");
    wait_out(&scene, &|kafka| kafka.terminate(1));
}

fn a_killed_broker_is_waited_out(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::new(&kafka, "hard-kill");
    wait_out(&scene, &|kafka| kafka.kill(1));
}

fn wait_out(scene: &Scene, stop: &dyn Fn(&Kafka)) {
    scene.configure(&faults::keys(&[("record.key", "\".customer_id\"")]));
    let source = scene.orders(7, lines());
    let running = scene.program.start(&["run", "-o", "json", "--progress", "json"]);
    wait_until("a quarter is done", patience(), || {
        last_event(&running).is_some_and(|event| event["done"].as_f64() > Some(0.25))
    });
    stop(scene.kafka);
    let away = Instant::now();
    std::thread::sleep(outage());
    let before = last_event(&running).expect("there were events");
    assert!(before["done"].as_f64() < Some(0.9), "the outage was in mid-run: {before}");
    scene.kafka.restart(1);
    let back = wait_until("records are delivered again", Duration::from_secs(5), || {
        last_event(&running).is_some_and(|event| event["records"].as_u64() > before["records"].as_u64())
    });
    let away = away.elapsed();
    let report = running.finish(patience()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len(), "{report:#}");
    let died: Vec<_> = attempts(&report).into_iter().filter(|attempt| attempt.outcome == "died").collect();
    assert!(died.is_empty(), "no restart counts as a death: {died:?}");
    assert_eq!(report["shards"]["quarantined"], 0);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    println!(
        "{}: away for {:.1} s, delivered again {:.1} s after the broker answered, 0 missing, 0 duplicates, {} restarts",
        scene.topic,
        away.as_secs_f64(),
        back.as_secs_f64(),
        report["workers"]["restarts"],
    );
    scene.program.assert_nothing_left();
}

/// Each broker in turn is killed and comes back: leaders change, and a partition's batches must neither be lost nor
/// sent twice.
fn killed_leaders_of_three_brokers_are_waited_out(clusters: &Clusters) {
    let kafka = clusters.outage_of_three();
    let scene = Scene::new(&kafka, "leaders");
    scene.configure(&faults::keys(&[("record.key", "\".customer_id\"")]));
    let source = scene.orders(8, lines());
    let mut running = scene.program.start(&["run", "-o", "json", "--progress", "json"]);
    wait_until("records are sent", patience(), || {
        last_event(&running).is_some_and(|event| event["records"].as_u64() > Some(0))
    });
    let mut changes = 0;
    // In the short form one broker only.
    let brokers = if faults::kills() >= 10 { 3 } else { 1 };
    for broker in 1..=brokers {
        if !running.is_running() {
            break;
        }
        scene.kafka.kill(broker);
        std::thread::sleep(Duration::from_secs(1));
        scene.kafka.restart(broker);
        changes += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    let report = running.finish(patience()).expect_code(0).json();
    assert!(changes > 0, "the run was over too soon");
    assert_balances(&report);
    assert_eq!(attempts(&report).iter().filter(|attempt| attempt.outcome == "died").count(), 0, "{report:#}");
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    println!("leaders: {changes} brokers of three killed and restarted, 0 missing, 0 duplicates");
    scene.program.assert_nothing_left();
}

/// The newest progress event.
fn last_event(running: &Running) -> Option<Value> {
    let said = running.stderr();
    said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|event| event["_event"] == "progress")
}
