//! How much attention a line of the log deserves.

use serde::{Deserialize, Serialize};

/// A line's level, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// Something failed.
    Error,
    /// Something that a user should look at; the job goes on.
    Warning,
    /// What happens.
    Info,
    /// Details.
    Debug,
    /// Details of details: what a client says of each request.
    Trace,
}

impl Level {
    /// All, in order.
    pub const ALL: [Level; 5] = [Level::Error, Level::Warning, Level::Info, Level::Debug, Level::Trace];

    /// The word in front of the line. All details have the same.
    pub const fn name(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warning => "warning",
            Level::Info => "info",
            Level::Debug | Level::Trace => "debug",
        }
    }
}
