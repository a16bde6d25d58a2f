//! Transactions of a producer, and the one record of the progress topic that is part of each.
//!
//! Wraps: `rd_kafka_init_transactions`, `…_begin_transaction`, `…_commit_transaction`, and `rd_kafka_produceva` with a
//! copied value. Safety rules kept here: an error object is read and freed once; nothing that is handed over is read
//! after the call. Aborting is not wrapped: a producer whose transaction failed is dropped, and its successor's
//! initialisation aborts it.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use rdkafka::bindings as rd;

use super::client::Client;
use super::code::{Code, codes};
use super::in_flight::progress_opaque;
use super::text::{millis, text};
use super::topic::Topic;

/// Why a step of a transaction did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StepError {
    /// Which error.
    pub(crate) code: Code,
    /// In the client's words.
    pub(crate) text: String,
    /// The same call may succeed later.
    pub(crate) retriable: bool,
    /// The client can't go on.
    pub(crate) fatal: bool,
}

impl StepError {
    /// What an error object says; null is no error.
    ///
    /// # Safety
    /// `error` is null or an error object that belongs to the caller, who gives it away.
    unsafe fn take(error: *mut rd::rd_kafka_error_t) -> Result<(), StepError> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: alive and the caller's by their word; the text is copied, the code read as an integer, and the object
        // freed once, after that.
        unsafe {
            let told = StepError {
                code: Code(codes::rd_kafka_error_code(error)),
                text: text(rd::rd_kafka_error_string(error)),
                retriable: rd::rd_kafka_error_is_retriable(error) != 0,
                fatal: rd::rd_kafka_error_is_fatal(error) != 0,
            };
            rd::rd_kafka_error_destroy(error);
            Err(told)
        }
    }
}

impl Client {
    /// Takes over the transactional id: aborts what an earlier producer of it left open, and fences that. It goes on
    /// behind the call when that times out (retriable), and is then asked again.
    pub(crate) fn init_transactions(&self, timeout: Duration) -> Result<(), StepError> {
        // SAFETY: the client is alive; the error object is ours.
        unsafe { StepError::take(rd::rd_kafka_init_transactions(self.rk.as_ptr(), millis(timeout))) }
    }

    /// Begins a transaction; asks no broker.
    pub(crate) fn begin_transaction(&self) -> Result<(), StepError> {
        // SAFETY: the client is alive; the error object is ours.
        unsafe { StepError::take(rd::rd_kafka_begin_transaction(self.rk.as_ptr())) }
    }

    /// Commits. Nothing may be in flight: the reports of what is come to the queue that this thread serves.
    pub(crate) fn commit_transaction(&self, timeout: Duration) -> Result<(), StepError> {
        // SAFETY: the client is alive; the error object is ours.
        unsafe { StepError::take(rd::rd_kafka_commit_transaction(self.rk.as_ptr(), millis(timeout))) }
    }
}

impl Topic {
    /// Hands over one record, which is copied; without a value it removes what its key had. Its report carries
    /// `serial`, see `Served::Progress`.
    pub(crate) fn produce_copy(&self, partition: u32, key: &[u8], value: Option<&[u8]>, serial: u32) -> Result<(), StepError> {
        use rd::rd_kafka_vtype_t as V;
        type Value = rd::rd_kafka_vu_s__bindgen_ty_1;
        type Bytes = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1;
        let argument = |vtype, u| rd::rd_kafka_vu_t { vtype, u };
        let bytes = |of: &[u8]| Bytes { ptr: of.as_ptr().cast_mut().cast(), size: of.len() };
        let none = Bytes { ptr: std::ptr::null_mut(), size: 0 };
        let arguments = [
            argument(V::RD_KAFKA_VTYPE_RKT, Value { rkt: self.rkt.as_ptr() }),
            argument(V::RD_KAFKA_VTYPE_PARTITION, Value { i32_: partition as i32 }),
            argument(V::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: rd::RD_KAFKA_MSG_F_COPY as c_int }),
            argument(V::RD_KAFKA_VTYPE_KEY, Value { mem: bytes(key) }),
            argument(V::RD_KAFKA_VTYPE_VALUE, Value { mem: value.map_or(none, bytes) }),
            argument(V::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: progress_opaque(serial) as *mut c_void }),
        ];
        // SAFETY: each argument's union field is the one that its type names; topic, key and value live through the
        // call, which copies key and value. The error object is ours.
        unsafe { StepError::take(rd::rd_kafka_produceva(self.client().rk.as_ptr(), arguments.as_ptr(), arguments.len())) }
    }
}
