//! The phase `send`: hands the job to the supervisor, forked or in this process, and shows how it goes on.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use migration::{Exit, Failure, Job, Level, Order, Plan, UserError, WorkerEvent};
use process::RunningHelper;
use supervisor::{AutoSlots, RunEnd, Setup, Snapshot, SupervisorError, Watcher, Wish, WorkOrder, WorkerPort};
use worker::{Attempt, Ended, WorkerContext, work};

use super::pass::Pass;
use super::plan::Ready;
use super::topic_watch::TopicWatcher;
use crate::display::{Display, Viewer};
use crate::log;
use crate::{source, words};

/// The exit codes of a worker besides 0; the supervisor acts on the `Failed` frame, the code is for `ps` and the log.
const EXIT_FAILED: u8 = 1;
const EXIT_LISTENER_GONE: u8 = 2;

/// Descriptors of the supervisor besides the two of each worker, and of the early one behind it: standard streams,
/// locks, signals, SQLite, helpers, and the control socket with its connections.
const OWN_DESCRIPTORS: u64 = 64;

/// Refuses at once a run for which this machine allows too few descriptors or processes.
pub fn require_room(job: &Job, single: bool) -> Result<(), UserError> {
    // Behind each the next shard's worker may connect already.
    let workers = u64::from(slots(job, single)) * if single { 1 } else { 2 };
    process::raise_descriptor_limit()
        .and_then(|_| process::require_descriptors(OWN_DESCRIPTORS + 2 * workers))
        .and_then(|()| process::require_processes(supervisor::TASKS_OF_A_WORKER * workers))
        .map_err(|error| UserError::new(Exit::Preflight, error))
}

/// How many workers run at once.
pub fn slots(job: &Job, single: bool) -> u32 {
    if single { 1 } else { source::slots(job) }
}

/// Sends everything that is left of the job.
pub fn send(pass: &Pass<'_>, ready: &mut Ready) -> Result<RunEnd, UserError> {
    let Ready { context, store, watch, round_trip, .. } = ready;
    let context = &*context;
    let slots = slots(&context.job, pass.single);
    let command = words::joined(words::of_this_process());
    let setup = Setup {
        plan: &context.plan,
        workers: &context.job.workers,
        slots,
        auto: AutoSlots {
            on: context.job.workers.count.is_none() && !pass.single,
            first: source::processors(),
            most: source::most_tried(&context.job),
        },
        paused: false,
        split: true,
        keep_order: context.job.orders_keys() && Order::of(&context.plan) == Order::Key,
        give_up_after: context.job.kafka.give_up_after,
        limits: &context.job.limits,
        accept: &context.job.accept,
        command: &command,
        delivery: context.job.kafka.delivery,
        topic: context.bound.as_ref(),
        round_trip: *round_trip,
        state: &pass.dir,
        store,
        seed: seed(),
    };
    let mut watcher = SendScreen::new(pass, watch.as_mut());
    let end = if pass.single {
        supervisor::run_single(setup, &mut |plan, order, port| in_this_process(context, plan, order, port), &mut watcher)
    } else {
        supervisor::run(setup, &mut |plan, order, port| in_a_fork(context, plan, order, port), &mut watcher)
    };
    watcher.display.end();
    end.map_err(|error: SupervisorError| UserError::new(error.exit(), error))
}

/// The body of a forked worker.
fn in_a_fork(context: &WorkerContext, plan: &Plan, order: &WorkOrder, port: &mut dyn WorkerPort) -> u8 {
    log::keep_lines();
    in_this_process(context, plan, order, port)
}

fn in_this_process(context: &WorkerContext, plan: &Plan, order: &WorkOrder, port: &mut dyn WorkerPort) -> u8 {
    let attempt = Attempt {
        plan,
        shard: order.shard,
        from: order.from.clone(),
        refused: order.refused.clone(),
        number: order.attempt,
        letters_left: order.letters_left,
        unreachable_for: order.unreachable_for,
        round_trip: order.round_trip,
        started: Instant::now(),
    };
    let last_word = match work(context, &attempt, port) {
        Ok(finished) => WorkerEvent::Finished(finished),
        Err(Ended::Failed(failure)) => WorkerEvent::Failed(short(failure)),
        Err(Ended::ListenerGone) => return EXIT_LISTENER_GONE,
    };
    match port.send(&last_word) {
        Ok(()) if matches!(last_word, WorkerEvent::Finished(_)) => 0,
        Ok(()) => EXIT_FAILED,
        Err(_) => EXIT_LISTENER_GONE,
    }
}

/// A message may quote what a broker said, whose length is not ours.
fn short(failure: Failure) -> Failure {
    let message = failure.message.chars().take(2000).collect::<String>();
    Failure { message, ..failure }
}

/// For pauses only: nothing secret depends on it.
fn seed() -> u64 {
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64);
    nanos ^ u64::from(std::process::id()).rotate_left(32)
}

/// Carries the supervisor's snapshots to the display and its lines to the log.
struct SendScreen<'a> {
    display: Display,
    viewer: Viewer,
    broker: Option<&'a RunningHelper>,
    watch: Option<&'a mut TopicWatcher>,
    wishes: Vec<Wish>,
    color: bool,
    quiet: bool,
}

impl<'a> SendScreen<'a> {
    fn new(pass: &'a Pass<'_>, watch: Option<&'a mut TopicWatcher>) -> Self {
        SendScreen {
            display: Display::new(pass.ui),
            viewer: Viewer::new(&pass.job.name),
            broker: pass.broker.as_ref(),
            watch,
            wishes: Vec::new(),
            color: pass.ui.color,
            quiet: pass.ui.quiet,
        }
    }
}

impl Watcher for SendScreen<'_> {
    fn tick(&mut self, snapshot: &Snapshot) {
        self.display.show(&self.viewer.view(snapshot));
        if let Some(topic) = &mut self.watch {
            self.wishes.extend(topic.news().into_iter().map(Wish::Topic));
        }
    }

    fn wishes(&mut self) -> Vec<Wish> {
        std::mem::take(&mut self.wishes)
    }

    fn log(&mut self, level: Level, text: &str) {
        if level == Level::Error || !self.quiet && level < Level::Debug {
            log::print(level, text, self.color);
        } else {
            tracing::debug!("{text}");
        }
    }

    fn other_child_ended(&mut self, pid: i32, how: &str) -> Option<String> {
        if self.watch.as_mut().is_some_and(|topic| topic.has_ended(pid)) {
            let text =
                format!("the helper that watches the topic ended ({how}); the topic is looked at again before the run ends");
            self.log(Level::Warning, &text);
            return None;
        }
        let broker = self.broker.map(|broker| broker.pid.as_raw());
        (broker == Some(pid)).then(|| format!("the embedded broker died ({how}), and what it had received with it"))
    }
}
