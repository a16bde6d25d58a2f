//! The variants: who steps a shard worker.
//!
//! Responsible for a worker's body, whatever kind of process it runs in ([`worker`]), and for running the variants side by side.
//! Not responsible for what a record is or how it is delivered (`pipeline`, `kafka`), forking and checkpoints (`supervisor`), or
//! what a command line looks like.

#![forbid(unsafe_code)]

pub mod compare;
mod heartbeat;
pub mod results;
mod topic_check;
mod wakeup;
pub mod web;
pub mod worker;
