//! Looks from outside at the CPU that a run uses while it goes on, so that the process that is measured need not.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::figures::Round;

/// Between two looks.
pub(crate) const EVERY: Duration = Duration::from_millis(200);

/// CPU used up to a moment by the process of a run and each of its children.
#[derive(Clone, Debug, PartialEq)]
struct CpuSample {
    at_us: u64,
    cpu_us: BTreeMap<u32, u64>,
}

/// All looks at one run.
#[derive(Debug)]
pub(crate) struct Sampler {
    pid: u32,
    next: Instant,
    samples: Vec<CpuSample>,
}

impl Sampler {
    pub(crate) fn new(pid: u32) -> Self {
        Sampler { pid, next: Instant::now(), samples: Vec::new() }
    }

    /// How long until the next look.
    pub(crate) fn patience(&self) -> Duration {
        self.next.saturating_duration_since(Instant::now())
    }

    /// Looks, if it is time. Processes that end meanwhile are left out.
    pub(crate) fn look(&mut self) {
        if !self.patience().is_zero() {
            return;
        }
        self.next = Instant::now() + EVERY;
        let children = process::children_of(self.pid).unwrap_or_default();
        let pids = [self.pid].into_iter().chain(children);
        let cpu_us = pids.filter_map(|pid| Some((pid, process::cpu_of(pid).ok()?.as_micros() as u64))).collect();
        self.samples.push(CpuSample { at_us: process::monotonic_us(), cpu_us });
    }

    /// Writes what was seen while the clock ran into the round.
    pub(crate) fn fill(&self, round: &mut Round, began_us: u64, ended_us: u64) {
        let during: Vec<&CpuSample> = self.samples.iter().filter(|s| (began_us..=ended_us).contains(&s.at_us)).collect();
        let mut workers: BTreeMap<u32, Vec<(u32, f32)>> = BTreeMap::new();
        for pair in during.windows(2) {
            let (before, after) = (pair[0], pair[1]);
            let ms = ((after.at_us - began_us) / 1000) as u32;
            let over_us = (after.at_us - before.at_us).max(1) as f32;
            let mut all = 0.0;
            for (pid, cpu_us) in &after.cpu_us {
                let Some(earlier) = before.cpu_us.get(pid) else { continue };
                let cores = cpu_us.saturating_sub(*earlier) as f32 / over_us;
                all += cores;
                if *pid != self.pid {
                    workers.entry(*pid).or_default().push((ms, cores));
                }
            }
            round.cpu_over_time.push((ms, all));
        }
        round.cpu_by_worker = workers.into_values().collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at_ms: u64, cpu_ms: &[(u32, u64)]) -> CpuSample {
        CpuSample { at_us: at_ms * 1000, cpu_us: cpu_ms.iter().map(|&(pid, ms)| (pid, ms * 1000)).collect() }
    }

    #[test]
    fn only_what_was_seen_while_the_clock_ran_counts() {
        let samples = vec![
            sample(900, &[(1, 0), (2, 0)]),
            sample(1_100, &[(1, 10), (2, 50)]),
            sample(1_300, &[(1, 30), (2, 150), (3, 0)]),
            sample(1_500, &[(1, 30), (2, 350), (3, 100)]),
        ];
        let sampler = Sampler { pid: 1, next: Instant::now(), samples };
        let mut round = Round::default();
        sampler.fill(&mut round, 1_000_000, 1_400_000);
        assert_eq!(round.cpu_over_time, [(300, 0.6)]);
        assert_eq!(round.cpu_by_worker, [vec![(300, 0.5)]]);
        let mut round = Round::default();
        sampler.fill(&mut round, 1_000_000, 1_600_000);
        assert_eq!(round.cpu_over_time, [(300, 0.6), (500, 1.5)]);
        assert_eq!(round.cpu_by_worker, [vec![(300, 0.5), (500, 1.0)], vec![(500, 0.5)]]);
    }
}
