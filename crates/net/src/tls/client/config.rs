//! Options and credentials made ready.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, ServerName};

use super::super::authority::Authority;
use super::super::client_certificate::ShownCertificate;
use super::super::connector::{TlsConnector, protocols, server_name};
use super::super::error::TlsError;
use super::super::file_error::{self, FileError};
use super::super::options::{ClientCertificate, Roots, Verification};
use super::super::ready_certificate::ReadyCertificate;
use super::super::records::TlsRecords;
use super::super::revocation::RevocationList;
use super::super::roots::{self, TrustedRoots};
use super::super::verifier::{HostNames, ServerVerifier};
use super::credentials::ClientCredentials;
use super::options::ClientOptions;

/// Sessions that are kept for one server, some KiB each: up to 8 of each of 8 names.
const KEPT_SESSIONS: usize = 64;

/// A client's TLS made ready. Clones are cheap and share the sessions that can be resumed.
#[derive(Clone)]
pub struct ClientTls {
    config: Arc<ClientConfig>,
    verifies: bool,
    resumes: bool,
    /// Of keys that are read later.
    passwords: Arc<[Vec<u8>]>,
}

impl ClientTls {
    /// Makes credentials ready. May block on the system's roots, once in a process.
    ///
    /// # Errors
    /// [`TlsError::Options`]: a key does not belong to its certificate, or an issuer is none.
    pub fn new(options: &ClientOptions, credentials: &ClientCredentials) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let crls = RevocationList::read_all(&credentials.crls);
        let crls = crls.map_err(|error| TlsError::Options(format!("`crl`: {error}")))?;
        let verifier = ServerVerifier {
            verification: match options.verifies {
                true => Verification::Full,
                false => Verification::DangerouslyNone,
            },
            fingerprints: Vec::new(),
            // Those of one's own servers are often made so.
            names: HostNames::OrCommon,
            authority: Authority {
                roots: trusted(options, credentials)?,
                crls,
                algorithms: provider.signature_verification_algorithms,
                depth: options.verify_depth,
            },
        };
        let shown = match (&credentials.pair, &options.certificate) {
            (Some(pair), Some(files)) => {
                let certified = pair.certified(options.pair(files), &provider)?;
                Some(Arc::new(certified))
            }
            _ => None,
        };
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(options.versions.supported())
            .map_err(|error| TlsError::Options(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::new(ShownCertificate::of(shown)));
        config.alpn_protocols = protocols(&options.alpn)?;
        config.enable_sni = options.sends_name;
        config.resumption = resumption(options.resumes);
        Ok(Self {
            config: Arc::new(config),
            verifies: options.verifies,
            resumes: options.resumes,
            passwords: credentials.passwords.as_slice().into(),
        })
    }

    /// The same for one more server, with sessions of its own. A server does not resume those of another one.
    pub fn for_another(&self) -> Self {
        self.with(|_| {})
    }

    /// The same for one more server, which gets this certificate if it asks for one.
    pub fn showing(&self, shown: &ReadyCertificate) -> Self {
        let shown = ShownCertificate::of(Some(shown.certified.clone()));
        self.with(|config| config.client_auth_cert_resolver = Arc::new(shown))
    }

    /// Reads a certificate and its key, which may have one of the passwords of the options. Blocks on files.
    ///
    /// # Errors
    /// As [`ClientCredentials::load_files`].
    pub fn read(&self, files: &ClientCertificate) -> Result<ReadyCertificate, FileError> {
        ReadyCertificate::read(files, &self.passwords)
    }

    /// A changed copy, with sessions of its own.
    fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut config = (*self.config).clone();
        config.resumption = resumption(self.resumes);
        change(&mut config);
        Self {
            config: Arc::new(config),
            passwords: self.passwords.clone(),
            ..*self
        }
    }

    /// A connection to the server with this name, whose handshake has not begun. Without a name none is sent, and the server
    /// cannot be verified.
    ///
    /// # Errors
    /// [`TlsError::Options`]: it is no name of a server, or one is needed. The system has no randomness left.
    pub fn connect(&self, host: Option<&str>) -> Result<TlsRecords, TlsError> {
        let name = match host {
            Some(host) => match server_name(host) {
                // What is not verified need not be right.
                Err(_) if !self.verifies => nobody(),
                name => name?,
            },
            None if !self.verifies => nobody(),
            None => {
                return Err(TlsError::Options(
                    "the server has no name to be verified by".into(),
                ));
            }
        };
        let connection = UnbufferedClientConnection::new(self.config.clone(), name);
        let connection = connection.map_err(|error| TlsError::from_rustls(&error, false))?;
        Ok(TlsRecords::client(connection))
    }

    /// The same for streams.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from_config(self.config.clone())
    }
}

/// An address is never sent.
fn nobody() -> ServerName<'static> {
    ServerName::from(IpAddr::from(Ipv4Addr::UNSPECIFIED))
}

fn trusted(
    options: &ClientOptions,
    credentials: &ClientCredentials,
) -> Result<Arc<TrustedRoots>, TlsError> {
    if !options.verifies {
        return Ok(Arc::new(TrustedRoots::empty()));
    }
    let Some(ders) = &credentials.roots else {
        return roots::load(&Roots::System);
    };
    let mut store = TrustedRoots::empty();
    for der in ders {
        let added = store.add(CertificateDer::from(der.as_slice()));
        added.map_err(|error| match &options.roots {
            Roots::File(path) | Roots::Folder(path) => file_error::unusable(path, error).into(),
            _ => TlsError::Options(error.to_string()),
        })?;
    }
    Ok(Arc::new(store))
}

fn resumption(resumes: bool) -> Resumption {
    match resumes {
        true => Resumption::in_memory_sessions(KEPT_SESSIONS),
        false => Resumption::disabled(),
    }
}

/// Without keys.
impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("verifies", &self.verifies)
            .field("resumes", &self.resumes)
            .finish_non_exhaustive()
    }
}
