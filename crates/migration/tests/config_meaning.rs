//! What a config means: every default, every key, overrides, paths, secrets.

mod common;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use common::{SMALLEST, mean, read};
use migration::Accept;
use migration::config::{Context, Typed};
use migration::job::*;

const MIB: u64 = 1 << 20;

fn jsonl(paths: &[&str], max_line: u64) -> SourceRules {
    let paths = paths.iter().map(|&path| path.into()).collect();
    SourceRules::Jsonl(JsonlSource { raw: false, files: FileRules { paths, max_line } })
}

/// The smallest config's job, as the product describes the defaults.
fn defaults() -> Job {
    Job {
        name: "j".into(),
        state_dir: "/jobs/.shardlift".into(),
        source: jsonl(&["/jobs/a.jsonl"], 4 * MIB),
        shards: ShardRules { target_size: None, order: ShardOrder::Source, by_key: None },
        record: RecordRules {
            key: None,
            on_missing: OnMissing::DeadLetter,
            validate: Validate::Field,
            timestamp: None,
            timestamp_unit: TimestampUnit::Rfc3339,
            headers: vec![],
        },
        kafka: KafkaRules {
            brokers: Brokers::Embedded,
            topic: "t".into(),
            partitioner: Partitioner::Murmur2,
            give_up_after: Duration::from_secs(900),
            client_id: None,
            delivery: Delivery::AtLeastOnce,
            properties: vec![],
        },
        workers: WorkerRules {
            count: None,
            max: 64,
            flush: FlushPolicy::Chunk,
            chunk: ChunkLimits { records: 1_000_000, bytes: 256 * MIB, interval: Duration::from_secs(1) },
            in_flight: 32 * MIB,
            restart: RestartRules {
                max_without_progress: 5,
                backoff_min: Duration::from_millis(100),
                backoff_max: Duration::from_secs(30),
            },
            heartbeat_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_secs(20),
            memory_limit: 512 * MIB,
        },
        limits: Limits { rate_records: None, rate_bytes: None, max_bad_records: 0 },
        dead_letters: DeadLetterRules { to: LettersTo::File, topic: None },
        checkpoint: CheckpointRules { topic: "shardlift-progress".into() },
        verify: VerifyRules { allow_duplicates: false, workers: 1 },
        accept: BTreeSet::new(),
        record_limit: None,
    }
}

#[test]
fn every_default_is_the_documented_one() {
    assert_eq!(read(SMALLEST).unwrap(), defaults());
}

