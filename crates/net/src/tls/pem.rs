//! PEM files: certificates and keys.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::error::TlsError;

/// The largest file that is read: Debian's bundle of all roots has 220 KiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The certificates in a file, in its order; none is an error.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates = all_certificates(path)?;
    match certificates.is_empty() {
        true => Err(unusable(path, "there is no certificate in it")),
        false => Ok(certificates),
    }
}

/// The certificates in a file, perhaps none.
pub(super) fn all_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(path, error))
}

/// The first private key in a file.
pub(super) fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let bytes = read(path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|error| match error {
        Error::NoItemsFound if is_encrypted(&bytes) => unusable(
            path,
            "the private key in it is encrypted: write it out without a password, readable by this user alone",
        ),
        Error::NoItemsFound => unusable(path, "there is no private key in it"),
        // The error's words are about lines and markers, never about what stands between them.
        error => unusable(path, error),
    })
}

/// An option names a file that cannot be used.
pub(super) fn unusable(path: &Path, problem: impl std::fmt::Display) -> TlsError {
    TlsError::Options(format!("cannot use {}: {problem}", path.display()))
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let wrong = |error| unusable(path, error);
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
