//! The words and values of shardlift: what a job is, how a dataset is cut, how far a shard has come, what a worker says
//! and how a run ended.
//!
//! Responsible for: names, values and the rules that hold between values (what a config means, when counts balance,
//! which exit code wins). Not responsible for anything that happens: no file, process, clock, terminal or Kafka client
//! is touched here, so every rule in this crate is tested by calling a function.

pub mod accept;
pub mod advice;
pub mod bound_topic;
pub mod cause;
pub mod check;
pub mod config;
pub mod event;
pub mod exit;
pub mod fixed;
pub mod histogram;
pub mod identity;
pub mod job;
pub mod ledger;
pub mod level;
pub mod order;
pub mod outage;
pub mod plan;
pub mod position;
pub mod printable;
pub mod progress;
pub mod purpose;
pub mod report;
pub mod resume;
pub mod round_trip;
pub mod sample;
pub mod steer;
pub mod topic;
pub mod units;
pub mod user_error;

pub use accept::Accept;
pub use bound_topic::{BoundTopic, Consequence, SeenTopic, TopicChange};
pub use cause::{Cause, Causes};
pub use check::{Check, CheckLevel, Finding};
pub use event::{
    Chunk, Control, Damage, Failure, FailureKind, Finished, Progress, Rate, RefusedRecord, Started, WaitingFor, WorkerEvent,
};
pub use exit::Exit;
pub use histogram::Histogram;
pub use identity::Identity;
pub use job::Job;
pub use ledger::{LedgerEntry, Receipt, Token};
pub use level::Level;
pub use order::Order;
pub use outage::{NoAnswer, Outage, Unanswered};
pub use plan::{Compression, Cut, Division, Extended, PartitionSet, Pieces, Plan, Segment, Shard, ShardId, SourceObject};
pub use position::Position;
pub use progress::{DamagedJob, Incarnation, JobInTopic, ShardProgress, StateOrigin, StoredJob, StoredPlan, TopicLedger};
pub use purpose::Purpose;
pub use report::{Counts, Phase, Phases, Work};
pub use round_trip::RoundTrips;
pub use topic::TopicSettings;
pub use user_error::UserError;
