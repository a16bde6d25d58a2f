//! Fetching messages.
//!
//! Wraps: queues that partitions are fetched into, and messages with their headers. Safety rules kept here: a message
//! is destroyed once, after the last use of its bytes; a null key or value never becomes a slice.

use std::ffi::{CStr, c_void};
use std::ptr::{self, NonNull};
use std::rc::Rc;
use std::time::Duration;

use pipeline::verify::encode_header;
use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, codes};
use super::text::millis;
use super::topic::Topic;

/// A queue that several partitions are fetched into.
pub(crate) struct FetchQueue {
    queue: NonNull<rd::rd_kafka_queue_t>,
    scratch: Vec<*mut rd::rd_kafka_message_t>,
    /// Of the message that is visited, if they are wanted.
    headers: Option<Vec<u8>>,
    // Freed after the queue.
    _client: Rc<Client>,
}

/// One message, or what happened instead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fetched<'a> {
    /// Its partition.
    pub(crate) partition: u32,
    /// Its offset.
    pub(crate) offset: i64,
    /// [`Code::NONE`]: a message. Else `value` is the error's text.
    pub(crate) code: Code,
    /// `None` = null.
    pub(crate) key: Option<&'a [u8]>,
    /// Null is empty.
    pub(crate) value: &'a [u8],
    /// Whether the value is null.
    pub(crate) is_null: bool,
    /// See `TopicRecord`; empty if they are not wanted.
    pub(crate) headers: &'a [u8],
    /// See `TopicRecord`.
    pub(crate) time: Option<i64>,
    /// Its timestamp, also one that the brokers wrote; less than 0: it has none.
    pub(crate) any_time: i64,
}

impl FetchQueue {
    /// A queue that gives up to `at_once` messages in one call, with their headers if they are wanted.
    pub(crate) fn new(client: &Rc<Client>, at_once: usize, headers: bool) -> FetchQueue {
        // SAFETY: the client is alive; the queue is ours and freed in `drop`, before the client.
        let queue = unsafe { rd::rd_kafka_queue_new(client.rk.as_ptr()) };
        FetchQueue {
            queue: NonNull::new(queue).expect("librdkafka aborts by itself when it is out of memory"),
            scratch: vec![ptr::null_mut(); at_once],
            headers: headers.then(Vec::new),
            _client: Rc::clone(client),
        }
    }

    /// Visits what has come, waiting up to `timeout` for the first message; returns how many.
    pub(crate) fn fetch(&mut self, timeout: Duration, visit: &mut dyn FnMut(Fetched<'_>)) -> usize {
        // SAFETY: the queue is alive and `scratch` has the room given.
        let count = unsafe {
            rd::rd_kafka_consume_batch_queue(
                self.queue.as_ptr(),
                millis(timeout),
                self.scratch.as_mut_ptr(),
                self.scratch.len(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for &message in &self.scratch[..count] {
            // SAFETY: the call filled `count` messages that are ours until destroyed, each once, after the last use of
            // its bytes. A null key or value has length 0 and is never made a slice. The error is read as an integer.
            unsafe {
                let bytes = |from: *mut c_void, len: usize| {
                    (!from.is_null()).then(|| std::slice::from_raw_parts(from.cast_const().cast::<u8>(), len))
                };
                if let Some(headers) = &mut self.headers {
                    encode_headers(message, headers);
                }
                let (any_time, is_producers) = time_of(message);
                visit(Fetched {
                    partition: (*message).partition as u32,
                    offset: (*message).offset,
                    code: Code((&raw const (*message).err).cast::<i32>().read()),
                    key: bytes((*message).key, (*message).key_len),
                    value: bytes((*message).payload, (*message).len).unwrap_or_default(),
                    is_null: (*message).payload.is_null(),
                    headers: self.headers.as_deref().unwrap_or_default(),
                    time: is_producers.then_some(any_time),
                    any_time,
                });
                rd::rd_kafka_message_destroy(message);
            }
        }
        count
    }
}

impl Topic {
    /// Starts fetching a partition from `offset` into `queue`.
    pub(crate) fn start(&self, partition: u32, offset: i64, queue: &FetchQueue) -> Result<(), Code> {
        // SAFETY: topic and queue are alive; the queue holds a reference of its own inside the client.
        let failed =
            unsafe { rd::rd_kafka_consume_start_queue(self.rkt.as_ptr(), partition as i32, offset, queue.queue.as_ptr()) };
        if failed == 0 { Ok(()) } else { Err(Code::of_last_call()) }
    }

    /// Stops fetching a partition.
    pub(crate) fn stop(&self, partition: u32) {
        // SAFETY: the topic is alive. It fails only for a partition that was not started: nothing to stop then.
        unsafe { rd::rd_kafka_consume_stop(self.rkt.as_ptr(), partition as i32) };
    }
}

/// A message has no headers.
const NO_SUCH: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT);

/// Replaces `into` by the headers of a message.
///
/// # Safety
///
/// The message came from a fetch and is not destroyed.
unsafe fn encode_headers(message: *const rd::rd_kafka_message_t, into: &mut Vec<u8>) {
    into.clear();
    let mut headers = ptr::null_mut();
    // SAFETY: the message is alive by this function's contract. The headers stay its own and live as long as it does.
    let code = Code(unsafe { codes::rd_kafka_message_headers(message, &mut headers) });
    if code == NO_SUCH {
        return;
    }
    if code.is_error() {
        // What can't be parsed is no header that any job sets: those have values.
        encode_header(into, b"", None);
        return;
    }
    let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
    for index in 0.. {
        // SAFETY: the headers are alive with the message; the three places are written only if there is a header of
        // this index.
        let code = Code(unsafe { codes::rd_kafka_header_get_all(headers, index, &mut name, &mut value, &mut size) });
        if code.is_error() {
            break;
        }
        // SAFETY: the name ends with a NUL byte, a value that is not null has `size` bytes, and both live as long as
        // the message.
        unsafe {
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size));
            encode_header(into, CStr::from_ptr(name).to_bytes(), value);
        }
    }
}

/// A message's time, and whether its producer gave it: the brokers may have written their own over it.
///
/// # Safety
///
/// The message came from a fetch and is not destroyed.
unsafe fn time_of(message: *const rd::rd_kafka_message_t) -> (i64, bool) {
    use rd::rd_kafka_timestamp_type_t as T;
    let mut kind = T::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive by this function's contract, and the kind has one of the three values that the
    // client has.
    let time = unsafe { rd::rd_kafka_message_timestamp(message, &mut kind) };
    (time, kind != T::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
}

impl Drop for FetchQueue {
    fn drop(&mut self) {
        // SAFETY: ours, freed once, before the client.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}
