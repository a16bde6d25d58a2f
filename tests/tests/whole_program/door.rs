//! What is refused at the door: settings that would break delivery or show a password, a topic that may not be written
//! to, a state folder that others own, links in it, and one that goes while a run uses it. And what is let pass when it
//! is named.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::time::Duration;

use whole_program::admin::{Operation, Rule};
use whole_program::scene::{PATIENCE, Scene, folder, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, credentials_do_not_travel_unencrypted),
    test!(Works, Nothing, what_the_client_refuses_is_found_before_any_contact),
    test!(Works, Nothing, links_in_the_state_folder_are_not_followed),
    test!(Works, Nothing, a_state_folder_of_another_user_is_refused_unless_accepted),
    test!(Waits, Nothing, a_state_folder_that_goes_in_mid_run_ends_with_74),
    test!(Works, Nothing, names_never_act_on_a_terminal),
    test!(Waits, Kafka, a_right_that_is_missing_is_named_before_the_first_record),
];

/// An address that no machine has (TEST-NET-1): who contacts it ends with 4 after the first timeout.
const FAR: &str = "192.0.2.1:9092";

fn credentials_do_not_travel_unencrypted(_: &Clusters) {
    let program = folder("plaintext", &[("kafka.properties.\"sasl.password\"", "\"pw\"")]);
    let sasl = ["-X", "security.protocol=SASL_PLAINTEXT", "-X", "sasl.mechanism=SCRAM-SHA-512", "-X", "sasl.username=u"];
    let run = |broker: &'static str, more: &[&'static str]| [&["run", "-b", broker], &sasl[..], more].concat();
    refused(&program, &run(FAR, &[]), 3, &["K013", FAR, "--accept plaintext-password"]);
    refused(&program, &run("127.0.0.1:9,kafka-1:9092", &[]), 3, &["kafka-1:9092"]);
    assert!(!program.join(".shardlift").exists(), "nothing was begun");
    // What contacts no broker is not kept from it: the run that needs it was given the flag.
    refused(&program, &[&["status", "-b", FAR], &sasl[..]].concat(), 4, &["never run"]);
    // On this machine it is no network, and what is accepted passes: both find no broker.
    let give_up = ["--set", "kafka.give_up_after=1s"];
    refused(&program, &run("127.0.0.1:9", &give_up), 4, &["127.0.0.1:9"]);
    // Not a loopback address, though what is sent there stays on this machine.
    const ANY: &str = "0.0.0.0:9";
    refused(&program, &run(ANY, &give_up), 3, &["K013", ANY]);
    let accepted = [&give_up[..], &["--accept", "plaintext-password"]].concat();
    refused(&program, &run(ANY, &accepted), 4, &[ANY]);
    // Credentials that no protocol uses.
    refused(&program, &["run", "-b", FAR, "-X", "sasl.username=u"], 3, &["K007", "sasl.password", "plaintext"]);
}

fn what_the_client_refuses_is_found_before_any_contact(_: &Clusters) {
    let program = folder("client", &[]);
    let backoff = ["-X", "reconnect.backoff.ms=5000", "-X", "reconnect.backoff.max.ms=100"];
    refused(&program, &[&["run", "-b", FAR], &backoff[..]].concat(), 3, &["reconnect.backoff.max.ms"]);
    let certificate = ["-X", "security.protocol=ssl", "-X", "ssl.ca.location=/nowhere/ca.pem"];
    refused(&program, &[&["run", "-b", FAR], &certificate[..]].concat(), 3, &["ssl.ca.location"]);
    for property in [
        "delivery.report.only.error=true",
        "enable.gapless.guarantee=true",
        "retries=0",
        "max.in.flight=1000",
        "queuing.strategy=lifo",
        "message.timeout.ms=1",
        "topic.message.timeout.ms=500",
        "test.mock.num.brokers=3",
        "socket.timeout.ms=10",
    ] {
        let finished = program.run(&["run", "-b", FAR, "-X", property], PATIENCE);
        assert!([2, 3].contains(&finished.code), "{property}: {finished:?}");
        let name = property.split('=').next().unwrap_or_default();
        assert!(finished.stderr.contains(name), "{property}: {}", finished.stderr);
    }
}

