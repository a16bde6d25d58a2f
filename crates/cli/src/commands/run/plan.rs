//! The phase `plan`: the plan that a run sends, and what it belongs to: the earlier run's if it is still about the same
//! things, else new ones.

use std::path::Path;
use std::time::Duration;

use kafka::Preflight;
use migration::advice::{self, Prospect};
use migration::check::{self, CheckLevel};
use migration::report::Binding;
use migration::{BoundTopic, Finding, Identity, Job, Order, Plan, SourceObject, UserError, fixed, resume};
use pipeline::source::files_named;
use supervisor::{JobState, NewJob, StateDir, StateError, Store};
use worker::WorkerContext;

use super::in_kafka;
use super::pass::Pass;
use super::send::slots;
use super::topic_watch::TopicWatcher;
use crate::checks::{self, SampledPlan};
use crate::retries::OldRetries;
use crate::state::{self, Earlier};
use crate::{helper, letters, log, source};

/// A job that may begin, or go on.
pub struct Planned {
    plan: Plan,
    binding: Binding,
    found: Preflight,
    kept: Kept,
    /// Decompressed bytes of the dataset of a job that begins, as far as they are known.
    unpacked: Option<u64>,
}

/// What the state has of the plan.
enum Kept {
    /// Nothing yet; with the plan's id.
    Nothing(u128),
    /// The plan, but for what happened since.
    But(Since),
}

impl Planned {
    /// The files that are read, those that came later included.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let later = match &self.kept {
            Kept::But(Since { later: Some(later), .. }) => later.objects.as_slice(),
            _ => &[],
        };
        self.plan.objects.iter().chain(later).map(|object| object.path.as_path())
    }
}

/// What happened since a plan was kept: to its files, and to where dead letters go.
struct Since {
    /// Those that took the place of planned ones.
    replaced: Vec<(u32, SourceObject)>,
    /// The plan of those that came.
    later: Option<Plan>,
    /// That dead letters go to another place from now on, as it is told.
    letters: Option<String>,
}

/// All that sending needs.
pub struct Ready {
    /// What each worker is given.
    pub context: WorkerContext,
    /// The checkpoint.
    pub store: Store,
    /// Watches the topic, if others may change it.
    pub watch: Option<TopicWatcher>,
    /// Where each partition of the topic ends at least: where it ended before the first record.
    pub reached: Vec<i64>,
    /// How far away the brokers are, as preflight found.
    pub round_trip: Option<Duration>,
}

/// Takes the earlier run's plan if it may be gone on with, else makes one. All that refuses the run is found here.
pub fn plan(pass: &Pass<'_>, earlier: Option<Earlier>, found: Preflight) -> Result<Planned, UserError> {
    let (job, interrupt) = (&pass.job, Some(&pass.interrupt));
    let now = found.binding(job);
    let (workers, embedded) = (slots(job, pass.single), pass.broker.is_some());
    refuse(job, &checks::of_each_run(job, &found, workers, embedded, earlier.is_some()))?;
    let Some(earlier) = earlier else {
        if pass.add {
            pass.ui.say(resume::nothing_to_add(job, false));
        }
        let found = begun(pass, &now, found)?;
        let now = found.binding(job);
        let (plan, unpacked) = new_plan(pass, &found)?;
        let kept = Kept::Nothing(supervisor::plan_id(&Identity::of(job, &plan, &now)));
        return Ok(Planned { plan, binding: now, found, kept, unpacked });
    };
    let warnings = earlier.goes_on(job, &now)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let state = earlier.state;
    let letters = letters_move(pass, &state)?;
    let now = helper::ask("shardlift plan", interrupt, || source::check_source(job, &state, pass.add))?;
    let later = match now.new.is_empty() {
        true => None,
        false => Some(addition(pass, &found, &state)?),
    };
    if pass.add && later.is_none() {
        pass.ui.say(resume::nothing_to_add(job, true));
    }
    let kept = Kept::But(Since { replaced: now.replaced, later, letters });
    Ok(Planned { plan: state.plan, binding: state.binding, found, kept, unpacked: None })
}

