//! Strings and times on their way into librdkafka and out of it.
//!
//! Wraps: nothing of its own. Safety rule kept here: a string of the client's is copied at once, so that nothing in
//! Rust depends on how long it stays; a buffer for an error text is zeroed, so that it ends even if nothing was
//! written.

use std::ffi::{CStr, c_char, c_int};
use std::time::Duration;

/// Copies a C string; null is the empty string.
///
/// # Safety
/// `from` is null or points to a NUL-terminated string that does not change during the call.
pub(super) unsafe fn text(from: *const c_char) -> String {
    if from.is_null() {
        return String::new();
    }
    // SAFETY: not null, and NUL-terminated by the caller's word.
    unsafe { CStr::from_ptr(from) }.to_string_lossy().into_owned()
}

/// Milliseconds for librdkafka: rounded up, so that a short wait is not none.
pub(super) fn millis(timeout: Duration) -> c_int {
    c_int::try_from(timeout.as_nanos().div_ceil(1_000_000)).unwrap_or(c_int::MAX)
}

/// A buffer for an error text, as librdkafka fills it.
pub(super) struct ErrorText(pub(super) [c_char; 512]);

impl ErrorText {
    pub(super) fn new() -> Self {
        ErrorText([0; 512])
    }

    pub(super) fn read(&self) -> String {
        // SAFETY: the buffer was zeroed and librdkafka writes at most its size including the final NUL.
        unsafe { text(self.0.as_ptr()) }
    }
}
