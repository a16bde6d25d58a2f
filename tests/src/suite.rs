//! Runs the whole-program tests in lanes with shared clusters, and prints what cargo's own harness would print.
//!
//! `cargo test`'s harness can't be used: its statics are never dropped, so that a shared Kafka would outlive it, and it knows no
//! difference between tests that wait and tests that work. Responsible for: what a test is, which ones are run. Not for: the order
//! (`lanes`), what is printed of each (`outcomes`).

mod lanes;
mod outcomes;

use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use crate::browser;
pub use crate::clusters::Clusters;
use crate::kafka::missing_tools;
use crate::program::binary;
use outcomes::Outcomes;

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

/// Beside which others a test may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// It mostly waits, for a timeout, a throttle, a broker: some at the same time, and beside the next two.
    Waits,
    /// It keeps the processors busy: one at a time.
    Works,
    /// It ends, stops or starts brokers, on [`Clusters::outage`]: one at a time.
    Outage,
    /// It judges a time or a rate that others' work would change: while no other test runs. Each costs the gate all its time.
    Alone,
    /// The same, and long: only with `--include-ignored`, or with `--ignored` without the others, as `scripts/nightly` runs it.
    Nightly,
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

/// A test that was chosen, with its whole name.
struct Chosen {
    name: String,
    test: &'static Test,
}

/// Which lanes are wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    /// All but the nightly one.
    Daily,
    /// The nightly one alone.
    Nightly,
    /// All.
    All,
}

/// What the command line asks for: parts of names, and flags of cargo's own harness.
struct Wishes {
    parts: Vec<String>,
    flags: Vec<String>,
}

impl Wishes {
    fn of_arguments() -> Self {
        let (flags, parts) = std::env::args().skip(1).partition(|word| word.starts_with("--"));
        Wishes { parts, flags }
    }

    fn has_flag(&self, name: &str) -> bool {
        self.flags.iter().any(|flag| flag == name)
    }

    fn lanes(&self) -> Wanted {
        match (self.has_flag("--ignored"), self.has_flag("--include-ignored")) {
            (true, _) => Wanted::Nightly,
            (false, true) => Wanted::All,
            (false, false) => Wanted::Daily,
        }
    }

    fn choose(&self, modules: &[Module]) -> Vec<Chosen> {
        let tests = modules.iter().flat_map(|module| module.tests.iter().map(move |test| (module, test)));
        let named = tests.map(|(module, test)| Chosen { name: format!("{}::{}", module.name, test.name), test });
        let wanted = |chosen: &Chosen| self.parts.is_empty() || self.parts.iter().any(|part| chosen.name.contains(part));
        named.filter(wanted).collect()
    }
}

/// Runs the tests whose `module::name` contains one of the arguments that are no flags (all without one). With
/// `SHARDLIFT_REQUIRE_KAFKA=1` a test that lacks something fails.
pub fn main(modules: &[Module]) -> ExitCode {
    let wishes = Wishes::of_arguments();
    let chosen = wishes.choose(modules);
    if wishes.has_flag("--list") {
        chosen.iter().for_each(|chosen| println!("{}: test", chosen.name));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() && !wishes.parts.is_empty() {
        eprintln!("no test's name has a part like {:?}; --list shows all", wishes.parts);
        return ExitCode::FAILURE;
    }
    let all: usize = modules.iter().map(|module| module.tests.len()).sum();
    println!("\nrunning {} tests", chosen.len());
    let outcomes = Outcomes::new(all - chosen.len());
    let ready = outcomes.without_those_that_cannot_run(chosen, wishes.lanes());
    if !ready.is_empty() {
        binary(); // built now, not in the first test's time
    }
    let clusters = Clusters::default();
    lanes::run(&ready, &clusters, &outcomes);
    drop(clusters);
    outcomes.summary()
}
