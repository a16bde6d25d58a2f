//! The topic itself: what it has to be like, and making it.
//!
//! Responsible for: reading what it is like. Not responsible for: whether a job may go on with one that is different
//! (the cli's check decides), or making it without being asked to.

use std::time::Duration;

use migration::Job;
use migration::progress::topic_settings as wanted;
use rdkafka::types::RDKafkaRespErr as E;
use serde::{Deserialize, Serialize};

use crate::admin::Admin;
use crate::ffi::{Code, TopicSetting, topic_operations, topic_settings};
use crate::problem::{PreflightProblem, PreflightProblemKind as Problem};
use crate::rights::Right;
use crate::topic_probe::is_unknown_topic;

/// What a progress topic is like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProgressTopic {
    /// How many partitions.
    pub partitions: u32,
    /// Replicas of the partition that has most.
    pub replication: u32,
    /// The fewest replicas of a partition that are in sync now.
    pub in_sync: u32,
    /// `cleanup.policy`; `None`: its settings are not told, as for all that follow.
    pub cleanup_policy: Option<String>,
    /// `min.insync.replicas`.
    pub min_in_sync: Option<u32>,
    /// `unclean.leader.election.enable`.
    pub unclean_election: Option<bool>,
    /// `segment.bytes`.
    pub segment_bytes: Option<u64>,
    /// `segment.ms`.
    pub segment_ms: Option<u64>,
    /// What the principal may do with it; `None`: the brokers don't tell.
    pub rights: Option<Vec<Right>>,
}

impl ProgressTopic {
    /// Whether the newest record of each key stays for ever; `None`: that is not told.
    pub fn keeps_the_newest(&self) -> Option<bool> {
        let policy = self.cleanup_policy.as_ref()?;
        let mut all = policy.split(',').map(str::trim).filter(|one| !one.is_empty()).peekable();
        Some(all.peek().is_some() && all.all(|one| one == "compact"))
    }

    fn with_settings(self, settings: &[TopicSetting]) -> ProgressTopic {
        let value = |name: &str| settings.iter().find(|setting| setting.name == name).map(|setting| setting.value.trim());
        ProgressTopic {
            cleanup_policy: value("cleanup.policy").map(str::to_owned),
            min_in_sync: value("min.insync.replicas").and_then(|text| text.parse().ok()),
            unclean_election: value("unclean.leader.election.enable").and_then(|text| text.parse().ok()),
            segment_bytes: value("segment.bytes").and_then(|text| text.parse().ok()),
            segment_ms: value("segment.ms").and_then(|text| text.parse().ok()),
            ..self
        }
    }
}

/// What a job's progress topic is like; `None`: there is none. The job's brokers are addresses by now. All of it may
/// last `timeout`.
pub fn progress_topic(job: &Job, timeout: Duration) -> Result<Option<ProgressTopic>, PreflightProblem> {
    let name = &job.checkpoint.topic;
    let admin = Admin::connect(job, timeout)?;
    let found = match admin.shape(name) {
        Ok(found) => found,
        Err(code) if is_unknown_topic(code) => return Ok(None),
        Err(code) => return Err(unreadable(name, code)),
    };
    let shape = ProgressTopic {
        partitions: found.partitions.len() as u32,
        replication: found.replication,
        in_sync: found.in_sync.iter().copied().min().unwrap_or(0),
        ..ProgressTopic::default()
    };
    // A principal may be allowed to see a topic and not its settings.
    let settings = topic_settings(&admin.client, name, admin.left()).unwrap_or_default();
    let operations = topic_operations(&admin.client, name, admin.left()).unwrap_or_default();
    let rights = operations.map(|operations| Right::of(&operations));
    Ok(Some(ProgressTopic { rights, ..shape.with_settings(&settings) }))
}

/// Creates a job's progress topic, and waits until each partition has a leader. That it is there already is an error,
/// and leaves it as it is. All of it may last `timeout`.
pub fn create_progress_topic(job: &Job, partitions: u32, replication: u32, timeout: Duration) -> Result<(), PreflightProblem> {
    let admin = Admin::connect(job, timeout)?;
    admin.create(&job.checkpoint.topic, partitions, Some(replication), &wanted(replication))
}

fn unreadable(name: &str, code: Code) -> PreflightProblem {
    let kind = match code.known() {
        Some(E::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED) => Problem::NotAuthorised,
        Some(E::RD_KAFKA_RESP_ERR__TIMED_OUT | E::RD_KAFKA_RESP_ERR__TRANSPORT) => Problem::Unreachable,
        _ => Problem::Other,
    };
    PreflightProblem::new(kind, format!("the brokers don't describe the progress topic {name:?}: {code}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_compaction_alone_keeps_the_newest() {
        for (policy, keeps) in [
            (None, None),
            (Some("compact"), Some(true)),
            (Some(" compact "), Some(true)),
            (Some("delete"), Some(false)),
            (Some("compact,delete"), Some(false)),
            (Some(""), Some(false)),
        ] {
            let topic = ProgressTopic { cleanup_policy: policy.map(str::to_owned), ..ProgressTopic::default() };
            assert_eq!(topic.keeps_the_newest(), keeps, "{policy:?}");
        }
    }
}
