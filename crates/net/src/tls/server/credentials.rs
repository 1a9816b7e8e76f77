//! Certificates and keys as they are read from disk and passed to the process that uses them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::key_pair::KeyPair;

/// The certificates and keys of [`ServerOptions`](super::ServerOptions), as they were when they were loaded. Pass them only to the
/// process that does the handshakes: they contain private keys. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCredentials {
    /// One for each certificate of the options.
    pub(super) pairs: Vec<KeyPair>,
    /// Whose client certificates are trusted, in DER.
    pub(super) issuers: Vec<Vec<u8>>,
    /// Lists of revoked certificates of clients, in DER.
    pub(super) crls: Vec<Vec<u8>>,
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCredentials").finish_non_exhaustive()
    }
}
