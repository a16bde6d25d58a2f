//! A 1 ms heartbeat on the workers' thread: what other work on that thread would feel. And how long flushes are under way.

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

    /// Other work could run now. All ticks that are due are counted: a thread that was held up for 10 ms was late by 9 ms, 8 ms
    /// and so on. `flushing`: a flush is under way at this moment. That one tick runs in it, whatever was overdue before.
    pub(crate) fn beat(&mut self, now: Instant, flushing: bool) {
        self.in_flush += u64::from(flushing && self.next <= now);
        while self.next <= now {
            self.late.record((now - self.next).as_micros() as u64);
            self.next += TICK;
        }
    }

    /// How late the ticks were, and how many came during a flush.
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

    pub(crate) fn is_open(&self) -> bool {
        self.open > 0
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
        heartbeat.beat(begin + MS / 2, false);
        heartbeat.beat(begin + 10 * MS, true);
        heartbeat.beat(begin + 10 * MS, true);
        heartbeat.beat(begin + 11 * MS, false);
        let (late, in_flush) = heartbeat.end();
        // It could run once in the flush, however late.
        assert_eq!((late.count(), in_flush), (11, 1));
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
        assert!(gauge.is_open());
        gauge.leave(begin + 6 * MS);
        gauge.enter(begin + 10 * MS);
        assert_eq!(gauge.spent_us(begin + 11 * MS), 7_000);
    }
}
