//! A job over time: its runs one after the other without the pauses between them, its attempts on as many slots as
//! worked at once, and its samples in even steps.

use migration::report::{AttemptReport, JobReport, Samples};
use migration::{Phase, Phases};

/// When things happened, in milliseconds of running time.
pub struct Timeline<'a> {
    /// All runs together.
    pub length_ms: f64,
    /// Where each run after the first begins.
    pub seams: Vec<(f64, u32)>,
    /// Each attempt, in the order in which they began.
    pub attempts: Vec<Placed<'a>>,
    /// How many worked at once at most.
    pub slots: usize,
    /// What happened that was worth a line: when, and its number in the report.
    pub events: Vec<(f64, usize)>,
}

/// An attempt on its slot.
pub struct Placed<'a> {
    /// Its number in the report's list.
    pub index: usize,
    /// What it did.
    pub report: &'a AttemptReport,
    /// Where it sat, from 0.
    pub slot: usize,
    /// From when to when.
    pub span: (f64, f64),
}

/// A step of time: what all attempts together (or those on one slot) did in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Step {
    /// Wall time by phase, milliseconds.
    pub phases: [f64; Phase::ALL.len()],
    /// Records acknowledged.
    pub acknowledged: f64,
    /// CPU time, milliseconds.
    pub cpu_ms: f64,
}

impl<'a> Timeline<'a> {
    /// Of a report.
    pub fn of(report: &'a JobReport) -> Self {
        let mut offsets = Vec::new();
        let mut length_ms = 0.0;
        for run in &report.runs {
            // Of a killed run the last word may be older than what its attempts say.
            let attempts = report.attempts.iter().filter(|a| a.run == run.number);
            let lasts = attempts.map(|a| (a.started_ms - run.started_ms) as f64 + a.elapsed_us as f64 / 1000.0);
            offsets.push((run.number, run.started_ms, length_ms));
            length_ms += lasts.fold(run.elapsed_us as f64 / 1000.0, f64::max);
        }
        let place = |started_ms: i64| {
            let run = offsets.iter().rev().find(|(_, began, _)| *began <= started_ms).or(offsets.first());
            run.map(|(_, began, offset)| offset + (started_ms - began).max(0) as f64)
        };
        let mut attempts: Vec<Placed<'a>> = Vec::new();
        let mut slots: Vec<f64> = Vec::new();
        for (index, attempt) in report.attempts.iter().enumerate() {
            let Some(from) = place(attempt.started_ms) else { continue };
            let to = from + attempt.elapsed_us as f64 / 1000.0;
            // Clocks and rounding: a successor that begins a moment before its predecessor's end takes its slot all the
            // same.
            let free = slots.iter().position(|until| *until <= from + 5.0);
            let slot = free.unwrap_or(slots.len());
            if free.is_none() {
                slots.push(to);
            }
            slots[slot] = to;
            attempts.push(Placed { index, report: attempt, slot, span: (from, to) });
        }
        let seams = offsets.iter().skip(1).map(|(number, _, offset)| (*offset, *number)).collect();
        let events =
            report.events.iter().enumerate().filter_map(|(i, (at, _))| Some((place(*at)?.min(length_ms), i))).collect();
        Timeline { length_ms, seams, attempts, slots: slots.len(), events }
    }

