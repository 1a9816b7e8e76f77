//! This side's certificate for a server that asks.

use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;

use super::error::TlsError;
use super::key_pair::{KeyPair, KeyPairFiles};
use super::options::ClientCertificate;
use super::passwords::Passwords;

thread_local! {
    /// Whether a server has asked since the last look. A handshake is polled as a whole on one thread, and the
    /// configuration that rustls asks through is shared by all: so this is how one handshake learns it.
    static ASKED: Cell<bool> = const { Cell::new(false) };
}

/// The certificate that is shown, if there is one.
pub(super) struct ShownCertificate(Option<Arc<CertifiedKey>>);

impl ShownCertificate {
    /// Reads the files. Blocks on them.
    pub(super) fn load(
        files: Option<&ClientCertificate>,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let Some(files) = files else {
            return Ok(Self(None));
        };
        let files = KeyPairFiles {
            certificate: &files.certificate,
            key: &files.key,
            passwords: Passwords::None,
        };
        let pair = KeyPair::load(files, provider)?;
        Ok(Self::of(Some(Arc::new(pair.certified(files, provider)?))))
    }

    /// This one, or none.
    pub(super) fn of(certified: Option<Arc<CertifiedKey>>) -> Self {
        Self(certified)
    }
}

/// Whether a server has asked this thread for a certificate since the last call.
pub(super) fn was_asked() -> bool {
    ASKED.replace(false)
}

impl ResolvesClientCert for ShownCertificate {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        ASKED.set(true);
        self.0.clone()
    }

    fn has_certs(&self) -> bool {
        self.0.is_some()
    }
}

/// Without the key.
impl fmt::Debug for ShownCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShownCertificate")
            .field("certificate", &self.0.is_some())
            .finish()
    }
}
