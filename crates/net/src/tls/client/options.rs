//! How servers are verified, and what they are shown.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::super::key_pair::KeyPairFiles;
use super::super::options::{ClientCertificate, Pem, Roots};
use super::super::versions::Versions;

/// How servers are verified, and what they are shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClientOptions {
    /// The chain to a root, the dates and the host name are verified. Without it any machine can pose as the server.
    pub verifies: bool,
    /// The issuers that are trusted.
    pub roots: Roots,
    /// The most certificates between a server's and a root. `None`: six.
    pub verify_depth: Option<u8>,
    /// What these have revoked, in PEM. If it is given, it must tell of each certificate of a chain.
    pub crl: Option<Pem>,
    /// The certificate that a server gets if it asks for one.
    pub certificate: Option<ClientCertificate>,
    /// The passwords of its key, one a line; they are tried one after the other. Without a certificate: those of the keys that
    /// [`ClientTls::read`](super::ClientTls::read) reads.
    pub password_file: Option<PathBuf>,
    /// The protocols offered, best first (ALPN, RFC 7301). A server may ignore them.
    pub alpn: Vec<String>,
    /// The versions offered.
    pub versions: Versions,
    /// The host's name is sent (SNI).
    pub sends_name: bool,
    /// Sessions are kept, so that later handshakes are resumed.
    pub resumes: bool,
}

impl Default for ClientOptions {
    /// Servers are verified by the system's roots, shown nothing and offered no protocols. They are sent their names.
    fn default() -> Self {
        Self {
            verifies: true,
            roots: Roots::System,
            verify_depth: None,
            crl: None,
            certificate: None,
            password_file: None,
            alpn: Vec::new(),
            versions: Versions::Both,
            sends_name: true,
            resumes: true,
        }
    }
}

impl ClientOptions {
    pub(super) fn pair<'a>(&'a self, files: &'a ClientCertificate) -> KeyPairFiles<'a> {
        KeyPairFiles {
            certificate: &files.certificate,
            key: &files.key,
            passwords: self.password_file.as_deref().into(),
        }
    }
}
