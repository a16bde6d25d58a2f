//! Signals while the command itself waits for a helper process: before and after the supervisor's loop, which takes its
//! own.
//!
//! From the loop on its signals stay blocked, so without this nothing but SIGKILL would end a long comparison.

use std::os::fd::{AsFd, BorrowedFd};

use migration::{Exit, UserError};
use process::{Signal, SignalFd};

/// Readable when the user or a batch engine wants the command to end.
#[derive(Debug)]
pub struct Interrupt(SignalFd);

impl Interrupt {
    /// Takes SIGINT, SIGTERM and SIGHUP from now on. What the parent process had it ignore (`nohup`) stays ignored.
    pub fn new() -> Result<Self, UserError> {
        let wanted = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];
        let heeded: Vec<Signal> = wanted.into_iter().filter(|signal| !process::is_ignored(*signal).unwrap_or(false)).collect();
        SignalFd::new(&heeded).map(Interrupt).map_err(refused)
    }

    /// How to end, if one of them came; does not wait.
    pub fn came(&self) -> Option<Exit> {
        let caught = self.0.read_all().unwrap_or_default();
        caught.first().map(|caught| Exit::Signal(caught.signal as i32 as u8))
    }
}

/// Holds the signals that steer a run until its loop takes them. Call it when nothing is read from the terminal any
/// more: a command in the background that reads from there would fail instead of being stopped.
pub fn hold_steering() -> Result<(), UserError> {
    supervisor::signals::hold().map_err(refused)
}

fn refused(error: std::io::Error) -> UserError {
    UserError::new(Exit::Internal, format!("signals can't be received through a descriptor: {error}"))
        .hint("look at the descriptor limit (ulimit -n)")
}

impl AsFd for Interrupt {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
