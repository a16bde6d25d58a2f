//! Kafka: the producer and its delivery reports, partitioners, client options, preflight, the topic reader and the
//! embedded broker.
//!
//! Responsible for: everything that needs the Kafka client library, behind values and traits of `migration` and
//! `pipeline`. Not responsible for: processes (but every client here starts threads, so none may exist before a fork),
//! the order of shards, or anything on disk.

pub mod admin;
mod classify;
pub mod compare;
mod connection;
pub mod embedded;
mod existing;
mod ffi;
mod notice;
pub mod options;
pub mod partitioner;
pub mod preflight;
mod problem;
pub mod producer;
pub mod progress;
pub mod reader;
mod rights;
pub mod topic_probe;
pub mod topic_watch;
pub mod turns;

pub use admin::{NewTopic, create_topic, delete_topic};
pub use embedded::{EmbeddedBroker, EmbeddedError, EmbeddedOptions};
pub use existing::existing_records;
pub use ffi::Wakeup;
pub use options::{Role, check_properties, client_properties};
pub use preflight::{
    EnsuredProgress, PartitionEnds, Preflight, TopicShape, ask_delivery, ensure_progress_topic, first_preflight, preflight,
    topic_shape, wait_for_brokers,
};
pub use problem::{PreflightProblem, PreflightProblemKind};
pub use producer::{Awaited, Connecting, Gathering, Producer, ProducerOptions, TransactionOptions};
pub use progress::{JobLook, ProgressTopic, Written, create_progress_topic, progress_topic, read_job, write_plan};
pub use reader::{TopicRange, TopicReader};
pub use rights::{Right, missing_right};
pub use topic_probe::{TopicLook, TopicProbe};
pub use topic_watch::TopicWatch;
pub use turns::Turns;
