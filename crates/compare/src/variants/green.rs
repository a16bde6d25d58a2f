//! Green threads: a task for each worker, all on one OS thread, which differ in how they wait for delivery reports.
//!
//! tokio's clock has a grain of 1 ms: a task that sleeps for 1 ms rests for 1 to 2 ms. `green-cooperative` looks that
//! often, as the loops that it stands for did; other waits end by the same clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use kafka::compare::SharedProducer;
use kafka::{Producer, Wakeup};
use migration::{Failure, FailureKind};
use pipeline::Sink;
use pipeline::worker::{Step, WaitReason};
use tokio::sync::Notify;
use tokio::task::{LocalSet, yield_now};
use tokio::time::timeout_at;
use worker::{Ended, WorkerContext, peak_memory};

use super::single::options;
use crate::connected::{Clock, ConnectedWorker, OwnPort, POLL, attempt, failure};
use crate::figures::Variant;
use crate::heartbeat::{FlushGauge, Heartbeat, TICK};
use crate::measured::{Figures, Measured};
use crate::spec::RoundSpec;
use crate::wakeup::{watch, woken};

/// Between two looks of a cooperative flush.
const LOOKS: Duration = Duration::from_millis(1);
/// A task that always has something to do lets the others run after this time.
const LONGEST_TURN: Duration = Duration::from_millis(1);

/// What all tasks share.
#[derive(Clone)]
struct TaskShared {
    clock: Clock,
    /// Whether a record has another wait before its flush, in which others run.
    has_waits: bool,
    flushes: Rc<RefCell<FlushGauge>>,
}

/// How a task waits for its delivery reports.
enum ReportWait {
    /// In the client: the whole thread waits.
    Blocking,
    /// It looks at its own producer each millisecond.
    Looks,
    /// The same with a producer that all share: a flush ends when no record is in its queue any more.
    LooksForAll(SharedProducer),
    /// Its producer wakes it.
    Woken(Wakeup),
    /// The task that serves the shared producer tells it.
    Told(Rc<Notify>),
}

/// A worker and how it waits.
struct Task {
    connected: ConnectedWorker,
    port: OwnPort,
    waits: ReportWait,
}

/// One task for each worker.
pub(crate) fn run(context: &WorkerContext, spec: &RoundSpec) -> Result<Figures, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(no_executor)?;
    let (tasks, producer) = if spec.setting.shared_producer { share(context, spec)? } else { (own(context, spec)?, None) };
    let (figures, tasks) = LocalSet::new().block_on(&runtime, work_together(spec, tasks, producer))?;
    for mut task in tasks {
        task.connected.drain(&mut task.port).map_err(failure)?;
        task.connected.worker.finish()?;
    }
    Ok(figures)
}

fn no_executor(error: std::io::Error) -> Failure {
    Failure::new(FailureKind::Retry, format!("no executor: {error}"))
}

/// A producer for each task.
fn own(context: &WorkerContext, spec: &RoundSpec) -> Result<Vec<Task>, Failure> {
    let task = |worker| {
        let mut waits = if spec.setting.variant == Variant::GreenBlocking { ReportWait::Blocking } else { ReportWait::Looks };
        let connect = || -> Result<Box<dyn Sink>, Failure> {
            let producer = Producer::create(&options(context, worker))?;
            if spec.setting.variant == Variant::GreenWakeup {
                waits = ReportWait::Woken(producer.wakeup().map_err(no_executor)?);
            }
            Ok(Box::new(producer))
        };
        let connected = ConnectedWorker::open(context, &attempt(context, worker), connect)?;
        Ok(Task { connected, port: OwnPort::default(), waits })
    };
    (0..spec.setting.workers).map(task).collect()
}

