//! Helper processes: forked children that may start threads and hold clients, so that the parent needs neither. One
//! kind writes an answer and ends, the other serves until it is told to stop. What they do is the caller's; they keep
//! no lock.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::unistd::Pid;

use crate::reap::{ExitState, Reaped, wait_until};
use crate::{Child, ChildEnds, ChildSettings, ForkError, Interest, Signal, fork_child, poll, send_signal};

/// The exit code of a helper whose answer could not be written.
const EXIT_NOT_WRITTEN: u8 = 1;

/// How long a helper that is dropped may take to end before it is killed.
const DROP_PATIENCE: Duration = Duration::from_secs(2);

/// How to run a helper.
#[derive(Clone, Debug)]
pub struct HelperOptions<'a> {
    /// Its process name, cut to 15 bytes.
    pub name: String,
    /// The longest answer in bytes. 256 MiB unless changed.
    pub max_bytes: usize,
    /// How long it may take. `None`: for ever.
    pub timeout: Option<Duration>,
    /// When this descriptor becomes readable (a [`SignalFd`](crate::SignalFd), say) the helper is killed. It is not
    /// read.
    pub interrupt: Option<BorrowedFd<'a>>,
}

impl HelperOptions<'_> {
    /// A helper called `name`, without timeout or interruption.
    pub fn named(name: impl Into<String>) -> HelperOptions<'static> {
        HelperOptions { name: name.into(), max_bytes: 256 * 1024 * 1024, timeout: None, interrupt: None }
    }
}

/// What a helper wrote and how it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Its answer. Believe it only when `status` is exit code 0.
    pub bytes: Vec<u8>,
    /// How it ended.
    pub status: ExitState,
    /// Its CPU time in user mode in microseconds.
    pub cpu_user_us: u64,
    /// Its CPU time in the kernel in microseconds.
    pub cpu_system_us: u64,
}

/// Why a helper gave no answer. It is dead and reaped when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// It was never started.
    #[error("the helper process {name} was not started: {source}")]
    Fork {
        /// The helper's name.
        name: String,
        /// Why.
        source: ForkError,
    },
    /// The pipe or the wait failed.
    #[error("the helper process {name} can't be heard: {source}")]
    Io {
        /// The helper's name.
        name: String,
        /// The system's answer.
        source: io::Error,
    },
    /// The answer was too long.
    #[error("the helper process {name} wrote more than {limit} bytes and was killed")]
    TooLong {
        /// The helper's name.
        name: String,
        /// The limit in bytes.
        limit: usize,
    },
    /// It took too long.
    #[error("the helper process {name} did not answer within {after:?} and was killed")]
    TimedOut {
        /// The helper's name.
        name: String,
        /// The time that it had.
        after: Duration,
    },
    /// The interrupting descriptor became readable.
    #[error("the helper process {name} was killed because of an interruption")]
    Interrupted {
        /// The helper's name.
        name: String,
    },
    /// A serving helper ended before it wrote its first line.
    #[error("the helper process {name} ended before it was ready: {status}")]
    NotReady {
        /// The helper's name.
        name: String,
        /// How it ended.
        status: ExitState,
        /// What it wrote.
        bytes: Vec<u8>,
    },
}

/// Runs `body` in a helper process and returns what it wrote. See [`run_helper_with`].
pub fn run_helper(name: &str, body: impl FnOnce(&mut dyn Write) -> u8) -> Result<Output, HelperError> {
    run_helper_with(&HelperOptions::named(name), body)
}

/// Runs `body` in a helper process, reads what it writes up to end of file, and reaps exactly this child. The helper
/// exits with the code that `body` returns. The same precautions as for [`fork_child`] hold for what `body` captures.
pub fn run_helper_with(options: &HelperOptions<'_>, body: impl FnOnce(&mut dyn Write) -> u8) -> Result<Output, HelperError> {
    AskedHelper::begin(options.clone(), body)?.answer()
}

/// A helper that works on its answer while this process does something else. Dropping it ends it.
#[derive(Debug)]
pub struct AskedHelper<'a> {
    helper: RunningHelper,
    options: HelperOptions<'a>,
    deadline: Option<Instant>,
}

