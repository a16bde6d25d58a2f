//! What a job's identity is: everything that must not change between stop and resume.
//!
//! Responsible for what belongs to it. Not responsible for its hash, which the supervisor makes and keeps with the
//! state.

use serde::Serialize;

use crate::job::{CsvFormat, Partitioner, RecordRules, SourceRules};
use crate::report::Binding;
use crate::{Job, Plan};

/// What the ids of embedded clusters begin with.
const EMBEDDED_CLUSTER: &str = "mockCluster";

/// What a job is from its first run on; workers, rates, limits and addresses of brokers are no part of it, nor is where
/// dead letters go, which may change while there are none. Each field counts, and so does their order: the plan's id is
/// a hash of all.
#[derive(Clone, Debug, Serialize)]
pub struct Identity<'a> {
    plan: &'a Plan,
    /// How rows become records, where the source has such rules.
    csv: Option<&'a CsvFormat>,
    record: &'a RecordRules,
    topic: &'a str,
    partitioner: Partitioner,
    delivery: &'static str,
    /// Where progress is kept in Kafka, if it is.
    progress: Option<&'a str>,
    cluster_id: &'a str,
    topic_id: &'a str,
}

impl<'a> Identity<'a> {
    /// That of a job with this plan, bound to this cluster and topic.
    pub fn of(job: &'a Job, plan: &'a Plan, binding: &'a Binding) -> Self {
        Identity {
            plan,
            csv: match &job.source {
                SourceRules::Jsonl(_) => None,
                SourceRules::Csv(source) => Some(&source.format),
            },
            record: &job.record,
            topic: &binding.topic,
            partitioner: job.kafka.partitioner,
            delivery: job.kafka.delivery.name(),
            progress: job.exactly_once().then_some(job.checkpoint.topic.as_str()),
            cluster_id: &binding.cluster_id,
            topic_id: &binding.topic_id,
        }
    }
}

/// Whether a cluster's id is that of an embedded broker.
pub fn is_embedded_cluster(id: &str) -> bool {
    id.starts_with(EMBEDDED_CLUSTER)
}

impl Binding {
    /// Whether it is about an embedded broker, which died with its run.
    pub fn is_of_embedded(&self) -> bool {
        is_embedded_cluster(&self.cluster_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_a_real_cluster_is_not_an_embedded_brokers() {
        let of = |cluster: &str| Binding { cluster_id: cluster.into(), ..Binding::default() };
        assert!(of("mockCluster55e8").is_of_embedded());
        assert!(!of("MkU3OEVBNTcwNTJENDM2Qk").is_of_embedded() && !of("").is_of_embedded());
    }
}
