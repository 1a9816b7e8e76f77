//! Certificates and keys as they are read from disk and passed to the process that uses them.

use std::fmt;
use std::path::Path;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use serde::{Deserialize, Serialize};

use super::super::certificate::Certificate;
use super::super::error::TlsError;
use super::super::pem::{self, FileError, FileErrorKind};
use super::{CertificateFiles, ServerOptions};

/// What the files of [`ServerOptions`] held when they were loaded. Private keys are among it: it is to be passed
/// to nobody but the process that shakes hands, and `Debug` shows none of it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCredentials {
    /// For each pair of files.
    pub(super) pairs: Vec<Pair>,
    /// Whose client certificates are trusted, in DER.
    pub(super) issuers: Vec<Vec<u8>>,
}

/// A chain and its key, in DER.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Pair {
    chain: Vec<Vec<u8>>,
    key: Vec<u8>,
}

impl ServerCredentials {
    /// Reads the files and checks that they can be shown now. Blocks on them.
    ///
    /// # Errors
    /// [`TlsError::Options`], naming the file: it cannot be read or understood, its certificate has expired or
    /// is not valid yet, or the key belongs to another certificate.
    pub fn load(options: &ServerOptions) -> Result<Self, TlsError> {
        Ok(Self::load_files(options)?)
    }

    /// [`load`](Self::load), with an error that tells what is wrong with the file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_files(options: &ServerOptions) -> Result<Self, FileError> {
        let provider = aws_lc_rs::default_provider();
        let pairs = options
            .certificates
            .iter()
            .map(|files| Pair::load(files, &provider))
            .collect::<Result<_, _>>()?;
        let issuers = match options.client_certificates.issuers() {
            Some(path) => pem::certificates(path)?
                .into_iter()
                .map(|issuer| issuer.to_vec())
                .collect(),
            None => Vec::new(),
        };
        let credentials = Self { pairs, issuers };
        // What only shows when it is used is refused here too, where somebody can mend it.
        super::ServerTls::new(options, &credentials)?;
        Ok(credentials)
    }
}

impl fmt::Debug for ServerCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerCredentials").finish_non_exhaustive()
    }
}

impl Pair {
    fn load(files: &CertificateFiles, provider: &CryptoProvider) -> Result<Self, FileError> {
        let chain = pem::certificates(&files.certificate)?;
        check_dates(&files.certificate, &chain)?;
        let key = pem::private_key(&files.key)?;
        let pair = Self {
            chain: chain
                .into_iter()
                .map(|certificate| certificate.to_vec())
                .collect(),
            key: key.secret_der().to_vec(),
        };
        pair.certified(files, provider)?;
        Ok(pair)
    }

    /// Ready for signing.
    pub(super) fn certified(
        &self,
        files: &CertificateFiles,
        provider: &CryptoProvider,
    ) -> Result<CertifiedKey, FileError> {
        let chain = self
            .chain
            .iter()
            .map(|certificate| CertificateDer::from(certificate.clone()));
        let key = PrivateKeyDer::try_from(self.key.clone())
            .map_err(|problem| pem::unusable(&files.key, problem))?;
        CertifiedKey::from_der(chain.collect(), key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => FileError::new(
                FileErrorKind::OtherKey,
                &files.key,
                format_args!("it does not belong to {}", files.certificate.display()),
            ),
            error => pem::unusable(&files.key, error),
        })
    }
}

fn check_dates(path: &Path, chain: &[CertificateDer<'_>]) -> Result<(), FileError> {
    let now = UnixTime::now();
    for (at, der) in chain.iter().enumerate() {
        let whose = match at {
            0 => "its certificate".to_owned(),
            _ => format!("certificate {} of its chain", at + 1),
        };
        let certificate = Certificate::parse(der)
            .map_err(|_| pem::unusable(path, format!("{whose} cannot be read")))?;
        let [from, until] = certificate.dates();
        let problem = match certificate.check_dates(now) {
            Err(TlsError::Expired) => format!("{whose} has expired: it was valid until {until}"),
            Err(_) => format!("{whose} is not valid yet: it is from {from} on"),
            Ok(()) => continue,
        };
        return Err(FileError::new(FileErrorKind::Dates, path, problem));
    }
    Ok(())
}
