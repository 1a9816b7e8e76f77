//! Why a connection's TLS cannot continue.

use std::fmt;

use rustls::{AlertDescription, CertificateError, Error};

use super::error::TlsError;

/// Why a connection's TLS cannot continue.
#[derive(Debug, Clone)]
pub struct RecordsError {
    error: Error,
    /// The other side.
    peer: PeerRole,
}

#[derive(Debug, Clone, Copy)]
enum PeerRole {
    Client,
    Server,
}

impl RecordsError {
    pub(super) fn of_client(error: Error) -> Self {
        let peer = PeerRole::Client;
        Self { error, peer }
    }

    pub(super) fn of_server(error: Error) -> Self {
        let peer = PeerRole::Server;
        Self { error, peer }
    }

    /// The peer speaks no TLS at all: it is something else that has lost its way, not an attack on the keys.
    pub fn is_plain_text(&self) -> bool {
        matches!(self.error, Error::InvalidMessage(_))
    }
}

impl fmt::Display for RecordsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let PeerRole::Server = self.peer {
            return TlsError::from_rustls(&self.error, false).fmt(f);
        }
        match &self.error {
            Error::NoCertificatesPresented => f.write_str("the client has no certificate"),
            Error::InvalidCertificate(error) => match error {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    f.write_str("the client's certificate has expired")
                }
                CertificateError::UnknownIssuer => {
                    f.write_str("no trusted issuer has signed the client's certificate")
                }
                error => write!(f, "the client's certificate: {error}"),
            },
            Error::NoApplicationProtocol => {
                f.write_str("the client speaks none of the protocols spoken here (ALPN)")
            }
            Error::AlertReceived(AlertDescription::UnknownCA) => {
                f.write_str("the client does not trust the issuer of our certificate")
            }
            Error::AlertReceived(alert) => write!(f, "the client refused: {alert:?}"),
            Error::InvalidMessage(problem) => write!(f, "what came is no TLS: {problem:?}"),
            // What rustls says where a host is rejected.
            Error::General(problem) if problem == "no server certificate chain resolved" => {
                f.write_str("no certificate is for the host that the client asks for, or `reject` refuses it")
            }
            Error::HandshakeNotComplete => f.write_str("the handshake has not ended"),
            error => error.fmt(f),
        }
    }
}

impl std::error::Error for RecordsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
