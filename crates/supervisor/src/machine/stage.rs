//! How far a stop has come: an order, not a set of flags.

use std::time::Duration;

use migration::Exit;

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

/// Why the job stops.
#[derive(Clone, Debug, Default)]
pub(super) struct Causes {
    /// The worst exit so far.
    pub(super) exit: Option<Exit>,
    /// One sentence each, the first first.
    pub(super) reasons: Vec<String>,
}

/// More reasons than this are not kept: a thousand workers may say the same in their own words.
const MOST_REASONS: usize = 20;

impl Causes {
    /// Adds one; true if its sentence is new.
    pub(super) fn add(&mut self, exit: Exit, reason: &str) -> bool {
        self.exit = Some(self.exit.map_or(exit, |before| before.worse(exit)));
        let new = !self.reasons.iter().any(|r| r == reason) && self.reasons.len() < MOST_REASONS;
        if new {
            self.reasons.push(reason.to_owned());
        }
        new
    }
}
