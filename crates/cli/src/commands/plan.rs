//! `shardlift plan`: the shards, what could go wrong, the first records and what it will come to; sends nothing, and
//! contacts no broker unless -b names one.

use std::time::{SystemTime, UNIX_EPOCH};

use kafka::{Preflight, partitioner};
use migration::advice::{self, Prospect};
use migration::check::estimate::Estimate;
use migration::check::{self, CheckLevel};
use migration::job::Brokers;
use migration::{Check, Exit, Finding, Job, Order, Plan, Purpose, UserError, order, resume};
use pipeline::source::files_named;
use report::plan::{Reached, ShownPlan};
use report::preview::Preview;

use crate::args::{JobArgs, PlanArgs};
use crate::checks::{self, SampledPlan};
use crate::preflight::preflight;
use crate::state::Earlier;
use crate::ui::Ui;
use crate::{settings, source, state};

/// Shows the plan: the stored one if the job has run, else the one that a run would make now. What would refuse a run
/// ends the command as it would end the run, after the plan was shown.
pub fn plan(args: &PlanArgs, ui: &Ui) -> Result<Exit, UserError> {
    let job = &settings::load(&args.job)?;
    let planned = match state::stored(job)? {
        Some(earlier) => stored_plan(job, &args.job, earlier)?,
        None => new_plan(job, &args.job)?,
    };
    let Planned { sampled: SampledPlan { plan, sample }, order, begun, topic, findings, mut risks } = planned;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let workers = source::slots(job);
    let compacted = topic.as_ref().is_some_and(|topic| topic.settings.compacted);
    let prospect = Prospect { job, plan: &plan, begun: begun.is_some(), order, workers, compacted };
    risks.extend(advice::before_sending(&prospect, now));
    risks.extend(checks::unreadable(&sample, &risks));
    risks.extend(findings.iter().filter(|finding| finding.level >= CheckLevel::Warn).map(Finding::line));
    let trip = topic.as_ref().and_then(|topic| topic.round_trip);
    let preview = Preview {
        records: &sample.first,
        keyed: job.record.key.is_some(),
        partitions: plan.partitions.or(topic.map(|topic| topic.partitions.len() as u32)),
        partition_of: partitioner::choose(job.kafka.partitioner),
        show_values: args.show_values,
    };
    let estimate = Estimate::of(&prospect, &sample, trip, source::processors());
    let shown =
        ShownPlan { job, plan: &plan, order, begun: begun.as_deref(), workers, risks: &risks, estimate: &estimate, preview };
    let here = std::env::current_dir().unwrap_or_default();
    ui.result(|| report::plan::text(&shown, &here), || report::plan::object(&shown));
    check::refusal(&findings, &job.accept).map_or(Ok(Exit::Done), Err)
}

/// A plan, and what is known of it.
struct Planned {
    /// The plan, and a sample of the source.
    sampled: SampledPlan,
    order: Order,
    /// How each shard stands, if the job has begun.
    begun: Option<Vec<Reached>>,
    /// What its topic is like, if it was asked.
    topic: Option<Preflight>,
    /// What a first run would find.
    findings: Vec<Finding>,
    risks: Vec<String>,
}

/// That of a job that has begun: refused where `run` would refuse to go on with its settings or its order, and with the
/// same warnings. Its files need not be there any more. Where nothing was sent, a run makes another plan of settings or
/// files that changed.
fn stored_plan(job: &Job, args: &JobArgs, earlier: Earlier) -> Result<Planned, UserError> {
    // The topic is taken to be as it was. Of an embedded broker a run begins anew in any case.
    let then = earlier.state.binding.clone();
    let config = if then.is_of_embedded() { Ok(Vec::new()) } else { earlier.may_go_on(job, &then) };
    let goes_on = config.and_then(|_| order::may_go_on(job, &earlier.state.plan));
    let unchanged = goes_on.and_then(|risks| match earlier.sent_nothing() {
        true => source::check_source(job, &earlier.state, true).map(|_| risks),
        false => Ok(risks),
    });
    let mut risks = match unchanged {
        Ok(risks) => risks,
        Err(refused) => {
            let Some(anew) = earlier.begins_anew(job, &then, &refused) else { return Err(refused) };
            let mut planned = new_plan(job, args)?;
            planned.risks.insert(0, anew.foretold());
            return Ok(planned);
        }
    };
    let mut stored = earlier.state;
    // An embedded broker's job begins anew with all files.
    if !then.is_of_embedded() {
        risks.extend(resume::letters_move(job, &stored.settings));
        risks.extend(files_now(job, &mut stored.plan));
    }
    let begun = stored.shards.iter().map(|shard| Reached { status: shard.status, position: shard.position }).collect();
    let order = Order::of(&stored.plan);
    let (sampled, unread) = SampledPlan::of_begun(job, stored.plan);
    risks.extend(unread);
    Ok(Planned { sampled, order, begun: Some(begun), topic: None, findings: Vec::new(), risks })
}

/// What a run would say of the files of a job that has begun, as far as they are there: they need not be for a look.
/// The plan gets the times that are accepted.
fn files_now(job: &Job, plan: &mut Plan) -> Vec<String> {
    let Ok((changes, retimed)) = source::accepted_changes(job, plan) else { return Vec::new() };
    let mut said = resume::replaced_notices(plan, &retimed);
    retimed.into_iter().for_each(|(object, facts)| drop(plan.replace(object, facts)));
    said.extend(changes.retimed.iter().map(ToString::to_string));
    let files = changes.new.len() as u64;
    let told = files > 0 && job.record_limit.is_none();
    said.extend(told.then(|| resume::files_came(job, &files_named(&changes.new), files)));
    said
}

/// The one that a run would make now.
fn new_plan(job: &Job, args: &JobArgs) -> Result<Planned, UserError> {
    let order = source::order_of(job)?;
    // The helper process that asks comes before what may leave threads behind.
    let topic = topic_of(job, args)?;
    let mut sampled = SampledPlan::make(job)?;
    let partitions = topic.as_ref().map(|topic| topic.partitions.len() as u32);
    let seen = checks::evidence(job, &sampled, partitions, None);
    let findings = checks::of_sample(&seen, topic.as_ref());
    let mut risks = topic.as_ref().map(|topic| topic.warnings.clone()).unwrap_or_default();
    let odd = findings.iter().any(|finding| finding.check == Check::Timestamps && finding.level >= CheckLevel::Warn);
    if topic.is_none() && !odd {
        risks.extend(check::old_times(&sampled.sample.times_ms, seen.now_ms));
    }
    if let Some(partitions) = partitions {
        if order == Order::Key {
            sampled.plan = sampled.plan.into_sets(partitions, source::slots(job));
        }
        let unpacked = sampled.sample.unpacked_bytes;
        risks.extend(advice::small_batches(job, &sampled.plan, partitions.into(), unpacked));
    }
    Ok(Planned { sampled, order, begun: None, topic, findings, risks })
}

/// What brokers that -b names say of the job's topic.
fn topic_of(job: &Job, args: &JobArgs) -> Result<Option<Preflight>, UserError> {
    let named = !args.config.brokers.is_empty() && matches!(job.kafka.brokers, Brokers::Bootstrap(_));
    if !named {
        return Ok(None);
    }
    preflight(job, Purpose::Begin, None, &[], None).map(Some)
}
