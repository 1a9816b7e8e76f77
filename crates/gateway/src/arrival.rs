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

/// What HTTP leaves behind.
#[derive(Debug)]
pub(crate) struct Upgrade {
    /// What came after the request, as plaintext.
    pub(crate) received: Vec<u8>,
    /// What encrypts the connection.
    pub(crate) tls: Option<Box<ServerRecords>>,
    /// What is still to be sent, as it goes on the wire.
    pub(crate) unsent: Vec<u8>,
}
