//! Files of certificates and keys, or their text, and what is wrong with them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::error::TlsError;
use super::options::Pem;

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

/// Where PEM comes from.
#[derive(Debug, Clone, Copy)]
pub(super) enum PemSource<'a> {
    File(&'a Path),
    Text(&'a str),
}

impl<'a> From<&'a Path> for PemSource<'a> {
    fn from(path: &'a Path) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a PathBuf> for PemSource<'a> {
    fn from(path: &'a PathBuf) -> Self {
        Self::File(path)
    }
}

impl<'a> From<&'a Pem> for PemSource<'a> {
    fn from(pem: &'a Pem) -> Self {
        match pem {
            Pem::File(path) => Self::File(path),
            Pem::Text { pem } => Self::Text(pem),
        }
    }
}

impl fmt::Display for PemSource<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Text(_) => f.write_str("the PEM text"),
        }
    }
}

impl FileError {
    pub(super) fn new<'a>(
        kind: FileErrorKind,
        from: impl Into<PemSource<'a>>,
        problem: impl fmt::Display,
    ) -> Self {
        Self {
            kind,
            message: format!("cannot use {}: {problem}", from.into()),
        }
    }

    /// The system's error for this file.
    pub(super) fn of_system(path: &Path, error: &io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::NotFound => FileErrorKind::Missing,
            io::ErrorKind::PermissionDenied => FileErrorKind::Forbidden,
            _ => FileErrorKind::Other,
        };
        Self::new(kind, path, error)
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

/// A source cannot be used, for a reason of no other kind.
pub(super) fn unusable<'a>(
    from: impl Into<PemSource<'a>>,
    problem: impl fmt::Display,
) -> FileError {
    FileError::new(FileErrorKind::Other, from, problem)
}
