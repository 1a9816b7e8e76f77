//! The clock that all processes of a machine share.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, read without a system call.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    // Neither part is negative: the clock counts from boot.
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
