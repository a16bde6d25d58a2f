//! Each check that a real Kafka or a real folder can make fail does so in `shardlift check`, by its name, with its exit
//! code and what mends it. `good_shapes` has them all pass.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use whole_program::admin::{Operation, Rule};
use whole_program::kafka::Kafka;
use whole_program::program::{Finished, Program};
use whole_program::scene::{PATIENCE, config};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Kafka, each_check_fails_or_warns_where_it_should),
    test!(Waits, Kafka, what_brokers_refuse_is_a_finding),
    test!(Waits, Kafka, what_exactly_once_rests_on_is_checked_and_the_progress_topic_made),
    test!(Waits, Kafka, rights_that_exactly_once_lacks_are_named_with_the_lines_that_grant_them),
];

/// How many cases are tried at the same time: a check mostly waits for the broker.
const AT_ONCE: usize = 4;

/// A job that one check has something against.
struct Case {
    name: &'static str,
    partitions: u32,
    topic: &'static [&'static str],
    keys: &'static [(&'static str, &'static str)],
    /// Writes the source; a small one of JSON lines unless said.
    source: fn(&Program),
    /// What is done in the topic or in the folder before.
    before: fn(&Kafka, &Program, &str),
    words: &'static [&'static str],
    check: &'static str,
    level: &'static str,
    code: i32,
    says: &'static [&'static str],
}

const FAILING: Case = Case {
    name: "",
    partitions: 4,
    topic: &[],
    keys: &[],
    source: objects,
    before: |_, _, _| (),
    words: &[],
    check: "",
    level: "fail",
    code: 4,
    says: &[],
};
const WARNING: Case = Case { level: "warn", code: 0, ..FAILING };

const BY_ID: (&str, &str) = ("record.key", "\".id\"");
const BY_TIME: (&str, &str) = ("record.timestamp", "\".at\"");

const CASES: &[Case] = &[
    Case {
        name: "sizes-fail",
        topic: &["max.message.bytes=2000"],
        source: large,
        check: "sizes",
        says: &["max.message.bytes"],
        ..FAILING
    },
    Case {
        name: "sizes-warn",
        topic: &["max.message.bytes=2000"],
        source: one_large,
        check: "sizes",
        says: &["max.message.bytes"],
        ..WARNING
    },
    Case {
        name: "retention",
        topic: &["retention.ms=604800000"],
        keys: &[BY_TIME],
        check: "retention",
        says: &["7 days", "--add-config retention.ms=-1", "--add-config retention.ms=604800000", "--accept retention"],
        ..FAILING
    },
    Case {
        name: "retention-size",
        topic: &["retention.bytes=10000"],
        source: large,
        check: "retention-size",
        says: &["retention.bytes", "--accept retention-size"],
        ..FAILING
    },
    Case {
        name: "append-time",
        topic: &["message.timestamp.type=LogAppendTime"],
        keys: &[BY_TIME],
        check: "timestamps",
        says: &["LogAppendTime", "record.timestamp"],
        ..FAILING
    },
    Case {
        name: "times-refused",
        topic: &["message.timestamp.before.max.ms=3600000"],
        keys: &[BY_TIME],
        check: "timestamps",
        says: &["message.timestamp.before.max.ms"],
        ..FAILING
    },
    Case {
        name: "unit",
        keys: &[("record.timestamp", "\".s\""), ("record.timestamp_unit", "\"ms\"")],
        check: "timestamps",
        says: &["record.timestamp_unit = \"s\""],
        ..WARNING
    },
    Case {
        name: "cleanup",
        topic: &["cleanup.policy=compact"],
        check: "cleanup",
        says: &["compacted", "record.key"],
        ..FAILING
    },
    Case {
        name: "partitioner",
        keys: &[BY_ID],
        before: |kafka, _, topic| existing(kafka, topic, "consistent_random", "{\"a\":1}"),
        check: "partitioner",
        says: &["crc32"],
        ..FAILING
    },
    Case { name: "skew", keys: &[("record.key", "\".same\"")], check: "skew", ..WARNING },
    Case {
        name: "mapping",
        keys: &[("record.key", "\".idd\"")],
        check: "mapping",
        says: &["has .idd", "fields are", ".id"],
        ..FAILING
    },
    Case {
        name: "formats",
        source: |program| drop(program.write("data/1.jsonl", b"PAR1\x15\x04\n\n\x15\x10\0\0\0PAR1")),
        check: "formats",
        code: 7,
        says: &["Parquet", "data/1.jsonl"],
        ..FAILING
    },
    Case {
        name: "siblings",
        keys: &[("source.jsonl.paths", "[\"data/*.jsonl\"]")],
        source: |program| {
            objects(program);
            program.write("data/2.jsonl.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03\0\0\0\0\0\0\0\0\0");
        },
        check: "files",
        says: &["2.jsonl.gz"],
        ..WARNING
    },
    Case {
        name: "existing",
        keys: &[BY_ID],
        before: |kafka, _, topic| existing(kafka, topic, "murmur2_random", "no JSON at all"),
        check: "existing",
        ..WARNING
    },
    Case {
        name: "state",
        before: |_, program, _| drop(program.write(".shardlift", "a file in the folder's place")),
        check: "state",
        code: 74,
        says: &[".shardlift"],
        ..FAILING
    },
    Case {
        name: "delivery",
        keys: &[("kafka.delivery", "\"exactly-once\""), ("checkpoint.topic", "\"check-delivery-none\"")],
        check: "delivery",
        says: &["has 1 replica of each partition", "--replication-factor 3", "--accept unreplicated"],
        ..FAILING
    },
    Case { name: "topic", words: &["-t", "topics"], check: "topic", says: &["topics", "topic"], ..FAILING },
    Case { name: "nowhere", words: &["-b", "127.0.0.1:9"], check: "brokers", says: &["127.0.0.1:9"], ..FAILING },
];

