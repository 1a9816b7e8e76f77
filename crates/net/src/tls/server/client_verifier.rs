//! Decides whether a client may connect, by the certificate that it shows.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
};
use std::sync::Arc;

use super::super::authority::{Authority, check_dates};
use super::super::certificate::Certificate;
use super::super::chain::has_no_path;
use super::super::error::TlsError;
use super::super::proof;
use super::super::purpose::Purpose;
use super::super::verifier::{NO_ISSUER, VERSION_1};

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
        found.map_err(|error| match refusal(&error) {
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
    ) -> Result<(), webpki::Error> {
        let certificate = Certificate::read(der).map_err(|_| webpki::Error::BadDer)?;
        let path = (der, &certificate);
        let found = self
            .authority
            .verify(path, intermediates, Purpose::Client, now);
        match found {
            // One that is trusted itself needs no issuer, unless lists must tell of it.
            Err(error)
                if has_no_path(&error)
                    && self.authority.crls.is_empty()
                    && self.authority.has_root(der) =>
            {
                match certificate.is_for(Purpose::Client) {
                    Ok(true) => check_dates(&certificate, now),
                    _ => Err(error),
                }
            }
            found => found,
        }
    }

    /// Whether a certificate with this error is accepted where that of its issuer does not count. OpenSSL has one error for a whole
    /// chain, which is the last that it finds; that of the issuer is not the last one where something else is wrong, mostly.
    fn passes(
        &self,
        der: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
        error: &webpki::Error,
    ) -> bool {
        let Ok(certificate) = Certificate::read(der) else {
            return false;
        };
        if certificate.check_dates(now).is_err() {
            return false;
        }
        let is_own_issuer = certificate.subject().0 == certificate.issuer();
        match refusal(error) {
            CertificateError::UnknownIssuer => {
                !is_own_issuer || certificate.is_for(Purpose::Client) == Ok(true)
            }
            _ => match error {
                webpki::Error::UnsupportedCertVersion => true,
                webpki::Error::RequiredEkuNotFoundContext(_)
                | webpki::Error::UnsupportedCriticalExtension => {
                    !is_own_issuer && !self.has_issuer(&certificate, intermediates)
                }
                _ => false,
            },
        }
    }

    /// Whether there is a certificate with the name of its issuer.
    fn has_issuer(
        &self,
        certificate: &Certificate<'_>,
        intermediates: &[CertificateDer<'_>],
    ) -> bool {
        let mut roots = self.authority.roots.anchors().iter();
        let is_issuer = |der: &CertificateDer<'_>| {
            Certificate::read(der).is_ok_and(|it| it.subject().0 == certificate.issuer())
        };
        roots.any(|root| root.subject.as_ref() == certificate.issuer())
            || intermediates.iter().any(is_issuer)
    }
}

/// Why there is no path to a root, as rustls carries it: it knows the right alert for each.
fn refusal(error: &webpki::Error) -> CertificateError {
    match error {
        webpki::Error::BadDer => CertificateError::BadEncoding,
        webpki::Error::CertExpired { .. } => CertificateError::Expired,
        webpki::Error::CertNotValidYet { .. } => CertificateError::NotValidYet,
        webpki::Error::CertRevoked => CertificateError::Revoked,
        webpki::Error::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        webpki::Error::CrlExpired { .. } => CertificateError::ExpiredRevocationList,
        webpki::Error::UnknownIssuer
        | webpki::Error::InvalidSignatureForPublicKey
        | webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_) => {
            CertificateError::UnknownIssuer
        }
        webpki::Error::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        webpki::Error::UnsupportedCertVersion => {
            let error = TlsError::Certificate(VERSION_1.into());
            CertificateError::Other(OtherError(Arc::new(error)))
        }
        webpki::Error::EndEntityUsedAsCa => {
            let error = TlsError::Certificate(NO_ISSUER.into());
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
        match self.verify(end_entity, intermediates, now) {
            // What is wrong with its issuers is told, and the connection goes on.
            Err(error)
                if self.demand == Demand::Unverified
                    && self.passes(end_entity, intermediates, now, &error) =>
            {
                Ok(())
            }
            found => found,
        }
        .map(|()| ClientCertVerified::assertion())
        .map_err(|error| Error::InvalidCertificate(refusal(&error)))
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
