//! An attempt over time: which heartbeats become samples, and how many are kept.
//!
//! Samples wait here until the next chunk or the attempt's end is put on disk, and go with that transaction: they cost
//! no sync of their own. What a killed supervisor had not written is lost; the figures of samples are sums, so that a
//! gap hides no time.

use std::time::Duration;

use migration::Phases;
use migration::report::Sample;

/// How far apart samples are at first.
const EVERY: Duration = Duration::from_secs(1);
/// The most samples of an attempt; when they are full every second one goes, and later ones are twice as far apart.
const MOST: u32 = 240;
/// After each such number of a job's samples those of later attempts are twice as far apart: a job's history stays
/// below a few megabytes.
const JOB_STEP: u64 = 10_000;

/// How far apart the samples of an attempt are that begins when its job has `samples_of_job`.
pub(crate) fn interval(samples_of_job: u64) -> Duration {
    EVERY * 2_u32.saturating_pow(u32::try_from(samples_of_job / JOB_STEP).unwrap_or(u32::MAX).min(12))
}

/// The samples of one attempt.
#[derive(Debug)]
pub(crate) struct Series {
    every_ms: u64,
    next_ms: u64,
    /// Kept, those that wait included.
    kept: u32,
    waiting: Vec<Sample>,
    /// Whether every second one of those on disk goes.
    thin: bool,
}

/// What goes to disk with the next transaction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewSamples {
    /// Leave out every second one of those on disk, first of all.
    pub thin: bool,
    /// In the order of time.
    pub samples: Vec<Sample>,
}

impl Series {
    /// Samples about so far apart.
    pub(crate) fn new(every: Duration) -> Self {
        let every_ms = u64::try_from(every.as_millis()).unwrap_or(u64::MAX).max(1);
        Series { every_ms, next_ms: 0, kept: 0, waiting: Vec::new(), thin: false }
    }

    /// Whether a heartbeat at this time becomes a sample.
    pub(crate) fn due(&self, at_ms: u64) -> bool {
        at_ms >= self.next_ms
    }

    /// Takes a sample.
    pub(crate) fn take(&mut self, sample: Sample) {
        if self.waiting.last().is_some_and(|last| last.at_ms >= sample.at_ms) {
            self.waiting.pop();
            self.kept -= 1;
        }
        self.next_ms = sample.at_ms / self.every_ms * self.every_ms + self.every_ms;
        self.waiting.push(sample);
        self.kept += 1;
        if self.kept >= MOST {
            self.every_ms *= 2;
            self.halve();
        }
    }

    /// Takes the last sample: whatever came before, the attempt's sums are these.
    pub(crate) fn end(&mut self, at_ms: u64, acknowledged: u64, cpu_us: u64, phases: Phases) {
        if phases.total() > 0 {
            self.take(Sample { at_ms, acknowledged, cpu_us, phases });
        }
    }

    /// Every second one goes: those on disk when the next transaction is written, unless a halving waits there already.
    fn halve(&mut self) {
        let mut index = 0;
        self.waiting.retain(|_| {
            index += 1;
            index % 2 == 0
        });
        self.thin = true;
        self.kept /= 2;
    }

    /// What goes to disk now.
    pub(crate) fn give(&mut self) -> NewSamples {
        NewSamples { thin: std::mem::take(&mut self.thin), samples: std::mem::take(&mut self.waiting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(at_ms: u64) -> Sample {
        Sample { at_ms, ..Sample::default() }
    }

    /// What the disk would hold of an attempt of `seconds`, five heartbeats in each, a chunk after each
    /// `heartbeats_per_chunk`.
    fn kept(seconds: u64, heartbeats_per_chunk: u64) -> Vec<u64> {
        let mut series = Series::new(EVERY);
        let mut disk: Vec<u64> = Vec::new();
        for beat in 0..seconds * 5 {
            if series.due(beat * 200) {
                series.take(at(beat * 200));
            }
            if beat % heartbeats_per_chunk == 0 {
                let new = series.give();
                if new.thin {
                    disk = disk.into_iter().step_by(2).collect();
                }
                disk.extend(new.samples.iter().map(|sample| sample.at_ms));
            }
        }
        disk
    }

    #[test]
    fn a_short_attempt_has_a_sample_a_second() {
        assert_eq!(kept(5, 1), [0, 1000, 2000, 3000, 4000]);
    }

    #[test]
    fn a_long_attempt_keeps_few_and_even_ones() {
        for chunk in [1, 7] {
            let kept = kept(36_000, chunk);
            assert!((100..=241).contains(&kept.len()), "{}", kept.len());
            assert!(kept.windows(2).all(|pair| pair[0] < pair[1]), "{kept:?}");
            let widest = kept.windows(2).map(|pair| pair[1] - pair[0]).max();
            assert!(widest <= Some(600_000), "{widest:?}");
        }
    }

    #[test]
    fn an_attempt_that_commits_nothing_for_hours_is_bounded_too() {
        assert!(kept(36_000, 36_000 * 5).len() <= 1);
        let mut series = Series::new(EVERY);
        (0..36_000 * 5).filter(|beat| beat % 5 == 0).for_each(|beat| {
            if series.due(beat * 200) {
                series.take(at(beat * 200));
            }
        });
        assert!(series.give().samples.len() < MOST as usize);
    }

    #[test]
    fn a_large_job_is_sampled_less_often() {
        assert_eq!([0, 9_999, 10_000, 45_000].map(|n| interval(n).as_secs()), [1, 1, 2, 16]);
        assert!(interval(u64::MAX) <= Duration::from_secs(4096));
    }

    #[test]
    fn the_last_sample_has_the_attempts_sums() {
        let mut series = Series::new(EVERY);
        series.take(at(1_000));
        let mut phases = Phases::default();
        phases.spend(migration::Phase::Flush, 7);
        series.end(1_000, 5, 6, phases);
        assert_eq!(series.give().samples, [Sample { at_ms: 1_000, acknowledged: 5, cpu_us: 6, phases }]);
    }
}
