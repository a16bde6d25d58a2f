//! verify of a topic that lives: others write to it, workers die, and records go for reasons of the topic's own.

use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;

use nix::pty::{Winsize, openpty};
use serde_json::{Value, json};
use whole_program::faults::kill_process;
use whole_program::program::Finished;
use whole_program::scene::{PATIENCE, Scene, Verdict, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::TopicRecord;
use whole_program::waiting::{wait_child, wait_until};

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, "with_headers_live_records_are_others", |clusters| live(clusters, true)),
    test!(Waits, Kafka, "without_headers_live_records_are_told", |clusters| live(clusters, false)),
    test!(Waits, Kafka, duplicates_of_a_killed_worker_are_allowed_and_more_are_not),
    test!(Works, Kafka, surplus_copies_are_listed_as_another_reader_finds_them),
    test!(Works, Kafka, what_took_records_away_is_told_apart),
    test!(Waits, Nothing, the_embedded_brokers_own_limit_is_told),
    test!(Works, Kafka, a_terminal_of_80_columns_shows_how_far_it_is),
];

/// The job's own header, as kcat writes it.
const HEADER: [&str; 2] = ["-H", "origin=orders"];

fn text(bytes: Option<&[u8]>) -> String {
    String::from_utf8(bytes.expect("not null").to_vec()).expect("orders are text")
}

/// `shardlift verify` as text; its exit code must be this.
fn said(scene: &Scene, words: &[&str], code: i32) -> Finished {
    scene.program.run(&[&["verify"], words].concat(), PATIENCE).expect_code(code)
}

/// The oldest record of a partition.
fn oldest(records: &[TopicRecord], partition: u32) -> &TopicRecord {
    records.iter().filter(|record| record.partition == partition).min_by_key(|record| record.offset).expect("it has some")
}

