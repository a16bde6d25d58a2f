//! Why a job can't begin with this cluster and topic.
//!
//! Responsible for: the kinds of problem that preflight, the rights and the making of a topic have in common, and how
//! the brokers are named in their messages. Not responsible for: finding them.

use migration::Job;
use migration::job::Brokers;
use serde::{Deserialize, Serialize};

/// Why the run can't begin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct PreflightProblem {
    /// Which kind.
    pub kind: PreflightProblemKind,
    /// What failed, what was seen, what to do.
    pub message: String,
}

/// Kinds of problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PreflightProblemKind {
    /// No broker answered.
    Unreachable,
    /// What is to be read stands behind an open transaction of another, which ends by itself.
    Hidden,
    /// The topic does not exist.
    NoTopic,
    /// The progress topic does not exist.
    NoProgressTopic,
    /// The principal may not do it.
    NotAuthorised,
    /// The client can't be made from these properties, or must not be.
    BadConfig,
    /// The brokers and the client can't agree on a connection: TLS, certificates, SASL, a password.
    NoTrust,
    /// Anything else.
    Other,
}

impl PreflightProblem {
    pub(crate) fn new(kind: PreflightProblemKind, message: impl Into<String>) -> Self {
        PreflightProblem { kind, message: message.into() }
    }
}

/// Where a job's brokers are, for messages.
pub(crate) fn addresses(job: &Job) -> String {
    match &job.kafka.brokers {
        Brokers::Bootstrap(brokers) => brokers.join(","),
        Brokers::Embedded => "the embedded broker".into(),
    }
}
