//! Authorities and the certificates that they issue, made anew for each test.

use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use tempfile::TempDir;

/// An issuer of certificates, and a folder for their files.
pub(crate) struct Authority {
    folder: TempDir,
    issuer: Issuer<'static, KeyPair>,
    /// The issuer's own certificate, and what leads from it to the root.
    chain: Vec<String>,
    /// A PEM file with the root alone.
    pub(crate) root: PathBuf,
}

/// A certificate and its key, as PEM files.
#[derive(Clone)]
pub(crate) struct Identity {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    /// The issuers between it and the root, if there are any.
    pub(crate) chain: Option<PathBuf>,
    pub(crate) der: Vec<u8>,
}

/// When a certificate holds.
#[derive(Clone, Copy)]
pub(crate) enum Dates {
    Now,
    Past,
    Future,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = issuer(name);
        let pem = params.self_signed(&key).unwrap().pem();
        let root = write(folder.path(), "root.pem", &pem);
        Self {
            folder,
            issuer: Issuer::new(params, key),
            chain: Vec::new(),
            root,
        }
    }

    /// An issuer below this one.
    pub(crate) fn intermediate(&self, name: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let key = KeyPair::generate().unwrap();
        let params = issuer(name);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let chain = std::iter::once(pem).chain(self.chain.iter().cloned());
        Self {
            folder,
            issuer: Issuer::new(params, key),
            chain: chain.collect(),
            root: self.root.clone(),
        }
    }

    /// A certificate for `names`.
    pub(crate) fn issue(&self, names: &[&str], dates: Dates) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(names, dates).signed_by(&key, &self.issuer).unwrap();
        self.identity(&certificate, &key, &names.join("_"))
    }

    /// A certificate of a client.
    pub(crate) fn issue_client(&self, name: &str) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(&[name], Dates::Now);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        self.identity(&certificate, &key, name)
    }

    /// A certificate that is its own issuer. This authority only lends its folder.
    pub(crate) fn self_signed(&self, names: &[&str], dates: Dates) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf(names, dates).self_signed(&key).unwrap();
        self.identity(&certificate, &key, "self")
    }

    /// One as `openssl req -x509` makes it: its own issuer, and a CA.
    pub(crate) fn self_signed_ca(&self, names: &[&str]) -> Identity {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf(names, Dates::Now);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.extended_key_usages = Vec::new();
        params.key_usages = Vec::new();
        let certificate = params.self_signed(&key).unwrap();
        self.identity(&certificate, &key, "self_ca")
    }

    /// The folder, for other files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn identity(&self, certificate: &rcgen::Certificate, key: &KeyPair, stem: &str) -> Identity {
        let folder = self.folder.path();
        let chain = (!self.chain.is_empty())
            .then(|| write(folder, &format!("{stem}.chain.pem"), &self.chain.concat()));
        Identity {
            certificate: write(folder, &format!("{stem}.pem"), &certificate.pem()),
            key: write(folder, &format!("{stem}.key"), &key.serialize_pem()),
            chain,
            der: certificate.der().to_vec(),
        }
    }
}

fn issuer(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf(names: &[&str], dates: Dates) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, "leaf");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    (params.not_before, params.not_after) = match dates {
        Dates::Now => (date_time_ymd(2020, 1, 1), date_time_ymd(2200, 1, 1)),
        Dates::Past => (date_time_ymd(2020, 1, 1), date_time_ymd(2021, 1, 1)),
        Dates::Future => (date_time_ymd(2190, 1, 1), date_time_ymd(2200, 1, 1)),
    };
    params
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name.replace('*', "any"));
    std::fs::write(&path, text).unwrap();
    path
}
