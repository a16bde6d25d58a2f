//! What an earlier run left of a job, and whether this one can go on with it.

use migration::report::Binding;
use migration::resume::{self, Now, Then};
use migration::{Accept, Exit, Identity, Job, UserError};
use supervisor::{JobState, Owners, StateDir, StateError, Store};

/// Whose folder may be used.
pub fn owners(job: &Job) -> Owners {
    if job.accepts(Accept::Owner) { Owners::Any } else { Owners::Trusted }
}

/// What an earlier run left.
#[derive(Debug)]
pub struct Earlier {
    /// Its state.
    pub state: JobState,
    /// How many records each partition acknowledged.
    pub sent: Vec<u64>,
}

impl Earlier {
    /// Reads it.
    pub fn of(store: &Store) -> Result<Earlier, StateError> {
        Ok(Earlier { state: store.load()?, sent: supervisor::load_report(store, false)?.work.partitions })
    }

    /// Whether a run can go on with it. Returns warnings.
    pub fn may_go_on(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        resume::may_go_on(job, &self.then(), &self.now(job, now))
    }

    /// Whether the topic can be compared with it. Returns warnings.
    pub fn may_be_compared(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        resume::may_be_compared(job, &self.then(), &self.now(job, now))
    }

    fn then(&self) -> Then<'_> {
        let JobState { binding, plan_id, plan, .. } = &self.state;
        Then { binding, plan_id: *plan_id, max_line: plan.max_line, sent: &self.sent }
    }

    fn now<'a>(&self, job: &Job, binding: &'a Binding) -> Now<'a> {
        let plan_id = supervisor::plan_id(&Identity::of(job, self.state.frozen_plan(), &self.state.binding));
        Now { binding, plan_id }
    }
}

/// How a job that has run stands, without any lock.
pub fn stored(job: &Job) -> Result<Option<JobState>, UserError> {
    let path = StateDir::store_path(&job.state_path());
    if !Store::exists(&path) {
        return Ok(None);
    }
    Store::read_only(&path).and_then(|store| store.load()).map(Some).map_err(unusable)
}

/// An error of the checkpoint as the user sees it.
pub fn unusable(error: StateError) -> UserError {
    UserError::new(Exit::State, error)
}
