//! A 1 ms heartbeat on a thread that sends: what other work on it would feel. And how long flushes are under way there.

use std::time::{Duration, Instant};

use migration::Histogram;

/// Between two ticks.
pub(crate) const TICK: Duration = Duration::from_millis(1);

/// Counts how late each tick came. The caller says when the thread could have run it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    next: Instant,
    late: Histogram,
    in_flush: u64,
}

impl Heartbeat {
    pub(crate) fn new(begin: Instant) -> Self {
        Heartbeat { next: begin + TICK, late: Histogram::default(), in_flush: 0 }
    }

    /// Other work could run now. All ticks that are due are counted: a thread that was held up for 10 ms was late by 9
    /// ms, 8 ms and so on. `flushing_since`: when the flush that is under way at this moment began. Ticks of a flush
    /// are those that were due in it and came in it; what was overdue before says nothing about it.
    pub(crate) fn beat(&mut self, now: Instant, flushing_since: Option<Instant>) {
        while self.next <= now {
            self.late.record((now - self.next).as_micros() as u64);
            self.in_flush += u64::from(flushing_since.is_some_and(|since| since <= self.next));
            self.next += TICK;
        }
    }

    /// How late the ticks were, and how many were due and came during a flush.
    pub(crate) fn end(self) -> (Histogram, u64) {
        (self.late, self.in_flush)
    }
}

/// Adds up the time in which at least one flush is under way.
#[derive(Debug, Default)]
pub(crate) struct FlushGauge {
    open: u32,
    since: Option<Instant>,
    spent: Duration,
}

impl FlushGauge {
    pub(crate) fn enter(&mut self, now: Instant) {
        if self.open == 0 {
            self.since = Some(now);
        }
        self.open += 1;
    }

    pub(crate) fn leave(&mut self, now: Instant) {
        self.open = self.open.saturating_sub(1);
        if self.open == 0
            && let Some(since) = self.since.take()
        {
            self.spent += now.saturating_duration_since(since);
        }
    }

    /// Counts from `now` on; what is under way stays so.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.spent = Duration::ZERO;
        self.since = self.since.map(|_| now);
    }

    /// When the first of the flushes that are under way began.
    pub(crate) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// The time up to `now`.
    pub(crate) fn spent_us(&self, now: Instant) -> u64 {
        let open = self.since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        (self.spent + open).as_micros() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_thread_that_was_held_up_was_late_for_each_tick() {
        let begin = Instant::now();
        let mut heartbeat = Heartbeat::new(begin);
        heartbeat.beat(begin + MS / 2, None);
        // The flush began after the tick at 8 ms: those at 9 and 10 ms are its own.
        let since = Some(begin + 17 * MS / 2);
        heartbeat.beat(begin + 10 * MS, since);
        heartbeat.beat(begin + 10 * MS, since);
        heartbeat.beat(begin + 11 * MS, None);
        let (late, in_flush) = heartbeat.end();
        assert_eq!((late.count(), in_flush), (11, 2));
        assert!((8_900..=9_300).contains(&late.quantile(10.9 / 11.0)), "{}", late.quantile(10.9 / 11.0));
        assert_eq!(late.quantile(0.1), 0);
    }

    #[test]
    fn flushes_that_overlap_count_once() {
        let begin = Instant::now();
        let mut gauge = FlushGauge::default();
        gauge.enter(begin);
        gauge.enter(begin + 2 * MS);
        gauge.leave(begin + 5 * MS);
        assert_eq!(gauge.since(), Some(begin));
        gauge.leave(begin + 6 * MS);
        assert_eq!(gauge.since(), None);
        gauge.enter(begin + 10 * MS);
        assert_eq!(gauge.spent_us(begin + 11 * MS), 7_000);
        gauge.restart(begin + 12 * MS);
        assert_eq!(gauge.spent_us(begin + 14 * MS), 2_000);
    }
}
