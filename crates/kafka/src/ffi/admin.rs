//! A request of the admin API: it is sent, and its answer is waited for.
//!
//! Wraps: `rd_kafka_AdminOptions_t` and the queue that an answer comes to; the requests are in the files below. Safety
//! rules kept here: options and queue are freed once, the queue before the client; what is read of an answer is
//! borrowed from it.

mod describe;
mod offsets;
mod settings;
mod topics;

use std::ffi::{CString, c_int};
use std::ptr::NonNull;
use std::time::{Duration, Instant};

use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, Failed};
use super::event::Event;
use super::text::{ErrorText, millis};
use super::topic::topic_name;
use crate::turns::Turns;

pub(crate) use describe::{ask_topic, topic_operations};
pub(crate) use offsets::ask_ends;
pub(crate) use settings::{TopicSetting, ask_broker_settings, ask_settings, topic_settings};
pub(crate) use topics::{create_topic, delete_topic};

/// The longest time that the admin API takes for a request.
const LONGEST_REQUEST: Duration = Duration::from_secs(3600);

/// Between the end of a request's time and the client's word that it is over.
const REQUEST_IS_OVER: Duration = Duration::from_secs(1);

/// What the admin API takes for a time: more than the longest is refused, and would leave the default of a minute.
fn request_millis(timeout: Duration) -> c_int {
    millis(timeout.min(LONGEST_REQUEST))
}

/// A request of the admin API that is on its way, and the queue of its own that its answer comes to.
struct AdminRequest<'a> {
    queue: NonNull<rd::rd_kafka_queue_t>,
    deadline: Option<Instant>,
    // Keeps the client alive as long as the queue.
    _client: &'a Client,
}

impl<'a> AdminRequest<'a> {
    /// Sends it.
    fn send(
        client: &'a Client,
        operation: rd::rd_kafka_admin_op_t,
        timeout: Duration,
        ask: impl FnOnce(*mut rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
    ) -> AdminRequest<'a> {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive. The options are ours and freed once, after `ask` has returned; the queue is
        // freed in `drop`.
        let queue = unsafe {
            let options = rd::rd_kafka_AdminOptions_new(client.rk.as_ptr(), operation);
            let queue = rd::rd_kafka_queue_new(client.rk.as_ptr());
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options,
                request_millis(timeout),
                error.0.as_mut_ptr(),
                error.0.len(),
            );
            ask(options, queue);
            rd::rd_kafka_AdminOptions_destroy(options);
            queue
        };
        let queue = NonNull::new(queue).expect("librdkafka aborts by itself when it is out of memory");
        // `None`: later than clocks go.
        let deadline = Instant::now().checked_add(timeout.saturating_add(REQUEST_IS_OVER));
        AdminRequest { queue, deadline, _client: client }
    }

    /// Waits for the answer.
    fn answer(self, turns: &mut Turns<'_>) -> Result<Event, Failed> {
        let timed_out = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__TIMED_OUT);
        loop {
            let left = self.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            // SAFETY: the queue is alive as long as this object.
            if let Some(event) = unsafe { Event::next(self.queue, turns.bound(left)) } {
                return if event.code().is_error() { Err((event.code(), event.error_text())) } else { Ok(event) };
            }
            if left.is_zero() || !turns.go_on() {
                return Err((timed_out, "no answer".to_owned()));
            }
        }
    }
}

impl Drop for AdminRequest<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client; the client keeps a reference of its own while the request is
        // open.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// A topic's name for a request.
fn named(topic: &str) -> Result<CString, Failed> {
    topic_name(topic).map_err(|code| (code, "NUL byte in the topic's name".to_owned()))
}

/// An answer about a topic that names none.
fn names_no_topic() -> Failed {
    (Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__BAD_MSG), "the answer names no topic".to_owned())
}

/// The only thing that an answer lists; `None`: it is an answer of another kind, or lists nothing.
///
/// # Safety
/// `result` and `list` are the client's functions for one kind of answer: they give null for an event of another kind,
/// and what they give belongs to the event.
unsafe fn only_one<R, T>(
    event: &Event,
    result: unsafe extern "C" fn(*mut rd::rd_kafka_event_t) -> *const R,
    list: unsafe extern "C" fn(*const R, *mut usize) -> *mut *const T,
) -> Option<&T> {
    // SAFETY: the event is alive, and with it what the functions give of it, by the caller's word; there is a first
    // thing where the count says so. It is borrowed no longer than the event.
    unsafe {
        let result = result(event.0.as_ptr());
        if result.is_null() {
            return None;
        }
        let mut count = 0usize;
        let all = list(result, &mut count);
        if all.is_null() || count == 0 { None } else { (*all).as_ref() }
    }
}

/// Sends one request of the admin API and waits for its answer.
fn answer(
    client: &Client,
    operation: rd::rd_kafka_admin_op_t,
    timeout: Duration,
    ask: impl FnOnce(*mut rd::rd_kafka_AdminOptions_t, *mut rd::rd_kafka_queue_t),
) -> Result<Event, Failed> {
    AdminRequest::send(client, operation, timeout, ask).answer(&mut Turns::one(&mut || true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ffi::{ClientKind, Conf};

    /// Whether the admin API takes a time for a request.
    fn takes(client: &Client, millis: c_int) -> bool {
        let mut error = ErrorText::new();
        // SAFETY: the client is alive, the options are ours and freed once, the buffer has the size given.
        unsafe {
            let options =
                rd::rd_kafka_AdminOptions_new(client.rk.as_ptr(), rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS);
            let code = rd::rd_kafka_AdminOptions_set_request_timeout(options, millis, error.0.as_mut_ptr(), error.0.len());
            rd::rd_kafka_AdminOptions_destroy(options);
            code as i32 == 0
        }
    }

    #[test]
    fn a_request_may_take_as_long_as_the_client_allows_and_no_longer() {
        let client = Conf::new().into_client(ClientKind::Producer).unwrap();
        let hour = Duration::from_secs(3600);
        for (timeout, expected) in [
            (Duration::from_micros(1), 1),
            (Duration::from_secs(900), 900_000),
            (hour, 3_600_000),
            (hour + Duration::from_millis(1), 3_600_000),
            (24 * hour, 3_600_000),
            (Duration::MAX, 3_600_000),
        ] {
            assert_eq!(request_millis(timeout), expected, "{timeout:?}");
            assert!(takes(&client, request_millis(timeout)), "{timeout:?}");
        }
        assert!(!takes(&client, 3_600_001), "the client's own limit");
    }
}
