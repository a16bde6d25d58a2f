//! Records that were set aside are sent again, as jobs of their own: mended, through kills and stops, in several
//! rounds; and the job that they belong to is verified with them.

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use whole_program::faults::patience;
use whole_program::kafka::Kafka;
use whole_program::multiset::{Difference, Multiset};
use whole_program::program::{Finished, Running};
use whole_program::scene::{PATIENCE, Scene, Verdict, assert_balances, folder, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, letters_are_mended_sent_again_and_verified),
    test!(Waits, Kafka, a_retry_that_is_killed_or_stopped_goes_on),
    test!(Waits, Kafka, what_a_retry_sets_aside_is_sent_by_the_next_one),
    test!(Waits, Kafka, letters_without_their_whole_record_stay_until_it_is_there),
    test!(Waits, Kafka, rows_of_csv_come_back_as_objects),
    test!(Waits, Kafka, a_job_that_is_not_done_gets_a_retry_for_each_of_its_runs),
    test!(Waits, Kafka, a_retry_goes_where_the_job_went_or_nowhere),
    test!(Waits, Nothing, the_embedded_topic_is_gone),
];

/// Records that the job sends beside those that it sets aside.
const GOOD: u64 = 300;

/// A scene with a dataset in two files, `bad` of whose records have the key's old name, and a job of it that is done.
fn scene<'a>(kafka: &'a Kafka, topic: &str, bad: u64, keys: &[(&str, &str)]) -> Scene<'a> {
    let scene = Scene::with_topic(kafka, topic, 4, &[]);
    write_data(&scene, bad);
    scene.configure(&[&[("record.key", "\".customer_id\""), ("limits.max_bad_records", "10_000")], keys].concat());
    scene
}

fn write_data(scene: &Scene<'_>, bad: u64) {
    let good = |n: u64| format!("{{\"order\":{n},\"customer_id\":\"c-{}\"}}\n", n % 7);
    let old = |n: u64| format!("{{\"order\":{n},\"cust\":\"c-{}\",\"total\":\"secret-{n}\"}}\n", n % 7);
    scene.program.write("data/1.jsonl", (0..GOOD).map(good).chain((0..bad / 2).map(old)).collect::<String>());
    scene.program.write("data/2.jsonl", (bad / 2..bad).map(old).collect::<String>());
}

fn dlq(scene: &Scene<'_>, words: &[&str]) -> Finished {
    scene.program.run(&[&["dlq"], words].concat(), PATIENCE)
}

fn list(scene: &Scene<'_>) -> Value {
    dlq(scene, &["list", "-o", "json"]).expect_code(0).json()
}

/// Writes what `dlq show --records` writes, changed, to a file that it names.
fn edit(scene: &Scene<'_>, words: &[&str], mend: impl Fn(&str) -> String) -> PathBuf {
    let shown = dlq(scene, &[&["show", "--records"], words].concat()).expect_code(0);
    scene.program.write("mended.jsonl", mend(&shown.stdout))
}

fn mend(records: &str) -> String {
    records.replace("\"cust\"", "\"customer_id\"")
}

/// What the topic holds more than the source's good records, and less.
fn beside_the_good(scene: &Scene<'_>, again: &str) -> Difference {
    let source = std::fs::read_to_string(scene.program.join("data/1.jsonl")).expect("it is there");
    let mut expected = Multiset::new();
    let good = source.lines().filter(|line| line.contains("customer_id"));
    good.chain(again.lines()).for_each(|line| expected.add(line.as_bytes()));
    expected.difference(&topic::values(scene.kafka.bootstrap(), &scene.topic, Isolation::Uncommitted))
}

fn verified(scene: &Scene<'_>, retried: u64) -> Finished {
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict::SAME, "{}", finished.stdout);
    assert_eq!(finished.number("/retried"), retried, "{}", finished.stdout);
    finished
}

