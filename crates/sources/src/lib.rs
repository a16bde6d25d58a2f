//! The sources: how each kind of dataset is cut into shards and read.
//!
//! Responsible for: files and formats, from any position that a worker committed. Not responsible for: what becomes of a row, where
//! records go, or processes.

#![forbid(unsafe_code)]

pub mod csv;
mod files;
pub mod jsonl;

use migration::Job;
use migration::job::SourceRules;
use pipeline::{Source, SourceError};

/// The dataset that a job names.
pub fn source_of(job: &Job) -> Result<Box<dyn Source>, SourceError> {
    let windows = job.workers.windows();
    match &job.source {
        SourceRules::Jsonl(source) => Ok(Box::new(jsonl::JsonlFiles::new(source.files.clone(), windows))),
        SourceRules::Csv(_) => Err(SourceError("`source.csv` is not in this version".to_owned())),
    }
}
