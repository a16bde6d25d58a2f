//! A file that can't be read to its end: everything else is sent, the run ends with 7 and its name, and a whole copy of
//! the file may take its place, whatever was sent of it.

use std::process::{Command, Stdio};

use serde_json::Value;
use whole_program::dataset::Orders;
use whole_program::multiset::{Difference, Multiset};
use whole_program::scene::{PATIENCE, Scene, Verdict, assert_balances};
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Works, Kafka, a_damaged_file_stops_no_other_and_can_be_replaced),
    test!(Works, Kafka, a_file_that_begins_otherwise_takes_no_place),
    test!(Works, Kafka, a_window_that_fills_the_memory_can_be_replaced_too),
];

/// Lines of each file.
const LINES: u64 = 5_000;

/// `count` gzip files of orders in one shard; the whole bytes of each.
fn files(scene: &Scene, count: u64) -> (Vec<Vec<u8>>, Multiset) {
    let mut source = Multiset::new();
    let mut all = Vec::new();
    for file in 0..count {
        let text = lines(40 + file, &mut source);
        let packed = gzip(&text);
        scene.program.write(&format!("data/{file}.jsonl.gz"), &packed);
        all.push(packed);
    }
    (all, source)
}

fn lines(seed: u64, source: &mut Multiset) -> Vec<u8> {
    let mut orders = Orders::new(seed, LINES, 0);
    let mut text = Vec::new();
    for _ in 0..LINES {
        let begin = text.len();
        orders.next_line(&mut text);
        source.add(&text[begin..text.len() - 1]);
    }
    text
}

fn gzip(text: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut gzip =
        Command::new("gzip").arg("-1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("gzip can be started");
    let mut stdin = gzip.stdin.take().expect("stdin is a pipe");
    let text = text.to_vec();
    std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(&text).expect("gzip reads"));
        gzip.wait_with_output().expect("gzip can be waited for").stdout
    })
}

/// A zstd frame of blocks that are stored as they are, which says that it needs a window of 128 MiB.
fn zstd(text: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 64 << 10;
    let mut frame = vec![0x28, 0xb5, 0x2f, 0xfd, 0, (27 - 10) << 3];
    let blocks = text.len().div_ceil(BLOCK);
    for (number, block) in text.chunks(BLOCK).enumerate() {
        let head = (block.len() as u32) << 3 | u32::from(number + 1 == blocks);
        frame.extend(&head.to_le_bytes()[..3]);
        frame.extend(block);
    }
    frame
}

fn assert_damaged(report: &Value, name: &str) {
    assert_balances(report);
    let first = report["reasons"][0].as_str().expect("a reason");
    assert!(first.contains(name) && first.contains("put a whole copy of the file in its place and run again"), "{report:#}");
    assert_eq!((&report["shards"]["quarantined"], &report["workers"]["restarts"]), (&1.into(), &0.into()), "{report:#}");
}

fn a_damaged_file_stops_no_other_and_can_be_replaced(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "damaged-files");
    scene.configure(&[("workers.count", "1")]);
    let (whole, source) = files(&scene, 4);
    // The first is cut off behind the middle of its lines, the third has no start.
    scene.program.write("data/0.jsonl.gz", &whole[0][..whole[0].len() * 2 / 3]);
    scene.program.write("data/2.jsonl.gz", &whole[2][..40]);
    let report = scene.run(&[]).expect_code(7).json();
    let sent = report["records"]["acknowledged"].as_u64().expect("a number");
    assert!((2 * LINES..4 * LINES).contains(&sent), "the good files are sent: {report:#}");
    let reasons = report["reasons"].to_string();
    assert!(reasons.contains("0.jsonl.gz") && reasons.contains("2.jsonl.gz"), "{reasons}");
    let again = scene.run(&[]).expect_code(7).json();
    assert_eq!(again["records"]["acknowledged"], sent, "nothing was mended, nothing is sent twice");
    scene.program.write("data/0.jsonl.gz", &whole[0]);
    assert_damaged(&scene.run(&[]).expect_code(7).json(), "2.jsonl.gz");
    scene.program.write("data/2.jsonl.gz", &whole[2]);
    let report = scene.run(&[]).expect_code(0).json();
    assert_balances(&report);
    assert_eq!(report["records"]["acknowledged"], source.len());
    assert_replaced_is_told(&scene, &report, &["data/0.jsonl.gz", "data/2.jsonl.gz"]);
    assert_eq!(scene.judge(&source).0, Difference::default());
    assert_eq!(scene.verify().0, Verdict::SAME);
    scene.program.assert_nothing_left();
}

/// A later look at the job tells it.
fn assert_replaced_is_told(scene: &Scene, report: &Value, names: &[&str]) {
    let notices = report["notices"].as_array().expect("a list");
    assert_eq!(notices.len(), names.len(), "{report:#}");
    let text = scene.program.run(&["report"], PATIENCE).expect_code(0).stdout;
    let page = scene.program.join("page.html");
    scene.program.run(&["report", "--html", "page.html"], PATIENCE).expect_code(0);
    let page = std::fs::read_to_string(page).expect("a page was written");
    for (notice, name) in notices.iter().zip(names) {
        let told = format!("{name} is another file now");
        assert!(notice.as_str().is_some_and(|notice| notice.contains(&told)), "{notice}");
        assert!(text.contains(&told) && page.contains(&told), "{text}");
    }
}

/// The window of a zstd stream, for which the worker's memory has room once. The proof needs another, and the worker's
/// own is in the way.
fn a_window_that_fills_the_memory_can_be_replaced_too(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "window");
    // 80 MiB beside a window of 128 MiB.
    scene.configure(&[("workers.count", "1"), ("workers.in_flight", "\"4MiB\""), ("workers.memory_limit", "\"230MiB\"")]);
    let mut source = Multiset::new();
    let whole = zstd(&lines(60, &mut source));
    scene.program.write("data/0.jsonl.zst", &whole[..whole.len() * 2 / 3]);
    let report = scene.run(&[]).expect_code(7).json();
    assert!(report["records"]["acknowledged"].as_u64() > Some(0), "{report:#}");
    assert_damaged(&report, "0.jsonl.zst");
    scene.program.write("data/0.jsonl.zst", &whole);
    let report = scene.run(&[]).expect_code(0).json();
    assert_eq!(report["records"]["acknowledged"], source.len());
    assert_eq!(scene.judge(&source).0, Difference::default());
    scene.program.assert_nothing_left();
}

/// Records of it were sent: only a file that begins with these may take its place.
fn a_file_that_begins_otherwise_takes_no_place(clusters: &Clusters) {
    let scene = Scene::new(clusters.one(), "otherwise");
    scene.configure(&[("workers.count", "1")]);
    let (whole, source) = files(&scene, 1);
    scene.program.write("data/0.jsonl.gz", &whole[0][..whole[0].len() * 2 / 3]);
    assert_damaged(&scene.run(&[]).expect_code(7).json(), "0.jsonl.gz");
    let other = gzip(&lines(99, &mut Multiset::new()));
    scene.program.write("data/0.jsonl.gz", other);
    let refused = scene.run(&[]).expect_code(7);
    assert!(refused.stderr.contains("does not begin with the"), "{refused:?}");
    scene.program.write("data/0.jsonl.gz", &whole[0]);
    scene.run(&[]).expect_code(0);
    assert_eq!(scene.judge(&source).0, Difference::default());
    scene.program.assert_nothing_left();
}