fn links_in_the_state_folder_are_not_followed(_: &Clusters) {
    let program = folder("links", &[("limits.max_bad_records", "9")]);
    program.write("data/2.jsonl", "{\"other\":1}\n");
    let precious = program.write("precious", "precious");
    let state = program.join(".shardlift/tried");
    for name in ["supervisor.lock", "workers.lock", "state.sqlite", "dead-letters"] {
        drop(fs::remove_dir_all(&state));
        fs::create_dir_all(&state).expect("a folder");
        symlink(&precious, state.join(name)).expect("a link");
        let finished = program.run(&["run", "--set", "record.key=\".k\""], PATIENCE);
        // A new job takes away what is left of another one, the link and not what it leads to.
        let code = if name == "dead-letters" { 0 } else { 74 };
        assert_eq!(finished.code, code, "{name}: {finished:?}");
        assert_eq!(fs::read_to_string(&precious).expect("there"), "precious", "{name}: {finished:?}");
        program.assert_nothing_left();
    }
    // The folder itself: what it leads to is not made private, nor filled.
    fs::remove_dir_all(&state).expect("there");
    let elsewhere = program.join("elsewhere");
    fs::create_dir(&elsewhere).expect("a folder");
    fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o755)).expect("ours");
    symlink(&elsewhere, &state).expect("a link");
    refused(&program, &["run"], 74, &["symbolic link"]);
    assert_eq!(fs::metadata(&elsewhere).expect("there").permissions().mode() & 0o777, 0o755);
    assert_eq!(fs::read_dir(&elsewhere).expect("there").count(), 0);
}

/// Needs root, who may give files away; where it is not, only what root would do is not shown.
fn a_state_folder_of_another_user_is_refused_unless_accepted(_: &Clusters) {
    const STRANGER: u32 = 65_534;
    let program = folder("owner", &[]);
    let state = program.join(".shardlift/tried");
    fs::create_dir_all(&state).expect("a folder");
    if chown(&state, Some(STRANGER), None).is_err() {
        println!("owner: not root, nothing can be given away");
        return;
    }
    refused(&program, &["run"], 74, &["another user (number 65534)", "--accept owner"]);
    assert_eq!(fs::read_dir(&state).expect("there").count(), 0, "nothing was made there");
    let report = program.run(&["run", "-o", "json", "--accept", "owner"], PATIENCE).expect_code(0).json();
    assert_eq!(report["accepted"], serde_json::json!(["owner"]), "{report:#}");
    let status = program.run(&["status"], PATIENCE).expect_code(0);
    assert!(status.stdout.contains("told to let pass what these checks refuse: owner"), "{}", status.stdout);
    // Root's, but each user may write to it.
    fs::remove_dir_all(&state).expect("ours to remove");
    fs::create_dir_all(&state).expect("a folder");
    chown(&state, Some(STRANGER), None).expect("root may");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777)).expect("root may");
    refused(&program, &["run"], 74, &["--accept owner"]);
    assert_eq!(fs::metadata(&state).expect("there").permissions().mode() & 0o777, 0o777, "it is not ours to change");
}

fn a_state_folder_that_goes_in_mid_run_ends_with_74(_: &Clusters) {
    let program = folder("gone-state", &[("workers.count", "1"), ("workers.chunk.interval", "\"200ms\"")]);
    program.write("data/1.jsonl", "{\"k\":\"a\"}\n".repeat(20_000));
    let state = program.join(".shardlift/tried");
    for replaced in [false, true] {
        let running = program.start(&["run", "-o", "json", "--set", "limits.rate_records=200"]);
        wait_until("records have been committed", PATIENCE, || {
            let status = program.run(&["status", "-o", "json"], PATIENCE);
            let status: serde_json::Value = serde_json::from_str(&status.stdout).unwrap_or_default();
            status["records"]["acknowledged"].as_u64() > Some(0)
        });
        let away = program.join("away");
        fs::rename(&state, &away).expect("ours to move");
        if replaced {
            fs::create_dir(&state).expect("a folder");
        }
        let started = std::time::Instant::now();
        let finished = running.finish(PATIENCE);
        assert_eq!(finished.code, 74, "{finished:?}");
        assert!(finished.stderr.contains("removed or replaced"), "{}", finished.stderr);
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}: it would have gone on for 100 s", started.elapsed());
        program.assert_nothing_left();
        fs::remove_dir_all(&away).expect("ours to remove");
        drop(fs::remove_dir_all(&state));
    }
}

