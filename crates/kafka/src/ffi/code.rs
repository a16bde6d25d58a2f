//! Error codes, and the functions of librdkafka that return or take one.
//!
//! Wraps: the names and texts of codes. Safety rule kept here: a code crosses the border as a plain integer. A broker
//! may answer with a code that the generated Rust enum does not know, and reading such a value as that enum would be
//! undefined behaviour.

use std::ffi::{c_char, c_int, c_void};
use std::fmt;

use rdkafka::bindings as rd;

use super::text::text;

/// Functions that return or take a code of the broker's, declared with the integer that the code is in C.
pub(super) mod codes {
    use super::{c_char, c_int, c_void, rd};

    unsafe extern "C" {
        pub fn rd_kafka_err2name(code: c_int) -> *const c_char;
        pub fn rd_kafka_err2str(code: c_int) -> *const c_char;
        pub fn rd_kafka_last_error() -> c_int;
        pub fn rd_kafka_event_error(event: *mut rd::rd_kafka_event_t) -> c_int;
        pub fn rd_kafka_error_code(error: *const rd::rd_kafka_error_t) -> c_int;
        pub fn rd_kafka_fatal_error(rk: *mut rd::rd_kafka_t, text: *mut c_char, size: usize) -> c_int;
        pub fn rd_kafka_topic_result_error(result: *const rd::rd_kafka_topic_result_t) -> c_int;
        pub fn rd_kafka_ConfigEntry_source(entry: *const rd::rd_kafka_ConfigEntry_t) -> c_int;
        pub fn rd_kafka_ConfigResource_error(resource: *const rd::rd_kafka_ConfigResource_t) -> c_int;
        pub fn rd_kafka_query_watermark_offsets(
            rk: *mut rd::rd_kafka_t,
            topic: *const c_char,
            partition: i32,
            low: *mut i64,
            high: *mut i64,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_metadata(
            rk: *mut rd::rd_kafka_t,
            all_topics: c_int,
            only: *mut rd::rd_kafka_topic_t,
            metadata: *mut *const rd::rd_kafka_metadata,
            timeout_ms: c_int,
        ) -> c_int;
        pub fn rd_kafka_message_headers(
            message: *const rd::rd_kafka_message_t,
            headers: *mut *mut rd::rd_kafka_headers_t,
        ) -> c_int;
        pub fn rd_kafka_header_get_all(
            headers: *const rd::rd_kafka_headers_t,
            index: usize,
            name: *mut *const c_char,
            value: *mut *const c_void,
            size: *mut usize,
        ) -> c_int;
    }
}

/// An error code of librdkafka (negative) or of a broker (positive); 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Code(pub i32);

impl Code {
    /// No error.
    pub(crate) const NONE: Code = Code(0);
    /// No broker that the client knows is up.
    pub(crate) const ALL_BROKERS_DOWN: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN);

    /// Code of a value of the generated enum.
    pub(crate) const fn of(known: rd::rd_kafka_resp_err_t) -> Code {
        Code(known as i32)
    }

    /// The generated enum's value, if it knows the code.
    pub(crate) fn known(self) -> Option<rd::rd_kafka_resp_err_t> {
        rd::rd_kafka_resp_err_t::try_from(self.0).ok()
    }

    /// Why the last call of this thread failed, where the call itself doesn't say.
    pub(super) fn of_last_call() -> Code {
        // SAFETY: reads a thread-local integer.
        Code(unsafe { codes::rd_kafka_last_error() })
    }

    /// The code of this name, as log lines have it; `None`: the client knows none.
    pub(crate) fn named(name: &str) -> Option<Code> {
        let known = |code: &i32| Code(*code).known().is_some();
        // SAFETY: takes any integer and returns a string that is static or lives in thread-local storage until the next
        // call of the same function; it is copied at once.
        (-250..=250).filter(known).map(Code).find(|code| unsafe { text(codes::rd_kafka_err2name(code.0)) } == name)
    }

    /// Whether it is an error.
    pub(crate) fn is_error(self) -> bool {
        self != Code::NONE
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // SAFETY: both functions take any integer and return a string that is static or lives in thread-local storage
        // until the next call of the same function; it is copied at once.
        let (name, text) = unsafe { (text(codes::rd_kafka_err2name(self.0)), text(codes::rd_kafka_err2str(self.0))) };
        write!(f, "{text} ({name})")
    }
}

/// Why a request was not answered with what it asked for: the code, and the words of the client or of the broker.
pub(crate) type Failed = (Code, String);

/// A name or a value that the client can't take.
pub(super) const INVALID_ARGUMENT: Code = Code::of(rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__INVALID_ARG);
