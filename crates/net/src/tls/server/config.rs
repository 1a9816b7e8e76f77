//! Options and credentials made ready.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::NoServerSessionStorage;

use super::super::authority::Authority;
use super::super::error::TlsError;
use super::super::file_error;
use super::super::ready_certificate::ReadyCertificate;
use super::super::revocation::RevocationList;
use super::super::roots::TrustedRoots;
use super::client_verifier::{ClientVerifier, Demand};
use super::credentials::ServerCredentials;
use super::names::{OneCertificate, ShownCertificates};
use super::options::{ClientCertificates, ServerOptions};

/// A server's TLS made ready. Clones are cheap and share the keys of resumption.
///
/// Sessions are resumed with tickets (RFC 5077, RFC 8446 §4.6.1) whose keys live and rotate in here: a
/// successor made anew resumes nothing of its predecessor's, so that a client certificate is checked against
/// the issuers that are trusted now.
#[derive(Clone)]
pub struct ServerTls {
    pub(crate) config: Arc<ServerConfig>,
    /// Judges what clients show, if they are asked for certificates.
    pub(crate) judge: Option<Arc<ClientVerifier>>,
}

impl ServerTls {
    /// Makes credentials ready. Dates are not checked: a certificate that was valid when it was loaded is still shown.
    ///
    /// # Errors
    /// [`TlsError::Options`]: a key does not belong to its certificate, or an issuer is none.
    pub fn new(options: &ServerOptions, credentials: &ServerCredentials) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = ShownCertificates::new(options, credentials, &provider)?;
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(options.versions.supported())
            .map_err(|error| TlsError::Options(error.to_string()))?;
        let judge = verifier(options, credentials, &provider)?;
        let config = match &judge {
            Some(judge) => config.with_client_cert_verifier(judge.clone()),
            None => config.with_no_client_auth(),
        };
        let mut config = config.with_cert_resolver(Arc::new(shown));
        config.alpn_protocols = options
            .alpn
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        if options.resumes {
            config.ticketer = aws_lc_rs::Ticketer::new().map_err(|error| {
                TlsError::Options(format!("no keys for session tickets: {error}"))
            })?;
        } else {
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(Self {
            config: Arc::new(config),
            judge,
        })
    }

    /// The same for connections whose clients get this certificate. They share the sessions that can be resumed.
    pub fn showing(&self, shown: &ReadyCertificate) -> Self {
        let mut config = (*self.config).clone();
        config.cert_resolver = Arc::new(OneCertificate(shown.certified.clone()));
        Self {
            config: Arc::new(config),
            judge: self.judge.clone(),
        }
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
) -> Result<Option<Arc<ClientVerifier>>, TlsError> {
    let demand = match &options.client_certificates {
        ClientCertificates::Off => return Ok(None),
        ClientCertificates::Optional { .. } => Demand::Optional,
        ClientCertificates::Unverified { .. } => Demand::Unverified,
        ClientCertificates::Required { .. } => Demand::Required,
    };
    let mut roots = TrustedRoots::empty();
    if let Some(issuers) = options.client_certificates.issuers() {
        for issuer in &credentials.issuers {
            roots
                .add(CertificateDer::from(issuer.as_slice()))
                .map_err(|error| file_error::unusable(issuers, error))?;
        }
    }
    let crls = RevocationList::read_all(&credentials.crls);
    let crls = crls.map_err(|error| match &options.client_crl {
        Some(crl) => file_error::unusable(crl, error).into(),
        None => TlsError::Options(error),
    })?;
    Ok(Some(Arc::new(ClientVerifier {
        subjects: roots.subjects(),
        demand,
        authority: Authority {
            roots: Arc::new(roots),
            crls,
            algorithms: provider.signature_verification_algorithms,
            depth: options.client_verify_depth,
        },
    })))
}
