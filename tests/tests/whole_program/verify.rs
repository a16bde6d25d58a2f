//! verify is honest (row 7): it judges by source and topic alone, and names each kind of difference.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use whole_program::multiset::Difference;
use whole_program::program::Finished;
use whole_program::scene::{PATIENCE, Scene, Verdict};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::TopicRecord;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, each_difference_is_named),
    test!(Works, Kafka, without_keys_altered_is_missing_and_unexpected),
    test!(Works, Kafka, what_was_there_before_the_job_is_not_judged),
    test!(Works, Kafka, headers_times_and_partitions_are_compared),
    test!(Works, Kafka, times_that_the_brokers_replace_are_not_compared),
    test!(Works, Kafka, a_run_that_verifies_exits_with_6),
    test!(Waits, Kafka, another_producers_open_transaction_is_waited_for),
    test!(Waits, Kafka, what_compaction_took_is_not_missing),
    test!(Waits, Kafka, files_that_came_or_grew_in_mid_run_are_named),
    test!(Works, Kafka, dead_letters_that_were_changed_are_named),
    test!(Works, Kafka, a_limit_counts_where_it_was_reached_only),
];

const LINES: u64 = 20_000;

/// What `verify --receipts` says, which ends with this code.
fn receipts(scene: &Scene, code: i32) -> Value {
    scene.program.run(&["verify", "--receipts", "-o", "json"], PATIENCE).expect_code(code).json()
}

fn each_difference_is_named(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    let source = scene.orders(10, LINES);
    scene.run(&[]).expect_code(0);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    let mut state = scene.status().expect("there is a state");
    assert_eq!((&state["verify"]["outcome"], &state["verify"]["run"]), (&json!("same"), &json!(1)));

    assert_eq!(receipts(&scene, 0)["delivered"]["records"], LINES);

    // An extra copy of a record.
    let records = kafka.records(&scene.topic);
    let record = records.iter().find(|record| record.partition == 3 && record.offset == 5).expect("the topic has it");
    let key = text(record.key.as_deref());
    kafka.produce(&scene.topic, &[(&key, &text(record.value.as_deref()))]);
    let examples = expect(&scene, Verdict { duplicates: 1, ..Verdict::SAME });
    assert!(examples.contains("duplicate"), "{examples}");
    assert_eq!(scene.judge_and_verify(&source), Difference { duplicates: 1, ..Difference::default() });
    let more = receipts(&scene, 6)["verdict"].to_string();
    assert!(more.contains("holds 1 record more than were delivered (no death explains them)"), "{more}");

    // A record that is not in the source.
    kafka.produce(&scene.topic, &[("stranger", "{\"foreign\":true}")]);
    let examples = expect(&scene, Verdict { duplicates: 1, unexpected: 1, ..Verdict::SAME });
    assert!(examples.contains("unexpected"), "{examples}");

    // A changed value: the oldest record of a partition goes, and one of the same key with another value comes.
    let oldest = records.iter().find(|record| record.partition == 0 && record.offset == 0).expect("the topic has it");
    kafka.delete_records(&scene.topic, 0, 1);
    kafka.produce(&scene.topic, &[(&text(oldest.key.as_deref()), "{\"altered\":true}")]);
    let examples = expect(&scene, Verdict { duplicates: 1, altered: 1, unexpected: 1, ..Verdict::SAME });
    assert!(examples.contains("altered"), "{examples}");

    // As many records, and another one among them.
    let altered = receipts(&scene, 6);
    assert_eq!((&altered["topic"]["records"], &altered["gone"]), (&json!(LINES + 2), &json!(1)), "{altered:#}");

    // Deleted records.
    kafka.delete_records(&scene.topic, 1, 10);
    let examples = expect(&scene, Verdict { duplicates: 1, altered: 1, unexpected: 1, missing: 10, ..Verdict::SAME });
    assert!(examples.contains("missing") && examples.contains("orders.jsonl"), "{examples}");
    let (_, verified) = scene.verify();
    assert!(verified.json()["gone"].to_string().contains("10"), "{}", verified.stdout);
    let seen = Difference { missing: 11, duplicates: 1, unexpected: 2 };
    assert_eq!(scene.judge_and_verify(&source), seen);

    // Values are masked unless asked for.
    assert!(!examples.contains("\\\"foreign\\\"") && !examples.contains("stranger"), "{examples}");
    let shown = scene.program.run(&["verify", "-o", "json", "--show-values"], whole_program::scene::PATIENCE).expect_code(6);
    assert!(shown.stdout.contains("stranger"), "{}", shown.stdout);
    let mut now = scene.status().expect("there is a state");
    let kept = &now["verify"];
    assert_eq!((&kept["outcome"], &kept["missing"], &kept["sent_since"]), (&json!("different"), &json!(10), &json!(false)));
    let text = scene.program.run(&["status"], whole_program::scene::PATIENCE).expect_code(0).stdout;
    assert!(
        text.contains("verified after run 1, ") && text.contains("missing 10, duplicates 1, altered 1, unexpected 1"),
        "{text}"
    );
    (state["verify"], now["verify"]) = (json!(null), json!(null));
    assert_eq!(now, state, "verify leaves the rest of the state as it is");
    scene.program.assert_nothing_left();
}

