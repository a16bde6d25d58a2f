//! Good shapes of data and topics: `check` and `run` pass them without a warning. A false alarm at a user's first
//! contact is a fault like a missed one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use whole_program::kafka::Kafka;
use whole_program::program::Program;
use whole_program::scene::{PATIENCE, Scene};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[test!(Waits, Kafka, good_data_and_topics_pass_without_a_warning)];

/// How many shapes are tried at the same time: a check mostly waits for the broker.
const AT_ONCE: usize = 4;

/// A topic, a source, a job, and what others did in the topic before.
struct Shape {
    name: &'static str,
    partitions: u32,
    topic: &'static [&'static str],
    files: &'static [File],
    keys: &'static [(&'static str, &'static str)],
    before: fn(&Kafka, &str),
}

/// A file: its name, which says how it is compressed, its lines, and what each line is.
type File = (&'static str, u64, fn(u64) -> String);

const PLAIN: Shape = Shape { name: "", partitions: 8, topic: &[], files: &[], keys: &[], before: untouched };
const BY_CUSTOMER: (&str, &str) = ("record.key", "\".customer.id\"");
const BY_ID: (&str, &str) = ("record.key", "\".id\"");

const SHAPES: &[Shape] = &[
    Shape { name: "nested-key", files: &[("orders.jsonl", 300, order)], keys: &[BY_CUSTOMER], ..PLAIN },
    Shape { name: "gzip", files: &[("a.jsonl.gz", 200, order), ("b.jsonl.gz", 100, order)], keys: &[BY_CUSTOMER], ..PLAIN },
    Shape { name: "zstd", files: &[("a.jsonl.zst", 300, order)], keys: &[BY_CUSTOMER], ..PLAIN },
    Shape { name: "plain-and-gzip", files: &[("a.jsonl", 200, order), ("b.jsonl.gz", 200, order)], ..PLAIN },
    Shape { name: "csv", files: &[("rows.csv", 300, csv)], keys: &[("source.csv.paths", "[\"data/*.csv\"]"), BY_ID], ..PLAIN },
    Shape {
        name: "csv-gzip-semicolon",
        files: &[("rows.csv.gz", 300, semicolons)],
        keys: &[("source.csv.paths", "[\"data/*\"]"), ("source.csv.delimiter", "\";\""), BY_ID],
        ..PLAIN
    },
    Shape {
        name: "keyless-logs",
        files: &[("app.log", 400, log), ("app.log.1", 200, log)],
        keys: &[("source.jsonl.paths", "[\"data/app.log*\"]")],
        ..PLAIN
    },
    Shape {
        name: "compacted",
        topic: &["cleanup.policy=compact"],
        files: &[("a.jsonl", 300, order)],
        keys: &[BY_CUSTOMER],
        ..PLAIN
    },
    Shape { name: "one-partition", partitions: 1, files: &[("a.jsonl", 300, order)], keys: &[BY_CUSTOMER], ..PLAIN },
    Shape { name: "one-partition-keyless", partitions: 1, files: &[("a.jsonl", 300, log)], ..PLAIN },
    Shape { name: "many-partitions", partitions: 64, files: &[("a.jsonl", 600, order)], keys: &[BY_CUSTOMER], ..PLAIN },
    Shape { name: "few-records-many-partitions", partitions: 64, files: &[("a.jsonl", 20, order)], keys: &[BY_ID], ..PLAIN },
    Shape {
        name: "existing-murmur2",
        files: &[("a.jsonl", 300, order)],
        keys: &[BY_CUSTOMER],
        before: |kafka, topic| existing(kafka, topic, "murmur2_random"),
        ..PLAIN
    },
    Shape {
        name: "existing-crc32",
        files: &[("a.jsonl", 300, order)],
        keys: &[BY_CUSTOMER, ("kafka.partitioner", "\"crc32\"")],
        before: |kafka, topic| existing(kafka, topic, "consistent_random"),
        ..PLAIN
    },
    Shape { name: "append-time", topic: &["message.timestamp.type=LogAppendTime"], files: &[("a.jsonl", 300, order)], ..PLAIN },
    Shape { name: "min-isr", topic: &["min.insync.replicas=1"], files: &[("a.jsonl", 300, order)], ..PLAIN },
    Shape {
        name: "fresh-events",
        topic: &["retention.ms=604800000"],
        files: &[("a.jsonl", 300, order)],
        keys: &[BY_CUSTOMER, ("record.timestamp", "\".at\""), ("record.timestamp_unit", "\"ms\"")],
        ..PLAIN
    },
    Shape {
        name: "old-events-kept",
        topic: &["retention.ms=-1", "retention.bytes=1073741824"],
        files: &[("a.jsonl", 300, old)],
        keys: &[BY_ID, ("record.timestamp", "\".at\"")],
        ..PLAIN
    },
    Shape {
        name: "old-events-without-timestamp",
        topic: &["retention.ms=604800000"],
        files: &[("a.jsonl", 300, old)],
        keys: &[BY_ID],
        ..PLAIN
    },
    Shape {
        name: "compressed-topic",
        topic: &["compression.type=zstd", "max.message.bytes=65536"],
        files: &[("a.jsonl", 300, order)],
        keys: &[BY_CUSTOMER, ("kafka.properties.\"compression.type\"", "\"lz4\"")],
        ..PLAIN
    },
    Shape { name: "windows", files: &[("a.jsonl", 300, windows)], keys: &[BY_ID], ..PLAIN },
    Shape { name: "letters-of-the-world", files: &[("daten für heute.jsonl", 300, world)], keys: &[BY_ID], ..PLAIN },
    Shape { name: "lines-are-arrays", files: &[("pairs.jsonl", 300, array)], ..PLAIN },
    Shape { name: "large-records", partitions: 4, files: &[("a.jsonl", 12, large)], keys: &[BY_ID], ..PLAIN },
    Shape {
        name: "some-without-key",
        files: &[("a.jsonl", 300, some_keys)],
        keys: &[BY_ID, ("record.on_missing", "\"null\"")],
        ..PLAIN
    },
    Shape {
        name: "whole-and-headers",
        files: &[("a.json", 300, order), ("deep/er/b.json", 100, order), ("empty.json", 0, order)],
        keys: &[
            ("source.jsonl.paths", "[\"data/**/*.json\"]"),
            BY_CUSTOMER,
            ("record.validate", "\"whole\""),
            ("record.headers", "{ source = \"backfill\" }"),
        ],
        ..PLAIN
    },
    Shape { name: "one-record", files: &[("a.jsonl", 1, order)], keys: &[BY_CUSTOMER], ..PLAIN },
];

fn untouched(_: &Kafka, _: &str) {}

/// Records of live use, by another client's partitioner.
fn existing(kafka: &Kafka, topic: &str, partitioner: &str) {
    let records: Vec<(String, String)> = (0..200).map(|number| (format!("c{}", number % 90), order(number))).collect();
    let borrowed: Vec<(&str, &str)> = records.iter().map(|(key, value)| (key.as_str(), value.trim_end())).collect();
    kafka.produce_as(topic, &["-X", &format!("partitioner={partitioner}")], &borrowed);
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as u64
}

fn order(number: u64) -> String {
    let at = now_ms() - number * 60_000;
    format!("{{\"id\":{number},\"at\":{at},\"customer\":{{\"id\":\"c{}\",\"name\":\"n\"}},\"total\":9.5}}\n", number % 97)
}

fn log(number: u64) -> String {
    format!("{{\"level\":\"info\",\"message\":\"request {number} took {} ms\",\"status\":200}}\n", number % 13)
}

fn old(number: u64) -> String {
    format!("{{\"id\":\"o{number}\",\"at\":\"20{:02}-03-0{}T12:00:00Z\"}}\n", 10 + number % 15, 1 + number % 9)
}

fn csv(number: u64) -> String {
    let header = if number == 0 { "id,note,total\r\n" } else { "" };
    format!("{header}{number},\"one, two\r\nand \"\"three\"\"\",{number}.50\r\n")
}

fn semicolons(number: u64) -> String {
    let header = if number == 0 { "id;name;total\n" } else { "" };
    format!("{header}{number};n{number};1,5\n")
}

fn windows(number: u64) -> String {
    let mark = if number == 0 { "\u{feff}" } else { "" };
    format!("{mark}{{\"id\":\"w{number}\",\"path\":\"C:\\\\data\\\\{number}\"}}\r\n")
}

fn world(number: u64) -> String {
    format!("{{\"id\":\"ключ-{number}\",\"city\":\"東京\",\"said\":\"naïve \\u00fc {number}\"}}\n")
}

fn array(number: u64) -> String {
    format!("[{number},\"n{number}\",{{\"a\":null}}]\n")
}

/// 500 KiB: half of what a topic takes.
fn large(number: u64) -> String {
    format!("{{\"id\":\"l{number}\",\"body\":\"{}\"}}\n", "x".repeat(500 << 10))
}

fn some_keys(number: u64) -> String {
    let mut line = String::from("{");
    if !number.is_multiple_of(5) {
        let _ = write!(line, "\"id\":\"s{number}\",");
    }
    line + &format!("\"n\":{number}}}\n")
}

/// Writes a file as its name says, with a time before the job's: a file of this minute might still be growing.
fn write(program: &Program, (name, lines, line): &File) {
    let text: String = (0..*lines).map(line).collect();
    let path = program.join("data").join(name);
    std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("a folder can be made");
    let packer = match path.extension().and_then(|ending| ending.to_str()) {
        Some("gz") => "gzip",
        Some("zst") => "zstd",
        _ => "cat",
    };
    let file = std::fs::File::create(&path).expect("a file can be made");
    let mut pack =
        Command::new(packer).stdin(Stdio::piped()).stdout(file).spawn().unwrap_or_else(|error| panic!("{packer}: {error}"));
    pack.stdin.take().expect("stdin is a pipe").write_all(text.as_bytes()).expect("it reads all");
    assert!(pack.wait().expect("it can be waited for").success(), "{packer} failed");
    let earlier = Command::new("touch").args(["-d", "1 hour ago"]).arg(&path).status();
    assert!(earlier.is_ok_and(|status| status.success()), "touch can be run");
}

fn good_data_and_topics_pass_without_a_warning(clusters: &Clusters) {
    let kafka = clusters.one();
    let next = std::sync::atomic::AtomicUsize::new(0);
    let complaints: Vec<String> = std::thread::scope(|scope| {
        let try_next = || {
            let mut found = Vec::new();
            while let Some(shape) = SHAPES.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
                found.extend(complaint(kafka, shape));
            }
            found
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(try_next)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a shape can be tried")).collect()
    });
    assert!(complaints.is_empty(), "{} of {}:\n{}", complaints.len(), SHAPES.len(), complaints.join("\n\n"));
}

/// What `check` or `run` has against a good shape; all are looked at before the test fails.
fn complaint(kafka: &Kafka, shape: &Shape) -> Option<String> {
    let name = format!("good-{}", shape.name);
    let scene = Scene::with_topic(kafka, &name, shape.partitions, shape.topic);
    shape.files.iter().for_each(|file| write(&scene.program, file));
    scene.configure(shape.keys);
    (shape.before)(kafka, &name);
    let before = kafka.end_offsets(&name).iter().sum::<u64>();

    let checked = scene.program.run(&["check", "-o", "json"], PATIENCE);
    let told = |what: &str| Some(format!("{name}: {what}\n{}\n{}", checked.stdout, checked.stderr));
    if checked.code != 0 {
        return told(&format!("check ends with {}", checked.code));
    }
    let report = checked.json();
    if (report["warn"].as_u64(), report["fail"].as_u64()) != (Some(0), Some(0)) {
        let all = report["checks"].as_array().cloned().unwrap_or_default();
        let bad = |level: &&serde_json::Value| level["level"] != "ok" && level["level"] != "skip";
        let bad: Vec<String> = all.iter().filter(bad).map(|check| format!("  {check}")).collect();
        return Some(format!("{name}: check\n{}", bad.join("\n")));
    }
    if kafka.end_offsets(&name).iter().sum::<u64>() != before {
        return told("check sent something");
    }

    let sent = scene.run(&[]);
    if sent.code != 0 || sent.stderr.contains("warning") {
        return Some(format!("{name}: run ends with {}\n{}", sent.code, sent.stderr));
    }
    let report = sent.json();
    if report["notices"].as_array().is_some_and(|notices| !notices.is_empty()) {
        return Some(format!("{name}: run notices {}", report["notices"]));
    }
    let records: u64 = shape.files.iter().map(|(_, lines, _)| lines).sum();
    if report["records"]["acknowledged"] != records {
        return Some(format!("{name}: {records} records are {}", report["records"]));
    }
    scene.program.assert_nothing_left();
    None
}