/// 300 records of kcat come in mid-run; then a copy, a change and a loss are found beside them.
fn live(clusters: &Clusters, headers: bool) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, if headers { "live-headers" } else { "live" });
    let mut keys = vec![("record.key", "\".customer_id\""), ("limits.rate_records", "300")];
    keys.extend(headers.then_some(("record.headers", "{ origin = \"orders\" }")));
    scene.configure(&keys);
    scene.orders(70, 20_000);
    let own: &[&str] = if headers { &HEADER } else { &[] };

    let running = scene.start(&["--verify"]);
    scene.await_records();
    // With a customer's key and with others', to any partition, and two hundred of the kind that no key has.
    let foreign: Vec<_> = (0..100).map(|n| (format!("live-{}", n % 40), format!("{{\"live\":{n}}}"))).collect();
    let foreign: Vec<_> = foreign.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    kafka.produce(&scene.topic, &foreign);
    let before = kafka.records(&scene.topic);
    let customer = text(oldest(&before, 0).key.as_deref());
    let customers: Vec<_> = (0..99).map(|_| (customer.as_str(), "{\"live\":true}")).collect();
    kafka.produce_as(&scene.topic, &["-p", "1", "-H", "tracing=on"], &customers);
    kafka.produce_as(&scene.topic, &["-Z"], &vec![("", ""); 101]);
    let run = scene.let_it_end(running).expect_code(0).json();
    let count = if headers { "others" } else { "unexpected" };
    let outcome = if headers { "same" } else { "complete" };
    assert_eq!((&run["verify"][count], &run["verify"]["outcome"]), (&json!(300), &json!(outcome)), "{run:#}");

    let sentence = if headers {
        "the topic holds exactly the source's records; beside them 300 records of other producers, without the job's headers"
    } else {
        "every record of the source is there; beside them 300 records that are not the source's: other producers', or altered"
    };
    let told = said(&scene, &[], 0).stdout;
    assert!(told.starts_with(&format!("verified: {sentence} (")), "{told}");
    assert_eq!(told.contains("UNEXPECTED RECORDS ARE NOT JUDGED"), !headers, "{told}");
    let (verdict, finished) = scene.verify();
    let told_apart = if headers { Verdict::SAME } else { Verdict { unexpected: 300, ..Verdict::SAME } };
    assert_eq!(verdict, told_apart, "{}", finished.stdout);
    assert_eq!((finished.number("/others"), finished.number("/topic_records")), (if headers { 300 } else { 0 }, 20_300));
    // `status` and the page say the same.
    let status = scene.status().expect("there is a state");
    assert_eq!((&status["verify"][count], &status["verify"]["outcome"]), (&json!(300), &json!(outcome)));
    let status = scene.program.run(&["status"], PATIENCE).expect_code(0).stdout;
    assert!(status.contains(&format!(": {sentence}\n  {count} 300\n")), "{status}");
    scene.program.run(&["report", "--html", "page.html"], PATIENCE).expect_code(0);
    let page = std::fs::read_to_string(scene.program.join("page.html")).expect("it is written");
    let shown = format!("data-json=\"verify.{count}\" data-value=\"300\"");
    assert!(page.contains(&shown) && page.contains(&sentence.replace('\'', "&#39;")), "no {shown}");

    // A copy of a record, as the job writes it.
    let records = kafka.records(&scene.topic);
    let copied = oldest(&records, 2);
    kafka.produce_as(&scene.topic, own, &[(&text(copied.key.as_deref()), &text(copied.value.as_deref()))]);
    let mut expected = Verdict { duplicates: 1, ..told_apart };
    assert_eq!(scene.verify().0, expected);
    let refused = said(&scene, &["--allow-duplicates"], 6).stdout;
    let both = "THE TOPIC DIFFERS FROM THE SOURCE: 1 duplicate, and the known deaths explain at most 0";
    assert!(refused.contains(both), "{refused}");

    // A record that was changed: the job's headers, the same key, another value.
    let changed = oldest(&records, 3);
    kafka.delete_records(&scene.topic, 3, changed.offset + 1);
    kafka.produce_as(&scene.topic, own, &[(&text(changed.key.as_deref()), "{\"changed\":true}")]);
    expected.altered = 1;
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, expected, "{}", finished.stdout);

    // A record that went; and one in whose place stands another producer's with its key and value.
    let records = kafka.records(&scene.topic);
    let gone = oldest(&records, 4).clone();
    kafka.delete_records(&scene.topic, 4, gone.offset + 1);
    expected.missing = 1;
    assert_eq!(scene.verify().0, expected);
    if headers {
        kafka.produce(&scene.topic, &[(&text(gone.key.as_deref()), &text(gone.value.as_deref()))]);
        expected = Verdict { missing: 0, altered: 2, ..expected };
        let (verdict, finished) = scene.verify();
        assert_eq!(verdict, expected, "no headers are no excuse: {}", finished.stdout);
        assert_eq!(finished.number("/others"), 300, "it is counted once");
        // With the job's headers it can't be another producer's.
        kafka.produce_as(&scene.topic, own, &[("stranger", "{}")]);
        assert_eq!(scene.verify().0, Verdict { unexpected: 1, ..expected });
    }
    // Allowed duplicates excuse none of it.
    said(&scene, &["--allow-duplicates"], 6);
    scene.program.assert_nothing_left();
}

