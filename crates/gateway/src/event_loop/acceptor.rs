//! The accepting part of a loop.

use std::sync::Arc;

use moorline_net::tls::server::ServerTls;

use crate::event_loop::accept_gate::AcceptGate;
use crate::sockets::Sockets;

/// The accepting part of a loop.
pub(crate) struct Acceptor {
    pub(crate) sockets: Sockets,
    pub(crate) gate: AcceptGate,
    /// The TLS state of each listener for new connections.
    pub(crate) tls: Arc<[Option<ServerTls>]>,
}