fn letters_are_mended_sent_again_and_verified(clusters: &Clusters) {
    let scene = scene(clusters.one(), "retry-mended", 14, &[]);
    let report = scene.run(&["--verify"]).expect_code(0).json();
    assert_eq!((&report["records"]["dead_lettered"], &report["verify"]["retried"]), (&14.into(), &0.into()));

    let listed = list(&scene);
    assert_eq!((&listed["set_aside"], &listed["retries"]), (&14.into(), &json!([])), "{listed:#}");
    let reason = &listed["reasons"][0];
    assert_eq!(
        (&reason["reason"], &reason["count"], &reason["set_aside"]),
        (&"no field .customer_id".into(), &14.into(), &14.into())
    );
    assert!(reason["path"].to_string().contains("data/1.jsonl") && reason["start"].as_u64() > Some(0), "{reason:#}");
    let text = dlq(&scene, &["list"]).expect_code(0).stdout;
    assert!(text.contains("14 dead letters, 14 still set aside") && text.contains("no field .customer_id"), "{text}");
    let shown = dlq(&scene, &["show", "--first", "2"]).expect_code(0).stdout;
    assert!(shown.contains("the first 2 of 14 dead letters") && !shown.contains("secret-"), "{shown}");
    assert!(!dlq(&scene, &["show", "-o", "json"]).expect_code(0).stdout.contains("secret-"));
    let shown = dlq(&scene, &["show", "--show-values", "--first", "1"]).expect_code(0).stdout;
    assert!(shown.contains("secret-0") && !shown.contains("secret-1"), "{shown}");
    let wrong = dlq(&scene, &["show", "--records", "-o", "json"]).expect_code(2);
    assert!(wrong.stdout.contains("leave out -o json") && !wrong.stdout.contains("secret-"), "{}", wrong.stdout);

    // As they are they can't be sent: that is known before a record moves, and nothing has begun.
    let said = ["no record of 14 has .customer_id", "mend the records: `shardlift dlq show --records > FILE`"];
    refused(&scene.program, &["dlq", "retry"], 4, &said);
    assert_eq!(list(&scene)["set_aside"], 14);

    let mended = edit(&scene, &[], mend);
    let records = std::fs::read_to_string(&mended).expect("it is there");
    let orders = records.lines().map(|line| line.split(['{', ',']).nth(1).unwrap_or_default().to_owned());
    assert!(orders.eq((0..14).map(|n| format!("\"order\":{n}"))), "in the order of the source: {records}");
    hostile_files(&scene);
    // Blank lines, and none at the end.
    std::fs::write(&mended, format!("\n  \n{}", records.trim_end())).expect("ours");
    let retried = dlq(&scene, &["retry", "--edited", "mended.jsonl", "-o", "json"]).expect_code(0);
    let report = retried.json();
    assert_balances(&report);
    assert_eq!((&report["_command"], &report["job"]), (&"dlq retry".into(), &"retry-mended.retry-1".into()), "{report:#}");
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["filtered"]), (&14.into(), &2.into()), "{report:#}");
    for said in [
        "retry-mended.retry-1: 14 records of mended.jsonl in place of 14 dead letters of job retry-mended",
        "comes behind the 300 records that job retry-mended sent: also behind newer ones of the same key",
        "14 of 14 edited records were sent by retry-mended.retry-1",
        "no dead letter is set aside any more",
    ] {
        assert!(retried.stderr.replace("\n  ", " ").contains(said), "{said}\n{}", retried.stderr);
    }

    assert_eq!(beside_the_good(&scene, &records), Difference::default());
    let finished = verified(&scene, 14);
    assert_eq!((finished.number("/source_records"), finished.number("/dead_lettered")), (GOOD + 14, 14));
    let text = scene.program.run(&["verify"], PATIENCE).expect_code(0).stdout;
    assert!(text.contains("but for 14 records that were set aside, and 14 records that were sent again"), "{text}");
    assert_eq!(scene.run(&["--verify"]).expect_code(0).json()["verify"]["retried"], 14);
    told_everywhere(&scene);
    let again = dlq(&scene, &["retry", "--edited", "mended.jsonl"]).expect_code(0);
    assert!(
        again.stdout.contains("no dead letter of job retry-mended is set aside: nothing to send again"),
        "{}",
        again.stdout
    );

    // A record that is gone is missed, whichever of the two sent it.
    scene.kafka.produce(&scene.topic, &[("c-1", "{\"order\":99}")]);
    assert_eq!(scene.verify().0, Verdict { unexpected: 1, ..Verdict::SAME });
    // What was sent again is known before the next record moves, or none does.
    scene.program.write(".shardlift/retry-mended.retry-1/retry.json", "{\"version\":1");
    let said = ["what retry-mended.retry-1 sent of the dead letters of job retry-mended is not known", "run --restart"];
    for command in [&["run"][..], &["verify"], &["dlq", "list"]] {
        refused(&scene.program, command, 74, &said);
    }
    // Starting over forgets its retries.
    let over = scene.run(&["--restart", "--yes", "--verify"]).expect_code(0);
    assert!(over.stderr.contains("the state of retry-mended.retry-1 is forgotten, too"), "{}", over.stderr);
    assert!(!scene.program.join(".shardlift/retry-mended.retry-1").exists());
    let listed = list(&scene);
    assert_eq!((&listed["set_aside"], &listed["retries"]), (&14.into(), &json!([])), "{listed:#}");
    scene.program.assert_nothing_left();
}