/// Events of some years, with time in two forms, and a field that is the same in all.
fn objects(program: &Program) {
    let mut lines = String::new();
    for number in 0..500 {
        let (year, seconds) = (10 + number % 14, 1_300_000_000 + number * 500_000);
        let at = format!("20{year}-05-05T05:05:05Z");
        let _ = writeln!(lines, "{{\"id\":\"i{number}\",\"at\":\"{at}\",\"s\":{seconds},\"same\":\"x\"}}");
    }
    program.write("data/1.jsonl", lines);
}

fn large(program: &Program) {
    program.write("data/1.jsonl", format!("{{\"id\":\"{}\"}}\n", "x".repeat(4_000)).repeat(100));
}

fn one_large(program: &Program) {
    let small: String = (0..99).map(|number| format!("{{\"id\":{number}}}\n")).collect();
    program.write("data/1.jsonl", format!("{{\"id\":\"{}\"}}\n{small}", "x".repeat(4_000)));
}

/// Records of another producer with this partitioner.
fn existing(kafka: &Kafka, topic: &str, partitioner: &str, value: &str) {
    let keys: Vec<String> = (0..200).map(|number| format!("key-{number}")).collect();
    let records: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), value)).collect();
    kafka.produce_as(topic, &["-X", &format!("partitioner={partitioner}")], &records);
}

fn each_check_fails_or_warns_where_it_should(clusters: &Clusters) {
    let kafka = clusters.one();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let try_next = || {
            let mut found = Vec::new();
            while let Some(case) = CASES.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                found.extend(complaint(kafka, case));
            }
            found
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(try_next)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a case can be tried")).collect()
    });
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), CASES.len(), complaints.join("\n\n"));
}

/// What is not as it should be in a case; all are looked at before the test fails.
fn complaint(kafka: &Kafka, case: &Case) -> Option<String> {
    let name = format!("check-{}", case.name);
    kafka.create_topic(&name, case.partitions, case.topic);
    let program = Program::new(&name);
    (case.source)(&program);
    program.write("orchestrator.toml", config(&name, kafka.bootstrap(), case.keys));
    (case.before)(kafka, &program, &name);
    let before: u64 = kafka.end_offsets(&name).iter().sum();
    let finished = program.run(&[&["check", "-o", "json"], case.words].concat(), PATIENCE);
    let wrong = judge(&finished, case.check, case.level, case.code, case.says);
    program.assert_nothing_left();
    assert_eq!(kafka.end_offsets(&name).iter().sum::<u64>(), before, "{name}: a check sends nothing");
    wrong.map(|wrong| format!("{}: {wrong}", case.name))
}

