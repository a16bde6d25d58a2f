//! Doubles: sources and sinks in memory, for tests and for measuring the loop without a client.
//!
//! Nothing here waits: a poll with a timeout returns at once, so that tests run on simulated time.

mod made_rows;
mod memory_reader;
mod memory_sink;
mod memory_source;
mod null_sink;

pub use made_rows::MadeRows;
pub use memory_reader::{MemoryReader, token_of};
pub use memory_sink::{Behaviour, MemorySink, Stored, Topic};
pub use memory_source::MemorySource;
pub use null_sink::NullSink;
