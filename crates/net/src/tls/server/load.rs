//! Reads a listener's certificates and keys, and checks that they can be shown now.

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, UnixTime};

use super::super::certificate::Certificate;
use super::super::error::TlsError;
use super::super::options::Pem;
use super::super::pem::{self, FileError, FileErrorKind};
use super::config::ServerTls;
use super::credentials::{Pair, ServerCredentials};
use super::options::{ServerCertificate, ServerOptions};

impl ServerCredentials {
    /// Reads certificates and keys and checks that they can be shown now. Blocks on files.
    ///
    /// # Errors
    /// [`TlsError::Options`], naming the file, or the PEM text: it cannot be read or understood, its certificate has expired or
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
            Some(issuers) => pem::certificates(issuers)?
                .into_iter()
                .map(|issuer| issuer.to_vec())
                .collect(),
            None => Vec::new(),
        };
        let credentials = Self { pairs, issuers };
        // Errors that show only when it is used are reported here too, where somebody can fix them.
        ServerTls::new(options, &credentials)?;
        Ok(credentials)
    }
}

impl Pair {
    fn load(files: &ServerCertificate, provider: &CryptoProvider) -> Result<Self, FileError> {
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
}

fn check_dates(source: &Pem, chain: &[CertificateDer<'_>]) -> Result<(), FileError> {
    let now = UnixTime::now();
    for (at, der) in chain.iter().enumerate() {
        let whose = match at {
            0 => "its certificate".to_owned(),
            _ => format!("certificate {} of its chain", at + 1),
        };
        let certificate = Certificate::parse(der)
            .map_err(|_| pem::unusable(source, format!("{whose} cannot be read")))?;
        let [from, until] = certificate.dates();
        let problem = match certificate.check_dates(now) {
            Err(TlsError::Expired) => format!("{whose} has expired: it was valid until {until}"),
            Err(_) => format!("{whose} is not valid yet: it is from {from} on"),
            Ok(()) => continue,
        };
        return Err(FileError::new(FileErrorKind::Dates, source, problem));
    }
    Ok(())
}
