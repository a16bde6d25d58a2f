//! Starts the process of a run (this program again, so that nothing is inherited but what it is told), tells it what to
//! do, looks at it while it works, and hears its result.

use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use process::{Interest, poll};

use super::sampler::Sampler;
use super::spec::{RoundResult, RoundSpec};
use crate::figures::Round;

/// The hidden command that serves a run.
pub const COMMAND: &str = "compare-round";

/// What a run has beyond its clock for connecting and delivering; [`PATIENCE_EACH`] is added for each worker.
const PATIENCE: Duration = Duration::from_secs(120);
const PATIENCE_EACH: Duration = Duration::from_secs(2);

/// A run that gave no result.
#[derive(Debug)]
pub(crate) enum NoResult {
    /// The user wants everything to end.
    Interrupted,
    /// The process failed; the comparison goes on without this round.
    Failed(String),
}

/// A process that is killed with its children when this goes out of scope.
struct RunProcess(Child);

impl Drop for RunProcess {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            // It leads a group of its own, in which its workers are too.
            drop(process::kill_group(self.0.id()));
            drop(self.0.wait());
        }
    }
}

/// Runs it to its end. `interrupt` is readable when the user wants everything to end; it is not read.
pub(crate) fn run(spec: &RoundSpec, interrupt: BorrowedFd<'_>) -> Result<Round, NoResult> {
    let failed = |what: &'static str| move |error: std::io::Error| NoResult::Failed(format!("{what}: {error}"));
    let mut child = start().map(RunProcess).map_err(failed("the process of the run was not started"))?;
    let bytes = postcard::to_stdvec(spec).map_err(|error| NoResult::Failed(error.to_string()))?;
    if let Some(mut stdin) = child.0.stdin.take() {
        stdin.write_all(&bytes).map_err(failed("the process of the run can't be told what to do"))?;
    }
    let Some(stdout) = child.0.stdout.take() else { return Err(NoResult::Failed("it has no output".into())) };
    let mut sampler = Sampler::new(child.0.id());
    let patience = spec.duration + PATIENCE + PATIENCE_EACH * spec.setting.workers;
    let answer = hear(stdout, interrupt, &mut sampler, Instant::now() + patience)?;
    let status = child.0.wait().map_err(failed("the process of the run can't be waited for"))?;
    if !status.success() {
        return Err(NoResult::Failed(format!("the process of the run ended with {status}")));
    }
    let RoundResult { mut round, began_us, ended_us } =
        postcard::from_bytes(&answer).map_err(|error| NoResult::Failed(format!("the run's answer makes no sense: {error}")))?;
    sampler.fill(&mut round, began_us, ended_us);
    Ok(round)
}

fn start() -> std::io::Result<Child> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("shardlift").arg(COMMAND).stdin(Stdio::piped()).stdout(Stdio::piped());
    // A group of its own: a terminal's Ctrl-C is this process's to deal with.
    process::default_signals_for(&mut command).process_group(0).spawn()
}

/// Everything that the run says, up to its end.
fn hear(
    mut stdout: ChildStdout,
    interrupt: BorrowedFd<'_>,
    sampler: &mut Sampler,
    deadline: Instant,
) -> Result<Vec<u8>, NoResult> {
    let mut answer = Vec::new();
    let mut block = vec![0; 64 * 1024];
    loop {
        sampler.look();
        let entries = [(true, stdout.as_fd(), Interest::Read), (false, interrupt, Interest::Read)];
        let ready = poll(&entries, Some(sampler.patience())).map_err(|error| NoResult::Failed(error.to_string()))?;
        if ready.iter().any(|ready| !ready.token) {
            return Err(NoResult::Interrupted);
        }
        if !ready.is_empty() {
            match stdout.read(&mut block) {
                Ok(0) => return Ok(answer),
                Ok(count) => answer.extend_from_slice(&block[..count]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(NoResult::Failed(error.to_string())),
            }
        }
        if Instant::now() >= deadline {
            return Err(NoResult::Failed("the process of the run did not come to an end and was killed".into()));
        }
    }
}