/// One producer for all tasks; with `green-wakeup` it comes back with its descriptor, for the task that serves it.
fn share(context: &WorkerContext, spec: &RoundSpec) -> Result<(Vec<Task>, Option<SharedProducer>), Failure> {
    let (options, workers) = (options(context, 0), spec.setting.workers);
    let producer = match spec.setting.variant {
        Variant::GreenWakeup => SharedProducer::create_together(&options, workers, spec.bench.partitions)?,
        _ => SharedProducer::create(&options, workers)?,
    };
    let told: Vec<Rc<Notify>> = (0..spec.setting.workers).map(|_| Rc::default()).collect();
    let task = |worker| {
        let connected = ConnectedWorker::open(context, &attempt(context, worker), || Ok(Box::new(producer.slot(worker)?)))?;
        let waits = match spec.setting.variant {
            Variant::GreenBlocking => ReportWait::Blocking,
            Variant::GreenWakeup => ReportWait::Told(Rc::clone(&told[worker as usize])),
            _ => ReportWait::LooksForAll(producer.clone()),
        };
        Ok(Task { connected, port: OwnPort::default(), waits })
    };
    let tasks = (0..spec.setting.workers).map(task).collect::<Result<_, Failure>>()?;
    if spec.setting.variant != Variant::GreenWakeup {
        return Ok((tasks, None));
    }
    producer.when_ready(move |slot| told[slot as usize].notify_one());
    Ok((tasks, Some(producer)))
}

async fn work_together(
    spec: &RoundSpec,
    tasks: Vec<Task>,
    producer: Option<SharedProducer>,
) -> Result<(Figures, Vec<Task>), Failure> {
    let serving = producer.map(|producer| {
        let waiting: Rc<Notify> = Rc::default();
        let tell = Rc::clone(&waiting);
        producer.when_waiting(move || tell.notify_one());
        [tokio::task::spawn_local(serve(producer.clone())), tokio::task::spawn_local(send(producer, waiting))]
    });
    let (cpu_before, thread_before) = (process::own_cpu().total_us(), process::thread_cpu());
    let clock = Clock::starting(Instant::now(), spec);
    let shared = TaskShared { clock, has_waits: !spec.wait.is_zero(), flushes: Rc::default() };
    let heartbeat = Rc::new(RefCell::new(Heartbeat::new(clock.begin)));
    let ticking = tokio::task::spawn_local(tick(Rc::clone(&heartbeat), shared.clone()));
    let tasks: Vec<_> = tasks.into_iter().map(|task| tokio::task::spawn_local(work(task, shared.clone()))).collect();
    let (mut measured, mut back) = (Vec::new(), Vec::new());
    for task in tasks {
        let lost =
            |error: tokio::task::JoinError| Failure::new(FailureKind::Retry, format!("a task of the run ended: {error}"));
        let (figures, task) = task.await.map_err(lost)?.map_err(failure)?;
        measured.push(figures);
        back.push(task);
    }
    let now = Instant::now();
    ticking.abort();
    if let Some(serving) = serving {
        serving.iter().for_each(tokio::task::JoinHandle::abort);
    }
    let mut figures = Figures::of_threads(measured);
    figures.cpu_us = process::own_cpu().total_us() - cpu_before;
    figures.thread_cpu_us = (process::thread_cpu() - thread_before).as_micros() as u64;
    figures.peak_memory_bytes = peak_memory();
    figures.flush_us = shared.flushes.borrow().spent_us(now);
    let heartbeat = std::mem::replace(&mut *heartbeat.borrow_mut(), Heartbeat::new(now));
    (figures.heartbeat, figures.ticks_in_flush) = heartbeat.end();
    Ok((figures, back))
}

/// Serves the shared producer whenever it has something; each task whose record was delivered is told.
async fn serve(producer: SharedProducer) -> Result<(), Failure> {
    let wakeup = watch(producer.wakeup().map_err(no_executor)?).map_err(no_executor)?;
    loop {
        woken(&wakeup).await.map_err(no_executor)?;
        // What fails here fails for every task.
        producer.serve(Duration::ZERO)?;
    }
}

