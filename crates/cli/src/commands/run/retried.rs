//! The job whose dead letters a run sends again: what of it the run is held to.

use kafka::Preflight;
use migration::report::Binding;
use migration::units::show_things;
use migration::{Exit, Incarnation, Job, JobInTopic, Purpose, UserError};

use super::in_kafka::other_repair;
use crate::catch_up::begun_elsewhere;
use crate::interrupt::Interrupt;
use crate::preflight;
use crate::state::Earlier;

/// A job that set records aside.
#[derive(Debug)]
pub struct RetriedJob {
    name: String,
    earlier: Earlier,
    /// What the topic lacks of its records is sent, and no dead letters: found missing after this start of its repairs
    /// in Kafka was begun.
    repaired: Option<u32>,
}

impl RetriedJob {
    /// That of this name, with what its runs left.
    pub fn new(name: String, earlier: Earlier) -> RetriedJob {
        RetriedJob { name, earlier, repaired: None }
    }

    /// The same of one of whose records the topic lacks some, which was found after this start of its repairs (0: none,
    /// or it does not deliver exactly once).
    pub fn to_repair(name: String, earlier: Earlier, start: u32) -> RetriedJob {
        RetriedJob { name, earlier, repaired: Some(start) }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which start of it this is.
    pub fn created_ms(&self) -> i64 {
        self.earlier.state.origin.created_ms
    }

    /// Refuses brokers of another cluster than its own.
    pub fn require_cluster(&self, job: &Job, purpose: Purpose, interrupt: &Interrupt) -> Result<(), UserError> {
        let job = Job { name: self.name.clone(), ..job.clone() };
        preflight::require_cluster(&job, purpose, &self.earlier.state.binding, Some(interrupt))
    }

    /// Whether its records may be sent, by what Kafka has of the job that sends them. `here`: which start of that this
    /// folder has a state of. What a retry sends is in the folder alone that began it: there is no going on elsewhere,
    /// and no beginning again.
    pub fn may_begin(&self, name: &str, found: &JobInTopic, here: Option<Incarnation>) -> Result<(), UserError> {
        let stored = match found {
            JobInTopic::Whole(stored) => Some(&stored.plan),
            JobInTopic::Nothing | JobInTopic::Damaged(_) => None,
        };
        match (self.repaired, stored) {
            (Some(known), _) if known != found.generation() => {
                let made_by = stored.map_or("another one", |plan| plan.made_by.as_str());
                Err(self.begun_by(name, made_by))
            }
            (None, Some(plan)) if plan.parent_ms == Some(self.created_ms()) && here != Some(plan.of) => {
                Err(self.begun_by(name, &plan.made_by))
            }
            _ => Ok(()),
        }
    }

    /// The error if another one began to send its records at the same time. `name`: of the job that sends them.
    pub fn begun_by(&self, name: &str, other: &str) -> UserError {
        match self.repaired {
            Some(_) => other_repair(&self.name, other),
            None => begun_elsewhere(name, &self.name, other),
        }
    }

    /// An error if the job was started over since its records were found, by what Kafka has of it: that start ends
    /// what it finds in Kafka of jobs that send records of the one before.
    pub fn require_same_start(&self, found: &JobInTopic) -> Result<(), UserError> {
        if found.generation() <= self.earlier.state.origin.generation {
            return Ok(());
        }
        let what =
            format!("job {} was started over elsewhere: its records are not sent again, and nothing was sent", self.name);
        Err(UserError::new(Exit::Preflight, what).hint("do this where the job was started over"))
    }

    /// Whether its records can be sent again to where it sent the others. Returns warnings.
    pub fn may_be_sent(&self, job: &Job, now: &Binding) -> Result<Vec<String>, UserError> {
        self.earlier.may_retry(&Job { name: self.name.clone(), ..job.clone() }, now)
    }

    /// What of the topic a run uses that begins now: keys choose among the partitions among which they chose before.
    pub fn used(&self, mut found: Preflight) -> Preflight {
        found.partitions.truncate(self.earlier.state.binding.end_offsets.len());
        found
    }

    /// What is to be known before a record comes behind newer ones.
    pub fn warnings(&self, job: &Job, compacted: bool) -> Vec<String> {
        let sent = self.earlier.state.counts().acknowledged;
        // A repair says what it means before it asks.
        if job.record.key.is_none() || sent == 0 || self.repaired.is_some() {
            return Vec::new();
        }
        let records = show_things(sent, "record");
        let mut told = vec![format!(
            "what is sent again comes behind the {records} that job {} sent: also behind newer ones of the same key",
            self.name
        )];
        if compacted {
            told.push(format!(
                "topic {} is compacted: where a newer record of a key was sent before, the OLDER one that is sent again becomes the \
                 newest, and compaction removes the newer one for good; leave such records out with `shardlift dlq show --records` and \
                 --edited",
                job.kafka.topic
            ));
        }
        told
    }
}
