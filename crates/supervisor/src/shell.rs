//! The impure loop around the machine: forks, pipes, signals, reaping. One thread, `poll(2)`, monotonic time.
//!
//! Responsible for turning what the kernel says into inputs, and actions into system calls. Not responsible for any
//! decision.

use std::collections::BTreeMap;
use std::os::fd::{AsFd as _, BorrowedFd};

use migration::{Control, Level, Plan};
use process::{
    Child, ChildSettings, DEFAULT_THREAD_STACK, ExitState, Filled, Interest, Pid, Signal, SignalFd, fork_child, poll, reap_all,
    send_signal,
};

use crate::control::server::{ControlServer, SocketPlace};
use crate::driver::{Driver, Hands};
use crate::machine::{AttemptId, Ending, Input, WorkOrder};
use crate::port::{PipePort, WorkerPort};
use crate::protocol::{ControlSender, EventReceiver};
use crate::signals;
use crate::watch::Watcher;
use crate::{RunEnd, Setup, SupervisorError};

/// Reads from one worker's pipe in one turn of the loop, so that a flood can't starve the others.
const READS_PER_TURN: u32 = 4;
/// After its worker was reaped a pipe holds at most what fits into it; a grandchild that keeps on writing is not waited
/// for.
const READS_AFTER_END: u32 = 64;
/// A worker whose port could not be opened.
const EXIT_NO_PORT: u8 = 103;

/// What runs in a worker: does the order, on a shard of this plan, and gives the exit code. The plan is the job's as it
/// stands when the worker starts: it may have more shards than when the run began.
pub type Work<'a> = dyn FnMut(&Plan, &WorkOrder, &mut dyn WorkerPort) -> u8 + 'a;

#[derive(Clone, Copy, Debug, PartialEq)]
enum PollToken {
    Signals,
    Worker(AttemptId),
    Control(AttemptId),
    Socket(SocketPlace),
}

/// The supervisor's ends of a worker.
struct Worker {
    child: Child,
    events: EventReceiver,
    control: ControlSender,
    /// Nothing more is read: end of file, or it made no sense.
    deaf: bool,
}

/// All workers that are not reaped.
struct Workers<'a> {
    running: BTreeMap<AttemptId, Worker>,
    work: &'a mut Work<'a>,
    memory_limit: u64,
    keep: Vec<i32>,
}

impl Hands for Workers<'_> {
    fn fork(&mut self, plan: &Plan, order: &WorkOrder) -> Result<i32, String> {
        let (shard, early) = (format!("shard {}", order.shard), order.control.hold);
        let settings = ChildSettings {
            name: if early { format!("next {}", order.shard) } else { shard.clone() },
            data_limit: Some(self.memory_limit),
            thread_stack: DEFAULT_THREAD_STACK,
            keep: self.keep.clone(),
        };
        let work = &mut *self.work;
        let child = fork_child(&settings, |ends| match PipePort::open(ends, order.control, early.then(|| shard.clone())) {
            Ok(mut port) => work(plan, order, &mut port),
            Err(_) => EXIT_NO_PORT,
        })
        .map_err(|e| e.to_string())?;
        let pid = child.pid.as_raw();
        let worker = Worker { child, events: EventReceiver::default(), control: ControlSender::default(), deaf: false };
        self.running.insert(order.id(), worker);
        Ok(pid)
    }

    fn tell(&mut self, attempt: AttemptId, control: &Control) {
        if let Some(worker) = self.running.get_mut(&attempt) {
            // A worker that can't be told is about to end, and its end is what counts.
            if worker.control.put(control).is_ok() {
                let _ = worker.control.flush(&worker.child.control);
            }
        }
    }

    fn kill(&mut self, attempt: AttemptId) {
        if let Some(worker) = self.running.get(&attempt) {
            let _ = send_signal(worker.child.pid, Signal::SIGKILL);
        }
    }
}

/// Runs the job with forked workers until it is over. Call it with one thread only. No worker is left when it returns:
/// the last ones are killed, and reaped or at least without a supervisor.
pub fn run<'a>(setup: Setup<'a>, work: &'a mut Work<'a>, watcher: &'a mut dyn Watcher) -> Result<RunEnd, SupervisorError> {
    let signals = signals::open()?;
    let folder = setup.state.path();
    let mut workers = Workers {
        running: BTreeMap::new(),
        work,
        memory_limit: setup.workers.memory_limit,
        keep: vec![setup.state.workers_lock()],
    };
    let mut driver = Driver::begin(setup, watcher, true)?;
    let (mut server, warning) = ControlServer::open(folder);
    warning.iter().for_each(|warning| driver.log(Level::Warning, warning));
    driver.tick(&mut workers);
    while !driver.over() {
        turn(&mut driver, &mut workers, &mut server, &signals)?;
    }
    server.show(&driver.with(&mut workers), true);
    for attempt in workers.running.keys().copied().collect::<Vec<_>>() {
        workers.kill(attempt);
    }
    Ok(driver.finish())
}