#[test]
fn every_key_means_what_it_says() {
    let text = r#"
        job = { name = "orders-backfill", state_dir = "/var/state" }
        source.jsonl = { paths = ["/data/*.jsonl", "./b.jsonl"], max_line = "1MiB" }
        shards = { target_size = "64MiB", order = "largest-first", by_key = false }
        [record]
        key = ".customer.id"
        value = "."
        on_missing = "null"
        validate = "whole"
        timestamp = ".created_at"
        timestamp_unit = "ms"
        headers = { z = "1", a = "2" }
        [kafka]
        brokers = ["kafka-1:9092", "kafka-2:9092"]
        topic = "orders"
        partitioner = "crc32"
        give_up_after = "10s"
        client_id = "team/orders"
        delivery = "at-least-once"
        [kafka.properties]
        "compression.type" = "lz4"
        socket.send.buffer.bytes = 5
        "sasl.password" = { env = "PASSWORD" }
        "ssl.key.password2" = { file = "secrets/password" }
        socket.keepalive.enable = true
        "security.protocol" = "SASL_SSL"
        "sasl.mechanisms" = "OAUTHBEARER"
        [workers]
        count = 4
        max = 16
        flush = "record"
        chunk = { records = 10_000, bytes = 1048576, interval = "60s" }
        in_flight = "2MiB"
        restart = { max_without_progress = 3, backoff = "1s..2s" }
        heartbeat_timeout = "30s"
        drain_timeout = "5s"
        memory_limit = "1GiB"
        [limits]
        rate_records = 1000
        rate_bytes = "50MB"
        max_bad_records = 7
        [checks]
        accept = ["plaintext-password", "partitions", "partitions"]
        [dead_letters]
        to = "file"
        [verify]
        allow_duplicates = true
workers = 3
    "#;
    let secret = |from: &str, value: &str| Property::Secret(Secret { from: from.into(), value: value.into() });
    let expected = Job {
        name: "orders-backfill".into(),
        state_dir: "/var/state".into(),
        source: jsonl(&["/data/*.jsonl", "/jobs/b.jsonl"], MIB),
        shards: ShardRules { target_size: Some(64 * MIB), order: ShardOrder::LargestFirst, by_key: Some(false) },
        record: RecordRules {
            key: Some(FieldPath(vec!["customer".into(), "id".into()])),
            on_missing: OnMissing::Null,
            validate: Validate::Whole,
            timestamp: Some(FieldPath(vec!["created_at".into()])),
            timestamp_unit: TimestampUnit::Milliseconds,
            headers: vec![("z".into(), "1".into()), ("a".into(), "2".into())],
        },
        kafka: KafkaRules {
            brokers: Brokers::Bootstrap(vec!["kafka-1:9092".into(), "kafka-2:9092".into()]),
            topic: "orders".into(),
            partitioner: Partitioner::Crc32,
            give_up_after: Duration::from_secs(10),
            client_id: Some("team/orders".into()),
            delivery: Delivery::AtLeastOnce,
            properties: vec![
                ("compression.type".into(), Property::Plain("lz4".into())),
                ("socket.send.buffer.bytes".into(), Property::Plain("5".into())),
                ("socket.keepalive.enable".into(), Property::Plain("true".into())),
                ("sasl.password".into(), secret("env PASSWORD", "hunter2")),
                ("ssl.key.password2".into(), secret("file /jobs/secrets/password", "s3cr3t")),
                ("security.protocol".into(), Property::Plain("SASL_SSL".into())),
                ("sasl.mechanisms".into(), Property::Plain("OAUTHBEARER".into())),
            ],
        },
        workers: WorkerRules {
            count: std::num::NonZeroU32::new(4),
            max: 16,
            flush: FlushPolicy::Record,
            chunk: ChunkLimits { records: 10_000, bytes: MIB, interval: Duration::from_secs(60) },
            in_flight: 2 * MIB,
            restart: RestartRules {
                max_without_progress: 3,
                backoff_min: Duration::from_secs(1),
                backoff_max: Duration::from_secs(2),
            },
            heartbeat_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(5),
            memory_limit: 1024 * MIB,
        },
        limits: Limits { rate_records: Some(1000), rate_bytes: Some(50_000_000), max_bad_records: 7 },
        dead_letters: DeadLetterRules { to: LettersTo::File, topic: None },
        checkpoint: CheckpointRules { topic: "shardlift-progress".into() },
        verify: VerifyRules { allow_duplicates: true, workers: 3 },
        accept: BTreeSet::from([Accept::Partitions, Accept::PlaintextPassword]),
        record_limit: None,
    };
    let job = read(text).unwrap_or_else(|errors| panic!("{errors}"));
    assert_eq!(job, expected);
    let debug = format!("{job:?}");
    assert!(!debug.contains("hunter2") && !debug.contains("s3cr3t"), "{debug}");
}

#[test]
fn every_word_is_understood() {
    let record = |line: &str| read(&format!("{SMALLEST}[record]\nkey = '.a'\ntimestamp = '.b'\n{line}\n")).unwrap().record;
    assert_eq!(record("on_missing = 'dead-letter'").on_missing, OnMissing::DeadLetter);
    for (word, unit) in [
        ("rfc3339", TimestampUnit::Rfc3339),
        ("s", TimestampUnit::Seconds),
        ("ms", TimestampUnit::Milliseconds),
        ("us", TimestampUnit::Microseconds),
    ] {
        assert_eq!(record(&format!("timestamp_unit = '{word}'")).timestamp_unit, unit);
    }
    let limits = read(&format!("{SMALLEST}[limits]\nrate_records = 'none'\nrate_bytes = 1000\n")).unwrap().limits;
    assert_eq!((limits.rate_records, limits.rate_bytes), (None, Some(1000)));
}

#[test]
fn what_is_accepted_is_a_list_that_a_flag_replaces() {
    let accepted = |text: &str| {
        let mut typed = Typed::parse(&format!("{SMALLEST}[checks]\naccept = [\"owner\"]\n"), "orchestrator.toml").unwrap();
        typed.set_text("checks.accept", text, "--accept");
        mean(typed).map(|job| job.accept)
    };
    assert_eq!(read(&format!("{SMALLEST}[checks]\naccept = \"owner\"\n")).unwrap().accept, BTreeSet::from([Accept::Owner]));
    assert_eq!(accepted("partitions, plaintext-password"), Ok(BTreeSet::from([Accept::Partitions, Accept::PlaintextPassword])));
    let errors = accepted("partitons").unwrap_err().to_string();
    assert!(errors.contains("`checks.accept` has \"partitons\"") && errors.contains("did you mean `partitions`?"), "{errors}");
    assert!(errors.contains("allowed: a list of \"partitions\", \"owner\", \"plaintext-password\""), "{errors}");
    for nothing in ["", ","] {
        assert!(accepted(nothing).is_err(), "a script's unset variable is no list");
    }
}

