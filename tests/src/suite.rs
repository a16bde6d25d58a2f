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

/// The tests of one subject.
pub struct Module {
    /// Its name, the first part of its tests' names.
    pub name: &'static str,
    /// Its tests.
    pub tests: &'static [Test],
}

/// One test; [`test!`](crate::test) makes it.
pub struct Test {
    /// Its name, a sentence with underscores.
    pub name: &'static str,
    /// Beside which others it may run.
    pub lane: Lane,
    /// What it can't run without.
    pub needs: Need,
    /// What it does; it fails by panicking.
    pub run: fn(&Clusters),
}

/// A test from its function: `test!(Works, Kafka, what_it_shows)`, or with a name of its own
/// `test!(Works, Kafka, "with_four", |clusters| what_it_shows(clusters, 4))`. First its [`Lane`], then its [`Need`].
#[macro_export]
macro_rules! test {
    ($lane:ident, $needs:ident, $run:ident) => {
        $crate::test!($lane, $needs, stringify!($run), $run)
    };
    ($lane:ident, $needs:ident, $name:expr, $run:expr) => {
        $crate::suite::Test { name: $name, lane: $crate::suite::Lane::$lane, needs: $crate::suite::Need::$needs, run: $run }
    };
}

/// Beside which others a test may run. (So far all run one after the other.)
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    /// It mostly waits: for a timeout, a throttle, a broker.
    Waits,
    /// It keeps the processors busy.
    Works,
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

/// What a test binary was told to do.
struct Choice {
    filters: Vec<String>,
    list: bool,
}

impl Choice {
    fn of_arguments() -> Self {
        let (flags, filters): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
        Choice { filters, list: flags.iter().any(|flag| flag == "--list") }
    }

    fn has(&self, name: &str) -> bool {
        self.filters.is_empty() || self.filters.iter().any(|part| name.contains(part.as_str()))
    }
}

/// What became of the tests so far.
#[derive(Default)]
struct Results {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
}

/// Runs the tests whose `module::name` contains one of the arguments that are no flags (all without one). With
/// `SHARDLIFT_REQUIRE_KAFKA=1` a test that would be skipped fails.
pub fn main(modules: &[Module]) -> ExitCode {
    let choice = Choice::of_arguments();
    let named = |module: &Module, test: &Test| format!("{}::{}", module.name, test.name);
    if choice.list {
        modules.iter().for_each(|module| module.tests.iter().for_each(|test| println!("{}: test", named(module, test))));
        return ExitCode::SUCCESS;
    }
    let chosen_of = |module: &Module| -> Vec<(String, &'static Test)> {
        module.tests.iter().map(|test| (named(module, test), test)).filter(|(name, _)| choice.has(name)).collect()
    };
    let chosen: Vec<Vec<(String, &Test)>> = modules.iter().map(chosen_of).collect();
    let (all, count): (usize, usize) =
        (modules.iter().map(|module| module.tests.len()).sum(), chosen.iter().map(Vec::len).sum());
    println!("\nrunning {count} tests");
    let mut results = Results::default();
    let start = Instant::now();
    for tests in &chosen {
        let clusters = Clusters::default();
        tests.iter().for_each(|(name, test)| run(name, test, &clusters, &mut results));
    }
    if !results.failed.is_empty() {
        println!("\nfailures:");
        results.failed.iter().for_each(|name| println!("    {name}"));
    }
    println!(
        "\ntest result: {}. {} passed; {} failed; {} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if results.failed.is_empty() { "ok" } else { "FAILED" },
        results.passed,
        results.failed.len(),
        results.skipped,
        all - count,
        start.elapsed().as_secs_f64(),
    );
    if results.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
}

fn run(name: &str, test: &Test, clusters: &Clusters, results: &mut Results) {
    let required = std::env::var_os("SHARDLIFT_REQUIRE_KAFKA").is_some_and(|value| value == "1");
    if let Some(lack) = test.needs.lack() {
        if required {
            println!("test {name} ... FAILED: needs {lack}; SHARDLIFT_REQUIRE_KAFKA=1 forbids to skip");
            results.failed.push(name.to_owned());
        } else {
            println!("test {name} ... ignored, needs {lack}");
            results.skipped += 1;
        }
        return;
    }
    let begin = Instant::now();
    let good = catch_unwind(AssertUnwindSafe(|| (test.run)(clusters))).is_ok();
    println!("test {name} ... {} ({:.1} s)", if good { "ok" } else { "FAILED" }, begin.elapsed().as_secs_f64());
    if good { results.passed += 1 } else { results.failed.push(name.to_owned()) }
}
