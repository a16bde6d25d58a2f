//! The producer: groups in, delivery reports counted one by one, groups out.
//!
//! Responsible for: the client's settings for a worker, one metadata call at the start (it also wakes the request for a
//! producer id, which else waits for half a second), counting every report, telling a record's refusal from a failure
//! of the attempt, and ending quickly. Not responsible for: which group goes when (at most one of a partition is in
//! flight, by the lanes), halving a refused group, or dead letters.

mod batch;
mod connecting;
mod culprits;
mod epochs;
pub(crate) mod options;
mod sink;
pub(crate) mod transaction;

pub use connecting::{Awaited, Connecting};
pub use options::{Gathering, ProducerOptions, TransactionOptions};
pub use sink::Producer;
