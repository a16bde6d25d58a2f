//! What exactly-once delivery rests on, as the cluster has it.
//!
//! Responsible for: replicas of topic, topic of dead letters, progress topic and transaction log, what the brokers'
//! settings say of transactions, and whether they take a transactional producer of this job. Not responsible for: what
//! follows for the job (`migration::check`). What can't be told is left out: only a producer that is refused is an
//! answer of its own.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::Job;
use migration::check::facts::{DeliveryFacts, Durability, FoundProgress, ProgressFacts, TransactionTrial};
use migration::progress::{PROGRESS_PARTITIONS, TRANSACTIONAL_PREFIX};
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use super::{Asker, LONGEST_DESCRIPTION, Preflight};
use crate::ffi::{Client, ClientKind, Code, StepError, Topic, TopicSetting, ask_broker_settings, topic_settings};
use crate::options::{Role, client_properties, configure};
use crate::problem::{PreflightProblem, PreflightProblemKind};
use crate::progress::{ProgressTopic, create_progress_topic, progress_topic};
use crate::rights::{Right, shown_user};
use crate::topic_probe::is_unknown_topic;
use crate::turns::Turns;

/// The brokers' own topic of transactions.
const TRANSACTION_LOG: &str = "__transaction_state";
/// Whether brokers verify that a record belongs to an open transaction. Those before 3.6 have no such setting.
const VERIFICATION: &str = "transaction.partition.verification.enable";
/// A setting of topics that is as old as that verification: it is told where the brokers' own settings are not.
const AS_OLD: &str = "message.timestamp.before.max.ms";
/// How long brokers may take to take a transactional producer: they may have to make their transaction log first.
const LONGEST_TRIAL: Duration = Duration::from_secs(15);
/// How long one call waits in that.
const ONE_CALL: Duration = Duration::from_secs(1);
/// Replicas that the progress topic is made with, if there are as many brokers.
const REPLICAS: u32 = 3;
/// What a worker does with the progress topic.
const NEEDED: [Right; 3] = [Right::Read, Right::Write, Right::Describe];

/// Adds to what preflight found what exactly-once delivery of the job rests on.
pub fn ask_delivery(job: &Job, found: &mut Preflight, timeout: Duration) -> Result<(), PreflightProblem> {
    let asker = Asker::new(job, timeout, false)?;
    let timeout = timeout.min(LONGEST_DESCRIPTION);
    // The client knows its brokers only after an answer, and the admin API needs them.
    let metadata = asker.metadata()?;
    asker.client.controller(timeout);
    let client = &asker.client;
    let own = topic_settings(client, &job.kafka.topic, timeout).unwrap_or_default();
    let brokers = broker_settings(client, &metadata.brokers, timeout);
    let verifies: Vec<Option<bool>> = brokers.iter().map(|settings| value(settings, VERIFICATION)).collect();
    let longest = brokers.iter().filter_map(|settings| value(settings, "transaction.max.timeout.ms")).min();
    found.delivery = Some(DeliveryFacts {
        topic: Durability { replication: Some(found.replication), ..durability(&own) },
        letters: job.letters_topic().and_then(|letters| durability_of(client, &letters, timeout).ok()),
        progress: look_for_progress(job, timeout),
        log: transaction_log(client, brokers.first(), timeout),
        is_recent: is_recent(&verifies, &own),
        verifies: match verifies.as_slice() {
            [] => None,
            all if all.contains(&Some(false)) => Some(false),
            all => all.iter().all(Option::is_some).then_some(true),
        },
        longest: longest.map(Duration::from_millis),
        trial: try_transactions(job),
        user: shown_user(job).map(str::to_owned),
    });
    Ok(())
}

/// A setting's value, if it is told and can be read.
fn value<T: std::str::FromStr>(settings: &[TopicSetting], name: &str) -> Option<T> {
    settings.iter().find(|setting| setting.name == name)?.value.trim().parse().ok()
}

