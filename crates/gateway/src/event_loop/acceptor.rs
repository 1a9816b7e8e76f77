//! The accepting part of a loop.

use crate::event_loop::accept_gate::AcceptGate;
use crate::sockets::Sockets;

/// The accepting part of a loop.
pub(crate) struct Acceptor {
    pub(crate) sockets: Sockets,
    pub(crate) gate: AcceptGate,
}
