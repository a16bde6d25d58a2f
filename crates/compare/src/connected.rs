//! One worker of a run: it connects, warms up, waits for the common start, works until the clock stops, and delivers
//! what is still in flight. Who steps it is the variant's.

use std::cell::RefCell;
use std::os::fd::BorrowedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::{Control, Failure, FailureKind, LedgerEntry, Phases, ShardId, WorkerEvent};
use pipeline::Sink;
use pipeline::worker::{ShardWorker, Step, WaitReason};
use supervisor::port::{SupervisorGone, WorkerPort};
use worker::{Attempt, Ended, Files, WorkerContext, peak_memory};

use super::measured::Measured;
use super::meter::{Meter, TimedSink};
use super::spec::{DRAIN, RoundSpec};
use super::warm_up::warm_up;
use crate::heartbeat::{FlushGauge, Heartbeat};

/// How often a worker says how far it is, as in a job.
const SAYS: Duration = Duration::from_millis(200);

/// The longest wait in the client, as in a job.
pub(crate) const POLL: Duration = Duration::from_millis(50);

/// From when to when a run counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    /// All workers begin then.
    pub(crate) begin: Instant,
    /// And stop then,
    pub(crate) deadline: Instant,
    /// or when this many records of one worker are acknowledged.
    pub(crate) share: Option<u64>,
}

impl Clock {
    pub(crate) fn starting(begin: Instant, spec: &RoundSpec) -> Clock {
        let share = spec.records.map(|records| records.div_ceil(u64::from(spec.setting.workers.max(1))));
        Clock { begin, deadline: begin + spec.duration, share }
    }
}

/// A worker that is connected.
pub(crate) struct ConnectedWorker {
    pub(crate) worker: ShardWorker,
    meter: Rc<RefCell<Meter>>,
    /// How many partitions the topic has.
    pub(crate) partitions: u32,
    rtt_us: u64,
    began_us: u64,
    phases: Phases,
    said: Instant,
    ran_out: bool,
}

impl ConnectedWorker {
    /// Opens the worker's files, connects with `connect`, and sends the warm-up records.
    pub(crate) fn open(
        context: &WorkerContext,
        attempt: &Attempt,
        connect: impl FnOnce() -> Result<Box<dyn Sink>, Failure>,
    ) -> Result<ConnectedWorker, Failure> {
        let files = Files::open(context, attempt, attempt.from.clone())?;
        let meter = Rc::new(RefCell::new(Meter::default()));
        let mut sink = TimedSink::new(connect()?, Rc::clone(&meter));
        let (partitions, rtt_us) = (sink.partitions(), warm_up(context, attempt, &mut sink)?);
        let worker = files.worker(context, attempt, Box::new(sink), context.topic);
        Ok(ConnectedWorker {
            worker,
            meter,
            partitions,
            rtt_us,
            began_us: 0,
            phases: Phases::default(),
            said: Instant::now(),
            ran_out: false,
        })
    }

    /// The clock begins.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.phases = self.worker.progress(now).work.phases;
        *self.meter.borrow_mut() = Meter::default();
        self.began_us = process::monotonic_us();
    }

    /// Whether the clock has stopped for this worker.
    pub(crate) fn over(&self, clock: &Clock, now: Instant) -> bool {
        now >= clock.deadline || clock.share.is_some_and(|share| self.meter.borrow().acknowledged >= share)
    }

    /// The clock stopped.
    pub(crate) fn end(&mut self, now: Instant) -> Measured {
        let ended_us = process::monotonic_us();
        let progress = self.worker.progress(now);
        let set_aside = progress.counts.dead_lettered;
        let mut phases = progress.work.phases;
        for (now, before) in phases.0.iter_mut().zip(self.phases.0) {
            *now = now.saturating_sub(before);
        }
        let meter = self.meter.take();
        Measured {
            began_us: self.began_us,
            ended_us,
            records: meter.acknowledged,
            phases,
            latency: meter.latency,
            rtt_us: self.rtt_us,
            ran_out: self.ran_out,
            set_aside,
            ..Measured::default()
        }
    }

    /// One step, with everything that a worker of a job does beside it.
    pub(crate) fn step(&mut self, port: &mut dyn WorkerPort, now: Instant) -> Result<Step, Ended> {
        let control = port.control()?;
        self.step_with(&control, port, now)
    }

    fn step_with(&mut self, control: &Control, port: &mut dyn WorkerPort, now: Instant) -> Result<Step, Ended> {
        let step = self.worker.step(control, now)?;
        self.ran_out |= matches!(step, Step::Done);
        while let Some(event) = self.worker.next_event() {
            port.send(&event)?;
        }
        self.say(port, now)?;
        Ok(step)
    }

    /// Says how far the worker is, if it is time.
    pub(crate) fn say(&mut self, port: &mut dyn WorkerPort, now: Instant) -> Result<(), Ended> {
        if now.saturating_duration_since(self.said) >= SAYS {
            self.said = now;
            let mut progress = self.worker.progress(now);
            progress.peak_memory_bytes = peak_memory();
            port.send(&WorkerEvent::Progress(progress))?;
        }
        Ok(())
    }

    /// Delivers what is in flight and closes the last chunk. Not counted.
    pub(crate) fn drain(&mut self, port: &mut dyn WorkerPort) -> Result<(), Ended> {
        let deadline = Instant::now() + DRAIN;
        loop {
            let now = Instant::now();
            let control = Control { drain: true, ..port.control()? };
            match self.step_with(&control, port, now)? {
                Step::Done => return Ok(()),
                Step::Busy => {}
                Step::Wait { .. } if now >= deadline => {
                    let message =
                        format!("what was in flight when the clock stopped was not delivered within {} s", DRAIN.as_secs());
                    return Err(Failure::new(FailureKind::Retry, message).into());
                }
                Step::Wait { reason: WaitReason::Reports, .. } => self.worker.wait(POLL)?,
                Step::Wait { .. } => port.wait(Duration::from_millis(1), None)?,
            }
        }
    }
}

