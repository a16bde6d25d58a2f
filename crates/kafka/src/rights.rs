//! What the job's principal may do with its topic.
//!
//! Responsible for: the rights that a run and a comparison need, which of them is missing, and the command that grants it. Not
//! responsible for: asking the brokers (preflight does), rights that are withdrawn later (a worker then fails with what the
//! broker says).

use migration::Job;
use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use serde::{Deserialize, Serialize};

use crate::preflight::{PreflightProblem, PreflightProblemKind, addresses};

/// A right on the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// To send records to it.
    Write,
    /// To read them back.
    Read,
}

impl Right {
    /// Its name for `kafka-acls.sh --operation`.
    const fn name(self) -> &'static str {
        match self {
            Right::Write => "Write",
            Right::Read => "Read",
        }
    }

    const fn operation(self) -> i32 {
        match self {
            Right::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE as i32,
            Right::Read => Operation::RD_KAFKA_ACL_OPERATION_READ as i32,
        }
    }

    /// Which of the rights these operations give.
    pub(crate) fn of(operations: &[i32]) -> Vec<Right> {
        let all = operations.contains(&(Operation::RD_KAFKA_ACL_OPERATION_ALL as i32));
        [Right::Write, Right::Read].into_iter().filter(|right| all || operations.contains(&right.operation())).collect()
    }
}

/// The problem of a principal that has only the rights `has` and needs `needs`; `None`: it has them.
pub fn missing_right(job: &Job, has: &[Right], needs: &[Right]) -> Option<PreflightProblem> {
    let missing: Vec<&str> = needs.iter().filter(|right| !has.contains(right)).map(|right| right.name()).collect();
    if missing.is_empty() {
        return None;
    }
    let topic = &job.kafka.topic;
    let brokers = addresses(job);
    let user = job.kafka.properties.iter().find(|(name, _)| name == "sasl.username");
    let principal = user.map_or_else(|| "User:NAME".to_owned(), |(_, value)| format!("User:{}", value.expose()));
    let operations: String = missing.iter().map(|name| format!(" --operation {name}")).collect();
    Some(PreflightProblem::new(
        PreflightProblemKind::NotAuthorised,
        format!(
            "the principal may not {} topic {topic:?}, though it may see it. Grant it with: kafka-acls.sh --bootstrap-server {} --add \
             --allow-principal {principal}{operations} --topic {topic}",
            missing.join(" or "),
            brokers.split(',').next().unwrap_or_default()
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rights_are_read_from_operations() {
        const DESCRIBE: i32 = Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE as i32;
        const UNKNOWN_TO_US: i32 = 99;
        assert_eq!(Right::of(&[DESCRIBE, UNKNOWN_TO_US]), []);
        assert_eq!(Right::of(&[DESCRIBE, 4]), [Right::Write]);
        assert_eq!(Right::of(&[3]), [Right::Read]);
        assert_eq!(Right::of(&[2]), [Right::Write, Right::Read]);
    }
}
