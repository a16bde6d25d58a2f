//! The progress topic: where a job with exactly-once delivery keeps its plan and how far its shards are.
//!
//! Responsible for: the bytes of its records, reading and writing a job's plan, how far a shard is, and making the
//! topic. Not responsible for: what is written in a shard's own transactions (the producer), what the values mean
//! (`migration::progress`), or in which process this runs. It creates clients, hence threads.

mod topic;

pub use topic::{ProgressTopic, create_progress_topic, progress_topic};
