//! What the progress topic has of a job with exactly-once delivery: it says how far the job is, and the state on disk
//! is a copy of it.
//!
//! Responsible for: whether the state here and the progress in Kafka are of the same start of the job (which `check`
//! asks, too, and changes nothing), and keeping a new job's plan there. Not responsible for making the state of what
//! Kafka has (`fill`), or for how far a shard is when its attempt begins: its worker asks for that itself.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use kafka::progress::{self, JobLook, Written};
use migration::printable::{printable, printable_path};
use migration::{
    DamagedJob, Exit, Incarnation, Job, JobInTopic, Plan, Purpose, StateOrigin, StoredJob, StoredPlan, TopicLedger, UserError,
    fixed,
};
use supervisor::{JobState, NewJob};

use super::earlier::{Restart, confirm};
use super::pass::Pass;
use super::retried::RetriedJob;
use crate::catch_up::Ahead;
use crate::fill::{fill, require_letters};
use crate::state::{self, Earlier};
use crate::{catch_up, helper, preflight};

/// What to do where the progress topic can't be trusted.
const START_OVER: &str = "find out what happened to the topic; --restart starts over, and sends everything again";

/// What a run goes on from, by what Kafka has of the job and what is here.
pub enum Agreed {
    /// The state here; without one the job begins.
    Here,
    /// The job begins, whatever is here.
    Nothing,
    /// The same, if the user confirms it.
    StartsOver,
    /// The state here, with what Kafka has more.
    Ahead(Ahead),
    /// What Kafka has, of which a state is made here.
    Elsewhere(Box<StoredJob>),
}

/// What is here of a job, and what is wanted of it.
pub struct Side<'a> {
    pub job: &'a Job,
    /// The job's folder.
    pub folder: &'a Path,
    /// What an earlier run left there.
    pub state: Option<&'a JobState>,
    /// Whether it sends records of another job again.
    pub retry: bool,
    /// Whether it is to start over.
    pub restart: bool,
}

/// How long a run waits for what Kafka has of a job, and what it has to find. `here`: an earlier run left a state.
pub fn look(here: bool) -> (Purpose, JobLook) {
    if here { (Purpose::GoOn, JobLook::Plan) } else { (Purpose::Begin, JobLook::Any) }
}

/// Judges what a run goes on from, and changes nothing.
pub fn judge(side: &Side<'_>, found: JobInTopic) -> Result<Agreed, UserError> {
    let &Side { job, folder, state: here, retry, restart } = side;
    let stored = match found {
        JobInTopic::Whole(stored) => stored,
        JobInTopic::Damaged(damage) => return over_damage(side, damage),
        JobInTopic::Nothing => {
            return match here {
                // Its plan was not kept in Kafka before it was interrupted.
                Some(state) if state.is_begun() => Err(lost(job, state)),
                _ => Ok(Agreed::Here),
            };
        }
    };
    let there = stored.plan.of;
    match here {
        Some(state) if state.incarnation() == there => {
            // What was committed elsewhere, or was not heard of.
            Ok(Ahead::of(job, folder, state, &stored)?.map_or(Agreed::Here, Agreed::Ahead))
        }
        // It was begun and sent nothing, and what Kafka has is another start of the job.
        Some(state) if !state.is_begun() && state.origin.generation > there.generation => Ok(Agreed::Nothing),
        Some(state) if state.is_begun() => Err(other_start(job, &stored.plan, state.origin.generation)),
        // What it has to send is in this folder alone.
        _ if retry => Ok(Agreed::Nothing),
        _ if restart => Ok(Agreed::StartsOver),
        _ => {
            catch_up::check_entries(job, &stored.plan.plan, &stored.shards)?;
            require_letters(job, folder, &stored.plan, &stored.shards)?;
            Ok(Agreed::Elsewhere(stored))
        }
    }
}

/// Whether a job starts over though its records in Kafka are damaged.
fn over_damage(side: &Side<'_>, damage: DamagedJob) -> Result<Agreed, UserError> {
    // It was to start over already, and ended before its plan was kept in Kafka.
    let begun_over = side.state.is_some_and(|state| !state.is_begun() && state.origin.generation > damage.generation);
    match (begun_over, side.restart) {
        (true, _) => Ok(Agreed::Nothing),
        (false, true) => Ok(Agreed::StartsOver),
        (false, false) => Err(UserError::new(Exit::Preflight, damage.what).hint(START_OVER)),
    }
}

/// Whether the plan that Kafka has was made in another folder than this.
pub fn was_begun_elsewhere(folder: &Path, found: &JobInTopic) -> bool {
    matches!(found, JobInTopic::Whole(stored) if stored.plan.made_by != made_by(folder))
}