/// Runs verify, checks its figures and returns its examples.
fn expect(scene: &Scene, verdict: Verdict) -> String {
    let (seen, finished) = scene.verify();
    assert_eq!(seen, verdict, "{}", finished.stdout);
    assert_eq!(finished.json()["outcome"], "different");
    finished.json()["examples"].to_string()
}

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("not null").to_vec()).expect("orders are text")
}

fn without_keys_altered_is_missing_and_unexpected(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-keyless");
    scene.configure(&[]);
    let source = scene.orders(11, LINES);
    scene.run(&[]).expect_code(0);
    let first = kafka.records(&scene.topic).into_iter().find(|record| record.offset == 0).expect("the topic has records");
    kafka.delete_records(&scene.topic, first.partition, 1);
    kafka.produce(&scene.topic, &[("", "{\"altered\":true}")]);
    let (seen, finished) = scene.verify();
    assert_eq!(seen, Verdict { missing: 1, unexpected: 1, ..Verdict::SAME }, "{}", finished.stdout);
    scene.judge_and_verify(&source);
    scene.program.assert_nothing_left();
}

/// The job's own headers, as kcat writes them.
const HEADERS: [&str; 4] = ["-H", "origin=orders", "-H", "empty="];

/// The oldest record of a partition goes, and another producer writes it again: to `partition`, as `words` say.
fn forge(scene: &Scene, oldest_of: u32, partition: u32, words: &[&str]) {
    let of = |partition| move |record: &&TopicRecord| record.partition == partition;
    let records = scene.kafka.records(&scene.topic);
    let oldest = records.iter().filter(of(oldest_of)).min_by_key(|record| record.offset).expect("the topic has it");
    scene.kafka.delete_records(&scene.topic, oldest_of, oldest.offset + 1);
    let to = ["-p", &partition.to_string()];
    let record = (text(oldest.key.as_deref()), text(oldest.value.as_deref()));
    scene.kafka.produce_as(&scene.topic, &[&to, words].concat(), &[(&record.0, &record.1)]);
}

/// Same key, same value, and still not what the job sends.
fn headers_times_and_partitions_are_compared(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-details");
    let keys = [("record.key", "\".customer_id\""), ("record.headers", "{ origin = \"orders\", empty = \"\" }")];
    scene.configure(&keys);
    scene.orders(16, LINES);
    let verified = scene.run(&["--verify"]).expect_code(0).json();
    assert_eq!(verified["verify"]["outcome"], "same", "{verified:#}");
    let compared = |partitions, headers, timestamps| serde_json::json!({ "partitions": partitions, "headers": headers, "timestamps": timestamps });
    assert_eq!(verified["verify"]["compared"], compared(true, true, false));

    // As the job writes it, but for the time, which this job leaves to the client.
    forge(&scene, 0, 0, &HEADERS);
    assert_eq!(scene.verify().0, Verdict::SAME);
    // Without headers, with another value, with one more, and in another order.
    let wrong: [&[&str]; 4] = [
        &[],
        &["-H", "origin=others", "-H", "empty="],
        &[&HEADERS[..], &["-H", "more=1"]].concat(),
        &["-H", "empty=", "-H", "origin=orders"],
    ];
    for (altered, headers) in (1..).zip(wrong) {
        forge(&scene, 1, 1, headers);
        let examples = expect(&scene, Verdict { altered, ..Verdict::SAME });
        assert!(examples.contains("\"altered\"") && examples.contains("orders.jsonl"), "{examples}");
    }
    // In another partition.
    forge(&scene, 2, 3, &HEADERS);
    let examples = expect(&scene, Verdict { altered: 4, misplaced: 1, ..Verdict::SAME });
    assert!(examples.contains("\"misplaced\""), "{examples}");

    // A job with times as well.
    let scene = Scene::new(kafka, "verified-times");
    scene.configure(&[&keys[..], &[("record.timestamp", "\".created_at\"")]].concat());
    scene.orders(17, LINES);
    let verified = scene.run(&["--verify"]).expect_code(0).json();
    assert_eq!(verified["verify"]["compared"], compared(true, true, true));
    let text = scene.program.run(&["verify"], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("compared: key, value, headers, timestamp, partition of each record"), "{text}");
    // kcat gives it the present.
    forge(&scene, 0, 0, &HEADERS);
    expect(&scene, Verdict { altered: 1, ..Verdict::SAME });
    forge(&scene, 0, 1, &HEADERS);
    // What differs in time and partition is no longer a record of the source.
    expect(&scene, Verdict { altered: 1, missing: 1, unexpected: 1, ..Verdict::SAME });
    scene.program.assert_nothing_left();
}

