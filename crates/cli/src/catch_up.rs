//! The state here of a job with exactly-once delivery is a copy of what its progress topic has: before a command judges
//! by it, it is brought up to that.
//!
//! Responsible for: doing so, and for whether the job went on elsewhere since. Not responsible for `run`, which agrees
//! with the topic on its own terms (`commands::run`).

use std::path::Path;

use kafka::progress::{self, JobLook};
use migration::fixed::FixedSettings;
use migration::job::Delivery;
use migration::printable::printable;
use migration::units::show_things;
use migration::{Exit, Job, JobInTopic, LedgerEntry, Plan, Purpose, ShardId, StoredJob, StoredPlan, UserError, fixed};
use supervisor::{JobState, StateDir, StateError, Store};

use crate::fill::require_letters;
use crate::retries::{Retries, RetryPlace};
use crate::{helper, preflight, state};

/// What the topic had of a job when it was asked.
pub struct CaughtUp {
    /// The job as it delivered, if that was exactly once.
    job: Option<Job>,
    stored: Option<StoredJob>,
}

/// Brings the state in a folder up to what Kafka has. Nothing is asked of a job that delivers at least once.
pub fn catch_up(job: &Job, folder: &Path) -> Result<CaughtUp, UserError> {
    let state = load(folder)?;
    let Some(topic) = fixed::progress_topic(&state.settings) else { return Ok(CaughtUp { job: None, stored: None }) };
    preflight::require_cluster(job, Purpose::Compare, &state.binding, None)?;
    let mut job = job.clone();
    job.kafka.delivery = Delivery::ExactlyOnce;
    job.checkpoint.topic = topic;
    let stored = match ask(&job, JobLook::Begun).and_then(|found| whole(&job, &state, found)) {
        Ok(stored) => stored,
        // All was sent, and so the state says. Brokers that don't answer now can't be compared with either.
        Err(error) if state.is_done() && error.exit != Exit::Stopped => {
            tracing::warn!("{}: what the state in this folder says is taken for true", error.message);
            None
        }
        Err(error) => return Err(error),
    };
    if let Some(stored) = &stored {
        take(&job, folder, &state, stored)?;
    }
    let caught_up = CaughtUp { job: Some(job), stored };
    caught_up.require_no_other_retry(folder)?;
    Ok(caught_up)
}

impl CaughtUp {
    /// Whether the job delivers exactly once.
    pub fn is_exactly_once(&self) -> bool {
        self.job.is_some()
    }

    /// Refuses a judgement while which the job, or one that sent its dead letters again, went on elsewhere.
    pub fn require_same(&self, folder: &Path) -> Result<(), UserError> {
        let (Some(job), Some(stored)) = (&self.job, &self.stored) else { return Ok(()) };
        if !matches!(ask(job, JobLook::Begun)?, JobInTopic::Whole(now) if *now == *stored) {
            let what = format!("not judged: job {} went on elsewhere while topic and source were compared", job.name);
            return Err(UserError::new(Exit::Stopped, what).hint("run the same command again when it has ended"));
        }
        self.require_no_other_retry(folder)
    }

    /// What a retry sends is in its own folder alone: of one that was begun elsewhere nothing is known here but that.
    /// One that was prepared here and sent nothing may have been begun elsewhere meanwhile.
    fn require_no_other_retry(&self, folder: &Path) -> Result<(), UserError> {
        let (Some(job), Some(_)) = (&self.job, &self.stored) else { return Ok(()) };
        let state = load(folder)?;
        let retries = Retries::of_state(folder, &state)?;
        let next = RetryPlace::of(&job.name, folder, retries.next).name;
        let prepared = retries.all.iter().filter(|retry| retry.state.last_run == 0);
        let prepared = prepared.map(|retry| (retry.place.name.clone(), Some(retry.state.incarnation())));
        for (name, here) in prepared.chain([(next, None)]) {
            if let JobInTopic::Whole(retry) = ask(&Job { name: name.clone(), ..job.clone() }, JobLook::Begun)?
                && retry.plan.parent_ms == Some(state.origin.created_ms)
                && here != Some(retry.plan.of)
            {
                return Err(begun_elsewhere(&name, &job.name, &retry.plan.made_by));
            }
        }
        Ok(())
    }
}

/// What a retry of the job took was begun elsewhere, and is known there alone.
pub fn begun_elsewhere(retry: &str, job: &str, made_by: &str) -> UserError {
    let what = format!(
        "{retry} sends dead letters of job {job} again, and was begun by {}: which, and how far it is, is known in that folder alone",
        printable(made_by)
    );
    let hint = format!("do this there; once it is done, that folder can be brought here (as {retry}, beside the job's own)");
    UserError::new(Exit::Preflight, what).hint(hint)
}

fn load(folder: &Path) -> Result<JobState, UserError> {
    Store::read_only(&StateDir::store_path(folder)).and_then(|store| store.load()).map_err(state::unusable)
}

