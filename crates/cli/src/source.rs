//! The job's source: cut into a plan, and held against the plan that it was cut into.

use migration::job::ShardRules;
use migration::{Exit, Job, Order, Plan, SourceObject, UserError, resume};
use pipeline::source::{Changes, PlanRules};
use pipeline::{Source, SourceError};
use supervisor::JobState;

/// How many workers run at once.
pub fn slots(job: &Job) -> u32 {
    job.workers.count.map_or_else(processors, |count| count.get()).max(1)
}

/// How many workers `auto` means: the processors of this cgroup.
pub fn processors() -> u32 {
    u32::try_from(process::processors()).unwrap_or(u32::MAX).max(1)
}

/// The dataset that a job names.
pub fn source_of(job: &Job) -> Box<dyn Source> {
    sources::source_of(&job.source, job.workers.windows())
}

/// Which order the records of a job keep that begins now.
pub fn order_of(job: &Job) -> Result<Order, UserError> {
    Order::wanted(job, source_of(job).repeatable())
}

/// Cuts the source as a first run would, before it parts the partitions of its topic: with order by key into one shard
/// of everything, of which [`Plan::into_sets`] makes one for each set.
pub fn make_plan(job: &Job) -> Result<Plan, UserError> {
    let source = source_of(job);
    let shards = match order_of(job)? {
        Order::Key => &ShardRules::uncut(),
        Order::Shard => &job.shards,
    };
    let rules = PlanRules {
        shards,
        flush: job.workers.flush,
        workers: slots(job),
        record_limit: job.record_limit,
        needs_fields: job.record.needs_fields(),
    };
    let checked = source.plan(&rules).and_then(|plan| source.check(&plan).map(|()| plan));
    checked.map_err(|error| UserError::new(Exit::Source, error))
}

/// Whether the files are those of the plan. Files that took the place of one of which nothing was sent, or only what
/// they begin with, are given back: the plan is the same with them.
pub fn check_source(job: &Job, state: &JobState) -> Result<Vec<(u32, SourceObject)>, UserError> {
    let replaced = match job.record_limit {
        None => source_of(job).replaced(&state.plan, &|object| state.sent_of(object)),
        Some(_) => Ok(Vec::new()),
    };
    let mut plan = state.plan.clone();
    let replaced = replaced.and_then(|replaced| {
        for (object, facts) in &replaced {
            plan.replace(*object, facts.clone()).map_err(SourceError)?;
        }
        Ok(replaced)
    });
    let replaced = replaced.map_err(resume::files_changed)?;
    check_files(job, &plan, state.is_done())?;
    Ok(replaced)
}

/// Whether the files are those of the plan. `sent`: everything planned was sent.
pub fn check_files(job: &Job, plan: &Plan, sent: bool) -> Result<(), UserError> {
    let changes = source_changes(job, plan)?;
    if changes.is_empty() { Ok(()) } else { Err(not_as_planned(&changes, sent)) }
}

/// How the files that the source means now differ from those of the plan.
pub fn source_changes(job: &Job, plan: &Plan) -> Result<Changes, UserError> {
    source_of(job).changes(plan).map_err(resume::files_unreadable)
}

/// The files are not those of the plan.
pub fn not_as_planned(changes: &Changes, sent: bool) -> UserError {
    let what = changes.error(sent);
    if changes.only_new() { resume::files_added(what) } else { resume::files_changed(what) }
}
