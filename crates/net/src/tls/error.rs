//! Why a TLS handshake failed.

use std::fmt;
use std::io;

/// Why a TLS handshake failed: which check refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsError {
    /// The options make no sense, or a file they name cannot be used; what is wrong, with the path.
    Options(String),
    /// The server's certificate has expired.
    Expired,
    /// The server's certificate is not valid yet.
    NotYetValid,
    /// The server's certificate is for other names.
    WrongHost {
        /// The name that was expected.
        expected: String,
        /// The names that it is for.
        found: Vec<String>,
    },
    /// No trusted issuer has signed the server's certificate.
    UnknownIssuer,
    /// The server's certificate is its own issuer, which was not allowed.
    SelfSigned,
    /// The chain of the server's certificate is longer than allowed.
    ChainTooLong,
    /// The server's certificate has another fingerprint.
    WrongFingerprint {
        /// The one it has: SHA-256 in hex.
        found: String,
    },
    /// The server refused this side's certificate, or wants one that it was not given.
    ClientCertificateRefused(String),
    /// The server speaks none of the offered protocols (ALPN).
    NoCommonProtocol,
    /// The server left in the middle of the handshake.
    PeerLeft,
    /// The server sent an alert.
    Alert(String),
    /// The server's certificate is unacceptable for another reason.
    Certificate(String),
    /// The bytes are no TLS, or break it.
    Protocol(String),
    /// The stream beneath the handshake failed.
    Stream {
        /// The system's error number, if a system call failed.
        errno: Option<i32>,
        /// What went wrong.
        reason: String,
    },
}

/// Why a handshake failed.
#[cfg_attr(
    not(feature = "tls"),
    expect(dead_code, reason = "there are no handshakes")
)]
pub(crate) enum HandshakeError {
    /// A check of TLS refused, or the peer left.
    Tls(TlsError),
    /// The stream beneath failed.
    Stream(io::Error),
}

impl From<HandshakeError> for TlsError {
    fn from(error: HandshakeError) -> Self {
        match error {
            HandshakeError::Tls(error) => error,
            HandshakeError::Stream(error) => match error.kind() {
                io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::BrokenPipe => Self::PeerLeft,
                _ => Self::Stream {
                    errno: error.raw_os_error(),
                    reason: error.to_string(),
                },
            },
        }
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Options(problem) => f.write_str(problem),
            Self::Expired => f.write_str("the server's certificate has expired"),
            Self::NotYetValid => f.write_str("the server's certificate is not valid yet"),
            Self::WrongHost { expected, found } if found.is_empty() => write!(
                f,
                "the server's certificate is not for `{expected}`: it names no host, and a common name does not count (make one with \
                 subjectAltName=DNS:{expected})"
            ),
            Self::WrongHost { expected, found } => write!(
                f,
                "the server's certificate is not for `{expected}` but for {}",
                found.join(", ")
            ),
            Self::UnknownIssuer => {
                f.write_str("no trusted issuer has signed the server's certificate")
            }
            Self::SelfSigned => f.write_str(
                "the server's certificate is self-signed: allow that, best with its fingerprint",
            ),
            Self::ChainTooLong => {
                f.write_str("the chain of the server's certificate is longer than allowed")
            }
            Self::WrongFingerprint { found } => {
                write!(f, "the server's certificate has the fingerprint {found}")
            }
            Self::ClientCertificateRefused(words) => {
                write!(f, "the server refused our certificate: {words}")
            }
            Self::NoCommonProtocol => {
                f.write_str("the server speaks none of the offered protocols (ALPN)")
            }
            Self::PeerLeft => f.write_str("the server left in the middle of the handshake"),
            Self::Alert(words) => write!(f, "the server sent an alert: {words}"),
            Self::Certificate(problem) => write!(f, "the server's certificate: {problem}"),
            Self::Protocol(problem)
            | Self::Stream {
                reason: problem, ..
            } => write!(f, "the handshake failed: {problem}"),
        }
    }
}

impl std::error::Error for TlsError {}
