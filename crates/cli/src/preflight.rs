//! Checks before any record moves, in a helper process: the supervisor has no Kafka client.

use std::time::Duration;

use kafka::{Preflight, PreflightProblem, PreflightProblemKind, Right, TopicShape, missing_right};
use migration::resume::topic_is_deleted;
use migration::{Exit, Job, UserError};

use crate::helper;
use crate::interrupt::Interrupt;

/// How long a first run waits for a broker: a wrong address should not take minutes to notice.
const FIRST_TIMEOUT: Duration = Duration::from_secs(20);

/// What the brokers are asked for. It decides how long they may take, and what it means if they don't answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// To begin: they probably have another address, so it is refused soon.
    Begin,
    /// To go on with a job: they are waited for as its workers would, and it can be run again later.
    GoOn,
    /// To compare a job's topic: that can be done again later, so there is no need to wait long.
    Compare,
}

impl Purpose {
    fn patience(self, job: &Job) -> Duration {
        match self {
            Purpose::GoOn => job.kafka.give_up_after,
            Purpose::Begin | Purpose::Compare => FIRST_TIMEOUT.min(job.kafka.give_up_after),
        }
    }

    /// How it ends if no broker answers, and what to do then.
    fn unanswered(self) -> (Exit, &'static str) {
        match self {
            Purpose::Begin => (Exit::Preflight, "check kafka.brokers (or -b), the network, and security.protocol"),
            Purpose::GoOn => (Exit::Stopped, "the state is as it was; run again when the brokers answer"),
            Purpose::Compare => (Exit::Stopped, "nothing was judged; run `shardlift verify` again when the brokers answer"),
        }
    }
}

/// Asks cluster and topic. `bound`: the topic that the job's state belongs to, if there is one. `needs` is what the job's principal
/// must be allowed to do with the topic.
pub fn preflight(
    job: &Job,
    purpose: Purpose,
    bound: Option<&str>,
    needs: &[Right],
    interrupt: Option<&Interrupt>,
) -> Result<Preflight, UserError> {
    helper::ask("shardlift check", interrupt, || {
        let found = kafka::preflight(job, purpose.patience(job)).map_err(|problem| match problem.kind {
            PreflightProblemKind::NoTopic if bound == Some(&job.kafka.topic) => topic_is_deleted(job),
            _ => explain(problem, purpose),
        })?;
        let missing = found.rights.as_ref().and_then(|rights| missing_right(job, rights, needs));
        missing.map_or(Ok(found), |problem| Err(explain(problem, purpose)))
    })
}

/// What the job's topic is like; nothing if there is none, or none that may be asked for. The brokers must answer.
pub fn topic_shape(job: &Job, interrupt: &Interrupt) -> Result<Option<TopicShape>, UserError> {
    let timeout = FIRST_TIMEOUT.min(job.kafka.give_up_after);
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

fn explain(problem: PreflightProblem, purpose: Purpose) -> UserError {
    match problem.kind {
        PreflightProblemKind::Unreachable => {
            let (exit, hint) = purpose.unanswered();
            UserError::new(exit, problem).hint(hint)
        }
        PreflightProblemKind::NoTopic => UserError::new(Exit::Preflight, problem)
            .hint("shardlift never creates a topic: create it with the partitions that you want"),
        PreflightProblemKind::BadConfig => UserError::new(Exit::Config, problem),
        PreflightProblemKind::NotAuthorised | PreflightProblemKind::NoTrust | PreflightProblemKind::Other => {
            UserError::new(Exit::Preflight, problem)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brokers_that_do_not_answer_are_final_for_a_first_run_only() {
        let exits = [Purpose::Begin, Purpose::GoOn, Purpose::Compare].map(|purpose| purpose.unanswered().0);
        assert_eq!(exits, [Exit::Preflight, Exit::Stopped, Exit::Stopped]);
    }
}
