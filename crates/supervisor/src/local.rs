//! Single-process mode: the same machine, store and rules, but the worker's code runs in the calling process, one shard
//! after the other. No worker is forked.
//!
//! Responsible for a port whose other end is the machine itself. What ends an attempt badly stops the run: a successor
//! in a process whose client failed would prove nothing.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::rc::Rc;
use std::time::Duration;

use migration::{Control, Level, Plan, WorkerEvent};
use process::{Caught, Interest, SignalFd, poll, reap_all};

use crate::control::server::{ControlServer, SocketPlace};
use crate::driver::{Driver, Hands};
use crate::machine::{AttemptId, Ending, Input, WorkOrder};
use crate::port::{Lookout, SupervisorGone, WorkerPort};
use crate::shell::Work;
use crate::signals;
use crate::watch::Watcher;
use crate::{RunEnd, Setup, SupervisorError};

/// Between two looks at the control socket while the worker works; one costs a system call.
const LOOK_OUTSIDE_EVERY: Duration = Duration::from_millis(20);

/// What the machine wants of the only worker.
#[derive(Clone, Debug, Default)]
struct Wishes {
    next: Option<WorkOrder>,
    control: Control,
    killed: bool,
}

/// Hands that only note what is wanted.
#[derive(Clone, Debug, Default)]
struct LocalHands(Rc<RefCell<Wishes>>);

impl Hands for LocalHands {
    fn fork(&mut self, _: &Plan, order: &WorkOrder) -> Result<i32, String> {
        *self.0.borrow_mut() = Wishes { next: Some(order.clone()), control: order.control, killed: false };
        Ok(std::process::id().cast_signed())
    }

    fn tell(&mut self, _: AttemptId, control: &Control) {
        self.0.borrow_mut().control = *control;
    }

    fn kill(&mut self, _: AttemptId) {
        self.0.borrow_mut().killed = true;
    }
}

/// The port of a worker in this process: an event is handed to the machine, and what it answers is in force when `send`
/// returns.
struct LocalPort<'a, 'b> {
    driver: &'a mut Driver<'b>,
    hands: LocalHands,
    signals: &'a SignalFd,
    server: &'a mut ControlServer,
    attempt: AttemptId,
    lookout: Lookout,
    looked: Duration,
}

impl LocalPort<'_, '_> {
    fn look_around(&mut self) -> Result<(), SupervisorGone> {
        for caught in self.signals.read_all().map_err(|_| SupervisorGone)? {
            take_signal(self.driver, &mut self.hands, caught);
        }
        let now = self.driver.now();
        if now.saturating_sub(self.looked) >= LOOK_OUTSIDE_EVERY {
            self.looked = now;
            self.server.look(&mut self.driver.with(&mut self.hands));
        }
        self.driver.tick(&mut self.hands);
        self.go_on()
    }

    fn go_on(&self) -> Result<(), SupervisorGone> {
        if self.hands.0.borrow().killed { Err(SupervisorGone) } else { Ok(()) }
    }
}

impl WorkerPort for LocalPort<'_, '_> {
    fn send(&mut self, event: &WorkerEvent) -> io::Result<()> {
        self.driver.give(Input::Event { attempt: self.attempt, event: event.clone() }, &mut self.hands);
        if self.hands.0.borrow().killed { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
    }

    fn control(&mut self) -> Result<Control, SupervisorGone> {
        if self.lookout.due() {
            self.look_around()?;
        }
        self.go_on()?;
        Ok(self.hands.0.borrow().control)
    }

    fn wait(&mut self, timeout: Duration, also: Option<BorrowedFd<'_>>) -> Result<(), SupervisorGone> {
        let timeout = timeout.min(self.driver.patience());
        wait(self.driver, self.signals, self.server, timeout, also).map_err(|_| SupervisorGone)?;
        self.looked = Duration::ZERO;
        self.look_around()
    }
}

/// Waits for a signal, for something at the control socket, or until `also` is readable.
fn wait(
    driver: &Driver<'_>,
    signals: &SignalFd,
    server: &ControlServer,
    timeout: Duration,
    also: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let mut entries = vec![(None::<SocketPlace>, signals.as_fd(), Interest::Read)];
    entries.extend(server.entries(driver.now()).map(|(place, fd, interest)| (Some(place), fd, interest)));
    entries.extend(also.map(|fd| (None, fd, Interest::Read)));
    poll(&entries, Some(timeout)).map(drop)
}

fn take_signal(driver: &mut Driver<'_>, hands: &mut LocalHands, caught: Caught) {
    if !signals::take(caught, driver, hands) {
        return;
    }
    for reaped in reap_all() {
        driver.stray_child(reaped.pid.as_raw(), &reaped.state.to_string(), hands);
    }
}

/// Runs the job in this process until it is over. Threads and clients may exist, but only what `work` makes.
pub fn run_single<'a>(setup: Setup<'a>, work: &mut Work<'_>, watcher: &'a mut dyn Watcher) -> Result<RunEnd, SupervisorError> {
    let signals = signals::open()?;
    let folder = setup.state.path();
    let mut driver = Driver::begin(setup, watcher, false)?;
    let (mut server, warning) = ControlServer::open(folder);
    warning.iter().for_each(|warning| driver.log(Level::Warning, warning));
    let mut hands = LocalHands::default();
    driver.tick(&mut hands);
    while !driver.over() {
        let Some(order) = hands.0.borrow_mut().next.take() else {
            wait(&driver, &signals, &server, driver.patience(), None).map_err(SupervisorError::Poll)?;
            for caught in signals.read_all().map_err(SupervisorError::Signals)? {
                take_signal(&mut driver, &mut hands, caught);
            }
            server.look(&mut driver.with(&mut hands));
            driver.tick(&mut hands);
            continue;
        };
        let (plan, before) = (driver.plan(), process::own_cpu().total_us());
        let (hands_of_port, lookout) = (hands.clone(), Lookout::default());
        let mut port = LocalPort {
            driver: &mut driver,
            hands: hands_of_port,
            signals: &signals,
            server: &mut server,
            attempt: order.id(),
            lookout,
            looked: Duration::ZERO,
        };
        let code = work(&plan, &order, &mut port);
        let cpu_us = process::own_cpu().total_us() - before;
        driver.cpu_of_attempts_us += cpu_us;
        driver.used_cpu(order.id(), cpu_us);
        driver.ended(order.id(), Ending::Code(i32::from(code)), &mut hands);
        driver.watch(false);
    }
    server.show(&driver.with(&mut hands), true);
    Ok(driver.finish())
}
