//! Messages that fail for good (row 6): they never count as sent and their shard is never done, whatever a flush would
//! say.

use std::os::unix::fs::FileExt as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use whole_program::admin::{Operation, Rule};
use whole_program::faults::{self, patience};
use whole_program::multiset::{Difference, Multiset};
use whole_program::scene::{Scene, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, one_refused_record_costs_no_neighbour),
    test!(Outage, Kafka, a_broker_gone_for_good_ends_with_75),
    test!(Outage, Kafka, brokers_that_fall_silent_are_no_death_of_a_worker),
    test!(Waits, Kafka, old_events_are_set_aside),
    test!(Waits, Kafka, a_topic_that_refuses_nearly_everything_ends_with_the_limit),
    test!(Waits, Kafka, a_setting_that_comes_in_mid_run_sets_aside_what_the_broker_names),
    test!(Waits, Kafka, a_setting_that_is_relaxed_in_mid_run_holds_for_the_next_attempt),
    test!(Waits, Kafka, letters_of_a_killed_run_are_not_taken_for_records_set_aside),
    test!(Waits, Kafka, letters_that_were_moved_away_are_missed),
    test!(Outage, Kafka, cut_connections_double_nothing_where_the_settings_refuse),
    test!(Waits, Kafka, a_topic_deleted_in_mid_run_is_never_done),
    test!(Waits, Kafka, a_right_withdrawn_in_mid_run_is_never_done),
    test!(Nightly, Kafka, one_record_in_a_hundred_that_is_refused_costs_at_most_three_times),
];

/// For the rest of a job, which is not disturbed any more.
const NO_LIMIT: [&str; 2] = ["--set", "limits.rate_records=\"none\""];
/// About 50 s of work at the rate of [`faults::slow_keys`].
const LINES: u64 = 200_000;

/// A compacted topic refuses the batch with a record without a key (INVALID_RECORD): that is known before it is asked.
fn one_refused_record_costs_no_neighbour(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "compacted", 8, &["cleanup.policy=compact"]);
    scene.configure(&[
        ("record.key", "\".order_id\""),
        ("record.on_missing", "\"null\""),
        ("workers.count", "1"),
        ("limits.max_bad_records", "10"),
    ]);
    scene.orders(20, LINES);
    let path = scene.program.join("data/orders.jsonl");
    let text = std::fs::read_to_string(&path).expect("orders are text");
    let at = text.match_indices('\n').nth(LINES as usize / 2).expect("there are that many lines").0 + 1;
    let odd = "{\"no_order_id\":true}";
    std::fs::write(&path, format!("{}{odd}\n{}", &text[..at], &text[at..])).expect("the dataset can be written");
    let finished = scene.run(&[]).expect_code(0);
    assert!(!finished.stderr.contains("refused"), "the broker was never asked:\n{}", finished.stderr);
    let report = finished.json();
    assert_balances(&report);
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&LINES.into(), &1.into()));
    assert_eq!(report["workers"]["restarts"], 0, "no worker had to die: {report:#}");
    let letters = scene.dead_letters();
    assert_eq!(letters.len(), 1, "{letters:?}");
    assert_eq!((&letters[0]["record"], &letters[0]["start"]), (&Value::from(odd), &Value::from(at)));
    let source = Multiset::of_lines(&[path]);
    assert_eq!(scene.judge(&source).0, Difference { missing: 1, ..Difference::default() }, "all else once");
    assert_source_order(&scene);
    scene.verify().1.expect_code(0);
    scene.program.assert_nothing_left();
}

/// One shard: each partition has ascending order numbers.
fn assert_source_order(scene: &Scene) {
    let mut last = [0; 8];
    for record in scene.kafka.records(&scene.topic) {
        let order: u64 =
            String::from_utf8_lossy(&record.key.expect("only the refused one had no key")).parse().expect("a number");
        assert!(order > last[record.partition as usize], "order {order} in partition {}", record.partition);
        last[record.partition as usize] = order;
    }
}

