//! Events: what a client puts into a queue.
//!
//! Wraps: `rd_kafka_event_t`. Safety rules kept here: an event is freed once, and what is read of it is copied or
//! borrowed from it.

use std::ptr::{self, NonNull};
use std::time::Duration;

use rdkafka::bindings as rd;

use super::code::{Code, Failed, codes};
use super::text::{millis, text};

/// What a client says besides delivery reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A log line.
    Log {
        /// As in syslog: 0 worst, 7 debug.
        level: i32,
        /// The facility.
        facility: String,
        /// The line.
        text: String,
    },
    /// An error of the client as a whole.
    Error {
        /// Which; for a fatal error the cause, not `_FATAL`.
        code: Code,
        /// The client can't go on.
        fatal: bool,
        /// In the client's words.
        text: String,
    },
    /// Statistics, as JSON.
    Statistics(String),
}

/// One event, freed when dropped.
pub(super) struct Event(pub(super) NonNull<rd::rd_kafka_event_t>);

impl Event {
    /// The next event of a queue, waiting up to `timeout` for it.
    ///
    /// # Safety
    /// The queue is alive.
    pub(super) unsafe fn next(queue: NonNull<rd::rd_kafka_queue_t>, timeout: Duration) -> Option<Event> {
        // SAFETY: the queue is alive by the caller's word; the event is ours and freed in `drop`.
        NonNull::new(unsafe { rd::rd_kafka_queue_poll(queue.as_ptr(), millis(timeout)) }).map(Event)
    }

    /// Its type: one of `RD_KAFKA_EVENT_…`.
    pub(super) fn kind(&self) -> i32 {
        // SAFETY: the event is alive.
        unsafe { rd::rd_kafka_event_type(self.0.as_ptr()) }
    }

    /// The error that it carries.
    pub(super) fn code(&self) -> Code {
        // SAFETY: the event is alive.
        Code(unsafe { codes::rd_kafka_event_error(self.0.as_ptr()) })
    }

    /// The words of the error.
    pub(super) fn error_text(&self) -> String {
        // SAFETY: the event is alive and owns the string, which is copied.
        unsafe { text(rd::rd_kafka_event_error_string(self.0.as_ptr())) }
    }

    /// A log line, an error or statistics; `None` for every other kind. `fatal`: why the client can't go on, if it
    /// can't.
    pub(super) fn notice(&self, fatal: impl FnOnce() -> Option<Failed>) -> Option<Notice> {
        match self.kind() {
            rd::RD_KAFKA_EVENT_LOG => {
                let (mut facility, mut line, mut level) = (ptr::null(), ptr::null(), 0);
                // SAFETY: the event is alive and owns both strings, which are copied; all three places are written when
                // the call returns 0.
                unsafe {
                    (rd::rd_kafka_event_log(self.0.as_ptr(), &mut facility, &mut line, &mut level) == 0).then(|| Notice::Log {
                        level,
                        facility: text(facility),
                        text: text(line),
                    })
                }
            }
            rd::RD_KAFKA_EVENT_ERROR => Some(match fatal() {
                Some((code, text)) => Notice::Error { code, fatal: true, text },
                None => Notice::Error { code: self.code(), fatal: false, text: self.error_text() },
            }),
            rd::RD_KAFKA_EVENT_STATS => {
                // SAFETY: the event is alive and owns the string, which is copied.
                Some(Notice::Statistics(unsafe { text(rd::rd_kafka_event_stats(self.0.as_ptr())) }))
            }
            _ => None,
        }
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        // SAFETY: ours, freed once.
        unsafe { rd::rd_kafka_event_destroy(self.0.as_ptr()) };
    }
}
