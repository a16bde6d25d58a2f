//! What checks need to know, asked in helper processes, and handed to the rules of `migration::check`.
//!
//! Responsible for: which questions a command asks, and which check an error belongs to. Not responsible for: what a
//! fact means.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka::{Preflight, PreflightProblem, PreflightProblemKind, Right, missing_right, partitioner};
use migration::advice::{self, Prospect};
use migration::check::estimate::Estimate;
use migration::check::facts::{ExistingRecords, KnownTopic, SourceSample};
use migration::check::machine::{EarlierRun, MachineFacts, StateFacts};
use migration::check::{self, Evidence};
use migration::job::Brokers;
use migration::units::{first_few, show_count, show_duration, show_things};
use migration::{Check, Exit, Finding, Job, Order, Plan, Purpose, UserError};
use pipeline::sampling;
use process::Disk;
use serde::{Deserialize, Serialize};

use crate::helper::QueuedAnswer;
use crate::interrupt::Interrupt;
use crate::source;

/// How long the source is sampled at most.
const SAMPLING: Duration = Duration::from_secs(2);
/// How long a topic's ends are watched for other producers.
const WATCHING: Duration = Duration::from_secs(2);

/// A plan with a sample of its source.
#[derive(Debug, Serialize, Deserialize)]
pub struct SampledPlan {
    /// The plan.
    pub plan: Plan,
    /// The sample.
    pub sample: SourceSample,
}

impl SampledPlan {
    /// Plans as a first run would, and samples what was planned. In a helper process.
    pub fn make(job: &Job) -> Result<SampledPlan, UserError> {
        Self::of(job, source::make_plan(job)?)
    }

    /// Plans what the source has beside a plan, and samples that. In a helper process.
    pub fn of_addition(job: &Job, plan: &Plan) -> Result<SampledPlan, UserError> {
        Self::of(job, source::make_addition(job, plan)?)
    }

    fn of(job: &Job, plan: Plan) -> Result<SampledPlan, UserError> {
        let sample = sampling::sample(source::source_of(job).as_ref(), &plan, &job.record, SAMPLING);
        let sample = sample.map_err(|error| UserError::new(Exit::Source, error))?;
        Ok(SampledPlan { plan, sample })
    }

    /// Samples the files of a job that has begun, which need not be there any more: then there is no sample, and why.
    pub fn of_begun(job: &Job, plan: Plan) -> (SampledPlan, Option<String>) {
        match sampling::sample(source::source_of(job).as_ref(), &plan, &job.record, SAMPLING) {
            Ok(sample) => (SampledPlan { plan, sample }, None),
            Err(error) => (SampledPlan { plan, sample: SourceSample::default() }, Some(error.0)),
        }
    }
}

/// A look at the records that are in a topic.
pub type AskedExisting<'a> = QueuedAnswer<'a, Result<ExistingRecords, String>>;

/// Begins to look at the records of a topic that is not empty and not the embedded broker's.
pub fn begin_existing<'a>(
    job: &Job,
    found: &Preflight,
    interrupt: Option<&'a Interrupt>,
) -> Result<Option<AskedExisting<'a>>, UserError> {
    let there = found.partitions.iter().any(|ends| ends.high > ends.low);
    let embedded = found.cluster_id.as_ref().is_some_and(|id| migration::identity::is_embedded_cluster(id));
    if !there || embedded {
        return Ok(None);
    }
    QueuedAnswer::begin("shardlift look", interrupt, || Ok(existing_records(job, found))).map(Some)
}

/// Looks at the records of a topic, or says why that can't be done. In a helper process.
pub fn existing_records(job: &Job, found: &Preflight) -> Result<ExistingRecords, String> {
    kafka::existing_records(job, found, WATCHING).map_err(|error| error.message)
}

/// What rules judge by.
pub fn evidence<'a>(
    job: &'a Job,
    sampled: &'a SampledPlan,
    partitions: Option<u32>,
    existing: Option<&'a ExistingRecords>,
) -> Evidence<'a> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Evidence {
        job,
        plan: &sampled.plan,
        sample: &sampled.sample,
        partitions,
        existing,
        partition_of: partitioner::choose(job.kafka.partitioner),
        now_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
    }
}

/// What is known of the topic.
pub fn facts(found: &Preflight) -> KnownTopic {
    KnownTopic {
        partitions: found.partitions.len() as u32,
        settings: found.settings,
        retention: found.retention.clone(),
        replicas: found.replicas,
    }
}

