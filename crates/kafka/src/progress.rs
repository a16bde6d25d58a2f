//! The progress topic: where a job with exactly-once delivery keeps its plan and how far its shards are.
//!
//! Responsible for: the bytes of its records, reading and writing a job's plan, how far a shard is, and making the
//! topic. Not responsible for: what is written in a shard's own transactions (the producer), what the values mean
//! (`migration::progress`), or in which process this runs. It creates clients, hence threads.

mod job;
mod parts;

pub(crate) mod record;
pub(crate) mod scan;
mod topic;
mod understand;
mod writer;

use migration::Job;

use crate::options::{Role, client_properties};

pub use job::{JobLook, Written, change_settings, end_older, read_job, write_plan};
pub use topic::{ProgressTopic, create_progress_topic, progress_topic};

/// The properties of a client that reads a job's progress topic.
pub(crate) fn reader_properties(job: &Job) -> Vec<(String, String)> {
    let mut properties = client_properties(job, Role::Reader);
    properties.extend(scan::READER.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
    properties
}
