//! Options and credentials made ready.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};

use super::super::authority::Authority;
use super::super::error::TlsError;
use super::super::pem;
use super::client_verifier::ClientVerifier;
use super::credentials::ServerCredentials;
use super::names::ShownCertificates;
use super::options::{ClientCertificates, Oldest, ServerOptions};

/// A server's TLS made ready. Clones are cheap and share the keys of resumption.
///
/// Sessions are resumed with tickets (RFC 5077, RFC 8446 §4.6.1) whose keys live and rotate in here: a
/// successor made anew resumes nothing of its predecessor's, so that a client certificate is checked against
/// the issuers that are trusted now.
#[derive(Clone)]
pub struct ServerTls(pub(crate) Arc<ServerConfig>);

impl ServerTls {
    /// Makes credentials ready. Dates are not checked: a certificate that was valid when it was loaded is still shown.
    ///
    /// # Errors
    /// [`TlsError::Options`]: a key does not belong to its certificate, or an issuer is none.
    pub fn new(options: &ServerOptions, credentials: &ServerCredentials) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = ShownCertificates::new(options, credentials, &provider)?;
        let versions: &[&SupportedProtocolVersion] = match options.oldest {
            Oldest::Tls12 => &[&version::TLS13, &version::TLS12],
            Oldest::Tls13 => &[&version::TLS13],
        };
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Options(error.to_string()))?;
        let config = match verifier(options, credentials, &provider)? {
            Some(verifier) => config.with_client_cert_verifier(verifier),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = options
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        config.ticketer = aws_lc_rs::Ticketer::new()
            .map_err(|error| TlsError::Options(format!("no keys for session tickets: {error}")))?;
        Ok(Self(Arc::new(config)))
    }
}

/// Without keys.
impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls").finish_non_exhaustive()
    }
}

fn verifier(
    options: &ServerOptions,
    credentials: &ServerCredentials,
    provider: &CryptoProvider,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(issuers) = options.client_certificates.issuers() else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for issuer in &credentials.issuers {
        roots
            .add(CertificateDer::from(issuer.as_slice()))
            .map_err(|error| pem::unusable(issuers, error))?;
    }
    if roots.is_empty() {
        return Err(pem::unusable(issuers, "there is no certificate in it").into());
    }
    Ok(Some(Arc::new(ClientVerifier {
        subjects: roots.subjects(),
        is_required: matches!(
            options.client_certificates,
            ClientCertificates::Required { .. }
        ),
        authority: Authority {
            roots: Arc::new(roots),
            crls: Vec::new(),
            algorithms: provider.signature_verification_algorithms,
            depth: None,
        },
    })))
}