/// What the progress topic has of a job.
pub fn ask(job: &Job, look: JobLook) -> Result<JobInTopic, UserError> {
    let purpose = Purpose::Compare;
    helper::ask("shardlift progress", None, || {
        progress::read_job(job, look, purpose.patience(job)).map_err(|problem| preflight::explain(problem, purpose))
    })
}

/// The job as the topic has it; `None`: there is nothing, and nothing was sent.
fn whole(job: &Job, state: &JobState, found: JobInTopic) -> Result<Option<StoredJob>, UserError> {
    match found {
        JobInTopic::Whole(stored) => Ok(Some(*stored)),
        JobInTopic::Nothing if !state.is_begun() => Ok(None),
        JobInTopic::Nothing => {
            Err(UserError::new(Exit::Preflight, gone(job, state)).hint("find out what happened to the topic"))
        }
        JobInTopic::Damaged(damage) => Err(UserError::new(Exit::Preflight, damage.what)),
    }
}

/// What the topic has more of a job than a state.
pub struct Ahead {
    /// How far shards are by now.
    pub shards: Vec<(ShardId, LedgerEntry)>,
    /// The settings, if another run changed where dead letters go.
    pub settings: Option<FixedSettings>,
}

impl Ahead {
    /// It, if there is something, and the state in this folder can take it over.
    pub fn of(job: &Job, folder: &Path, state: &JobState, stored: &StoredJob) -> Result<Option<Ahead>, UserError> {
        let is_ahead = |(id, entry): &&(ShardId, LedgerEntry)| {
            state.shards.get(id.0 as usize).is_some_and(|shard| entry.position > shard.position)
        };
        let shards: Vec<_> = stored.shards.iter().filter(is_ahead).cloned().collect();
        let moved = fixed::differ_in_letters_alone(&state.settings, &stored.plan.settings);
        if shards.is_empty() && !moved {
            return Ok(None);
        }
        require_letters(job, folder, &stored.plan, &shards)?;
        check_entries(job, &state.plan, &shards)?;
        Ok(Some(Ahead { shards, settings: moved.then(|| stored.plan.settings.clone()) }))
    }

    /// Puts it into the state.
    pub fn adopt(&self, store: &mut Store) -> Result<(), StateError> {
        if let Some(settings) = &self.settings {
            let place = fixed::letters_topic(settings).map_or_else(|| "files".to_owned(), |topic| format!("topic {topic}"));
            store.change_settings(settings, &format!("dead letters go to {place}: that was changed at another place"))?;
        }
        store.adopt(&self.shards)
    }
}

/// A state that took over what can't be of its shards could not be read again.
pub fn check_entries(job: &Job, plan: &Plan, entries: &[(ShardId, LedgerEntry)]) -> Result<(), UserError> {
    let wrong = |(id, entry): &(ShardId, LedgerEntry)| {
        let Some(shard) = plan.shards.get(id.0 as usize) else { return Some(format!("shard {id} is not in its plan")) };
        entry.check(plan.segments(shard), shard).err().map(|why| format!("shard {id}: {why}"))
    };
    let Some(why) = entries.iter().find_map(wrong) else { return Ok(()) };
    let what = format!(
        "topic {} has progress of job {} that its plan does not fit, which another program wrote, or a run that went on with \
         another file: {why}",
        job.checkpoint.topic, job.name
    );
    Err(UserError::new(Exit::Preflight, what)
        .hint("go on where the job ran last; or start over with --restart, which sends everything again"))
}

/// Puts into the state here what is ahead of it.
fn take(job: &Job, folder: &Path, state: &JobState, stored: &StoredJob) -> Result<(), UserError> {
    let here = state.incarnation();
    if stored.plan.of != here {
        return Err(UserError::new(Exit::Preflight, other_start(job, &stored.plan, here.generation)).hint("do this there"));
    }
    let Some(ahead) = Ahead::of(job, folder, state, stored)? else { return Ok(()) };
    let _held = StateDir::open(folder, state::owners(job)).map_err(|error| UserError::new(error.exit(), error))?;
    let adopted = Store::open(&StateDir::store_path(folder)).and_then(|mut store| ahead.adopt(&mut store));
    adopted.map_err(state::unusable)
}

/// What is said where the topic has nothing of a job that had sent records.
pub fn gone(job: &Job, state: &JobState) -> String {
    format!(
        "topic {} has no progress of job {}, of which {} were committed: the topic was made again, or its records were deleted",
        job.checkpoint.topic,
        job.name,
        show_things(state.counts().acknowledged, "record")
    )
}

/// What is said where the topic has another start of a job than the one of which the state here is.
pub fn other_start(job: &Job, plan: &StoredPlan, here: u32) -> String {
    format!(
        "topic {} has job {} as {} started it (start {}), and the state here is of start {here}",
        job.checkpoint.topic,
        job.name,
        printable(&plan.made_by),
        plan.of.generation
    )
}
