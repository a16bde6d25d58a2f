//! What brokers are asked for before a record moves, and what it means if they don't answer.

use std::time::Duration;

use crate::{Exit, Job};

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
    /// How long no broker may answer.
    pub fn patience(self, job: &Job) -> Duration {
        match self {
            Purpose::GoOn => job.kafka.give_up_after,
            Purpose::Begin | Purpose::Compare => FIRST_TIMEOUT.min(job.kafka.give_up_after),
        }
    }

    /// How it ends if no broker answers, and what to do then.
    pub fn unanswered(self) -> (Exit, &'static str) {
        match self {
            Purpose::Begin => (Exit::Preflight, "check kafka.brokers (or -b), the network, and security.protocol"),
            Purpose::GoOn => (Exit::Stopped, "the state is as it was; run again when the brokers answer"),
            Purpose::Compare => (Exit::Stopped, "nothing was judged; run `shardlift verify` again when the brokers answer"),
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
