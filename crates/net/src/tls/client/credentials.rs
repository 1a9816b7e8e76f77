//! Certificates and keys as they are read from disk and passed to the process that uses them.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::super::key_pair::KeyPair;

/// The certificates and keys of [`ClientOptions`](super::ClientOptions), as they were when they were loaded. Pass them only to the process that does
/// the handshakes: they may contain a private key. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// Whose certificates are trusted, in DER. `None`: those of the system.
    pub(super) roots: Option<Vec<Vec<u8>>>,
    /// Lists of revoked certificates, in DER.
    pub(super) crls: Vec<Vec<u8>>,
    pub(super) pair: Option<KeyPair>,
    /// Of keys that are read later.
    pub(super) passwords: Vec<Vec<u8>>,
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").finish_non_exhaustive()
    }
}
