//! What the server's one thread measures of itself: its CPU, its deliveries, and a heartbeat that shows when it was stopped.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use migration::Histogram;
use process::{monotonic_us, own_cpu, thread_cpu};
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

/// How often the heartbeat ticks.
const TICK: Duration = Duration::from_millis(1);

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
    /// Ticks while at least one request waited for its report.
    pub ticks_in_flush: u64,
    /// How long at least one did.
    pub flush_us: u64,
}

/// Counts for one server. Everything is on one thread.
#[derive(Debug, Default)]
pub struct Meter {
    figures: RefCell<ServerFigures>,
    /// CPU when the clock started.
    thread_before_us: Cell<u64>,
    process_before_us: Cell<u64>,
    /// Requests that wait for their report now, and since when there is one.
    waiting: Cell<u32>,
    since_us: Cell<u64>,
}

impl Meter {
    /// Starts the clock: everything but the deliveries counts from now on.
    pub fn begin(&self) {
        let mut figures = self.figures.borrow_mut();
        *figures = ServerFigures { records: figures.records, ..ServerFigures::default() };
        self.thread_before_us.set(thread_us());
        self.process_before_us.set(own_cpu().total_us());
        self.since_us.set(monotonic_us());
    }

    /// The figures since then.
    pub fn end(&self) -> ServerFigures {
        ServerFigures {
            thread_cpu_us: thread_us().saturating_sub(self.thread_before_us.get()),
            cpu_us: own_cpu().total_us().saturating_sub(self.process_before_us.get()),
            ..self.figures.borrow().clone()
        }
    }

    /// A request starts to wait for its report; it does until the guard is dropped.
    pub fn waits(&self) -> Waits<'_> {
        if self.waiting.replace(self.waiting.get() + 1) == 0 {
            self.since_us.set(monotonic_us());
        }
        Waits(self)
    }

    /// A delivery report came.
    pub fn delivered(&self) {
        self.figures.borrow_mut().records += 1;
    }

    fn tick(&self, late: Duration) {
        let mut figures = self.figures.borrow_mut();
        figures.heartbeat.record(u64::try_from(late.as_micros()).unwrap_or(u64::MAX));
        figures.ticks_in_flush += u64::from(self.waiting.get() > 0);
    }
}

/// A request that waits for its report.
#[derive(Debug)]
pub struct Waits<'a>(&'a Meter);

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let Waits(meter) = self;
        meter.waiting.set(meter.waiting.get() - 1);
        if meter.waiting.get() == 0 {
            meter.figures.borrow_mut().flush_us += monotonic_us().saturating_sub(meter.since_us.get());
        }
    }
}

/// Ticks until it is dropped. A tick that comes late does not bring the missed ones with it.
pub async fn heartbeat(meter: Rc<Meter>) {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let due = ticks.tick().await;
        meter.tick(due.elapsed());
    }
}

fn thread_us() -> u64 {
    u64::try_from(thread_cpu().as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_in_flush_is_counted_once_however_many_wait() {
        let meter = Meter::default();
        meter.begin();
        let pause = || std::thread::sleep(Duration::from_millis(5));
        let (first, second) = (meter.waits(), meter.waits());
        pause();
        meter.tick(Duration::from_micros(30));
        drop(first);
        pause();
        drop(second);
        meter.tick(Duration::from_micros(30));
        let figures = meter.end();
        assert!((10_000..1_000_000).contains(&figures.flush_us), "{figures:?}");
        assert_eq!((figures.ticks_in_flush, figures.heartbeat.count()), (1, 2));
    }

    #[test]
    fn deliveries_outlive_the_start_of_the_clock() {
        let meter = Meter::default();
        meter.delivered();
        meter.tick(Duration::ZERO);
        meter.begin();
        meter.delivered();
        let figures = meter.end();
        assert_eq!((figures.records, figures.heartbeat.count()), (2, 0));
    }
}
