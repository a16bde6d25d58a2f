//! What the server's one thread measures of itself: its CPU, its deliveries, and a heartbeat that shows when it was
//! stopped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Instant;

use migration::Histogram;
use process::{own_cpu, thread_cpu};
use serde::{Deserialize, Serialize};
use tokio::time::interval;

use crate::heartbeat::{FlushGauge, Heartbeat, TICK};

/// What the server says at the end of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ServerFigures {
    /// CPU of its one thread since the clock started.
    pub thread_cpu_us: u64,
    /// CPU of its process since then, the client's threads included.
    pub cpu_us: u64,
    /// Delivery reports that came since the process started.
    pub records: u64,
    /// How late each tick of the heartbeat was.
    pub heartbeat: Histogram,
    /// Ticks that were due and came while at least one request waited for its report.
    pub ticks_in_flush: u64,
    /// How long at least one did.
    pub flush_us: u64,
}

/// Counts for one server. Everything is on one thread.
#[derive(Debug)]
pub struct Meter {
    records: Cell<u64>,
    /// CPU when the clock started.
    thread_before_us: Cell<u64>,
    process_before_us: Cell<u64>,
    heartbeat: RefCell<Heartbeat>,
    waiting: RefCell<FlushGauge>,
}

impl Default for Meter {
    fn default() -> Self {
        Meter {
            records: Cell::default(),
            thread_before_us: Cell::default(),
            process_before_us: Cell::default(),
            heartbeat: RefCell::new(Heartbeat::new(Instant::now())),
            waiting: RefCell::default(),
        }
    }
}

impl Meter {
    /// Starts the clock: everything but the deliveries counts from now on.
    pub fn begin(&self) {
        let now = Instant::now();
        self.thread_before_us.set(thread_us());
        self.process_before_us.set(own_cpu().total_us());
        self.heartbeat.replace(Heartbeat::new(now));
        self.waiting.borrow_mut().restart(now);
    }

    /// The figures since then.
    pub fn end(&self) -> ServerFigures {
        let now = Instant::now();
        let (heartbeat, ticks_in_flush) = self.heartbeat.replace(Heartbeat::new(now)).end();
        ServerFigures {
            thread_cpu_us: thread_us().saturating_sub(self.thread_before_us.get()),
            cpu_us: own_cpu().total_us().saturating_sub(self.process_before_us.get()),
            records: self.records.get(),
            heartbeat,
            ticks_in_flush,
            flush_us: self.waiting.borrow().spent_us(now),
        }
    }

    /// A request starts to wait for its report; it does until the guard is dropped.
    pub fn waits(&self) -> Waits<'_> {
        self.waiting.borrow_mut().enter(Instant::now());
        Waits(self)
    }

    /// A delivery report came.
    pub fn delivered(&self) {
        self.records.set(self.records.get() + 1);
    }

    fn tick(&self, now: Instant) {
        self.heartbeat.borrow_mut().beat(now, self.waiting.borrow().since());
    }
}

/// A request that waits for its report.
#[derive(Debug)]
pub struct Waits<'a>(&'a Meter);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Waits(meter) = self;
        meter.waiting.borrow_mut().leave(Instant::now());
    }
}

/// Ticks until it is dropped.
pub async fn heartbeat(meter: Rc<Meter>) {
    let mut ticks = interval(TICK);
    loop {
        ticks.tick().await;
        meter.tick(Instant::now());
    }
}

fn thread_us() -> u64 {
    u64::try_from(thread_cpu().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn time_in_flush_is_counted_once_however_many_wait() {
        let meter = Meter::default();
        meter.begin();
        let pause = || std::thread::sleep(Duration::from_millis(5));
        let (first, second) = (meter.waits(), meter.waits());
        pause();
        meter.tick(Instant::now());
        drop(first);
        pause();
        drop(second);
        meter.tick(Instant::now());
        let figures = meter.end();
        assert!((10_000..1_000_000).contains(&figures.flush_us), "{figures:?}");
        // The ticks of the second half came after the flush.
        assert!(figures.ticks_in_flush >= 4 && figures.ticks_in_flush + 5 <= figures.heartbeat.count(), "{figures:?}");
    }

    #[test]
    fn deliveries_outlive_the_start_of_the_clock() {
        let meter = Meter::default();
        meter.delivered();
        meter.tick(Instant::now() + Duration::from_millis(5));
        meter.begin();
        meter.delivered();
        let figures = meter.end();
        assert_eq!((figures.records, figures.heartbeat.count()), (2, 0));
    }
}
