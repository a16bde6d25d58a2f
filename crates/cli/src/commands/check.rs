//! `shardlift check`: everything that can be known before the first record; sends nothing, and makes nothing but the
//! progress topic, if that is asked for.

mod earlier;

use std::collections::BTreeSet;
use std::time::Instant;

use kafka::{EnsuredProgress, Preflight, PreflightProblem, progress};
use migration::check::{
    self,
    facts::{ExistingRecords, FoundProgress},
};
use migration::job::Brokers;
use migration::units::show_things;
use migration::{Accept, Check, Exit, Finding, Job, JobInTopic, Purpose, UserError};
use report::check::ShownChecks;
use serde::{Deserialize, Serialize};

use self::earlier::{Left, Outlook};
use crate::args::CheckArgs;
use crate::checks::{self, SampledPlan};
use crate::commands::run::{self, require_room};
use crate::helper::{self, QueuedAnswer};
use crate::ui::Ui;
use crate::{settings, source};

/// Runs all checks, and exits as a run would that refuses.
pub fn check(args: &CheckArgs, ui: &Ui) -> Result<Exit, UserError> {
    let started = Instant::now();
    let job = settings::load(&args.job)?;
    if args.create {
        return create(&job, ui);
    }
    let limits = require_room(&job, false).err().map(|error| error.message);
    let left = Left::of(&job);
    // Both helpers are forked before either may have threads here.
    let cluster = match job.kafka.brokers {
        Brokers::Embedded => None,
        Brokers::Bootstrap(_) => Some(QueuedAnswer::begin("shardlift check", None, || Ok(Cluster::ask(&job, &left)))?),
    };
    let source = QueuedAnswer::begin("shardlift plan", None, || SampledPlan::make(&job))?;
    let sampled = source.answer();
    let cluster = cluster.map(QueuedAnswer::answer).transpose()?;
    let seen = cluster.as_ref().and_then(Cluster::seen);
    let outlook = Outlook::of(&job, &left, seen);
    let mut findings = of_all(&job, sampled, cluster.as_ref(), &left, &outlook);
    let room = limits.is_none();
    let machine = checks::of_machine(&job, source::slots(&job), limits);
    findings.push(if room { outlook.hold(machine) } else { machine });
    outlook.add_to(&mut findings);
    findings.extend(checks::of_state(&job, outlook.run.clone()));
    // Several findings of a check stand together, the worst first.
    findings.sort_by_key(|finding| (finding.check, std::cmp::Reverse(finding.level)));
    let shown = ShownChecks { job: &job.name, findings: &findings, accepted: &job.accept, sends: outlook.sends() };
    let elapsed = started.elapsed();
    ui.result(|| report::check::text(&shown), || report::check::object(&shown, elapsed));
    Ok(shown.exit())
}

/// Makes the progress topic of a job, unless it is there, and nothing else.
fn create(job: &Job, ui: &Ui) -> Result<Exit, UserError> {
    if !job.exactly_once() {
        let what = "--create makes the progress topic of a job that delivers exactly once, and this one delivers at least once";
        let hint = "without --create nothing is made; exactly once is kafka.delivery = \"exactly-once\" (docs/delivery.md)";
        return Err(UserError::new(Exit::Usage, what).hint(hint));
    }
    let (name, unreplicated) = (&job.checkpoint.topic, job.accepts(Accept::Unreplicated));
    let ensured = helper::ask("shardlift check", None, || {
        let ensured = kafka::ensure_progress_topic(job, unreplicated, Purpose::Begin.patience(job));
        ensured.map_err(|problem| crate::preflight::explain(problem, Purpose::Begin))
    })?;
    let (created, partitions, replication) = match ensured {
        EnsuredProgress::Made { partitions, replication } => (true, partitions, replication),
        EnsuredProgress::Found(found) => (false, found.partitions, found.replication),
        EnsuredProgress::TooFew(brokers) => {
            let brokers = show_things(brokers.into(), "broker");
            let what = format!("the progress topic {name} needs 3 replicas, and there is {brokers}: it was not made");
            let hint =
                "start the others; for a test cluster: --accept unreplicated, and it has as many replicas as there are brokers";
            return Err(UserError::new(Exit::Preflight, what).hint(hint));
        }
    };
    let shape = format!("{}, {}", show_things(partitions.into(), "partition"), show_things(replication.into(), "replica"));
    let object = || {
        let mut object = serde_json::Map::new();
        object.insert("progress_topic".into(), name.as_str().into());
        object.insert("created".into(), created.into());
        object.insert("partitions".into(), partitions.into());
        object.insert("replication".into(), replication.into());
        object
    };
    let text = || match created {
        true => format!("made the progress topic {name}: compacted, {shape}\n"),
        false => format!(
            "the progress topic {name} is there: {shape}; nothing was made (`shardlift check` says whether it will do)\n"
        ),
    };
    ui.result(text, object);
    Ok(Exit::Done)
}

