//! A forked child as both sides see it: what it may keep, the two pipes, and what the parent says. How it is set up is
//! `child_rules.rs`, how it is made `start.rs`; what a child does after that is its caller's closure.

use std::os::fd::{OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getppid};

use crate::{Interest, poll};

/// The exit code of a child whose body panicked.
pub const EXIT_PANICKED: u8 = 101;

/// The exit code of a child that could not apply the rules of a child; one line on stderr says which.
pub const EXIT_SETUP_FAILED: u8 = 102;

/// Stack of a thread that a C library starts in a child, in bytes. Stacks count against [`ChildSettings::data_limit`].
pub const DEFAULT_THREAD_STACK: usize = 1024 * 1024;

/// How a child differs from its parent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChildSettings {
    /// The name that `ps` and `top` show; cut to 15 bytes.
    pub name: String,
    /// `RLIMIT_DATA` in bytes: heap, private writable mappings and thread stacks together. `None`: as the parent's.
    pub data_limit: Option<u64>,
    /// Default stack in bytes of threads that C libraries start in the child (Rust's own threads state their size).
    pub thread_stack: usize,
    /// Open descriptors that the child keeps besides its pipe ends and stderr, under the same numbers.
    pub keep: Vec<RawFd>,
}

impl ChildSettings {
    /// A child called `name`, without a memory limit, with the default thread stack, keeping nothing.
    pub fn named(name: impl Into<String>) -> ChildSettings {
        ChildSettings { name: name.into(), data_limit: None, thread_stack: DEFAULT_THREAD_STACK, keep: Vec::new() }
    }
}

/// The parent's view of a child. Dropping it closes the pipe ends (which tells the child to stop) and neither kills nor
/// reaps.
#[derive(Debug)]
pub struct Child {
    /// Its process id, valid until the child is reaped.
    pub pid: Pid,
    /// Read end of what the child sends; nonblocking.
    pub events: OwnedFd,
    /// Write end of what the child is told; nonblocking.
    pub control: OwnedFd,
}

/// The child's ends of its two pipes.
#[derive(Debug)]
pub struct ChildEnds {
    /// Write end towards the parent; blocking, so that a slow parent slows the child instead of losing what it says.
    pub events: OwnedFd,
    /// Read end from the parent; nonblocking. End of file means that the parent is gone: stop.
    pub control: OwnedFd,
}

/// What came from the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// It closed its end, or died: stop.
    Closed,
    /// At least one byte.
    Something,
    /// Nothing in time.
    Nothing,
}

impl ChildEnds {
    /// Waits up to `timeout` for a word of the parent, whose bytes mean nothing by themselves and are discarded.
    pub fn wait_for_word(&self, timeout: Duration) -> Told {
        use std::os::fd::AsFd as _;
        let deadline = Instant::now() + timeout;
        let mut discarded = [0; 512];
        loop {
            match nix::unistd::read(&self.control, &mut discarded) {
                Ok(0) => return Told::Closed,
                Ok(_) => return Told::Something,
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    let left = deadline.saturating_duration_since(Instant::now());
                    if left.is_zero() {
                        return Told::Nothing;
                    }
                    if poll(&[((), self.control.as_fd(), Interest::Read)], Some(left)).is_err() {
                        return Told::Closed;
                    }
                }
                Err(_) => return Told::Closed,
            }
        }
    }

    /// Blocks until the parent closes its control end or dies. Whatever it sends before is discarded.
    pub fn wait_for_close(&self) {
        use std::os::fd::AsFd as _;
        let mut discarded = [0; 512];
        loop {
            match nix::unistd::read(&self.control, &mut discarded) {
                Ok(0) => return,
                Ok(_) | Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => {
                    if poll(&[((), self.control.as_fd(), Interest::Read)], None).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
        }
    }
}

/// For a process that was executed, not forked: the kernel kills it when its parent, the process `parent`, dies. An
/// error means that the parent is dead already, or that the kernel refuses.
pub fn die_with_parent(parent: u32) -> std::io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw().unsigned_abs() != parent {
        return Err(std::io::Error::other("the process that started this one is gone"));
    }
    Ok(())
}