/// Whether a check's finding is there, with its level and its words, and whether the exit code and the counts fit.
fn judge(finished: &Finished, check: &str, level: &str, code: i32, says: &[&str]) -> Option<String> {
    let Ok(report) = serde_json::from_str::<Value>(&finished.stdout) else {
        return Some(format!("exit {}, no JSON: {:?}\n{}", finished.code, finished.stdout, finished.stderr));
    };
    let all = report["checks"].as_array().cloned().unwrap_or_default();
    let of = |level: &str| all.iter().filter(|finding| finding["level"] == level).count() as u64;
    let mut wrong = Vec::new();
    for level in ["ok", "warn", "fail", "skip"] {
        if report[level] != of(level) {
            wrong.push(format!("{level} is {}, and there are {}", report[level], of(level)));
        }
    }
    if (report["_command"].as_str(), report["_version"].as_u64()) != (Some("check"), Some(1)) {
        wrong.push(format!("it is {} {}", report["_command"], report["_version"]));
    }
    if finished.code != code {
        wrong.push(format!("exit code {}, not {code}", finished.code));
    }
    let found = all.iter().find(|finding| finding["name"] == check && finding["level"] == level);
    match found {
        None => wrong.push(format!("no {level} of {check}")),
        Some(finding) => {
            let text = format!("{} {}", finding["fact"].as_str().unwrap_or(""), finding["mend"].as_str().unwrap_or(""));
            wrong.extend(says.iter().filter(|part| !text.contains(**part)).map(|part| format!("does not say {part:?}")));
        }
    }
    let seen: Vec<String> =
        all.iter().filter(|one| one["name"] == check || one["level"] == "fail").map(|one| format!("  {one}")).collect();
    (!wrong.is_empty()).then(|| format!("{}\n{}\n{}", wrong.join(", "), seen.join("\n"), finished.stderr))
}

/// The config's keys of a user whose password SCRAM carries over TLS.
fn keys_of_bob(kafka: &Kafka) -> [(String, String); 5] {
    [
        ("security.protocol", "SASL_SSL".to_owned()),
        ("sasl.mechanisms", "SCRAM-SHA-512".to_owned()),
        ("sasl.username", "bob".to_owned()),
        ("sasl.password", "bob-secret".to_owned()),
        ("ssl.ca.location", kafka.certificate("ca.pem").display().to_string()),
    ]
    .map(|(name, value)| (format!("kafka.properties.\"{name}\""), format!("{value:?}")))
}

