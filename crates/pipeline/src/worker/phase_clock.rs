//! Where a worker's wall time goes. One reading of the clock for each change of phase, so that nothing is counted twice
//! and nothing is left out: the phases always add up to the time since the start.

use std::time::Instant;

use migration::{Phase, Phases};

/// Attributes wall time to the phase the worker is in.
#[derive(Debug)]
pub struct PhaseClock {
    phase: Phase,
    since: Instant,
    spent: Phases,
}

impl PhaseClock {
    /// A clock that has been in `phase` since `since`.
    pub fn new(phase: Phase, since: Instant) -> Self {
        PhaseClock { phase, since, spent: Phases::default() }
    }

    /// Ends the current phase and begins another.
    pub fn switch(&mut self, phase: Phase) {
        self.settle();
        self.phase = phase;
    }

    /// What was spent since the last [`PhaseClock::take`].
    pub fn spent(&mut self) -> Phases {
        self.settle();
        self.spent
    }

    /// What was spent since the last call; counting begins anew.
    pub fn take(&mut self) -> Phases {
        self.settle();
        std::mem::take(&mut self.spent)
    }

    fn settle(&mut self) {
        let now = Instant::now();
        self.spent.spend(self.phase, now.saturating_duration_since(self.since).as_nanos() as u64);
        self.since = now;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn phases_add_up_to_the_wall_time() {
        let started = Instant::now() - Duration::from_millis(40);
        let mut clock = PhaseClock::new(Phase::Start, started);
        clock.switch(Phase::Read);
        clock.switch(Phase::Map);
        let first = clock.take();
        std::thread::sleep(Duration::from_millis(5));
        clock.switch(Phase::Other);
        let mut all = clock.take();
        let total = started.elapsed();
        assert!(first.get(Phase::Start) >= 40_000_000);
        assert!(all.get(Phase::Map) >= 5_000_000);
        all.add(&first);
        assert!(total.as_nanos() as u64 - all.total() < 1_000_000, "{total:?} {all:?}");
    }
}