/// What a sample says, held against the topic. Of an embedded one, which is made for a run and has no settings, `found`
/// is `None`.
pub fn of_sample(seen: &Evidence<'_>, found: Option<&Preflight>) -> Vec<Finding> {
    let mut findings = check::of_source(seen);
    let Some(found) = found else {
        findings.push(check::of_times(seen));
        return findings;
    };
    findings.extend(check::of_topic(seen, &facts(found)));
    findings.extend(seen.existing.into_iter().flat_map(|existing| check::of_existing(seen, existing)));
    findings
}

/// What holds for each run of a job. One that goes on waits for replicas as its workers do, and had room before: that
/// is told, and refuses nothing.
pub fn of_each_run(job: &Job, found: &Preflight, workers: u32, embedded: bool, goes_on: bool) -> Vec<Finding> {
    let topic = (!embedded).then(|| check::of_topic_now(job, &facts(found)));
    let told = topic.into_iter().chain([of_machine(job, workers, None)]);
    let told = told.map(|finding| if goes_on { finding.told() } else { finding });
    let delivery = check::of_delivery(job, found.delivery.as_ref(), goes_on);
    // What an earlier run left is judged where the run goes on with it.
    told.chain(delivery).chain(of_state(job, EarlierRun::None)).collect()
}

/// What an answer of the brokers says of them: `Err` is what kept them from answering. `bound`: the topic that the
/// job's state belongs to, if there is one.
pub fn of_brokers(
    job: &Job,
    found: &Result<Preflight, PreflightProblem>,
    purpose: Purpose,
    bound: Option<&str>,
) -> Vec<Finding> {
    let brokers = match &job.kafka.brokers {
        Brokers::Bootstrap(brokers) => brokers.join(","),
        Brokers::Embedded => String::new(),
    };
    let found = match found {
        Ok(found) => found,
        Err(problem) => {
            let check = check_of(problem.kind);
            let error = crate::preflight::explain_bound(job, problem.clone(), purpose, bound);
            let mut findings = vec![Finding::of_error(check, error)];
            let others = [Check::Brokers, Check::Security, Check::Topic, Check::Rights, Check::Client];
            let unasked = others.into_iter().filter(|other| *other != check && *other > check);
            findings.extend(unasked.map(|other| Finding::skip(other, format!("not asked: see {}", check.name()))));
            return findings;
        }
    };
    let round_trip = found.round_trip.map(|time| format!(", a round trip takes {}", show_duration(time))).unwrap_or_default();
    let mut findings = vec![
        Finding::ok(Check::Brokers, format!("{brokers} answers, and so do the leaders of all partitions{round_trip}")),
        Finding::ok(Check::Security, protocol(job)),
        Finding::ok(Check::Client, "producer and reader can be made of the job's settings"),
    ];
    findings.extend(rights(job, found));
    findings
}

/// The topic of the dead letters, if they go to one and it was asked for.
pub fn of_letters(
    job: &Job,
    found: Option<&Preflight>,
    letters: Option<&Result<Preflight, PreflightProblem>>,
    purpose: Purpose,
) -> Option<Finding> {
    let Some(topic) = job.letters_topic() else { return Some(check::of_letter_files(job)) };
    match letters? {
        Ok(there) => Some(check::of_letters(&topic, &facts(there), &found?.settings)),
        Err(problem) => {
            let error = crate::preflight::explain(problem.clone(), purpose);
            Some(Finding::of_error(Check::DeadLetters, error))
        }
    }
}

/// The check that a problem belongs to.
fn check_of(kind: PreflightProblemKind) -> Check {
    match kind {
        PreflightProblemKind::Unreachable | PreflightProblemKind::Other => Check::Brokers,
        PreflightProblemKind::NoTopic => Check::Topic,
        PreflightProblemKind::NoProgressTopic | PreflightProblemKind::Hidden => Check::Delivery,
        PreflightProblemKind::NotAuthorised => Check::Rights,
        PreflightProblemKind::BadConfig => Check::Client,
        PreflightProblemKind::NoTrust => Check::Security,
    }
}

fn protocol(job: &Job) -> String {
    let named = |wanted: &str| job.kafka.properties.iter().rfind(|(name, _)| name == wanted).map(|(_, value)| value);
    match named("security.protocol") {
        Some(protocol) => format!("connected by {}", protocol.expose().trim().to_ascii_uppercase()),
        None => "connected without encryption (security.protocol is plaintext)".to_owned(),
    }
}

