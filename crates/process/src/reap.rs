//! How a child ended, and reaping until none is left. What follows from it is the caller's.

use std::fmt;
use std::time::{Duration, Instant};

use libc::c_int;
use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::{children_cpu, fork};

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitState {
    /// By itself, with this code.
    Code(u8),
    /// By a signal.
    Signal {
        /// The signal's number; real-time signals included.
        number: i32,
        /// True when a core file was written.
        core: bool,
    },
}

impl ExitState {
    /// True for exit code 0.
    pub fn is_success(self) -> bool {
        self == ExitState::Code(0)
    }

    /// True when another process may have ended it, by SIGKILL (as the kernel does when memory runs out) or SIGTERM:
    /// that says nothing about what it did.
    pub fn is_killed(self) -> bool {
        matches!(self, ExitState::Signal { number, .. } if number == libc::SIGKILL || number == libc::SIGTERM)
    }

    fn from_raw(status: c_int) -> ExitState {
        if libc::WIFSIGNALED(status) {
            return ExitState::Signal { number: libc::WTERMSIG(status), core: libc::WCOREDUMP(status) };
        }
        ExitState::Code((libc::WEXITSTATUS(status) & 0xff) as u8)
    }
}

impl fmt::Display for ExitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            ExitState::Code(code) => write!(f, "exit code {code}"),
            ExitState::Signal { number, core } => {
                match Signal::try_from(number) {
                    Ok(signal) => write!(f, "killed by {signal}")?,
                    Err(_) => write!(f, "killed by signal {number}")?,
                }
                if core { f.write_str(" (core dumped)") } else { Ok(()) }
            }
        }
    }
}

/// A child that ended and was reaped: its process id may be used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reaped {
    /// Which process it was.
    pub pid: Pid,
    /// How it ended.
    pub state: ExitState,
    /// CPU time in user mode in microseconds, of the process and the descendants that it waited for: by how much
    /// `RUSAGE_CHILDREN` grew at this reap, so a killed child counts too.
    pub cpu_user_us: u64,
    /// CPU time in the kernel in microseconds, likewise.
    pub cpu_system_us: u64,
}

/// Reaps every child that has ended, also ones that this process did not start (as process 1 in a container). Never
/// blocks.
pub fn reap_all() -> Vec<Reaped> {
    // An error means that no child is left.
    std::iter::from_fn(|| reap(None, false).ok().flatten()).collect()
}

/// Waits for one child. `Ok(None)`: it had not ended at the deadline (`None`: waits for ever). `ECHILD`: no such child,
/// or it was reaped before.
pub(crate) fn wait_until(pid: Pid, deadline: Option<Instant>) -> Result<Option<Reaped>, Errno> {
    let Some(deadline) = deadline else { return reap(Some(pid), true) };
    let mut pause = Duration::from_micros(100);
    loop {
        if let Some(reaped) = reap(Some(pid), false)? {
            return Ok(Some(reaped));
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(None);
        }
        std::thread::sleep(pause.min(left));
        pause = (pause * 2).min(Duration::from_millis(10));
    }
}

fn reap(target: Option<Pid>, block: bool) -> Result<Option<Reaped>, Errno> {
    let before = children_cpu();
    let Some((pid, status)) = fork::wait_raw(target, block)? else { return Ok(None) };
    let after = children_cpu();
    Ok(Some(Reaped {
        pid,
        state: ExitState::from_raw(status),
        cpu_user_us: after.user_us.saturating_sub(before.user_us),
        cpu_system_us: after.system_us.saturating_sub(before.system_us),
    }))
}

#[cfg(test)]
mod tests {
    use super::ExitState;

    #[test]
    fn states_speak() {
        assert_eq!(ExitState::from_raw(0).to_string(), "exit code 0");
        assert_eq!(ExitState::from_raw(75 << 8), ExitState::Code(75));
        assert_eq!(ExitState::from_raw(9).to_string(), "killed by SIGKILL");
        assert_eq!(ExitState::from_raw(0x80 | 11).to_string(), "killed by SIGSEGV (core dumped)");
        assert_eq!(ExitState::from_raw(40), ExitState::Signal { number: 40, core: false });
        assert_eq!(ExitState::from_raw(40).to_string(), "killed by signal 40");
        assert!(ExitState::from_raw(0).is_success() && !ExitState::from_raw(9).is_success());
    }
}
