//! Certificates and keys as they are read from disk and passed to the process that uses them.

use std::fmt;

use rustls::crypto::aws_lc_rs;
use serde::{Deserialize, Serialize};

use super::super::error::TlsError;
use super::super::key_pair::{KeyPair, KeyPairFiles};
use super::super::options::{ClientCertificate, Roots};
use super::super::pem::{self, FileError};
use super::config::ClientTls;
use super::options::ClientOptions;

/// The certificates and keys of [`ClientOptions`], as they were when they were loaded. Pass them only to the process that does
/// the handshakes: they may contain a private key. `Debug` shows none of them.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientCredentials {
    /// Whose certificates are trusted, in DER. `None`: those of the system.
    pub(super) roots: Option<Vec<Vec<u8>>>,
    /// Lists of revoked certificates, in DER.
    pub(super) crls: Vec<Vec<u8>>,
    pub(super) pair: Option<KeyPair>,
}

impl ClientCredentials {
    /// Reads certificates and keys and checks that they can be used. Blocks on files.
    ///
    /// # Errors
    /// [`TlsError::Options`], naming the file, or the PEM text: it cannot be read or understood, its certificate has expired or
    /// is not valid yet, or the key belongs to another certificate.
    pub fn load(options: &ClientOptions) -> Result<Self, TlsError> {
        Ok(Self::load_files(options)?)
    }

    /// [`load`](Self::load), with an error that tells what is wrong with the file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_files(options: &ClientOptions) -> Result<Self, FileError> {
        let provider = aws_lc_rs::default_provider();
        let roots = match (&options.roots, options.verifies) {
            (Roots::System, _) | (_, false) => None,
            (roots, true) => Some(super::super::roots::ders(roots)?),
        };
        let crls = match &options.crl {
            Some(crl) if options.verifies => pem::crls(crl)?,
            _ => Vec::new(),
        };
        let pair = match &options.certificate {
            Some(files) => Some(KeyPair::load(pair_files(files), &provider)?),
            None => None,
        };
        let credentials = Self { roots, crls, pair };
        // Errors that show only when it is used are reported here too, where somebody can fix them.
        ClientTls::new(options, &credentials)?;
        Ok(credentials)
    }
}

pub(super) fn pair_files(files: &ClientCertificate) -> KeyPairFiles<'_> {
    KeyPairFiles {
        certificate: &files.certificate,
        key: &files.key,
    }
}

impl fmt::Debug for ClientCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCredentials").finish_non_exhaustive()
    }
}
