//! What a forked child may keep and how it is set up, in the order that the rules demand. The fork itself, and every call that
//! needs `unsafe`, is `fork.rs`; what a child does after that is its caller's closure.

use std::ffi::CString;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::unistd::{Pid, dup2_stdin, dup2_stdout, getppid};

use crate::{Interest, fork, poll};

/// The exit code of a child whose body panicked.
pub const EXIT_PANICKED: u8 = 101;

/// The exit code of a child that could not apply the rules of a child; one line on stderr says which.
pub const EXIT_SETUP_FAILED: u8 = 102;

/// Stack of a thread that a C library starts in a child, in bytes. Stacks count against [`ChildSettings::data_limit`].
pub const DEFAULT_THREAD_STACK: usize = 1024 * 1024;

/// The longest process name that the kernel keeps, in bytes.
const NAME_BYTES: usize = 15;

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

/// The parent's view of a child. Dropping it closes the pipe ends (which tells the child to stop) and neither kills nor reaps.
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

/// For a process that was executed, not forked: the kernel kills it when its parent, the process `parent`, dies. An error means
/// that the parent is dead already, or that the kernel refuses.
pub fn die_with_parent(parent: u32) -> std::io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid().as_raw().unsigned_abs() != parent {
        return Err(std::io::Error::other("the process that started this one is gone"));
    }
    Ok(())
}

/// Which rule could not be applied, and the system's answer.
pub(crate) struct SetupError {
    step: &'static str,
    errno: Errno,
}

impl SetupError {
    fn at(step: &'static str) -> impl Fn(Errno) -> SetupError {
        move |errno| SetupError { step, errno }
    }

    /// One line for stderr.
    pub(crate) fn line(&self, settings: &ChildSettings) -> String {
        format!("{}: a new child process could not {}: {}\n", settings.name, self.step, self.errno.desc())
    }
}

/// What a new child should do after its rules were applied.
pub(crate) enum Setup {
    /// Run the body.
    Ready,
    /// The parent died before its death could be noticed: exit at once.
    Orphaned,
}

/// Applies the rules of a child, in order. Called in the child with all signals still blocked, so that nothing can end it
/// between the fork and the moment its signals are ignored.
pub(crate) fn apply_rules(
    settings: &ChildSettings,
    parent: Pid,
    ends: &ChildEnds,
    dev_null: &File,
) -> Result<Setup, SetupError> {
    close_foreign_descriptors(settings, ends, dev_null)?;

    // Only after arming can the death of the parent be noticed by the kernel; before it, the changed parent tells.
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(SetupError::at("arm its parent-death signal"))?;
    if getppid() != parent {
        return Ok(Setup::Orphaned);
    }

    fork::ignore_group_signals().map_err(SetupError::at("ignore signals"))?;
    SigSet::empty().thread_set_mask().map_err(SetupError::at("unblock signals"))?;

    prctl::set_name(&process_name(&settings.name)).map_err(SetupError::at("set its name"))?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(SetupError::at("forbid core files (RLIMIT_CORE)"))?;
    if let Some(bytes) = settings.data_limit {
        limit_data(bytes).map_err(SetupError::at("limit its memory (RLIMIT_DATA)"))?;
    }
    fork::set_default_thread_stack(settings.thread_stack).map_err(SetupError::at("set the default thread stack"))?;
    Ok(Setup::Ready)
}

/// Keeps the pipe ends, stderr and what the settings say; stdin and stdout become /dev/null; everything else is closed, or a
/// sibling's inherited pipe end would hide the parent's death from that sibling.
fn close_foreign_descriptors(settings: &ChildSettings, ends: &ChildEnds, dev_null: &File) -> Result<(), SetupError> {
    dup2_stdin(dev_null).map_err(SetupError::at("put /dev/null on stdin"))?;
    dup2_stdout(dev_null).map_err(SetupError::at("put /dev/null on stdout"))?;
    let mut kept = vec![0, 1, 2, ends.events.as_raw_fd(), ends.control.as_raw_fd()];
    kept.extend(settings.keep.iter().filter(|fd| **fd >= 0));
    kept.sort_unstable();
    kept.dedup();
    let mut first: u32 = 0;
    for fd in kept.iter().map(|fd| fd.unsigned_abs()) {
        if first < fd {
            fork::close_descriptors(first, fd - 1).map_err(SetupError::at("close inherited descriptors"))?;
        }
        first = fd + 1;
    }
    fork::close_descriptors(first, u32::MAX).map_err(SetupError::at("close inherited descriptors"))
}

/// A limit above the inherited hard one can't be set without privileges, and the lower one is the stricter anyway.
fn limit_data(bytes: u64) -> Result<(), Errno> {
    let (_, hard) = getrlimit(Resource::RLIMIT_DATA)?;
    let bytes = bytes.min(hard);
    setrlimit(Resource::RLIMIT_DATA, bytes, bytes)
}

/// The first 15 bytes of the name that end at a character's end, without NUL bytes.
fn process_name(name: &str) -> CString {
    let clean: String = name.chars().filter(|c| *c != '\0').collect();
    let mut end = clean.len().min(NAME_BYTES);
    while !clean.is_char_boundary(end) {
        end -= 1;
    }
    CString::new(&clean[..end]).expect("NUL bytes were filtered out")
}

#[cfg(test)]
mod tests {
    use super::process_name;

    #[test]
    fn names_are_cut_at_a_character_within_15_bytes() {
        assert_eq!(process_name("shard 12").to_str(), Ok("shard 12"));
        assert_eq!(process_name("a-name-that-is-too-long").to_str(), Ok("a-name-that-is-"));
        assert_eq!(process_name("12345678901234é").to_str(), Ok("12345678901234"));
        assert_eq!(process_name("a\0b").to_str(), Ok("ab"));
        assert_eq!(process_name("").to_str(), Ok(""));
    }
}