    /// `count` even steps of what the attempts on one slot did, or all.
    pub fn steps(&self, samples: &Samples, slot: Option<usize>, count: usize) -> Vec<Step> {
        let mut steps = vec![Step::default(); count];
        for placed in self.attempts.iter().filter(|placed| slot.is_none_or(|slot| placed.slot == slot)) {
            let Some(samples) = samples.get(&(placed.report.shard, placed.report.number)) else { continue };
            let (mut at, mut before) = (placed.span.0, (Phases::default(), 0, 0));
            for sample in samples {
                let until = placed.span.0 + sample.at_ms as f64;
                let mut did = Step {
                    acknowledged: sample.acknowledged.saturating_sub(before.1) as f64,
                    cpu_ms: sample.cpu_us.saturating_sub(before.2) as f64 / 1000.0,
                    ..Step::default()
                };
                for (i, phase) in Phase::ALL.into_iter().enumerate() {
                    did.phases[i] = sample.phases.get(phase).saturating_sub(before.0.get(phase)) as f64 / 1e6;
                }
                spread(&mut steps, self.length_ms, (at, until), &did);
                (at, before) = (until, (sample.phases, sample.acknowledged, sample.cpu_us));
            }
        }
        steps
    }
}

/// Adds what was done between two moments to the steps that it touches, evenly.
fn spread(steps: &mut [Step], length: f64, (from, to): (f64, f64), did: &Step) {
    let width = length / steps.len() as f64;
    let whole = (to - from).max(1e-9);
    let (first, last) = ((from / width).floor().max(0.0) as usize, (to / width).floor().max(0.0) as usize);
    let most = steps.len().saturating_sub(1);
    let touched = steps.iter_mut().enumerate().take(last.min(most) + 1).skip(first.min(most));
    for (i, step) in touched {
        let (start, end) = (i as f64 * width, if i == most { f64::INFINITY } else { (i + 1) as f64 * width });
        let part = ((to.min(end) - from.max(start)) / whole).clamp(0.0, 1.0);
        step.phases.iter_mut().zip(did.phases).for_each(|(sum, time)| *sum += time * part);
        step.acknowledged += did.acknowledged * part;
        step.cpu_ms += did.cpu_ms * part;
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn runs_follow_each_other_without_the_pause_between_them() {
        let report = example::report();
        let timeline = Timeline::of(&report);
        assert_eq!(timeline.length_ms, 20_000.0, "two runs of ten seconds, an hour apart");
        assert_eq!(timeline.seams, [(10_000.0, 2)]);
        assert_eq!(timeline.slots, 2);
        for slot in 0..timeline.slots {
            let spans: Vec<_> = timeline.attempts.iter().filter(|a| a.slot == slot).map(|a| a.span).collect();
            assert!(spans.windows(2).all(|pair| pair[0].1 <= pair[1].0 + 5.0), "{spans:?}");
        }
    }

    #[test]
    fn steps_hold_everything_that_the_samples_say() {
        let (report, samples) = (example::report(), example::samples());
        let timeline = Timeline::of(&report);
        let last = || samples.values().filter_map(|samples| samples.last());
        for count in [1, 7, 60] {
            let steps = timeline.steps(&samples, None, count);
            let sum = |of: fn(&Step) -> f64| steps.iter().map(of).sum::<f64>();
            let records: u64 = last().map(|sample| sample.acknowledged).sum();
            let cpu: u64 = last().map(|sample| sample.cpu_us).sum();
            let wall: u64 = last().map(|sample| sample.phases.total()).sum();
            assert!((sum(|step| step.acknowledged) - records as f64).abs() < 1e-6, "{count}");
            assert!((sum(|step| step.cpu_ms) - cpu as f64 / 1000.0).abs() < 1e-6, "{count}");
            assert!((sum(|step| step.phases.iter().sum()) - wall as f64 / 1e6).abs() < 1e-3, "{count}");
            let slots: f64 =
                (0..2).flat_map(|slot| timeline.steps(&samples, Some(slot), count)).map(|step| step.acknowledged).sum();
            assert!((slots - records as f64).abs() < 1e-6);
        }
    }

    #[test]
    fn a_job_that_never_began_has_an_empty_timeline() {
        let mut report = example::report();
        (report.runs, report.attempts) = (Vec::new(), Vec::new());
        let timeline = Timeline::of(&report);
        assert_eq!((timeline.length_ms, timeline.slots, timeline.attempts.len()), (0.0, 0, 0));
    }
}
