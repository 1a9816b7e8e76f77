//! What a loop accepts with.

use std::sync::Arc;

use moorline_net::tls::server::ServerTls;

use crate::event_loop::accept_gate::AcceptGate;
use crate::sockets::Sockets;

/// What a loop accepts with.
pub(crate) struct Acceptor {
    pub(crate) sockets: Sockets,
    pub(crate) gate: AcceptGate,
    /// What each listener shows who connects now.
    pub(crate) tls: Arc<[Option<ServerTls>]>,
}