/// A worker dies behind thousands of records that it had not committed: they come twice.
fn duplicates_of_a_killed_worker_are_allowed_and_more_are_not(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "live-killed");
    // One chunk, so that all that came before the kill is sent again; without a key whole groups leave early.
    let keys = [
        ("workers.count", "1"),
        ("workers.chunk", "{ records = 1_000_000, interval = \"60s\" }"),
        ("limits.rate_records", "15_000"),
    ];
    scene.configure(&keys);
    scene.orders(71, 40_000);
    let running = scene.start(&[]);
    let mut worker = None;
    wait_until("the worker has sent some", PATIENCE, || {
        worker = running.children().into_iter().find(|child| child.name.starts_with("shard "));
        worker.is_some() && kafka.end_offsets(&scene.topic).iter().sum::<u64>() >= 5_000
    });
    assert!(kill_process(worker.expect("it was seen").pid));
    let report = scene.let_it_end(running).expect_code(0).json();
    let most = report["records"]["resent"].as_u64().expect("a number");

    let (verdict, finished) = scene.verify();
    assert!((5_000..=most).contains(&verdict.duplicates), "{verdict:?}, and at most {most}");
    assert_eq!(verdict, Verdict { duplicates: verdict.duplicates, ..Verdict::SAME });
    assert_eq!(finished.json()["allowed_duplicates"], Value::Null, "{}", finished.stdout);
    let allowed = scene.program.run(&["verify", "-o", "json", "--allow-duplicates"], PATIENCE).expect_code(0);
    assert_eq!((allowed.number("/allowed_duplicates"), allowed.number("/duplicates")), (most, verdict.duplicates));
    assert_eq!(allowed.json()["outcome"], "complete");
    // The same by the config, by `run`, and by a variable that takes it back.
    scene.configure(&[&keys[..], &[("verify.allow_duplicates", "true")]].concat());
    let told = said(&scene, &[], 0).stdout;
    assert!(told.contains("duplicates, allowed: the known deaths explain up to "), "{told}");
    scene.run(&["--verify"]).expect_code(0);
    let mut refusing = scene.program.command(&["verify", "-o", "json"]);
    refusing.env("SHARDLIFT_ALLOW_DUPLICATES", "0");
    scene.program.spawn(refusing).finish(PATIENCE).expect_code(6);

    // More than the death explains: each list has one of two equal records.
    let copy = kafka.records(&scene.topic).swap_remove(0);
    let copies = vec![("", text(copy.value.as_deref())); (most - verdict.duplicates + 1) as usize];
    let copies: Vec<_> = copies.iter().map(|(key, value)| (*key, value.as_str())).collect();
    kafka.produce_as(&scene.topic, &["-Z"], &copies);
    let refused = scene.run(&["--verify", "--duplicates", "list.jsonl"]).expect_code(6).json();
    let listed = list(&scene, "list.jsonl");
    assert_eq!(refused["verify"]["duplicates"], json!(most + 1), "{refused:#}");
    let above = "duplicates, and the known deaths explain at most";
    assert!(refused["reasons"].to_string().contains(above), "{refused:#}");
    let mut left: HashMap<Option<Vec<u8>>, u64> = HashMap::new();
    for record in kafka.records(&scene.topic) {
        let surplus = listed.contains(&(u64::from(record.partition), record.offset, None));
        *left.entry(record.value).or_default() += u64::from(!surplus);
    }
    assert!(left.values().all(|copies| *copies == 1), "without what is listed each record is there once");
    assert_eq!((listed.len() as u64, left.len()), (most + 1, 40_000));
    scene.program.assert_nothing_left();
}

/// The lines of a list of duplicates: partition, offset and key, each line once.
fn list(scene: &Scene, name: &str) -> BTreeSet<(u64, u64, Listed)> {
    let text = std::fs::read_to_string(scene.program.join(name)).expect("the list is there");
    let line = |line: &str| {
        let line: Value = serde_json::from_str(line).expect("each line is JSON");
        let number = |name: &str| line[name].as_u64().expect("a number");
        let key = line["key"].as_str().map(str::to_owned);
        (number("partition"), number("offset"), key)
    };
    let listed: BTreeSet<_> = text.lines().map(line).collect();
    assert_eq!(listed.len(), text.lines().count(), "no line is there twice");
    listed
}

/// A key in a list.
type Listed = Option<String>;

