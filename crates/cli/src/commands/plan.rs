//! `shardlift plan`: the shards and what could go wrong; sends nothing, and contacts no broker unless -b names one.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka::Preflight;
use migration::advice::{self, Prospect};
use migration::job::Brokers;
use migration::{Exit, Job, Order, Plan, Purpose, UserError, order};
use report::plan::{Reached, ShownPlan};

use crate::args::JobArgs;
use crate::preflight::preflight;
use crate::state::Earlier;
use crate::ui::Ui;
use crate::{settings, source, state};

/// Shows the plan: the stored one if the job has run, else the one that a run would make now.
pub fn plan(args: &JobArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = &settings::load(args)?;
    let Planned { plan, order, begun, compacted, mut risks } = match state::stored(job)? {
        Some(earlier) => stored_plan(job, args, earlier)?,
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

/// That of a job that has begun: refused where `run` would refuse to go on with its settings or its order, and with the
/// same warnings. Where nothing was sent, a run makes another plan of settings or files that changed.
fn stored_plan(job: &Job, args: &JobArgs, earlier: Earlier) -> Result<Planned, UserError> {
    // The topic is taken to be as it was. Of an embedded broker a run begins anew in any case.
    let then = earlier.state.binding.clone();
    let config = if then.is_of_embedded() { Ok(Vec::new()) } else { earlier.may_go_on(job, &then) };
    let goes_on = config.and_then(|_| order::may_go_on(job, &earlier.state.plan));
    let unchanged = goes_on.and_then(|risks| match earlier.sent_nothing() {
        true => source::check_source(job, &earlier.state).map(|_| risks),
        false => Ok(risks),
    });
    let risks = match unchanged {
        Ok(risks) => risks,
        Err(refused) => {
            let Some(anew) = earlier.begins_anew(job, &then, &refused) else { return Err(refused) };
            let mut planned = new_plan(job, args)?;
            planned.risks.insert(0, anew.foretold());
            return Ok(planned);
        }
    };
    let stored = earlier.state;
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
