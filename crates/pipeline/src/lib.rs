//! The data plane: records from a source, through lanes, into a sink, until their delivery reports are back.
//!
//! Responsible for: reading shards, mapping records to messages, batching by partition, counting delivery reports,
//! chunks and their commits, dead letters, and comparing a topic with its source. Not responsible for: in what kind of
//! process or thread this runs, who listens to its events, or what Kafka client is behind a [`Sink`]: the caller steps
//! a worker and carries its events.

#![forbid(unsafe_code)]

pub mod block;
pub mod dead_letter;
pub mod doubles;
pub mod fate;
pub mod group;
pub mod lanes;
pub mod mapping;
pub mod reason;
pub mod receipt;
pub mod sampling;
pub mod sink;
pub mod source;
pub mod verify;
pub mod worker;

pub use block::{Block, BlockPool};
pub use group::{Group, Message, RecordPlace};
pub use sink::{Alone, Blame, Delivered, LettersInFlight, RejectedRecord, Sink, SinkLimits, Trouble};
pub use source::{Next, Reader, Row, Rows, Source, SourceError};
