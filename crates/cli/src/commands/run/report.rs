//! The phase `report`: what became of the sending. Whether the topic is still the job's, and the figures that the state
//! has.

use kafka::TopicLook;
use migration::report::JobReport;
use migration::{Cause, Causes, Consequence, Exit, UserError};
use supervisor::{RunEnd, Store, load_report};
use worker::WorkerContext;

use super::pass::Pass;
use super::plan::Ready;
use super::topic_watch::TopicWatcher;
use crate::{helper, state};

/// A run that sends nothing more.
pub struct Reported {
    /// What its workers were given.
    pub context: WorkerContext,
    /// The job now.
    pub report: JobReport,
    /// What speaks against exit 0.
    pub causes: Causes,
    /// Whether this process may fork.
    pub alone: bool,
}

/// Looks at the topic a last time if nothing speaks against exit 0, and reads the state's figures.
pub fn report(pass: &Pass<'_>, ready: Ready, mut end: RunEnd) -> Result<Reported, UserError> {
    let Ready { context, mut store, watch, reached, .. } = ready;
    let alone = may_fork(pass, &mut end);
    if !alone {
        revise(&mut store, &end)?;
    }
    if let Some(mut watch) = watch
        && end.exit() == Exit::Done
    {
        // No connection is open across the fork of a helper.
        drop(store);
        look_a_last_time(pass, &mut end, &mut watch, &context, &reached);
        store = pass.store().map_err(state::unusable)?;
        if end.exit() != Exit::Done {
            revise(&mut store, &end)?;
        }
    }
    let report = report_of(pass, &store, &mut end);
    Ok(Reported { context, report, causes: end.causes, alone })
}

/// Keeps another end than the supervisor's.
fn revise(store: &mut Store, end: &RunEnd) -> Result<(), UserError> {
    store.revise_end(end.exit().code(), &end.reasons()).map_err(state::unusable)
}

/// Whether what follows a complete job may fork. With `--single` the Kafka client was in this process, and one of its
/// threads may still look up a name; then nothing that follows is judged.
fn may_fork(pass: &Pass<'_>, end: &mut RunEnd) -> bool {
    let complete = end.shards.done == end.shards.total;
    if !pass.single || !complete || matches!(end.exit(), Exit::Signal(_)) || helper::wait_until_alone(&pass.interrupt) {
        return true;
    }
    let text = "every record was acknowledged, but neither topic nor files could be looked at again: the Kafka client \
                still looks up a broker's name; run again, or without --single";
    tracing::error!("{text}");
    end.causes.add(Cause::Stopped, text);
    false
}

/// Every record was acknowledged: by the topic that is there now? What was sent just before a topic was deleted was
/// acknowledged, too.
fn look_a_last_time(pass: &Pass<'_>, end: &mut RunEnd, watch: &mut TopicWatcher, context: &WorkerContext, reached: &[i64]) {
    let Some(topic) = &context.bound else { return };
    let (cause, text) = match watch.last_look(&pass.job, topic, reached, &pass.interrupt) {
        TopicLook::Same => return,
        TopicLook::Changed(change) if topic.consequence(&change) == Consequence::Warn => {
            if !watch.has_told(&change) {
                tracing::warn!("{}", topic.tell(&change));
            }
            return;
        }
        TopicLook::Changed(change) => (Cause::Preflight, topic.tell(&change)),
        TopicLook::Unanswered(text) => {
            let name = &topic.name;
            (
                Cause::Stopped,
                format!("every record was acknowledged, but whether topic {name} is still there can't be told: {text}"),
            )
        }
    };
    tracing::error!("{text}");
    end.causes.add(cause, text);
}

/// The state's figures. What can't be read from the state any more (a full disk) is taken from the run, and is a cause.
fn report_of(pass: &Pass<'_>, store: &Store, end: &mut RunEnd) -> JobReport {
    load_report(store, false).unwrap_or_else(|error| {
        tracing::error!("{error}");
        end.causes.add(Cause::State, error.to_string());
        let accepted = pass.job.accept.iter().map(|accept| accept.name().to_owned()).collect();
        let progress_topic = pass.job.exactly_once().then(|| pass.job.checkpoint.topic.clone());
        JobReport { accepted, progress_topic, ..end.report(&pass.job.name) }
    })
}
