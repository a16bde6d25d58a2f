//! Checks before the first record: which there are, what each of them found, and what follows.
//!
//! Responsible for the rules: from facts of topic, sample and machine to findings. Not responsible for the facts: the
//! Kafka crate asks brokers, the pipeline samples the source, and both come as values ([`facts`]).

mod delivery;
pub mod estimate;
mod existing;
pub mod facts;
mod letters;
pub mod machine;
mod source;
#[cfg(test)]
mod tests;
mod times;
mod topic;

use std::collections::BTreeSet;

use crate::job::Brokers;
use crate::{Accept, Exit, Job, Plan, UserError};

pub use letters::{of_letter_files, of_letters};
pub use machine::{memory_of_a_worker, of_machine, of_state};
pub use times::{date, old_times};

use facts::{DeliveryFacts, ExistingRecords, KnownTopic, SourceSample};

/// A question about brokers, source or machine before the first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// They resolve and answer, and so do the addresses that they advertise.
    Brokers,
    /// Whether a connection gets through TCP, TLS and SASL.
    Security,
    /// The topic is there, with leaders and replicas.
    Topic,
    /// What the principal may do.
    Rights,
    /// A client can be made of the job's settings.
    Client,
    /// The largest record against what the topic takes.
    Sizes,
    /// Event times against `retention.ms`.
    Retention,
    /// Bytes a partition against `retention.bytes`.
    RetentionSize,
    /// Event times against the topic's limits, and whether their unit is right.
    Timestamps,
    /// What compaction does to the job's records.
    Cleanup,
    /// Keys of the records that are there, hashed again.
    Partitioner,
    /// Keys and partitions that get most.
    Skew,
    /// Whether records have the fields that the job names.
    Mapping,
    /// What each file is by its first bytes.
    Formats,
    /// Whether the files can be read, and which are missed.
    Files,
    /// Records that are in the topic, and other producers.
    Existing,
    /// What exactly-once delivery rests on.
    Delivery,
    /// Partitions against workers and records in flight.
    Partitions,
    /// The topic of dead letters, if they go to one.
    DeadLetters,
    /// Whether brokers held answers back.
    Quota,
    /// Memory, descriptors and processes.
    Machine,
    /// The job's state.
    State,
    /// The brokers' clock.
    Clock,
    /// What is going to happen.
    Estimate,
}

impl Check {
    /// All, in the order in which they are told.
    pub const ALL: [Check; 24] = [
        Check::Brokers,
        Check::Security,
        Check::Topic,
        Check::Rights,
        Check::Client,
        Check::Sizes,
        Check::Retention,
        Check::RetentionSize,
        Check::Timestamps,
        Check::Cleanup,
        Check::Partitioner,
        Check::Skew,
        Check::Mapping,
        Check::Formats,
        Check::Files,
        Check::Existing,
        Check::Delivery,
        Check::Partitions,
        Check::DeadLetters,
        Check::Quota,
        Check::Machine,
        Check::State,
        Check::Clock,
        Check::Estimate,
    ];

    /// Its name in text, JSON, messages and docs.
    pub const fn name(self) -> &'static str {
        match self {
            Check::Brokers => "brokers",
            Check::Security => "security",
            Check::Topic => "topic",
            Check::Rights => "rights",
            Check::Client => "client",
            Check::Sizes => "sizes",
            Check::Retention => "retention",
            Check::RetentionSize => "retention-size",
            Check::Timestamps => "timestamps",
            Check::Cleanup => "cleanup",
            Check::Partitioner => "partitioner",
            Check::Skew => "skew",
            Check::Mapping => "mapping",
            Check::Formats => "formats",
            Check::Files => "files",
            Check::Existing => "existing",
            Check::Delivery => "delivery",
            Check::Partitions => "partitions",
            Check::DeadLetters => "dead-letters",
            Check::Quota => "quota",
            Check::Machine => "machine",
            Check::State => "state",
            Check::Clock => "clock",
            Check::Estimate => "estimate",
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CheckLevel {
    /// Nothing is wrong.
    Ok,
    /// It could not be asked; the fact says why. It blocks nothing.
    Skip,
    /// Worth a look.
    Warn,
    /// A run is refused, unless it is accepted by name.
    Fail,
}

impl CheckLevel {
    /// Its name in text and JSON.
    pub const fn name(self) -> &'static str {
        match self {
            CheckLevel::Ok => "ok",
            CheckLevel::Skip => "skip",
            CheckLevel::Warn => "warn",
            CheckLevel::Fail => "fail",
        }
    }
}

/// What one check found, in words. A check may find several things.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Which check.
    pub check: Check,
    /// How bad it is.
    pub level: CheckLevel,
    /// What was seen.
    pub fact: String,
    /// The command or key that mends it.
    pub mend: Option<String>,
    /// How a command ends that it refuses.
    pub exit: Exit,
    /// What lets it pass, if anything does.
    pub accept: Option<Accept>,
}

impl Finding {
    /// Nothing is wrong.
    pub fn ok(check: Check, fact: impl Into<String>) -> Finding {
        Finding { check, level: CheckLevel::Ok, fact: fact.into(), mend: None, exit: Exit::Preflight, accept: None }
    }

    /// It could not be asked; why.
    pub fn skip(check: Check, why: impl Into<String>) -> Finding {
        Finding { level: CheckLevel::Skip, ..Finding::ok(check, why) }
    }

    /// Worth a look.
    pub fn warn(check: Check, fact: impl Into<String>) -> Finding {
        Finding { level: CheckLevel::Warn, ..Finding::ok(check, fact) }
    }

