//! Which certificate a client gets.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::super::certificate::Certificate;
use super::super::error::TlsError;
use super::credentials::ServerCredentials;
use super::options::ServerOptions;

/// The certificates of a listener, found by the name that a client asks for (SNI, RFC 6066 §3).
pub(super) struct ShownCertificates {
    /// By host in lower case; several where there are keys of several kinds. A wildcard has the key `*.parent`.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    /// All, in their order: a client that names no host, or an unknown one, gets the first whose key it can verify.
    all: Vec<Arc<CertifiedKey>>,
}

impl ShownCertificates {
    pub(super) fn new(
        options: &ServerOptions,
        credentials: &ServerCredentials,
        provider: &CryptoProvider,
    ) -> Result<Self, TlsError> {
        let mut shown = Self {
            by_name: HashMap::new(),
            all: Vec::new(),
        };
        for (pair, files) in credentials.pairs.iter().zip(&options.certificates) {
            let certified = Arc::new(pair.certified(files.pair(), provider)?);
            for name in names(&certified) {
                shown
                    .by_name
                    .entry(name)
                    .or_default()
                    .push(certified.clone());
            }
            shown.all.push(certified);
        }
        match shown.all.is_empty() {
            true => Err(TlsError::Options("there is no certificate".into())),
            false => Ok(shown),
        }
    }

    fn named(&self, host: &str) -> &[Arc<CertifiedKey>] {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(found) = self.by_name.get(&host) {
            return found;
        }
        // A wildcard stands for one label (RFC 9525 §6.3).
        host.split_once('.')
            .and_then(|(_, parent)| self.by_name.get(&format!("*.{parent}")))
            .map_or(&[], Vec::as_slice)
    }
}

impl ResolvesServerCert for ShownCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let named = hello.server_name().map_or(&[][..], |host| self.named(host));
        let schemes = hello.signature_schemes();
        named
            .iter()
            .chain(&self.all)
            .find(|certified| certified.key.choose_scheme(schemes).is_some())
            .or(named.first())
            .or(self.all.first())
            .cloned()
    }
}

/// Without keys.
impl fmt::Debug for ShownCertificates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

fn names(certified: &CertifiedKey) -> Vec<String> {
    let leaf = certified
        .cert
        .first()
        .and_then(|leaf| Certificate::parse(leaf).ok());
    leaf.map_or_else(Vec::new, |leaf| leaf.names())
        .into_iter()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase())
        .collect()
}
