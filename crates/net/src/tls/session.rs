//! The results of a handshake.

use std::fmt;
use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, recv};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConnection, HandshakeKind, ProtocolVersion};
use serde::{Serialize, Serializer};

use super::certificate::{Certificate, Fingerprint};
use crate::liveness::Liveness;

/// The most reads of one look, of 4 KiB and more each: tickets take one or two.
const MOST_READS: usize = 16;

/// The results of a handshake, and the server's identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TlsSession {
    /// The version.
    pub version: TlsVersion,
    /// The cipher suite, by its name in the standards.
    pub cipher: String,
    /// The protocol that was chosen (ALPN).
    pub alpn: Option<String>,
    /// The fingerprint of the server's certificate, to be pinned.
    pub fingerprint: Fingerprint,
    /// The hosts and addresses that the server's certificate is for.
    pub names: Vec<String>,
    /// Whether an earlier session was resumed; the server was verified then.
    pub resumed: bool,
    /// The server's certificate, in DER.
    #[serde(skip)]
    pub certificate: CertificateDer<'static>,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2.
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl TlsSession {
    /// The results of this connection's handshake; `None` before it has ended.
    ///
    /// Copies and reads the certificate: call it where somebody wants to know, not for each connection.
    pub fn of(connection: &ClientConnection) -> Option<Self> {
        let version = match connection.protocol_version()? {
            ProtocolVersion::TLSv1_2 => TlsVersion::Tls12,
            ProtocolVersion::TLSv1_3 => TlsVersion::Tls13,
            _ => return None,
        };
        let certificate = connection.peer_certificates()?.first()?;
        Some(Self {
            version,
            cipher: name_of(connection.negotiated_cipher_suite()?.suite()),
            alpn: connection
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            fingerprint: Fingerprint::of(certificate),
            names: Certificate::parse(certificate).map_or_else(|_| Vec::new(), |read| read.names()),
            resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            certificate: certificate.clone(),
        })
    }
}

/// rustls writes `TLS13_…` where the standards write `TLS_…`.
fn name_of(suite: rustls::CipherSuite) -> String {
    format!("{suite:?}").replacen("TLS13_", "TLS_", 1)
}

impl fmt::Display for TlsVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls12 => "TLS 1.2",
            Self::Tls13 => "TLS 1.3",
        })
    }
}

impl Serialize for TlsVersion {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

/// The protocol that the handshake has chosen (ALPN).
#[cfg(feature = "hyper")]
pub(crate) fn protocol(session: &ClientConnection) -> Option<&[u8]> {
    session.alpn_protocol()
}

/// Looks at a TLS connection. Bytes may belong to TLS itself, such as tickets: it takes these in and reports the rest.
pub(crate) fn look(socket: BorrowedFd<'_>, session: &mut ClientConnection) -> Liveness {
    for _ in 0..MOST_READS {
        let Ok(state) = session.process_new_packets() else {
            // The session tells it again.
            return Liveness::Dead(None);
        };
        if state.plaintext_bytes_to_read() > 0 {
            return Liveness::Stray;
        }
        if state.peer_has_closed() {
            return Liveness::Dead(None);
        }
        match session.read_tls(&mut Now(socket)) {
            Ok(0) => return Liveness::Dead(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Liveness::Quiet,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Liveness::Dead(Some(error)),
        }
    }
    // A peer that never stops cannot be used any more.
    Liveness::Dead(None)
}

/// Reads the available bytes and never waits.
struct Now<'a>(BorrowedFd<'a>);

impl Read for Now<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let (bytes, _) = recv(self.0, buffer, RecvFlags::DONTWAIT)?;
        Ok(bytes)
    }
}
