//! Hostile lines (row 13): each does what the documentation says, in bounded memory, and no process crashes.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};

use serde_json::Value;
use whole_program::multiset::{Difference, Multiset};
use whole_program::scene::{Scene, Verdict, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, hostile_lines_without_a_key),
    test!(Works, Kafka, hostile_lines_with_a_key),
    test!(Works, Kafka, a_line_of_one_gibibyte),
    test!(Works, Kafka, only_empty_files),
];

/// What becomes of a line.
enum Fate {
    /// It is sent, as these bytes.
    Sent(Vec<u8>),
    /// It is blank.
    Filtered,
    /// It is set aside for a reason that contains this text.
    Dead(&'static str),
}

/// A line with its line end, and its fate without and with a key at `.k`.
struct Hostile {
    line: Vec<u8>,
    keyless: Fate,
    keyed: Fate,
}

fn same(line: impl Into<Vec<u8>>) -> Fate {
    Fate::Sent(line.into())
}

fn hostile(line: impl AsRef<[u8]>, keyed: Option<&'static str>) -> Hostile {
    let line = line.as_ref();
    let keyed = keyed.map_or(same(line), Fate::Dead);
    Hostile { line: [line, b"\n"].concat(), keyless: same(line), keyed }
}

fn blank(line: &str) -> Hostile {
    Hostile { line: line.into(), keyless: Fate::Filtered, keyed: Fate::Filtered }
}

fn nested(depth: usize, key_first: bool) -> String {
    let deep = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    if key_first { format!("{{\"k\":\"a\",\"deep\":{deep}}}") } else { format!("{{\"deep\":{deep},\"k\":\"a\"}}") }
}

/// The first line starts with a byte order mark, the last has no line end.
fn lines() -> Vec<Hostile> {
    let good = "{\"k\":\"a\",\"n\":1}";
    let sent = |line: &[u8], value: &[u8]| Hostile { line: line.into(), keyless: same(value), keyed: same(value) };
    vec![
        sent(b"\xef\xbb\xbf{\"k\":\"bom\"}\n", b"{\"k\":\"bom\"}"),
        hostile(good, None),
        sent(b"{\"k\":\"crlf\"}\r\n", b"{\"k\":\"crlf\"}"),
        sent(b"{\"k\":\"crcrlf\"}\r\r\n", b"{\"k\":\"crcrlf\"}\r"),
        blank("\n"),
        blank("\r\n"),
        blank(" \t \r\n"),
        // Only what is scanned up to the field is judged.
        hostile(b"{\"k\":\"utf8-after\",\"x\":\"\xff\xfe\"}", None),
        hostile(b"{\"k\":\"nul-after\",\"x\":\"\0\0\"}", None),
        hostile(b"{\"x\":\"\xff\xfe\",\"k\":\"utf8-before\"}", None),
        hostile(b"{\"k\":\"utf8-inside-\xff\"}", Some("UTF-8")),
        hostile(b"\0\0\0", Some("JSON")),
        hostile(nested(100_000, true), None),
        hostile(nested(100_000, false), None),
        hostile("[".repeat(100_000), Some("")),
        hostile("{\"k\":".repeat(50_000), Some("object")),
        hostile("\u{feff}{\"k\":\"bom in the middle\"}", Some("JSON")),
        hostile("not JSON", Some("JSON")),
        hostile("{\"k\":null}", Some("null in .k")),
        hostile("{\"other\":1}", Some("no field .k")),
        hostile("{\"k\":[1]}", Some("array")),
        hostile("{\"k\":\"a\"", None),
        hostile("{\"k\":1e400,\"k\":2}", None),
        hostile("\u{1b}[31mred\u{1b}[0m \u{7}", Some("JSON")),
        sent(b"{\"k\":\"no line end\"}", b"{\"k\":\"no line end\"}"),
    ]
}

fn hostile_lines_without_a_key(clusters: &Clusters) {
    check(&Scene::new(clusters.one(), "hostile"), None, |line| &line.keyless);
}

fn hostile_lines_with_a_key(clusters: &Clusters) {
    check(&Scene::new(clusters.one(), "hostile-keyed"), Some("\".k\""), |line| &line.keyed);
}

fn check(scene: &Scene, key: Option<&str>, fate: impl Fn(&Hostile) -> &Fate) {
    let mut keys = vec![("limits.max_bad_records", "100"), ("workers.count", "2"), ("shards.target_size", "\"100kB\"")];
    keys.extend(key.map(|key| ("record.key", key)));
    scene.configure(&keys);
    let lines = lines();
    let whole: Vec<u8> = lines.iter().flat_map(|line| line.line.clone()).collect();
    scene.program.write("data/1-hostile.jsonl", &whole);
    scene.program.write("data/2-empty.jsonl", "");
    scene.program.write("data/3-blank.jsonl", "\n\n\n");
    let mut sent = Multiset::new();
    let (mut filtered, mut dead) = (3, Vec::new());
    for line in &lines {
        match fate(line) {
            Fate::Sent(value) => sent.add(value),
            Fate::Filtered => filtered += 1,
            Fate::Dead(reason) => dead.push((line, *reason)),
        }
    }
    let finished = scene.run(&["-v"]).expect_code(0);
    assert!(!finished.stderr.contains('\u{1b}'), "no line's escape sequence reaches a terminal: {:?}", finished.stderr);
    let report = finished.json();
    assert_balances(&report);
    let counts = &report["records"];
    let seen =
        [&counts["acknowledged"], &counts["filtered"], &counts["dead_lettered"]].map(|count| count.as_u64().expect("a number"));
    let letters = scene.dead_letters();
    assert_eq!(seen, [sent.len(), filtered, dead.len() as u64], "sent, filtered, dead: {letters:#?}");
    assert_eq!(report["workers"]["restarts"], 0, "no worker crashed");
    assert_letters(&letters, &dead, &whole);
    assert_eq!(scene.judge(&sent).0, Difference::default());
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

/// Each bad line is in the dead letters with its reason, its place, and its bytes: as text, or as base64 where it is
/// none.
fn assert_letters(letters: &[Value], dead: &[(&Hostile, &str)], whole: &[u8]) {
    for (line, reason) in dead {
        let bytes = line.line.strip_suffix(b"\n").expect("only the last line has no end");
        let start = whole.windows(line.line.len()).position(|window| window == line.line).expect("it is in the file");
        let shown = String::from_utf8_lossy(&bytes[..bytes.len().min(60)]);
        let same = |letter: &&Value| letter["start"] == start;
        let letter = letters.iter().find(same).unwrap_or_else(|| panic!("no dead letter at {start} ({shown}): {letters:#?}"));
        assert!(letter["reason"].as_str().is_some_and(|said| said.contains(reason)), "{shown}: {}", letter["reason"]);
        assert!(letter["path"].as_str().is_some_and(|path| path.ends_with("1-hostile.jsonl")), "{letter}");
        assert_eq!(letter["bytes"], bytes.len(), "{shown}");
        match std::str::from_utf8(bytes) {
            Ok(text) => assert_eq!(letter["record"], text),
            Err(_) => assert!(letter["record_base64"].is_string() && letter["record"].is_null(), "{letter}"),
        }
    }
}

/// In the middle of good lines, so that the neighbours are seen to survive. The file is sparse: 1 GiB of NUL bytes.
fn a_line_of_one_gibibyte(clusters: &Clusters) {
    const LENGTH: u64 = 1 << 30;
    let scene = Scene::new(clusters.one(), "gibibyte");
    scene.configure(&[("limits.max_bad_records", "1"), ("record.key", "\".customer_id\""), ("workers.count", "2")]);
    let source = scene.orders(30, 2_000);
    let path = scene.program.join("data/orders.jsonl");
    let text = std::fs::read(&path).expect("the dataset can be read");
    let half = text.len() / 2;
    let at = half + text[half..].iter().position(|byte| *byte == b'\n').expect("lines end") + 1;
    let mut file = File::create(&path).expect("the dataset can be written");
    file.write_all(&text[..at]).expect("the dataset can be written");
    file.seek(SeekFrom::Current(LENGTH.cast_signed())).expect("a file can be sparse");
    file.write_all(&[b"\n", &text[at..]].concat()).expect("the dataset can be written");
    drop(file);
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!((&report["records"]["acknowledged"], &report["records"]["dead_lettered"]), (&2_000.into(), &1.into()));
    assert_eq!(report["workers"]["restarts"], 0);
    let letters = scene.dead_letters();
    assert_eq!((&letters[0]["bytes"], &letters[0]["start"]), (&LENGTH.into(), &at.into()));
    assert_eq!(letters[0]["record"].as_str().map(str::len), Some(64 << 10), "its first 64 KiB");
    let peak = report["workers"]["peak_memory_bytes"].as_u64().expect("a number");
    const BOUND: u64 = (32 + 4 + 64) << 20; // in_flight + max_line + 64 MiB
    println!("a line of 1 GiB: the workers' VmHWM is {} MiB (the bound is {} MiB)", peak >> 20, BOUND >> 20);
    assert!((1 << 20..=BOUND).contains(&peak), "{peak}");
    assert_eq!(scene.judge(&source).0, Difference::default());
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

fn only_empty_files(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "empty");
    scene.configure(&[]);
    scene.program.write("data/1.jsonl", "");
    scene.program.write("data/2.jsonl", "");
    let report = scene.run(&["--verify"]).expect_code(0).json();
    assert_eq!((&report["outcome"], &report["records"]["read"]), (&Value::from("done"), &Value::from(0)));
    assert_balances(&report);
    scene.program.assert_nothing_left();
}
