//! How commands end that can't do what they were asked: the exit code, and a message that says what to do next. What is
//! secret is in none of them.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use whole_program::clusters::OtherCluster;
use whole_program::multiset::Difference;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene, config, folder, refused};
use whole_program::suite::{Clusters, Test};
use whole_program::test;
use whole_program::topic::{self, Isolation};
use whole_program::waiting::wait_until;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Nothing, a_wrong_command_line_exits_with_2),
    test!(Works, Nothing, a_wrong_config_exits_with_3),
    test!(Works, Nothing, with_json_each_refusal_is_one_object_on_stdout),
    test!(Works, Nothing, a_source_that_is_not_there_exits_with_7),
    test!(Works, Nothing, an_unusable_state_directory_exits_with_74),
    test!(Waits, Nothing, no_broker_is_a_blocker),
    test!(Works, Kafka, no_topic_exits_with_4_and_the_command),
    test!(Waits, Kafka, a_changed_source_exits_with_7),
    test!(Waits, Kafka, a_source_that_changes_in_mid_run_exits_with_7),
    test!(Alone, Kafka, a_second_supervisor_exits_with_75),
    test!(Waits, Kafka, a_recreated_topic_exits_with_4),
    test!(Waits, Kafka, another_cluster_exits_with_4),
    test!(Waits, Kafka, another_mapping_is_refused),
    test!(Waits, Kafka, a_damaged_checkpoint_exits_with_74),
    test!(Waits, Kafka, a_secret_is_shown_nowhere),
];

fn a_wrong_command_line_exits_with_2(_: &Clusters) {
    let program = folder("usage", &[]);
    refused(&program, &["run", "--unknown"], 2, &["--unknown"]);
    refused(&program, &["run", "--single", "-w", "2"], 2, &["--single"]);
    refused(&program, &["run", "-X", "compression.type"], 2, &["NAME=VALUE"]);
    refused(&program, &["run", "-X", "sasl.password=hunter2"], 2, &["sasl.password", "env ="]);
    refused(&program, &["run", "--limit", "0"], 2, &["--limit"]);
    refused(&program, &["run", "--yes"], 2, &["--restart"]);
    assert!(!program.join(".shardlift").exists(), "nothing was begun");
}

fn a_wrong_config_exits_with_3(_: &Clusters) {
    let none = Program::new("no-config");
    refused(&none, &["run"], 3, &["orchestrator.toml", "shardlift init"]);
    let cases: [(&str, &str, &[&str]); 7] = [
        ("limits.rate_record", "5", &["orchestrator.toml:5:", "^", "rate_records"]),
        ("workers.count", "\"many\"", &["orchestrator.toml:5:", "^"]),
        ("workers.count", "0", &["orchestrator.toml:5:"]),
        ("workers.flush", "\"window\"", &["orchestrator.toml:5:", "was removed", "0004-window-flush.md"]),
        ("kafka.properties.\"compresion.type\"", "\"lz4\"", &["orchestrator.toml:5:", "compression.type"]),
        ("kafka.properties.\"linger.ms\"", "\"5\"", &["orchestrator.toml:5:", "linger.ms"]),
        ("kafka.properties.\"sasl.password\"", "{ env = \"NOT_SET_ANYWHERE\" }", &["NOT_SET_ANYWHERE"]),
    ];
    for (key, value, said) in cases {
        let program = folder("config", &[(key, value)]);
        refused(&program, &["run"], 3, said);
        refused(&program, &["plan"], 3, said);
    }
    let program = folder("set", &[]);
    refused(&program, &["run", "--set", "workers.cuont=2"], 3, &["--set", "count"]);
    // A script's variable that is not set: what the config names instead is not what was meant.
    refused(&program, &["run", "-b", ""], 3, &["--brokers", "kafka.brokers", "empty"]);
}

fn with_json_each_refusal_is_one_object_on_stdout(_: &Clusters) {
    let program = folder("json-errors", &[]);
    let cases: [(&[&str], i32, &str); 7] = [
        (&["run", "--unknown", "-o", "json"], 2, "--unknown"),
        (&["run", "--output=json", "-X", "compression.type"], 2, "NAME=VALUE"),
        (&["run", "-o", "json", "--set", "limits.rate_record=5"], 3, "rate_records"),
        (&["plan", "-o", "json", "--set", "source.jsonl.paths=none/*"], 7, "none"),
        (&["status", "-o", "json"], 4, "never run"),
        (&["verify", "-o", "json"], 4, "nothing was sent yet"),
        (&["compare", "-o", "json", "--into-topic", "t"], 2, "--into-topic"),
    ];
    for (words, code, said) in cases {
        let finished = program.run(words, PATIENCE).expect_code(code);
        let object = finished.json();
        assert_eq!((&object["_version"], &object["exit_code"]), (&1.into(), &code.into()), "{object:#}");
        let message = object["error"]["message"].as_str().unwrap_or_else(|| panic!("no message in {object:#}"));
        assert!(message.contains(said) && finished.stderr.contains(said), "{words:?}: {object:#}");
        // What clap can't read is no command yet.
        let command = if said == "--unknown" { serde_json::Value::Null } else { words[0].into() };
        assert_eq!(object["_command"], command, "{object:#}");
    }
    let help = program.run(&["run", "--help", "-o", "json"], PATIENCE).expect_code(0);
    assert!(help.stdout.starts_with("Send;"), "{}", help.stdout);
    program.assert_nothing_left();
}

