//! Whether a peer has the key of the certificate that it shows, also of one of X.509 version 1.

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::{
    WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
    verify_tls13_signature_with_raw_key,
};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::{CertificateError, DigitallySignedStruct, Error, PeerMisbehaved};

use super::certificate::Certificate;

/// As TLS 1.2 has it.
pub(super) fn verify_tls12(
    message: &[u8],
    der: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    match old(der) {
        Some(certificate) => verify(message, &certificate, signed, algorithms),
        None => verify_tls12_signature(message, der, signed, algorithms),
    }
}

/// As TLS 1.3 has it.
pub(super) fn verify_tls13(
    message: &[u8],
    der: &CertificateDer<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let Some(certificate) = old(der) else {
        return verify_tls13_signature(message, der, signed, algorithms);
    };
    let key = SubjectPublicKeyInfoDer::from(certificate.public_key_der());
    verify_tls13_signature_with_raw_key(message, &key, signed, algorithms)
}

/// The certificate if rustls does not read it.
fn old<'a>(der: &'a CertificateDer<'_>) -> Option<Certificate<'a>> {
    let certificate = Certificate::parse(der).ok();
    certificate.filter(Certificate::is_version_1)
}

/// Verifies with one of the algorithms of the scheme: in TLS 1.2 it does not name a curve.
fn verify(
    message: &[u8],
    certificate: &Certificate<'_>,
    signed: &DigitallySignedStruct,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, Error> {
    let mut schemes = algorithms.mapping.iter();
    let Some((_, fitting)) = schemes.find(|(scheme, _)| *scheme == signed.scheme) else {
        return Err(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme.into());
    };
    match fitting
        .iter()
        .any(|it| certificate.has_signed(*it, message, signed.signature()))
    {
        true => Ok(HandshakeSignatureValid::assertion()),
        false => Err(CertificateError::BadSignature.into()),
    }
}
