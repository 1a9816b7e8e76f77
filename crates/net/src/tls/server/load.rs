//! Reads a listener's certificates and keys, and checks that they can be shown now.

use rustls::crypto::aws_lc_rs;

use super::super::error::TlsError;
use super::super::file_error::FileError;
use super::super::key_pair::KeyPair;
use super::super::pem;
use super::config::ServerTls;
use super::credentials::ServerCredentials;
use super::options::{ClientCertificates, ServerOptions};

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
            .map(|files| KeyPair::load(files.pair(), &provider))
            .collect::<Result<_, _>>()?;
        let issuers = match options.client_certificates.issuers() {
            Some(issuers) => pem::certificates(issuers)?
                .into_iter()
                .map(|issuer| issuer.to_vec())
                .collect(),
            None => Vec::new(),
        };
        let crls = match &options.client_crl {
            Some(crl) if options.client_certificates != ClientCertificates::Off => pem::crls(crl)?,
            _ => Vec::new(),
        };
        let credentials = Self {
            pairs,
            issuers,
            crls,
        };
        // Errors that show only when it is used are reported here too, where somebody can fix them.
        ServerTls::new(options, &credentials)?;
        Ok(credentials)
    }
}
