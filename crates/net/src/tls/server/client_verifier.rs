//! Decides whether a client may connect, by the certificate that it shows.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use std::sync::Arc;

use super::super::authority::{Authority, Purpose};
use super::super::certificate::Certificate;
use super::super::error::TlsError;
use super::super::proof;
use super::super::verifier::VERSION_1;

/// Decides whether a client may connect, by the certificate that it shows.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    pub(super) authority: Authority,
    /// The names of the issuers, which clients are told.
    pub(super) subjects: Vec<DistinguishedName>,
    /// A client without a certificate is refused.
    pub(super) is_required: bool,
}

impl ClientVerifier {
    fn verify(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), CertificateError> {
        let certificate = Certificate::parse(der).map_err(|_| CertificateError::BadEncoding)?;
        let path = (der, &certificate);
        let found = self
            .authority
            .verify(path, intermediates, Purpose::Client, now);
        let Err(error) = found else {
            return Ok(());
        };
        // One that is trusted itself needs no issuer.
        let is_root = error != webpki::Error::CertRevoked && self.authority.has_root(&certificate);
        if is_root {
            return match certificate.check_dates(now) {
                Ok(()) => Ok(()),
                Err(TlsError::NotYetValid) => Err(CertificateError::NotValidYet),
                Err(_) => Err(CertificateError::Expired),
            };
        }
        Err(refusal(&error))
    }
}

/// Why there is no path to a root, as rustls carries it: it knows the right alert for each.
fn refusal(error: &webpki::Error) -> CertificateError {
    match error {
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)
        | webpki::Error::CaUsedAsEndEntity => CertificateError::UnknownIssuer,
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        webpki::Error::UnsupportedCertVersion => {
            let error = TlsError::Certificate(VERSION_1.into());
            CertificateError::Other(OtherError(Arc::new(error)))
        }
        error => CertificateError::Other(OtherError(Arc::new(error.clone()))),
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.verify(end_entity, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
            .map_err(Error::InvalidCertificate)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proof::verify_tls12(message, certificate, signed, &self.authority.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        proof::verify_tls13(message, certificate, signed, &self.authority.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.algorithms.supported_schemes()
    }
}
