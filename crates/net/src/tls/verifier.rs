//! Decides whether a server is the right one.

use std::net::IpAddr;

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, SignatureScheme};
use webpki::EndEntityCert;

use super::authority::Authority;
use super::certificate::{Certificate, Fingerprint};
use super::chain::has_no_path;
use super::error::TlsError;
use super::options::Verification;
use super::proof;
use super::purpose::Purpose;

/// Decides whether a server is the right one, and says which check refused it.
#[derive(Debug)]
pub(super) struct ServerVerifier {
    pub(super) verification: Verification,
    pub(super) authority: Authority,
    /// One of these must match, if there are any.
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) names: HostNames,
}

/// Which names of a certificate count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HostNames {
    /// Those that it lists (RFC 9525 §2).
    Listed,
    /// These, or its common name where it lists none, as OpenSSL has it.
    OrCommon,
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
        let path = (der, &certificate);
        let found = self
            .authority
            .verify(path, intermediates, Purpose::Server, now);
        if let Err(error) = found {
            if !has_no_path(&error) || !certificate.is_self_signed() {
                return Err(refusal(error, &certificate, now));
            }
            self.verify_self_signed(path, now)?;
        }
        match self.has_name((der, &certificate), intermediates, server_name) {
            true => Ok(()),
            false => Err(TlsError::WrongHost {
                expected: server_name.to_str().into_owned(),
                found: certificate.names(),
            }),
        }
    }

    /// A certificate that is its own issuer is good if that is allowed, or if it is itself among the roots.
    fn verify_self_signed(
        &self,
        (der, certificate): (&CertificateDer<'_>, &Certificate<'_>),
        now: UnixTime,
    ) -> Result<(), TlsError> {
        let is_root = self.authority.has_root(der);
        if self.verification != Verification::AllowSelfSigned && !is_root {
            return Err(TlsError::SelfSigned);
        }
        certificate.check_dates(now)?;
        certificate.check_purpose()
    }

    fn has_name(
        &self,
        (der, certificate): (&CertificateDer<'_>, &Certificate<'_>),
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
    ) -> bool {
        let is_listed = EndEntityCert::try_from(der)
            .is_ok_and(|it| it.verify_is_valid_for_subject_name(server_name).is_ok());
        // Limits of what an issuer may name (RFC 5280 §4.2.1.10) are checked for listed names only.
        let is_free = self.authority.is_free()
            && intermediates
                .iter()
                .all(|it| Certificate::parse(it).is_ok_and(|it| !it.is_constrained()));
        let common = certificate.common_name();
        let common = common.filter(|_| self.names == HostNames::OrCommon && is_free);
        is_listed || common.is_some_and(|name| stands_for(name, &server_name.to_str()))
    }
}

/// Whether a common name is that of a host. A wildcard stands for one label of a host below a domain with a dot.
fn stands_for(name: &str, host: &str) -> bool {
    let parent = |it: &str| it.split_once('.').map(|(_, parent)| parent.to_owned());
    match name.strip_prefix("*.") {
        Some(domain) => {
            domain.contains('.')
                && host.parse::<IpAddr>().is_err()
                && parent(host).is_some_and(|it| it.eq_ignore_ascii_case(domain))
        }
        None => name.eq_ignore_ascii_case(host),
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
        proof::verify_tls12(message, certificate, signed, &self.authority.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        proof::verify_tls13(message, certificate, signed, &self.authority.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.authority.algorithms.supported_schemes()
    }
}

/// `openssl req -x509` of Debian 12 makes them where nothing is added to the certificate.
pub(super) const VERSION_1: &str = "it is of X.509 version 1, and no trusted certificate is its issuer: make one of version 3, \
     for instance by `-addext subjectAltName=DNS:NAME` behind `openssl req -x509`";

/// A trusted certificate, or another one on the way there, must not issue others.
pub(super) const NO_ISSUER: &str = "a certificate that is no issuer has signed it or its issuer: make the trusted one with \
     basicConstraints=critical,CA:TRUE";

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
        webpki::Error::RequiredEkuNotFoundContext(_) => {
            TlsError::Certificate("it is not for servers".into())
        }
        webpki::Error::UnsupportedCertVersion => TlsError::Certificate(VERSION_1.into()),
        webpki::Error::EndEntityUsedAsCa => TlsError::Certificate(NO_ISSUER.into()),
        webpki::Error::UnknownRevocationStatus => {
            TlsError::Certificate("no list says that it, or an issuer, is not revoked".into())
        }
        webpki::Error::CrlExpired { .. } => TlsError::Certificate(
            "the list that says what its issuer has revoked has expired".into(),
        ),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_stands_for_one_label_of_a_host_below_a_domain() {
        for (name, host, is_it) in [
            ("a.test", "A.test", true),
            ("*.a.test", "b.a.test", true),
            ("*.a.test", "a.test", false),
            ("*.a.test", "c.b.a.test", false),
            ("*.test", "a.test", false),
            ("*.0.0.1", "10.0.0.1", false),
        ] {
            assert_eq!(stands_for(name, host), is_it, "{name} for {host}");
        }
    }
}
