//! When a run will probably end.

use std::collections::VecDeque;
use std::time::Duration;

/// Estimates the rest of a run from the recent rate: what was done in the newer half of the run so far. A slow start
/// (forks, first metadata) or a changed rate is forgotten after as long again; the first second says nothing.
#[derive(Debug, Default)]
pub struct Eta {
    samples: VecDeque<(Duration, f64)>,
}

/// Samples closer together than this are not kept.
const SPACING: Duration = Duration::from_millis(200);
/// The least history an estimate needs.
const ENOUGH: Duration = Duration::from_secs(1);

impl Eta {
    /// Notes that `done` (0 to 1) of the job is done `elapsed` after the start of this run, and returns the estimated
    /// rest.
    pub fn update(&mut self, elapsed: Duration, done: f64) -> Option<Duration> {
        if self.samples.back().is_none_or(|(last, _)| elapsed >= *last + SPACING) {
            self.samples.push_back((elapsed, done));
        }
        let from = elapsed / 2;
        while self.samples.len() > 2 && self.samples[1].0 <= from {
            self.samples.pop_front();
        }
        let &(then, done_then) = self.samples.front()?;
        let (span, gained) = (elapsed.saturating_sub(then), done - done_then);
        if span < ENOUGH || gained <= 0.0 {
            return None;
        }
        let seconds = span.as_secs_f64() * (1.0 - done).max(0.0) / gained;
        (seconds < 1e9).then(|| Duration::from_secs_f64(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(rate: impl Fn(f64) -> f64, check: impl Fn(f64, f64, f64)) {
        // Integrates the rate to learn the truth first, then replays it.
        let step = 0.2;
        let (mut done, mut t, mut points) = (0.0, 0.0, Vec::new());
        while done < 1.0 {
            points.push((t, done));
            done += rate(t) * step;
            t += step;
        }
        let mut eta = Eta::default();
        for (at, done) in points {
            if let Some(rest) = eta.update(Duration::from_secs_f64(at), done) {
                check(done, rest.as_secs_f64(), t - at);
            }
        }
    }

    #[test]
    fn a_steady_run_is_within_a_tenth_from_a_tenth_on() {
        run(
            |t| if t < 0.5 { 0.0 } else { 1.0 / 60.0 },
            |done, rest, truth| {
                if done >= 0.1 && truth > 1.0 {
                    // The truth is known to a step of this test.
                    assert!((rest - truth).abs() < 0.1 * truth + 0.2, "at {done}: {rest} instead of {truth}");
                }
            },
        );
    }

    #[test]
    fn a_run_that_slows_down_once_is_never_below_half_for_long() {
        // Half the rate after a third of the run: before that it can't be known; soon after, the estimate has caught
        // up.
        run(
            |t| if t < 20.0 { 1.0 / 60.0 } else { 1.0 / 120.0 },
            |done, rest, truth| {
                if done > 0.5 && truth > 1.0 {
                    assert!(rest > truth * 0.5, "at {done}: {rest} instead of {truth}");
                }
            },
        );
    }

    #[test]
    fn nothing_is_said_without_progress() {
        let mut eta = Eta::default();
        for t in 0..100 {
            assert_eq!(eta.update(Duration::from_secs(t), 0.3), None);
        }
    }
}
