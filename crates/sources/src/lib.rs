//! The sources: how each kind of dataset is cut into shards and read.
//!
//! Responsible for: files and formats, from any position that a worker committed. Not responsible for: what becomes of
//! a row, where records go, or processes.

#![forbid(unsafe_code)]

pub mod csv;
mod files;
pub mod jsonl;

use std::path::Path;

use migration::job::{SourceRules, WindowLimit};
use pipeline::Source;

/// The dataset that a job names. `windows` is what a compressed file may need of a worker's memory.
pub fn source_of(rules: &SourceRules, windows: WindowLimit) -> Box<dyn Source> {
    match rules {
        SourceRules::Jsonl(source) => Box::new(jsonl::JsonlFiles::new(source.clone(), windows)),
        SourceRules::Csv(source) => Box::new(csv::CsvFiles::new(source.clone(), windows)),
    }
}

/// Whether a file would be one of the dataset's if it were there: its path as it stands, without following links.
pub fn would_read(rules: &SourceRules, path: &Path) -> bool {
    files::would_read(rules.files(), path)
}

/// Whether what planning says is about files of another format, and not about files that can't be read.
pub fn is_of_another_format(error: &str) -> bool {
    files::is_refusal(error)
}
