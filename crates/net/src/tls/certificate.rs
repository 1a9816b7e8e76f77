//! What a certificate says of itself.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use serde::{Serialize, Serializer};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use super::error::TlsError;

/// The SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` shows it.
///
/// Written in hex, of either case, with or without colons; shown in lower case without.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A certificate, read.
pub(super) struct Certificate<'a>(X509Certificate<'a>);

impl Fingerprint {
    /// That of this certificate.
    pub fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest(&SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl FromStr for Fingerprint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "`{text}` is no fingerprint: write the SHA-256 of the certificate in 64 hex digits"
            )
        };
        let digits: Vec<u8> = text
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect();
        match digits.len() {
            64 => Ok(Self(bytes.try_into().map_err(|_| wrong())?)),
            _ => Err(wrong()),
        }
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'a> Certificate<'a> {
    pub(super) fn parse(der: &'a CertificateDer<'_>) -> Result<Self, TlsError> {
        match X509Certificate::from_der(der) {
            Ok((_, certificate)) => Ok(Self(certificate)),
            Err(error) => Err(TlsError::Certificate(format!("it cannot be read: {error}"))),
        }
    }

    /// The names that it is for: hosts and addresses. Its common name does not count (RFC 9525 §2).
    pub(super) fn names(&self) -> Vec<String> {
        let Ok(Some(alternatives)) = self.0.subject_alternative_name() else {
            return Vec::new();
        };
        let names = alternatives.value.general_names.iter();
        names
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some((*name).to_owned()),
                GeneralName::IPAddress(bytes) => ip(bytes),
                _ => None,
            })
            .collect()
    }

    /// Whether it is its own issuer, by name and by signature.
    pub(super) fn is_self_signed(&self) -> bool {
        self.0.subject().as_raw() == self.0.issuer().as_raw()
            && self.0.verify_signature(None).is_ok()
    }

    /// The first and the last day on which it holds, as in 2026-11-28.
    pub(super) fn dates(&self) -> [String; 2] {
        let validity = self.0.validity();
        [validity.not_before, validity.not_after].map(|at| at.to_datetime().date().to_string())
    }

    /// Whether it holds at `now`.
    pub(super) fn check_dates(&self, now: UnixTime) -> Result<(), TlsError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let validity = self.0.validity();
        if now < validity.not_before.timestamp() {
            Err(TlsError::NotYetValid)
        } else if now > validity.not_after.timestamp() {
            Err(TlsError::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether it may stand for a server (RFC 5280 §4.2.1.12); most self-signed ones do not say.
    pub(super) fn check_purpose(&self) -> Result<(), TlsError> {
        match self.0.extended_key_usage() {
            Ok(None) => Ok(()),
            Ok(Some(usage)) if usage.value.server_auth || usage.value.any => Ok(()),
            Ok(Some(_)) => Err(TlsError::Certificate("it is not for servers".into())),
            Err(error) => Err(TlsError::Certificate(format!("it cannot be read: {error}"))),
        }
    }

    /// Whether it is the one that this root names: same subject and key.
    pub(super) fn is(&self, root: &rustls::pki_types::TrustAnchor<'_>) -> bool {
        content(self.0.subject().as_raw()) == Some(root.subject.as_ref())
            && content(self.0.public_key().raw) == Some(root.subject_public_key_info.as_ref())
    }
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_string())
}

/// What a DER sequence holds, without its tag and length: trust anchors are kept so.
fn content(der: &[u8]) -> Option<&[u8]> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    if *tag != 0x30 {
        return None;
    }
    match first {
        0..0x80 => Some(rest),
        _ => rest.get(usize::from(first & 0x7f)..),
    }
}
