//! The toll: what a user's own code would do for each record, so that a comparison can model their migration.
//!
//! Responsible for: when a record's wait and CPU are due. Not responsible for: waiting (the caller waits, sleeping or letting
//! others run) or using the CPU (a function of the caller's, which knows the clock of its thread).

use std::time::{Duration, Instant};

/// What is done for each line of the source before it is taken: first a wait, then computing.
#[derive(Clone, Copy, Debug)]
pub struct Toll {
    /// For something outside (a database, another service): other work may go on meanwhile.
    pub wait: Duration,
    /// Of the stepping thread's CPU.
    pub cpu: Duration,
    /// Uses so much CPU of the calling thread. By the thread's own clock: where threads share a processor, the wall clock
    /// would count the others' work too.
    pub burn: fn(Duration),
}

/// How far the next line's toll is paid.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct TollGate {
    /// Until when the next line waits; `None`: not begun.
    due: Option<Instant>,
    paid: bool,
}

/// What is to be done before a line is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Wait until then.
    Wait(Instant),
    /// Compute, then take it.
    Cpu,
    /// Nothing any more.
    Nothing,
}

impl TollGate {
    /// What the next line still owes. The wait begins when this is asked for the first time.
    pub(super) fn owed(&mut self, toll: &Toll, now: Instant) -> Due {
        if self.paid {
            return Due::Nothing;
        }
        let due = *self.due.get_or_insert(now + toll.wait);
        if now < due { Due::Wait(due) } else { Due::Cpu }
    }

    /// The next line owes nothing any more, even if it can't be taken at once.
    pub(super) fn pay(&mut self) {
        self.paid = true;
    }

    /// It was taken.
    pub(super) fn passed(&mut self) {
        *self = TollGate::default();
    }
}
