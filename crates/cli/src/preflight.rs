//! Checks before any record moves, in a helper process: the supervisor has no Kafka client.

use kafka::{Preflight, PreflightProblem, PreflightProblemKind, Right, TopicShape, missing_right};
use migration::check;
use migration::job::KafkaRules;
use migration::report::Binding;
use migration::resume::{same_cluster, topic_is_deleted};
use migration::{Exit, Finding, Job, Purpose, UserError};

use crate::checks::facts;
use crate::helper;
use crate::interrupt::Interrupt;

/// Asks cluster and topic. `bound`: what the job's state belongs to, if there is one. `needs` is what the job's
/// principal must be allowed to do with the topic.
pub fn preflight(
    job: &Job,
    purpose: Purpose,
    bound: Option<&Binding>,
    needs: &[Right],
    interrupt: Option<&Interrupt>,
) -> Result<Preflight, UserError> {
    if let Some(bound) = bound {
        require_cluster(job, purpose, bound, interrupt)?;
    }
    // Only who writes delivers.
    let delivers = job.exactly_once() && needs.contains(&Right::Write);
    ask(job, purpose, bound.map(|bound| bound.topic.as_str()), needs, delivers, interrupt)
}

/// Refuses brokers of another cluster than the one that a job's state belongs to, before anything is concluded of what
/// they have.
pub fn require_cluster(job: &Job, purpose: Purpose, bound: &Binding, interrupt: Option<&Interrupt>) -> Result<(), UserError> {
    helper::ask("shardlift check", interrupt, || {
        let now = kafka::preflight::cluster_id(job, purpose == Purpose::Begin, purpose.patience(job));
        same_cluster(job, bound, &now.map_err(|problem| explain(problem, purpose))?.unwrap_or_default())
    })
}

/// `delivers`: whether what exactly-once delivery rests on is asked, too.
fn ask(
    job: &Job,
    purpose: Purpose,
    bound: Option<&str>,
    needs: &[Right],
    delivers: bool,
    interrupt: Option<&Interrupt>,
) -> Result<Preflight, UserError> {
    helper::ask("shardlift check", interrupt, || {
        let ask = if purpose == Purpose::Begin { kafka::first_preflight } else { kafka::preflight };
        let mut found = ask(job, purpose.patience(job)).map_err(|problem| explain_bound(job, problem, purpose, bound))?;
        if delivers {
            kafka::ask_delivery(job, &mut found, purpose.patience(job)).map_err(|problem| explain(problem, purpose))?;
        }
        let missing = found.rights.as_ref().and_then(|rights| missing_right(job, rights, needs));
        missing.map_or(Ok(found), |problem| Err(explain(problem, purpose)))
    })
}

/// The job as if it sent its records to the topic of its dead letters, if they go to one.
pub fn of_letters(job: &Job) -> Option<Job> {
    let topic = job.letters_topic()?;
    Some(Job { kafka: KafkaRules { topic, ..job.kafka.clone() }, ..job.clone() })
}

/// Asks for the topic of the job's dead letters, if they go to one. `found`: what is known of the topic of its records.
/// One that would lose letters is refused.
pub fn letters(
    job: &Job,
    purpose: Purpose,
    found: &Preflight,
    interrupt: Option<&Interrupt>,
) -> Result<Option<Finding>, UserError> {
    let Some(of_letters) = of_letters(job) else { return Ok(None) };
    // What delivery rests on was asked with the topic of the records, of the letters, too.
    let there = ask(&of_letters, purpose, None, &[Right::Write, Right::Read], false, interrupt)?;
    let finding = check::of_letters(&of_letters.kafka.topic, &facts(&there), &found.settings);
    match check::refusal(std::slice::from_ref(&finding), &job.accept) {
        Some(error) => Err(error),
        None => Ok(Some(finding)),
    }
}

/// What the job's topic is like; nothing if there is none, or none that may be asked for. The brokers must answer.
pub fn topic_shape(job: &Job, interrupt: &Interrupt) -> Result<Option<TopicShape>, UserError> {
    let timeout = Purpose::Begin.patience(job);
    helper::ask("shardlift check", Some(interrupt), || match kafka::topic_shape(job, timeout) {
        Ok(shape) => Ok(Some(shape)),
        Err(problem)
            if matches!(
                problem.kind,
                PreflightProblemKind::Unreachable | PreflightProblemKind::BadConfig | PreflightProblemKind::NoTrust
            ) =>
        {
            Err(explain(problem, Purpose::Begin))
        }
        // What else is wrong is about a topic that is not written to.
        Err(_) => Ok(None),
    })
}

/// A problem of a job's topic as the user sees it. `bound`: see [`preflight`].
pub fn explain_bound(job: &Job, problem: PreflightProblem, purpose: Purpose, bound: Option<&str>) -> UserError {
    match problem.kind {
        PreflightProblemKind::NoTopic if bound == Some(&job.kafka.topic) => topic_is_deleted(job),
        _ => explain(problem, purpose),
    }
}

/// A problem as the user sees it.
pub fn explain(problem: PreflightProblem, purpose: Purpose) -> UserError {
    match problem.kind {
        PreflightProblemKind::Unreachable => {
            let (exit, hint) = purpose.unanswered();
            UserError::new(exit, problem).hint(hint)
        }
        PreflightProblemKind::Hidden => {
            UserError::new(Exit::Stopped, problem).hint("nothing was changed; run again, at the latest when its time is over")
        }
        PreflightProblemKind::NoTopic => UserError::new(Exit::Preflight, problem)
            .hint("shardlift never creates a topic: create it with the partitions that you want"),
        PreflightProblemKind::BadConfig => UserError::new(Exit::Config, problem),
        // The problem itself says what to do.
        PreflightProblemKind::NoProgressTopic
        | PreflightProblemKind::NotAuthorised
        | PreflightProblemKind::NoTrust
        | PreflightProblemKind::Other => UserError::new(Exit::Preflight, problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ends_by_itself_is_no_reason_to_look_at_the_network() {
        for (kind, exit) in [
            (PreflightProblemKind::Unreachable, Exit::Preflight),
            (PreflightProblemKind::Hidden, Exit::Stopped),
            (PreflightProblemKind::NoProgressTopic, Exit::Preflight),
        ] {
            let error = explain(PreflightProblem { kind, message: "seen".into() }, Purpose::Begin);
            assert_eq!(error.exit, exit, "{kind:?}");
            let hint = error.hint.unwrap_or_default();
            assert_eq!(hint.contains("kafka.brokers"), kind == PreflightProblemKind::Unreachable, "{hint}");
            assert!(!hint.contains("never creates a topic"), "`shardlift check --create` makes the progress topic: {hint}");
        }
    }
}