/// Files that hold nothing to send, or can't be read, begin nothing.
fn hostile_files(scene: &Scene<'_>) {
    let edited = |code, said: &str| refused(&scene.program, &["dlq", "retry", "--edited", "edited"], code, &[said]);
    edited(7, "cannot read edited: No such file");
    for (text, said) in [
        (&b""[..], "edited has no record"),
        (b"\n \n\n", "edited has no record"),
        (b"\x1f\x8b\x08\0", "edited is compressed"),
        (b"[\n  {\n    \"customer_id\": 1\n  }\n]\n", "records.jsonl"),
    ] {
        scene.program.write("edited", text);
        edited(7, said);
    }
    refused(&scene.program, &["dlq", "retry", "--edited", "data"], 7, &["data is a folder"]);
    assert_eq!(list(scene)["set_aside"], 14);
}

/// Status, report, page, and those of the retry itself.
fn told_everywhere(scene: &Scene<'_>) {
    let status = scene.status().expect("it ran");
    let retries = &status["dead_letters"]["retries"];
    assert_eq!((&retries[0]["acknowledged"], &retries[0]["outcome"]), (&14.into(), &"done".into()), "{status:#}");
    for command in ["status", "report"] {
        let text = scene.program.run(&[command], PATIENCE).expect_code(0).stdout;
        let said = "14 of 14 edited records were sent by retry-mended.retry-1 in place of 14 dead letters";
        assert!(text.replace("\n  ", " ").contains(said) && text.contains("no dead letter is set aside any more"), "{text}");
        let text = scene.program.run(&[command, "--retry", "1"], PATIENCE).expect_code(0).stdout;
        assert!(text.starts_with("retry-mended.retry-1: done (exit 0)"), "{text}");
    }
    scene.program.run(&["report", "--html", "page.html"], PATIENCE).expect_code(0);
    let page = std::fs::read_to_string(scene.program.join("page.html")).expect("it was written");
    assert!(page.contains("were sent by retry-mended.retry-1") && !page.contains("secret-"));
    let own = ["report", "--retry", "1", "--html", "retry.html"];
    scene.program.run(&own, PATIENCE).expect_code(0);
    let own = std::fs::read_to_string(scene.program.join("retry.html")).expect("it was written");
    let paths = "data/*.jsonl";
    assert!(page.contains(paths) && !own.contains(paths) && own.contains("records.jsonl"), "its own configuration");
    let said = ["job retry-mended.retry-2 has no state", "never run", "`shardlift dlq list` tells of the job's retries"];
    refused(&scene.program, &["status", "--retry", "2"], 4, &said);
}

fn await_sent(scene: &Scene<'_>, retry: &str, more_than: u64) {
    wait_until("the retry has sent some", PATIENCE, || {
        let status = scene.program.run(&["status", "--retry", retry, "-o", "json"], PATIENCE);
        let status: Value = serde_json::from_str(&status.stdout).unwrap_or_default();
        status["records"]["acknowledged"].as_u64().unwrap_or(0) > more_than
    });
}