/// What a topic's settings say of how safe its records are.
fn durability(settings: &[TopicSetting]) -> Durability {
    Durability {
        replication: None,
        least: value(settings, "min.insync.replicas"),
        unclean: value(settings, "unclean.leader.election.enable"),
    }
}

/// Whether all brokers are 3.6 or later: by their own settings, else by those of a topic.
fn is_recent(verifies: &[Option<bool>], topic: &[TopicSetting]) -> Option<bool> {
    match (verifies, topic) {
        ([], []) => None,
        ([], topic) => Some(topic.iter().any(|setting| setting.name == AS_OLD)),
        (brokers, _) => Some(brokers.iter().all(Option::is_some)),
    }
}

/// The settings of those brokers that tell them.
fn broker_settings(client: &Client, brokers: &[i32], timeout: Duration) -> Vec<Vec<TopicSetting>> {
    let asked: Vec<_> = brokers.iter().map(|broker| ask_broker_settings(client, *broker, timeout)).collect();
    let answers = asked.into_iter().filter_map(|asked| asked.ok()?.answer(&mut Turns::one(&mut || true)).ok());
    answers.filter(|settings| !settings.is_empty()).collect()
}

/// How safe the records of a topic are, or why it is not described.
fn durability_of(client: &Rc<Client>, name: &str, timeout: Duration) -> Result<Durability, Code> {
    let topic = Topic::new(client, name).map_err(|_| Code::of(E::RD_KAFKA_RESP_ERR__INVALID_ARG))?;
    let metadata = client.metadata(Some(&topic), timeout)?;
    match Code(metadata.code) {
        Code::NONE => {
            let settings = topic_settings(client, name, timeout).unwrap_or_default();
            Ok(Durability { replication: Some(metadata.replication), ..durability(&settings) })
        }
        error => Err(error),
    }
}

/// The transaction log as it is, or as the brokers would make it: always without unclean elections.
fn transaction_log(client: &Rc<Client>, broker: Option<&Vec<TopicSetting>>, timeout: Duration) -> Option<Durability> {
    match durability_of(client, TRANSACTION_LOG, timeout) {
        Ok(seen) => Some(seen),
        Err(code) => broker.filter(|_| is_unknown_topic(code)).map(|settings| Durability {
            replication: value(settings, "transaction.state.log.replication.factor"),
            least: value(settings, "transaction.state.log.min.isr"),
            unclean: Some(false),
        }),
    }
}

fn look_for_progress(job: &Job, timeout: Duration) -> FoundProgress {
    match progress_topic(job, timeout) {
        Ok(None) => FoundProgress::Absent,
        Ok(Some(seen)) => FoundProgress::There(facts_of(&seen)),
        Err(problem) if problem.kind == PreflightProblemKind::NotAuthorised => FoundProgress::Hidden,
        Err(problem) => FoundProgress::Unknown(problem.message),
    }
}

fn facts_of(seen: &ProgressTopic) -> ProgressFacts {
    ProgressFacts {
        durability: Durability { replication: Some(seen.replication), least: seen.min_in_sync, unclean: seen.unclean_election },
        compacted: seen.keeps_the_newest(),
        segment_bytes: seen.segment_bytes,
        segment_ms: seen.segment_ms,
        missing: seen.rights.as_ref().map_or_else(Vec::new, |has| {
            NEEDED.iter().filter(|right| !has.contains(right)).map(|right| right.name().to_owned()).collect()
        }),
    }
}

/// Makes a transactional producer with an id of its own, and begins no transaction with it. The brokers remember such
/// an id for a week (`transactional.id.expiration.ms`).
fn try_transactions(job: &Job) -> TransactionTrial {
    let transaction = job.workers.chunk.transaction_timeout().as_millis();
    let mut properties = client_properties(job, Role::Producer);
    properties.push(("enable.idempotence".into(), "true".into()));
    properties.push(("transactional.id".into(), format!("{TRANSACTIONAL_PREFIX}{}.check", job.name)));
    properties.push(("transaction.timeout.ms".into(), transaction.to_string()));
    let client = match configure(&properties).and_then(|conf| conf.into_client(ClientKind::Producer)) {
        Ok(client) => client,
        Err(error) => return TransactionTrial::Failed(error),
    };
    let deadline = Instant::now() + LONGEST_TRIAL;
    loop {
        // An answer wakes the request for a producer's id, which waits for a timer otherwise.
        let _ = client.metadata(None, ONE_CALL);
        match client.init_transactions(ONE_CALL) {
            Ok(()) => return TransactionTrial::Granted,
            Err(error) if error.retriable && Instant::now() < deadline => {}
            Err(error) => return refused(&client, &error),
        }
    }
}

