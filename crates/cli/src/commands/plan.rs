//! `shardlift plan`: the shards and what could go wrong; sends nothing, and contacts no broker unless -b names one.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka::Preflight;
use migration::advice::{self, Prospect};
use migration::job::Brokers;
use migration::{Exit, Job, Order, Plan, Purpose, UserError, order};
use report::plan::{Reached, ShownPlan};
use supervisor::JobState;

use crate::args::JobArgs;
use crate::preflight::preflight;
use crate::ui::Ui;
use crate::{settings, source, state};

/// Shows the plan: the stored one if the job has run, else the one that a run would make now.
pub fn plan(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = &settings::load(args)?;
    let Planned { plan, order, begun, compacted, mut risks } = match state::stored(job)? {
        Some(stored) => stored_plan(job, stored)?,
        None => new_plan(job, args)?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let workers = source::slots(job);
    let prospect = Prospect { job, plan: &plan, begun: begun.is_some(), order, workers, compacted };
    risks.extend(advice::before_sending(&prospect, now));
    let shown = ShownPlan { job, plan: &plan, order, begun: begun.as_deref(), workers, risks: &risks };
    let here = std::env::current_dir().unwrap_or_default();
    ui.result(|| report::plan::text(&shown, &here), || report::plan::object(&shown));
    Ok(Exit::Done)
}

/// A plan, and what is known of it.
struct Planned {
    plan: Plan,
    order: Order,
    /// How each shard stands, if the job has begun.
    begun: Option<Vec<Reached>>,
    /// Whether the topic is known to be compacted.
    compacted: bool,
    risks: Vec<String>,
}

/// That of a job that has begun: refused where `run` would refuse to go on with its order, and with the same warnings.
fn stored_plan(job: &Job, stored: JobState) -> Result<Planned, UserError> {
    let risks = order::may_go_on(job, &stored.plan)?;
    let begun = stored.shards.iter().map(|shard| Reached { status: shard.status, position: shard.position }).collect();
    Ok(Planned { order: Order::of(&stored.plan), plan: stored.plan, begun: Some(begun), compacted: false, risks })
}

/// The one that a run would make now.
fn new_plan(job: &Job, args: &JobArgs) -> Result<Planned, UserError> {
    let order = source::order_of(job)?;
    // The helper process that asks comes before what may leave threads behind.
    let topic = topic_of(job, args)?;
    let plan = source::make_plan(job)?;
    let Some(topic) = topic else {
        return Ok(Planned { plan, order, begun: None, compacted: false, risks: Vec::new() });
    };
    let partitions = topic.binding(job).partitions();
    let plan = match order {
        Order::Key => plan.into_sets(partitions, source::slots(job)),
        Order::Shard => plan,
    };
    let mut risks = topic.warnings;
    risks.extend(advice::small_batches(job, &plan, partitions.into()));
    Ok(Planned { plan, order, begun: None, compacted: topic.settings.compacted, risks })
}

/// What brokers that -b names say of the topic of a job with keys: how many partitions it has decides about the sets,
/// and whether it is compacted about a warning.
fn topic_of(job: &Job, args: &JobArgs) -> Result<Option<Preflight>, UserError> {
    let named = !args.config.brokers.is_empty() && matches!(job.kafka.brokers, Brokers::Bootstrap(_));
    if !named || job.record.key.is_none() {
        return Ok(None);
    }
    preflight(job, Purpose::Begin, None, &[], None).map(Some)
}
