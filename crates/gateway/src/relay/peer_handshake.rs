//! A TLS handshake that is under way.

use moorline_net::tls::TlsRecords;

/// The handshake with the peer of an attempt.
#[derive(Debug)]
pub(crate) struct PeerHandshake {
    pub(crate) tls: Box<TlsRecords>,
    /// What the socket has not taken.
    pub(crate) unsent: Vec<u8>,
}
