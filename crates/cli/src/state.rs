//! What a job's state belongs to: the plan, the source, the cluster and the topic, and whether they are still the same.

use kafka::Preflight;
use migration::job::{Partitioner, RecordRules};
use migration::report::Binding;
use migration::{Exit, Job, Plan};
use pipeline::source::jsonl;
use serde::Serialize;
use supervisor::{JobState, StateDir, StateError, Store};

use crate::error::CliError;

/// The only delivery there is so far; part of the plan's id.
const DELIVERY: &str = "at-least-once";

/// How many workers run at once.
pub fn slots(job: &Job) -> u32 {
    job.workers.count.map_or_else(|| process::processors() as u32, |count| count.get()).max(1)
}

/// Cuts the source as a first run would.
pub fn make_plan(job: &Job) -> Result<Plan, CliError> {
    jsonl::plan(&job.source, &job.shards, job.workers.flush, slots(job), job.record_limit)
        .map_err(|error| CliError::new(Exit::Source, error))
}

/// The frozen plan of a job that has run, without any lock.
pub fn stored_plan(job: &Job) -> Result<Option<Plan>, CliError> {
    let path = StateDir::store_path(&job.state_path());
    if !Store::exists(&path) {
        return Ok(None);
    }
    let state = Store::read_only(&path).and_then(|store| store.load()).map_err(unusable)?;
    Ok(Some(state.plan))
}

/// An error of the checkpoint as the user sees it.
pub fn unusable(error: StateError) -> CliError {
    CliError::new(Exit::State, error)
}

/// What the state of a new job belongs to.
pub fn binding(job: &Job, found: &Preflight) -> Binding {
    Binding {
        cluster_id: found.cluster_id.clone().unwrap_or_default(),
        topic_id: found.topic_id.clone().unwrap_or_default(),
        topic: job.kafka.topic.clone(),
        source: job.source.paths.join(", "),
        end_offsets: found.partitions.iter().map(|ends| ends.high).collect(),
    }
}

/// Everything that must not change between stop and resume; workers, rates, limits and broker addresses may.
#[derive(Serialize)]
struct Identity<'a> {
    plan: &'a Plan,
    record: &'a RecordRules,
    topic: &'a str,
    partitioner: Partitioner,
    delivery: &'static str,
    cluster_id: &'a str,
    topic_id: &'a str,
}

/// The plan's id.
pub fn plan_id(job: &Job, plan: &Plan, binding: &Binding) -> Result<u128, CliError> {
    let identity = Identity {
        plan,
        record: &job.record,
        topic: &binding.topic,
        partitioner: job.kafka.partitioner,
        delivery: DELIVERY,
        cluster_id: &binding.cluster_id,
        topic_id: &binding.topic_id,
    };
    let bytes = postcard::to_stdvec(&identity).map_err(|error| CliError::new(Exit::Internal, error))?;
    Ok(supervisor::plan_id(&bytes))
}

/// Whether the files are those of the plan.
pub fn check_source(job: &Job, plan: &Plan) -> Result<(), CliError> {
    jsonl::unchanged(plan, &job.source, job.record_limit).map_err(|error| {
        CliError::new(Exit::Source, error)
            .hint("put the files back as they were to continue, or start over with `shardlift run --restart` (which sends everything again)")
    })
}

/// Whether cluster, topic and mapping are those that the state belongs to. Returns warnings.
pub fn check_binding(job: &Job, state: &JobState, found: &Preflight) -> Result<Vec<String>, CliError> {
    let now = binding(job, found);
    let then = &state.binding;
    let other = |what: String| {
        Err(CliError::new(Exit::Preflight, format!("the state of job {} belongs to {what}", job.name)).hint(
            "go back to it to continue, give this job another job.name, or forget the state with `shardlift run --restart` (which sends \
             everything again)",
        ))
    };
    if now.cluster_id != then.cluster_id {
        return other(format!("another cluster: {} then, {} now", show(&then.cluster_id), show(&now.cluster_id)));
    }
    if now.topic != then.topic {
        return other(format!("another topic: {} then, {} now", then.topic, now.topic));
    }
    if now.topic_id != then.topic_id {
        return other(format!("a topic {} that was deleted since and made again", now.topic));
    }
    if now.end_offsets.len() < then.end_offsets.len()
        || now.end_offsets.iter().zip(&then.end_offsets).any(|(now, then)| now < then)
    {
        return other(format!("a topic {} that ended at higher offsets: it was made again since", now.topic));
    }
    if plan_id(job, &state.plan, then)? != state.plan_id {
        return Err(CliError::new(
            Exit::Config,
            format!("the config's [record] or kafka.partitioner changed since job {} began: half of the topic would follow other rules", job.name),
        )
        .hint("undo the change to continue, or start over with `shardlift run --restart` (which sends everything again)"));
    }
    let added = now.end_offsets.len() - then.end_offsets.len();
    let warning = format!(
        "topic {} has {added} partitions more than when the job began: keys go to other partitions from now on",
        now.topic
    );
    Ok(if added > 0 { vec![warning] } else { Vec::new() })
}

fn show(id: &str) -> &str {
    if id.is_empty() { "(no id)" } else { id }
}
