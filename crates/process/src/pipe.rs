//! Pipes whose ends are owned, closed on exec, and never numbered as stdin, stdout or stderr. Framing is `frame.rs`.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::unistd::pipe2;

/// A pipe whose ends both block and are closed on exec.
pub(crate) struct Pipe {
    pub(crate) read: OwnedFd,
    pub(crate) write: OwnedFd,
}

impl Pipe {
    pub(crate) fn new() -> Result<Pipe, Errno> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC)?;
        Ok(Pipe { read: above_stdio(read)?, write: above_stdio(write)? })
    }
}

/// Makes one end nonblocking. The two ends of a pipe are two open file descriptions, so the other end keeps blocking.
pub(crate) fn set_nonblocking(end: &OwnedFd) -> Result<(), Errno> {
    let flags = OFlag::from_bits_retain(fcntl(end, FcntlArg::F_GETFL)?);
    fcntl(end, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// A process that closed its stdin may get a pipe end as descriptor 0, which a child would then replace by /dev/null.
/// The standard library's duplicates are numbered from 3.
fn above_stdio(fd: OwnedFd) -> Result<OwnedFd, Errno> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    fd.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))
}
