//! `processes`: the supervisor with a forked worker process in each slot, as in a job.
//!
//! The workers meet in a folder: each leaves a file when it is connected, all begin at the moment that the supervisor's
//! process then names in another, and each leaves its figures in a third. The supervisor stops the job when it sees all
//! of those.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use kafka::Producer;
use migration::printable::printable_path;
use migration::report::Binding;
use migration::{Failure, FailureKind, Finished, Level, Plan, SeenTopic, Started, WorkerEvent};
use process::monotonic_us;
use supervisor::port::WorkerPort;
use supervisor::{AutoSlots, NewJob, Owners, Setup, Snapshot, StateDir, Store, Watcher, Wish, WorkOrder};
use worker::{Attempt, Ended, WorkerContext, peak_memory};

use super::single::options;
use super::threads::AT_A_TIME;
use crate::connected::{Clock, ConnectedWorker, work_blocking};
use crate::measured::{Figures, Log, Measured};
use crate::spec::RoundSpec;

/// From the moment that each worker is connected to the common start: all have looked for it by then.
const LEAD: Duration = Duration::from_millis(100);
/// How often a worker looks whether it may go on.
const LOOKS: Duration = Duration::from_millis(5);

/// One process for each worker.
pub(crate) fn run(context: &WorkerContext, spec: &RoundSpec, log: Log) -> Result<Figures, Failure> {
    let state = |error: String| Failure::new(FailureKind::State, error);
    let meeting = Meeting { folder: spec.folder.join("meeting"), workers: spec.setting.workers };
    fs::create_dir(&meeting.folder).map_err(|error| state(format!("{}: {error}", printable_path(&meeting.folder))))?;
    let dir = StateDir::open(&spec.folder.join("state"), Owners::Trusted).map_err(|error| state(error.to_string()))?;
    let path = StateDir::store_path(dir.path());
    let binding = Binding::default();
    let new = NewJob {
        name: &context.job.name,
        plan_id: 0,
        plan: &context.plan,
        binding: &binding,
        settings: &[],
        origin: migration::StateOrigin::default(),
    };
    let mut store = Store::create(&path, &new).map_err(|error| state(error.to_string()))?;
    let setup = Setup {
        plan: &context.plan,
        workers: &context.job.workers,
        slots: spec.setting.workers,
        auto: AutoSlots { on: false, first: spec.setting.workers, most: spec.setting.workers },
        paused: false,
        split: false,
        keep_order: false,
        give_up_after: context.job.kafka.give_up_after,
        limits: &context.job.limits,
        accept: &context.job.accept,
        command: "",
        delivery: migration::job::Delivery::AtLeastOnce,
        topic: None,
        round_trip: None,
        state: &dir,
        store: &mut store,
        seed: monotonic_us(),
    };
    let mut overseer = Overseer::new(&meeting);
    let mut work = |_: &Plan, order: &WorkOrder, port: &mut dyn WorkerPort| {
        (log.keep)();
        body(context, spec, &meeting, order, port)
    };
    let end = supervisor::run(setup, &mut work, &mut overseer).map_err(|error| state(error.to_string()))?;
    if let Some(failure) = overseer.failure {
        return Err(Failure::new(FailureKind::Retry, failure));
    }
    let own_cpu_us = overseer.cpu_us;
    let measured = meeting.measured().ok_or_else(|| {
        let reasons = end.reasons().join("; ");
        Failure::new(FailureKind::Retry, format!("the supervisor stopped before the clock did: {reasons}"))
    })?;
    let mut figures = Figures::of_threads(measured);
    figures.cpu_us += own_cpu_us;
    figures.peak_memory_bytes += peak_memory();
    Ok(figures)
}

/// Where the processes of a run meet.
struct Meeting {
    folder: PathBuf,
    workers: u32,
}

impl Meeting {
    fn ready(&self, worker: u32) -> PathBuf {
        self.folder.join(format!("ready-{worker}"))
    }

    fn done(&self, worker: u32) -> PathBuf {
        self.folder.join(format!("done-{worker}"))
    }

    fn failed(&self) -> PathBuf {
        self.folder.join("failed")
    }

    fn go(&self) -> PathBuf {
        self.folder.join("go")
    }

    /// Whether the first `workers` workers have left this file.
    fn have(&self, workers: u32, file: impl Fn(u32) -> PathBuf) -> bool {
        (0..workers).all(|worker| file(worker).exists())
    }

    /// The figures of all workers, if all have left them.
    fn measured(&self) -> Option<Vec<Measured>> {
        (0..self.workers).map(|worker| postcard::from_bytes(&fs::read(self.done(worker)).ok()?).ok()).collect()
    }
}

/// Writes a file that appears whole.
fn leave(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let new = path.with_extension("new");
    fs::write(&new, bytes)
        .and_then(|()| fs::rename(&new, path))
        .map_err(|error| Failure::new(FailureKind::State, format!("{}: {error}", printable_path(path))))
}

/// The body of a worker process.
fn body(context: &WorkerContext, spec: &RoundSpec, meeting: &Meeting, order: &WorkOrder, port: &mut dyn WorkerPort) -> u8 {
    let result = if order.attempt > 1 {
        let message = format!("worker {} ended before its clock did", order.shard.0);
        Err(Ended::Failed(Failure::new(FailureKind::Permanent, message)))
    } else {
        work(context, spec, meeting, order, port)
    };
    let last_word = match result {
        Ok(finished) => WorkerEvent::Finished(finished),
        Err(Ended::ListenerGone) => return 2,
        Err(Ended::Failed(failure)) => {
            // If even this can't be written, the supervisor's own words have to do.
            drop(leave(&meeting.failed(), failure.message.as_bytes()));
            WorkerEvent::Failed(failure)
        }
    };
    let good = matches!(last_word, WorkerEvent::Finished(_));
    if port.send(&last_word).is_ok() && good { 0 } else { 1 }
}

