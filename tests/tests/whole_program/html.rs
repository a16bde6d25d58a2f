//! The pages of `report` and `compare` in Chromium: nothing in the console, every picture has drawn marks and words,
//! the numbers on the page are those of the embedded JSON; light and dark, wide and narrow, and printed.

use serde_json::Value;
use whole_program::browser::{Window, look, print};
use whole_program::dataset::Orders;
use whole_program::program::Program;
use whole_program::root;
use whole_program::scene::PATIENCE;
use whole_program::suite::{Clusters, Test};
use whole_program::test;

/// The tests of this module.
pub const TESTS: &[Test] = &[
    test!(Waits, Nothing, a_jobs_report_is_told_from_its_state),
    test!(Works, Browser, the_page_of_a_job),
    test!(Works, Browser, the_page_of_a_comparison),
    test!(Works, Browser, the_page_of_the_web_scene),
];

const LINES: u64 = 20_000;

fn folder(what: &str) -> Program {
    let program = Program::new(what);
    program.write("orchestrator.toml", std::fs::read(root().join("orchestrator.toml")).expect("the root has a config"));
    let mut orders = Orders::new(60, LINES, 0);
    let mut lines = Vec::new();
    (0..LINES).for_each(|_| orders.next_line(&mut lines));
    program.write("data/orders-0.jsonl", lines);
    program
}

/// A job that takes about three seconds, so that there is something over time.
fn finished_job(what: &str) -> Program {
    let program = folder(what);
    let words = ["run", "-w", "2", "--set", "limits.rate_records=8000", "--set", "shards.target_size=1MiB", "-o", "json"];
    program.run(&words, PATIENCE).expect_code(0);
    program
}

fn a_jobs_report_is_told_from_its_state(_: &Clusters) {
    let program = folder("report-none");
    let none = program.run(&["report", "--html", "report.html"], PATIENCE).expect_code(4);
    assert!(none.stderr.contains("never run"), "{}", none.stderr);
    assert!(!program.join("report.html").exists());
    let program = finished_job("report-json");
    let report = program.run(&["report", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!((&report["_command"], &report["outcome"]), (&Value::from("report"), &Value::from("done")));
    let attempts = report["attempts"].as_array().expect("a list");
    assert!(!attempts.is_empty());
    for attempt in attempts {
        let samples = &attempt["samples"];
        let last =
            |name: &str| samples[name].as_array().and_then(|list| list.last()).and_then(Value::as_f64).expect("a number");
        assert_eq!(last("acknowledged"), attempt["acknowledged"].as_f64().expect("a number"), "{attempt:#}");
        assert!((last("cpu_ms") - attempt["cpu_ms"].as_f64().expect("a number")).abs() < 1.0, "{attempt:#}");
        let times = samples["at_ms"].as_array().expect("a list");
        assert!(times.windows(2).all(|pair| pair[0].as_u64() < pair[1].as_u64()), "{times:?}");
    }
    let status = program.run(&["status", "-o", "json"], PATIENCE).expect_code(0).json();
    assert_eq!(status["records"], report["records"]);
    program.assert_nothing_left();
}

fn the_page_of_a_job(_: &Clusters) {
    let program = finished_job("report-page");
    program.run(&["report", "--html", "page.html"], PATIENCE).expect_code(0);
    judge(&program, &["rate", "phases", "workers", "cpu", "shards", "flush", "partitions"]);
}

fn the_page_of_a_comparison(_: &Clusters) {
    let program = folder("compare-page");
    let variants = "single,green-blocking,green-wakeup,processes";
    let words =
        ["compare", "--variants", variants, "--workers", "1,2", "--seconds", "1", "--rounds", "1", "--html", "page.html"];
    program.run(&words, PATIENCE).expect_code(0);
    judge(&program, &["rates", "phases", "cpu", "scaling"]);
}

fn the_page_of_the_web_scene(_: &Clusters) {
    let program = folder("web-page");
    program.run(&["compare", "web", "--seconds", "1", "--rounds", "1", "--html", "page.html"], PATIENCE).expect_code(0);
    judge(&program, &["latency"]);
}

/// Everything that holds for each page; `pictures` are the figures that it must have.
fn judge(program: &Program, pictures: &[&str]) {
    let mut grounds = Vec::new();
    for window in [Window { width: 1400, dark: false }, Window { width: 390, dark: true }] {
        let seen = look(program, "page.html", window);
        assert_eq!((&seen["errors"], &seen["wrong"]), (&Value::Array(Vec::new()), &Value::Array(Vec::new())), "{window:?}");
        assert!(seen["numbers"].as_u64() >= Some(10), "{seen:#}");
        assert_eq!(seen["ordered"], true, "faster stands further right: {window:?}");
        assert!(seen["overflow"].as_i64() <= Some(0), "wider than its window by {}: {window:?}", seen["overflow"]);
        let drawn = seen["pictures"].as_array().expect("a list");
        for name in pictures {
            assert!(drawn.iter().any(|picture| picture["figure"] == *name), "no picture {name} in {window:?}: {drawn:#?}");
        }
        for picture in drawn {
            assert!(picture["marks"].as_u64() >= Some(1) && picture["marks"] == picture["drawn"], "{window:?}: {picture:#}");
            let words = picture["words"].as_array().expect("a list");
            assert!(
                words.len() == 2 && words.iter().all(|word| word.as_str().is_some_and(|word| !word.is_empty())),
                "{picture:#}"
            );
            assert!(picture["letter"].as_f64() >= Some(9.0), "too small to read in {window:?}: {picture:#}");
        }
        grounds.push(seen["background"].clone());
    }
    assert_ne!(grounds[0], grounds[1], "light and dark differ");
    let (pdf, console) = print(program, "page.html");
    assert!(console.is_empty(), "{console:#?}");
    assert!(pdf.starts_with(b"%PDF-") && (10_000..5_000_000).contains(&pdf.len()), "{} bytes", pdf.len());
}
