//! Work that needs a client or threads, done in a forked helper process: its answer travels back over a pipe.

use std::io::Write;
use std::marker::PhantomData;
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use migration::{Exit, UserError};
use process::{AskedHelper, ExitState, HelperError, HelperOptions, Interest};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::interrupt::Interrupt;

mod team;

pub use team::{Heard, Voice, together};

/// How long threads of a Kafka client may take to end after the client: as long as resolvers usually ask for one name.
const THREADS_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at how many threads there are.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Waits until this process may fork again after it had a Kafka client: a thread that looks up a name ends only with
/// the look-up. False: it still has other threads after [`THREADS_PATIENCE`], or a signal came.
pub fn wait_until_alone(interrupt: &Interrupt) -> bool {
    let deadline = Instant::now() + THREADS_PATIENCE;
    while process::thread_count().is_ok_and(|threads| threads > 1) {
        let came = process::poll(&[((), interrupt.as_fd(), Interest::Read)], Some(LOOK_EVERY));
        if Instant::now() >= deadline || came.is_ok_and(|came| !came.is_empty()) {
            return false;
        }
    }
    true
}

/// A helper ended before it gave its answer: killed from outside, or by a fault of its own.
fn no_answer(name: &str, status: ExitState) -> UserError {
    if !status.is_killed() {
        return UserError::new(Exit::Internal, format!("the helper process {name} ended badly: {status}"));
    }
    UserError::new(Exit::Stopped, format!("the helper process {name} was {status} from outside before it had an answer: nothing was judged"))
        .hint(
            "run the same command again; if memory ran out (the kernel then kills with SIGKILL, and its log says so), give the machine or \
             the container more",
        )
}

/// A helper that serves did not begin; `what` says so.
pub fn not_started(what: &str, error: HelperError) -> UserError {
    match error {
        HelperError::NotReady { name, status, .. } if status.is_killed() => no_answer(&name, status),
        error => UserError::new(Exit::Internal, format!("{what}: {error}")),
    }
}

/// Runs `body` in a helper process and returns its answer. A signal that `interrupt` takes kills the helper and ends
/// with 75; without one, signals do to this process what they do by default, and the helper dies with it.
pub fn ask<T: Serialize + DeserializeOwned>(
    name: &str,
    interrupt: Option<&Interrupt>,
    body: impl FnOnce() -> Result<T, UserError>,
) -> Result<T, UserError> {
    QueuedAnswer::begin(name, interrupt, body)?.answer()
}

/// A helper process that works on its answer; dropping it ends it.
pub struct QueuedAnswer<'a, T> {
    helper: AskedHelper<'a>,
    name: String,
    answer: PhantomData<T>,
}

impl<'a, T: Serialize + DeserializeOwned> QueuedAnswer<'a, T> {
    /// Begins as [`ask`] does, and does not wait.
    pub fn begin(
        name: &str,
        interrupt: Option<&'a Interrupt>,
        body: impl FnOnce() -> Result<T, UserError>,
    ) -> Result<QueuedAnswer<'a, T>, UserError> {
        let options = HelperOptions { interrupt: interrupt.map(|interrupt| interrupt.as_fd()), ..HelperOptions::named(name) };
        let begun = AskedHelper::begin(options, |answer: &mut dyn Write| {
            let encoded = postcard::to_stdvec(&body());
            match encoded.map(|bytes| answer.write_all(&bytes)) {
                Ok(Ok(())) => 0,
                Ok(Err(_)) | Err(_) => 1,
            }
        });
        Ok(QueuedAnswer { helper: begun.map_err(failed)?, name: name.to_owned(), answer: PhantomData })
    }

    /// Waits for the answer.
    pub fn answer(self) -> Result<T, UserError> {
        let QueuedAnswer { helper, name, .. } = self;
        let output = helper.answer().map_err(failed)?;
        if !output.status.is_success() {
            return Err(no_answer(&name, output.status));
        }
        postcard::from_bytes::<Result<T, UserError>>(&output.bytes).map_err(|error| {
            UserError::new(Exit::Internal, format!("the helper process {name} gave no readable answer: {error}"))
        })?
    }
}

fn failed(error: HelperError) -> UserError {
    match error {
        HelperError::Interrupted { .. } => UserError::new(Exit::Stopped, "stopped by a signal").hint("run again to go on"),
        error => UserError::new(Exit::Internal, error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_that_was_killed_from_outside_has_judged_nothing() {
        let ended = |status| no_answer("shardlift verif", status);
        let by = |number| ExitState::Signal { number, core: false };
        for (number, name) in [(9, "SIGKILL"), (15, "SIGTERM")] {
            let error = ended(by(number));
            assert_eq!(error.exit, Exit::Stopped);
            assert!(error.message.contains(name) && error.message.contains("nothing was judged"), "{error}");
            let not_ready = HelperError::NotReady { name: "n".into(), status: by(number), bytes: Vec::new() };
            assert_eq!(not_started("it can't be watched", not_ready).exit, Exit::Stopped);
            assert!(error.hint.as_ref().is_some_and(|hint| hint.contains("memory")), "{error}");
        }
        // SIGABRT, SIGSEGV, SIGBUS, a real-time signal; a panic.
        for status in [by(6), by(11), by(7), by(40), ExitState::Code(101), ExitState::Code(1)] {
            assert_eq!(ended(status).exit, Exit::Internal, "{status}");
        }
    }
}