fn sent(scene: &Scene<'_>) -> u64 {
    list(scene)["retries"][0]["acknowledged"].as_u64().expect("a count")
}

fn a_retry_that_is_killed_or_stopped_goes_on(clusters: &Clusters) {
    const BAD: u64 = 4_000;
    let slow = [("workers.count", "2"), ("workers.chunk", "{ records = 50, interval = \"100ms\" }")];
    let scene = scene(clusters.one(), "retry-killed", BAD, &slow);
    scene.run(&[]).expect_code(0);
    let mended = edit(&scene, &[], mend);
    let records = std::fs::read_to_string(&mended).expect("it is there");
    let start = || -> Running {
        let rate = "limits.rate_records=400";
        scene.program.start(&["dlq", "retry", "--edited", "mended.jsonl", "--set", rate, "-o", "json"])
    };
    let running = start();
    await_sent(&scene, "1", 0);
    // While it runs, nothing is final, and it is the only one.
    refused_beside(&scene, &["dlq", "retry"], 75, "another supervisor works on this job");
    refused_beside(&scene, &["verify"], 75, "retry-killed.retry-1 is running");
    let said = "beside it, records of job retry-killed would come between those that it sends again";
    for run in [&["run"][..], &["run", "--add"], &["run", "--restart", "--yes"]] {
        refused_beside(&scene, run, 75, "retry-killed.retry-1 is running (host ");
        refused_beside(&scene, run, 75, said);
    }
    let listed = list(&scene);
    assert_eq!(listed["retries"][0]["outcome"], "running", "{listed:#}");
    assert_eq!(scene.acknowledged(), GOOD, "the job's state is as it was");
    assert_eq!(scene.program.run(&["throttle", "300", "--retry", "1"], PATIENCE).code, 0);
    running.signal(Signal::SIGKILL);
    assert_eq!(running.finish(patience()).code, 137);
    wait_until("all processes are gone", patience(), || scene.program.processes().is_empty());
    let after_the_kill = sent(&scene);
    assert!(after_the_kill < BAD, "it was killed in the middle");
    let said = ["its last run was killed", "`shardlift dlq retry` continues where the state says"];
    refused(&scene.program, &["pause", "--retry", "1"], 4, &said);
    // What it did not send yet is missing, like a job's that is not done.
    let (verdict, finished) = scene.verify();
    assert!(verdict.missing > 0 && verdict.unexpected == 0, "{verdict:?}");
    assert!(finished.stderr.contains("retry-killed.retry-1 is not at its end"), "{}", finished.stderr);

    let running = start();
    await_sent(&scene, "1", after_the_kill);
    running.signal(Signal::SIGTERM);
    let stopped = running.finish(patience()).expect_code(75);
    assert!(stopped.stderr.contains("retry-killed.retry-1 goes on"), "{}", stopped.stderr);
    assert!(sent(&scene) < BAD, "it was stopped in the middle");
    // Other records are none of it.
    scene.program.write("other.jsonl", "{\"customer_id\":1}\n");
    let said = "it goes on with the records that it began with";
    refused(&scene.program, &["dlq", "retry", "--edited", "other.jsonl"], 2, &[said, "without --edited"]);
    for choice in [["--reason", "1"], ["--shard", "0"]] {
        refused(&scene.program, &[&["dlq", "retry"], &choice[..]].concat(), 2, &[said, &format!("without {}", choice[0])]);
    }
    refused(&scene.program, &["dlq", "retry", "--cut"], 2, &[said, "without --cut"]);
    // Nor are other rules.
    let ended = dlq(&scene, &["retry", "--set", "record.on_missing=\"null\""]).expect_code(0);
    let said =
        "record.on_missing was dead-letter and is null since retry-killed.retry-1 began: it goes on with what it began with";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    assert_eq!(sent(&scene), BAD);

    let found = beside_the_good(&scene, &records);
    assert_eq!((found.missing, found.unexpected), (0, 0), "{found:?}");
    let (verdict, finished) = scene.verify();
    assert_eq!(verdict, Verdict { duplicates: found.duplicates, ..Verdict::SAME }, "verify and the independent reader");
    assert_eq!(finished.number("/retried"), BAD);
    scene.program.assert_nothing_left();
}

