//! An issuer of certificates, and clients that trust it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, StreamOwned, version};

use super::{PATIENCE, Site};

/// A client's side of an encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An issuer of its own.
pub struct Issuer {
    own: rcgen::CertifiedIssuer<'static, rcgen::KeyPair>,
    /// Its certificate and those above it but the root's.
    chain: Vec<rcgen::Certificate>,
}

/// A certificate and its key.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
    /// Those of its issuers that are not the root.
    chain: Vec<rcgen::Certificate>,
}

/// What a client trusts, shows and speaks.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Issuer {
    pub fn new() -> Self {
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertifiedIssuer::self_signed(Self::params(), key).expect("an issuer");
        let chain = Vec::new();
        Self { own, chain }
    }

    /// One below this one, whose certificate holds until the beginning of this year.
    pub fn subordinate(&self, year: i32) -> Self {
        let mut params = Self::params();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let own = rcgen::CertifiedIssuer::signed_by(params, key, &self.own).expect("an issuer");
        let above = self.chain.iter();
        let chain = std::iter::once(own.as_ref())
            .chain(above)
            .cloned()
            .collect();
        Self { own, chain }
    }

    fn params() -> rcgen::CertificateParams {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names are legal");
        static ISSUERS: AtomicU32 = AtomicU32::new(1);
        let number = ISSUERS.fetch_add(1, Ordering::Relaxed);
        // Under the default name it would look like the certificates' own.
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("issuer {number}"));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params
    }

    /// A certificate for these names that lasts.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 4000)
    }

    /// One that holds until the beginning of this year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        self.issue_between(names, 2000, year)
    }

    /// One that holds between the beginnings of these years.
    pub fn issue_between(&self, names: &[&str], from: i32, until: i32) -> Issued {
        self.issue_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(until, 1, 1);
        })
    }

    /// One that ends this long after the Unix epoch.
    pub fn issue_ending(&self, names: &[&str], end: Duration) -> Issued {
        self.issue_with(names, |params| {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(1970, 1, 1) + end;
        })
    }

    fn issue_with(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut rcgen::CertificateParams),
    ) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        change(&mut params);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.own).expect("a certificate");
        let chain = self.chain.clone();
        Issued {
            certificate,
            key,
            chain,
        }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.own.pem()
    }

    /// Clients that trust it, and show nothing.
    pub fn trust(&self) -> Trust {
        self.trust_with(None, &[&version::TLS13, &version::TLS12])
    }

    /// Clients that speak this version only.
    pub fn trust_in(&self, version: &'static rustls::SupportedProtocolVersion) -> Trust {
        self.trust_with(None, &[version])
    }

    /// Clients that show this certificate.
    pub fn trust_showing(&self, shown: &Issued) -> Trust {
        self.trust_with(Some(shown), &[&version::TLS13, &version::TLS12])
    }

    /// Clients that ask for these protocols.
    pub fn trust_speaking(&self, alpn: &[&str]) -> Trust {
        self.trust().speaking(alpn)
    }

    fn trust_with(
        &self,
        shown: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
    ) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.own.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("a key");
                config
                    .with_client_auth_cert(shown.ders(), key)
                    .expect("they belong together")
            }
        };
        Trust(Arc::new(config))
    }
}

impl Issued {
    /// Writes it into a site's folder, as `NAME.pem` and `NAME.key`.
    pub fn write(&self, site: &Site, name: &str) {
        let chain = std::iter::once(&self.certificate).chain(&self.chain);
        let pems: String = chain.map(rcgen::Certificate::pem).collect();
        site.write(&format!("{name}.pem"), pems);
        site.write(&format!("{name}.key"), self.key.serialize_pem());
    }

    /// A server that shows it, in both versions of TLS.
    pub fn server(&self) -> ServerConfig {
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(self.ders(), key)
            .expect("they belong together")
    }

    /// The same, which asks clients for certificates of this issuer, and does without.
    pub fn server_asking_for(&self, issuer: &Issuer) -> ServerConfig {
        let mut roots = RootCertStore::empty();
        roots.add(issuer.own.der().clone()).expect("a root");
        let key = PrivateKeyDer::try_from(self.key.serialize_der()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let roots = Arc::new(roots);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider.clone());
        let verifier = verifier.allow_unauthenticated().build();
        ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_client_cert_verifier(verifier.expect("there is a root"))
            .with_single_cert(self.ders(), key)
            .expect("they belong together")
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }

    /// The same without the certificates of its issuers.
    pub fn without_chain(mut self) -> Self {
        self.chain.clear();
        self
    }

    fn ders(&self) -> Vec<CertificateDer<'static>> {
        let chain = std::iter::once(&self.certificate).chain(&self.chain);
        chain.map(|certificate| certificate.der().clone()).collect()
    }
}

impl Trust {
    /// The same, asking for these protocols.
    pub fn speaking(&self, alpn: &[&str]) -> Trust {
        let mut config = (*self.0).clone();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Trust(Arc::new(config))
    }

    /// The same, not saying which host it means.
    pub fn without_name(&self) -> Trust {
        let mut config = (*self.0).clone();
        config.enable_sni = false;
        Trust(Arc::new(config))
    }

    /// For clients of their own making.
    pub fn config(&self) -> Arc<ClientConfig> {
        self.0.clone()
    }

    /// Connects and shakes hands with a server for `host`.
    pub fn connect(&self, address: SocketAddr, host: &str) -> io::Result<TlsStream> {
        self.connect_over(TcpStream::connect(address)?, host)
    }

    /// The same over a connection that is open.
    pub fn connect_over(&self, mut socket: TcpStream, host: &str) -> io::Result<TlsStream> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let host = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let mut connection =
            ClientConnection::new(self.0.clone(), host).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket)?;
        }
        Ok(StreamOwned::new(connection, socket))
    }
}
