//! A whole comparison: all runs in their order, each result on disk before the next run begins, then the figures.

use std::io;
use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use migration::job::FlushPolicy;
use migration::printable::printable_path;
use migration::units::{show_duration, show_things};
use serde::Serialize;

use super::run_process::{self, NoResult};
use super::schedule::{Run, Subject, schedule};
use super::spec::{Bench, RoundSpec};
use super::temporary::{self, Temporary};
use super::{advice, conclusion, model, statistics};
use crate::figures::{Comparison, Conditions, Environment, Round, Setting};
use crate::results::Results;

/// What is to be compared, and where.
pub struct ComparisonRun {
    /// The records and where they go.
    pub bench: Bench,
    /// What is the same for all settings.
    pub conditions: Conditions,
    /// Where this is.
    pub environment: Environment,
    /// The rows.
    pub settings: Vec<Setting>,
    /// The row that the others are measured against.
    pub reference: Option<u32>,
    /// Where results are kept and runs have their temporary files: made if need be.
    pub folder: PathBuf,
}

/// How far a comparison is, before each run.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// The run that begins, from 1.
    pub run: usize,
    /// Of how many.
    pub runs: usize,
    /// Its round, from 1.
    pub round: u32,
    /// What runs.
    pub setting: Setting,
    /// Whether it is the reference without waits and CPU.
    pub apart: bool,
    /// How long everything will probably still take.
    pub left: Duration,
}

impl Standing {
    /// For people. `rounds`: of how many.
    pub fn tell(&self, rounds: u32) -> String {
        let Setting { variant, workers, flush, .. } = self.setting;
        let many = if variant.is_alone() { String::new() } else { format!(" × {workers}") };
        let flush = match flush {
            FlushPolicy::Record => "",
            FlushPolicy::Chunk => ", chunk",
        };
        let apart = if self.apart { ", without waits and CPU" } else { "" };
        format!(
            "round {} of {rounds}: {}{many}{flush}{apart} (run {} of {}, about {} left)",
            self.round,
            variant.name(),
            self.run,
            self.runs,
            show_duration(self.left)
        )
    }
}

/// A comparison that could not be made.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// The folder for results.
    #[error("results can't be kept in {path}: {cause}; it must be on a local, writable disk with space left")]
    Folder {
        /// Which.
        path: String,
        /// Why.
        cause: io::Error,
    },
}