/// Refused while another run goes on.
fn refused_beside(scene: &Scene<'_>, words: &[&str], code: i32, said: &str) {
    let refused = scene.program.run(words, PATIENCE).expect_code(code);
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
}

fn what_a_retry_sets_aside_is_sent_by_the_next_one(clusters: &Clusters) {
    let scene = scene(clusters.one(), "retry-twice", 14, &[("workers.count", "2")]);
    // A reason of its own for some.
    let mut data = std::fs::read_to_string(scene.program.join("data/2.jsonl")).expect("it is there");
    data += "no JSON 1\nno JSON 2\n";
    scene.program.write("data/2.jsonl", data);
    scene.run(&[]).expect_code(0);
    let reason = |listed: &Value, of: &str| {
        let reasons = listed["reasons"].as_array().expect("a list").clone();
        reasons.into_iter().find(|one| one["reason"].to_string().contains(of)).unwrap_or_else(|| panic!("{of}: {listed:#}"))
    };
    let number = |listed: &Value, of: &str| reason(listed, of)["number"].to_string();

    // Those of one reason, of which two are not mended.
    let first = number(&list(&scene), "no field .customer_id");
    let mended = edit(&scene, &["--reason", &first], |records| mend(records).replacen("customer_id", "cust", 2));
    let records = std::fs::read_to_string(mended).expect("it is there");
    assert_eq!(records.lines().count(), 14);
    let retry = ["retry", "--reason", &first, "--edited", "mended.jsonl"];
    let retried = dlq(&scene, &retry).expect_code(0);
    let said = "12 of 14 edited records were sent by retry-twice.retry-1 in place of 14 dead letters; it set 2 aside again";
    let told = retried.stderr.replace("\n  ", " ");
    assert!(told.contains(said) && told.contains("4 are still set aside"), "{}", retried.stderr);
    let listed = list(&scene);
    assert_eq!(listed["set_aside"], 4, "{listed:#}");
    let own = reason(&listed, "no field .customer_id");
    assert_eq!((&own["taken"], &own["set_aside"]), (&json!([{ "retry": 1, "count": 14 }]), &0.into()), "{listed:#}");
    assert_eq!(reason(&listed, "invalid JSON")["set_aside"], 2, "{listed:#}");
    let again = listed["reasons"].as_array().expect("a list").iter().find(|one| one["retry"] == 1).expect("letters of its own");
    assert_eq!((&again["set_aside"], &again["count"]), (&2.into(), &2.into()), "{listed:#}");
    verified(&scene, 12);

    // The rest, of which one is left out of the file, and one is still bad.
    let rest = edit(&scene, &[], |records| {
        assert_eq!(records.lines().filter(|line| line.contains("no JSON")).count(), 2, "{records}");
        mend(records)
            .replace("no JSON 1", "{\"customer_id\":1}")
            .replace("no JSON 2\n", "")
            .replace("secret-1\"}", "secret-1\"")
    });
    let rest = std::fs::read_to_string(rest).expect("it is there");
    assert_eq!(rest.lines().count(), 3, "{rest}");
    let whole = ["retry", "--edited", "mended.jsonl", "--set", "record.validate=\"whole\""];
    let retried = dlq(&scene, &whole).expect_code(0);
    assert!(retried.stderr.contains("has 3 records, and 4 dead letters count as sent again with it"), "{}", retried.stderr);
    assert!(retried.stderr.contains("1 is still set aside"), "{}", retried.stderr);
    let sent = records.lines().filter(|line| !line.contains("\"cust\"")).chain(rest.lines().filter(|line| line.ends_with('}')));
    let sent: String = sent.map(|line| format!("{line}\n")).collect();
    assert_eq!(beside_the_good(&scene, &sent), Difference::default());
    verified(&scene, 14);

    // Letters of a retry that were changed are noticed as the job's own are.
    let letters = scene.program.join(".shardlift/retry-twice.retry-2/dead-letters");
    let file = std::fs::read_dir(&letters).expect("it has letters").next().expect("one").expect("readable").path();
    let text = std::fs::read_to_string(&file).expect("readable");
    std::fs::write(&file, text.replace("secret-1", "secret-9")).expect("ours");
    assert_eq!(scene.program.run(&["verify", "-o", "json"], PATIENCE).expect_code(6).json()["dead_letters"]["altered"], 1);
    std::fs::write(&file, text).expect("ours");
    // As are its records.
    let frozen = scene.program.join(".shardlift/retry-twice.retry-1/records.jsonl");
    let text = std::fs::read_to_string(&frozen).expect("readable");
    std::fs::write(&frozen, text.replace("secret-2", "secret-9")).expect("ours");
    refused(&scene.program, &["verify"], 7, &["retry-twice.retry-1/records.jsonl"]);
    // Without what it took, nothing is guessed.
    std::fs::write(&frozen, text).expect("ours");
    std::fs::write(scene.program.join(".shardlift/retry-twice.retry-1/retry.json"), "{\"version\":1,").expect("ours");
    for words in [&["dlq", "list"][..], &["dlq", "retry"], &["verify"]] {
        refused(&scene.program, words, 74, &["retry.json", "is not known without it"]);
    }
}

