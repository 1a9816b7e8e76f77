//! What a listener shows, and what it asks for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::key_pair::KeyPairFiles;
use super::super::options::Pem;
use super::super::versions::Versions;
use crate::setters::setters;

/// What a listener shows, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ServerOptions {
    /// Certificates with their keys. The first is the default, for clients that name no host or an unknown one.
    pub certificates: Vec<ServerCertificate>,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// The most certificates between a client's and a root. `None`: six.
    pub client_verify_depth: Option<u8>,
    /// What the issuers of clients' certificates have revoked, in PEM. If it is given, it must tell of each certificate of a chain.
    pub client_crl: Option<Pem>,
    /// The protocols spoken (ALPN), the best one first. Empty: the client's protocols are ignored.
    pub alpn: Vec<String>,
    /// The versions that are spoken.
    pub versions: Versions,
    /// A client that asks for no host that a certificate is for, or for none, is refused with `unrecognized_name` (RFC 6066 §3).
    pub rejects_unknown_names: bool,
    /// Every client is refused with `unrecognized_name`. No certificate is needed.
    pub rejects_all_names: bool,
    /// Sessions can be resumed, by tickets and by their ids.
    pub resumes: bool,
    /// Each connection chooses its certificate: see [`ServerTls::showing`](super::ServerTls::showing). None is shown otherwise.
    pub certificates_follow: bool,
}

impl ServerOptions {
    /// These certificates, the default one first. Clients are asked for none, no protocols are spoken (ALPN), and TLS 1.2
    /// and 1.3 are spoken.
    pub fn new(certificates: Vec<ServerCertificate>) -> Self {
        Self {
            certificates,
            client_certificates: ClientCertificates::Off,
            client_verify_depth: None,
            client_crl: None,
            alpn: Vec::new(),
            versions: Versions::Both,
            rejects_unknown_names: false,
            rejects_all_names: false,
            resumes: true,
            certificates_follow: false,
        }
    }
}

setters! {
    ServerOptions {
        client_certificates: ClientCertificates,
        client_verify_depth: Option<u8>,
        client_crl: Option<Pem>,
        alpn: Vec<String>,
        versions: Versions,
        rejects_unknown_names: bool,
        rejects_all_names: bool,
        resumes: bool,
        certificates_follow: bool,
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
    /// The passwords of the key, one a line; they are tried one after the other.
    pub password_file: Option<PathBuf>,
    /// The hosts that it is shown for: `a.example`, `*.example` (any number of labels), `.example` (that, and all below it) or
    /// `mail.*`, or what the pattern behind a `~` matches, in any case. Empty: those that it is for itself.
    pub names: Vec<String>,
}

impl ServerCertificate {
    /// A chain, the server's own certificate first, and its private key.
    pub fn new(certificate: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
            password_file: None,
            names: Vec::new(),
        }
    }

    /// The same, whose key has one of the passwords in this file.
    pub fn password_file(self, password_file: Option<PathBuf>) -> Self {
        Self {
            password_file,
            ..self
        }
    }

    /// The same, shown for these hosts.
    pub fn names(self, names: Vec<String>) -> Self {
        Self { names, ..self }
    }
}

impl ServerCertificate {
    pub(super) fn pair(&self) -> KeyPairFiles<'_> {
        KeyPairFiles {
            certificate: &self.certificate,
            key: &self.key,
            passwords: self.password_file.as_deref().into(),
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
    /// They are. A client without one is accepted, and so is one whose certificate no trusted issuer has signed:
    /// [`TlsRecords::client_verdict`](crate::tls::TlsRecords::client_verdict) tells.
    Unverified {
        /// The issuers that are trusted, if there are any.
        issuers: Option<Pem>,
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
            Self::Unverified { issuers } => issuers.as_ref(),
        }
    }
}