#[test]
fn windows_line_ends_and_a_bom_are_no_matter() {
    let text = format!("\u{feff}{}", SMALLEST.replace('\n', "\r\n"));
    assert_eq!(read(&text).unwrap_or_else(|errors| panic!("{errors}")), defaults());
    let errors = read(&format!("{text}x = 1\r\n")).unwrap_err().to_string();
    assert!(errors.contains("orchestrator.toml:7:1\n   |\n 7 | x = 1\n   | ^\n"), "{errors}");
}

#[test]
fn a_plain_secret_in_the_file_is_kept_but_never_shown() {
    let secured = "\"security.protocol\" = \"sasl_ssl\"\n\"sasl.mechanisms\" = \"PLAIN\"\n\"sasl.username\" = \"a\"\n";
    let text = format!("{SMALLEST}brokers = \"a:1\"\n[kafka.properties]\n\"sasl.password\" = \"hunter2\"\n{secured}");
    let job = read(&text).unwrap();
    assert_eq!(job.kafka.properties[0].1.expose(), "hunter2");
    assert!(!format!("{job:?}").contains("hunter2"));
    assert!(!format!("{:?}", Typed::parse(&text, "f").unwrap()).contains("hunter2"));
}

/// What the smallest config means after overrides.
fn overridden(change: impl FnOnce(&mut Typed)) -> Job {
    let text = format!(
        "{SMALLEST}[workers]\ncount = 2\nchunk = {{ bytes = \"1MiB\" }}\n[kafka.properties]\nsocket.send.buffer.bytes = 1\n"
    );
    let mut typed = Typed::parse(&text, "orchestrator.toml").unwrap();
    change(&mut typed);
    mean(typed).unwrap_or_else(|errors| panic!("{errors}"))
}

#[test]
fn overrides_win_and_leave_the_rest() {
    let job = overridden(|typed| {
        typed.set("workers.count", "auto", "--workers");
        typed.set_assignment("workers.chunk={ records = 5 }", "--set");
        typed.set_assignment("workers.in_flight = 8MiB", "--set");
        typed.set_assignment("kafka.properties.\"compression.type\"=lz4", "--set");
        typed.set_assignment("kafka.properties.queue.x=1", "--set");
        typed.set_property("socket.send.buffer.bytes=9", "-X");
        typed.set_property("sasl.jaas=a=b", "-X");
        typed.set_text("kafka.topic", "2026", "--topic");
        typed.set_text("kafka.brokers", "a:1,b:2", "--brokers");
    });
    assert_eq!(job.workers.count, None);
    let chunk = ChunkLimits { records: 5, bytes: MIB, interval: Duration::from_secs(1) };
    assert_eq!((job.workers.chunk, job.workers.in_flight), (chunk, 8 * MIB));
    assert_eq!(job.kafka.topic, "2026");
    assert_eq!(job.kafka.brokers, Brokers::Bootstrap(vec!["a:1".into(), "b:2".into()]));
    let properties: Vec<_> = job.kafka.properties.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(
        properties,
        [("socket.send.buffer.bytes", "9"), ("compression.type", "lz4"), ("queue.x", "1"), ("sasl.jaas", "a=b")]
    );
}

#[test]
fn a_later_override_wins() {
    let job = overridden(|typed| {
        typed.set("workers.count", "3", "SHARDLIFT_WORKERS");
        typed.set("workers.count", "\"7\"", "--workers");
    });
    assert_eq!(job.workers.count.map(u32::from), Some(7));
}

#[test]
fn relative_paths_start_at_the_configs_folder() {
    let paths = |folder: &str| {
        let context = Context {
            config_dir: Path::new(folder),
            env: &|_| None,
            read_secret_file: &|_| Ok(String::new()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: true,
        };
        let job = Typed::parse(SMALLEST, "f").unwrap().mean(&context).unwrap();
        (job.source.files().paths[0].clone(), job.state_dir)
    };
    assert_eq!(paths(""), ("a.jsonl".into(), PathBuf::from(".shardlift")));
    assert_eq!(paths("."), ("a.jsonl".into(), PathBuf::from(".shardlift")));
    assert_eq!(paths("./x"), ("x/a.jsonl".into(), PathBuf::from("x/.shardlift")));
    assert_eq!(paths("../x"), ("../x/a.jsonl".into(), PathBuf::from("../x/.shardlift")));
    assert_eq!(paths("/a[1]*"), ("/a[[]1[]][*]/a.jsonl".into(), PathBuf::from("/a[1]*/.shardlift")));
}

#[test]
fn the_order_of_types_means_nothing() {
    let typed = |types: &str| {
        let text = common::SMALLEST_CSV.replace("[kafka]", &format!("types = {{ {types} }}\n[kafka]"));
        read(&text).expect("it means something").source
    };
    let (one, other) = (typed("total = \"number\", paid = \"bool\""), typed("paid = \"bool\", total = \"number\""));
    assert!(one == other && one != typed("total = \"number\""), "{one:?} {other:?}");
}
