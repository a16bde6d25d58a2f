//! Runs whole-program tests one after the other with shared clusters, and prints what cargo's own harness would print.
//!
//! `cargo test`'s harness can't be used: its statics are never dropped, so that a shared Kafka would outlive it, and it runs
//! tests on threads at the same time, where each of ours wants the machine's two cores.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::browser;
use crate::kafka::{Kafka, missing_tools};

/// One test.
pub struct Test {
    /// Its name, a sentence with underscores.
    pub name: &'static str,
    /// What it can't run without.
    pub needs: Need,
    /// What it does; it fails by panicking.
    pub run: fn(&Clusters),
}

/// What a test can't run without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Only the build.
    Nothing,
    /// kcat, Java and Maven.
    Kafka,
    /// Chromium.
    Browser,
    /// Python 3 with venv, and a package index for its packages at the first time.
    Python,
}

impl Need {
    /// What it lacks here, with how to get it; nothing if all is there.
    fn lack(self) -> Option<&'static str> {
        static KAFKA: LazyLock<Option<String>> = LazyLock::new(|| {
            let missing = missing_tools();
            (!missing.is_empty()).then(|| format!("{}: scripts/setup --tests installs them", missing.join(", ")))
        });
        static PYTHON: LazyLock<Option<String>> = LazyLock::new(|| {
            let made = Command::new(crate::root().join("scripts/story/run")).arg("--prepare").stdin(Stdio::null()).status();
            let lack = "Python 3 with venv and packages: scripts/setup --tests, then scripts/story/run --prepare";
            (!made.is_ok_and(|status| status.success())).then(|| lack.to_owned())
        });
        match self {
            Need::Nothing => None,
            Need::Kafka => KAFKA.as_deref(),
            Need::Browser => (!browser::is_installed()).then_some("chromium: scripts/setup --tests installs it"),
            Need::Python => PYTHON.as_deref(),
        }
    }
}

/// The clusters of a test binary, each started when the first test asks for it.
#[derive(Default)]
pub struct Clusters {
    one: OnceCell<Kafka>,
    three: OnceCell<Kafka>,
    distant: OnceCell<Kafka>,
}

/// The round trip to the distant cluster.
pub const ROUND_TRIP: Duration = Duration::from_millis(5);

impl Clusters {
    /// A cluster of one broker.
    pub fn one(&self) -> &Kafka {
        self.one.get_or_init(|| Kafka::start(1))
    }

    /// A cluster of three brokers.
    pub fn three(&self) -> &Kafka {
        self.three.get_or_init(|| Kafka::start(3))
    }

    /// A cluster of one broker with a second address that is a round trip of 5 ms away.
    pub fn distant(&self) -> &Kafka {
        self.distant.get_or_init(|| Kafka::start_distant(ROUND_TRIP))
    }
}

/// Runs the tests whose name contains the first argument that is no flag (all without one). With `SHARDLIFT_REQUIRE_KAFKA=1` a
/// test that would be skipped fails.
pub fn main(tests: &[Test]) -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        tests.iter().for_each(|test| println!("{}: test", test.name));
        return ExitCode::SUCCESS;
    }
    let filter = words.iter().find(|word| !word.starts_with("--"));
    let chosen: Vec<&Test> = tests.iter().filter(|test| filter.is_none_or(|part| test.name.contains(part.as_str()))).collect();
    println!("\nrunning {} tests", chosen.len());
    let clusters = Clusters::default();
    let required = std::env::var_os("SHARDLIFT_REQUIRE_KAFKA").is_some_and(|value| value == "1");
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    let start = Instant::now();
    for test in &chosen {
        if let Some(lack) = test.needs.lack() {
            if required {
                println!("test {} ... FAILED: needs {lack}; SHARDLIFT_REQUIRE_KAFKA=1 forbids to skip", test.name);
                failed.push(test.name);
            } else {
                println!("test {} ... ignored, needs {lack}", test.name);
                skipped += 1;
            }
            continue;
        }
        let begin = Instant::now();
        let good = catch_unwind(AssertUnwindSafe(|| (test.run)(&clusters))).is_ok();
        println!("test {} ... {} ({:.1} s)", test.name, if good { "ok" } else { "FAILED" }, begin.elapsed().as_secs_f64());
        if good { passed += 1 } else { failed.push(test.name) }
    }
    drop(clusters);
    if !failed.is_empty() {
        println!("\nfailures:");
        failed.iter().for_each(|name| println!("    {name}"));
    }
    println!(
        "\ntest result: {}. {passed} passed; {} failed; {skipped} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        failed.len(),
        tests.len() - chosen.len(),
        start.elapsed().as_secs_f64(),
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}