/// Security and rights need a secured broker; the clock's case needs a record of the near future.
fn what_brokers_refuse_is_a_finding(clusters: &Clusters) {
    let kafka = clusters.secured();
    kafka.create_topic("check-secured", 2, &[]);
    let plain = kafka.listener("plain");
    let scram = keys_of_bob(kafka);
    let scram: Vec<(&str, &str)> = scram.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let check = |listener: &str, keys: &[(&str, &str)]| {
        let program = Program::new("check-secured");
        objects(&program);
        program.write("orchestrator.toml", config("check-secured", &kafka.listener(listener), keys));
        program.run(&["check", "-o", "json"], PATIENCE)
    };
    let mut wrong = Vec::new();
    let mut told = |what: &str, found: Option<String>| wrong.extend(found.map(|found| format!("{what}: {found}")));
    told("unresolved", judge(&check("unresolved", &[]), "brokers", "fail", 4, &["kafka-internal.invalid"]));
    told("plain to TLS", judge(&check("tls", &[]), "security", "fail", 4, &["security.protocol"]));
    kafka.add_rule_for("User:bob", "check-secured", Rule::Allow, Operation::Describe);
    told("no right to write", judge(&check("sasl-tls", &scram), "rights", "fail", 4, &["kafka-acls", "User:bob", "Write"]));
    kafka.add_rule_for("User:bob", "check-secured", Rule::Allow, Operation::Write);
    kafka.add_rule_for("User:bob", "check-secured", Rule::Allow, Operation::Read);
    kafka.add_rule_for("User:bob", "check-secured", Rule::Allow, Operation::DescribeConfigs);
    let mended = check("sasl-tls", &scram);
    let all = mended.json();
    let rights = all["checks"].as_array().and_then(|all| all.iter().find(|one| one["name"] == "rights").cloned());
    if rights.as_ref().is_none_or(|rights| rights["level"] != "ok") {
        told("all rights", Some(format!("{rights:?}")));
    }
    // A record that another machine's clock stamped half an hour ahead: the topic's default takes an hour.
    let ahead = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_secs() + 1_800;
    let program = Program::new("check-ahead");
    program.write("data/1.jsonl", format!("{{\"at\":{ahead}}}\n"));
    let time = [("record.timestamp", "\".at\""), ("record.timestamp_unit", "\"s\""), ("kafka.topic", "\"check-secured\"")];
    program.write("orchestrator.toml", config("check-ahead", &plain, &time));
    program.run(&["run"], PATIENCE).expect_code(0);
    told("clock", judge(&check("plain", &[]), "clock", "warn", 0, &["clock"]));
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// What the findings of `delivery` say, with level and mend.
fn deliveries(finished: &Finished) -> Vec<String> {
    let report = finished.json();
    let all = report["checks"].as_array().cloned().unwrap_or_default();
    let text = |one: &Value| {
        let part = |name: &str| one[name].as_str().unwrap_or("").to_owned();
        format!("{}: {}; {}", part("level"), part("fact"), part("mend"))
    };
    all.iter().filter(|one| one["name"] == "delivery").map(text).collect()
}

/// One broker can't keep the promise, and says so; what is accepted, and nothing else, is let pass.
fn what_exactly_once_rests_on_is_checked_and_the_progress_topic_made(clusters: &Clusters) {
    let kafka = clusters.one();
    let (name, progress) = ("check-once", "check-once-progress");
    kafka.create_topic(name, 2, &["unclean.leader.election.enable=true"]);
    let program = Program::new(name);
    objects(&program);
    let given = |more: &[(&str, &str)]| program.write("orchestrator.toml", config(name, kafka.bootstrap(), more));
    given(&[]);
    let at_least = program.run(&["check", "--create"], PATIENCE).expect_code(2);
    assert!(at_least.stderr.contains("this one delivers at least once"), "{}", at_least.stderr);
    assert_eq!(deliveries(&program.run(&["check", "-o", "json"], PATIENCE)).len(), 1);

    let once = ("kafka.delivery", "\"exactly-once\"");
    given(&[once, ("checkpoint.topic", "\"check-once-progress\"")]);
    let found = deliveries(&program.run(&["check", "-o", "json"], PATIENCE).expect_code(4));
    for part in [
        "fail: topic check-once has 1 replica of each partition",
        "fail: topic check-once has min.insync.replicas = 1",
        "add replicas first, as above; then set min.insync.replicas=2: with one replica brokers would refuse every record",
        "fail: topic check-once has unclean.leader.election.enable = true",
        "fail: the progress topic check-once-progress (checkpoint.topic) does not exist; `shardlift check --create` makes it",
        "fail: the brokers' transaction log __transaction_state has 1 replica",
    ] {
        assert!(found.iter().any(|finding| finding.contains(part)), "{part:?} is not in {found:#?}");
    }
    assert_eq!(found.len(), 5, "the broker is recent, verifies partitions and takes the producer: {found:#?}");

    let refused = program.run(&["check", "--create"], PATIENCE).expect_code(4);
    assert!(refused.stderr.contains("needs 3 replicas, and there is 1 broker: it was not made"), "{}", refused.stderr);
    assert!(!kafka.topics().iter().any(|topic| topic == progress));
    let create = ["check", "--create", "--accept", "unreplicated", "-o", "json"];
    let made = program.run(&create, PATIENCE).expect_code(0).json();
    assert_eq!((&made["progress_topic"], &made["created"], &made["partitions"]), (&progress.into(), &true.into(), &16.into()));
    let again = program.run(&create, PATIENCE).expect_code(0).json();
    assert_eq!((&again["created"], &again["partitions"]), (&false.into(), &16.into()));

    // What was refused and is accepted is all that there was.
    let accepted = program.run(&["check", "--accept", "unreplicated", "-o", "json"], PATIENCE).expect_code(0);
    assert!(!deliveries(&accepted).iter().any(|finding| finding.contains("does not exist")), "{accepted:?}");
    let run = program.run(&["run"], PATIENCE).expect_code(4);
    assert!(run.stderr.contains("--accept unreplicated"), "{}", run.stderr);
    let add = program.run(&["run", "--add"], PATIENCE).expect_code(2);
    assert!(add.stderr.contains("begin another job"), "{}", add.stderr);
    kafka.alter_topic(progress, &["cleanup.policy=delete"]);
    let deletes = deliveries(&program.run(&["check", "--accept", "unreplicated", "-o", "json"], PATIENCE).expect_code(4));
    let said = "fail: the progress topic check-once-progress (checkpoint.topic) is not compacted";
    assert!(deletes.iter().any(|finding| finding.contains(said)), "{deletes:#?}");
    kafka.alter_topic(progress, &["cleanup.policy=compact", "segment.bytes=1073741824", "segment.ms=604800000"]);
    kafka.create_topic("check-once-dead-letters", 1, &["unclean.leader.election.enable=true"]);
    given(&[once, ("checkpoint.topic", "\"check-once-progress\""), ("dead_letters.to", "\"topic\"")]);
    let found = deliveries(&program.run(&["check", "-o", "json"], PATIENCE).expect_code(4));
    for part in [
        "fail: topic check-once-dead-letters has 1 replica of each partition",
        "fail: topic check-once-dead-letters has unclean.leader.election.enable = true",
        "warn: the progress topic check-once-progress (checkpoint.topic) has segment.bytes = 1073741824",
    ] {
        assert!(found.iter().any(|finding| finding.contains(part)), "{part:?} is not in {found:#?}");
    }
    assert!(program.run(&["run"], PATIENCE).expect_code(4).stderr.contains("check-once-dead-letters has 1 replica"));
    assert_eq!(kafka.end_offsets(name).iter().sum::<u64>(), 0, "nothing was sent");
    program.assert_nothing_left();
}

fn rights_that_exactly_once_lacks_are_named_with_the_lines_that_grant_them(clusters: &Clusters) {
    let kafka = clusters.secured();
    let (name, progress) = ("check-once-secured", "check-once-secured-progress");
    kafka.create_topic(name, 2, &[]);
    kafka.create_topic(progress, 2, &["cleanup.policy=compact"]);
    let scram = keys_of_bob(kafka);
    let mut keys: Vec<(&str, &str)> = scram.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    keys.extend([("kafka.delivery", "\"exactly-once\""), ("checkpoint.topic", "\"check-once-secured-progress\"")]);
    let program = Program::new(name);
    objects(&program);
    program.write("orchestrator.toml", config(name, &kafka.listener("sasl-tls"), &keys));
    let check = || deliveries(&program.run(&["check", "-o", "json", "--accept", "unreplicated"], PATIENCE));
    let says = |found: &[String], parts: &[&str]| found.iter().any(|one| parts.iter().all(|part| one.contains(part)));

    // All that a job with at-least-once needs.
    for operation in [Operation::Write, Operation::Read, Operation::DescribeConfigs] {
        kafka.add_rule_for("User:bob", name, Rule::Allow, operation);
    }
    kafka.add_rule_for("User:bob", progress, Rule::Allow, Operation::Describe);
    let found = check();
    let grants = "kafka-acls.sh --bootstrap-server";
    let ids = ["fail: ", grants, "User:bob", "--resource-pattern-type prefixed --transactional-id shardlift."];
    assert!(says(&found, &ids), "{found:#?}");
    let topic =
        ["fail: ", "may not Read or Write the progress topic", "User:bob --operation Read --operation Write --topic", progress];
    assert!(says(&found, &topic), "{found:#?}");

    kafka.remove_rules(progress);
    let hidden = check();
    assert!(says(&hidden, &["fail: ", "may not see the progress topic", "--operation Describe"]), "{hidden:#?}");

    kafka.allow_transactional_ids("shardlift.check-once-secured.", "User:bob");
    for operation in [Operation::Read, Operation::Write, Operation::DescribeConfigs] {
        kafka.add_rule_for("User:bob", progress, Rule::Allow, operation);
    }
    let granted = check();
    assert!(!says(&granted, &["kafka-acls.sh", "--transactional-id"]), "{granted:#?}");
    assert!(!says(&granted, &["kafka-acls.sh", "--topic check-once-secured"]), "{granted:#?}");
    let log =
        ["warn: ", "__transaction_state can't be read", "User:bob --operation Describe --operation DescribeConfigs --topic"];
    assert!(says(&granted, &log), "{granted:#?}");
    program.assert_nothing_left();
}