impl<'a> AskedHelper<'a> {
    /// Runs `body` in a helper process, and does not wait. What is said of [`run_helper_with`] holds.
    pub fn begin(options: HelperOptions<'a>, body: impl FnOnce(&mut dyn Write) -> u8) -> Result<AskedHelper<'a>, HelperError> {
        let mut helper = RunningHelper::fork(&options.name, |ends| {
            let mut answer = BufWriter::new(File::from(ends.events));
            let code = body(&mut answer);
            if answer.flush().is_ok() { code } else { EXIT_NOT_WRITTEN }
        })?;
        helper.patience = Duration::ZERO; // An answer that is no longer waited for is not worth a pause.
        let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
        Ok(AskedHelper { helper, options, deadline })
    }

    /// Waits for the answer.
    pub fn answer(mut self) -> Result<Output, HelperError> {
        let mut bytes = Vec::new();
        self.helper.read(&mut bytes, &self.options, self.deadline, Until::Eof)?;
        let Some(reaped) = self.helper.wait(self.deadline)? else { return Err(timed_out(&self.options)) };
        let Reaped { state, cpu_user_us, cpu_system_us, .. } = reaped;
        Ok(Output { bytes, status: state, cpu_user_us, cpu_system_us })
    }
}

/// Starts a helper that writes one line when it is ready and then serves until its control pipe closes (which it sees
/// with [`ChildEnds::wait_for_close`]). Returns when the line came. `options.max_bytes` and `options.timeout` are for
/// that line.
pub fn start_helper(options: &HelperOptions<'_>, body: impl FnOnce(ChildEnds) -> u8) -> Result<RunningHelper, HelperError> {
    let mut helper = RunningHelper::fork(&options.name, body)?;
    let deadline = options.timeout.map(|timeout| Instant::now() + timeout);
    let mut bytes = Vec::new();
    if helper.read(&mut bytes, options, deadline, Until::Line)? == Until::Eof {
        let name = options.name.clone();
        return match helper.wait(deadline)? {
            Some(reaped) => Err(HelperError::NotReady { name, status: reaped.state, bytes }),
            None => Err(timed_out(options)),
        };
    }
    bytes.truncate(bytes.iter().position(|byte| *byte == b'\n').unwrap_or(bytes.len()));
    helper.ready = bytes;
    Ok(helper)
}

/// Starts a helper that tells of its work as it goes, and does not wait. The caller reads [`RunningHelper::events`] up
/// to end of file, then stops it. The same precautions as for [`fork_child`] hold for what `body` captures.
pub fn begin_helper(name: &str, body: impl FnOnce(ChildEnds) -> u8) -> Result<RunningHelper, HelperError> {
    RunningHelper::fork(name, body)
}

fn timed_out(options: &HelperOptions<'_>) -> HelperError {
    HelperError::TimedOut { name: options.name.clone(), after: options.timeout.unwrap_or_default() }
}

/// What ends a reading.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    Line,
    Eof,
}

/// A helper process that serves. Dropping it stops it as [`RunningHelper::stop`] does.
#[derive(Debug)]
pub struct RunningHelper {
    /// Its process id.
    pub pid: Pid,
    /// The line that it wrote when it was ready, without the newline.
    pub ready: Vec<u8>,
    name: String,
    events: OwnedFd,
    /// `None` once it was told to stop.
    control: Option<OwnedFd>,
    /// Known once it was reaped, here or by the caller's loop: from then on its process id is never used again.
    reaped: bool,
    patience: Duration,
}

impl RunningHelper {
    fn fork(name: &str, body: impl FnOnce(ChildEnds) -> u8) -> Result<RunningHelper, HelperError> {
        let forked = fork_child(&ChildSettings::named(name), body);
        let Child { pid, events, control } = forked.map_err(|source| HelperError::Fork { name: name.to_owned(), source })?;
        let name = name.to_owned();
        Ok(RunningHelper {
            pid,
            ready: Vec::new(),
            name,
            events,
            control: Some(control),
            reaped: false,
            patience: DROP_PATIENCE,
        })
    }