/// What an earlier run left, as Kafka has it. The state on disk is brought up to it, or made of it; where the job
/// starts over, nothing is taken from either.
pub fn agree(pass: &mut Pass<'_>, earlier: Option<Earlier>) -> Result<Option<Earlier>, UserError> {
    if !pass.job.exactly_once() {
        return Ok(earlier);
    }
    let (purpose, look) = look(earlier.is_some());
    let job = &pass.job;
    let found = helper::ask("shardlift progress", Some(&pass.interrupt), || {
        progress::read_job(job, look, purpose.patience(job)).map_err(|problem| preflight::explain(problem, purpose))
    })?;
    pass.generation = found.generation();
    if let Some(retried) = &pass.retried {
        retried.may_begin(&pass.job.name, &found, earlier.as_ref().map(|earlier| earlier.state.incarnation()))?;
    }
    pass.begun_elsewhere = was_begun_elsewhere(pass.dir.path(), &found);
    let side = Side {
        job,
        folder: pass.dir.path(),
        state: earlier.as_ref().map(|earlier| &earlier.state),
        retry: pass.retried.is_some(),
        restart: pass.restart != Restart::No,
    };
    match judge(&side, found)? {
        Agreed::Here => Ok(earlier),
        Agreed::Nothing => Ok(None),
        Agreed::StartsOver => confirm(job, pass.restart, pass.ui).map(|()| None),
        Agreed::Ahead(ahead) => bring_up(pass, &ahead).map(Some),
        Agreed::Elsewhere(stored) => fill(job, &pass.dir, &stored, pass.ui).map(Some),
    }
}

/// Ends what other repairs send in the name of this one's job, wherever they run, and tells which start of it that is:
/// what is found missing afterwards, no other one sends, unless it began a later start.
pub fn claim(job: &Job, parent: &JobState, folder: &Path) -> Result<u32, UserError> {
    let found = catch_up::ask(job, JobLook::Begun)?;
    if found.generation() == 0 {
        return Ok(0);
    }
    let mark = StoredPlan { parent_ms: Some(parent.origin.created_ms), ..nothing_to_send(job, parent, &found, folder) };
    helper::ask("shardlift progress", None, || match end_with(job, &mark)? {
        None => Ok(mark.of.generation),
        Some(other) => Err(other_repair(&parent.name, &other)),
    })
}

/// The plan of a start, the next after the one that Kafka has, that sends nothing.
fn nothing_to_send(job: &Job, parent: &JobState, found: &JobInTopic, folder: &Path) -> StoredPlan {
    StoredPlan {
        of: Incarnation { plan_id: 0, generation: found.generation() + 1 },
        name: job.name.clone(),
        created_ms: now_ms(),
        parent_ms: None,
        made_by: made_by(folder),
        plan: Plan::default(),
        binding: parent.binding.clone(),
        settings: parent.settings.clone(),
    }
}

/// Writes a plan in place of the start before it, and ends that. `Some`: another one wrote one, who is named.
fn end_with(job: &Job, plan: &StoredPlan) -> Result<Option<String>, UserError> {
    let ended = progress::write_plan(job, plan, plan.of.generation - 1).and_then(|written| match written {
        Written::Ours => progress::end_older(job, plan.of).map(|()| None),
        Written::Others(other) => Ok(Some(other.plan.made_by)),
    });
    ended.map_err(|problem| preflight::explain(problem, Purpose::Compare))
}

/// Ends what sends records of an older start of the job again, wherever it runs: retries of its dead letters, and
/// repairs. What was ended already has no shards.
fn end_what_sends_again(job: &Job, state: &JobState, folder: &Path) -> Result<(), UserError> {
    for kind in ["retry", "repair"] {
        for number in 1.. {
            let other = Job { name: format!("{}.{kind}-{number}", job.name), ..job.clone() };
            let read = progress::read_job(&other, JobLook::Plan, Purpose::Begin.patience(job));
            let found = read.map_err(|problem| preflight::explain(problem, Purpose::Begin))?;
            match &found {
                JobInTopic::Nothing => break,
                JobInTopic::Whole(stored) if stored.plan.plan.shards.is_empty() => {}
                // Of several that end it at once one does.
                JobInTopic::Whole(_) | JobInTopic::Damaged(_) => {
                    drop(end_with(&other, &nothing_to_send(&other, state, &found, folder))?);
                }
            }
        }
    }
    Ok(())
}

/// Another one sends what a job's topic lacks, too.
pub fn other_repair(job: &str, made_by: &str) -> UserError {
    let what = format!("missing records of job {job} are being sent by {}, too", printable(made_by));
    UserError::new(Exit::Stopped, what).hint("nothing was sent from here; compare again when that has ended")
}

/// Where the workers of a job keep its progress; `None`: not in Kafka.
pub fn ledger_of(pass: &Pass<'_>, state: &JobState) -> Option<TopicLedger> {
    let job = &pass.job;
    job.exactly_once().then(|| TopicLedger {
        topic: job.checkpoint.topic.clone(),
        job: job.name.clone(),
        of: state.incarnation(),
    })
}

