//! The control plane: which shard is worked on, by which process, how far it has come, and how a run ends.
//!
//! Responsible for the rules of a run ([`machine`]), the wire between supervisor and workers ([`protocol`], [`port`]),
//! the checkpoint ([`store`]), the job's folder and locks ([`state_dir`]), what steers a run from outside ([`control`],
//! [`signals`]), and the loop that joins them ([`run`], [`run_single`]). Not responsible for what a record, a source or
//! Kafka is: what a worker does is a closure, and all that passes between here and there are the plain values of
//! `migration`.

pub mod control;
mod driver;
mod local;
pub mod machine;
mod meters;
mod outage;
mod pace;
pub mod port;
pub mod protocol;
mod random;
pub mod rates;
mod recorder;
pub mod series;
mod setup;
mod shell;
pub mod signals;
pub mod state_dir;
pub mod store;
pub mod watch;

use std::io;
use std::time::Duration;

use migration::report::{Binding, JobReport, ShardTotals, WorkerTotals};
use migration::{Causes, Counts, Exit, Identity};

pub use local::run_single;
pub use machine::{AttemptId, WorkOrder};
pub use port::{SupervisorGone, WorkerPort};
pub use setup::{AutoSlots, Setup, TASKS_OF_A_WORKER};
pub use shell::{Work, run};
pub use state_dir::{Owners, StateDir, StateDirError, StateGuard};
pub use store::{JobState, NewJob, ShardCheckpoint, StateError, Store, load_report, load_samples};
pub use watch::{Snapshot, Watcher, Wish, WorkerView};

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub struct RunEnd {
    /// Everything that speaks against 0; a stop is none when every shard is done.
    pub causes: Causes,
    /// What was committed, over all runs.
    pub counts: Counts,
    /// How many shards are where.
    pub shards: ShardTotals,
    /// How long the run took.
    pub elapsed: Duration,
}

impl RunEnd {
    /// The exit code.
    pub fn exit(&self) -> Exit {
        self.causes.exit()
    }

    /// Why, one sentence each; empty with [`Exit::Done`].
    pub fn reasons(&self) -> Vec<String> {
        self.causes.reasons()
    }

    /// What can be said about the job called `job` when its state can't be read any more: this run's end and its sums.
    pub fn report(&self, job: &str) -> JobReport {
        JobReport {
            name: job.to_owned(),
            outcome: self.exit().into(),
            exit: Some(self.exit()),
            reasons: self.reasons(),
            plan_id: 0,
            binding: Binding::default(),
            source_bytes: 0,
            records_estimate: 0,
            counts: self.counts,
            here: None,
            progress_topic: None,
            resent: None,
            accepted: Vec::new(),
            shards: self.shards,
            workers: WorkerTotals::default(),
            elapsed_us: u64::try_from(self.elapsed.as_micros()).unwrap_or(u64::MAX),
            cpu_supervisor_us: 0,
            cpu_workers_us: 0,
            peak_worker_memory_bytes: None,
            work: migration::Work::default(),
            order: None,
            keyed: None,
            shard_reports: Vec::new(),
            attempts: Vec::new(),
            runs: Vec::new(),
            events: Vec::new(),
            outages: Vec::new(),
            notices: Vec::new(),
            steering: Vec::new(),
            verified: None,
        }
    }
}

/// Why a run could not begin or go on.
#[derive(Debug, thiserror::Error)]
pub enum SupervisorError {
    /// The checkpoint.
    #[error(transparent)]
    State(#[from] StateError),
    /// The plan is not the one that the checkpoint was made for.
    #[error("the plan is not the one in the state; continue with the stored plan, or start over with --restart")]
    ForeignPlan,
    /// The job's folder.
    #[error(transparent)]
    Folder(#[from] StateDirError),
    /// Signals can't be received.
    #[error("signals can't be received through a descriptor: {0}; look at the descriptor limit (ulimit -n)")]
    Signals(#[source] io::Error),
    /// The loop can't wait.
    #[error("poll(2) failed in the supervisor's loop: {0}")]
    Poll(#[source] io::Error),
}

impl SupervisorError {
    /// The exit code that fits.
    pub fn exit(&self) -> Exit {
        match self {
            SupervisorError::State(_) => Exit::State,
            SupervisorError::Folder(error) => error.exit(),
            SupervisorError::ForeignPlan => Exit::Source,
            SupervisorError::Signals(_) | SupervisorError::Poll(_) => Exit::Internal,
        }
    }
}

/// The id of a plan: a hash over a canonical encoding of everything that must not change between two runs.
pub fn plan_id(identity: &Identity<'_>) -> u128 {
    let canonical = postcard::to_stdvec(identity).expect("plain values without maps or unknown lengths can always be encoded");
    xxhash_rust::xxh3::xxh3_128(&canonical)
}