/// Works until the clock stops, on a thread of its own: whatever the worker waits for, the thread waits with it.
pub(crate) fn work_blocking(
    connected: &mut ConnectedWorker,
    port: &mut dyn WorkerPort,
    clock: &Clock,
) -> Result<Measured, Ended> {
    let (mut heartbeat, mut flushes) = (Heartbeat::new(clock.begin), FlushGauge::default());
    let thread_before = process::thread_cpu();
    connected.begin(Instant::now());
    let stopped = loop {
        let now = Instant::now();
        if connected.over(clock, now) {
            break now;
        }
        let step = connected.step(port, now)?;
        let flushing = connected.worker.flushing() && matches!(step, Step::Wait { reason: WaitReason::Reports, .. });
        match (flushes.since().is_some(), flushing) {
            (false, true) => flushes.enter(Instant::now()),
            (true, false) => flushes.leave(now),
            _ => {}
        }
        match step {
            Step::Busy => heartbeat.beat(now, None),
            Step::Wait { until, reason: WaitReason::Reports } => {
                // A blocking flush is one call: that the client gives the thread back in between is for the worker
                // alone.
                if !flushing {
                    heartbeat.beat(now, None);
                }
                connected.worker.wait(until.min(clock.deadline).saturating_duration_since(now).min(POLL))?;
            }
            Step::Wait { until, .. } => {
                heartbeat.beat(now, None);
                port.wait(until.min(clock.deadline).saturating_duration_since(now), None)?;
                connected.worker.wait(Duration::ZERO)?;
            }
            Step::Done => break now,
        }
    };
    let mut measured = connected.end(stopped);
    measured.thread_cpu_us = (process::thread_cpu() - thread_before).as_micros() as u64;
    measured.flush_us = flushes.spent_us(stopped);
    (measured.heartbeat, measured.ticks_in_flush) = heartbeat.end();
    Ok(measured)
}

/// The port of a worker without a supervisor: a chunk counts as recorded as soon as it is committed.
#[derive(Debug, Default)]
pub(crate) struct OwnPort {
    control: Control,
}

impl WorkerPort for OwnPort {
    fn send(&mut self, event: &WorkerEvent) -> std::io::Result<()> {
        match event {
            WorkerEvent::Committed(chunk) => self.control.recorded = chunk.number,
            WorkerEvent::Notice(text) => tracing::warn!("{text}"),
            _ => {}
        }
        Ok(())
    }

    fn control(&mut self) -> Result<Control, SupervisorGone> {
        Ok(self.control)
    }

    fn wait(&mut self, timeout: Duration, _: Option<BorrowedFd<'_>>) -> Result<(), SupervisorGone> {
        std::thread::sleep(timeout);
        Ok(())
    }
}

/// The only attempt at a worker's shard.
pub(crate) fn attempt(context: &WorkerContext, worker: u32) -> Attempt<'_> {
    let position = context.plan.shards[worker as usize].start;
    let from = LedgerEntry { position, ..LedgerEntry::default() };
    Attempt {
        plan: &context.plan,
        shard: ShardId(worker),
        number: 1,
        from,
        refused: Vec::new(),
        letters_left: u64::MAX,
        unreachable_for: Duration::ZERO,
        round_trip: None,
        started: Instant::now(),
    }
}

/// Why a run without a supervisor has no figure.
pub(crate) fn failure(ended: Ended) -> Failure {
    match ended {
        Ended::Failed(failure) => failure,
        Ended::ListenerGone => Failure::new(FailureKind::Retry, "the worker was told to stop"),
    }
}
