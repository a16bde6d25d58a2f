//! What became of the tests, in the words of cargo's own harness, and how long each took.

use std::process::ExitCode;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::{Chosen, Lane, Wanted};

/// How many of the slowest tests are named.
const SLOWEST: usize = 20;

/// What became of the tests so far.
pub(super) struct Outcomes {
    begin: Instant,
    filtered: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    passed: usize,
    ignored: usize,
    /// Names, and what was said.
    failed: Vec<(String, String)>,
    times: Vec<(Duration, String)>,
}

impl Outcomes {
    pub(super) fn new(filtered: usize) -> Self {
        Outcomes { begin: Instant::now(), filtered, state: Mutex::default() }
    }

    /// The tests that are wanted and can run. One that lacks something is left out; with `SHARDLIFT_REQUIRE_KAFKA=1`
    /// that is a failure.
    pub(super) fn without_those_that_cannot_run(&self, chosen: Vec<Chosen>, wanted: Wanted) -> Vec<Chosen> {
        let required = std::env::var_os("SHARDLIFT_REQUIRE_KAFKA").is_some_and(|value| value == "1");
        let mut state = self.state.lock().expect("no holder panics");
        let can_run = |Chosen { name, test }: &Chosen| {
            match (wanted, test.lane == Lane::Nightly) {
                (Wanted::Daily, true) => {
                    println!("test {name} ... ignored, scripts/nightly runs it");
                    state.ignored += 1;
                    return false;
                }
                (Wanted::Nightly, false) => return false,
                _ => {}
            }
            let Some(lack) = test.needs.lack() else { return true };
            if required {
                println!("test {name} ... FAILED: needs {lack}; SHARDLIFT_REQUIRE_KAFKA=1 forbids to skip");
                state.failed.push((name.clone(), format!("needs {lack}")));
            } else {
                println!("test {name} ... ignored, needs {lack}");
                state.ignored += 1;
            }
            false
        };
        chosen.into_iter().filter(can_run).collect()
    }

    /// Notes and prints how a test ended.
    pub(super) fn ended(&self, name: &str, took: Duration, ended: Result<(), String>) {
        println!("test {name} ... {} ({:.1} s)", if ended.is_ok() { "ok" } else { "FAILED" }, took.as_secs_f64());
        let mut state = self.state.lock().expect("no holder panics");
        state.times.push((took, name.to_owned()));
        match ended {
            Ok(()) => state.passed += 1,
            Err(said) => state.failed.push((name.to_owned(), said)),
        }
    }

    /// Prints what failed and why, the slowest tests, and how many there were of each kind.
    pub(super) fn summary(self) -> ExitCode {
        let State { passed, ignored, failed, mut times } = self.state.into_inner().expect("no holder panics");
        if !failed.is_empty() {
            println!("\nfailures:");
            failed.iter().for_each(|(name, said)| println!("\n---- {name} ----\n{said}"));
            println!("\nfailures:");
            failed.iter().for_each(|(name, _)| println!("    {name}"));
        }
        times.sort_unstable_by(|one, other| other.cmp(one));
        let all: Duration = times.iter().map(|(time, _)| *time).sum();
        println!("\nthe slowest of {} tests, which took {:.0} s in all:", times.len(), all.as_secs_f64());
        times.iter().take(SLOWEST).for_each(|(time, name)| println!("{:8.1} s {name}", time.as_secs_f64()));
        println!(
            "\ntest result: {}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
            if failed.is_empty() { "ok" } else { "FAILED" },
            failed.len(),
            self.filtered,
            self.begin.elapsed().as_secs_f64(),
        );
        if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(101) }
    }
}
