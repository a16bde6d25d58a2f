//! Signals as events of the same poll loop as the pipes. What a signal means is the caller's.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::signal::{SigSet, Signal, kill, killpg};
use nix::sys::signalfd::{self, SfdFlags};
use nix::unistd::Pid;

use crate::usage::status_text;

/// A descriptor that is readable while one of its signals waits.
///
/// Those signals stay blocked when it is dropped: one that still waits would otherwise end the process by its default
/// action while it shuts down. Children unblock everything.
#[derive(Debug)]
pub struct SignalFd {
    inner: signalfd::SignalFd,
}

impl SignalFd {
    /// Blocks these signals in the calling thread (which should be the only one) and opens a nonblocking descriptor for
    /// them.
    pub fn new(signals: &[Signal]) -> io::Result<SignalFd> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        let inner = signalfd::SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?;
        Ok(SignalFd { inner })
    }

    /// All signals that wait, each kind once however often it was sent (that is how signals are). Never blocks.
    pub fn read_all(&self) -> io::Result<Vec<Caught>> {
        let mut seen = Vec::new();
        loop {
            match self.inner.read_signal() {
                Ok(Some(info)) => {
                    let signal = i32::try_from(info.ssi_signo).ok().and_then(|n| Signal::try_from(n).ok());
                    // SI_USER, SI_QUEUE, SI_TKILL and the like are zero or below; what the kernel itself sends is
                    // above.
                    seen.extend(signal.map(|signal| Caught { signal, sent: info.ssi_code <= 0 }));
                }
                Ok(None) => return Ok(seen),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// A signal that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caught {
    /// Which.
    pub signal: Signal,
    /// True when a process sent it with kill(2) or the like; false when the kernel did of its own accord (a terminal's
    /// driver).
    pub sent: bool,
}

impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inner.as_fd()
    }
}

/// True when the parent process had it ignore the signal (`nohup` does so with SIGHUP). A [`SignalFd`] would see it
/// nevertheless, so leave such a signal out.
pub fn is_ignored(signal: Signal) -> io::Result<bool> {
    let text = status_text("SigIgn")?;
    let mask = u64::from_str_radix(&text, 16).map_err(io::Error::other)?;
    Ok(mask & (1 << (signal as i32 - 1)) != 0)
}

/// Blocks signals until a [`SignalFd`] takes them: one that comes before that waits instead of ending this process.
pub fn hold_signals(signals: &[Signal]) -> io::Result<()> {
    let set: SigSet = signals.iter().copied().collect();
    set.thread_block().map_err(io::Error::from)
}

/// Sends a signal to one process. A process that has ended already is no error. Only for children that are not reaped
/// yet: a reaped one's number may belong to another process.
pub fn send_signal(pid: Pid, signal: Signal) -> io::Result<()> {
    match kill(pid, signal) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Kills every process of a group whose leader is a child that is not reaped yet.
pub fn kill_group(leader: u32) -> io::Result<()> {
    let group = Pid::from_raw(i32::try_from(leader).map_err(io::Error::other)?);
    match killpg(group, Signal::SIGKILL) {
        Ok(()) | Err(Errno::ESRCH) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}
