//! What the client's user needs of the C library itself.
//!
//! Wraps: `mallopt` and `clock_gettime`. Safety rule kept here: both are declared with the types that they have on
//! Linux, and take only plain numbers or a place of ours.

use std::ffi::c_int;

/// Has the C library keep freed memory for the next allocation instead of giving it back to the system.
///
/// The client allocates and frees about 1 MB for each batch. By default each of them is mapped, zeroed page by page and
/// unmapped: some per cent of a worker's CPU time. How much a worker may hold is bounded elsewhere (`in_flight`,
/// `RLIMIT_DATA`).
pub(crate) fn keep_freed_memory() {
    #[cfg(target_env = "gnu")]
    {
        unsafe extern "C" {
            fn mallopt(parameter: c_int, value: c_int) -> c_int;
        }
        const M_TRIM_THRESHOLD: c_int = -1;
        const M_MMAP_THRESHOLD: c_int = -3;
        // SAFETY: mallopt takes any parameters, refuses what it can't use, and takes the allocator's own lock.
        unsafe {
            mallopt(M_MMAP_THRESHOLD, 4 << 20);
            mallopt(M_TRIM_THRESHOLD, 64 << 20);
        }
    }
}

/// Microseconds of the machine's monotonic clock, comparable between processes (which `std::time::Instant` is not).
pub(crate) fn monotonic_micros() -> u64 {
    #[repr(C)]
    struct Time {
        seconds: i64,
        nanos: std::ffi::c_long,
    }
    unsafe extern "C" {
        fn clock_gettime(clock: c_int, time: *mut Time) -> c_int;
    }
    const CLOCK_MONOTONIC: c_int = 1;
    let mut time = Time { seconds: 0, nanos: 0 };
    // SAFETY: `Time` is Linux's 64-bit `struct timespec`, written by the call.
    unsafe { clock_gettime(CLOCK_MONOTONIC, &mut time) };
    time.seconds as u64 * 1_000_000 + time.nanos as u64 / 1_000
}
