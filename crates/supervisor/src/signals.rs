//! Which signals a running job takes, and what each asks.
//!
//! SIGINT, SIGTERM and SIGHUP stop the job. SIGTTIN and SIGTTOU add and take one worker, as pre-fork servers have it,
//! SIGUSR1 prints the state of each worker. A terminal's driver sends SIGTTIN and SIGTTOU by itself to jobs in the
//! background: those are told apart by who sent them, and mean nothing here.

use migration::steer::{Scale, Steer};
use process::{Caught, Signal, SignalFd};

use crate::SupervisorError;
use crate::driver::{Driver, Hands};
use crate::machine::Input;

/// Signals that stop the job.
const STOPPING: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Signals that steer it. Until the run takes them, [`hold`] keeps them from ending or stopping the process.
const STEERING: [Signal; 3] = [Signal::SIGTTIN, Signal::SIGTTOU, Signal::SIGUSR1];

/// Holds the signals that steer a run until it begins: by their default action they would end or stop this process.
pub fn hold() -> std::io::Result<()> {
    process::hold_signals(&STEERING)
}

/// The signals that the loop takes as events. What the parent process had it ignore stays ignored.
pub(crate) fn open() -> Result<SignalFd, SupervisorError> {
    let wanted = STOPPING.into_iter().chain(STEERING);
    let heeded = wanted.filter(|signal| !process::is_ignored(*signal).unwrap_or(false));
    let all: Vec<Signal> = heeded.chain([Signal::SIGCHLD]).collect();
    SignalFd::new(&all).map_err(SupervisorError::Signals)
}

/// Does what a signal asks. True if it says that a child ended: then look which.
pub(crate) fn take(caught: Caught, driver: &mut Driver<'_>, hands: &mut dyn Hands) -> bool {
    match caught.signal {
        Signal::SIGCHLD => return true,
        Signal::SIGTTIN if caught.sent => driver.steer_by_signal("SIGTTIN", Steer::Scale(Scale::Up(1)), hands),
        Signal::SIGTTOU if caught.sent => driver.steer_by_signal("SIGTTOU", Steer::Scale(Scale::Down(1)), hands),
        Signal::SIGTTIN | Signal::SIGTTOU => {}
        Signal::SIGUSR1 => driver.log_workers(),
        stopping => driver.give(Input::Signal { number: stopping as i32 as u8 }, hands),
    }
    false
}
