//! Reads certificates and keys, and checks that they can be used.

use rustls::crypto::aws_lc_rs;

use super::super::error::TlsError;
use super::super::file_error::FileError;
use super::super::key_pair::KeyPair;
use super::super::options::Roots;
use super::super::passwords;
use super::super::pem;
use super::super::roots;
use super::config::ClientTls;
use super::credentials::ClientCredentials;
use super::options::ClientOptions;

impl ClientCredentials {
    /// Reads certificates and keys and checks that they can be used. Blocks on files.
    ///
    /// # Errors
    /// [`TlsError::Options`], naming the file, or the PEM text: it cannot be read or understood, its certificate has expired or
    /// is not valid yet, or the key belongs to another certificate.
    pub fn load(options: &ClientOptions) -> Result<Self, TlsError> {
        Ok(Self::load_files(options)?)
    }

    /// [`load`](Self::load), with an error that tells what is wrong with the file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_files(options: &ClientOptions) -> Result<Self, FileError> {
        let provider = aws_lc_rs::default_provider();
        let roots = match (&options.roots, options.verifies) {
            (Roots::System, _) | (_, false) => None,
            (trusted, true) => Some(roots::ders(trusted)?),
        };
        let crls = match &options.crl {
            Some(crl) if options.verifies => pem::crls(crl)?,
            _ => Vec::new(),
        };
        let pair = match &options.certificate {
            Some(files) => Some(KeyPair::load(options.pair(files), &provider)?),
            None => None,
        };
        let passwords = match (&options.certificate, &options.password_file) {
            (None, Some(path)) => passwords::read(path)?,
            _ => Vec::new(),
        };
        let credentials = Self {
            roots,
            crls,
            pair,
            passwords,
        };
        // Errors that show only when it is used are reported here too, where somebody can fix them.
        ClientTls::new(options, &credentials)?;
        Ok(credentials)
    }
}