/// The topic's own setting says that the job's times are lost: that is told before anything is sent, and after.
fn times_that_the_brokers_replace_are_not_compared(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::with_topic(kafka, "verified-append", 8, &["message.timestamp.type=LogAppendTime"]);
    scene.configure(&[("record.key", "\".customer_id\""), ("record.timestamp", "\".created_at\"")]);
    scene.orders(18, LINES);
    let refused = scene.run(&[]).expect_code(4);
    assert!(refused.stderr.contains("message.timestamp.type=LogAppendTime"), "{}", refused.stderr);
    let run = scene.run(&["--accept", "timestamps"]).expect_code(0);
    assert!(run.stderr.contains("message.timestamp.type=LogAppendTime"), "{}", run.stderr);
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME, "{}", finished.stdout);
    assert_eq!(finished.number("/replaced_timestamps"), LINES);
    assert_eq!(finished.json()["compared"]["timestamps"], false, "{}", finished.stdout);
    let text = scene.program.run(&["verify"], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("timestamps NOT compared: the brokers wrote their own over those of 20,000 records"), "{text}");
    forge(&scene, 2, 3, &[]);
    expect(&scene, Verdict { misplaced: 1, ..Verdict::SAME });
    scene.program.assert_nothing_left();
}

/// A topic that production uses already: only what came since the job's start is compared.
fn what_was_there_before_the_job_is_not_judged(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-used");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(12, LINES);
    let old: Vec<(String, String)> = (0..500).map(|n| (format!("k{n}"), format!("{{\"old\":{n}}}"))).collect();
    let old: Vec<(&str, &str)> = old.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    kafka.produce(&scene.topic, &old);
    scene.run(&[]).expect_code(0);
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME);
    assert_eq!(finished.json()["outcome"], Value::from("same"));
    assert_eq!(finished.number("/topic_records"), LINES);
    assert_eq!(finished.number("/older"), 500);

    // Starting over leaves what the first run sent, and says how much that is.
    let ends = kafka.end_offsets(&scene.topic);
    scene.run(&["--restart", "--yes"]).expect_code(0);
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME);
    assert_eq!(finished.number("/topic_records"), LINES);
    assert_eq!(finished.number("/older"), 500 + LINES);
    assert_eq!(finished.json()["starts"], Value::from(ends));
    let text = scene.program.run(&["verify"], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("from the job's start on, the topic holds exactly the source's records"), "{text}");
    assert!(text.contains("NOT judged: what stands before, at most 20,500 older records"), "{text}");
    scene.program.assert_nothing_left();
}

/// Records of an open transaction are in the log, and can't be read: a job begins behind them, and nothing behind them
/// is missing.
fn another_producers_open_transaction_is_waited_for(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-open");
    scene.configure(&[("record.key", "\".customer_id\""), ("kafka.give_up_after", "\"2s\"")]);
    scene.orders(14, 1000);
    let transaction = kafka.open_transaction(&scene.topic, 3, &["a", "b", "c", "d", "e"]);
    scene.run(&[]).expect_code(0);
    let refused = scene.program.run(&["verify", "-o", "json"], PATIENCE).expect_code(75);
    let said = "transaction is open in partition 3 since offset 0:";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    transaction.commit();
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME, "{}", finished.stdout);
    assert_eq!(finished.json()["starts"][3], 5, "{}", finished.stdout);

    // One that ends in time is waited for; what it held when it is aborted is no record.
    let transaction = kafka.open_transaction(&scene.topic, 0, &["f"]);
    scene.configure(&[("record.key", "\".customer_id\""), ("kafka.give_up_after", "\"60s\"")]);
    let verify = scene.program.start(&["verify", "-o", "json"]);
    wait_until("it has met the transaction", PATIENCE, || verify.stderr().contains("transaction is open in partition 0"));
    transaction.abort();
    let finished = verify.finish(PATIENCE).expect_code(0);
    assert_eq!(finished.json()["outcome"], "same");

    // The job is run while it is waited for: what that may have sent was not expected.
    let transaction = kafka.open_transaction(&scene.topic, 0, &["g"]);
    let verify = scene.program.start(&["verify", "--duplicates", "list.jsonl"]);
    wait_until("it has met the transaction", PATIENCE, || verify.stderr().contains("transaction is open in partition 0"));
    scene.run(&[]).expect_code(0);
    transaction.abort();
    let refused = verify.finish(PATIENCE).expect_code(75);
    assert!(refused.stderr.contains("was run while topic and source were compared"), "{}", refused.stderr);
    assert!(!scene.program.join("list.jsonl").exists());
    scene.program.assert_nothing_left();
}