fn refused(client: &Client, error: &StepError) -> TransactionTrial {
    let fatal = client.fatal_error().map(|(code, _)| code);
    let is = |wanted: E| [Some(error.code), fatal].contains(&Some(Code::of(wanted)));
    if is(E::RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED) {
        TransactionTrial::NotAuthorised
    } else if is(E::RD_KAFKA_RESP_ERR_INVALID_TRANSACTION_TIMEOUT) {
        TransactionTrial::TooLong
    } else {
        TransactionTrial::Failed(error.text.clone())
    }
}

/// The progress topic, after it was looked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EnsuredProgress {
    /// It was there.
    Found(ProgressTopic),
    /// It was made.
    Made {
        /// How many partitions.
        partitions: u32,
        /// And replicas of each.
        replication: u32,
    },
    /// It was not made: for three replicas there are too few brokers, this number.
    TooFew(u32),
}

/// Makes the progress topic of a job, unless it is there. With fewer than three brokers it is made only if
/// `unreplicated`, with as many replicas as there are brokers.
pub fn ensure_progress_topic(job: &Job, unreplicated: bool, timeout: Duration) -> Result<EnsuredProgress, PreflightProblem> {
    if let Some(found) = progress_topic(job, timeout)? {
        return Ok(EnsuredProgress::Found(found));
    }
    let asker = Asker::new(job, timeout, true)?;
    let brokers = asker.client.metadata(None, timeout).map_or(0, |found| found.brokers.len() as u32);
    if brokers < REPLICAS && !unreplicated {
        return Ok(EnsuredProgress::TooFew(brokers));
    }
    let replication = brokers.clamp(1, REPLICAS);
    create_progress_topic(job, PROGRESS_PARTITIONS, replication, timeout)?;
    Ok(EnsuredProgress::Made { partitions: PROGRESS_PARTITIONS, replication })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Vec<TopicSetting> {
        let setting = |&(name, value): &(&str, &str)| TopicSetting { name: name.into(), value: value.into(), is_own: false };
        pairs.iter().map(setting).collect()
    }

    #[test]
    fn the_version_is_told_by_a_setting_that_older_brokers_do_not_have() {
        let (old, new) = (settings(&[("cleanup.policy", "delete")]), settings(&[(AS_OLD, "1")]));
        for (verifies, topic, expected) in [
            (vec![], vec![], None),
            (vec![], old.clone(), Some(false)),
            (vec![], new.clone(), Some(true)),
            (vec![Some(true), Some(false)], vec![], Some(true)),
            (vec![Some(true), None], new, Some(false)),
        ] {
            assert_eq!(is_recent(&verifies, &topic), expected, "{verifies:?} {topic:?}");
        }
    }

    #[test]
    fn what_a_topic_may_lose_is_read_from_its_settings() {
        let read = durability(&settings(&[("min.insync.replicas", " 2 "), ("unclean.leader.election.enable", "false")]));
        assert_eq!(read, Durability { replication: None, least: Some(2), unclean: Some(false) });
        assert_eq!(durability(&[]), Durability::default());
    }

    #[test]
    fn the_rights_that_a_worker_lacks_are_named() {
        let of = |rights: Option<Vec<Right>>| facts_of(&ProgressTopic { rights, ..ProgressTopic::default() }).missing;
        assert_eq!(of(Some(vec![Right::Describe, Right::DescribeConfigs])), ["Read", "Write"]);
        assert!(of(Some(NEEDED.to_vec())).is_empty());
        assert!(of(None).is_empty());
    }
}
