//! What one run measures: of each worker, and of all of them together.

use migration::{Histogram, Phases};
use serde::{Deserialize, Serialize};
use worker::LogLine;

/// What one worker did while the clock ran.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Measured {
    pub(crate) began_us: u64,
    pub(crate) ended_us: u64,
    pub(crate) records: u64,
    pub(crate) phases: Phases,
    /// Of the thread that stepped it; 0 where workers share one.
    pub(crate) thread_cpu_us: u64,
    /// Of its process; 0 where workers share one.
    pub(crate) cpu_us: u64,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) latency: Histogram,
    pub(crate) heartbeat: Histogram,
    pub(crate) ticks_in_flush: u64,
    pub(crate) flush_us: u64,
    pub(crate) rtt_us: u64,
    /// All its records were delivered before the clock stopped.
    pub(crate) ran_out: bool,
    /// Records that it set aside, before the clock too.
    pub(crate) set_aside: u64,
}

/// The log of the program that this runs in.
#[derive(Clone, Copy)]
pub struct Log {
    /// Keeps the lines of this process from now on, instead of printing them.
    pub keep: fn(),
    /// Takes the lines that were kept.
    pub take: fn() -> Vec<LogLine>,
}

/// What a variant found out.
#[derive(Default)]
pub(crate) struct Figures {
    /// Of each worker.
    pub(crate) workers: Vec<Measured>,
    /// CPU of everything, the client's threads included.
    pub(crate) cpu_us: u64,
    /// CPU of the threads that step.
    pub(crate) thread_cpu_us: u64,
    /// Heartbeat of the threads that step.
    pub(crate) heartbeat: Histogram,
    /// Its ticks during a flush.
    pub(crate) ticks_in_flush: u64,
    /// How long flushes were under way.
    pub(crate) flush_us: u64,
    /// Peak memory of everything.
    pub(crate) peak_memory_bytes: u64,
}

impl Figures {
    /// Where each worker has a thread of its own.
    pub(crate) fn of_threads(workers: Vec<Measured>) -> Figures {
        let mut figures = Figures::default();
        for worker in &workers {
            figures.cpu_us += worker.cpu_us;
            figures.thread_cpu_us += worker.thread_cpu_us;
            figures.heartbeat.merge(&worker.heartbeat);
            figures.ticks_in_flush += worker.ticks_in_flush;
            figures.flush_us += worker.flush_us;
            figures.peak_memory_bytes += worker.peak_memory_bytes;
        }
        Figures { workers, ..figures }
    }
}
