//! TLS as the server's side of accepted connections: certificates by name, and records without a socket.
//!
//! - [`ServerOptions`]: what a listener is configured to show and to ask for
//! - [`ServerCredentials`]: the certificates and keys themselves, read and checked once, passed on as bytes
//! - [`ServerTls`]: both made ready; each connection begins with it
//! - [`ServerRecords`]: the TLS of one connection, sans-io: what comes from a socket goes in, plaintext comes out
//! - [`ServerStream`]: the same around a stream of tokio's

mod credentials;
mod names;
mod records;
mod stream;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, version};
use serde::{Deserialize, Serialize};

use super::error::TlsError;
use names::Shown;

pub use credentials::ServerCredentials;
pub use records::{MAX_PLAINTEXT, Opened, RecordsError, ServerRecords};
pub use stream::{ServerStream, StreamParts};

/// What a listener shows, and what it asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerOptions {
    /// Certificates with their keys. The first is shown to whoever names no host, or one that none is for.
    pub certificates: Vec<CertificateFiles>,
    /// Whether clients are asked for certificates.
    pub client_certificates: ClientCertificates,
    /// The protocols spoken (ALPN), the best one first. Empty: whatever the client asks for is ignored.
    pub alpn: Vec<String>,
    /// Nothing older is spoken.
    pub oldest: Oldest,
}

/// A certificate and its key, in PEM files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateFiles {
    /// The server's own certificate, then those of its issuers, without the root.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// Whether clients are asked for certificates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ClientCertificates {
    /// They are not.
    Off,
    /// They are; who has none is let in, who has a wrong one is not.
    Optional {
        /// The PEM file of the issuers that are trusted.
        issuers: PathBuf,
    },
    /// They are, and must have one.
    Required {
        /// The PEM file of the issuers that are trusted.
        issuers: PathBuf,
    },
}

impl ClientCertificates {
    /// The file of the issuers that are trusted.
    pub fn issuers(&self) -> Option<&PathBuf> {
        match self {
            Self::Off => None,
            Self::Optional { issuers } | Self::Required { issuers } => Some(issuers),
        }
    }
}

/// The oldest version of TLS that is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Oldest {
    /// TLS 1.2, and 1.3 with whoever speaks it.
    Tls12,
    /// TLS 1.3 alone.
    Tls13,
}

/// A server's TLS made ready. Clones are cheap and share the keys of resumption.
///
/// Sessions are resumed with tickets (RFC 5077, RFC 8446 §4.6.1) whose keys live and rotate in here: a
/// successor made anew resumes nothing of its predecessor's, so that a client certificate is checked against
/// the issuers that are trusted now.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl ServerTls {
    /// Makes credentials ready. Dates are not looked at: what was good when it was loaded goes on being shown.
    ///
    /// # Errors
    /// [`TlsError::Options`]: a key does not belong to its certificate, or an issuer is none.
    pub fn new(options: &ServerOptions, credentials: &ServerCredentials) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let shown = Shown::new(options, credentials, &provider)?;
        let versions: &[&SupportedProtocolVersion] = match options.oldest {
            Oldest::Tls12 => &[&version::TLS13, &version::TLS12],
            Oldest::Tls13 => &[&version::TLS13],
        };
        let config = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(versions)
            .map_err(|error| TlsError::Options(error.to_string()))?;
        let config = match verifier(options, credentials, provider)? {
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
    provider: Arc<CryptoProvider>,
) -> Result<Option<Arc<dyn ClientCertVerifier>>, TlsError> {
    let Some(path) = options.client_certificates.issuers() else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    for issuer in &credentials.issuers {
        roots
            .add(CertificateDer::from(issuer.as_slice()))
            .map_err(|error| super::pem::unusable(path, error))?;
    }
    let builder = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    let builder = match options.client_certificates {
        ClientCertificates::Optional { .. } => builder.allow_unauthenticated(),
        _ => builder,
    };
    let built = builder
        .build()
        .map_err(|error| super::pem::unusable(path, error))?;
    Ok(Some(built))
}
