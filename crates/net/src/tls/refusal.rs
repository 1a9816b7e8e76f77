//! From rustls's errors to the check that refused.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

use super::error::{HandshakeError, TlsError};

/// An error of reading from or writing to a TLS stream, with a [`TlsError`] as its source where TLS is at fault.
///
/// In TLS 1.3 a client is done before the server has seen its certificate. So a server that refuses it shows in the
/// first read: as `TlsError::ClientCertificateRefused`. The error's kind stays.
pub fn typed(error: io::Error) -> io::Error {
    match rustls_error(&error) {
        // After the handshake only a certificate can be what these alerts are about.
        Some(refused) => io::Error::new(error.kind(), TlsError::from_rustls(refused, false)),
        None => error,
    }
}

impl HandshakeError {
    /// `asked`: the server had asked for this side's certificate by then.
    pub(super) fn new(error: io::Error, asked: bool) -> Self {
        match rustls_error(&error) {
            Some(refused) => Self::Tls(TlsError::from_rustls(refused, asked)),
            None if error.kind() == io::ErrorKind::UnexpectedEof => Self::Tls(TlsError::PeerLeft),
            None => Self::Stream(error),
        }
    }
}

impl TlsError {
    /// The TLS error that an error of a stream has as its source; see [`typed`].
    pub fn of(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?;
        match inner.downcast_ref::<Self>() {
            Some(error) => Some(error.clone()),
            None => rustls_error(error).map(|error| Self::from_rustls(error, false)),
        }
    }

    pub(super) fn from_rustls(error: &Error, asked: bool) -> Self {
        match error {
            Error::InvalidCertificate(error) => from_certificate(error),
            Error::AlertReceived(alert) => from_alert(*alert, asked),
            Error::NoApplicationProtocol => Self::NoCommonProtocol,
            Error::InvalidMessage(problem) => {
                Self::Protocol(format!("what came is no TLS: {problem:?}"))
            }
            error => Self::Protocol(error.to_string()),
        }
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

fn from_certificate(error: &CertificateError) -> TlsError {
    match error {
        CertificateError::Expired => TlsError::Expired,
        CertificateError::NotValidYet => TlsError::NotYetValid,
        CertificateError::UnknownIssuer => TlsError::UnknownIssuer,
        CertificateError::Other(other) => match other.0.downcast_ref::<TlsError>() {
            Some(error) => error.clone(),
            None => TlsError::Certificate(other.to_string()),
        },
        // Its signature under the handshake, say.
        error => TlsError::Certificate(error.to_string()),
    }
}

fn from_alert(alert: AlertDescription, asked: bool) -> TlsError {
    use AlertDescription as Alert;

    let words = format!("{alert:?}");
    match alert {
        Alert::NoApplicationProtocol => TlsError::NoCommonProtocol,
        // A server has one certificate to judge: ours.
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied
        | Alert::NoCertificate
        | Alert::CertificateRequired => TlsError::ClientCertificateRefused(words),
        // TLS 1.2 has no alert for a missing certificate; RFC 5246 §7.4.6 says this one.
        Alert::HandshakeFailure if asked => TlsError::ClientCertificateRefused(words),
        _ => TlsError::Alert(words),
    }
}
