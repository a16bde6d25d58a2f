//! What a run of the job should be told, with its reason: the fewest workers that are as fast as the fastest, as far as
//! the rounds tell them apart.

use migration::job::FlushPolicy;
use report::figures::show_speed;
use serde::{Deserialize, Serialize};

use crate::figures::{Comparison, Setting, Summary, Variant};
use crate::pages::flush_name;

/// The fewest rounds that a conclusion rests on.
const ROUNDS: u32 = 2;

/// What to set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conclusion {
    /// `workers.count`.
    pub workers: u32,
    /// `workers.flush`.
    pub flush: FlushPolicy,
    /// How many times as fast as the reference it was: the median of the rounds.
    pub relative_speed: f64,
    /// The standard error of that.
    pub relative_speed_error: f64,
    /// Why this one, in a sentence.
    pub why: String,
}

impl Conclusion {
    /// The lines of the config.
    pub fn keys(&self) -> String {
        format!("workers.count = {}, workers.flush = \"{}\"", self.workers, flush_name(self.flush))
    }

    /// The same to copy behind the command that runs the job.
    pub fn flags(&self) -> String {
        format!("--set workers.count={} --set workers.flush={}", self.workers, flush_name(self.flush))
    }
}

/// What the rounds of forked workers say, which are what `run` has. `None`: too few of them.
pub fn conclude(comparison: &Comparison) -> Option<Conclusion> {
    let runs: Vec<Run<'_>> = comparison.results.iter().filter_map(|result| Run::of(comparison, result)).collect();
    let fastest = runs.iter().max_by(|a, b| a.rate().total_cmp(&b.rate()))?;
    let as_fast = runs.iter().filter(|run| overlap(run.summary, fastest.summary));
    // Of equal counts the faster one: two flushes can overlap, too.
    let chosen = as_fast.min_by(|a, b| a.workers().cmp(&b.workers()).then(b.rate().total_cmp(&a.rate())))?;
    let speed = format!("{} times {}", chosen.speed(), reference(comparison)?.variant.name());
    let why = match (chosen.workers() == fastest.workers(), runs.iter().any(|run| run.workers() < chosen.workers())) {
        (false, _) => {
            format!("{speed}; {} gave {}: their rounds overlap, so the rest is not told apart", fastest.name(), fastest.speed())
        }
        (true, true) => format!("{speed}; fewer were slower"),
        (true, false) => speed,
    };
    Some(Conclusion {
        workers: chosen.workers(),
        flush: chosen.setting.flush,
        relative_speed: chosen.median,
        relative_speed_error: chosen.error,
        why,
    })
}

/// Whether the rounds of two settings don't tell which is faster: the best of one reaches the least of the other.
pub fn overlap(a: &Summary, b: &Summary) -> bool {
    let (a, b) = (&a.records_per_second, &b.records_per_second);
    a.least <= b.most && b.least <= a.most
}

fn reference(comparison: &Comparison) -> Option<&Setting> {
    comparison.settings.get(comparison.reference? as usize)
}

/// A setting that `run` has.
struct Run<'a> {
    setting: &'a Setting,
    summary: &'a Summary,
    median: f64,
    error: f64,
}

impl<'a> Run<'a> {
    fn of(comparison: &'a Comparison, summary: &'a Summary) -> Option<Run<'a>> {
        let setting = comparison.settings.get(summary.setting as usize)?;
        let counts = setting.variant == Variant::Processes && summary.rounds >= ROUNDS;
        let (speed, error) = (summary.relative_speed?, summary.relative_speed_error?);
        counts.then_some(Run { setting, summary, median: speed.median, error })
    }

    fn workers(&self) -> u32 {
        self.setting.workers
    }

    fn rate(&self) -> f64 {
        self.summary.records_per_second.median
    }

    fn speed(&self) -> String {
        format!("{} ± {}", show_speed(self.median), show_speed(self.error))
    }

    fn name(&self) -> String {
        format!("{} workers", self.workers())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::Spread;
    use crate::pages::example;

    /// Single and processes with these rates: median, and how far rounds are from it.
    fn comparison(rates: &[(u32, f64, f64)]) -> Comparison {
        let mut story = example::story();
        let setting = |variant, workers| Setting { variant, workers, flush: FlushPolicy::Chunk, shared_producer: false };
        story.settings = vec![setting(Variant::Single, 1)];
        story.settings.extend(rates.iter().map(|&(workers, ..)| setting(Variant::Processes, workers)));
        let around = |median: f64, far: f64| Spread { median, least: median - far, most: median + far };
        let all = [(1, 100.0, 1.0)].into_iter().chain(rates.iter().copied());
        let result = |(setting, (_, rate, far)): (u32, (u32, f64, f64))| Summary {
            setting,
            rounds: 3,
            records_per_second: around(rate, far),
            relative_speed: Some(around(rate / 100.0, far / 100.0)),
            relative_speed_error: Some(far / 200.0),
            ..Summary::default()
        };
        story.results = (0..).zip(all).map(result).collect();
        story
    }

    #[test]
    fn the_fewest_workers_that_are_as_fast_as_the_fastest() {
        let found = |rates: &[(u32, f64, f64)]| {
            let found = conclude(&comparison(rates)).unwrap();
            (found.workers, found.why)
        };
        let (workers, why) = found(&[(1, 101.0, 8.0), (2, 104.0, 5.0), (4, 103.0, 1.0)]);
        assert_eq!(workers, 1, "{why}");
        assert!(why.contains("1.01 ± 0.04 times single; 2 workers gave 1.04 ± 0.03: their rounds overlap"), "{why}");
        let (workers, why) = found(&[(1, 100.0, 1.0), (2, 195.0, 5.0), (4, 300.0, 20.0), (8, 310.0, 20.0)]);
        assert_eq!(workers, 4, "{why}");
        let (workers, why) = found(&[(1, 100.0, 1.0), (2, 195.0, 5.0)]);
        assert_eq!((workers, why.as_str()), (2, "1.95 ± 0.03 times single; fewer were slower"));
        assert_eq!(found(&[(2, 195.0, 5.0)]).1, "1.95 ± 0.03 times single");
    }

    #[test]
    fn one_round_and_other_variants_conclude_nothing() {
        let mut story = comparison(&[(2, 195.0, 5.0)]);
        story.results[1].rounds = 1;
        assert_eq!(conclude(&story), None);
        assert_eq!(conclude(&comparison(&[])), None, "single is no run with workers");
    }

    #[test]
    fn it_can_be_copied() {
        let found = conclude(&comparison(&[(2, 195.0, 5.0)])).unwrap();
        assert_eq!(found.keys(), "workers.count = 2, workers.flush = \"chunk\"");
        assert_eq!(found.flags(), "--set workers.count=2 --set workers.flush=chunk");
    }
}
