//! Waiting in short silent steps.
//!
//! A worker that waits for brokers says in between that it is alive, or it would be taken for dead. Responsible for:
//! how long one step lasts at most. Not responsible for: what is waited for, or for how long altogether.

use std::time::{Duration, Instant};

/// How long a silent step may last, and what happens after each.
pub struct Turns<'a> {
    longest: Duration,
    between: &'a mut dyn FnMut() -> bool,
}

impl<'a> Turns<'a> {
    /// Steps of `longest` at most. `between` is called after each, and says whether to go on waiting.
    pub fn new(longest: Duration, between: &'a mut dyn FnMut() -> bool) -> Self {
        // A step without time would be none.
        Turns { longest: longest.max(Duration::from_millis(1)), between }
    }

    /// A wait that is told to none.
    pub fn one(between: &'a mut dyn FnMut() -> bool) -> Self {
        Turns::new(Duration::MAX, between)
    }

    /// How long the next step may last if `left` is left.
    pub(crate) fn bound(&self, left: Duration) -> Duration {
        left.min(self.longest)
    }

    /// A step is over: whether to go on.
    pub(crate) fn go_on(&mut self) -> bool {
        (self.between)()
    }

    /// Does nothing for this time; false: not to go on.
    pub(crate) fn rest(&mut self, time: Duration) -> bool {
        let deadline = Instant::now() + time;
        loop {
            std::thread::sleep(self.bound(deadline.saturating_duration_since(Instant::now())));
            let over = Instant::now() >= deadline;
            if over || !self.go_on() {
                return over;
            }
        }
    }
}