fn a_source_that_is_not_there_exits_with_7(_: &Clusters) {
    let program = folder("no-source", &[("source.jsonl.paths", "[\"nowhere/*.jsonl\"]")]);
    refused(&program, &["plan"], 7, &["nowhere"]);
    refused(&program, &["run"], 7, &["nowhere"]);
}

fn an_unusable_state_directory_exits_with_74(_: &Clusters) {
    let program = folder("state", &[("job.state_dir", "\"data/1.jsonl\"")]);
    refused(&program, &["run"], 74, &["data/1.jsonl"]);
    // Root may write everywhere, but not in /proc.
    let program = folder("proc", &[("job.state_dir", "\"/proc/shardlift\"")]);
    refused(&program, &["run"], 74, &["/proc/shardlift"]);
    // Nor is a result that could not be written a good end.
    let program = folder("full", &[]);
    let finished = program.spawn(program.shell("shardlift plan -o json > /dev/full")).finish(PATIENCE);
    assert!(finished.expect_code(74).stderr.contains("could not be written to stdout"));
}

fn no_broker_is_a_blocker(_: &Clusters) {
    let program = folder("no-broker", &[]);
    // Port 9 of the loopback: nothing listens.
    let finished = program.run(&["run", "-b", "127.0.0.1:9"], PATIENCE);
    assert!([4, 75].contains(&finished.code), "{finished:?}");
    assert!(finished.stderr.contains("127.0.0.1:9"), "{}", finished.stderr);
    program.assert_nothing_left();
}

fn no_topic_exits_with_4_and_the_command(clusters: &Clusters) {
    let kafka = clusters.one();
    let program = Program::new("no-topic");
    program.write("data/1.jsonl", "{\"k\":\"a\"}\n");
    program.write("orchestrator.toml", config("never-made", kafka.bootstrap(), &[]));
    let finished = refused(&program, &["run"], 4, &["never-made", "--create", "--topic never-made"]);
    assert!(finished.stderr.contains("kafka-topics"), "{}", finished.stderr);
    assert!(!kafka.has_topic("never-made"), "run created the topic");
}

/// A job that was stopped in its middle.
fn stopped<'a>(clusters: &'a Clusters, topic: &str) -> Scene<'a> {
    let scene = Scene::new(clusters.one(), topic);
    scene.configure(&[("record.key", "\".customer_id\""), ("workers.count", "2"), ("limits.rate_records", "1_000")]);
    scene.orders(60, 60_000);
    let running = scene.start(&[]);
    scene.await_records();
    running.signal(Signal::SIGTERM);
    running.finish(PATIENCE).expect_code(75);
    scene
}

fn a_changed_source_exits_with_7(clusters: &Clusters) {
    let scene = stopped(clusters, "changed-source");
    let path = scene.program.join("data/orders.jsonl");
    let good = std::fs::read(&path).expect("the dataset can be read");
    let times = std::fs::metadata(&path).and_then(|data| data.modified()).expect("a file has a time");
    let set_time = || std::fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(times)).expect("ours");
    // Longer, shorter, another byte, another file beside it.
    for change in [[good.clone(), b"{}\n".to_vec()].concat(), good[..good.len() - 200].to_vec(), flipped(&good)] {
        std::fs::write(&path, change).expect("the dataset can be written");
        set_time();
        refused(&scene.program, &["run"], 7, &["orders.jsonl", "--restart"]);
    }
    std::fs::write(&path, &good).expect("the dataset can be written");
    set_time();
    let other = scene.program.write("data/another.jsonl", "{}\n");
    for _ in 0..2 {
        refused(&scene.program, &["run"], 7, &["another.jsonl"]);
    }
    std::fs::remove_file(other).expect("ours");
    assert_refusals_are_told(&scene);
    // As it was: it goes on.
    scene.run(&["--set", "limits.rate_records=\"none\""]).expect_code(0);
    let source = whole_program::multiset::Multiset::of_lines(&[path]);
    assert_eq!(scene.judge_and_verify(&source), Difference::default());
    scene.program.assert_nothing_left();
}

