//! How a server is verified and what it is shown.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::setters::setters;

/// How a server is verified, and the certificate that it may ask for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TlsOptions {
    /// What is verified.
    pub verification: Verification,
    /// The issuers that are trusted.
    pub roots: Roots,
    /// The most certificates between the server's own and a root. No limit beside the library's.
    pub verify_depth: Option<u8>,
    /// SHA-256 fingerprints of the server's certificate, in hex, colons allowed: one of them must match.
    pub fingerprints: Vec<String>,
    /// The name that is sent (SNI) and verified, if not the address's host.
    pub server_name: Option<String>,
    /// Send no name (SNI).
    pub no_sni: bool,
    /// The certificate that a server gets if it asks for one.
    pub client_certificate: Option<ClientCertificate>,
    /// Protocols offered, best first (ALPN, RFC 7301). A server that speaks none of them is refused.
    pub alpn: Vec<String>,
}

setters! {
    TlsOptions {
        verification: Verification,
        roots: Roots,
        verify_depth: Option<u8>,
        fingerprints: Vec<String>,
        server_name: Option<String>,
        no_sni: bool,
        client_certificate: Option<ClientCertificate>,
        alpn: Vec<String>,
    }
}

/// What is verified of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Verification {
    /// The chain to a root, the dates and the host name.
    #[default]
    Full,
    /// As `Full`, or a certificate that is its own issuer: its dates and host name are verified, and
    /// its fingerprint if any is given.
    AllowSelfSigned,
    /// Nothing but the fingerprints, if any are given. Without them any machine can pose as the server.
    DangerouslyNone,
}

/// The issuers that are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Roots {
    /// Those of the system.
    #[default]
    System,
    /// Those in a PEM file.
    File(PathBuf),
    /// Those in the PEM files of a folder.
    Folder(PathBuf),
    /// Those in this PEM text.
    Pem(String),
}

/// The certificate that a server gets if it asks for one, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ClientCertificate {
    /// The chain, this side's own certificate first.
    pub certificate: Pem,
    /// Its private key.
    pub key: Pem,
}

/// PEM: in a file, or the text itself. In TOML and JSON a path, or `{ pem = "-----BEGIN …" }`.
#[derive(Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Pem {
    /// The path of a file.
    File(PathBuf),
    /// The text.
    Text {
        /// The text, from a `-----BEGIN` line on.
        pem: String,
    },
}

impl ClientCertificate {
    /// A chain, this side's own certificate first, and its private key.
    pub fn new(certificate: impl Into<Pem>, key: impl Into<Pem>) -> Self {
        Self {
            certificate: certificate.into(),
            key: key.into(),
        }
    }
}

impl Pem {
    /// The text. Bytes that are not UTF-8 can only be in comments, and are replaced.
    pub fn from_bytes(pem: &[u8]) -> Self {
        Self::Text {
            pem: String::from_utf8_lossy(pem).into_owned(),
        }
    }
}

impl From<PathBuf> for Pem {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl From<&Path> for Pem {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

/// What text formats hold: a path, or a table with the text.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Pem", untagged)]
enum Readable {
    File(PathBuf),
    Text { pem: String },
}

/// What binary formats hold: their reader cannot see whether a path or a table comes next.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Pem")]
enum Tagged {
    File(PathBuf),
    Text { pem: String },
}

impl Serialize for Pem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => Readable::serialize(self, serializer),
            false => Tagged::serialize(self, serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Pem {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match deserializer.is_human_readable() {
            true => Readable::deserialize(deserializer),
            false => Tagged::deserialize(deserializer),
        }
    }
}

/// Without the text, which may be a private key.
impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Text { .. } => f.debug_struct("Text").finish_non_exhaustive(),
        }
    }
}
