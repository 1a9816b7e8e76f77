//! What a listener shows, and what it asks for.

use serde::{Deserialize, Serialize};

use super::super::key_pair::KeyPairFiles;
use super::super::options::Pem;
use crate::setters::setters;

/// What a listener shows, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Certificates with their keys. The first is the default, for clients that name no host or an unknown one.
    pub certificates: Vec<ServerCertificate>,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// The protocols spoken (ALPN), the best one first. Empty: the client's protocols are ignored.
    pub alpn: Vec<String>,
    /// The oldest version that is accepted.
    pub oldest: Oldest,
}

impl ServerOptions {
    /// These certificates, the default one first. Clients are asked for none, no protocols are spoken (ALPN), and TLS 1.2 is
    /// the oldest version.
    pub fn new(certificates: Vec<ServerCertificate>) -> Self {
        Self {
            certificates,
            client_certificates: ClientCertificates::Off,
            alpn: Vec::new(),
            oldest: Oldest::Tls12,
        }
    }
}

setters! {
    ServerOptions {
        client_certificates: ClientCertificates,
        alpn: Vec<String>,
        oldest: Oldest,
    }
}

/// A certificate and its key, in PEM: files, or the text itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerCertificate {
    /// The server's own certificate, then those of its issuers, without the root.
    pub certificate: Pem,
    /// The private key.
    pub key: Pem,
}

impl ServerCertificate {
    /// A chain, the server's own certificate first, and its private key.
    pub fn new(certificate: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
        }
    }
}

impl ServerCertificate {
    pub(super) fn pair(&self) -> KeyPairFiles<'_> {
        KeyPairFiles {
            certificate: &self.certificate,
            key: &self.key,
        }
    }
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ClientCertificates {
    /// They are not.
    Off,
    /// They are. A client without one is accepted, a client with a wrong one is refused.
    Optional {
        /// The issuers that are trusted.
        issuers: Pem,
    },
    /// They are. A client without one is refused.
    Required {
        /// The issuers that are trusted.
        issuers: Pem,
    },
}

impl ClientCertificates {
    /// The issuers that are trusted.
    pub fn issuers(&self) -> Option<&Pem> {
        match self {
            Self::Off => None,
            Self::Optional { issuers } | Self::Required { issuers } => Some(issuers),
        }
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Oldest {
    /// TLS 1.2 and 1.3.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}