/// A run that was refused is none of the job's runs, and who looks at the job later learns of it all the same: each
/// reason once.
fn assert_refusals_are_told(scene: &Scene) {
    let status = scene.status().expect("it has a state");
    assert_eq!((&status["exit_code"], status["runs"].as_array().map(Vec::len)), (&75.into(), Some(1)), "{status:#}");
    let events = status["events"].to_string();
    assert_eq!(events.matches("not begun (exit 7): ").count(), 4, "{events}");
    assert_eq!(events.matches("another.jsonl").count(), 1, "{events}");
    let text = scene.program.run(&["status"], PATIENCE).expect_code(0).stdout;
    assert!(text.lines().next().is_some_and(|first| first.contains("(exit 75)")), "{text}");
    let last: Vec<_> = text.lines().filter(|line| line.contains(" UTC: not begun (exit 7): ")).collect();
    assert_eq!(last.len(), 3, "{text}");
    assert!(last[2].contains("another.jsonl"), "{text}");
}

/// A file that is being read grows: what was planned is not what is there.
fn a_source_that_changes_in_mid_run_exits_with_7(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "growing-source");
    scene.configure(&[("limits.rate_records", "1_000"), ("workers.count", "2")]);
    scene.orders(63, 60_000);
    let running = scene.start(&[]);
    scene.await_records();
    let mut file = std::fs::File::options().append(true).open(scene.program.join("data/orders.jsonl")).expect("ours");
    file.write_all(b"{\"late\":true}\n").expect("the dataset can be written");
    let report = scene.let_it_end(running).expect_code(7).json();
    assert_eq!((&report["outcome"], &report["exit_code"]), (&"failed".into(), &7.into()));
    assert_ne!(report["shards"]["done"], report["shards"]["total"], "{report:#}");
    assert!(report["reasons"].to_string().contains("orders.jsonl"), "{}", report["reasons"]);
    scene.program.assert_nothing_left();
}

fn flipped(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[20] ^= 1;
    bytes
}

fn a_second_supervisor_exits_with_75(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "second-supervisor");
    scene.configure(&[("limits.rate_records", "500"), ("workers.count", "2")]);
    scene.orders(61, 20_000);
    let first = scene.start(&[]);
    wait_until("the first is at work", PATIENCE, || scene.status().is_some());
    let second = scene.program.run(&["run"], PATIENCE);
    assert_eq!(second.code, 75, "{second:?}");
    assert!(second.elapsed <= Duration::from_secs(1), "{:?}", second.elapsed);
    assert!(second.stderr.contains(&first.pid().to_string()), "it names the process that holds the job: {}", second.stderr);
    scene.let_it_end(first).expect_code(0);
    scene.program.assert_nothing_left();
}

fn a_recreated_topic_exits_with_4(clusters: &Clusters) {
    let kafka = clusters.one();
    let scene = stopped(clusters, "recreated");
    kafka.delete_topic("recreated");
    kafka.create_topic("recreated", 8, &[]);
    refused(&scene.program, &["run"], 4, &["--restart", "recreated"]);
    // Without a terminal --restart needs --yes.
    refused(&scene.program, &["run", "--restart"], 2, &["--yes"]);
    let report = scene.run(&["--restart", "--yes", "--verify", "--set", "limits.rate_records=\"none\""]).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], 60_000);
    scene.program.assert_nothing_left();
}

/// The embedded broker, started alone, is another cluster; a topic of the same name is on it.
fn another_cluster_exits_with_4(clusters: &Clusters) {
    let scene = stopped(clusters, "other-cluster");
    let other = OtherCluster::start();
    let address = &other.address;
    let of_another = |scene: &Scene<'_>| {
        for words in [&["run"][..], &["verify"]] {
            refused(&scene.program, &[words, &["-b", address]].concat(), 4, &["another cluster", "--restart"]);
        }
    };
    // That it has no such topic says nothing of the job's.
    of_another(&scene);
    let created = Command::new("sh").args(["-c", &format!("echo first | kcat -P -b {address} -t other-cluster")]).status();
    assert!(created.expect("a shell can be started").success());
    of_another(&scene);
    other.end();
    scene.run(&["--set", "limits.rate_records=\"none\"", "--verify"]).expect_code(0);
    scene.program.assert_nothing_left();
}

