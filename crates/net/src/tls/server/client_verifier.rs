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
pub(crate) struct ClientVerifier {
    pub(super) authority: Authority,
    /// The names of the issuers, which clients are told.
    pub(super) subjects: Vec<DistinguishedName>,
    pub(super) demand: Demand,
}

/// What is asked of clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Demand {
    /// A certificate, if they have one.
    Optional,
    /// The same, from any issuer.
    Unverified,
    /// A certificate.
    Required,
}

impl ClientVerifier {
    /// Whether a certificate is good now.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn judge(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> Result<(), String> {
        let found = self.verify(der, intermediates, UnixTime::now());
        found.map_err(|error| match error {
            CertificateError::UnknownIssuer => "no trusted issuer has signed it".to_owned(),
            CertificateError::Other(other) => other.to_string(),
            CertificateError::Expired => "it has expired".to_owned(),
            error => error.to_string(),
        })
    }

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
        self.demand == Demand::Required
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let found = self.verify(end_entity, intermediates, now);
        let is_issuer = |error: &CertificateError| {
            matches!(
                error,
                CertificateError::UnknownIssuer | CertificateError::Other(_)
            )
        };
        match found {
            // What is wrong with its issuers is told, and the connection goes on.
            Err(error) if self.demand == Demand::Unverified && is_issuer(&error) => Ok(()),
            found => found,
        }
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
