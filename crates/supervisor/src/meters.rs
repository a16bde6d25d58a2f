//! What is measured of each worker from outside, and what of it goes to disk or to a display.
//!
//! Responsible for times, CPU, memory and samples of the attempts that run. Not responsible for what follows from them.

use std::collections::BTreeMap;
use std::time::Duration;

use migration::report::Sample;
use migration::{Phases, Progress, ShardId, WorkerEvent};

use crate::machine::{AttemptId, AttemptView};
use crate::pace::{Paces, Told};
use crate::series::{self, Series};
use crate::store::AttemptUsage;
use crate::watch::{Speed, WorkerView};

/// A worker as the outside knows it.
#[derive(Debug)]
struct ProcessMeter {
    pid: i32,
    /// When it had a slot: at its fork, or later if it came early.
    admitted_us: u64,
    /// It came early and has no slot yet.
    held: bool,
    first_delivery_us: Option<u64>,
    cpu_us: u64,
    speed: Speed,
    told: Told,
    series: Series,
    /// CPU time that its process had used before: in single-process mode that is this very process.
    cpu_before_us: u64,
    /// Acknowledged so far, and of these committed.
    acknowledged: (u64, u64),
    /// The largest that a heartbeat told.
    peak_memory_bytes: u64,
}

impl ProcessMeter {
    /// For how long it has had a slot.
    fn lasts_us(&self) -> u64 {
        if self.held { 0 } else { process::monotonic_us().saturating_sub(self.admitted_us) }
    }

    /// CPU time so far; what was known last if it can't be told.
    fn cpu_so_far_us(&self) -> u64 {
        cpu_of(self.pid).map_or(self.cpu_us, |cpu| cpu.saturating_sub(self.cpu_before_us))
    }

    fn sample(&mut self, progress: &Progress) {
        let at_ms = self.lasts_us() / 1000;
        if !self.held && self.series.due(at_ms) {
            let cpu_us = self.cpu_so_far_us();
            self.series.take(Sample {
                at_ms,
                acknowledged: progress.counts.acknowledged,
                cpu_us,
                phases: progress.work.phases,
            });
        }
    }
}

/// Those of all attempts that run.
#[derive(Debug)]
pub(crate) struct Meters {
    running: BTreeMap<AttemptId, ProcessMeter>,
    /// Samples of the job so far.
    samples: u64,
}

impl Meters {
    /// None runs. `samples`: how many the job has on disk.
    pub(crate) fn new(samples: u64) -> Self {
        Meters { running: BTreeMap::new(), samples }
    }

    /// An attempt was forked at `forked_us` (monotonic) as this process. `held`: it has no slot yet.
    pub(crate) fn begin(&mut self, attempt: AttemptId, pid: i32, forked_us: u64, held: bool, now: Duration) {
        let meter = ProcessMeter {
            pid,
            admitted_us: forked_us,
            held,
            first_delivery_us: None,
            cpu_us: 0,
            speed: Speed::new(now),
            series: Series::new(series::interval(self.samples)),
            cpu_before_us: cpu_of(pid).unwrap_or(0),
            acknowledged: (0, 0),
            peak_memory_bytes: 0,
            told: Told::default(),
        };
        self.running.insert(attempt, meter);
    }

    /// An attempt that came early is told of its slot; false: it was before.
    pub(crate) fn admit(&mut self, attempt: AttemptId) -> bool {
        let Some(meter) = self.running.get_mut(&attempt).filter(|meter| meter.held) else { return false };
        (meter.admitted_us, meter.held) = (process::monotonic_us(), false);
        true
    }

    /// The CPU time of an attempt that is about to end.
    pub(crate) fn used_cpu(&mut self, attempt: AttemptId, cpu_us: u64) {
        if let Some(meter) = self.running.get_mut(&attempt) {
            meter.cpu_us = cpu_us;
        }
    }

    /// Takes from an event what the display, the pace and the attempt's row need.
    pub(crate) fn hear(&mut self, attempt: AttemptId, event: &WorkerEvent, paces: &mut Paces, now: Duration) {
        let Some(meter) = self.running.get_mut(&attempt) else { return };
        paces.hear(&mut meter.told, event);
        let work = match event {
            WorkerEvent::Progress(progress) => {
                meter.speed.heartbeat(progress.counts, now);
                meter.acknowledged.0 = meter.acknowledged.0.max(progress.counts.acknowledged);
                meter.peak_memory_bytes = meter.peak_memory_bytes.max(progress.peak_memory_bytes);
                meter.sample(progress);
                &progress.work
            }
            WorkerEvent::Committed(chunk) => {
                let committed = meter.acknowledged.1 + chunk.counts.acknowledged;
                meter.acknowledged = (meter.acknowledged.0.max(committed), committed);
                &chunk.work
            }
            WorkerEvent::Finished(finished) => &finished.work,
            WorkerEvent::Started(_)
            | WorkerEvent::AtEnd
            | WorkerEvent::Log { .. }
            | WorkerEvent::Notice(_)
            | WorkerEvent::Failed(_) => return,
        };
        if meter.first_delivery_us.is_none() {
            meter.first_delivery_us = work.deliveries.map(|(first, _)| first);
        }
    }

    /// What goes to disk with an attempt's next transaction; its samples are given away.
    pub(crate) fn usage(&mut self, attempt: AttemptId) -> AttemptUsage {
        let Some(meter) = self.running.get_mut(&attempt) else { return AttemptUsage::default() };
        let samples = meter.series.give();
        self.samples += samples.samples.len() as u64;
        AttemptUsage {
            samples,
            pid: meter.pid,
            elapsed_us: meter.lasts_us(),
            cpu_us: meter.cpu_us,
            first_delivery_us: meter.first_delivery_us.map(|at| at.saturating_sub(meter.admitted_us)),
            peak_memory_bytes: meter.peak_memory_bytes,
        }
    }

    /// The same of an attempt that has ended after this wall time by phase.
    pub(crate) fn end(&mut self, attempt: AttemptId, phases: Phases) -> AttemptUsage {
        if let Some(meter) = self.running.get_mut(&attempt) {
            let (at_ms, cpu_us) = (meter.lasts_us() / 1000, meter.cpu_us);
            meter.series.end(at_ms, meter.acknowledged.0, cpu_us, phases);
        }
        let usage = self.usage(attempt);
        self.running.remove(&attempt);
        usage
    }

    /// The attempts that run, for a display. `records`: how many the plan expects in a shard.
    pub(crate) fn views(&self, attempts: &[AttemptView<'_>], records: impl Fn(ShardId) -> u64) -> Vec<WorkerView> {
        let known = attempts.iter().filter_map(|view| Some((view, self.running.get(&view.attempt)?)));
        known.map(|(view, meter)| meter.speed.view(view, meter.pid, records(view.attempt.shard))).collect()
    }
}

/// CPU time of a process so far, microseconds; `None` when it has ended.
fn cpu_of(pid: i32) -> Option<u64> {
    let used = process::cpu_of(u32::try_from(pid).ok()?).ok()?;
    u64::try_from(used.as_micros()).ok()
}
