//! A certificate that was read after everything else.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use super::file_error::FileError;
use super::key_pair::{KeyPair, KeyPairFiles};
use super::options::ClientCertificate;
use super::passwords::Passwords;

/// A certificate and its key, read by [`ClientTls::read`](super::client::ClientTls::read) or [`read_plain`](Self::read_plain). Clones
/// are cheap. `Debug` shows neither.
#[derive(Clone)]
pub struct ReadyCertificate {
    pub(super) certified: Arc<CertifiedKey>,
    digest: [u8; 32],
}

impl ReadyCertificate {
    pub(super) fn read(
        files: &ClientCertificate,
        passwords: &[Vec<u8>],
    ) -> Result<Self, FileError> {
        let provider = aws_lc_rs::default_provider();
        let files = KeyPairFiles {
            certificate: &files.certificate,
            key: &files.key,
            passwords: match passwords {
                [] => Passwords::None,
                known => Passwords::Known(known),
            },
        };
        let pair = KeyPair::load(files, &provider)?;
        Ok(Self {
            certified: Arc::new(pair.certified(files, &provider)?),
            digest: pair.digest(),
        })
    }

    /// Reads a certificate and its key, which has no password. Blocks on files.
    ///
    /// # Errors
    /// A file cannot be read or used, its certificate does not hold now, or the key belongs to another one.
    pub fn read_plain(files: &ClientCertificate) -> Result<Self, FileError> {
        Self::read(files, &[])
    }

    /// A number that no other certificate with another key has.
    pub fn digest(&self) -> [u8; 32] {
        self.digest
    }
}

impl fmt::Debug for ReadyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadyCertificate").finish_non_exhaustive()
    }
}
