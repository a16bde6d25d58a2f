//! How far a stop has come: an order, not a set of flags.

use std::time::Duration;

/// From working to over; a stage never goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// Shards are handed out.
    Working,
    /// No new worker; those that run close their chunk and end. What is left then is killed.
    Draining {
        /// When.
        kill_at: Duration,
    },
    /// All were killed; the run ends when they are reaped, or then.
    Killing {
        /// When.
        leave_at: Duration,
    },
    /// The run ended.
    Over,
}