/// What the brokers say.
#[derive(Serialize, Deserialize)]
struct Cluster {
    found: Result<Preflight, PreflightProblem>,
    existing: Option<Result<ExistingRecords, String>>,
    /// What the topic of the dead letters is like; `None`: they go to files, or it was not asked for.
    letters: Option<Result<Preflight, PreflightProblem>>,
    /// What the progress topic has of the job; `None`: it has none, or could not be asked.
    progress: Option<Result<JobInTopic, PreflightProblem>>,
}

impl Cluster {
    /// What the outlook of a job depends on.
    fn seen(&self) -> Option<(&Preflight, Option<&Result<JobInTopic, PreflightProblem>>)> {
        Some((self.found.as_ref().ok()?, self.progress.as_ref()))
    }

    /// Asks them. In a helper process.
    fn ask(job: &Job, left: &Left) -> Cluster {
        let timeout = Purpose::Begin.patience(job);
        let found = kafka::first_preflight(job, timeout).and_then(|mut found| {
            if job.exactly_once() {
                kafka::ask_delivery(job, &mut found, timeout)?;
            }
            Ok(found)
        });
        let existing = found.as_ref().ok().map(|found| checks::existing_records(job, found));
        let of_letters = found.as_ref().ok().and_then(|_| crate::preflight::of_letters(job));
        let letters = of_letters.map(|job| kafka::first_preflight(&job, Purpose::Begin.patience(&job)));
        let there = found.as_ref().ok().and_then(|found| found.delivery.as_ref()).map(|delivery| &delivery.progress);
        let readable = there.is_some_and(|there| !matches!(there, FoundProgress::Absent | FoundProgress::Hidden));
        let (_, look) = run::look(left.begun().is_some());
        let progress = readable.then(|| progress::read_job(job, look, timeout));
        Cluster { found, existing, letters, progress }
    }
}

/// The findings of source and brokers; what could not be asked is skipped, with the reason.
fn of_all(
    job: &Job,
    sampled: Result<SampledPlan, UserError>,
    cluster: Option<&Cluster>,
    left: &Left,
    outlook: &Outlook,
) -> Vec<Finding> {
    let (purpose, begun) = (left.purpose(), left.begun());
    let mut findings = Vec::new();
    match cluster {
        None => findings.push(Finding::skip(Check::Brokers, "the embedded broker is made for each run: nothing to ask")),
        Some(cluster) => {
            let bound = begun.map(|earlier| earlier.state.binding.topic.as_str());
            findings.extend(checks::of_brokers(job, &cluster.found, purpose, bound));
            let topic = cluster.found.as_ref().ok().map(|found| check::of_topic_now(job, &checks::facts(found)));
            findings.extend(topic.map(|topic| outlook.hold(topic)));
        }
    }
    let found = cluster.and_then(|cluster| cluster.found.as_ref().ok());
    let delivery = found.and_then(|found| found.delivery.as_ref());
    findings.extend(check::of_delivery(job, delivery, begun.is_some()));
    findings.extend(checks::of_letters(job, found, cluster.and_then(|cluster| cluster.letters.as_ref()), purpose));
    let existing = cluster.and_then(|cluster| cluster.existing.as_ref());
    let sampled = of_sampled(job, &sampled, found, existing.and_then(|existing| existing.as_ref().ok()));
    findings.extend(sampled.into_iter().map(|finding| outlook.hold(finding)));
    if let Some(Err(error)) = existing {
        findings.push(Finding::skip(Check::Existing, error.clone()));
    }
    skip_the_rest(&mut findings, cluster.is_none());
    findings
}

/// What the source says, and a sample of it.
fn of_sampled(
    job: &Job,
    sampled: &Result<SampledPlan, UserError>,
    found: Option<&Preflight>,
    existing: Option<&ExistingRecords>,
) -> Vec<Finding> {
    let sampled = match sampled {
        Ok(sampled) => sampled,
        Err(error) => return vec![checks::of_source_error(error)],
    };
    let partitions = found.map(|found| found.partitions.len() as u32);
    let seen = checks::evidence(job, sampled, partitions, existing);
    let mut findings = checks::of_files(job, sampled);
    findings.extend(checks::of_sample(&seen, found));
    findings.extend(partitions.into_iter().flat_map(|partitions| checks::of_partitions(job, sampled, partitions)));
    findings.push(checks::of_estimate(job, sampled, found));
    findings
}

/// Each check has a row: those that had nothing to judge by say so.
fn skip_the_rest(findings: &mut Vec<Finding>, embedded: bool) {
    let told: BTreeSet<Check> = findings.iter().map(|finding| finding.check).collect();
    let why = if embedded { "the embedded broker has no settings and no records" } else { "what it needs could not be asked" };
    let own = [Check::Machine, Check::State];
    let untold = Check::ALL.into_iter().filter(|check| !told.contains(check) && !own.contains(check));
    findings.extend(untold.map(|check| Finding::skip(check, why)));
}
