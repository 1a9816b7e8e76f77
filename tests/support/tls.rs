//! An issuer of certificates, and clients that trust it.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, version};

use super::{PATIENCE, Site};

/// A client's side of an encrypted connection.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// An issuer of its own.
pub struct Issuer(rcgen::CertifiedIssuer<'static, rcgen::KeyPair>);

/// A certificate and its key.
pub struct Issued {
    certificate: rcgen::Certificate,
    key: rcgen::KeyPair,
}

/// What a client trusts, shows and speaks.
#[derive(Clone)]
pub struct Trust(Arc<ClientConfig>);

impl Issuer {
    pub fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(Vec::new()).expect("no names are legal");
        static ISSUERS: AtomicU32 = AtomicU32::new(1);
        let number = ISSUERS.fetch_add(1, Ordering::Relaxed);
        // Under the default name it would look like the certificates' own.
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, format!("issuer {number}"));
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        Self(rcgen::CertifiedIssuer::self_signed(params, key).expect("an issuer"))
    }

    /// A certificate for these names that lasts.
    pub fn issue(&self, names: &[&str]) -> Issued {
        self.issue_until(names, 4000)
    }

    /// One that holds until the beginning of this year.
    pub fn issue_until(&self, names: &[&str], year: i32) -> Issued {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).expect("names");
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.0).expect("a certificate");
        Issued { certificate, key }
    }

    /// Its own certificate, in PEM.
    pub fn pem(&self) -> String {
        self.0.pem()
    }

    /// Clients that trust it, and show nothing.
    pub fn trust(&self) -> Trust {
        self.trust_with(None, &[&version::TLS13, &version::TLS12], &[])
    }

    /// Clients that speak this version only.
    pub fn trust_in(&self, version: &'static rustls::SupportedProtocolVersion) -> Trust {
        self.trust_with(None, &[version], &[])
    }

    /// Clients that show this certificate.
    pub fn trust_showing(&self, shown: &Issued) -> Trust {
        self.trust_with(Some(shown), &[&version::TLS13, &version::TLS12], &[])
    }

    /// Clients that ask for these protocols.
    pub fn trust_speaking(&self, alpn: &[&str]) -> Trust {
        self.trust_with(None, &[&version::TLS13, &version::TLS12], alpn)
    }

    fn trust_with(
        &self,
        shown: Option<&Issued>,
        versions: &[&'static rustls::SupportedProtocolVersion],
        alpn: &[&str],
    ) -> Trust {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .expect("versions")
            .with_root_certificates(roots);
        let mut config = match shown {
            None => config.with_no_client_auth(),
            Some(shown) => {
                let key = PrivateKeyDer::try_from(shown.key.serialize_der()).expect("a key");
                config
                    .with_client_auth_cert(vec![shown.der()], key)
                    .expect("they belong together")
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Trust(Arc::new(config))
    }
}

impl Issued {
    /// Writes it into a site's folder, as `NAME.pem` and `NAME.key`.
    pub fn write(&self, site: &Site, name: &str) {
        site.write(&format!("{name}.pem"), self.certificate.pem());
        site.write(&format!("{name}.key"), self.key.serialize_pem());
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.certificate.der().clone()
    }
}

impl Trust {
    /// Connects and shakes hands with a server for `host`.
    pub fn connect(&self, address: SocketAddr, host: &str) -> io::Result<TlsStream> {
        let mut socket = TcpStream::connect(address)?;
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