/// Half of a topic must not follow other rules than the other half; workers, rates and limits may change.
fn another_mapping_is_refused(clusters: &Clusters) {
    let scene = stopped(clusters, "other-mapping");
    refused(&scene.program, &["run", "--set", "record.key=.order_id"], 3, &["--restart"]);
    refused(&scene.program, &["run", "--set", "kafka.partitioner=crc32"], 3, &["--restart"]);
    scene
        .run(&["-w", "1", "--set", "limits.rate_records=\"none\"", "--set", "shards.target_size=64KiB", "--verify"])
        .expect_code(0);
    scene.program.assert_nothing_left();
}

fn a_damaged_checkpoint_exits_with_74(clusters: &Clusters) {
    let scene = stopped(clusters, "damaged");
    let state = scene.program.join(".shardlift/damaged/state.sqlite");
    let good = std::fs::read(&state).expect("the checkpoint can be read");
    for name in ["state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(state.with_file_name(name)); // there is none after a clean end
    }
    for bad in [b"this is no database".repeat(500), good[..good.len() / 2].to_vec()] {
        std::fs::write(&state, bad).expect("the checkpoint can be written");
        refused(&scene.program, &["run"], 74, &["state.sqlite"]);
        refused(&scene.program, &["status"], 74, &["state.sqlite"]);
    }
    std::fs::write(&state, good).expect("the checkpoint can be written");
    scene.run(&["--set", "limits.rate_records=\"none\"", "--verify"]).expect_code(0);
    scene.program.assert_nothing_left();
}

/// Neither on stderr with everything switched on, nor on stdout, in the state, in the progress topic, or in what the
/// kernel shows of any process. (A variable of the environment stands there for its user, who put it there.)
fn a_secret_is_shown_nowhere(clusters: &Clusters) {
    const GIVEN: &str = "correct-horse-battery-staple";
    const IN_A_FILE: &str = "never-graded-paper-lantern";
    const PROGRESS: &str = "secret-progress";
    clusters.one().create_topic(PROGRESS, 4, &["cleanup.policy=compact"]);
    let deliveries: [&[(&str, &str)]; 2] = [
        &[],
        &[
            ("kafka.delivery", "\"exactly-once\""),
            ("checkpoint.topic", "\"secret-progress\""),
            ("checks.accept", "[\"unreplicated\"]"),
        ],
    ];
    for (round, delivery) in deliveries.into_iter().enumerate() {
        let scene = Scene::new(clusters.one(), &format!("secret-{round}"));
        let given = [
            ("limits.rate_records", "500"),
            // Secrets that a plaintext connection does not use and that are no contradiction to it.
            ("kafka.properties.\"ssl.keystore.password\"", "{ env = \"KAFKA_PASSWORD\" }"),
            ("kafka.properties.\"ssl.key.password\"", "{ file = \"password\" }"),
        ];
        scene.configure(&[&given[..], delivery].concat());
        scene.program.write("password", format!("{IN_A_FILE}\n"));
        scene.orders(62, 20_000);
        let mut command = scene.program.command(&["run", "-vv", "-o", "json", "--verify", "-X", "debug=conf,eos"]);
        command.env("KAFKA_PASSWORD", GIVEN);
        let running = scene.program.spawn(command);
        wait_until("workers run", PATIENCE, || running.children().len() >= 2);
        for process in running.processes() {
            for (name, secrets) in
                [("cmdline", &[GIVEN, IN_A_FILE][..]), ("comm", &[GIVEN, IN_A_FILE]), ("environ", &[IN_A_FILE])]
            {
                let shown = std::fs::read(format!("/proc/{}/{name}", process.pid)).unwrap_or_default();
                assert!(secrets.iter().all(|secret| !contains(&shown, secret)), "{process:?} shows it in its {name}");
            }
        }
        let finished = scene.let_it_end(running).expect_code(0);
        for secret in [GIVEN, IN_A_FILE] {
            assert!(!finished.stderr.contains(secret), "stderr shows it:\n{}", finished.stderr);
            assert!(!finished.stdout.contains(secret), "stdout shows it:\n{}", finished.stdout);
            for file in files(&scene.program.join(".shardlift")) {
                assert!(!contains(&std::fs::read(&file).expect("ours"), secret), "{} has it", file.display());
            }
        }
        scene.program.assert_nothing_left();
    }
    let mut records = 0;
    topic::read(clusters.one().bootstrap(), PROGRESS, Isolation::Uncommitted, |record| {
        records += 1;
        let all = [record.key, record.value].into_iter().flatten().collect::<Vec<_>>().concat();
        assert!(!contains(&all, GIVEN) && !contains(&all, IN_A_FILE), "the progress topic has it");
    });
    assert!(records > 0, "the exactly-once job keeps its progress there");
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the state directory can be read");
    let paths = entries.map(|entry| entry.expect("readable").path());
    paths.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
