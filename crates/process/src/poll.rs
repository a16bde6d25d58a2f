//! One safe call around poll(2): which of these descriptors can be read or written now? Who reads what is the caller's.

use std::io;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// One wait of the kernel is at most this long; longer timeouts are made of several.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Something to read, or end of file.
    Read,
    /// Room to write, or the reader is gone.
    Write,
    /// Either.
    ReadWrite,
    /// The other side is gone, whatever it left to read.
    End,
}

impl Interest {
    fn flags(self) -> PollFlags {
        match self {
            Interest::Read => PollFlags::POLLIN,
            Interest::Write => PollFlags::POLLOUT,
            Interest::ReadWrite => PollFlags::POLLIN | PollFlags::POLLOUT,
            Interest::End => PollFlags::empty(),
        }
    }
}

/// A descriptor with something to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready<T> {
    /// The caller's name for it.
    pub token: T,
    /// A read will not block: bytes, end of file (which a pipe reports as a hang-up without data), or an error.
    pub readable: bool,
    /// A write will not block: it takes bytes or says that the reader is gone.
    pub writable: bool,
}

/// Waits until at least one descriptor is ready or the timeout is over (then the answer is empty). `None` waits for
/// ever, zero only looks. A signal that interrupts the wait does not lengthen it.
pub fn poll<T: Copy>(entries: &[(T, BorrowedFd<'_>, Interest)], timeout: Option<Duration>) -> io::Result<Vec<Ready<T>>> {
    let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    let mut fds: Vec<PollFd<'_>> = entries.iter().map(|(_, fd, interest)| PollFd::new(*fd, interest.flags())).collect();
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let wait = TimeSpec::from_duration(left.unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT));
        match ppoll(&mut fds, Some(wait), None) {
            Ok(0) if left.is_some_and(|left| left <= LONGEST_WAIT) => return Ok(Vec::new()),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(ready(entries, &fds)),
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn ready<T: Copy>(entries: &[(T, BorrowedFd<'_>, Interest)], fds: &[PollFd<'_>]) -> Vec<Ready<T>> {
    let ended = PollFlags::POLLHUP | PollFlags::POLLERR | PollFlags::POLLNVAL;
    let mut found = Vec::new();
    for ((token, _, interest), fd) in entries.iter().zip(fds) {
        // Flags that nix does not know are no reason to spin: then both directions are tried.
        let seen = fd.revents().unwrap_or(ended);
        let readable = *interest != Interest::Write && seen.intersects(PollFlags::POLLIN | ended);
        let writable = *interest != Interest::Read && seen.intersects(PollFlags::POLLOUT | ended);
        if readable || writable {
            found.push(Ready { token: *token, readable, writable });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;
    use std::time::{Duration, Instant};

    use super::{Interest, Ready, poll};
    use crate::pipe::Pipe;

    const AT_ONCE: Option<Duration> = Some(Duration::ZERO);

    #[test]
    fn bytes_and_end_of_file_are_readable() {
        let pipe = Pipe::new().unwrap();
        let entries = [("up", pipe.read.as_fd(), Interest::Read)];
        assert_eq!(poll(&entries, AT_ONCE).unwrap(), vec![]);
        nix::unistd::write(&pipe.write, b"x").unwrap();
        let found = vec![Ready { token: "up", readable: true, writable: false }];
        assert_eq!(poll(&entries, None).unwrap(), found);
        nix::unistd::read(&pipe.read, &mut [0; 8]).unwrap();
        assert_eq!(poll(&entries, AT_ONCE).unwrap(), vec![]);
        drop(pipe.write);
        assert_eq!(poll(&entries, None).unwrap(), found, "a hang-up without data counts as readable");
    }

    #[test]
    fn a_write_end_without_a_reader_is_writable() {
        let pipe = Pipe::new().unwrap();
        drop(pipe.read);
        let found = poll(&[(1, pipe.write.as_fd(), Interest::Write)], None).unwrap();
        assert_eq!(found, vec![Ready { token: 1, readable: false, writable: true }]);
    }

    #[test]
    fn only_the_ready_ones_are_named() {
        let (a, b) = (Pipe::new().unwrap(), Pipe::new().unwrap());
        nix::unistd::write(&b.write, b"x").unwrap();
        let entries = [
            (0, a.read.as_fd(), Interest::Read),
            (1, b.read.as_fd(), Interest::Read),
            (2, a.write.as_fd(), Interest::ReadWrite),
        ];
        let tokens: Vec<i32> = poll(&entries, None).unwrap().iter().map(|ready| ready.token).collect();
        assert_eq!(tokens, vec![1, 2]);
    }

    #[test]
    fn a_timeout_is_kept_and_not_cut_short() {
        let started = Instant::now();
        assert_eq!(poll::<()>(&[], Some(Duration::from_millis(30))).unwrap(), vec![]);
        assert!(started.elapsed() >= Duration::from_millis(30));
    }
}
