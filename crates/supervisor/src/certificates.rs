//! When the listeners' certificates end.

use moorline_config::Config;
use moorline_net::tls::rustls::pki_types::CertificateDer;
use moorline_net::tls::rustls::pki_types::pem::PemObject;
use moorline_net::tls::{CertificateFacts, Pem};
use serde::Serialize;

/// The most certificates that are told.
const MOST: usize = 1000;

/// When a certificate of a listener ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CertificateEnd {
    /// The listener's name.
    pub listener: String,
    /// Its file, or that it stands in the configuration.
    pub certificate: String,
    /// In seconds since the Unix epoch; 0 before it.
    pub ends_at: u64,
}

/// The ends of those that a configuration names, as they are on disk now. Blocks on the files.
pub fn ends(config: &Config) -> Vec<CertificateEnd> {
    let listeners = config.listeners.iter().filter(|it| !it.is_retired);
    let shown = listeners.filter_map(|it| Some((&it.name, it.tls.as_ref()?)));
    let shown = shown.flat_map(|(name, options)| {
        let certificates = options.certificates.iter();
        certificates.map(move |it| (name, &it.certificate))
    });
    let ends = shown.filter_map(|(name, pem)| {
        let (certificate, der) = match pem {
            Pem::File(path) => (
                path.display().to_string(),
                CertificateDer::from_pem_file(path).ok()?,
            ),
            Pem::Text { pem } => (
                "in the configuration".to_owned(),
                CertificateDer::from_pem_slice(pem.as_bytes()).ok()?,
            ),
            _ => return None,
        };
        Some(CertificateEnd {
            listener: name.clone(),
            certificate,
            ends_at: CertificateFacts::read(&der)?.end_time(),
        })
    });
    ends.take(MOST).collect()
}
