//! Making topics: one for a while, created before a comparison on real brokers and deleted after it, and the progress
//! topic.
//!
//! Responsible for: that a topic can be written to when it was created, and errors that say what to do. Not responsible
//! for: whether a topic may be created at all (a job's never is), who deletes it after an interruption, or in which
//! process this runs. It creates a client, hence threads.

use std::rc::Rc;
use std::time::{Duration, Instant};

use migration::Job;
use rdkafka::types::RDKafkaRespErr as E;

use crate::classify::{Verdict, verdict};
use crate::ffi::{self, Client, ClientKind, Code, Topic, TopicMetadata};
use crate::notice::{Complaints, Patience, until_answered};
use crate::options::{Role, client_properties, configure};
use crate::problem::{PreflightProblem, PreflightProblemKind as Problem, addresses};

/// How long to wait between two looks at the cluster.
const REST: Duration = Duration::from_millis(20);

/// A topic's size of a segment beside a limit of its bytes: only whole segments are deleted.
const SEGMENTS: u64 = 4;

/// What a topic is to be like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// How many partitions.
    pub partitions: u32,
    /// How many replicas of each; `None`: the brokers' default.
    pub replication: Option<u32>,
    /// The brokers may delete what a partition holds beyond this number of bytes; `None`: their default.
    pub retention_bytes: Option<u64>,
}

impl NewTopic {
    fn settings(&self) -> Vec<(&'static str, String)> {
        self.retention_bytes.map_or_else(Vec::new, |bytes| {
            vec![("retention.bytes", bytes.to_string()), ("segment.bytes", (bytes / SEGMENTS).to_string())]
        })
    }
}

/// Creates `topic` on the brokers of a job, and waits until each partition has a leader. All of it may last `timeout`.
pub fn create_topic(job: &Job, topic: &str, new: &NewTopic, timeout: Duration) -> Result<(), PreflightProblem> {
    let admin = Admin::connect(job, timeout)?;
    admin.create(topic, new.partitions, new.replication, &new.settings())
}

/// Deletes `topic` from the brokers of a job. That it does not exist (any more) is no error.
pub fn delete_topic(job: &Job, topic: &str, timeout: Duration) -> Result<(), PreflightProblem> {
    let admin = Admin::connect(job, timeout)?;
    match ffi::delete_topic(&admin.client, topic, admin.left()) {
        Err((code, _)) if code.known() == Some(E::RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART) => Ok(()),
        result => result.map_err(|(code, text)| admin.refused("deleted", topic, code, &text)),
    }
}

/// A client that makes topics.
pub(crate) struct Admin {
    pub(crate) client: Rc<Client>,
    brokers: String,
    deadline: Instant,
}

impl Admin {
    /// A client that brokers have answered.
    pub(crate) fn connect(job: &Job, timeout: Duration) -> Result<Admin, PreflightProblem> {
        let bad = |message: String| PreflightProblem::new(Problem::BadConfig, message);
        let conf = configure(&client_properties(job, Role::Admin)).map_err(bad)?;
        let client = conf.into_client(ClientKind::Producer).map_err(|e| bad(format!("can't create a Kafka client: {e}")))?;
        let (brokers, deadline) = (addresses(job), Instant::now() + timeout);
        let mut complaints = Complaints::default();
        let ask = |wait| client.metadata(None, wait);
        let answer = until_answered(&client, timeout, Patience::UntilHopeless, &mut complaints, ask);
        answer.map_err(|code| {
            let reason = complaints.reason(code);
            match &complaints.hopeless {
                Some(_) => PreflightProblem::new(
                    Problem::NotAuthorised,
                    format!("the brokers at {brokers} refuse the connection: {reason}"),
                ),
                None => PreflightProblem::new(
                    Problem::Unreachable,
                    format!("no broker answered at {brokers} within {timeout:?}: {reason}"),
                ),
            }
        })?;
        Ok(Admin { client, brokers, deadline })
    }

    /// Creates a topic, and waits until each partition has a leader.
    pub(crate) fn create(
        &self,
        topic: &str,
        partitions: u32,
        replication: Option<u32>,
        settings: &[(&str, String)],
    ) -> Result<(), PreflightProblem> {
        ffi::create_topic(&self.client, topic, partitions, replication, settings, self.left())
            .map_err(|(code, text)| self.refused("created", topic, code, &text))?;
        self.wait_for_leaders(topic, partitions)
    }

    /// What the brokers say of a topic.
    pub(crate) fn shape(&self, name: &str) -> Result<TopicMetadata, Code> {
        let topic = Topic::new(&self.client, name)?;
        loop {
            let code = match self.client.metadata(Some(&topic), self.left()) {
                Ok(found) if found.code == 0 && !found.partitions.is_empty() => return Ok(found),
                Ok(found) if found.code != 0 => Code(found.code),
                Ok(_) => Code::of(E::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE),
                Err(code) => code,
            };
            if verdict(code) != Verdict::Unreachable || Instant::now() >= self.deadline {
                return Err(code);
            }
            std::thread::sleep(REST);
        }
    }

    /// How much time is left of all; never none.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(100))
    }

    fn wait_for_leaders(&self, name: &str, partitions: u32) -> Result<(), PreflightProblem> {
        let topic = Topic::new(&self.client, name)
            .map_err(|e| PreflightProblem::new(Problem::BadConfig, format!("can't use topic {name:?}: {e}")))?;
        loop {
            let found = self.client.metadata(Some(&topic), self.left());
            let led = found.as_ref().map_or(0, |found| found.partitions.iter().filter(|(_, leader)| *leader >= 0).count());
            if led == partitions as usize {
                return Ok(());
            }
            if Instant::now() >= self.deadline {
                let message =
                    format!("topic {name:?} was created, but only {led} of its {partitions} partitions have a leader yet");
                return Err(PreflightProblem::new(Problem::Unreachable, message));
            }
            std::thread::sleep(REST);
        }
    }

    fn refused(&self, what: &str, topic: &str, code: Code, text: &str) -> PreflightProblem {
        let (kind, advice) = match (code.known(), verdict(code)) {
            (Some(E::RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS), _) => (Problem::Other, ". It is left as it is"),
            (Some(E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED | E::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED), _) => {
                (Problem::NotAuthorised, ". The principal needs Create and Delete on the topic or the cluster")
            }
            (Some(E::RD_KAFKA_RESP_ERR__TIMED_OUT | E::RD_KAFKA_RESP_ERR__TRANSPORT), _) | (_, Verdict::Unreachable) => {
                (Problem::Unreachable, "")
            }
            _ => (Problem::Other, ""),
        };
        let brokers = &self.brokers;
        PreflightProblem::new(kind, format!("topic {topic:?} could not be {what} on {brokers}: {text} ({code}){advice}"))
    }
}
