//! Exit codes: documented constants that batch engines act on.

use serde::{Deserialize, Serialize};

/// How the program ends. 2, 3, 4: never retry; 5, 6, 7, 74: look first; 75: retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Exit {
    /// Every record acknowledged (and verified, if asked).
    Done,
    /// A bug of ours.
    Internal,
    /// Wrong command line.
    Usage,
    /// Config invalid.
    Config,
    /// Preflight found a blocker.
    Preflight,
    /// Finished, but some records or shards failed.
    Failed,
    /// Verify found a difference.
    Difference,
    /// Source unreadable or changed since the plan.
    Source,
    /// State directory unusable.
    State,
    /// Stopped with its state saved; run again to continue.
    Stopped,
    /// Ended by a second signal; the state is consistent.
    Signal(u8),
}

impl Exit {
    /// The code the process exits with.
    pub const fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::Internal => 1,
            Exit::Usage => 2,
            Exit::Config => 3,
            Exit::Preflight => 4,
            Exit::Failed => 5,
            Exit::Difference => 6,
            Exit::Source => 7,
            Exit::State => 74,
            Exit::Stopped => 75,
            Exit::Signal(number) => 128 + number,
        }
    }

    /// Which of two applies when both do. Order: a second signal, 1, 74, 7, 4, 75, 5, 6, then 2 and 3 (which end a
    /// command before it began), then 0. Of a job's run more is known than its codes: see [`Causes`](crate::Causes).
    pub fn worse(self, other: Exit) -> Exit {
        if self.rank() <= other.rank() { self } else { other }
    }

    fn rank(self) -> u8 {
        match self {
            Exit::Signal(_) => 0,
            Exit::Internal => 1,
            Exit::State => 2,
            Exit::Source => 3,
            Exit::Preflight => 4,
            Exit::Stopped => 5,
            Exit::Failed => 6,
            Exit::Difference => 7,
            Exit::Usage => 8,
            Exit::Config => 9,
            Exit::Done => 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_order_decides() {
        let order = [
            Exit::Internal,
            Exit::State,
            Exit::Source,
            Exit::Preflight,
            Exit::Stopped,
            Exit::Failed,
            Exit::Difference,
            Exit::Done,
        ];
        for (i, a) in order.iter().enumerate() {
            for b in &order[i..] {
                assert_eq!(a.worse(*b), *a);
                assert_eq!(b.worse(*a), *a);
            }
        }
    }

    #[test]
    fn signals_follow_the_shell() {
        assert_eq!(Exit::Signal(2).code(), 130);
        assert_eq!(Exit::Signal(15).code(), 143);
    }
}
