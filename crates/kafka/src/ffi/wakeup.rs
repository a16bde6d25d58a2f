//! A descriptor that says when a client has something to serve.
//!
//! Wraps: `eventfd`. Safety rule kept here: the descriptor has one owner, and stays open until the last clone is gone.

use std::ffi::{c_int, c_uint};
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::rc::Rc;

/// A descriptor that becomes readable when a client has something to serve: delivery reports, errors or log lines.
///
/// The client signals only when its queue was empty, and only once until the queue is looked at. So: wait until this is
/// readable, [`Wakeup::drain`] it, *then* serve the client (`poll`) until nothing is left. In the other order a signal
/// is lost.
#[derive(Clone, Debug)]
pub struct Wakeup(Rc<File>);

impl Wakeup {
    /// An eventfd that is readable from the start, so that nothing that came before it is overlooked.
    pub(super) fn new() -> io::Result<Wakeup> {
        unsafe extern "C" {
            fn eventfd(initial: c_uint, flags: c_int) -> c_int;
        }
        const EFD_CLOEXEC: c_int = 0o2_000_000;
        const EFD_NONBLOCK: c_int = 0o4_000;
        // SAFETY: takes plain numbers.
        let fd = unsafe { eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is open, and has no other owner.
        Ok(Wakeup(Rc::new(File::from(unsafe { OwnedFd::from_raw_fd(fd) }))))
    }

    /// Takes the signal back; false if there was none.
    pub fn drain(&self) -> bool {
        // Never blocks; the only error is that there is nothing to read.
        (&*self.0).read(&mut [0; 8]).is_ok()
    }
}

impl AsFd for Wakeup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Wakeup {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