fn a_broker_gone_for_good_ends_with_75(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::new(&kafka, "gone");
    scene.configure(&faults::slow_keys(&[("workers.count", "4"), ("kafka.give_up_after", "\"10s\"")]));
    let source = scene.orders(21, LINES);
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.kill(1);
    let finished = running.finish(patience());
    let again = scene.run(&["--set", "kafka.give_up_after=3s"]);
    scene.kafka.restart(1);
    let finished = finished.expect_code(75);
    let report = finished.json();
    assert_stopped_undone(&report);
    assert_eq!(report["outcome"], "stopped");
    assert_given_up(&scene, &finished.stderr, &report);
    // One that goes on waits before it begins, and says so.
    assert_eq!(again.code, 75, "{again:?}");
    let waits = again.stderr.lines().filter(|line| line.contains(" warning no broker answers since ")).collect::<Vec<_>>();
    assert!(matches!(&waits[..], [line] if line.contains(": connection refused); waiting for an answer until ")), "{again:?}");
    scene.program.assert_nothing_left();
    // The state is good: the rest goes out, and nothing was counted that did not arrive.
    let report = scene.run(&NO_LIMIT).expect_code(0).json();
    assert_balances(&report);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0));
    faults::assert_told(&report, difference.duplicates);
    println!("gone: 75, then done with {} duplicates (what was under way may have been written)", difference.duplicates);
}

/// What a user reads who was away: one sentence each for the outage and for its end, the cause in it, no line of the
/// client, and no advice about anything else.
fn assert_given_up(scene: &Scene, stderr: &str, report: &serde_json::Value) {
    let broker = scene.kafka.bootstrap();
    let [reason] = &report["reasons"].as_array().expect("reasons")[..] else { panic!("one reason: {report:#}") };
    let reason = reason.as_str().expect("a sentence");
    assert!(reason.starts_with("no broker answered for 10 s (kafka.give_up_after) while "), "{reason}");
    let end = format!(": {broker}: connection refused; see whether the brokers are up, then run it again to continue");
    assert!(reason.ends_with(&end), "{reason}");
    assert_eq!(report["advice"], serde_json::Value::Null, "{report:#}");
    let told = |part: &str| stderr.lines().filter(|line| line.contains(part)).count();
    assert_eq!(told(" warning no broker answers since "), 1, "{stderr}");
    assert_eq!(told(&format!(" ({broker}: connection refused); workers wait, giving up at ")), 1, "{stderr}");
    assert_eq!(told("; see whether the brokers are up, then run it again to continue; the job stops"), 1, "{stderr}");
    assert_eq!(told("facility="), 0, "{stderr}");
    assert_eq!(told(" of the Kafka client are not shown (-v shows them)"), 1, "{stderr}");
    let others = stderr.lines().filter(|line| !line.starts_with("progress "));
    assert_eq!(others.count(), 3, "no other line: {stderr}");
    assert!(stderr.contains(" state=waiting ") && stderr.contains(" eta=unknown"), "{stderr}");
    let [outage] = &report["outages"].as_array().expect("outages")[..] else { panic!("one outage: {report:#}") };
    assert_eq!(outage["ended_unix_ms"], serde_json::Value::Null);
}

/// Connections are accepted, and nothing is answered any more: to workers that send, to those that connect, and to
/// those that ask why.
fn brokers_that_fall_silent_are_no_death_of_a_worker(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::new(&kafka, "mute");
    scene.configure(&faults::slow_keys(&[
        ("workers.count", "4"),
        ("kafka.give_up_after", "\"8s\""),
        ("workers.heartbeat_timeout", "\"2s\""),
    ]));
    let source = scene.orders(25, LINES);
    let running = scene.start(&[]);
    scene.await_records();
    let broker = Pid::from_raw(kafka.pid(1).cast_signed());
    kill(broker, Signal::SIGSTOP).expect("the broker runs");
    scene.steer(&["scale", "8"]);
    let finished = running.finish(patience());
    kill(broker, Signal::SIGCONT).expect("the broker is stopped");
    let finished = finished.expect_code(75);
    assert!(!finished.stderr.contains("no heartbeat"), "{}", finished.stderr);
    assert_stopped_undone(&finished.json());
    scene.program.assert_nothing_left();
    let report = scene.run(&NO_LIMIT).expect_code(0).json();
    assert_balances(&report);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0));
}