/// That dead letters go to another place from now on, if they do: none is set aside. What sends dead letters of another
/// job again, or what its topic lacks, keeps to the place that it began with.
fn letters_move(pass: &Pass<'_>, state: &JobState) -> Result<Option<String>, UserError> {
    match resume::letters_move(&pass.job, &state.settings) {
        Some(_) if pass.retried.is_some() => {
            Err(resume::letters_stay(&pass.job, &state.settings, "it sends records of another job again"))
        }
        moved => Ok(moved),
    }
}

/// The plan of the files that a job gets, which are checked as those of a job that begins.
fn addition(pass: &Pass<'_>, found: &Preflight, state: &JobState) -> Result<Plan, UserError> {
    let (job, interrupt) = (&pass.job, Some(&pass.interrupt));
    let sampled = helper::ask("shardlift plan", interrupt, || SampledPlan::of_addition(job, &state.plan))?;
    let seen = checks::evidence(job, &sampled, Some(state.binding.end_offsets.len() as u32), None);
    refuse(job, &checks::of_sample(&seen, Some(found)))?;
    Ok(sampled.plan)
}

/// What of the topic a job uses that begins now. One that sends dead letters again is held to the job whose they are.
fn begun(pass: &Pass<'_>, now: &Binding, found: Preflight) -> Result<Preflight, UserError> {
    let Some(retried) = &pass.retried else { return Ok(found) };
    let warnings = retried.may_be_sent(&pass.job, now)?;
    let told = warnings.into_iter().chain(retried.warnings(&pass.job, found.settings.compacted));
    told.for_each(|warning| tracing::warn!("{warning}"));
    Ok(retried.used(found))
}

/// The plan of a job that begins, and decompressed bytes, if they are known: only if no check refuses it.
fn new_plan(pass: &Pass<'_>, found: &Preflight) -> Result<(Plan, Option<u64>), UserError> {
    let (job, interrupt) = (&pass.job, Some(&pass.interrupt));
    let existing = checks::begin_existing(job, found, interrupt)?;
    let sampled = helper::ask("shardlift plan", interrupt, || SampledPlan::make(job))?;
    let existing = existing
        .map(|existing| existing.answer())
        .transpose()?
        .and_then(|existing| existing.inspect_err(|error| tracing::debug!("the topic's records are not known: {error}")).ok());
    let partitions = found.partitions.len() as u32;
    let seen = checks::evidence(job, &sampled, Some(partitions), existing.as_ref());
    let topic = pass.broker.is_none().then_some(found);
    refuse(job, &checks::of_sample(&seen, topic))?;
    let plan = match source::order_of(job)? {
        Order::Key => sampled.plan.into_sets(partitions, slots(job, pass.single)),
        Order::Shard => sampled.plan,
    };
    Ok((plan, sampled.sample.unpacked_bytes))
}

/// An error unless all that refuses is accepted; what is worth a warning is told.
fn refuse(job: &Job, findings: &[Finding]) -> Result<(), UserError> {
    if let Some(error) = check::refusal(findings, &job.accept) {
        return Err(error);
    }
    let told = findings.iter().filter(|finding| finding.level >= CheckLevel::Warn);
    told.for_each(|finding| tracing::warn!("{}", finding.line()));
    Ok(())
}

impl Planned {
    /// Opens the state, a new one if the job begins, and tells what is worth a warning.
    pub fn ready(self, pass: &Pass<'_>) -> Result<Ready, UserError> {
        let (job, now) = (&pass.job, self.found.binding(&pass.job));
        let topic = BoundTopic::of(job, &self.binding, &now);
        let reached = now.end_offsets;
        // The last helper before the state is open. The embedded broker's topic is the program's own.
        let watch = if pass.broker.is_some() { None } else { Some(TopicWatcher::start(job, &topic, &reached)?) };
        let source = source::source_of(job);
        let (store, state) = self.keep(pass)?;
        let ledger = in_kafka::ledger_of(pass, &state);
        let letters = job.letters_topic().map(|_| letters::origin(&state));
        let plan = state.plan;
        plan.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let (workers, compacted) = (slots(job, pass.single), self.found.settings.compacted);
        let begun = matches!(self.kept, Kept::But(_));
        let prospect = Prospect { job, plan: &plan, begun, order: Order::of(&plan), workers, compacted };
        let mut warnings = advice::of_order_in_run(&prospect);
        warnings.extend(advice::small_batches(job, &plan, reached.len() as u64, self.unpacked));
        warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
        let context = WorkerContext {
            dead_letters: StateDir::dead_letters_path(pass.dir.path()),
            letters,
            topic: self.found.settings,
            bound: Some(topic),
            ledger,
            take_log: log::take_lines,
            source,
            job: job.clone(),
            plan,
        };
        Ok(Ready { context, store, watch, reached, round_trip: self.found.round_trip })
    }

