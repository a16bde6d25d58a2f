//! Runs the whole-program tests in lanes with shared clusters, and prints what cargo's own harness would print.
//!
//! `cargo test`'s harness can't be used: its statics are never dropped, so that a shared Kafka would outlive it, and it
//! knows no difference between tests that wait and tests that work. Responsible for: what a test is. Not for: which
//! ones are run (`wishes`), in which order (`lanes`), what is printed of each (`outcomes`).

mod lanes;
mod outcomes;
mod wishes;

use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::LazyLock;

use nix::sys::signal::Signal;

use crate::browser;
pub use crate::clusters::Clusters;
use crate::kafka::{missing, missing_tools};
use crate::program::binary;
use outcomes::Outcomes;
use wishes::{USAGE, Wishes};

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
    /// It judges a time or a rate that others' work would change: while no other test runs. Each costs the gate all its
    /// time.
    Alone,
    /// It judges a time or a rate of some seconds, and takes nearly nothing of the machine itself: all of these at the
    /// same time, while no other test runs. One that works is `Alone`.
    Light,
    /// As `Alone`, and long: only with `--include-ignored`, or with `--ignored` without the others, as
    /// `scripts/nightly` runs it.
    Nightly,
}

/// What a test can't run without.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Only the build.
    Nothing,
    /// kcat, Java, Maven, OpenSSL and zstd.
    Kafka,
    /// What users make and mend files with: jq, zstd, Python 3.
    Tools,
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
        static TOOLS: LazyLock<Option<String>> = LazyLock::new(|| {
            let missing = missing(&["jq", "zstd", "python3"]);
            (!missing.is_empty()).then(|| format!("{}: scripts/setup --tests installs them", missing.join(", ")))
        });
        match self {
            Need::Nothing => None,
            Need::Tools => TOOLS.as_deref(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// All but the nightly one.
    Daily,
    /// The nightly one alone.
    Nightly,
    /// All.
    All,
}

/// Starts this binary again if signals are ignored that the tests send: a shell has those of its background jobs ignore
/// Ctrl-C, and what we start would inherit that. SIGHUP stays as it is: nohup is meant.
pub fn heed_signals() {
    const SENT: [Signal; 5] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGTTIN, Signal::SIGTTOU];
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a process has such a line");
    let ignored = u64::from_str_radix(ignored.trim(), 16).expect("it is a number");
    if SENT.iter().all(|signal| ignored & (1 << (*signal as i32 - 1)) == 0) {
        return;
    }
    let own = std::env::current_exe().expect("the test knows its own path");
    let defaults = SENT.map(|signal| format!("--default-signal={}", signal.as_str()));
    let error = Command::new("env").args(defaults).arg(own).args(std::env::args_os().skip(1)).exec();
    panic!("env can't be started: {error}");
}

/// Runs the tests that the command line asks for (see `--help`). With `SHARDLIFT_REQUIRE_KAFKA=1` a test that lacks
/// something fails.
pub fn main(modules: &[Module]) -> ExitCode {
    let wishes = match Wishes::parse(std::env::args().skip(1)) {
        Ok(wishes) => wishes,
        Err(error) => {
            eprint!("error: {error}\n\n{USAGE}");
            return ExitCode::from(101);
        }
    };
    if wishes.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    heed_signals();
    let chosen = wishes.choose(modules);
    if wishes.list {
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
    lanes::run(&ready, &clusters, &outcomes, wishes.one_at_a_time);
    drop(clusters);
    outcomes.summary()
}
