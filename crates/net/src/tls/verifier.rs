//! Decides whether a server is the right one.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

use super::certificate::{Certificate, Fingerprint};
use super::error::TlsError;
use super::options::Verification;

/// Decides whether a server is the right one, and says which check refused it.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) verification: Verification,
    pub(super) roots: Arc<RootCertStore>,
    /// One of these must match, if there are any.
    pub(super) fingerprints: Vec<Fingerprint>,
    /// The most certificates between the server's and a root.
    pub(super) depth: Option<u8>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
}

impl ServerVerifier {
    fn verify(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let fingerprint = Fingerprint::of(der);
        if !self.fingerprints.is_empty() && !self.fingerprints.contains(&fingerprint) {
            return Err(TlsError::WrongFingerprint {
                found: fingerprint.to_string(),
            });
        }
        if self.verification == Verification::DangerouslyNone {
            return Ok(());
        }
        let certificate = Certificate::parse(der)?;
        let entity = EndEntityCert::try_from(der)
            .map_err(|error| TlsError::Certificate(error.to_string()))?;
        if let Err(error) = self.verify_path(&entity, intermediates, now) {
            if !certificate.is_self_signed() {
                return Err(refusal(error, &certificate, now));
            }
            self.verify_self_signed(&certificate, now)?;
        }
        entity
            .verify_is_valid_for_subject_name(server_name)
            .map_err(|_| TlsError::WrongHost {
                expected: server_name.to_str().into_owned(),
                found: certificate.names(),
            })
    }

    /// Looks for a path to a root, no longer than allowed.
    fn verify_path(
        &self,
        entity: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        let is_short = |path: &VerifiedPath<'_>| match self.depth {
            Some(most) if path.intermediate_certificates().count() > usize::from(most) => {
                Err(webpki::Error::MaximumPathDepthExceeded)
            }
            _ => Ok(()),
        };
        entity
            .verify_for_usage(
                self.algorithms.all,
                &self.roots.roots,
                intermediates,
                now,
                KeyUsage::server_auth(),
                None,
                Some(&is_short),
            )
            .map(drop)
    }

    /// A certificate that is its own issuer is good if that is allowed, or if it is itself among the roots.
    fn verify_self_signed(
        &self,
        certificate: &Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let is_root = || self.roots.roots.iter().any(|root| certificate.is(root));
        if self.verification != Verification::AllowSelfSigned && !is_root() {
            return Err(TlsError::SelfSigned);
        }
        certificate.check_dates(now)?;
        certificate.check_purpose()
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verify(end_entity, intermediates, server_name, now)
            .map(|()| ServerCertVerified::assertion())
            .map_err(|error| rustls::Error::InvalidCertificate(carried(error)))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Why there is no path to a root.
fn refusal(error: webpki::Error, certificate: &Certificate<'_>, now: UnixTime) -> TlsError {
    match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            match certificate.check_dates(now) {
                Err(error) => error,
                Ok(()) => TlsError::Certificate(
                    "one of its issuers' certificates has expired or is not valid yet".into(),
                ),
            }
        }
        // A namesake of a root has another key, so its signature does not fit.
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            TlsError::UnknownIssuer
        }
        webpki::Error::MaximumPathDepthExceeded => TlsError::ChainTooLong,
        webpki::Error::CaUsedAsEndEntity => {
            TlsError::Certificate("it is an issuer's, not a server's".into())
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            TlsError::Certificate("it is not for servers".into())
        }
        error => TlsError::Certificate(error.to_string()),
    }
}

/// The form in which rustls carries it to the end of the handshake. Where rustls has an error of its own the server
/// gets the right alert.
fn carried(error: TlsError) -> CertificateError {
    match error {
        TlsError::Expired => CertificateError::Expired,
        TlsError::NotYetValid => CertificateError::NotValidYet,
        TlsError::UnknownIssuer => CertificateError::UnknownIssuer,
        error => CertificateError::Other(OtherError(Arc::new(error))),
    }
}
