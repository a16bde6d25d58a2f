//! For how long brokers hold back what a client sends them, because of a quota: what their answers to records say.
//!
//! Wraps: the callback of `rd_kafka_conf_set_throttle_cb`. Safety rules kept here: the client calls it from within the
//! call that serves its main queue, on the thread of the caller; it touches nothing but this thread's own sum, and
//! can't panic.

use std::cell::Cell;
use std::ffi::{c_char, c_int, c_void};

use migration::report::AnswerTimes;
use rdkafka::bindings as rd;

thread_local! {
    /// What was told on this thread and not taken yet. No pointer is handed to the client for it, so that nothing of
    /// ours has to outlive its threads.
    static TOLD: Cell<AnswerTimes> = const { Cell::new(AnswerTimes { count: 0, total_us: 0, longest_us: 0 }) };
}

/// Lets a client tell it.
///
/// # Safety
/// The configuration is alive.
pub(super) unsafe fn listen(conf: *mut rd::rd_kafka_conf_t) {
    // SAFETY: the configuration is alive by the caller's word; the function is static, has the signature that the
    // client expects, and reads none of the pointers that it is given.
    unsafe { rd::rd_kafka_conf_set_throttle_cb(conf, Some(told)) };
}

/// A broker said that it holds back what it is sent for this time. It is told of 0 ms, too, where it was more before.
unsafe extern "C" fn told(_: *mut rd::rd_kafka_t, _: *const c_char, _: i32, throttle_ms: c_int, _: *mut c_void) {
    if let Ok(ms @ 1..) = u64::try_from(throttle_ms) {
        TOLD.with(|told| {
            let mut times = told.get();
            times.note(ms.saturating_mul(1000));
            told.set(times);
        });
    }
}

/// What was told on this thread since the last time.
pub(super) fn take() -> AnswerTimes {
    TOLD.take()
}