/// What a line of the file of results holds.
#[derive(Serialize)]
#[serde(rename_all = "lowercase")]
enum Line<'a> {
    Comparison { conditions: &'a Conditions, environment: &'a Environment, settings: &'a [Setting] },
    Round(&'a Round),
    Apart(&'a Round),
}

impl ComparisonRun {
    /// The file that each result goes to as soon as it is known.
    pub fn results_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.jsonl", self.environment.started_unix_ms / 1000, std::process::id()))
    }

    /// For people, before the first run: how much there is to do.
    pub fn announce(&self) -> String {
        format!(
            "{} of {}, about {}; each result is kept in {}",
            show_things(u64::from(self.conditions.rounds), "round"),
            show_things(self.settings.len() as u64, "setting"),
            show_duration(self.estimate()),
            printable_path(&self.results_path())
        )
    }

    /// How long it will probably take.
    fn estimate(&self) -> Duration {
        self.cost(&schedule(self.settings.len(), self.apart(), self.conditions.rounds))
    }

    /// Whether the reference must run without waits and CPU too, for the model.
    fn apart(&self) -> bool {
        let by_record = |reference: u32| self.settings[reference as usize].flush == FlushPolicy::Record;
        self.reference.is_some_and(by_record) && (self.conditions.wait_us > 0 || self.conditions.cpu_us > 0)
    }

    /// Runs everything. `say` is told before each run; `interrupt` is readable when the user wants it to end: then what
    /// there is becomes the result. It also ends where a result can't be kept: what was measured comes back with the
    /// error.
    pub fn run(
        &self,
        interrupt: BorrowedFd<'_>,
        say: &mut dyn FnMut(&Standing),
    ) -> Result<(Comparison, Result<(), CompareError>), CompareError> {
        let wrong = |cause: io::Error| CompareError::Folder { path: printable_path(&self.folder), cause };
        let mut results = Results::create(&self.results_path()).map_err(wrong)?;
        let ComparisonRun { conditions, environment, settings, .. } = self;
        results.add(&Line::Comparison { conditions, environment, settings }).map_err(wrong)?;
        temporary::remove_leftovers(&self.folder);
        let runs = schedule(self.settings.len(), self.apart(), self.conditions.rounds);
        let (mut rounds, mut apart) = (Vec::new(), Vec::new());
        let (mut interrupted, mut kept) = (false, Ok(()));
        let (began, all) = (Instant::now(), self.cost(&runs));
        for (index, run) in runs.iter().enumerate() {
            let left = self.left(began.elapsed(), all, &runs[index..]);
            let (setting, apart_run) = self.setting_of(run);
            let standing = Standing {
                run: index + 1,
                runs: runs.len(),
                round: run.round,
                setting: self.settings[setting as usize],
                apart: apart_run,
                left,
            };
            say(&standing);
            let temporary = match Temporary::create(&self.folder) {
                Ok(temporary) => temporary,
                Err(error) if rounds.is_empty() && apart.is_empty() => return Err(wrong(error)),
                Err(error) => {
                    kept = Err(error);
                    break;
                }
            };
            let round = match run_process::run(&self.spec(run, temporary.path()), interrupt) {
                Ok(round) => round,
                Err(NoResult::Interrupted) => {
                    interrupted = true;
                    break;
                }
                Err(NoResult::Failed(message)) => {
                    Round { setting, round: run.round, failure: Some(message), ..Round::default() }
                }
            };
            let line = if apart_run { Line::Apart(&round) } else { Line::Round(&round) };
            kept = results.add(&line);
            if apart_run {
                apart.push(round)
            } else {
                rounds.push(round)
            }
            if kept.is_err() {
                break;
            }
            // A whole round without any figure: what is wrong hits everything, and the next round too.
            let last_of_round = runs.get(index + 1).is_none_or(|next| next.round != run.round);
            if last_of_round && rounds.iter().chain(&apart).all(|round| round.failure.is_some()) {
                break;
            }
        }
        Ok((self.conclude(rounds, apart, interrupted || kept.is_err()), kept.map_err(wrong)))
    }

    fn setting_of(&self, run: &Run) -> (u32, bool) {
        match run.subject {
            Subject::Setting(index) => (index, false),
            Subject::Apart => (self.reference.unwrap_or(0), true),
        }
    }

    fn spec(&self, run: &Run, folder: &Path) -> RoundSpec {
        let (index, apart) = self.setting_of(run);
        let beside = |us: u64| Duration::from_micros(if apart { 0 } else { us });
        RoundSpec {
            bench: self.bench.clone(),
            index,
            setting: self.settings[index as usize],
            round: run.round,
            duration: Duration::from_secs_f64(self.conditions.seconds),
            records: self.conditions.records,
            wait: beside(self.conditions.wait_us),
            cpu: beside(self.conditions.cpu_us),
            parent: std::process::id(),
            folder: folder.to_owned(),
        }
    }

    /// What runs will probably take.
    fn cost(&self, runs: &[Run]) -> Duration {
        runs.iter().map(|run| cost(&self.settings[self.setting_of(run).0 as usize], self.conditions.seconds)).sum()
    }

    /// What is left, by what the runs so far took beside what they were expected to.
    fn left(&self, elapsed: Duration, all: Duration, runs: &[Run]) -> Duration {
        let ahead = self.cost(runs);
        let behind = all.saturating_sub(ahead);
        if behind.is_zero() { ahead } else { ahead.mul_f64(elapsed.as_secs_f64() / behind.as_secs_f64()) }
    }

    fn conclude(&self, rounds: Vec<Round>, apart: Vec<Round>, interrupted: bool) -> Comparison {
        let mut conditions = self.conditions.clone();
        let once = self.bench.plan.records_estimate();
        // Each worker begins at another place: together they come round as soon as they have taken as many as there
        // are.
        conditions.source_repeated = rounds.iter().any(|round| round.records > once);
        let mut results = statistics::summaries(&self.settings, self.reference, &rounds);
        let model = model::of(&conditions, self.reference, &self.settings, &rounds, apart);
        let processors = self.environment.processors;
        if let Some(model) = &model {
            model::predict(model, &self.settings, self.reference, processors, &mut results);
        }
        let mut comparison = Comparison {
            conditions,
            model,
            environment: self.environment.clone(),
            settings: self.settings.clone(),
            reference: self.reference,
            rounds,
            results,
            conclusion: None,
            advice: Vec::new(),
            interrupted,
        };
        comparison.conclusion = conclusion::conclude(&comparison);
        comparison.advice = advice::advice(&comparison);
        comparison
    }
}

/// What one run will probably take: its clock, a process that starts, workers that connect four at a time.
fn cost(setting: &Setting, seconds: f64) -> Duration {
    const START: f64 = 0.3;
    const FOUR_WORKERS: f64 = 0.15;
    Duration::from_secs_f64(seconds + START + f64::from(setting.workers.div_ceil(4)) * FOUR_WORKERS)
}