/// Which start of it a job's state is of that begins, or starts over.
pub fn origin(pass: &Pass<'_>) -> StateOrigin {
    StateOrigin { generation: pass.generation + 1, created_ms: now_ms(), from_topic: false }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// Keeps the plan of a job that begins in Kafka, unless it is there. No connection to the state may be open.
pub fn publish(pass: &Pass<'_>, state: &JobState) -> Result<(), UserError> {
    let of = state.incarnation();
    if !pass.job.exactly_once() || state.last_run > 0 {
        return Ok(());
    }
    if pass.generation < of.generation {
        write(pass, state)?;
    }
    if of.generation > 1 {
        // Also after a crash in between: what an older start sends, wherever it runs, would be there twice.
        let (job, folder) = (&pass.job, pass.dir.path());
        helper::ask("shardlift progress", Some(&pass.interrupt), || {
            progress::end_older(job, of).map_err(|problem| preflight::explain(problem, Purpose::Begin))?;
            if pass.retried.is_some() { Ok(()) } else { end_what_sends_again(job, state, folder) }
        })?;
    }
    match &pass.retried {
        // Looked at when this one's plan is there: the job, if it starts over, looks for such when its own is.
        Some(retried) => {
            let job = Job { name: retried.name().to_owned(), ..pass.job.clone() };
            let found = helper::ask("shardlift progress", Some(&pass.interrupt), || {
                progress::read_job(&job, JobLook::Plan, Purpose::Begin.patience(&job))
                    .map_err(|problem| preflight::explain(problem, Purpose::Begin))
            })?;
            retried.require_same_start(&found)
        }
        None => Ok(()),
    }
}

fn write(pass: &Pass<'_>, state: &JobState) -> Result<(), UserError> {
    let of = state.incarnation();
    let plan = StoredPlan {
        of,
        name: pass.job.name.clone(),
        created_ms: state.origin.created_ms,
        parent_ms: pass.retried.as_ref().map(RetriedJob::created_ms),
        made_by: made_by(pass.dir.path()),
        plan: state.frozen_plan().clone(),
        binding: state.binding.clone(),
        settings: state.settings.clone(),
    };
    let job = &pass.job;
    let written = helper::ask("shardlift progress", Some(&pass.interrupt), || {
        let written = progress::write_plan(job, &plan, pass.generation);
        match written.map_err(|problem| preflight::explain(problem, Purpose::Begin))? {
            Written::Ours => Ok(None),
            Written::Others(other) => Ok(Some(other.plan.made_by.clone())),
        }
    })?;
    let Some(other) = written else { return Ok(()) };
    if let Some(retried) = &pass.retried {
        return Err(retried.begun_by(&job.name, &other));
    }
    let what = format!("job {} was begun at the same time by {}", job.name, printable(&other));
    Err(UserError::new(Exit::Stopped, what).hint("run it again: it goes on with the plan that is kept in Kafka"))
}

/// Keeps in Kafka that dead letters go to another place from now on, as long as none is there. No connection to the
/// state may be open.
pub fn move_letters(pass: &Pass<'_>, state: &JobState) -> Result<(), UserError> {
    let job = &pass.job;
    if !job.exactly_once() {
        return Ok(());
    }
    let other = helper::ask("shardlift progress", Some(&pass.interrupt), || {
        progress::change_settings(job, state.incarnation(), &state.settings, &fixed::settings(job))
            .map_err(|problem| preflight::explain(problem, Purpose::GoOn))
    })?;
    if other.is_none() {
        return Ok(());
    }
    let what = format!("job {} went on elsewhere while it was to be kept where its dead letters go", job.name);
    Err(UserError::new(Exit::Stopped, what).hint("run it again: it judges by what Kafka has then"))
}

/// Puts into the state here what Kafka has more.
fn bring_up(pass: &Pass<'_>, ahead: &Ahead) -> Result<Earlier, UserError> {
    let mut store = pass.store().map_err(state::unusable)?;
    ahead.adopt(&mut store).and_then(|()| Earlier::of(&store)).map_err(state::unusable)
}

/// What Kafka has, as the state of a job that begins here.
pub fn new_job(plan: &StoredPlan) -> NewJob<'_> {
    NewJob {
        name: &plan.name,
        plan_id: plan.of.plan_id,
        plan: &plan.plan,
        binding: &plan.binding,
        settings: &plan.settings,
        origin: StateOrigin { generation: plan.of.generation, created_ms: plan.created_ms, from_topic: true },
    }
}

/// Who runs a job in this folder, for messages elsewhere.
fn made_by(folder: &Path) -> String {
    format!("{}:{}", process::host_name(), printable_path(folder))
}

fn lost(job: &Job, state: &JobState) -> UserError {
    UserError::new(Exit::Preflight, catch_up::gone(job, state)).hint(START_OVER)
}

fn other_start(job: &Job, plan: &StoredPlan, generation: u32) -> UserError {
    let hint = if plan.of.generation > generation {
        "go on there; or move this state away and go on here with what Kafka has; or start over with --restart"
    } else {
        START_OVER
    };
    UserError::new(Exit::Preflight, catch_up::other_start(job, plan, generation)).hint(hint)
}