fn a_right_that_is_missing_is_named_before_the_first_record(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "rights");
    scene.configure(&[]);
    scene.orders(70, 1_000);
    scene.kafka.add_rule(&scene.topic, Rule::Allow, Operation::Describe);
    scene.kafka.add_rule(&scene.topic, Rule::Allow, Operation::DescribeConfigs);
    // A broker hears of a rule a little later than the one that was asked.
    let kcat = |more: &[&str]| {
        let base = ["-b", scene.kafka.bootstrap(), "-t", &scene.topic, "-X", "message.timeout.ms=5000"];
        let mut command = scene.program.other_command("kcat");
        let finished = scene
            .program
            .spawn({
                command.args(base).args(more);
                command
            })
            .finish(PATIENCE);
        finished.code == 0
    };
    let record = scene.program.write("record", "before the job");
    let record = record.display().to_string();
    let write = ["-P", record.as_str()];
    wait_until("the right to write is gone", PATIENCE, || !kcat(&write));
    let words = ["kafka-acls.sh", "--operation Write", "--topic rights"];
    refused(&scene.program, &["run"], 4, &words);
    assert!(scene.status().is_none(), "nothing was begun");
    scene.kafka.add_rule(&scene.topic, Rule::Allow, Operation::Write);
    wait_until("the right to write is there", PATIENCE, || kcat(&write));
    // A comparison at the end needs to read, and that is said before it sends.
    refused(&scene.program, &["run", "--verify"], 4, &["--operation Read"]);
    assert!(scene.status().is_none(), "nothing was begun");
    scene.run(&[]).expect_code(0);
    refused(&scene.program, &["verify"], 4, &["--operation Read"]);
    scene.kafka.add_rule(&scene.topic, Rule::Allow, Operation::Read);
    wait_until("the right to read is there", PATIENCE, || scene.program.run(&["verify"], PATIENCE).code == 0);
    scene.kafka.remove_rules(&scene.topic);
}

/// A name with an escape sequence (it would set the terminal's title) and one with a line end (it would forge a row).
fn names_never_act_on_a_terminal(_: &Clusters) {
    const TITLE: &str = "a\x1b]0;x\x07.jsonl";
    const FORGED: &str = "b\n  00000   999 MiB   forged.jsonl";
    const HIDDEN: &str = "c\u{202e}\u{9b}31m.jsonl";
    let program = folder("names", &[("limits.max_bad_records", "9"), ("record.key", "\".k\""), ("workers.count", "1")]);
    for name in [TITLE, FORGED, HIDDEN] {
        program.write(&format!("data/{name}"), "{\"k\":\"a\",\"\\u001b[31mred\":1}\nno record\n");
    }
    let shown_raw = |text: &str| {
        text.chars().any(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || c == '\u{202e}')
            || text.contains("  999 MiB   forged") && text.lines().any(|line| line.starts_with("  00000   999 MiB"))
    };
    let check = |words: &[&str], codes: &[i32]| {
        let finished = program.run(words, PATIENCE);
        assert!(codes.contains(&finished.code), "{words:?}: {finished:?}");
        for text in [&finished.stdout, &finished.stderr] {
            assert!(!shown_raw(text), "{words:?}: {text:?}");
        }
        finished
    };
    let plan = check(&["plan", "--set", "shards.by_key=false", "--set", "shards.target_size=1B"], &[0]);
    for written_out in ["\\u{1b}]0;x\\u{7}", "\\n  00000", "\\u{202e}\\u{9b}31m"] {
        assert!(plan.stdout.contains(written_out), "{written_out}: {}", plan.stdout);
    }
    // As data they are what they are, and still nothing that a terminal would act on.
    let object = check(&["plan", "-o", "json"], &[0]).json();
    let paths = object["shards"].to_string()
        + &object["shards"].as_array().map_or(String::new(), |shards| {
            let segments = shards.iter().flat_map(|shard| shard["segments"].as_array().into_iter().flatten());
            segments.filter_map(|segment| segment["path"].as_str()).collect::<Vec<_>>().join("\0")
        });
    for raw in [TITLE, FORGED, HIDDEN] {
        assert!(paths.contains(raw), "{raw:?} in {paths:?}");
    }
    check(&["init", "--from", "data/*.jsonl", "-c", "other.toml", "-t", "orders"], &[0]);
    check(&["run", "-vv"], &[0]);
    check(&["status"], &[0]);
    check(&["report", "--html", "page.html"], &[0]);
    let page = fs::read_to_string(program.join("page.html")).expect("written");
    assert!(!page.contains('\x1b') && !page.contains('\u{9b}'));
    check(&["verify"], &[4]);
    // In an error's text.
    fs::write(program.join(format!("data/{TITLE}")), "{\"k\":\"b\"}\n").expect("writable");
    fs::remove_file(program.join(format!("data/{FORGED}"))).expect("there");
    check(&["run", "--set", "source.jsonl.paths=[\"data/a*\", \"data/nothing\\u001b*\"]"], &[7]);
}
