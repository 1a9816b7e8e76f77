//! The issuers that are trusted.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use rustls::{DistinguishedName, RootCertStore};

use super::certificate::Fingerprint;
use super::error::TlsError;
use super::file_error::{self, FileError, PemSource};
use super::issuing::IssuerRights;
use super::options::Roots;
use super::pem;
use super::purpose::Purpose;

/// The most files of a folder that are read: Debian's has 300.
const MAX_FOLDER_FILES: usize = 4096;

/// Issuers that are trusted, or certificates of peers themselves.
#[derive(Debug)]
pub(super) struct TrustedRoots {
    /// Their names and keys.
    store: RootCertStore,
    /// What each of them may do as an issuer.
    rights: Vec<IssuerRights>,
    /// Those that vouch for others: for servers, and for clients.
    issuers: [Vec<TrustAnchor<'static>>; 2],
    /// The whole certificates: one that is trusted itself must be one of them, byte for byte.
    whole: HashSet<Fingerprint>,
}

impl TrustedRoots {
    pub(super) fn empty() -> Self {
        Self {
            store: RootCertStore::empty(),
            rights: Vec::new(),
            issuers: [Vec::new(), Vec::new()],
            whole: HashSet::new(),
        }
    }

    /// # Errors
    /// It cannot be read.
    pub(super) fn add(&mut self, der: CertificateDer<'_>) -> Result<(), rustls::Error> {
        let fingerprint = Fingerprint::of(&der);
        let rights = IssuerRights::of(&der);
        self.store.add(der)?;
        for (purpose, issuers) in [Purpose::Server, Purpose::Client]
            .into_iter()
            .zip(&mut self.issuers)
        {
            let anchor = self.store.roots.last();
            issuers.extend(anchor.filter(|_| rights.permit(purpose, 0)).cloned());
        }
        self.rights.push(rights);
        self.whole.insert(fingerprint);
        Ok(())
    }

    /// All of them, also those that are no issuers.
    pub(super) fn anchors(&self) -> &[TrustAnchor<'static>] {
        &self.store.roots
    }

    /// Those that may be issuers of certificates for this.
    pub(super) fn issuers(&self, purpose: Purpose) -> &[TrustAnchor<'static>] {
        let [servers, clients] = &self.issuers;
        match purpose {
            Purpose::Server => servers,
            Purpose::Client => clients,
        }
    }

    /// What those may do as issuers that have the name and the key of this one.
    pub(super) fn rights<'a>(
        &'a self,
        anchor: &'a TrustAnchor<'_>,
    ) -> impl Iterator<Item = &'a IssuerRights> {
        let all = self.store.roots.iter().zip(&self.rights);
        let is_same = |it: &TrustAnchor<'_>| {
            it.subject == anchor.subject
                && it.subject_public_key_info == anchor.subject_public_key_info
        };
        all.filter(move |(it, _)| is_same(it))
            .map(|(_, rights)| rights)
    }

    pub(super) fn subjects(&self) -> Vec<DistinguishedName> {
        self.store.subjects()
    }

    /// Whether this certificate is one of them. Another one with its name and key is not.
    pub(super) fn has(&self, der: &CertificateDer<'_>) -> bool {
        self.whole.contains(&Fingerprint::of(der))
    }
}

/// Reads them. Blocks on files.
pub(super) fn load(roots: &Roots) -> Result<Arc<TrustedRoots>, TlsError> {
    match roots {
        Roots::System => system(),
        Roots::File(path) => store(PemSource::File(path), pem::certificates(path)?),
        Roots::Folder(path) => store(PemSource::File(path), folder(path)?),
        Roots::Pem(text) => store(
            PemSource::Text(text),
            pem::certificates(PemSource::Text(text))?,
        ),
    }
}

/// Those that are written, in DER. Blocks on files.
pub(super) fn ders(roots: &Roots) -> Result<Vec<Vec<u8>>, FileError> {
    let certificates = match roots {
        Roots::System => Vec::new(),
        Roots::File(path) => pem::certificates(path)?,
        Roots::Folder(path) => folder(path)?,
        Roots::Pem(text) => pem::certificates(PemSource::Text(text))?,
    };
    Ok(certificates.iter().map(|der| der.to_vec()).collect())
}

/// The system's, read once: there are over a hundred, which takes some milliseconds.
fn system() -> Result<Arc<TrustedRoots>, TlsError> {
    static SYSTEM: OnceLock<Arc<TrustedRoots>> = OnceLock::new();

    if let Some(store) = SYSTEM.get() {
        return Ok(Arc::clone(store));
    }
    let found = rustls_native_certs::load_native_certs();
    let mut roots = TrustedRoots::empty();
    for certificate in found.certs {
        // Some systems ship roots that no library reads; the others are still good.
        let _ = roots.add(certificate);
    }
    if roots.anchors().is_empty() {
        let problem = match found.errors.first() {
            Some(error) => error.to_string(),
            None => "install them (Debian: ca-certificates) or name a file of roots".into(),
        };
        return Err(TlsError::Options(format!(
            "the system has no trusted roots: {problem}"
        )));
    }
    Ok(Arc::clone(SYSTEM.get_or_init(|| Arc::new(roots))))
}

fn store(
    from: PemSource<'_>,
    certificates: Vec<CertificateDer<'static>>,
) -> Result<Arc<TrustedRoots>, TlsError> {
    let mut roots = TrustedRoots::empty();
    for certificate in certificates {
        roots
            .add(certificate)
            .map_err(|error| file_error::unusable(from, error))?;
    }
    Ok(Arc::new(roots))
}

/// Every certificate in the files of a folder, each file once: `openssl rehash` links them several times.
fn folder(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let wrong = |error| file_error::unusable(path, error);
    let mut seen = HashSet::new();
    let mut certificates = Vec::new();
    for entry in std::fs::read_dir(path).map_err(wrong)? {
        let file = entry.map_err(wrong)?.path();
        // A dangling link is the rest of a removed root.
        let Ok(metadata) = std::fs::metadata(&file) else {
            continue;
        };
        if !metadata.is_file() || !seen.insert((metadata.dev(), metadata.ino())) {
            continue;
        }
        if seen.len() > MAX_FOLDER_FILES {
            return Err(file_error::unusable(
                path,
                "there are more than 4096 files in it",
            ));
        }
        certificates.extend(pem::all_certificates(file.as_path())?);
    }
    match certificates.is_empty() {
        true => Err(file_error::unusable(
            path,
            "there is no certificate in its files",
        )),
        false => Ok(certificates),
    }
}
