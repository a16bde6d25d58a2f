//! What the job's principal may do with its topic.
//!
//! Responsible for: the rights that a run and a comparison need, which of them is missing, and the command that grants
//! it. Not responsible for: asking the brokers (preflight does), rights that are withdrawn later (a worker then fails
//! with what the broker says).

use migration::Job;
use migration::job::Property;
use rdkafka::bindings::rd_kafka_AclOperation_t as Operation;
use serde::{Deserialize, Serialize};

use crate::problem::{PreflightProblem, PreflightProblemKind, addresses};

/// A right on the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Right {
    /// To send records to it.
    Write,
    /// To read them back.
    Read,
    /// To see it.
    Describe,
    /// To see its settings.
    DescribeConfigs,
}

impl Right {
    /// All that a job can need.
    pub const ALL: [Right; 4] = [Right::Write, Right::Read, Right::Describe, Right::DescribeConfigs];

    /// Its name for `kafka-acls.sh --operation`.
    pub const fn name(self) -> &'static str {
        match self {
            Right::Write => "Write",
            Right::Read => "Read",
            Right::Describe => "Describe",
            Right::DescribeConfigs => "DescribeConfigs",
        }
    }

    const fn operation(self) -> i32 {
        match self {
            Right::Write => Operation::RD_KAFKA_ACL_OPERATION_WRITE as i32,
            Right::Read => Operation::RD_KAFKA_ACL_OPERATION_READ as i32,
            Right::Describe => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE as i32,
            Right::DescribeConfigs => Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS as i32,
        }
    }

    /// Which of the rights these operations give.
    pub(crate) fn of(operations: &[i32]) -> Vec<Right> {
        let all = operations.contains(&(Operation::RD_KAFKA_ACL_OPERATION_ALL as i32));
        Right::ALL.into_iter().filter(|right| all || operations.contains(&right.operation())).collect()
    }
}

/// The command that grants rights on a job's topic.
pub(crate) fn grant(job: &Job, rights: &[Right]) -> String {
    let brokers = addresses(job);
    let operations: String = rights.iter().map(|right| format!(" --operation {}", right.name())).collect();
    format!(
        "kafka-acls.sh --bootstrap-server {} --add --allow-principal User:{}{operations} --topic {}",
        brokers.split(',').next().unwrap_or_default(),
        shown_user(job).unwrap_or("NAME"),
        job.kafka.topic
    )
}

/// The problem of a principal that has only the rights `has` and needs `needs`; `None`: it has them.
pub fn missing_right(job: &Job, has: &[Right], needs: &[Right]) -> Option<PreflightProblem> {
    let missing: Vec<Right> = needs.iter().copied().filter(|right| !has.contains(right)).collect();
    if missing.is_empty() {
        return None;
    }
    let names: Vec<&str> = missing.iter().map(|right| right.name()).collect();
    let message = format!(
        "the principal may not {} topic {:?}, though it may see it. Grant it with: {}",
        names.join(" or "),
        job.kafka.topic,
        grant(job, &missing)
    );
    Some(PreflightProblem::new(PreflightProblemKind::NotAuthorised, message))
}

/// Who the job is to the brokers, if its config says so openly: a name that was given as a secret is never shown, and
/// only the mechanisms with a password send it.
pub(crate) fn shown_user(job: &Job) -> Option<&str> {
    let given = |names: [&str; 2]| job.kafka.properties.iter().rfind(|(name, _)| names.contains(&name.as_str()));
    let (_, mechanism) = given(["sasl.mechanism", "sasl.mechanisms"])?;
    let mechanism = mechanism.expose().trim().to_ascii_uppercase();
    match given(["sasl.username"; 2])? {
        (_, Property::Plain(user)) if mechanism == "PLAIN" || mechanism.starts_with("SCRAM-") => Some(user),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use migration::config::{Context, Typed};

    use super::*;

    /// What is said to a job with these properties that may not write.
    fn said(properties: &str) -> String {
        let text = format!(
            "job.name = 'j'\nsource.jsonl.paths = ['x']\nkafka.topic = 't'\nkafka.brokers = ['a:1']\n[kafka.properties]\n\
             'security.protocol' = 'SASL_SSL'\n{properties}"
        );
        let context = Context {
            config_dir: std::path::Path::new("/"),
            env: &|_| Some("hidden".to_owned()),
            read_secret_file: &|_| Ok("hidden".to_owned()),
            check_properties: &|_| Vec::new(),
            is_folder: &|_| Ok(false),
            contacts_brokers: false,
        };
        let job = Typed::parse(&text, "test").expect("TOML").mean(&context).expect("valid");
        missing_right(&job, &[], &[Right::Write]).expect("it is missing").to_string()
    }

    #[test]
    fn only_a_name_that_is_no_secret_and_is_used_is_shown() {
        for mechanism in ["PLAIN", "SCRAM-SHA-512", " scram-sha-256"] {
            let given = |user: &str| said(&format!("'sasl.mechanism' = '{mechanism}'\n'sasl.username' = {user}"));
            assert!(given("'ann'").contains(" User:ann "), "{}", given("'ann'"));
            for secret in ["{ env = 'A' }", "{ file = 'a' }"] {
                assert!(given(secret).contains(" User:NAME "), "{}", given(secret));
            }
        }
        for other in ["'sasl.mechanisms' = 'OAUTHBEARER'", "'sasl.mechanism' = 'GSSAPI'", ""] {
            let text = said(&format!("{other}\n'sasl.username' = 'ann'"));
            assert!(text.contains(" User:NAME "), "{text}");
        }
    }

    #[test]
    fn rights_are_read_from_operations() {
        const DESCRIBE: i32 = Operation::RD_KAFKA_ACL_OPERATION_DESCRIBE as i32;
        const UNKNOWN_TO_US: i32 = 99;
        assert_eq!(Right::of(&[UNKNOWN_TO_US]), []);
        assert_eq!(Right::of(&[DESCRIBE, 4]), [Right::Write, Right::Describe]);
        assert_eq!(Right::of(&[3]), [Right::Read]);
        assert_eq!(Right::of(&[10]), [Right::DescribeConfigs]);
        assert_eq!(Right::of(&[2]), Right::ALL);
    }
}
