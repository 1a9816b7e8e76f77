//! How far a connection has got before it becomes a session.

use moorline_net::tls::server::ServerRecords;

/// How far a connection has got before it becomes a session.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It was just accepted.
    Fresh,
    /// It was HTTP and has become a WebSocket.
    Upgraded(Upgrade),
}

/// The state that HTTP hands over.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// Bytes received after the request, as plaintext.
    pub(crate) received: Vec<u8>,
    /// The TLS state of the connection.
    pub(crate) tls: Option<Box<ServerRecords>>,
    /// Bytes still to send, as they go on the wire.
    pub(crate) unsent: Vec<u8>,
}
