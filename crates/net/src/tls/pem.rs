//! PEM: certificates and keys, in files or as text.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read};

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use super::encrypted_key;
use super::file_error::{FileError, FileErrorKind, PemSource, unusable};
use super::passwords::{self, Passwords};
use super::undecrypted::Undecrypted;

/// The largest file that is read: Debian's bundle of all roots has 220 KiB.
const MAX_FILE_BYTES: u64 = 16 << 20;

/// The certificates in a source, in its order; none is an error.
pub(super) fn certificates<'a>(
    from: impl Into<PemSource<'a>>,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let from = from.into();
    let certificates = all_certificates(from)?;
    match certificates.is_empty() {
        true => Err(FileError::new(
            FileErrorKind::NoCertificate,
            from,
            "there is no certificate in it",
        )),
        false => Ok(certificates),
    }
}

/// The certificates in a source, perhaps none.
pub(super) fn all_certificates<'a>(
    from: impl Into<PemSource<'a>>,
) -> Result<Vec<CertificateDer<'static>>, FileError> {
    let from = from.into();
    CertificateDer::pem_slice_iter(&read(from)?)
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(from, error))
}

/// The lists of revoked certificates in a source, in DER; none is an error.
pub(super) fn crls<'a>(from: impl Into<PemSource<'a>>) -> Result<Vec<Vec<u8>>, FileError> {
    let from = from.into();
    let lists = CertificateRevocationListDer::pem_slice_iter(&read(from)?)
        .map(|list| list.map(|list| list.to_vec()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(from, error))?;
    match lists.is_empty() {
        true => Err(unusable(
            from,
            "there is no list of revoked certificates in it",
        )),
        false => Ok(lists),
    }
}

/// The first private key in a source; an encrypted one is decrypted with one of these passwords, which are read then.
pub(super) fn private_key<'a>(
    from: impl Into<PemSource<'a>>,
    passwords: Passwords<'_>,
) -> Result<PrivateKeyDer<'static>, FileError> {
    let from = from.into();
    let bytes = read(from)?;
    match (PrivateKeyDer::from_pem_slice(&bytes), passwords) {
        (Ok(key), _) => Ok(key),
        (Err(_), Passwords::Known(passwords)) if is_encrypted(&bytes) => {
            decrypt(from, &bytes, passwords)
        }
        (Err(_), Passwords::File(path)) if is_encrypted(&bytes) => {
            decrypt(from, &bytes, &passwords::read(path)?)
        }
        (Err(_), Passwords::None) if is_encrypted(&bytes) => Err(FileError::new(
            FileErrorKind::NoKey,
            from,
            "the private key in it is encrypted: name a `password_file`, or write it out without a password, readable by this user alone",
        )),
        (Err(Error::NoItemsFound), _) => Err(FileError::new(
            FileErrorKind::NoKey,
            from,
            "there is no private key in it",
        )),
        // The error's words are about lines and markers, never about what stands between them.
        (Err(error), _) => Err(unusable(from, error)),
    }
}

fn decrypt(
    from: PemSource<'_>,
    pem: &[u8],
    passwords: &[Vec<u8>],
) -> Result<PrivateKeyDer<'static>, FileError> {
    let decrypted = encrypted_key::decrypt(pem, passwords);
    decrypted.map_err(|error| match error {
        Undecrypted::WrongPassword => FileError::new(
            FileErrorKind::NoKey,
            from,
            "none of the passwords fits its private key",
        ),
        Undecrypted::UnknownWay => FileError::new(
            FileErrorKind::NoKey,
            from,
            "its private key is encrypted in a way that is not read here: convert it by `openssl pkcs8 -topk8 -v2 aes-256-cbc`",
        ),
        Undecrypted::TooLong => FileError::new(
            FileErrorKind::NoKey,
            from,
            "none of the first passwords fits its private key, and to try all of them would take too long: put the right one first",
        ),
    })
}

fn read(from: PemSource<'_>) -> Result<Cow<'_, [u8]>, FileError> {
    let path = match from {
        PemSource::File(path) => path,
        PemSource::Text(text) => return Ok(Cow::Borrowed(text.as_bytes())),
    };
    let wrong = |error: io::Error| FileError::of_system(path, &error);
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
    Ok(Cow::Owned(bytes))
}

fn is_encrypted(pem: &[u8]) -> bool {
    let is_there = |words: &[u8]| memchr::memmem::find(pem, words).is_some();
    is_there(b"-----BEGIN ENCRYPTED PRIVATE KEY-----") || is_there(b"Proc-Type: 4,ENCRYPTED")
}