fn rights(job: &Job, found: &Preflight) -> Vec<Finding> {
    let check = Check::Rights;
    let Some(has) = &found.rights else {
        return vec![Finding::skip(check, "the brokers don't tell what may be done with the topic")];
    };
    let missing = |right| missing_right(job, has, &[right]).map(|problem| problem.message);
    let write = missing(Right::Write).map(|what| Finding::fail(check, what));
    let read = missing(Right::Read).map(|what| Finding::warn(check, format!("`verify` needs more: {what}")));
    let settings = missing(Right::DescribeConfigs);
    let settings = settings.map(|what| Finding::skip(check, format!("checks of the topic's settings need more: {what}")));
    let found: Vec<Finding> = [write, read, settings].into_iter().flatten().collect();
    if found.is_empty() { vec![Finding::ok(check, "the topic may be written and read")] } else { found }
}

/// What this machine allows.
pub fn of_machine(job: &Job, workers: u32, limits: Option<String>) -> Finding {
    let memory = process::memory_limit().map(|limit| (limit.bytes, limit.by));
    check::of_machine(job, &MachineFacts { workers, memory, limits })
}

/// The state's folder, which is neither made nor changed, and what a run makes of what an earlier one left.
pub fn of_state(job: &Job, earlier: EarlierRun) -> Vec<Finding> {
    let path = job.state_path();
    // What is not there yet is made below the first folder that is.
    let there = path.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    let disk = Disk::of(there).ok();
    let facts = StateFacts {
        unwritable: process::may_write(there).err().map(|error| error.to_string()),
        free: disk.and_then(|disk| disk.free),
        network: disk.and_then(|disk| disk.network),
        objection: process::folder_objection(&path).unwrap_or_default(),
        earlier,
        path,
    };
    check::of_state(job, &facts)
}

/// What the job will come to, if it begins now.
pub fn of_estimate(job: &Job, sampled: &SampledPlan, found: Option<&Preflight>) -> Finding {
    let order = source::order_of(job).unwrap_or(Order::Shard);
    let compacted = found.is_some_and(|found| found.settings.compacted);
    let prospect = Prospect { job, plan: &sampled.plan, begun: false, order, workers: source::slots(job), compacted };
    let round_trip = found.and_then(|found| found.round_trip);
    Estimate::of(&prospect, &sampled.sample, round_trip, source::processors()).finding()
}

/// Partitions against workers, and against what each has in flight.
pub fn of_partitions(job: &Job, sampled: &SampledPlan, partitions: u32) -> Vec<Finding> {
    let (order, workers) = (source::order_of(job).unwrap_or(Order::Shard), source::slots(job));
    let plan = match order {
        Order::Key => sampled.plan.clone().into_sets(partitions, workers),
        Order::Shard => sampled.plan.clone(),
    };
    let prospect = Prospect { job, plan: &plan, begun: false, order, workers, compacted: false };
    let told = advice::of_partitions(&prospect, partitions, sampled.sample.unpacked_bytes);
    if told.is_empty() {
        let fact = format!("{} for {}", show_things(partitions.into(), "partition"), show_things(workers.into(), "worker"));
        return vec![Finding::ok(Check::Partitions, fact)];
    }
    told.into_iter().map(|told| Finding::warn(Check::Partitions, told)).collect()
}

/// A source that can't be planned, or sampled.
pub fn of_source_error(error: &UserError) -> Finding {
    let check = if sources::is_of_another_format(&error.message) { Check::Formats } else { Check::Files };
    Finding::of_error(check, error.clone())
}

/// The files of a plan: what was seen of them, and what a user should know.
pub fn of_files(job: &Job, sampled: &SampledPlan) -> Vec<Finding> {
    let SampledPlan { plan, sample } = sampled;
    let files = plan.objects.len() as u64;
    let looked_at = format!("{} looked at, each is as [{}] says", show_things(files, "file"), job.source.table());
    let mut findings = vec![Finding::ok(Check::Formats, looked_at)];
    if plan.notes.is_empty() && sample.unreadable.is_empty() {
        let fact =
            format!("{} of {} sampled, {} rows", show_count(sample.files_sampled), show_count(files), show_count(sample.rows));
        findings.push(Finding::ok(Check::Files, fact));
    }
    let told = plan.notes.iter().cloned().chain(unreadable(sample, &plan.notes));
    findings.extend(told.map(|note| Finding::warn(Check::Files, note)));
    findings
}

/// What the sample met that can't be read, but for what is `told` already: the first files, and how many more there
/// are of those that were sampled.
pub fn unreadable(sample: &SourceSample, told: &[String]) -> Vec<String> {
    let new = sample.unreadable.iter().filter(|error| !told.contains(error)).cloned();
    let sampled = show_things(sample.files_sampled, "sampled file");
    first_few(new.collect(), |more| format!("{} more of {sampled} can't be read either", show_count(more)))
}