/// Ten records of each of 200 customers, of which the cleaner leaves the newest.
fn what_compaction_took_is_not_missing(clusters: &Clusters) {
    let kafka = clusters.one();
    let configs = ["cleanup.policy=compact", "segment.ms=100", "min.cleanable.dirty.ratio=0.01"];
    let scene = Scene::with_topic(kafka, "verified-compacted", 2, &configs);
    // Slow enough for some segments: the cleaner leaves the newest one alone.
    scene.configure(&[("record.key", "\".k\""), ("limits.rate_records", "1000")]);
    let lines: String = (0..2000).map(|n| format!("{{\"k\":\"{}\",\"n\":{n}}}\n", n % 200)).collect();
    scene.program.write("data/keys.jsonl", &lines);
    scene.run(&[]).expect_code(0);
    let deadline = Instant::now() + PATIENCE;
    let mut superseded = 0;
    while superseded == 0 {
        assert!(Instant::now() < deadline, "the cleaner did not come");
        std::thread::sleep(Duration::from_millis(500));
        let finished = settled(&scene, &["verify", "-o", "json"]).expect_code(0);
        assert_eq!(finished.json()["compacted"], true, "{}", finished.stdout);
        superseded = finished.number("/superseded");
        assert_eq!(finished.number("/topic_records") + superseded, 2000, "{}", finished.stdout);
    }
    let text = settled(&scene, &["verify"]).expect_code(0).stdout;
    assert!(text.contains("nothing in the topic contradicts the source's records, but of"), "{text}");
    // The newest of a key is not explained by compaction.
    kafka.alter_topic(&scene.topic, &["cleanup.policy=compact,delete"]);
    let newest =
        kafka.records(&scene.topic).into_iter().filter(|record| record.partition == 0).map(|record| record.offset).max();
    kafka.delete_records(&scene.topic, 0, newest.expect("partition 0 has records") + 1);
    let finished = settled(&scene, &["verify", "-o", "json"]).expect_code(6);
    assert!(finished.number("/missing") > 0, "{}", finished.stdout);
    assert!(finished.json()["examples"].to_string().contains("keys.jsonl"), "{}", finished.stdout);
    scene.program.assert_nothing_left();
}

/// Runs a comparison that the cleaner did not disturb between its two readings.
fn settled(scene: &Scene, words: &[&str]) -> Finished {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let finished = scene.program.run(words, PATIENCE);
        if finished.code != 75 {
            return finished;
        }
        assert!(finished.stderr.contains("the topic changed while it was compared"), "{}", finished.stderr);
        assert!(Instant::now() < deadline, "the cleaner does not end");
    }
}

/// The topic gets a copy of a record; `run --verify` finds it.
fn a_run_that_verifies_exits_with_6(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-run");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(13, LINES);
    scene.run(&[]).expect_code(0);
    let record = kafka.records(&scene.topic).swap_remove(0);
    kafka.produce(&scene.topic, &[(&text(record.key.as_deref()), &text(record.value.as_deref()))]);
    // The job is done; running it again only verifies.
    let report = scene.run(&["--verify"]).expect_code(6).json();
    assert_eq!(report["exit_code"], 6, "{report:#}");
    assert_eq!(report["verify"]["duplicates"], 1, "{report:#}");
    assert_eq!(report["records"]["acknowledged"], LINES);
    let status = scene.status().expect("there is a state");
    assert_eq!((&status["verify"]["duplicates"], &status["exit_code"]), (&json!(1), &json!(6)));
    scene.program.assert_nothing_left();
}

