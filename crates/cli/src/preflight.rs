//! Checks before any record moves, in a helper process: the supervisor has no Kafka client.

use std::time::Duration;

use kafka::{Preflight, PreflightProblem, PreflightProblemKind, Right, TopicShape, missing_right};
use migration::{Exit, Job};

use crate::error::CliError;
use crate::helper;
use crate::interrupt::Interrupt;

/// How long a first run waits for a broker: a wrong address should not take minutes to notice.
const FIRST_TIMEOUT: Duration = Duration::from_secs(20);

/// Asks cluster and topic. A job that is continued waits for its brokers as long as its workers would, and can be run again later;
/// a first run is refused sooner. `bound`: the topic that the job's state belongs to, if there is one. `needs` is what
/// the job's principal must be allowed to do with the topic.
pub fn preflight(
    job: &Job,
    continued: bool,
    bound: Option<&str>,
    needs: &[Right],
    interrupt: Option<&Interrupt>,
) -> Result<Preflight, CliError> {
    let timeout = if continued { job.kafka.give_up_after } else { FIRST_TIMEOUT.min(job.kafka.give_up_after) };
    helper::ask("shardlift check", interrupt, || {
        let found = kafka::preflight(job, timeout).map_err(|problem| match problem.kind {
            PreflightProblemKind::NoTopic if bound == Some(&job.kafka.topic) => deleted(job),
            _ => explain(problem, continued),
        })?;
        let missing = found.rights.as_ref().and_then(|rights| missing_right(job, rights, needs));
        missing.map_or(Ok(found), |problem| Err(explain(problem, continued)))
    })
}

/// It was there when the job began.
fn deleted(job: &Job) -> CliError {
    let (topic, job) = (&job.kafka.topic, &job.name);
    CliError::new(Exit::Preflight, format!("topic {topic} was deleted; what job {job} sent went with it")).hint(
        "create a topic with the partitions that you want and forget the state with `shardlift run --restart` (which sends everything \
         again)",
    )
}

/// What the job's topic is like; nothing if there is none, or none that may be asked for. The brokers must answer.
pub fn topic_shape(job: &Job, interrupt: &Interrupt) -> Result<Option<TopicShape>, CliError> {
    let timeout = FIRST_TIMEOUT.min(job.kafka.give_up_after);
    helper::ask("shardlift check", Some(interrupt), || match kafka::topic_shape(job, timeout) {
        Ok(shape) => Ok(Some(shape)),
        Err(problem)
            if matches!(
                problem.kind,
                PreflightProblemKind::Unreachable | PreflightProblemKind::BadConfig | PreflightProblemKind::NoTrust
            ) =>
        {
            Err(explain(problem, false))
        }
        // What else is wrong is about a topic that is not written to.
        Err(_) => Ok(None),
    })
}

fn explain(problem: PreflightProblem, begun: bool) -> CliError {
    match problem.kind {
        PreflightProblemKind::Unreachable if begun => {
            CliError::new(Exit::Stopped, problem).hint("the state is as it was; run again when the brokers answer")
        }
        PreflightProblemKind::Unreachable => {
            CliError::new(Exit::Preflight, problem).hint("check kafka.brokers (or -b), the network, and security.protocol")
        }
        PreflightProblemKind::NoTopic => CliError::new(Exit::Preflight, problem)
            .hint("shardlift never creates a topic: create it with the partitions that you want"),
        PreflightProblemKind::BadConfig => CliError::new(Exit::Config, problem),
        PreflightProblemKind::NotAuthorised | PreflightProblemKind::NoTrust | PreflightProblemKind::Other => {
            CliError::new(Exit::Preflight, problem)
        }
    }
}
