//! Whether the next message of a session is expected to be long: then it is read straight into the ring.

use moorline_config::{Dispatch, Listener, OnCrash};

/// A shorter message costs less to copy than to read apart from its header, in bytes.
const LEAST: usize = 2 * 1024;
/// A longer one seldom comes in one read.
pub(crate) const MOST: usize = 64 * 1024;

/// `bytes` if the next message of a session may be read straight into the ring after one of that size; else 0.
#[inline]
pub(crate) fn expect_direct(listener: &Listener, bytes: usize) -> u32 {
    let is_suited = (LEAST..=MOST).contains(&bytes)
        && listener.framing.length_header().is_some()
        // Else the message is copied anyway.
        && listener.on_crash != OnCrash::Redeliver
        && !matches!(listener.dispatch, Dispatch::RoundRobin | Dispatch::LeastBusy);
    if is_suited { bytes as u32 } else { 0 }
}