fn letters_without_their_whole_record_stay_until_it_is_there(clusters: &Clusters) {
    let scene = scene(clusters.one(), "retry-cut", 2, &[("source.jsonl.max_line", "\"80KiB\"")]);
    let long = format!("{{\"order\":1,\"customer_id\":\"c\",\"x\":\"{}\"}}\n", "y".repeat(100_000));
    scene.program.write("data/3.jsonl", &long);
    scene.run(&[]).expect_code(0);
    let shown = dlq(&scene, &["show", "--records"]).expect_code(0);
    assert_eq!(shown.stdout.lines().count(), 2, "{}", shown.stdout);
    let said = "left out: 1 dead letter with the beginning of a record and no more (cut)";
    assert!(shown.stderr.contains(said) && shown.stderr.contains("2 records written"), "{}", shown.stderr);
    edit(&scene, &[], mend);
    let retried = dlq(&scene, &["retry", "--edited", "mended.jsonl"]).expect_code(0);
    assert!(retried.stderr.contains("not sent, still set aside: 1 dead letter with the beginning"), "{}", retried.stderr);
    assert!(retried.stderr.contains("1 is still set aside"), "{}", retried.stderr);
    refused(
        &scene.program,
        &["dlq", "retry"],
        5,
        &["1 dead letter of job retry-cut can't be sent as it is", "--cut --edited FILE"],
    );
    refused(&scene.program, &["dlq", "retry", "--cut"], 5, &["--cut --edited FILE"]);
    let reasons = list(&scene)["reasons"].as_array().expect("a list").clone();
    assert!(reasons.iter().any(|one| one["cut"] == 1 && one["set_aside"] == 1), "{reasons:#?}");

    scene.program.write("whole.jsonl", &long);
    let longer = "source.jsonl.max_line=\"1MiB\"";
    dlq(&scene, &["retry", "--cut", "--edited", "whole.jsonl", "--set", longer]).expect_code(0);
    assert_eq!(list(&scene)["set_aside"], 0);
    assert_eq!(beside_the_good(&scene, &(mend(&shown.stdout) + &long)), Difference::default());
    verified(&scene, 3);
    scene.program.assert_nothing_left();
}