fn work(
    context: &WorkerContext,
    spec: &RoundSpec,
    meeting: &Meeting,
    order: &WorkOrder,
    port: &mut dyn WorkerPort,
) -> Result<Finished, Ended> {
    let worker = order.shard.0;
    let turn = worker / AT_A_TIME * AT_A_TIME;
    let mut waiting = Waiting::new(order);
    while !meeting.have(turn, |before| meeting.ready(before)) {
        waiting.for_others(port)?;
    }
    let started = Instant::now();
    let attempt = Attempt {
        plan: &context.plan,
        shard: order.shard,
        number: order.attempt,
        from: order.from.clone(),
        refused: Vec::new(),
        letters_left: u64::MAX,
        unreachable_for: Duration::ZERO,
        round_trip: None,
        started,
    };
    let connect = || Producer::create(&options(context, worker)).map(|producer| Box::new(producer) as _);
    let mut connected = ConnectedWorker::open(context, &attempt, connect)?;
    port.send(&WorkerEvent::Started(Started {
        topic: SeenTopic { id: None, partitions: connected.partitions },
        from: order.from.clone(),
    }))?;
    leave(&meeting.ready(worker), b"")?;
    let begin_us = loop {
        match fs::read_to_string(meeting.go()).ok().and_then(|text| text.parse::<u64>().ok()) {
            Some(begin_us) => break begin_us,
            None => waiting.for_others(port)?,
        }
    };
    std::thread::sleep(Duration::from_micros(begin_us.saturating_sub(monotonic_us())));
    let cpu_before = process::own_cpu().total_us();
    let clock = Clock::starting(Instant::now(), spec);
    let mut measured = work_blocking(&mut connected, port, &clock)?;
    measured.cpu_us = process::own_cpu().total_us() - cpu_before;
    measured.peak_memory_bytes = peak_memory();
    let bytes = postcard::to_stdvec(&measured).map_err(|error| Failure::new(FailureKind::State, error.to_string()))?;
    leave(&meeting.done(worker), &bytes)?;
    // Until the others are done too: what this worker does now would disturb them.
    while !port.control()?.drain {
        connected.say(port, Instant::now())?;
        port.wait(Duration::from_millis(50), None)?;
    }
    connected.drain(port)?;
    let mut finished = connected.worker.finish()?;
    finished.peak_memory_bytes = peak_memory();
    Ok(finished)
}

/// A worker that waits for the others, alive to its supervisor.
struct Waiting {
    position: migration::Position,
    said: Instant,
}

impl Waiting {
    fn new(order: &WorkOrder) -> Self {
        Waiting { position: order.from.position, said: Instant::now() }
    }

    fn for_others(&mut self, port: &mut dyn WorkerPort) -> Result<(), Ended> {
        if port.control()?.drain {
            return Err(Failure::new(FailureKind::Retry, "stopped before the clock began").into());
        }
        if self.said.elapsed() >= Duration::from_millis(500) {
            self.said = Instant::now();
            let progress = migration::Progress { position: self.position, ..Default::default() };
            port.send(&WorkerEvent::Progress(progress))?;
        }
        port.wait(LOOKS, None)?;
        Ok(())
    }
}

/// Lets the workers begin together, and stops the job when all are done or one has failed.
struct Overseer<'a> {
    meeting: &'a Meeting,
    began: bool,
    over: bool,
    cpu_us: u64,
    failure: Option<String>,
    wishes: Vec<Wish>,
}

impl<'a> Overseer<'a> {
    fn new(meeting: &'a Meeting) -> Self {
        Overseer { meeting, began: false, over: false, cpu_us: 0, failure: None, wishes: Vec::new() }
    }

    fn stop(&mut self, why: &str) {
        self.over = true;
        self.wishes.push(Wish::Stop(why.to_owned()));
    }
}

impl Watcher for Overseer<'_> {
    fn tick(&mut self, _: &Snapshot) {
        let meeting = self.meeting;
        if self.over {
            return;
        }
        if let Ok(message) = fs::read_to_string(meeting.failed()) {
            self.failure = Some(message);
            return self.stop("a worker failed");
        }
        if !self.began && meeting.have(meeting.workers, |worker| meeting.ready(worker)) {
            self.began = true;
            self.cpu_us = process::own_cpu().total_us();
            let begin_us = monotonic_us() + LEAD.as_micros() as u64;
            if let Err(failure) = leave(&meeting.go(), begin_us.to_string().as_bytes()) {
                self.failure = Some(failure.message);
                self.stop("the workers can't be told to begin");
            }
        }
        if self.began && meeting.have(meeting.workers, |worker| meeting.done(worker)) {
            self.cpu_us = process::own_cpu().total_us() - self.cpu_us;
            self.stop("the clock stopped");
        }
    }

    fn log(&mut self, level: Level, text: &str) {
        // That the job is stopped in the end is what this run wants. Any other error, such as a worker that was killed,
        // ends it: the figures of the others would wait for those of one that is gone.
        if level == Level::Error && !self.over {
            tracing::error!("{text}");
            self.failure.get_or_insert_with(|| text.to_owned());
            self.stop("a worker ended before the clock did");
        }
    }

    fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }
}