    /// The checkpoint that has this plan, and what it has. A job with exactly-once has its plan in Kafka, too.
    fn keep(&self, pass: &Pass<'_>) -> Result<(Store, JobState), UserError> {
        let (store, letters) = match &self.kept {
            Kept::Nothing(plan_id) => (self.create(pass, *plan_id)?, None),
            Kept::But(since) => (self.go_on(pass, since).map_err(state::unusable)?, since.letters.as_deref()),
        };
        let state = store.load().map_err(state::unusable)?;
        if !pass.job.exactly_once() && letters.is_none() {
            return Ok((store, state));
        }
        drop(store);
        in_kafka::publish(pass, &state)?;
        match letters {
            Some(told) => keep_letters(pass, &state, told),
            None => Ok((pass.store().map_err(state::unusable)?, state)),
        }
    }

    /// The checkpoint of an earlier run, with what happened to its files since.
    fn go_on(&self, pass: &Pass<'_>, since: &Since) -> Result<Store, StateError> {
        keep_replaced(pass, &self.plan, &since.replaced)?;
        let mut store = pass.store()?;
        if let Some(later) = &since.later {
            let names = files_named(&later.objects.iter().map(|object| object.path.clone()).collect::<Vec<_>>());
            let notice = resume::added_notice(later.objects.len() as u64, &names, later.bytes());
            store.extend_plan(later, slots(&pass.job, pass.single), &notice)?;
            pass.ui.say(&notice);
        }
        Ok(store)
    }

    fn create(&self, pass: &Pass<'_>, plan_id: u128) -> Result<Store, UserError> {
        // What is left there belongs to a job that starts over, or (dead letters without a checkpoint) to nothing; and
        // so do records that were sent again of its letters.
        let old = OldRetries::hold(&pass.job.name, pass.dir.path(), state::owners(&pass.job))?;
        pass.dir.clear().map_err(|error| UserError::new(error.exit(), error))?;
        old.forget()?.iter().for_each(|retry| tracing::warn!("the state of {retry} is forgotten, too"));
        let new = NewJob {
            name: &pass.job.name,
            plan_id,
            plan: &self.plan,
            binding: &self.binding,
            settings: &fixed::settings(&pass.job),
            origin: in_kafka::origin(pass),
        };
        let mut store = Store::create(&pass.store_path(), &new).map_err(state::unusable)?;
        if let Some(why) = &pass.anew {
            tracing::warn!("{why}");
            store.notice(why).map_err(state::unusable)?;
        }
        Ok(store)
    }
}

/// Keeps that dead letters go to another place from now on, and says so: in Kafka first, which other machines judge by.
fn keep_letters(pass: &Pass<'_>, state: &JobState, told: &str) -> Result<(Store, JobState), UserError> {
    in_kafka::move_letters(pass, state)?;
    pass.ui.say(told);
    let mut store = pass.store().map_err(state::unusable)?;
    let kept = store.change_settings(&fixed::settings(&pass.job), told).and_then(|()| store.load());
    let state = kept.map_err(state::unusable)?;
    Ok((store, state))
}

/// Keeps which files of a plan are other ones now, and says so.
pub fn keep_replaced(pass: &Pass<'_>, plan: &Plan, replaced: &[(u32, SourceObject)]) -> Result<(), StateError> {
    if replaced.is_empty() {
        return Ok(());
    }
    let notices = resume::replaced_notices(plan, replaced);
    pass.store()?.replace_objects(replaced, &notices)?;
    notices.iter().for_each(|notice| tracing::warn!("{notice}"));
    Ok(())
}
