//! PEM files: certificates and keys.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// The largest file that is read: Debian's bundle of all roots has 220 KiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// A file that an option names cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    kind: FileErrorKind,
    message: String,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FileErrorKind {
    /// It is not there.
    Missing,
    /// This user may not read it.
    Forbidden,
    /// It holds no certificate.
    NoCertificate,
    /// It holds no private key, or an encrypted one.
    NoKey,
    /// It holds a certificate that has expired or is not valid yet.
    Dates,
    /// It holds the key of another certificate.
    OtherKey,
    /// Something else, which the message tells.
    Other,
}

impl FileError {
    pub(super) fn new(kind: FileErrorKind, path: &Path, problem: impl fmt::Display) -> Self {
        Self {
            kind,
            message: format!("cannot use {}: {problem}", path.display()),
        }
    }

    /// What is wrong with it.
    pub fn kind(&self) -> FileErrorKind {
        self.kind
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FileError {}

impl From<FileError> for TlsError {
    fn from(error: FileError) -> Self {
        Self::Options(error.message)
    }
}

impl From<TlsError> for FileError {
    fn from(error: TlsError) -> Self {
        Self {
            kind: FileErrorKind::Other,
            message: error.to_string(),
        }
    }
}

/// The certificates in a file, in its order; none is an error.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let certificates = all_certificates(path)?;
    match certificates.is_empty() {
        true => Err(FileError::new(
            FileErrorKind::NoCertificate,
            path,
            "there is no certificate in it",
        )),
        false => Ok(certificates),
    }
}

/// The certificates in a file, perhaps none.
pub(super) fn all_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, FileError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))
}

/// The first private key in a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, FileError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        Error::NoItemsFound if is_encrypted(&bytes) => FileError::new(
            FileErrorKind::NoKey,
            path,
            "the private key in it is encrypted: write it out without a password, readable by this user alone",
        ),
        Error::NoItemsFound => FileError::new(
            FileErrorKind::NoKey,
            path,
            "there is no private key in it",
        ),
        // The error's words are about lines and markers, never about what stands between them.
        error => unusable(path, error),
    })
}

/// A file cannot be used for a reason that needs no more than its words.
pub(super) fn unusable(path: &Path, problem: impl fmt::Display) -> FileError {
    FileError::new(FileErrorKind::Other, path, problem)
}

fn read(path: &Path) -> Result<Vec<u8>, FileError> {
    let wrong = |error: io::Error| {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FileErrorKind::Missing,
            io::ErrorKind::PermissionDenied => FileErrorKind::Forbidden,
            _ => FileErrorKind::Other,
        };
        FileError::new(kind, path, error)
    };
    let metadata = std::fs::metadata(path).map_err(wrong)?;
    // Opening a pipe would wait for its writer.
    if !metadata.is_file() {
        return Err(unusable(path, "it is no file"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(wrong)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(unusable(path, "it is larger than 16 MiB"));
    }
    Ok(bytes)
}

fn is_encrypted(pem: &[u8]) -> bool {
    memchr::memmem::find(pem, b"ENCRYPTED").is_some()
}
