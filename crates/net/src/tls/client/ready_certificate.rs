//! A certificate that was read after everything else.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;

use super::super::file_error::FileError;
use super::super::key_pair::{KeyPair, KeyPairFiles};
use super::super::options::ClientCertificate;
use super::super::passwords::Passwords;

/// A certificate and its key, read by [`ClientTls::read`](super::ClientTls::read). Clones are cheap. `Debug` shows neither.
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