/// With keys equal records are in one partition, where the later ones are surplus.
fn surplus_copies_are_listed_as_another_reader_finds_them(clusters: &Clusters) {
    use std::os::unix::fs::PermissionsExt as _;
    let kafka = clusters.one();
    let scene = Scene::new(kafka, "live-list");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(72, 5_000);
    // A list would be a file of the dataset, before there is any plan.
    let inside = scene.run(&["--verify", "--duplicates", "data/none.jsonl"]).expect_code(2);
    assert!(inside.stderr.contains("the job reads all that its source's paths mean"), "{}", inside.stderr);
    scene.run(&["--verify", "--duplicates", "none.jsonl"]).expect_code(0);
    assert!(list(&scene, "none.jsonl").is_empty(), "a list without a line");
    let records = kafka.records(&scene.topic);
    let some: Vec<_> = records.iter().step_by(50).map(|r| (text(r.key.as_deref()), text(r.value.as_deref()))).collect();
    let some: Vec<_> = some.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    kafka.produce(&scene.topic, &some);
    kafka.produce(&scene.topic, &some[..30]);
    kafka.produce(&scene.topic, &[("stranger", "{}")]);
    std::fs::write(scene.program.join("list.jsonl"), "of before").expect("ours");
    let found = said(&scene, &["--duplicates", "list.jsonl", "-o", "json"], 6);
    assert_eq!(found.number("/duplicates"), some.len() as u64 + 30);
    let (mut seen, mut expected) = (BTreeSet::new(), BTreeSet::new());
    let mut now = kafka.records(&scene.topic);
    now.sort_by_key(|record| (record.partition, record.offset));
    for record in now {
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        if !seen.insert((key.clone(), value)) {
            expected.insert((u64::from(record.partition), record.offset, Some(key)));
        }
    }
    assert_eq!(list(&scene, "list.jsonl"), expected);
    let mode = std::fs::metadata(scene.program.join("list.jsonl")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    // No list of what could not be compared, and none over the job's own files or where none can be.
    let refused = |words: &[&str], code: i32, what: &str| {
        let refused = scene.program.run(words, PATIENCE).expect_code(code);
        assert!(refused.stderr.contains(what), "{}", refused.stderr);
    };
    refused(&["verify", "--duplicates", "data/orders.jsonl"], 2, "the job reads");
    refused(&["verify", "--duplicates", "./data/../data/none.jsonl"], 2, "the job reads");
    refused(&["verify", "--duplicates", "orchestrator.toml"], 2, "the job reads");
    refused(&["verify", "--duplicates", "no/list.jsonl"], 74, "no/list.jsonl");
    refused(&["run", "--duplicates", "list.jsonl"], 2, "add --verify");
    refused(&["run", "--verify", "--duplicates", "data/orders.jsonl"], 2, "the job reads");
    std::fs::write(scene.program.join("data/orders.jsonl"), "{}\n").expect("ours");
    refused(&["verify", "--duplicates", "list.jsonl"], 7, "orders.jsonl");
    assert_eq!(list(&scene, "list.jsonl"), expected, "what was there before stays");
    let left = std::fs::read_dir(scene.program.folder()).expect("ours").flatten();
    let unfinished = left.filter(|entry| entry.file_name().to_string_lossy().contains("unfinished")).count();
    assert_eq!(unfinished, 0);
    scene.program.assert_nothing_left();
}

/// DeleteRecords, retention, and both where it can't be told which.
fn what_took_records_away_is_told_apart(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = Scene::with_topic(kafka, "live-gone", 8, &["retention.ms=604800000", "retention.bytes=-1"]);
    let key = ("record.key", "\".customer_id\"");
    scene.configure(&[key]);
    scene.orders(73, 2_000);
    scene.run(&[]).expect_code(0);
    kafka.delete_records(&scene.topic, 1, 7);
    let told = |scene: &Scene, what: &str, name: &str| {
        let text = said(scene, &[], 6).stdout;
        assert!(text.contains("partition 1: 7 offsets of the job can't be read any more"), "{text}");
        assert!(text.contains(&format!("what took them: {what}")), "{text}");
        let json = said(scene, &["-o", "json"], 6).json();
        assert_eq!((&json["gone_by"], &json["missing"]), (&json!(name), &json!(7)), "{json:#}");
        let status = scene.program.run(&["status"], PATIENCE).expect_code(0).stdout;
        assert!(status.contains(&format!("what took them: {what}")), "{status}");
    };
    // Nothing that was sent a moment ago is a week old.
    told(&scene, "a DeleteRecords request", "delete-records");
    kafka.alter_topic(&scene.topic, &["retention.bytes=1000000000"]);
    told(&scene, "retention (retention.bytes=1000000000), or a DeleteRecords request", "retention-or-delete-records");

    // With times of their own records may be of any age.
    let scene = Scene::with_topic(kafka, "live-gone-times", 8, &["retention.ms=315360000000", "retention.bytes=-1"]);
    scene.configure(&[key, ("record.timestamp", "\".created_at\"")]);
    scene.orders(74, 2_000);
    scene.run(&[]).expect_code(0);
    kafka.delete_records(&scene.topic, 1, 7);
    told(&scene, "retention (retention.ms=315360000000), or a DeleteRecords request", "retention-or-delete-records");
    kafka.alter_topic(&scene.topic, &["retention.ms=-1"]);
    told(&scene, "a DeleteRecords request: by the topic's settings as they are now", "delete-records");
    scene.program.assert_nothing_left();
}

/// All records of one key: more than the embedded broker keeps of a partition.
fn the_embedded_brokers_own_limit_is_told(_: &Clusters) {
    let program = whole_program::program::Program::new("live-embedded");
    let keys = [("kafka.brokers", "\"embedded\""), ("record.key", "\".k\""), ("workers.count", "1")];
    program.write("orchestrator.toml", config("kept", "", &keys));
    let filler = "x".repeat(900);
    let lines: String = (0..9_000).map(|n| format!("{{\"k\":\"one\",\"n\":{n},\"x\":\"{filler}\"}}\n")).collect();
    program.write("data/1.jsonl", lines);
    let run = program.run(&["run"], PATIENCE).expect_code(6);
    let said =
        "what took them: the embedded broker's own limit: it keeps the newest 5 MiB or 100,000 batches of each partition";
    assert!(run.stdout.contains(said), "{}", run.stdout);
    assert!(run.stdout.contains("offsets of the job can't be read any more"), "{}", run.stdout);
    program.assert_nothing_left();
}

/// One line that is drawn again, none wider than the terminal; and with `--progress json` nothing on stderr but JSON.
fn a_terminal_of_80_columns_shows_how_far_it_is(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "live-terminal");
    scene.configure(&[("record.key", "\".customer_id\"")]);
    scene.orders(75, 150_000);
    scene.run(&[]).expect_code(0);
    let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(Some(&size), None).expect("a pseudo-terminal can be opened");
    let mut command = scene.program.command(&["verify", "-o", "json"]);
    command.env("TERM", "xterm-256color");
    command.stdout(File::create(scene.program.join("result")).expect("a file can be created")).stderr(terminal.slave);
    let mut child = command.spawn().expect("the program can be started");
    drop(command); // with our copy of the terminal's other end
    let mut drawn = Vec::new();
    // The end is an error here (EIO): what came before it is all there is.
    let _ = File::from(terminal.master).read_to_end(&mut drawn);
    let status = wait_child(&mut child, PATIENCE).expect("it ends with its terminal");
    let drawn = String::from_utf8(drawn).expect("it is text");
    assert_eq!(status.code(), Some(0), "{drawn}");
    let result = std::fs::read_to_string(scene.program.join("result")).expect("it is there");
    assert!(result.starts_with("{\"_command\":\"verify\"") && result.lines().count() == 1, "{result}");
    let lines: Vec<_> = drawn.split("\x1b[K").skip(1).filter_map(|frame| frame.split("\r\n").next()).collect();
    assert!(lines.iter().all(|line| line.chars().count() <= 80), "{lines:#?}");
    for (side, of) in [("source", "of about 15"), ("topic", "of 150,000 offsets")] {
        let shown = |line: &&&str| line.starts_with(&format!("verify: {side} ")) && line.contains(" % ") && line.contains(of);
        assert!(lines.iter().any(|line| shown(&line)), "{side}: {lines:#?}");
    }
    assert!(drawn.ends_with("\r\x1b[1A\x1b[J"), "the line is taken away: {drawn:?}");
    let quiet = scene.program.run(&["verify", "-o", "json", "--progress", "json"], PATIENCE).expect_code(0);
    assert_eq!(quiet.stdout.lines().count(), 1, "{}", quiet.stdout);
    let events: Vec<Value> = quiet.stderr.lines().map(|line| serde_json::from_str(line).expect("JSON alone")).collect();
    assert!(events.iter().all(|event| event["_event"] == "verify" && event["of"].as_u64() > Some(100_000)), "{events:?}");
    scene.program.assert_nothing_left();
}