fn rows_of_csv_come_back_as_objects(clusters: &Clusters) {
    let scene = Scene::with_topic(clusters.one(), "retry-csv", 3, &[]);
    scene.program.write("data/1.csv", "id,total,note\na,1,x\n,2,y\nb,three,z\nc,4,\"two\nlines\"\nd,five,\"two\nlines\"\n");
    scene.configure(&[
        ("source.csv.paths", "[\"data/*.csv\"]"),
        ("source.csv.types", "{ total = \"number\" }"),
        ("record.key", "\".id\""),
        ("limits.max_bad_records", "9"),
    ]);
    scene.run(&[]).expect_code(0);
    let shown = dlq(&scene, &["show", "--records"]).expect_code(0);
    assert_eq!(shown.stdout, "{\"id\":null,\"total\":2,\"note\":\"y\"}\nb,three,z\n", "{}", shown.stderr);
    assert!(shown.stderr.contains("left out: 1 dead letter whose record has a line end in it"), "{}", shown.stderr);

    // As it is only the object can be sent, and only with another rule.
    let retried = dlq(&scene, &["retry", "--set", "record.on_missing=\"null\""]).expect_code(0);
    for said in [
        "1 dead letter with a row of CSV that could not be read",
        "1 dead letter whose record has a line end",
        "2 are still set aside",
    ] {
        assert!(retried.stderr.contains(said), "{said}\n{}", retried.stderr);
    }
    verified(&scene, 1);
    edit(&scene, &[], |rows| rows.replace("b,three,z", "{\"id\":\"b\",\"total\":3,\"note\":\"z\"}"));
    dlq(&scene, &["retry", "--edited", "mended.jsonl"]).expect_code(0);
    scene.program.write("whole.jsonl", "{\"id\":\"d\",\"total\":5,\"note\":\"two\\nlines\"}\n");
    dlq(&scene, &["retry", "--cut", "--edited", "whole.jsonl"]).expect_code(0);
    let finished = verified(&scene, 3);
    assert_eq!(finished.number("/topic_records"), 5);
    assert_eq!(list(&scene)["set_aside"], 0);
    let keys: Vec<_> = scene.kafka.records(&scene.topic).into_iter().map(|record| record.key).collect();
    assert_eq!(keys.iter().filter(|key| key.is_none()).count(), 1, "{keys:?}");
    scene.program.assert_nothing_left();
}

fn a_job_that_is_not_done_gets_a_retry_for_each_of_its_runs(clusters: &Clusters) {
    const LINES: u64 = 3_000;
    let scene = Scene::with_topic(clusters.one(), "retry-open", 3, &[]);
    let line = |n: u64| match n % 10 {
        0 => format!("{{\"order\":{n}}}\n"),
        _ => format!("{{\"order\":{n},\"customer_id\":\"c-{}\"}}\n", n % 7),
    };
    scene.program.write("data/1.jsonl", (0..LINES).map(line).collect::<String>());
    let chunk = ("workers.chunk", "{ records = 50, interval = \"100ms\" }");
    let slow = ("limits.rate_records", "500");
    scene.configure(&[("record.key", "\".customer_id\""), ("limits.max_bad_records", "10_000"), chunk, slow]);
    let running = scene.start(&[]);
    wait_until("records were set aside", PATIENCE, || {
        scene.status().is_some_and(|status| status["records"]["dead_lettered"].as_u64() > Some(0))
    });
    let retry = ["dlq", "retry", "--set", "record.on_missing=\"null\"", "--set", "limits.rate_records=\"none\"", "-o", "json"];
    refused_beside(&scene, &retry, 75, "job retry-open is running");
    running.signal(Signal::SIGTERM);
    running.finish(patience()).expect_code(75);
    let before = scene.dead_letters().len() as u64;
    assert!(before < LINES / 10, "it was stopped in the middle");
    let first = scene.program.run(&retry, PATIENCE).expect_code(0);
    assert!(first.stderr.contains("not every shard of job retry-open is done"), "{}", first.stderr);
    assert_eq!(first.number("/records/acknowledged"), before);
    // What the job sets aside afterwards is for the next one.
    scene.run(&["--set", "limits.rate_records=\"none\""]).expect_code(0);
    let second = scene.program.run(&retry, PATIENCE).expect_code(0);
    assert_eq!(second.number("/records/acknowledged"), LINES / 10 - before, "{}", second.stderr);
    let source = Multiset::of_lines(&[scene.program.join("data/1.jsonl")]);
    assert_eq!(scene.judge(&source).0, Difference::default());
    verified(&scene, LINES / 10);
    scene.program.assert_nothing_left();
}