    /// Refused with 4 unless [`Finding::ends_with`] says otherwise.
    pub fn fail(check: Check, fact: impl Into<String>) -> Finding {
        Finding { level: CheckLevel::Fail, ..Finding::ok(check, fact) }
    }

    /// Adds what mends it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Finding {
        Finding { mend: Some(mend.into()), ..self }
    }

    /// Another exit code than 4.
    #[must_use]
    pub fn ends_with(self, exit: Exit) -> Finding {
        Finding { exit, ..self }
    }

    /// Names what lets it pass.
    #[must_use]
    pub fn accept(self, accept: Accept) -> Finding {
        Finding { accept: Some(accept), ..self }
    }

    /// An error that ended a check before it had an answer.
    pub fn of_error(check: Check, error: UserError) -> Finding {
        let failed = Finding::fail(check, error.message).ends_with(error.exit);
        Finding { mend: error.hint, ..failed }
    }

    /// The same as a warning at most.
    #[must_use]
    pub fn told(self) -> Finding {
        Finding { level: self.level.min(CheckLevel::Warn), ..self }
    }

    /// Whether it refuses a run of a job that lets these pass.
    pub fn refuses(&self, accepted: &BTreeSet<Accept>) -> bool {
        self.level == CheckLevel::Fail && !self.accept.is_some_and(|accept| accepted.contains(&accept))
    }

    /// As one line of a log: `retention: … (mend)`.
    pub fn line(&self) -> String {
        match &self.mend {
            Some(mend) => format!("{}: {}; {mend}", self.check.name(), self.fact),
            None => format!("{}: {}", self.check.name(), self.fact),
        }
    }
}

/// What the rules judge by.
#[derive(Clone, Copy)]
pub struct Evidence<'a> {
    /// The job.
    pub job: &'a Job,
    /// Its plan.
    pub plan: &'a Plan,
    /// A sample of its source.
    pub sample: &'a SourceSample,
    /// How many partitions its topic has, if that is known.
    pub partitions: Option<u32>,
    /// What was in the topic before, if that was asked.
    pub existing: Option<&'a ExistingRecords>,
    /// The partition that the job's partitioner chooses for a key.
    pub partition_of: fn(&[u8], u32) -> Option<u32>,
    /// This machine's clock, milliseconds since 1970.
    pub now_ms: i64,
}

impl Evidence<'_> {
    /// Whether `limits.max_bad_records` allows about as many dead letters as a part of the sample stands for: a few
    /// rows tell that no better than to a factor of two.
    fn allows(&self, part: u64, whole: u64) -> bool {
        let limit = self.job.limits.max_bad_records;
        let expected = part as f64 / whole.max(1) as f64 * self.plan.records_estimate() as f64;
        part <= limit && expected <= 2.0 * limit as f64
    }

    /// Bytes of the whole job's records before compression, as far as that can be told.
    fn topic_bytes(&self) -> Option<u64> {
        estimate::topic_bytes(self.job, self.sample)
    }
}

/// What the source's sample says, and what of it needs no topic.
pub fn of_source(seen: &Evidence<'_>) -> Vec<Finding> {
    vec![source::mapping(seen)]
}

/// Whether the topic takes records now.
pub fn of_topic_now(job: &Job, facts: &KnownTopic) -> Finding {
    topic::topic(job, facts)
}

/// Whether the cluster keeps what exactly-once delivery promises. `facts`: what was asked, for a job that delivers so;
/// `begun`: it has sent records already.
pub fn of_delivery(job: &Job, facts: Option<&DeliveryFacts>, begun: bool) -> Vec<Finding> {
    delivery::delivery(job, facts, begun)
}

/// What the topic will do to the job's records.
pub fn of_topic(seen: &Evidence<'_>, facts: &KnownTopic) -> Vec<Finding> {
    vec![
        source::sizes(seen, facts),
        topic::retention(seen, facts),
        topic::retention_size(seen, facts),
        topic::timestamps(seen, Some(facts)),
        topic::cleanup(seen, facts),
        source::skew(seen),
    ]
}

/// The same for times alone where no broker was asked.
pub fn of_times(seen: &Evidence<'_>) -> Finding {
    topic::timestamps(seen, None)
}

/// What is in the topic, and how it differs from what the job sends.
pub fn of_existing(seen: &Evidence<'_>, found: &ExistingRecords) -> Vec<Finding> {
    let mut findings = vec![existing::partitioner(seen, found)];
    findings.extend(existing::existing(seen, found));
    findings.extend([existing::quota(found), topic::clock(seen)]);
    findings
}

/// The first refusal, as the error that ends a command; the others are in it. `None`: nothing refuses.
pub fn refusal(findings: &[Finding], accepted: &BTreeSet<Accept>) -> Option<UserError> {
    let refusing: Vec<&Finding> = findings.iter().filter(|finding| finding.refuses(accepted)).collect();
    let exit = refusing.iter().map(|finding| finding.exit).reduce(Exit::worse)?;
    let mut errors = refusing.iter().map(|finding| UserError {
        hint: finding.mend.clone(),
        ..UserError::new(exit, format!("{}: {}", finding.check.name(), finding.fact))
    });
    let first = errors.next()?;
    Some(UserError { also: errors.collect(), ..first })
}

/// A broker for a command that a user may copy.
fn first_broker(job: &Job) -> &str {
    match &job.kafka.brokers {
        Brokers::Bootstrap(brokers) => brokers.first().map_or("BROKER", String::as_str),
        Brokers::Embedded => "BROKER",
    }
}

/// The command that changes a setting of a topic.
fn alter_topic(job: &Job, topic: &str, change: &str) -> String {
    format!(
        "`kafka-configs.sh --bootstrap-server {} --alter --entity-type topics --entity-name {topic} {change}`",
        first_broker(job)
    )
}