/// A file that no shard holds, new or empty when the job began, is no part of "every record".
fn files_that_came_or_grew_in_mid_run_are_named(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "verified-files");
    scene.configure(&[("limits.rate_records", "50")]);
    scene.orders(15, 1000);
    scene.program.write("data/empty.jsonl", "");
    let run = scene.start(&[]);
    scene.await_records();
    scene.program.write("data/zz.jsonl", "{\"n\":1}\n");
    let ended = scene.let_it_end(run).expect_code(7);
    let report = ended.json();
    assert_eq!(report["records"]["acknowledged"], 1000, "{report:#}");
    let said = "zz.jsonl: matches the source's paths now and did not when planned; all records of the plan's files were sent or set aside, and none of it";
    assert!(report["reasons"].to_string().contains(said), "{report:#}");
    // What was planned can be compared.
    let verified = scene.program.run(&["verify", "-o", "json"], PATIENCE).expect_code(7).json();
    assert_eq!((&verified["missing"], &verified["outcome"]), (&Value::from(0), &Value::from("different")), "{verified:#}");
    assert!(verified["new_files"].to_string().contains("zz.jsonl"), "{verified:#}");
    // The run that continues says the same.
    let again = scene.run(&["--set", "limits.rate_records=\"none\""]).expect_code(7);
    assert!(again.stderr.contains(said), "{}", again.stderr);
    std::fs::remove_file(scene.program.join("data/zz.jsonl")).expect("it is there");
    scene.run(&["--verify"]).expect_code(0);

    scene.program.write("data/empty.jsonl", "{\"n\":2}\n");
    for command in ["run", "verify"] {
        let refused = scene.program.run(&[command, "-o", "json"], PATIENCE).expect_code(7);
        assert!(refused.stderr.contains("empty.jsonl: is longer than planned: 8 bytes instead of 0"), "{}", refused.stderr);
    }
    scene.program.assert_nothing_left();
}

/// With `--limit` above the source's size the job is about the whole source.
fn a_limit_counts_where_it_was_reached_only(clusters: &Clusters) {
    let kafka = clusters.one();
    for (name, limit, reached) in [("verified-above", "1001", false), ("verified-limit", "1000", true)] {
        let scene = Scene::new(kafka, name);
        scene.configure(&[]);
        scene.orders(19, 1000);
        scene.run(&["--limit", limit]).expect_code(0);
        let verify = |code| scene.program.run(&["verify", "--limit", limit], PATIENCE).expect_code(code).stdout;
        let said = if reached { "exactly the source's first 1,000 records" } else { "exactly the source's records (" };
        let text = verify(0);
        assert!(text.contains(said), "{text}");
        scene.program.write("data/zz.jsonl", "{\"n\":1}\n");
        let code = if reached { 0 } else { 7 };
        let text = verify(code);
        assert_eq!(text.contains("zz.jsonl: not planned, not sent, not compared"), !reached, "{text}");
        scene.run(&["--limit", limit]).expect_code(code);
        scene.program.assert_nothing_left();
    }
}

/// A letter that was edited is no longer what was set aside.
fn dead_letters_that_were_changed_are_named(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "verified-letters");
    scene.configure(&[("record.key", "\".k\""), ("limits.max_bad_records", "10"), ("source.jsonl.max_line", "70_000")]);
    let bad = [&b"{\"n\":\"first\"}\n"[..], b"\xff no text\n", &[b'x'; 80_000], b"\n"].concat();
    scene.program.write("data/events.jsonl", [&b"{\"k\":1}\r\n"[..], &bad, b"{\"k\":2}\n"].concat());
    scene.run(&["--verify"]).expect_code(0);
    let file = scene.program.join(".shardlift/verified-letters/dead-letters/00000.jsonl");
    let right = std::fs::read_to_string(&file).expect("there are letters");
    for (from, to) in [("first", "First"), ("\"bytes\":80000", "\"bytes\":80001"), ("xxx\"}", "xxy\"}"), ("/yBu", "/yBv")] {
        assert!(right.contains(from), "{right}");
        std::fs::write(&file, right.replacen(from, to, 1)).expect("ours");
        let verdict = scene.program.run(&["verify", "-o", "json"], PATIENCE).expect_code(6).json();
        assert_eq!(
            (&verdict["dead_letters"]["altered"], &verdict["missing"]),
            (&Value::from(1), &Value::from(0)),
            "{verdict:#}"
        );
        assert!(verdict["examples"].to_string().contains("\"kind\":\"letter\""), "{verdict:#}");
    }
    std::fs::write(&file, right).expect("ours");
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}