fn turn(
    driver: &mut Driver<'_>,
    workers: &mut Workers<'_>,
    server: &mut ControlServer,
    signals: &SignalFd,
) -> Result<(), SupervisorError> {
    let mut entries: Vec<(PollToken, BorrowedFd<'_>, Interest)> = vec![(PollToken::Signals, signals.as_fd(), Interest::Read)];
    for (id, worker) in &workers.running {
        if !worker.deaf {
            entries.push((PollToken::Worker(*id), worker.child.events.as_fd(), Interest::Read));
        }
        if worker.control.is_waiting() {
            entries.push((PollToken::Control(*id), worker.child.control.as_fd(), Interest::Write));
        }
    }
    entries.extend(server.entries(driver.now()).map(|(place, fd, interest)| (PollToken::Socket(place), fd, interest)));
    let ready = poll(&entries, Some(driver.patience())).map_err(SupervisorError::Poll)?;
    for found in ready {
        match found.token {
            PollToken::Signals => take_signals(driver, workers, signals)?,
            PollToken::Worker(id) => listen(driver, workers, id, READS_PER_TURN),
            PollToken::Control(id) => {
                if let Some(worker) = workers.running.get_mut(&id) {
                    let _ = worker.control.flush(&worker.child.control);
                }
            }
            PollToken::Socket(place) => server.serve(place, &mut driver.with(workers)),
        }
    }
    reap(driver, workers);
    driver.tick(workers);
    let mut run = driver.with(workers);
    server.grant(&mut run);
    server.show(&run, false);
    Ok(())
}

fn take_signals(driver: &mut Driver<'_>, workers: &mut Workers<'_>, signals: &SignalFd) -> Result<(), SupervisorError> {
    for caught in signals.read_all().map_err(SupervisorError::Signals)? {
        // Whatever ended is reaped in each turn.
        signals::take(caught, driver, workers);
    }
    Ok(())
}

/// Hands in what a worker said, at most `reads` times what one read gives.
fn listen(driver: &mut Driver<'_>, workers: &mut Workers<'_>, attempt: AttemptId, reads: u32) {
    for _ in 0..reads {
        let Some(worker) = workers.running.get_mut(&attempt).filter(|worker| !worker.deaf) else { return };
        match worker.events.fill(&worker.child.events) {
            Ok(Filled::Bytes(_) | Filled::Full) => take_events(driver, workers, attempt),
            Ok(Filled::WouldBlock) => return,
            Ok(Filled::Eof) => {
                worker.deaf = true;
                driver.give(Input::Silent { attempt }, workers);
            }
            Err(e) => {
                worker.deaf = true;
                driver.give(Input::Broken { attempt, reason: format!("the worker's pipe can't be read: {e}") }, workers);
            }
        }
    }
}

fn take_events(driver: &mut Driver<'_>, workers: &mut Workers<'_>, attempt: AttemptId) {
    while let Some(worker) = workers.running.get_mut(&attempt) {
        match worker.events.next_event() {
            Ok(Some(event)) => driver.give(Input::Event { attempt, event }, workers),
            Ok(None) => return,
            Err(e) => {
                worker.deaf = true;
                driver.give(Input::Broken { attempt, reason: format!("the worker's frames make no sense: {e}") }, workers);
                return;
            }
        }
    }
}

/// Reaps whatever ended, and hands in the last words before the end.
fn reap(driver: &mut Driver<'_>, workers: &mut Workers<'_>) {
    for reaped in reap_all() {
        match workers.find(reaped.pid) {
            Some(attempt) => {
                listen(driver, workers, attempt, READS_AFTER_END);
                workers.running.remove(&attempt);
                driver.used_cpu(attempt, reaped.cpu_user_us + reaped.cpu_system_us);
                driver.ended(attempt, ending(reaped.state), workers);
            }
            None => driver.stray_child(reaped.pid.as_raw(), &reaped.state.to_string(), workers),
        }
    }
}

impl Workers<'_> {
    fn find(&self, pid: Pid) -> Option<AttemptId> {
        self.running.iter().find(|(_, worker)| worker.child.pid == pid).map(|(id, _)| *id)
    }
}

fn ending(state: ExitState) -> Ending {
    match state {
        ExitState::Code(code) => Ending::Code(i32::from(code)),
        ExitState::Signal { number, .. } => Ending::Signal(number),
    }
}
