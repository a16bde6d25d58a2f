//! The one place that forks, and the only file of this crate with `unsafe`: the fork, raw waits, signal dispositions,
//! closing of ranges, the default thread stack and `_exit`. What goes before and after it is `start.rs`; the order in
//! which a child applies its rules is `child_rules.rs`.
//!
//! A fork without exec is right only because the forking process has exactly one thread: no lock can be held by a
//! thread that the child doesn't have. So the thread count is read before each fork, in every build, and nothing can
//! switch that off.

use std::io::{self, Write as _};
use std::mem::MaybeUninit;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{c_int, c_uint};
use nix::errno::Errno;
use nix::sys::signal::{SigHandler, SigSet, SigmaskHow, Signal, signal};
use nix::unistd::{ForkResult, Pid};

use crate::usage::status_number;

/// True in every process that [`fork_once`] made: workers and helpers never fork again.
static IS_CHILD: AtomicBool = AtomicBool::new(false);

/// What a terminal, a batch engine or a service manager sends to the whole process group (the parent alone decides what
/// it means; SIGUSR1 would end a child, SIGTTIN and SIGTTOU would stop it), and SIGPIPE, so that writing to a dead
/// parent is an error value.
const IGNORED_IN_CHILD: [Signal; 7] =
    [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGPIPE, Signal::SIGUSR1, Signal::SIGTTIN, Signal::SIGTTOU];

/// Why no child was made. The parent is unchanged, and no child exists.
#[derive(Debug, thiserror::Error)]
pub enum ForkError {
    /// More than one thread. A child would inherit locks that are never released.
    #[error(
        "refused to fork: this process has {0} threads and must have exactly one; a client or a thread was created before the \
         last fork"
    )]
    Threads(usize),
    /// The thread count is not known, so the fork can't be allowed.
    #[error("refused to fork: the number of threads could not be read from /proc/self/status: {0}; mount /proc")]
    ThreadsUnknown(#[source] io::Error),
    /// This process is a forked child itself.
    #[error("refused to fork: this process is a forked child, and a child never forks")]
    IsChild,
    /// No pipe or no descriptor for one.
    #[error("no pipe for a new child process: {}; look at the descriptor limit (ulimit -n, fs.file-max)", .0.desc())]
    Pipe(#[source] Errno),
    /// What the child gets as stdin and stdout.
    #[error("/dev/null could not be opened for a new child process: {0}")]
    DevNull(#[source] io::Error),
    /// The kernel can't close ranges of descriptors.
    #[error("close_range(2) is not available: {}; Linux 5.9 or later is needed", .0.desc())]
    CloseRange(#[source] Errno),
    /// `EAGAIN`: too many processes.
    #[error(
        "no new process: a limit on processes is reached; look at ulimit -u (RLIMIT_NPROC), pids.max of the cgroup, \
         kernel.pid_max and kernel.threads-max"
    )]
    ProcessLimit,
    /// `ENOMEM`: no memory for a process.
    #[error(
        "no new process: not enough memory; look at memory.max of the cgroup, vm.overcommit_memory, and fewer workers need less"
    )]
    Memory,
    /// Anything else.
    #[error("no new process: {}", .0.desc())]
    System(#[source] Errno),
}

/// The number of threads of this process, librdkafka's and others' included.
pub fn thread_count() -> io::Result<usize> {
    status_number("Threads").and_then(|count| usize::try_from(count).map_err(io::Error::other))
}

/// Which of the two processes this is after the fork.
pub(crate) enum Forked {
    /// The new one. All signals are blocked in it.
    Child,
    /// The old one, with the new one's id.
    Parent(Pid),
}

/// That this process has exactly one thread and is not a child itself. What has it starts no thread.
pub(crate) struct MayFork(());

