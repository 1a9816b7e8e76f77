//! What a side of a relay has sent.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::ids::{ListenerId, Side};
use crate::relay::Relay;
use crate::tools::Tools;
use moorline_protocol::control::{ListenerCounter, LoopCounter};

/// The result of a read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Inflow {
    /// This number of bytes of plaintext, at the front of the buffer.
    Bytes(usize),
    /// Bytes, which have been passed on already.
    Moved,
    /// There is nothing for now.
    Nothing,
    /// The source has ended.
    End,
}

/// Reads from a socket.
///
/// # Errors
/// It has nothing (`EAGAIN`), or is broken.
pub(crate) fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Result<usize, Errno> {
    loop {
        match rustix::net::recv(socket, &mut *buffer, RecvFlags::empty()) {
            Ok((bytes, _)) => return Ok(bytes),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
}

/// A side has sent this number of bytes.
pub(crate) fn note_activity(relay: &mut Relay, from: Side, bytes: usize, tools: &Tools) {
    if let Some(pace) = relay.pace_mut() {
        pace.charge(from, bytes);
    }
    relay.meters.active_at = tools.cx.clock.ms;
    relay.meters.spoke_last = Some(from);
}

/// Counts bytes that a side has sent.
pub(crate) fn count((listener, from): (ListenerId, Side), bytes: usize, tools: &Tools) {
    let (counter, of_listener) = match from {
        Side::Client => (LoopCounter::RelayedUp, ListenerCounter::Received),
        Side::Upstream => (LoopCounter::RelayedDown, ListenerCounter::Sent),
    };
    tools.cx.count(counter, bytes as u64);
    tools.cx.count_of(listener, of_listener, bytes as u64);
}
