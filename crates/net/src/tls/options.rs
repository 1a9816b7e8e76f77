//! How a server is verified and what it is shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How a server is verified and what it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
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
    /// What this side shows if the server asks.
    pub client_certificate: Option<ClientCertificate>,
    /// Protocols offered, best first (ALPN, RFC 7301). A server that speaks none of them is refused.
    pub alpn: Vec<String>,
}

/// What is verified of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verification {
    /// The chain to a root, the dates and the host name.
    #[default]
    Full,
    /// As `Full`, or a certificate that is its own issuer: its dates and host name are verified, and
    /// its fingerprint if any is given.
    AllowSelfSigned,
    /// Nothing but the fingerprints, if any are given. Without them anybody can pose as the server.
    DangerouslyNone,
}

/// The issuers that are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Roots {
    /// Those of the system.
    #[default]
    System,
    /// Those in a PEM file.
    File(PathBuf),
    /// Those in the PEM files of a folder.
    Folder(PathBuf),
}

/// What this side shows if the server asks: PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificate {
    /// The chain, this side's own first.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}
