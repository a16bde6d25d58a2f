//! What all phases of a run have.

use std::path::PathBuf;

use migration::cause::one_line;
use migration::{Job, UserError};
use process::RunningHelper;
use supervisor::{StateDir, StateError, Store};

use super::earlier::Restart;
use super::retried::RetriedJob;
use crate::embedded;
use crate::interrupt::{self, Interrupt};
use crate::ui::Ui;

/// A run, from its beginning to its end.
pub struct Pass<'a> {
    /// What is to be done. Its brokers have addresses.
    pub job: Job,
    /// The job's folder, locked.
    pub dir: StateDir,
    /// Whether this process sends by itself.
    pub single: bool,
    /// Whether new files are added to the plan.
    pub add: bool,
    /// Signals while no loop takes them.
    pub interrupt: Interrupt,
    /// The embedded broker, if it is used.
    pub broker: Option<RunningHelper>,
    /// Whether it starts over.
    pub restart: Restart,
    /// Which start of the job Kafka has, with exactly-once; 0: none.
    pub generation: u32,
    /// Whether the plan that Kafka has was made in another folder, with exactly-once.
    pub begun_elsewhere: bool,
    /// Why it begins anew though there is a state, of which nothing was sent.
    pub anew: Option<String>,
    /// The job whose dead letters it sends again, if it does that.
    pub retried: Option<RetriedJob>,
    /// Where words go.
    pub ui: &'a Ui,
}

impl<'a> Pass<'a> {
    /// Takes the signals, and starts the embedded broker if the job wants it.
    pub fn begin(mut job: Job, dir: StateDir, single: bool, add: bool, ui: &'a Ui) -> Result<Self, UserError> {
        let interrupt = Interrupt::new()?;
        interrupt::hold_steering()?;
        let broker = embedded::start_if_wanted(&mut job)?;
        Ok(Pass {
            job,
            dir,
            single,
            add,
            interrupt,
            broker,
            restart: Restart::No,
            generation: 0,
            begun_elsewhere: false,
            anew: None,
            retried: None,
            ui,
        })
    }

    /// Where the checkpoint is.
    pub fn store_path(&self) -> PathBuf {
        StateDir::store_path(self.dir.path())
    }

    /// The checkpoint. No connection to it may be open across a fork.
    pub fn store(&self) -> Result<Store, StateError> {
        Store::open(&self.store_path())
    }

    /// Keeps in the job's history that it was not gone on with.
    pub fn refused(&self, error: UserError) -> UserError {
        note_refusal(&self.dir, &error);
        error
    }
}

/// A run that was refused before it began is none of the job's runs: its history tells of it, so that a later look at
/// the job shows that it was wanted.
pub fn note_refusal(dir: &StateDir, error: &UserError) {
    let text = format!("not begun (exit {}): {}", error.exit.code(), one_line(&error.messages().join("; ")));
    let noted = Store::open(&StateDir::store_path(dir.path())).and_then(|mut store| store.note_refusal(&text));
    if let Err(error) = noted {
        tracing::debug!("the job's history does not tell of this: {error}");
    }
}
