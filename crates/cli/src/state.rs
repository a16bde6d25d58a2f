//! What an earlier run left of a job, and whether this one can go on with it.

use std::path::Path;

use migration::printable::printable_path;
use migration::report::Binding;
use migration::resume::{self, Anew, Now, Then};
use migration::units::show_things;
use migration::{Accept, Exit, Identity, Job, UserError, fixed, order};
use pipeline::dead_letter;
use supervisor::{JobState, Owners, StateDir, StateError, Store};

/// Whose folder may be used.
pub fn owners(job: &Job) -> Owners {
    if job.accepts(Accept::Owner) { Owners::Any } else { Owners::Trusted }
}

/// What an earlier run left.
#[derive(Clone, Debug)]
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
        let warnings = resume::may_go_on(job, &self.then(), &self.now(job, now))?;
        self.leaves_no_letters(job)?;
        Ok(warnings)
    }

    /// The same, and whether the order that is asked for is the plan's.
    pub fn goes_on(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        let mut warnings = self.may_go_on(job, now)?;
        warnings.extend(order::may_go_on(job, &self.state.plan)?);
        Ok(warnings)
    }

    /// An error if dead letters are to go elsewhere, and a worker that died left some in files that are not committed:
    /// nothing would cut them off any more.
    fn leaves_no_letters(&self, job: &Job) -> Result<(), UserError> {
        let settings = &self.state.settings;
        if fixed::letters_topic(settings).is_some() || resume::letters_move(job, settings).is_none() {
            return Ok(());
        }
        let folder = StateDir::dead_letters_path(&job.state_path());
        let left = dead_letter::uncommitted(&folder, &self.state.letters(), process::open_private_below).map_err(|error| {
            UserError::new(Exit::State, format!("cannot read dead letters in {}: {error}", printable_path(&folder)))
        })?;
        if left == 0 {
            return Ok(());
        }
        let (letters, folder) = (show_things(left, "dead letter"), printable_path(&folder));
        let why = format!("a worker that died left {letters} in {folder}, not committed, which the next run looks after");
        Err(resume::letters_stay(job, settings, why))
    }

    /// Whether the topic can be compared with it. Returns warnings.
    pub fn may_be_compared(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        resume::may_be_compared(job, &self.then(), &self.now(job, now))
    }

    /// Whether its dead letters can be sent again with what the config says now. Returns warnings.
    pub fn may_retry(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        resume::may_retry(job, &self.then(), now)
    }

    /// Whether no record is known to have been acknowledged.
    pub fn sent_nothing(&self) -> bool {
        self.state.counts().acknowledged == 0 && self.sent.iter().all(|records| *records == 0)
    }

    /// Whether a run that is refused begins the job anew instead, because nothing of it was sent; with what is told.
    pub fn begins_anew(&self, job: &Job, now: &Binding, refused: &UserError) -> Option<Anew> {
        resume::begins_anew(job, &self.then(), now, refused)
    }

    fn then(&self) -> Then<'_> {
        let JobState { binding, plan_id, settings, .. } = &self.state;
        let counts = self.state.counts();
        Then {
            binding,
            plan_id: *plan_id,
            settings,
            acknowledged: counts.acknowledged,
            sent: &self.sent,
            letters: counts.dead_lettered,
            uncertain: !self.state.uncertain.is_empty(),
        }
    }

    fn now<'a>(&self, job: &Job, binding: &'a Binding) -> Now<'a> {
        let plan_id = supervisor::plan_id(&Identity::of(job, self.state.frozen_plan(), &self.state.binding));
        Now { binding, plan_id }
    }
}

/// What a job's runs left, without any lock.
pub fn stored(job: &Job) -> Result<Option<Earlier>, UserError> {
    let folder = job.state_path();
    if !exists(&folder)? {
        return Ok(None);
    }
    let path = StateDir::store_path(&folder);
    Store::read_only(&path).and_then(|store| Earlier::of(&store)).map(Some).map_err(unusable)
}

/// Whether a job has a state in its folder; an error where another user's rights hide it.
pub fn exists(folder: &Path) -> Result<bool, UserError> {
    StateDir::has_store(folder).map_err(|error| UserError::new(error.exit(), error))
}

/// An error of the checkpoint as the user sees it.
pub fn unusable(error: StateError) -> UserError {
    UserError::new(Exit::State, error)
}