fn assert_stopped_undone(report: &Value) {
    assert_balances(report);
    assert_ne!(report["outcome"], "done", "{report:#}");
    assert_ne!(report["shards"]["done"], report["shards"]["total"], "{report:#}");
    assert!(report["records"]["acknowledged"].as_u64() < Some(LINES), "{report:#}");
    assert!(report["reasons"].as_array().is_some_and(|reasons| !reasons.is_empty()), "it says why: {report:#}");
}

/// A topic that takes no event older than an hour (INVALID_TIMESTAMP for the whole batch): old ones among new ones.
fn old_events_are_set_aside(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "timestamps", 4, &["message.timestamp.before.max.ms=3600000"]);
    scene.configure(&[
        ("workers.count", "2"),
        ("record.timestamp", "\".at\""),
        ("record.timestamp_unit", "\"ms\""),
        ("limits.max_bad_records", "7"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
    let is_old = |number: &u64| number % 1_000 == 500;
    let line = |number: u64| {
        let at = if is_old(&number) { now - 86_400_000 } else { now - number };
        format!("{{\"at\":{at},\"n\":{number}}}\n")
    };
    let path = scene.program.write("data/events.jsonl", (0..7_000).map(line).collect::<String>());
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&6_993.into(), &7.into()));
    for letter in scene.dead_letters() {
        let record: Value = serde_json::from_str(letter["record"].as_str().expect("text")).expect("a line of ours");
        assert!(is_old(&record["n"].as_u64().expect("a number")), "{letter}");
    }
    let source = Multiset::of_lines(&[path]);
    assert_eq!(scene.judge(&source).0, Difference { missing: 7, ..Difference::default() });
    assert!(scene.kafka.records(&scene.topic).iter().all(|record| (now as i64 - record.timestamp) < 3_600_000));
    scene.verify().1.expect_code(0);
    // One more than allowed: never done.
    let report = scene.run(&["--restart", "--yes", "--set", "limits.max_bad_records=6"]).expect_code(5).json();
    assert_ne!(report["outcome"], "done");
    scene.program.assert_nothing_left();
}

/// Half of the records have no key, and the topic is compacted.
fn a_topic_that_refuses_nearly_everything_ends_with_the_limit(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "refuses", 4, &["cleanup.policy=compact"]);
    // In order by key records without a key would all be one worker's.
    let keys = [
        ("record.key", "\".k\""),
        ("record.on_missing", "\"null\""),
        ("workers.count", "2"),
        ("shards.by_key", "false"),
        ("shards.target_size", "\"64KiB\""),
    ];
    let line = |number: u64| match number {
        ..8_000 => format!("{{\"k\":\"key-{}\",\"n\":{number}}}\n", number % 100),
        _ => format!("{{\"n\":{number}}}\n"),
    };
    scene.program.write("data/events.jsonl", (0..16_000).map(line).collect::<String>());
    for limit in [0, 3] {
        let limit_text = limit.to_string();
        scene.configure(&[&keys[..], &[("limits.max_bad_records", limit_text.as_str())]].concat());
        let report = scene.run(&["--restart", "--yes", "--accept", "cleanup,mapping"]).expect_code(5).json();
        assert_balances(&report);
        let letters = report["records"]["dead_lettered"].as_u64().expect("a number");
        assert!(letters > limit && letters <= 2 * (limit + 1), "two workers, {limit} allowed: {letters} letters");
        assert_eq!(scene.dead_letters().len() as u64, letters);
    }
    scene.program.assert_nothing_left();
}

