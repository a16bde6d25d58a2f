//! The sources: how each kind of dataset is cut into shards and read.
//!
//! Responsible for: files and formats, from any position that a worker committed. Not responsible for: what becomes of a row, where
//! records go, or processes.

#![forbid(unsafe_code)]
