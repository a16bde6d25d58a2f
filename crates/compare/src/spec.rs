//! What the process of one run is told, and what it answers: the only two messages between it and the process that
//! asked.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use migration::job::{
    Brokers, CheckpointRules, ChunkLimits, DeadLetterRules, Delivery, FileRules, JsonlSource, KafkaRules, LettersTo, Limits,
    Partitioner, Property, RecordRules, RestartRules, Secret, ShardOrder, ShardRules, SourceRules, VerifyRules, WorkerRules,
};
use migration::{Job, Plan};
use serde::{Deserialize, Serialize};

use crate::figures::{Round, Setting};

/// What is the same for all runs: the job's records and where they go. It can hold secrets: it travels over a pipe
/// only.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bench {
    /// The job's name, for client ids.
    pub name: String,
    /// Addresses of brokers.
    pub brokers: Vec<String>,
    /// The topic to write to.
    pub topic: String,
    /// `kafka.client_id`: a quota holds a comparison as it holds the job.
    pub client_id: Option<String>,
    /// How a key chooses its partition.
    pub partitioner: Partitioner,
    /// Whether each key's records keep the source's order, as in a run of the job: then each worker has a set of
    /// partitions.
    pub by_key: bool,
    /// Record to message.
    pub record: RecordRules,
    /// librdkafka properties, secrets resolved.
    pub properties: Vec<(String, String)>,
    /// The most records of a chunk.
    pub chunk_records: u64,
    /// The most bytes of a chunk.
    pub chunk_bytes: u64,
    /// How long a chunk lasts at most.
    pub chunk_interval: Duration,
    /// Bytes in flight, for each worker.
    pub in_flight: u64,
    /// No delivery report for so long: give up.
    pub give_up_after: Duration,
    /// No heartbeat of a worker process for so long: give up.
    pub heartbeat_timeout: Duration,
    /// RLIMIT_DATA of each worker process.
    pub memory_limit: u64,
    /// The topic's `max.message.bytes`.
    pub max_message_bytes: u32,
    /// How many partitions it has.
    pub partitions: u32,
    /// The source, cut as the job would cut it; each run deals it out anew.
    pub plan: Plan,
}

impl Bench {
    /// What a job says, with its brokers resolved, and the topic that `compare` writes to.
    pub fn of(job: &Job, plan: Plan, by_key: bool, max_message_bytes: u32, partitions: u32) -> Bench {
        let brokers = match &job.kafka.brokers {
            Brokers::Bootstrap(brokers) => brokers.clone(),
            Brokers::Embedded => Vec::new(),
        };
        Bench {
            name: job.name.clone(),
            brokers,
            topic: job.kafka.topic.clone(),
            client_id: job.kafka.client_id.clone(),
            partitioner: job.kafka.partitioner,
            by_key,
            record: job.record.clone(),
            properties: job.kafka.properties.iter().map(|(name, value)| (name.clone(), value.expose().to_owned())).collect(),
            chunk_records: job.workers.chunk.records,
            chunk_bytes: job.workers.chunk.bytes,
            chunk_interval: job.workers.chunk.interval,
            in_flight: job.workers.in_flight,
            give_up_after: job.kafka.give_up_after,
            heartbeat_timeout: job.workers.heartbeat_timeout,
            memory_limit: job.workers.memory_limit,
            max_message_bytes,
            partitions,
            plan,
        }
    }

    /// The job of one run.
    pub(crate) fn job(&self, setting: &Setting) -> Job {
        // In the process of a run it is no longer known which of them were secret, so all are treated as such.
        let secret = |value: &str| Property::Secret(Secret { from: "compare".into(), value: value.to_owned() });
        Job {
            name: self.name.clone(),
            state_dir: PathBuf::new(),
            source: SourceRules::Jsonl(JsonlSource {
                raw: true,
                files: FileRules { paths: Vec::new(), max_line: self.plan.max_line },
            }),
            shards: ShardRules { target_size: None, order: ShardOrder::Source, by_key: Some(self.by_key) },
            record: self.record.clone(),
            kafka: KafkaRules {
                brokers: Brokers::Bootstrap(self.brokers.clone()),
                topic: self.topic.clone(),
                partitioner: self.partitioner,
                give_up_after: self.give_up_after,
                client_id: self.client_id.clone(),
                delivery: Delivery::AtLeastOnce,
                properties: self.properties.iter().map(|(name, value)| (name.clone(), secret(value))).collect(),
            },
            workers: WorkerRules {
                count: std::num::NonZeroU32::new(setting.workers),
                max: setting.workers,
                flush: setting.flush,
                chunk: ChunkLimits { records: self.chunk_records, bytes: self.chunk_bytes, interval: self.chunk_interval },
                in_flight: self.in_flight,
                // A worker that fails spoils its run: there is no second attempt.
                restart: RestartRules {
                    max_without_progress: 1,
                    backoff_min: Duration::from_millis(100),
                    backoff_max: Duration::from_secs(1),
                },
                heartbeat_timeout: self.heartbeat_timeout,
                drain_timeout: DRAIN,
                memory_limit: self.memory_limit,
            },
            limits: Limits { rate_records: None, rate_bytes: None, max_bad_records: u64::MAX },
            dead_letters: DeadLetterRules { to: LettersTo::File, topic: None },
            // Only used by deliveries that are not compared.
            checkpoint: CheckpointRules { topic: String::new() },
            verify: VerifyRules { allow_duplicates: false, workers: 1 },
            accept: BTreeSet::new(),
            record_limit: None,
        }
    }
}

/// How long the records in flight at a run's end may take to be delivered.
pub(crate) const DRAIN: Duration = Duration::from_secs(20);

/// One run.
#[derive(Clone, Serialize, Deserialize)]
pub struct RoundSpec {
    /// What is the same for all.
    pub bench: Bench,
    /// Index into the comparison's settings.
    pub index: u32,
    /// Its setting.
    pub setting: Setting,
    /// From 1.
    pub round: u32,
    /// When the clock stops.
    pub duration: Duration,
    /// Or when this number of records is acknowledged, all workers together.
    pub records: Option<u64>,
    /// Waits for each record.
    pub wait: Duration,
    /// CPU for each record.
    pub cpu: Duration,
    /// The process that asked: without it this run is of no use.
    pub parent: u32,
    /// A private folder for this run alone; the parent removes it.
    pub folder: PathBuf,
}

/// What a run answers.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RoundResult {
    /// Its figures, or why there are none.
    pub round: Round,
    /// When its clock began, microseconds of the monotonic clock.
    pub began_us: u64,
    /// When its clock stopped.
    pub ended_us: u64,
}
