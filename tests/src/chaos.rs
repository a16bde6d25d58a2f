//! Faults at random moments of many jobs, and an oracle that counts what came of them with readers of its own.
//!
//! Responsible for: one trial at a time. A trial is a job on real Kafka to which one kind of fault is done, or all
//! kinds mixed, and its outcome is figures and what was wrong. Not for: how many trials there are, and what is made of
//! their outcomes (`tests/chaos`).

pub mod excuses;
pub mod job;
pub mod nemesis;
pub mod network;
pub mod oracle;
pub mod source;
pub mod trial;
pub mod trials;

/// Records of a chunk in every trial.
pub const CHUNK: u64 = 10_000;

/// What the job promises about duplicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Delivery {
    /// A death may double a chunk.
    AtLeastOnce,
    /// A reader of committed records sees each once.
    ExactlyOnce,
}

impl Delivery {
    /// Both.
    pub const ALL: [Delivery; 2] = [Delivery::AtLeastOnce, Delivery::ExactlyOnce];

    /// As the config has it.
    pub fn name(self) -> &'static str {
        match self {
            Delivery::AtLeastOnce => "at-least-once",
            Delivery::ExactlyOnce => "exactly-once",
        }
    }
}