    /// Becomes readable when the helper dies or writes more than its first line.
    pub fn events(&self) -> BorrowedFd<'_> {
        self.events.as_fd()
    }

    /// Sends a word to the helper (which hears it with [`ChildEnds::wait_for_word`]). Never blocks: an error means that
    /// the helper is gone, or that it left more than a pipe holds unread.
    pub fn tell(&self, word: &[u8]) -> io::Result<()> {
        let control = self.control.as_ref().ok_or(io::ErrorKind::BrokenPipe)?;
        let written = nix::unistd::write(control, word)?;
        if written == word.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }

    /// Appends what the helper wrote after its first line; does not wait. False: it has closed its pipe, which only its
    /// end does.
    pub fn hear(&self, into: &mut Vec<u8>) -> io::Result<bool> {
        let mut block = [0; 4096];
        loop {
            match nix::unistd::read(&self.events, &mut block) {
                Ok(0) => return Ok(false),
                Ok(count) => into.extend_from_slice(&block[..count]),
                Err(Errno::EAGAIN) => return Ok(true),
                Err(Errno::EINTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Tells this handle about a child that [`reap_all`](crate::reap_all) found. True when it was this helper, which is
    /// then gone.
    pub fn note_reaped(&mut self, reaped: &Reaped) -> bool {
        let own = !self.reaped && reaped.pid == self.pid;
        self.reaped |= own;
        own
    }

    /// Closes the control pipe, waits up to `timeout` for the helper to end, then kills it, and reaps it. `None` when
    /// it was reaped elsewhere before.
    pub fn stop(mut self, timeout: Duration) -> Result<Option<Reaped>, HelperError> {
        self.shut_down(timeout)
    }

    fn shut_down(&mut self, timeout: Duration) -> Result<Option<Reaped>, HelperError> {
        self.control = None;
        if self.reaped {
            return Ok(None);
        }
        let ended = match wait_until(self.pid, Some(Instant::now() + timeout)) {
            Ok(None) => {
                send_signal(self.pid, Signal::SIGKILL).map_err(self.io_error())?;
                wait_until(self.pid, None)
            }
            other => other,
        };
        self.reaped = true;
        match ended {
            Ok(reaped) => Ok(reaped),
            Err(Errno::ECHILD) => Ok(None),
            Err(errno) => Err(self.io_error()(errno.into())),
        }
    }

    /// Waits for the end of a helper that closed its pipe. `None`: not before the deadline.
    fn wait(&mut self, deadline: Option<Instant>) -> Result<Option<Reaped>, HelperError> {
        let waited = wait_until(self.pid, deadline).map_err(|errno| self.io_error()(errno.into()))?;
        self.reaped = waited.is_some();
        Ok(waited)
    }

    fn read(
        &self,
        bytes: &mut Vec<u8>,
        options: &HelperOptions<'_>,
        deadline: Option<Instant>,
        until: Until,
    ) -> Result<Until, HelperError> {
        let mut block = vec![0; 64 * 1024];
        loop {
            self.wait_readable(options, deadline)?;
            match nix::unistd::read(&self.events, &mut block) {
                Ok(0) => return Ok(Until::Eof),
                Ok(count) => bytes.extend_from_slice(&block[..count]),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(errno) => return Err(self.io_error()(errno.into())),
            }
            if until == Until::Line && bytes.contains(&b'\n') {
                return Ok(Until::Line);
            }
            if bytes.len() > options.max_bytes {
                return Err(HelperError::TooLong { name: self.name.clone(), limit: options.max_bytes });
            }
        }
    }

    fn wait_readable(&self, options: &HelperOptions<'_>, deadline: Option<Instant>) -> Result<(), HelperError> {
        let mut entries = vec![(false, self.events.as_fd(), Interest::Read)];
        entries.extend(options.interrupt.map(|fd| (true, fd, Interest::Read)));
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let ready = poll(&entries, left).map_err(self.io_error())?;
        if ready.is_empty() {
            return Err(timed_out(options));
        }
        if ready.iter().any(|ready| ready.token) {
            return Err(HelperError::Interrupted { name: self.name.clone() });
        }
        Ok(())
    }

    fn io_error(&self) -> impl FnOnce(io::Error) -> HelperError {
        let name = self.name.clone();
        move |source| HelperError::Io { name, source }
    }
}

impl Drop for RunningHelper {
    fn drop(&mut self) {
        // An error can't be told here, and a helper that can't be killed dies with this process.
        let _ = self.shut_down(self.patience);
    }
}