/// What preflight could not know is refused by the broker, which names the records.
fn a_setting_that_comes_in_mid_run_sets_aside_what_the_broker_names(clusters: &Clusters) {
    let none = format!("message.timestamp.before.max.ms={}", i64::MAX);
    let scene = Scene::with_topic(clusters.one(), "mid-run", 4, &[&none]);
    scene.configure(&[
        ("workers.count", "1"),
        ("record.timestamp", "\".at\""),
        ("record.timestamp_unit", "\"ms\""),
        // A batch of one record that is refused names none: at less than this there are such.
        ("limits.rate_records", "10_000"),
        ("limits.max_bad_records", "100_000"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
    let line = |number: u64| {
        let at = if number % 100 == 50 { now - 86_400_000 } else { now - number };
        format!("{{\"at\":{at},\"n\":{number}}}\n")
    };
    let path = scene.program.write("data/events.jsonl", (0..150_000).map(line).collect::<String>());
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.alter_topic(&scene.topic, &["message.timestamp.before.max.ms=3600000"]);
    // A broker takes a setting over a little later than it answers.
    wait_until("records are refused", patience(), || {
        let status = scene.status().expect("there is a state");
        status["records"]["dead_lettered"].as_u64() > Some(0)
    });
    let finished = scene.let_it_end(running).expect_code(0);
    assert!(finished.stderr.contains("the others are sent again"), "the broker refused some:\n{}", finished.stderr);
    assert!(!finished.stderr.contains("halves"), "and named them:\n{}", finished.stderr);
    let report = finished.json();
    assert_balances(&report);
    assert_eq!(report["workers"]["restarts"], 0);
    let letters = scene.dead_letters();
    assert!(!letters.is_empty() && letters.len() < 1_500, "{} letters", letters.len());
    for letter in &letters {
        let record: Value = serde_json::from_str(letter["record"].as_str().expect("text")).expect("a line of ours");
        assert_eq!(record["n"].as_u64().expect("a number") % 100, 50, "{letter}");
    }
    let missing = letters.len() as u64;
    assert_eq!(scene.judge(&Multiset::of_lines(&[path])).0, Difference { missing, ..Difference::default() });
    scene.verify().1.expect_code(0);
    scene.program.assert_nothing_left();
}

/// The broker refuses 1 % of the records, by a setting that preflight could not know; the clean run has the same
/// records, and a setting changed that refuses none. Rounds of both in turn, and the medians judge.
fn one_record_in_a_hundred_that_is_refused_costs_at_most_three_times(clusters: &Clusters) {
    const ROUNDS: usize = 5;
    let mut times = [Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        for (refuses, times) in [false, true].into_iter().zip(&mut times) {
            times.push(one_round(clusters, round, refuses));
        }
    }
    times.iter_mut().for_each(|times| times.sort_unstable());
    let [clean, refused] = times.each_ref().map(|times| times[ROUNDS / 2].as_secs_f64());
    let ratio = refused / clean;
    println!("1 % refused: {refused:.2} s, clean: {clean:.2} s, {ratio:.2} times (medians of {ROUNDS}; all: {times:.2?})");
    assert!(ratio <= 3.0, "{ratio:.2} times the clean run");
}

/// How long a run takes from the moment at which the topic's settings are changed and its limit on the rate is taken
/// away.
fn one_round(clusters: &Clusters, round: usize, refuses: bool) -> Duration {
    const RECORDS: u64 = 1_000_000;
    let none = format!("message.timestamp.before.max.ms={}", i64::MAX);
    let scene = Scene::with_topic(clusters.one(), &format!("ratio-{round}-{refuses}"), 4, &[&none]);
    scene.configure(&[
        ("workers.count", "1"),
        ("record.timestamp", "\".at\""),
        ("record.timestamp_unit", "\"ms\""),
        // Another attempt would know the setting before it begins.
        ("shards.target_size", "\"1GiB\""),
        ("limits.rate_records", "1_000"),
        ("limits.max_bad_records", "100_000"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
    let line = |number: u64| {
        let at = if number % 100 == 50 { now - 86_400_000 } else { now - number % 60_000 };
        format!("{{\"at\":{at},\"n\":{number},\"pad\":\"{:-<100}\"}}\n", "")
    };
    scene.program.write("data/events.jsonl", (0..RECORDS).map(line).collect::<String>());
    let running = scene.start(&[]);
    scene.await_records();
    let harmless = "message.timestamp.after.max.ms=3600000";
    let setting = if refuses { "message.timestamp.before.max.ms=3600000" } else { harmless };
    scene.kafka.alter_topic(&scene.topic, &[setting]);
    let began = Instant::now();
    scene.program.run(&["throttle", "none"], patience()).expect_code(0);
    let report = running.finish(patience()).expect_code(0).json();
    let took = began.elapsed();
    assert_balances(&report);
    let letters = report["records"]["dead_lettered"].as_u64().expect("a number");
    assert!(if refuses { letters > RECORDS / 100 * 9 / 10 } else { letters == 0 }, "{letters} letters");
    scene.kafka.delete_topic(&scene.topic);
    took
}

/// What an attempt decides by the settings, it decides by those of its start: here the topic first refuses records
/// without a key and large ones.
fn a_setting_that_is_relaxed_in_mid_run_holds_for_the_next_attempt(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "relaxed", 4, &["cleanup.policy=compact", "max.message.bytes=50000"]);
    scene.configure(&[
        ("workers.count", "1"),
        ("shards.target_size", "\"256KiB\""),
        ("shards.by_key", "false"),
        ("record.key", "\".k\""),
        ("record.on_missing", "\"null\""),
        ("limits.rate_records", "2_000"),
        ("limits.max_bad_records", "100_000"),
    ]);
    const NUMBERS: u64 = 16_000;
    let large = "x".repeat(100_000);
    let line = |number: u64| match number % 200 {
        50 => format!("{{\"n\":{number}}}\n"),
        150 => format!("{{\"k\":\"{number}\",\"n\":{number},\"large\":\"{large}\"}}\n"),
        _ => format!("{{\"k\":\"{number}\",\"n\":{number}}}\n"),
    };
    let path = scene.program.write("data/events.jsonl", (0..NUMBERS).map(line).collect::<String>());
    let running = scene.start(&[]);
    wait_until("records have been set aside", Duration::from_secs(60), || {
        scene.status().is_some_and(|status| status["records"]["dead_lettered"].as_u64() > Some(1))
    });
    scene.kafka.alter_topic(&scene.topic, &["cleanup.policy=delete", "max.message.bytes=1000000"]);
    let report = running.finish(patience()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["workers"]["restarts"], 0, "{report:#}");
    let number = |letter: &Value| {
        let record: Value = serde_json::from_str(letter["record"].as_str().expect("text")).expect("a line of ours");
        record["n"].as_u64().expect("a number")
    };
    let letters: Vec<u64> = scene.dead_letters().iter().map(number).collect();
    assert!(!letters.is_empty(), "before the change there were some");
    let late = letters.iter().filter(|number| **number >= NUMBERS * 3 / 4).collect::<Vec<_>>();
    assert!(late.is_empty(), "set aside by what held long before: {late:?}");
    let missing = letters.len() as u64;
    assert_eq!(scene.judge(&Multiset::of_lines(&[path])).0, Difference { missing, ..Difference::default() });
    scene.verify().1.expect_code(0);
    scene.program.assert_nothing_left();
}

/// A supervisor is killed when letters are on disk and none is committed; then the topic is mended.
fn letters_of_a_killed_run_are_not_taken_for_records_set_aside(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "uncommitted", 4, &["message.timestamp.before.max.ms=3600000"]);
    scene.configure(&[
        ("workers.count", "1"),
        ("workers.chunk", "{ interval = \"60s\" }"),
        ("record.timestamp", "\".at\""),
        ("record.timestamp_unit", "\"ms\""),
        ("limits.rate_records", "20"),
        ("limits.max_bad_records", "100_000"),
        ("checks.accept", "[\"timestamps\"]"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
    // Those that are taken last keep the chunk open.
    let line = |number: u64| format!("{{\"at\":{},\"n\":{number}}}\n", if number < 5_000 { 1_000 + number } else { now });
    let path = scene.program.write("data/events.jsonl", (0..7_000).map(line).collect::<String>());
    let running = scene.start(&[]);
    wait_until("letters are on disk", patience(), || {
        scene.status().is_some_and(|status| status["uncommitted_dead_letters"].as_u64() > Some(0))
    });
    assert!(faults::kill_process(running.pid()));
    drop(running.finish(patience()));
    let status = scene.status().expect("there is a state");
    assert_eq!(status["records"]["dead_lettered"], 0, "none is committed: {status:#}");
    let uncommitted = status["uncommitted_dead_letters"].as_u64().expect("a number");
    assert!(uncommitted > 0);
    let text = scene.program.run(&["status"], patience()).stdout;
    assert!(text.contains("not committed"), "{text}");
    // They are no excuse for what the topic lacks.
    let (_, finished) = scene.verify();
    let verdict = finished.expect_code(6).json();
    assert!(verdict["missing"].as_u64() >= Some(5_000), "{verdict:#}");
    assert_eq!(verdict["dead_letters"]["uncommitted"], uncommitted);
    scene.kafka.alter_topic(&scene.topic, &[&format!("message.timestamp.before.max.ms={}", i64::MAX)]);
    let report = scene.run(&NO_LIMIT).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&7_000.into(), &0.into()));
    assert_eq!(scene.status().expect("there is a state")["uncommitted_dead_letters"], 0, "cut off by the attempt");
    // What was delivered of the killed chunk is there twice.
    let difference = scene.judge_and_verify(&Multiset::of_lines(&[path]));
    assert_eq!((difference.missing, difference.unexpected), (0, 0));
    scene.program.assert_nothing_left();
}

/// As many letters as were moved away are on disk and not committed when the supervisor is killed: they are not taken
/// for those.
fn letters_that_were_moved_away_are_missed(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "moved");
    scene.configure(&[
        ("record.key", "\".k\""),
        ("workers.count", "1"),
        ("limits.rate_records", "1_000"),
        ("limits.max_bad_records", "100_000"),
    ]);
    // The same number of bad records, each with a letter of the same length, in the first second and after four.
    let is_bad = |number: u64| (200..300).contains(&number) || (4_200..4_300).contains(&number);
    // Letters are written to disk by 64 KiB: the last one is that large, so that the others are there long before their
    // chunk ends.
    let pad = |number: u64| "x".repeat(if number == 4_299 { 80_000 } else { 0 });
    let line = |number: u64| format!("{{\"{}\":\"{number:05}{}\"}}\n", if is_bad(number) { "n" } else { "k" }, pad(number));
    let source = Multiset::of_lines(&[scene.program.write("data/events.jsonl", (0..8_000).map(line).collect::<String>())]);
    // Slow enough that a busy machine stops it before the later ones.
    let running = scene.start(&["--set", "limits.rate_records=300"]);
    wait_until("the first letters are committed", patience(), || {
        scene.status().is_some_and(|status| status["records"]["dead_lettered"] == 100)
    });
    running.signal(Signal::SIGTERM);
    running.finish(patience()).expect_code(75);
    std::fs::rename(scene.program.join(".shardlift/moved/dead-letters/00000.jsonl"), scene.program.join("elsewhere"))
        .expect("ours");
    let running = scene.start(&["--set", "workers.chunk={ interval = \"60s\" }"]);
    let file = scene.program.join(".shardlift/moved/dead-letters/00000.jsonl");
    wait_until("as many letters are on disk, and not committed", patience(), || {
        let written = std::fs::read(&file).unwrap_or_default();
        written.iter().filter(|byte| **byte == b'\n').count() >= 99
    });
    assert!(faults::kill_process(running.pid()));
    drop(running.finish(patience()));
    // 100 letters are in the files and 100 are counted, and none of them is one of these.
    let verdict = scene.verify().1.expect_code(6).json();
    assert_eq!(verdict["dead_letters"]["committed"], 0, "{verdict:#}");
    assert_eq!(verdict["dead_letters"]["counted"], 100, "{verdict:#}");
    let report = scene.run(&NO_LIMIT).expect_code(74).json();
    assert_eq!(report["records"]["dead_lettered"], 200);
    assert!(
        report["reasons"][0].as_str().is_some_and(|reason| reason.contains("100 dead letters that were committed are gone")),
        "{report:#}"
    );
    let notices = report["notices"].to_string();
    assert!(notices.contains("bytes of dead letters that were committed are gone"), "{notices}");
    let finished = scene.verify().1.expect_code(6);
    let verdict = finished.json();
    assert_eq!(verdict["outcome"], "different", "{verdict:#}");
    assert_eq!(
        verdict["dead_letters"],
        serde_json::json!({ "committed": 100, "counted": 200, "uncommitted": 0, "altered": 0 }),
        "{verdict:#}"
    );
    let difference = scene.judge(&source).0;
    assert_eq!((difference.missing, difference.unexpected), (200, 0));
    // A run of a job that is done looks again: at letters that are back at their place, and at a folder that is gone.
    scene.run(&[]).expect_code(74);
    let back = std::fs::read(scene.program.join("elsewhere")).expect("ours");
    let letters = scene.program.join(".shardlift/moved/dead-letters/00000.jsonl");
    std::fs::File::options().write(true).open(letters).and_then(|file| file.write_all_at(&back, 0)).expect("ours");
    scene.run(&[]).expect_code(0);
    // The killed supervisor's records are there twice.
    let verdict = scene.verify().1.expect_code(6).json();
    assert_eq!((&verdict["dead_letters"]["committed"], &verdict["missing"]), (&200.into(), &0.into()), "{verdict:#}");
    std::fs::remove_dir_all(scene.program.join(".shardlift/moved/dead-letters")).expect("it is there");
    let again = scene.run(&[]).expect_code(74);
    assert!(again.json()["reasons"].to_string().contains("200 dead letters"), "{again:?}");
    scene.program.assert_nothing_left();
}

/// A refusal by the broker makes the client begin a new producer epoch, and then a batch whose answer is lost is
/// doubled: so the broker is not asked about what the settings decide.
fn cut_connections_double_nothing_where_the_settings_refuse(clusters: &Clusters) {
    let kafka = clusters.outage();
    let scene = Scene::with_topic(&kafka, "cut", 8, &["message.timestamp.before.max.ms=3600000"]);
    let brokers = format!("[\"{}\"]", kafka.distant());
    scene.configure(&[
        ("kafka.brokers", brokers.as_str()),
        ("workers.count", "2"),
        ("record.key", "\".k\""),
        ("record.timestamp", "\".at\""),
        ("record.timestamp_unit", "\"ms\""),
        ("limits.rate_records", "25_000"),
        ("limits.max_bad_records", "100"),
    ]);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64;
    let line = |number: u64| {
        let at = if number % 1_500 == 700 { now - 86_400_000 } else { now - number };
        format!("{{\"k\":\"key-{}\",\"at\":{at},\"n\":{number}}}\n", number % 500)
    };
    let path = scene.program.write("data/events.jsonl", (0..75_000).map(line).collect::<String>());
    let running = scene.start(&[]);
    scene.await_records();
    for _ in 0..30 {
        kafka.cut();
        std::thread::sleep(Duration::from_millis(80));
    }
    let report = running.finish(patience()).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["workers"]["restarts"], &report["records"]["resent"]), (&0.into(), &0.into()), "{report:#}");
    assert_eq!(report["records"]["dead_lettered"], 50);
    let source = Multiset::of_lines(&[path]);
    assert_eq!(scene.judge(&source).0, Difference { missing: 50, ..Difference::default() }, "no duplicate without a death");
    scene.verify().1.expect_code(0);
    scene.program.assert_nothing_left();
}

fn a_topic_deleted_in_mid_run_is_never_done(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "deleted-topic");
    scene.configure(&faults::slow_keys(&[("workers.count", "4"), ("kafka.give_up_after", "\"10s\"")]));
    scene.orders(23, LINES);
    let running = scene.start(&[]);
    scene.await_records();
    scene.kafka.delete_topic(&scene.topic);
    let deleted = Instant::now();
    let report = running.finish(patience()).expect_code(4).json();
    assert!(deleted.elapsed() < Duration::from_secs(30), "noticed after {:?}", deleted.elapsed());
    assert_stopped_undone(&report);
    // Whichever noticed, the helper that watches or a worker whose records come back: there is one reason, and it says
    // what happened.
    assert_eq!(report["reasons"], Value::from(vec![format!("topic {} was deleted", scene.topic)]), "{report:#}");
    assert!(!scene.kafka.has_topic(&scene.topic), "the topic was created again");
    scene.program.assert_nothing_left();
}

/// An access control list that appears in mid-run: the error is permanent, no retry helps.
fn a_right_withdrawn_in_mid_run_is_never_done(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "forbidden");
    scene.configure(&faults::slow_keys(&[("workers.count", "4")]));
    let source = scene.orders(24, LINES);
    let running = scene.start(&[]);
    scene.await_records();
    kafka.add_rule(&scene.topic, Rule::Deny, Operation::Write);
    let report = running.finish(patience()).expect_code(5).json();
    assert_stopped_undone(&report);
    let said = report["reasons"].to_string().to_lowercase();
    assert!(said.contains("authoriz") || said.contains("authoris"), "{said}");
    scene.program.assert_nothing_left();
    kafka.remove_rules(&scene.topic);
    let report = scene.run(&NO_LIMIT).expect_code(0).json();
    assert_balances(&report);
    let difference = scene.judge_and_verify(&source);
    assert_eq!((difference.missing, difference.unexpected), (0, 0));
}
