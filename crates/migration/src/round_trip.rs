//! How far away the brokers are.
//!
//! Responsible for what follows from several measurements of the same way. Not responsible for measuring, or for what
//! is decided by it.

use std::collections::VecDeque;
use std::time::Duration;

/// How many measurements count: older ones may have been of another way.
const NEWEST: usize = 8;

/// The newest measurements of a round trip to the brokers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundTrips {
    newest: VecDeque<Duration>,
}

impl RoundTrips {
    /// Adds the newest one.
    pub fn note(&mut self, round_trip: Duration) {
        if self.newest.len() == NEWEST {
            self.newest.pop_front();
        }
        self.newest.push_back(round_trip);
    }

    /// How long the way is: the shortest of the newest measurements. Whatever else a measurement has in it (a broker
    /// that is busy, a process that waits for a processor) makes it longer and never shorter. `None`: there is none.
    pub fn distance(&self) -> Option<Duration> {
        self.newest.iter().min().copied()
    }
}

impl FromIterator<Duration> for RoundTrips {
    fn from_iter<I: IntoIterator<Item = Duration>>(measured: I) -> Self {
        let mut all = RoundTrips::default();
        measured.into_iter().for_each(|round_trip| all.note(round_trip));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(ms: &[u64]) -> Option<u64> {
        let all: RoundTrips = ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
        all.distance().map(|distance| distance.as_millis() as u64)
    }

    #[test]
    fn what_makes_an_answer_late_does_not_count() {
        assert_eq!(distance(&[]), None);
        assert_eq!(distance(&[80]), Some(80));
        assert_eq!(distance(&[2, 300, 40]), Some(2), "a busy broker is not a far one");
    }

    #[test]
    fn a_way_that_became_longer_is_learnt() {
        assert_eq!(distance(&[2, 80, 80, 80, 80, 80, 80, 80]), Some(2));
        assert_eq!(distance(&[2, 80, 80, 80, 80, 80, 80, 81, 80]), Some(80));
    }
}