/// Forks this process. Stdout and stderr are flushed before. The child must end with [`exit_now`].
pub(crate) fn fork_once(MayFork(()): MayFork) -> Result<Forked, ForkError> {
    report_exit_of_children();
    flush_stdio();
    // A signal to the group between the fork and the child's own dispositions waits, and is then ignored there.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK).map_err(ForkError::System)?;
    #[expect(clippy::disallowed_methods, reason = "this is the one fork: `MayFork` is only made for one thread")]
    // SAFETY: this process has exactly one thread (`MayFork` says so, and nothing in between starts one), so no lock of
    // the allocator, of stdio or of a library can be held by a thread that is missing in the child; the child may run
    // any code.
    let forked = unsafe { nix::unistd::fork() };
    match forked {
        Ok(ForkResult::Child) => {
            IS_CHILD.store(true, Ordering::Relaxed);
            Ok(Forked::Child)
        }
        Ok(ForkResult::Parent { child }) => {
            restore_mask(&mask);
            Ok(Forked::Parent(child))
        }
        Err(errno) => {
            restore_mask(&mask);
            Err(match errno {
                Errno::EAGAIN => ForkError::ProcessLimit,
                Errno::ENOMEM => ForkError::Memory,
                other => ForkError::System(other),
            })
        }
    }
}

/// Refuses unless this process has exactly one thread and is not a child itself.
pub(crate) fn may_fork() -> Result<MayFork, ForkError> {
    if IS_CHILD.load(Ordering::Relaxed) {
        return Err(ForkError::IsChild);
    }
    match thread_count() {
        Ok(1) => Ok(MayFork(())),
        Ok(count) => Err(ForkError::Threads(count)),
        Err(error) => Err(ForkError::ThreadsUnknown(error)),
    }
}

fn restore_mask(mask: &SigSet) {
    mask.thread_set_mask().expect("a mask that this thread had before is valid");
}

/// What was printed but not yet written must not be printed by the child as well. An error here comes again with the
/// next print, which reports it.
fn flush_stdio() {
    let _ = io::stdout().flush();
    let _ = io::stderr().flush();
    // SAFETY: fflush(NULL) flushes every C stream and takes no other argument; it is defined in every state of the
    // process.
    unsafe { libc::fflush(std::ptr::null_mut()) };
}

/// Ends this process without destructors, exit handlers or a flush of inherited buffers.
pub(crate) fn exit_now(code: u8) -> ! {
    // SAFETY: _exit has no precondition and does not return.
    unsafe { libc::_exit(c_int::from(code)) }
}

/// Closes the descriptors `first..=last`, open or not.
pub(crate) fn close_descriptors(first: c_uint, last: c_uint) -> Result<(), Errno> {
    // SAFETY: the call touches no memory of ours. It is made only in a new child, for descriptors that nothing which
    // runs there owns (inherited owners are never dropped), and in the parent for one number that can't be open.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0 as c_uint) }).map(drop)
}

/// A launcher may have left SIGCHLD ignored, and then the kernel throws exit codes away: take the default again.
fn report_exit_of_children() {
    let mut current = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks, and `current` is valid for the write of one sigaction.
    let asked = unsafe { libc::sigaction(libc::SIGCHLD, std::ptr::null(), current.as_mut_ptr()) };
    // SAFETY: on success the kernel has filled `current`; on failure it is not read.
    if asked == 0 && unsafe { current.assume_init() }.sa_sigaction == libc::SIG_IGN {
        // SAFETY: the default action runs no code of ours.
        let _ = unsafe { signal(Signal::SIGCHLD, SigHandler::SigDfl) };
    }
}

/// In a new child: only the control pipe and SIGKILL stop it.
pub(crate) fn ignore_group_signals() -> Result<(), Errno> {
    for ignored in IGNORED_IN_CHILD {
        // SAFETY: ignoring a signal runs no code of ours, and no handler of ours is replaced: this process installs
        // none.
        unsafe { signal(ignored, SigHandler::SigIgn) }?;
    }
    Ok(())
}

