//! The job's source: cut into a plan, and held against the plan that it was cut into.

use std::path::PathBuf;

use migration::job::ShardRules;
use migration::{Accept, Exit, Job, Order, Plan, SourceObject, UserError, check, resume};
use pipeline::Source;
use pipeline::source::{Changes, PlanRules};
use serde::{Deserialize, Serialize};
use supervisor::JobState;

/// How many workers run at once when a run begins.
pub fn slots(job: &Job) -> u32 {
    job.workers.count.map_or_else(processors, |count| count.get()).max(1)
}

/// How many workers may come to run at once: with `workers.count = "auto"` a run tries up to `workers.max`, as far as
/// there is memory for them.
pub fn most_slots(job: &Job) -> u32 {
    let at_first = slots(job);
    if job.workers.count.is_some() { at_first } else { at_first.max(most_tried(job)) }
}

/// How many workers a run that finds their number tries at most.
pub fn most_tried(job: &Job) -> u32 {
    let each = check::memory_of_a_worker(job).max(1);
    let by_memory = process::memory_limit().map_or(u64::MAX, |limit| limit.bytes / each);
    u32::try_from(by_memory).unwrap_or(u32::MAX).min(job.workers.max).max(1)
}

/// With how many workers `auto` begins: the processors of this cgroup.
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
    cut(job, order_of(job)?, None)
}

/// Cuts what the source means beside the files of a plan, as that was cut: what [`Plan::extend`] adds to it.
pub fn make_addition(job: &Job, plan: &Plan) -> Result<Plan, UserError> {
    // Sets that were cut by place keep no order any more, and are sets all the same.
    cut(job, if plan.partitions.is_some() { Order::Key } else { Order::Shard }, Some(plan))
}

fn cut(job: &Job, order: Order, beside: Option<&Plan>) -> Result<Plan, UserError> {
    let source = source_of(job);
    let shards = match order {
        Order::Key => &ShardRules::uncut(),
        Order::Shard => &job.shards,
    };
    let rules = PlanRules {
        shards,
        flush: job.workers.flush,
        workers: slots(job),
        most_workers: most_slots(job),
        record_limit: job.record_limit,
        needs_fields: job.record.needs_fields(),
        beside,
    };
    let checked = source.plan(&rules).and_then(|plan| source.check(&plan).map(|()| plan));
    checked.map_err(|error| UserError::new(Exit::Source, error))
}

/// The files of a job that goes on, as they are now.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct FilesNow {
    /// Those that took the place of planned ones: of which nothing was sent, or only what they begin with; and those
    /// that have another time, if that is accepted. The plan is the same with them.
    pub replaced: Vec<(u32, SourceObject)>,
    /// Those that are not planned, if they may be added.
    pub new: Vec<PathBuf>,
}

/// Whether the files are those of the plan. `add`: new ones are given back, and refuse nothing.
pub fn check_source(job: &Job, state: &JobState, add: bool) -> Result<FilesNow, UserError> {
    let source = source_of(job);
    let (mut plan, mut replaced) = (state.plan.clone(), Vec::new());
    if job.accepts(Accept::Mtime) {
        let retimed = source_changes(job, &plan)?.retimed;
        replaced.extend(retimed.into_iter().map(|retimed| (retimed.object, retimed.facts)));
        put(&mut plan, &replaced)?;
    }
    if job.record_limit.is_none() {
        let others = source.replaced(&plan, &|object| state.sent_of(object)).map_err(resume::files_changed)?;
        put(&mut plan, &others)?;
        replaced.extend(others);
    }
    let changes = source_changes(job, &plan)?;
    match changes.is_empty() || add && changes.only_new() {
        true => Ok(FilesNow { replaced, new: changes.new }),
        false => Err(not_as_planned(job, &changes, state.is_done())),
    }
}

fn put(plan: &mut Plan, replaced: &[(u32, SourceObject)]) -> Result<(), UserError> {
    replaced.iter().try_for_each(|(object, facts)| plan.replace(*object, facts.clone())).map_err(resume::files_changed)
}

/// Whether the files are still those of the plan, of which everything was sent. Those that have another time, if that
/// is accepted, are given back.
pub fn check_files(job: &Job, plan: &Plan) -> Result<Vec<(u32, SourceObject)>, UserError> {
    let (changes, retimed) = accepted_changes(job, plan)?;
    if changes.is_empty() { Ok(retimed) } else { Err(not_as_planned(job, &changes, true)) }
}

/// How the files that the source means now differ from those of the plan, but for times that are accepted, and the
/// files that have these.
pub fn accepted_changes(job: &Job, plan: &Plan) -> Result<(Changes, Vec<(u32, SourceObject)>), UserError> {
    let mut changes = source_changes(job, plan)?;
    let retimed = if job.accepts(Accept::Mtime) { std::mem::take(&mut changes.retimed) } else { Vec::new() };
    Ok((changes, retimed.into_iter().map(|retimed| (retimed.object, retimed.facts)).collect()))
}

/// How the files that the source means now differ from those of the plan.
pub fn source_changes(job: &Job, plan: &Plan) -> Result<Changes, UserError> {
    source_of(job).changes(plan).map_err(resume::files_unreadable)
}

/// The files are not those of the plan.
pub fn not_as_planned(job: &Job, changes: &Changes, sent: bool) -> UserError {
    let what = changes.error(sent);
    match (changes.only_new(), changes.only_times()) {
        (true, _) => resume::files_added(job, what),
        (_, true) => resume::files_retimed(what),
        _ => resume::files_changed(what),
    }
}
