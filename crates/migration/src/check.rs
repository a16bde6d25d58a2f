//! Checks before the first record: which there are, what each of them found, and what follows.
//!
//! Responsible for the rules: from facts of topic, sample and machine to findings. Not responsible for the facts: the
//! Kafka crate asks brokers, the pipeline samples the source, and both come as values ([`facts`]).

pub mod facts;

use std::collections::BTreeSet;

use crate::{Accept, Exit, UserError};

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
    /// Partitions against workers and records in flight.
    Partitions,
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
    pub const ALL: [Check; 22] = [
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
        Check::Partitions,
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
            Check::Partitions => "partitions",
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
