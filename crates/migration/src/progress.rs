//! What the progress topic holds of a job with exactly-once delivery: its plan, and how far each shard is.
//!
//! Responsible for: the values, and which of them belong to a job as it was started last. Not responsible for: their
//! bytes, and for reading and writing them (the kafka crate).

use serde::{Deserialize, Serialize};

use crate::fixed::FixedSettings;
use crate::report::Binding;
use crate::{LedgerEntry, Plan, ShardId};

/// Which start of which job something belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incarnation {
    /// The plan's id.
    pub plan_id: u128,
    /// How often the job was started over, from 1: what an earlier start left in the topic means nothing to a later
    /// one.
    pub generation: u32,
}

impl Incarnation {
    /// Whether there can be such a start: a later one can still be counted.
    pub fn is_possible(&self) -> bool {
        (1..u32::MAX / 2).contains(&self.generation)
    }
}

/// Which start of its job a state is of, on every machine alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateOrigin {
    /// See [`Incarnation::generation`].
    pub generation: u32,
    /// When it began, milliseconds since 1970. Unlike the generation it never comes again, also where the progress
    /// topic is another one: what belongs to this start alone (dead letters, what sends them again) is told by it.
    pub created_ms: i64,
    /// Whether the state was made of what the progress topic had of the job.
    pub from_topic: bool,
}

/// How far a shard is: the value of its record, written in the transaction of the chunk that it is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardProgress {
    /// Whose.
    pub of: Incarnation,
    /// Which attempt wrote it; for people.
    pub attempt: u32,
    /// How far it is.
    pub entry: LedgerEntry,
}

/// A job as it began: what another machine needs to go on with it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredPlan {
    /// Which start of the job it is.
    pub of: Incarnation,
    /// The job's name.
    pub name: String,
    /// See [`StateOrigin::created_ms`].
    pub created_ms: i64,
    /// The same of the job whose dead letters, or missing records, this one sends.
    pub parent_ms: Option<i64>,
    /// Who began it, for messages: `host:folder` of its state.
    pub made_by: String,
    /// The plan as it was made.
    pub plan: Plan,
    /// What it belongs to.
    pub binding: Binding,
    /// What must not change once a record was sent.
    pub settings: FixedSettings,
}

/// A job as the progress topic has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoredJob {
    /// How it began.
    pub plan: StoredPlan,
    /// How far its shards are, by their numbers; one that committed nothing is not in it.
    pub shards: Vec<(ShardId, LedgerEntry)>,
}

impl StoredJob {
    /// How many records are set aside.
    pub fn letters(&self) -> u64 {
        self.shards.iter().map(|(_, entry)| entry.counts.dead_lettered).sum()
    }
}

/// What the progress topic has of a job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum JobInTopic {
    /// Nothing.
    Nothing,
    /// Its plan, and how far its shards are.
    Whole(Box<StoredJob>),
    /// Records of it, from which it can't go on.
    Damaged(DamagedJob),
}

impl JobInTopic {
    /// The newest start of which there is a record; 0: none.
    pub fn generation(&self) -> u32 {
        match self {
            JobInTopic::Nothing => 0,
            JobInTopic::Whole(stored) => stored.plan.of.generation,
            JobInTopic::Damaged(damage) => damage.generation,
        }
    }
}

/// Why a job can't go on from its records in the progress topic. One that starts over with a later start than all of
/// them can.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DamagedJob {
    /// The newest start of which there is a record; 0: none that can be understood.
    pub generation: u32,
    /// What is wrong, for messages.
    pub what: String,
}

/// What a worker needs for transactions; `None` in its context: it delivers at least once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TopicLedger {
    /// The progress topic.
    pub topic: String,
    /// The job's name.
    pub job: String,
    /// Which start of it.
    pub of: Incarnation,
}

impl TopicLedger {
    /// The key of a shard's record.
    pub fn shard_key(&self, shard: ShardId) -> String {
        shard_key(&self.job, shard)
    }

    /// The transactional id of the attempts of a shard, one after the other.
    pub fn transactional_id(&self, shard: ShardId) -> String {
        shard_transactional_id(&self.job, shard)
    }
}

/// Partitions that the progress topic is made with.
pub const PROGRESS_PARTITIONS: u32 = 16;
/// A segment of the progress topic, bytes: only what stands in older ones is compacted, and a scan reads what is not.
pub const SEGMENT_BYTES: u64 = 16 << 20;
/// The longest time until a segment is an older one, milliseconds.
pub const SEGMENT_MS: u64 = 3_600_000;
/// From which share of superseded records on it is compacted.
const DIRTY_RATIO: &str = "0.1";

/// The settings that the progress topic is made with. With fewer replicas in sync than are needed nothing is
/// acknowledged; with all of them needed one broker that is away would stop the job.
pub fn topic_settings(replication: u32) -> Vec<(&'static str, String)> {
    vec![
        ("cleanup.policy", "compact".to_owned()),
        ("min.insync.replicas", replication.saturating_sub(1).clamp(1, 2).to_string()),
        ("unclean.leader.election.enable", "false".to_owned()),
        ("segment.bytes", SEGMENT_BYTES.to_string()),
        ("segment.ms", SEGMENT_MS.to_string()),
        ("min.cleanable.dirty.ratio", DIRTY_RATIO.to_owned()),
    ]
}

/// What all transactional ids of this program begin with, so that one ACL can name them.
pub const TRANSACTIONAL_PREFIX: &str = "shardlift.";

/// The key of a shard's record.
pub fn shard_key(job: &str, shard: ShardId) -> String {
    format!("{job}/shard/{shard}")
}

/// The key of a part of a job's plan.
pub fn plan_key(job: &str, part: u32) -> String {
    format!("{}{part}", plan_keys(job))
}

/// What the keys of all parts of a job's plan begin with.
pub fn plan_keys(job: &str) -> String {
    format!("{job}/plan/")
}

/// The transactional id of the attempts of a shard, one after the other.
pub fn shard_transactional_id(job: &str, shard: ShardId) -> String {
    format!("{TRANSACTIONAL_PREFIX}{job}.{shard}")
}

/// The transactional id of who writes a job's plan.
pub fn plan_transactional_id(job: &str) -> String {
    format!("{TRANSACTIONAL_PREFIX}{job}.plan")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_broker_may_be_away_where_there_are_three() {
        let least = |replication| {
            let all = topic_settings(replication);
            all.into_iter().find(|(name, _)| *name == "min.insync.replicas").map(|(_, value)| value).unwrap_or_default()
        };
        assert_eq!([1, 2, 3, 5].map(least), ["1", "1", "2", "2"]);
    }

    #[test]
    fn keys_and_ids_name_job_and_shard() {
        let ledger = TopicLedger { topic: "p".into(), job: "orders".into(), of: Incarnation::default() };
        let shard = ShardId(12);
        assert_eq!(ledger.shard_key(shard), format!("orders/shard/{shard}"));
        assert_eq!(ledger.transactional_id(shard), format!("shardlift.orders.{shard}"));
        assert_eq!(
            (plan_key("orders", 3), plan_transactional_id("orders")),
            ("orders/plan/3".into(), "shardlift.orders.plan".into())
        );
    }
}