fn a_retry_goes_where_the_job_went_or_nowhere(clusters: &Clusters) {
    let keys = [("record.headers", "{ source = \"old\" }")];
    let scene = scene(clusters.one(), "retry-where", 40, &keys);
    scene.run(&[]).expect_code(0);
    edit(&scene, &[], mend);
    let retry = |more: &[&'static str]| -> Vec<&'static str> { [&["dlq", "retry", "--edited", "mended.jsonl"], more].concat() };
    for (set, said) in [
        ("record.headers={ source = \"new\" }", "record.headers.source was \"old\" and is \"new\" since job retry-where began"),
        ("record.timestamp=\".at\"", "record.timestamp was not set and is set"),
        ("kafka.partitioner=\"crc32\"", "kafka.partitioner was murmur2 and is crc32"),
    ] {
        refused(&scene.program, &retry(&["--set", set, "--accept", "partitioner"]), 3, &[said, "undo the change"]);
    }
    // Keys choose among the partitions that there were when the job began.
    scene.kafka.add_partitions(&scene.topic, 9);
    refused(
        &scene.program,
        &retry(&[]),
        4,
        &["partitions", "accept what the message names, and `shardlift dlq retry` goes on"],
    );
    let ended = scene.program.run(&retry(&["--accept", "partitions"]), PATIENCE).expect_code(0);
    assert!(ended.stderr.contains("40 of 40 edited records were sent"), "{}", ended.stderr);
    assert!(scene.kafka.records(&scene.topic).iter().all(|record| record.partition < 4 && record.headers == "source=old"));
    let finished = scene.program.run(&["verify", "-o", "json", "--accept", "partitions"], PATIENCE).expect_code(0);
    assert_eq!((finished.number("/retried"), finished.number("/misplaced")), (40, 0));

    // In a compacted topic, what comes later wins.
    let compacted = Scene::with_topic(clusters.one(), "retry-compacted", 4, &["cleanup.policy=compact"]);
    write_data(&compacted, 4);
    compacted.configure(&[("record.key", "\".customer_id\""), ("limits.max_bad_records", "10")]);
    compacted.run(&[]).expect_code(0);
    edit(&compacted, &[], mend);
    let ended = compacted.program.run(&retry(&[]), PATIENCE).expect_code(0);
    let said = "the OLDER one that is sent again becomes the newest, and compaction removes the newer one for good";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
    verified(&compacted, 4);
    // Into another topic of the same name nothing is sent.
    let other = Scene::with_topic(clusters.one(), "retry-other", 4, &[]);
    write_data(&other, 4);
    other.configure(&[("record.key", "\".customer_id\""), ("limits.max_bad_records", "10")]);
    other.run(&[]).expect_code(0);
    edit(&other, &[], mend);
    other.kafka.delete_topic(&other.topic);
    std::thread::sleep(Duration::from_millis(500));
    other.kafka.create_topic(&other.topic, 4, &[]);
    let gone = refused(&other.program, &retry(&[]), 4, &["made again", "until then what is set aside stays so"]);
    assert!(!gone.stderr.contains("--restart"), "{}", gone.stderr);
    assert!(other.kafka.records(&other.topic).is_empty());
}

fn the_embedded_topic_is_gone(_: &Clusters) {
    let program = folder("retry-embedded", &[("record.key", "\".k\""), ("limits.max_bad_records", "9")]);
    program.write("data/2.jsonl", "{\"key\":\"c\"}\n");
    refused(&program, &["dlq", "list"], 4, &["job tried has no state", "nothing was sent yet"]);
    program.run(&["run"], PATIENCE).expect_code(0);
    let listed = program.run(&["dlq", "list"], PATIENCE).expect_code(0);
    assert!(listed.stdout.contains("1 dead letter, 1 still set aside"), "{}", listed.stdout);
    let shown = program.run(&["dlq", "show", "--records"], PATIENCE).expect_code(0);
    assert_eq!(shown.stdout, "{\"key\":\"c\"}\n");
    refused(&program, &["dlq", "retry"], 4, &["the embedded broker died with its run, and the topic with it"]);
}
