//! The broker away in mid-run, stopped cleanly and killed hard, then started on the same data (row 5): the run
//! completes by itself, delivers again within 5 s, nothing is missing, no duplicate, and no restart counts as a death.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;
use whole_program::faults::{self, attempts, lines, outage, patience};
use whole_program::kafka::Kafka;
use whole_program::multiset::Difference;
use whole_program::program::Running;
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::terminal::Terminal;
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Outage, Kafka, a_clean_stop_of_the_broker_is_waited_out),
    test!(Outage, Kafka, a_killed_broker_is_waited_out),
    test!(Outage, Kafka, killed_leaders_of_three_brokers_are_waited_out),
    test!(Outage, Kafka, an_outage_is_read_in_a_terminal_and_told_to_another_one),
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

/// What stands in a terminal of 80 columns, what `status` says beside it, and what the report tells afterwards.
fn an_outage_is_read_in_a_terminal_and_told_to_another_one(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::new(&kafka, "outage-words");
    scene.configure(&faults::slow_keys(&[("record.key", "\".customer_id\""), ("workers.count", "2")]));
    let source = scene.orders(31, 200_000);
    let terminal = Terminal::start(&scene.program.shell("exec shardlift run -o json > result"), 80, 24);
    scene.await_records();
    // The terminal's own line breaks are none of the sentence.
    let words = || terminal.screen().split_whitespace().collect::<Vec<_>>().join(" ");
    wait_until("there is a time left", patience(), || words().contains(" left "));
    scene.kafka.kill(1);
    let sentence = format!("({}: connection refused); workers wait, giving up at ", scene.kafka.bootstrap());
    wait_until("the outage is told", Duration::from_secs(20), || words().contains(&sentence));
    std::thread::sleep(outage());
    // A rate is that of the last seconds.
    let still = || words().contains(" records · 0/s · 0 B/s · shards 0/2 ");
    wait_until("nothing is shown to move", Duration::from_secs(20), still);
    let screen = terminal.screen();
    assert!(screen.lines().all(|line| line.chars().count() <= 80), "{screen}");
    assert!(screen.contains("waiting\n") && !screen.contains(" left"), "no end is promised: {screen}");
    assert!(screen.contains(" of ~200,"), "{screen}");
    assert_eq!(screen.matches("waiting for a broker").count(), 2, "{screen}");
    assert!(!screen.contains("facility") && !screen.contains("FAIL"), "the client's lines are not shown: {screen}");

    let status = scene.status().expect("it runs");
    let told = &status["outage"];
    assert_eq!((&told["all_brokers"], &told["leaders"]), (&Value::from(true), &Value::Null), "{told:#}");
    let time = |name: &str| told[name].as_u64().unwrap_or_else(|| panic!("no {name}: {told:#}"));
    let limit = time("gives_up_unix_ms") - time("since_unix_ms");
    // A worker counts from when it noticed, which may be a little before or after the first one of the job did.
    assert!((899_000..=901_000).contains(&limit), "it gives up after 15 min: {told:#}");
    let [since, until] = ["since_unix_ms", "gives_up_unix_ms"].map(|name| time_of_day(time(name)));
    assert!(screen.contains(&format!("  no broker answers since {since}, giving up at {until}")), "{screen}\n{told:#}");
    let text = scene.program.run(&["status"], patience()).expect_code(0).stdout;
    assert!(text.contains(&format!("  no broker answers since {since} ({}: connection", kafka.bootstrap())), "{text}");

    scene.kafka.restart(1);
    wait_until("its end is told", Duration::from_secs(20), || words().contains(" info brokers answer again after "));
    assert!(words().contains("sending goes on"), "{}", terminal.screen());
    wait_until("there is a time left again", patience(), || words().contains(" left "));
    scene.program.run(&["throttle", "none"], patience()).expect_code(0);
    assert_eq!(terminal.exit_code(patience()), 0, "{}", terminal.screen());
    drop(terminal);
    let result = std::fs::read_to_string(scene.program.join("result")).expect("the shell made it");
    let report: Value = serde_json::from_str(&result).expect("it is JSON");
    assert_balances(&report);
    let [outage] = &report["outages"].as_array().expect("outages")[..] else { panic!("one outage: {report:#}") };
    assert!(outage["ended_unix_ms"].as_i64() > outage["began_unix_ms"].as_i64(), "{outage:#}");
    assert_told_afterwards(&scene, &since);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

fn time_of_day(unix_ms: u64) -> String {
    let moment = Timestamp::from_millisecond(unix_ms.cast_signed()).expect("a time of this century");
    moment.strftime("%H:%M:%SZ").to_string()
}

/// "What happened" of report and page.
fn assert_told_afterwards(scene: &Scene, since: &str) {
    let text = scene.program.run(&["report", "--html", "page.html"], patience()).expect_code(0).stdout;
    let page = std::fs::read_to_string(scene.program.join("page.html")).expect("it was written");
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in [&format!("no broker answers since {since} ("), "brokers answer again after "] {
        assert!(words.contains(sentence), "{text}");
        assert!(page.contains(sentence), "{sentence}");
    }
    assert!(text.contains("  what happened\n") && page.contains("What happened"), "{text}");
}

/// The newest progress event.
fn last_event(running: &Running) -> Option<Value> {
    let said = running.stderr();
    said.lines().rev().filter_map(|line| serde_json::from_str::<Value>(line).ok()).find(|event| event["_event"] == "progress")
}
