//! What is asked of a comparison, and the run of all of it that follows for a job's records.

use std::time::Duration;

use migration::{Job, Plan};

use crate::comparison_run::ComparisonRun;
use crate::figures::{Conditions, Environment, Setting};
use crate::properties::{properties_instead, shown_properties};
use crate::rows::reference;
use crate::spec::Bench;

/// What was asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The rows, the reference among them.
    pub rows: Vec<Setting>,
    /// Round trip of the embedded broker; `None` on real ones.
    pub rtt: Option<Duration>,
    /// Brokers, as they were named.
    pub brokers: String,
    /// Whether the job keeps order by key.
    pub by_key: bool,
    /// Waits for each record.
    pub wait: Duration,
    /// CPU for each record.
    pub cpu: Duration,
    /// When each run stops.
    pub seconds: f64,
    /// Or after this number of records.
    pub records: Option<u64>,
    /// How often each setting runs.
    pub rounds: u32,
}

/// What is known of the topic that runs write to.
#[derive(Clone, Copy, Debug)]
pub struct TopicFacts {
    /// How many partitions it has.
    pub partitions: u32,
    /// Its replication; 0: not known.
    pub replication: u32,
    /// Its `max.message.bytes`.
    pub max_message_bytes: u32,
}

impl Asked {
    /// The whole comparison, with the job's records. `job` has the brokers and the topic that runs write to.
    pub fn of(self, job: &Job, plan: Plan, topic: &TopicFacts, environment: Environment) -> ComparisonRun {
        ComparisonRun {
            conditions: self.conditions(job, topic),
            bench: Bench::of(job, plan, self.by_key, topic.max_message_bytes, topic.partitions),
            environment,
            reference: reference(&self.rows),
            settings: self.rows,
            folder: job.state_dir.join("compare"),
        }
    }

    fn conditions(&self, job: &Job, topic: &TopicFacts) -> Conditions {
        let real = self.rtt.is_none();
        Conditions {
            rtt_us: self.rtt.map(|rtt| rtt.as_micros() as u64),
            brokers: self.brokers.clone(),
            topic: job.kafka.topic.clone(),
            partitions: topic.partitions,
            replication: (real && topic.replication > 0).then_some(topic.replication),
            by_key: self.by_key,
            partitioner: job.kafka.partitioner.name().to_owned(),
            chunk_records: job.workers.chunk.records,
            chunk_bytes: job.workers.chunk.bytes,
            chunk_interval_ms: job.workers.chunk.interval.as_millis() as u64,
            in_flight_bytes: job.workers.in_flight,
            wait_us: self.wait.as_micros() as u64,
            cpu_us: self.cpu.as_micros() as u64,
            seconds: self.seconds,
            records: self.records,
            rounds: self.rounds,
            properties_instead: properties_instead(job, &self.rows, topic.max_message_bytes, topic.partitions),
            properties: shown_properties(job, &self.rows, topic.max_message_bytes),
            source: job.source.files().paths.clone(),
            source_repeated: false,
        }
    }
}
