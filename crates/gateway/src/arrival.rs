//! How far a connection has got before it becomes a session, or is passed on.

use moorline_net::tls::TlsRecords;

use crate::notes::Notes;
use crate::shared::admission::Counted;

/// How far a connection has got, apart from its socket.
#[derive(Debug, Default)]
pub(crate) struct Arrival {
    /// Bytes received and not used, as plaintext.
    pub(crate) received: Vec<u8>,
    /// The TLS state of the connection, where its handshake is over.
    pub(crate) tls: Option<Box<TlsRecords>>,
    /// Bytes still to send, as they go on the wire.
    pub(crate) unsent: Vec<u8>,
    pub(crate) counted: Counted,
    /// What a relay notes of it.
    pub(crate) notes: Option<Box<Notes>>,
}
