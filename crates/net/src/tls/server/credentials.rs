//! Certificates and keys as they are read from disk and passed to the process that uses them.

use std::fmt;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::super::pem::{self, FileError, FileErrorKind, PemSource};
use super::options::ServerCertificate;

/// The certificates and keys of [`ServerOptions`](super::ServerOptions), as they were when they were loaded. Pass them only to the
/// process that does the handshakes: they contain private keys. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCredentials {
    /// One for each certificate of the options.
    pub(super) pairs: Vec<Pair>,
    /// Whose client certificates are trusted, in DER.
    pub(super) issuers: Vec<Vec<u8>>,
}

/// A chain and its key, in DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair {
    pub(super) chain: Vec<Vec<u8>>,
    pub(super) key: Vec<u8>,
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCredentials").finish_non_exhaustive()
    }
}

impl Pair {
    /// Ready for signing.
    pub(super) fn certified(
        &self,
        files: &ServerCertificate,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, FileError> {
        let chain = self
            .chain
            .iter()
            .map(|certificate| CertificateDer::from(certificate.clone()));
        let key = PrivateKeyDer::try_from(self.key.clone())
            .map_err(|problem| pem::unusable(&files.key, problem))?;
        CertifiedKey::from_der(chain.collect(), key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => FileError::new(
                FileErrorKind::OtherKey,
                &files.key,
                format_args!(
                    "it does not belong to {}",
                    PemSource::from(&files.certificate)
                ),
            ),
            error => pem::unusable(&files.key, error),
        })
    }
}