/// Sends what the tasks handed over once each of them that could run has run: so the records of those that were woken
/// together travel together.
async fn send(producer: SharedProducer, waiting: Rc<Notify>) -> Result<(), Failure> {
    loop {
        waiting.notified().await;
        yield_now().await;
        producer.send_waiting()?;
    }
}

/// The 1 ms heartbeat: a task like any other.
async fn tick(heartbeat: Rc<RefCell<Heartbeat>>, shared: TaskShared) {
    let mut interval = tokio::time::interval(TICK);
    loop {
        interval.tick().await;
        heartbeat.borrow_mut().beat(Instant::now(), shared.flushes.borrow().since());
    }
}

/// One task's work until the clock stops.
async fn work(task: Task, shared: TaskShared) -> Result<(Measured, Task), Ended> {
    let Task { mut connected, mut port, waits } = task;
    let clock = shared.clock;
    let wakeup = match &waits {
        ReportWait::Woken(wakeup) => Some(watch(wakeup.clone()).map_err(no_executor)?),
        _ => None,
    };
    let mut flushing = false;
    let mut turn = Instant::now();
    connected.begin(turn);
    let stopped = loop {
        let now = Instant::now();
        if connected.over(&clock, now) {
            break now;
        }
        let step = connected.step(&mut port, now)?;
        let flushed = flushing;
        flushing = connected.worker.flushing();
        if flushing != flushed {
            let mut flushes = shared.flushes.borrow_mut();
            // What the step did before its flush is none.
            if flushing { flushes.enter(Instant::now()) } else { flushes.leave(now) }
        }
        match step {
            // A blocking flush is one call: others run before it or after it.
            Step::Busy if flushing => {}
            Step::Busy => {
                if flushed {
                    turn = now;
                }
                // Who begins its next wait first lets the others run during it. Who was told goes on, so that its
                // record can leave with those of the others that were told.
                let others_turn = flushed && !shared.has_waits && !matches!(waits, ReportWait::Told(_));
                if others_turn || now.saturating_duration_since(turn) >= LONGEST_TURN {
                    yield_now().await;
                    turn = Instant::now();
                }
            }
            Step::Wait { until, reason: WaitReason::Reports } => {
                let until = until.min(clock.deadline);
                match &waits {
                    ReportWait::Blocking => connected.worker.wait(until.saturating_duration_since(now).min(POLL))?,
                    ReportWait::Looks => tokio::time::sleep(LOOKS).await,
                    ReportWait::LooksForAll(producer) if flushing => look_for_all(producer, clock.deadline).await?,
                    ReportWait::LooksForAll(_) => tokio::time::sleep(LOOKS).await,
                    ReportWait::Woken(_) => {
                        let Some(wakeup) = &wakeup else { continue };
                        // That the time is up is seen above.
                        timeout_at(until.into(), woken(wakeup)).await.unwrap_or(Ok(())).map_err(no_executor)?;
                    }
                    ReportWait::Told(told) => drop(timeout_at(until.into(), told.notified()).await),
                }
                if !matches!(waits, ReportWait::Blocking) {
                    turn = Instant::now();
                }
            }
            Step::Wait { until, .. } => {
                tokio::time::sleep_until(until.min(clock.deadline).into()).await;
                turn = Instant::now();
            }
            Step::Done => break now,
        }
    };
    if flushing {
        shared.flushes.borrow_mut().leave(stopped);
    }
    Ok((connected.end(stopped), Task { connected, port, waits }))
}

/// Looks each millisecond until nothing of anybody is in the client's queue: the flush of a producer that is shared.
async fn look_for_all(producer: &SharedProducer, deadline: Instant) -> Result<(), Failure> {
    loop {
        tokio::time::sleep(LOOKS).await;
        producer.serve(Duration::ZERO)?;
        if producer.queue_length() == 0 || Instant::now() >= deadline {
            return Ok(());
        }
    }
}