/// Default actions for what a child ignores, and nothing blocked. For use just before another program is executed in
/// this process, which would inherit both; [`default_signals_for`] does it for a [`Command`].
pub fn restore_default_signals() -> io::Result<()> {
    for ignored in IGNORED_IN_CHILD {
        // SAFETY: the default action runs no code of ours; sigaction(2) is async-signal-safe, so this may run after a
        // fork.
        unsafe { signal(ignored, SigHandler::SigDfl) }?;
    }
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Makes `command` start with default signals, so that a user's program can be stopped as usual.
pub fn default_signals_for(command: &mut Command) -> &mut Command {
    use std::os::unix::process::CommandExt as _;
    // SAFETY: the closure only calls sigaction(2) and sigprocmask(2), which are async-signal-safe, and allocates
    // nothing: an errno becomes an `io::Error` without a heap block.
    unsafe { command.pre_exec(restore_default_signals) }
}

unsafe extern "C" {
    /// glibc 2.18 and musl 1.2.3; not in the `libc` crate.
    fn pthread_setattr_default_np(attributes: *const libc::pthread_attr_t) -> c_int;
}

/// The stack of threads whose creator states none, in bytes.
pub(crate) fn set_default_thread_stack(bytes: usize) -> Result<(), Errno> {
    let check = |code: c_int| if code == 0 { Ok(()) } else { Err(Errno::from_raw(code)) };
    let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
    // SAFETY: `attributes` is valid for the write of one attribute object.
    check(unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) })?;
    // SAFETY: `attributes` was initialised above; a size that does not fit is refused with EINVAL.
    let sized = check(unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), bytes) });
    // SAFETY: `attributes` is initialised, and the function copies what it needs.
    let set = sized.and_then(|()| check(unsafe { pthread_setattr_default_np(attributes.as_ptr()) }));
    // SAFETY: `attributes` is initialised and is not used again.
    unsafe { libc::pthread_attr_destroy(attributes.as_mut_ptr()) };
    set
}

/// waitpid(2) for one child or any, as the kernel's raw status: nix's own decoding fails on real-time signals, and the
/// child would be gone without a word. `None`: children exist and none has ended (only without `block`).
pub(crate) fn wait_raw(target: Option<Pid>, block: bool) -> Result<Option<(Pid, c_int)>, Errno> {
    let target = target.map_or(-1, Pid::as_raw);
    let options = if block { 0 } else { libc::WNOHANG };
    let mut status: c_int = 0;
    loop {
        // SAFETY: `status` is valid for the write of one int during the call.
        match Errno::result(unsafe { libc::waitpid(target, &raw mut status, options) }) {
            Ok(0) => return Ok(None),
            Ok(pid) => return Ok(Some((Pid::from_raw(pid), status))),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    unsafe extern "C" {
        fn pthread_getattr_default_np(attributes: *mut libc::pthread_attr_t) -> c_int;
    }

    #[test]
    fn the_default_thread_stack_is_set() {
        let bytes = 1536 * 1024;
        set_default_thread_stack(bytes).unwrap();
        let mut attributes = MaybeUninit::<libc::pthread_attr_t>::uninit();
        let mut found = 0;
        // SAFETY: the first call fills `attributes`, which the others read; `found` is valid for the write of one size.
        let codes = unsafe {
            [
                pthread_getattr_default_np(attributes.as_mut_ptr()),
                libc::pthread_attr_getstacksize(attributes.as_ptr(), &raw mut found),
                libc::pthread_attr_destroy(attributes.as_mut_ptr()),
            ]
        };
        assert_eq!((codes, found), ([0; 3], bytes));
        assert_eq!(set_default_thread_stack(1), Err(Errno::EINVAL));
    }

    #[test]
    fn errors_name_the_limit_to_look_at() {
        assert!(ForkError::ProcessLimit.to_string().contains("RLIMIT_NPROC"));
        assert!(ForkError::Memory.to_string().contains("memory.max"));
        assert!(ForkError::Pipe(Errno::EMFILE).to_string().contains("ulimit -n"));
        assert!(ForkError::Threads(5).to_string().contains("5 threads"));
    }
}
