//! The contents of a certificate.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::sync::LazyLock;

use ::aws_lc_rs::digest::{SHA256, digest};
use ::aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};
use rustls::crypto::{WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use serde::{Serialize, Serializer};

use super::der::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING,
    Reader, SEQUENCE, UTC_TIME,
};
use super::distinguished_name::DistinguishedName;
use super::error::TlsError;
use super::purpose::Purpose;

/// The SHA-256 of a certificate's DER form, as `openssl x509 -fingerprint -sha256` shows it.
///
/// Written in hex, of either case, with or without colons; shown in lower case without.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

/// A certificate, read. Sequences are without their tags and lengths, as trust anchors have them.
#[derive(Debug)]
pub(super) struct Certificate<'a> {
    is_version_1: bool,
    serial: &'a [u8],
    /// The signed bytes, as they are.
    signed: &'a [u8],
    algorithm: &'a [u8],
    signature: &'a [u8],
    issuer: &'a [u8],
    subject: &'a [u8],
    /// The first and the last second on which it holds.
    dates: [Time; 2],
    public_key: &'a [u8],
    /// The same with tag and length.
    public_key_der: &'a [u8],
    extensions: Reader<'a>,
}

/// Signed bytes, as they are, and their signature. The algorithm is without its tag and length.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) algorithm: &'a [u8],
    pub(super) signature: &'a [u8],
}

/// A second.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time {
    year: i64,
    month: i64,
    day: i64,
    second_of_day: i64,
}

/// Optional fields of a certificate (RFC 5280 §4.1).
const VERSION: u8 = 0xa0;
const ISSUER_ID: u8 = 0x81;
const SUBJECT_ID: u8 = 0x82;
const EXTENSIONS: u8 = 0xa3;
/// Kinds of names (RFC 5280 §4.2.1.6).
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17.
const SUBJECT_ALTERNATIVE_NAME: &[u8] = &[0x55, 0x1d, 0x11];
/// 2.5.29.30.
const NAME_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x1e];
/// 2.5.29.37.
const EXTENDED_KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x25];
/// 2.5.29.37.0.
const ANY_PURPOSE: &[u8] = &[0x55, 0x1d, 0x25, 0x00];
/// 1.3.6.1.5.5.7.3.1.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
/// 1.3.6.1.5.5.7.3.2.
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
/// 1.2.840.113549.1.1.5, and no parameters.
const SHA1_WITH_RSA: &[u8] = b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05\x05\x00";

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
        Self::read(der).map_err(|Malformed| unreadable())
    }

    /// RFC 5280 §4.1.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        let mut whole = Reader::new(der).expect(SEQUENCE)?.reader();
        let signed = whole.expect(SEQUENCE)?;
        let algorithm = whole.expect(SEQUENCE)?.content;
        let signature = whole.expect(BIT_STRING)?.bits()?;
        let mut fields = signed.reader();
        // Only another version than the first one is written.
        let is_version_1 = match fields.next_if(VERSION)? {
            Some(version) => version.reader().expect(INTEGER)?.content == [0],
            None => true,
        };
        let serial = fields.expect(INTEGER)?.content;
        fields.expect(SEQUENCE)?;
        let issuer = fields.expect(SEQUENCE)?.content;
        let mut validity = fields.expect(SEQUENCE)?.reader();
        let dates = [Time::read(&mut validity)?, Time::read(&mut validity)?];
        let subject = fields.expect(SEQUENCE)?.content;
        let public_key = fields.expect(SEQUENCE)?;
        fields.next_if(ISSUER_ID)?;
        fields.next_if(SUBJECT_ID)?;
        let extensions = match fields.next_if(EXTENSIONS)? {
            Some(extensions) => extensions.reader().expect(SEQUENCE)?.reader(),
            None => Reader::new(&[]),
        };
        Ok(Self {
            is_version_1,
            serial,
            signed: signed.whole,
            algorithm,
            signature,
            issuer,
            subject,
            dates,
            public_key: public_key.content,
            public_key_der: public_key.whole,
            extensions,
        })
    }

    /// The names that it is for: hosts and addresses. Its common name does not count (RFC 9525 §2).
    pub(super) fn names(&self) -> Vec<String> {
        let Ok(Some(alternatives)) = self.extension(SUBJECT_ALTERNATIVE_NAME) else {
            return Vec::new();
        };
        let Ok(list) = Reader::new(alternatives).expect(SEQUENCE) else {
            return Vec::new();
        };
        let mut list = list.reader();
        let mut names = Vec::new();
        while !list.is_empty() {
            let Ok(name) = list.next() else {
                return Vec::new();
            };
            match name.tag {
                DNS_NAME if name.content.is_ascii() => {
                    names.push(String::from_utf8_lossy(name.content).into_owned());
                }
                IP_ADDRESS => names.extend(ip(name.content)),
                _ => {}
            }
        }
        names
    }

    /// Whether it is of X.509 version 1, which has no extensions: no names of hosts, and no word of what it is for.
    pub(super) fn is_version_1(&self) -> bool {
        self.is_version_1
    }

    /// Whose it is.
    pub(super) fn subject(&self) -> DistinguishedName<'a> {
        DistinguishedName(self.subject)
    }

    /// Its issuer.
    pub(super) fn issuer_name(&self) -> DistinguishedName<'a> {
        DistinguishedName(self.issuer)
    }

    /// The first and the last second on which it holds.
    pub(super) fn times(&self) -> [Time; 2] {
        self.dates
    }

    /// The bytes of its serial number.
    pub(super) fn serial(&self) -> &'a [u8] {
        self.serial
    }

    /// The name of its issuer.
    pub(super) fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// Its common name, where it has no list of the names that it is for. That is how certificates were once made.
    pub(super) fn common_name(&self) -> Option<&'a str> {
        match self.extension(SUBJECT_ALTERNATIVE_NAME) {
            Ok(None) => DistinguishedName(self.subject).common_name(),
            _ => None,
        }
    }

    /// Its public key, without tag and length.
    pub(super) fn public_key(&self) -> &'a [u8] {
        self.public_key
    }

    /// The same in DER with tag and length.
    pub(super) fn public_key_der(&self) -> &'a [u8] {
        self.public_key_der
    }

    /// Whether its key has signed this.
    pub(super) fn has_signed(
        &self,
        algorithm: &dyn SignatureVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> bool {
        split_key(self.public_key).is_ok_and(|(kind, key)| {
            algorithm.public_key_alg_id().as_ref() == kind
                && algorithm.verify_signature(key, message, signature).is_ok()
        })
    }

    /// Whether it is its own issuer, by name and by signature.
    pub(super) fn is_self_signed(&self) -> bool {
        self.subject == self.issuer && self.is_signed_by(self.public_key)
    }

    /// Whether it is signed by way of SHA-1, for which a second certificate can be made.
    pub(super) fn is_signed_weakly(&self) -> bool {
        self.signed().is_weak()
    }

    /// Whether it limits the names of those that it has issued, or may.
    pub(super) fn is_constrained(&self) -> bool {
        !matches!(self.extension(NAME_CONSTRAINTS), Ok(None))
    }

    /// Whether this key has signed it. Keys are without their tags and lengths, as trust anchors have them.
    pub(super) fn is_signed_by(&self, public_key: &[u8]) -> bool {
        self.signed().is_by(public_key)
    }

    fn signed(&self) -> Signed<'a> {
        Signed {
            bytes: self.signed,
            algorithm: self.algorithm,
            signature: self.signature,
        }
    }

    /// The first and the last day on which it holds, as in 2026-11-28.
    pub(super) fn dates(&self) -> [String; 2] {
        self.dates.map(|time| time.day())
    }

    /// Whether it holds at `now`.
    pub(super) fn check_dates(&self, now: UnixTime) -> Result<(), TlsError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let [from, until] = self.dates;
        if now < from.seconds() {
            Err(TlsError::NotYetValid)
        } else if now > until.seconds() {
            Err(TlsError::Expired)
        } else {
            Ok(())
        }
    }

    /// Whether it may stand for a server (RFC 5280 §4.2.1.12); most self-signed ones do not say.
    pub(super) fn check_purpose(&self) -> Result<(), TlsError> {
        match self.is_for(Purpose::Server) {
            Ok(true) => Ok(()),
            Ok(false) => Err(TlsError::Certificate("it is not for servers".into())),
            Err(Malformed) => Err(unreadable()),
        }
    }

    /// Whether it is for that, or does not say what it is for.
    pub(super) fn is_for(&self, purpose: Purpose) -> Result<bool, Malformed> {
        let Some(purposes) = self.extension(EXTENDED_KEY_USAGE)? else {
            return Ok(true);
        };
        let wanted = match purpose {
            Purpose::Server => SERVER_AUTH,
            Purpose::Client => CLIENT_AUTH,
        };
        let mut purposes = Reader::new(purposes).expect(SEQUENCE)?.reader();
        let mut is = false;
        while !purposes.is_empty() {
            let purpose = purposes.expect(OBJECT_IDENTIFIER)?.content;
            is |= purpose == wanted || purpose == ANY_PURPOSE;
        }
        Ok(is)
    }

    /// Whether it is the certificate that this root names: same subject and key.
    pub(super) fn is(&self, root: &rustls::pki_types::TrustAnchor<'_>) -> bool {
        self.subject == root.subject.as_ref()
            && self.public_key == root.subject_public_key_info.as_ref()
    }

    /// Whether this one of an issuer is for the same name and key as another one.
    pub(super) fn has_name_and_key_of(&self, other: &Certificate<'_>) -> bool {
        self.subject == other.subject && self.public_key == other.public_key
    }

    /// The content of an extension. One that comes twice is malformed (RFC 5280 §4.2).
    pub(super) fn extension(&self, id: &[u8]) -> Result<Option<&'a [u8]>, Malformed> {
        let mut extensions = self.extensions;
        let mut found = None;
        while !extensions.is_empty() {
            let mut extension = extensions.expect(SEQUENCE)?.reader();
            let of = extension.expect(OBJECT_IDENTIFIER)?.content;
            extension.next_if(BOOLEAN)?;
            let content = extension.expect(OCTET_STRING)?.content;
            if of == id && found.replace(content).is_some() {
                return Err(Malformed);
            }
        }
        Ok(found)
    }
}

/// The algorithm of a public key, and the key.
fn split_key(public_key: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let mut fields = Reader::new(public_key);
    let kind = fields.expect(SEQUENCE)?.content;
    Ok((kind, fields.expect(BIT_STRING)?.bits()?))
}

fn unreadable() -> TlsError {
    TlsError::Certificate("it cannot be read".into())
}

/// Made once: a chain may need many signatures.
static ALGORITHMS: LazyLock<WebPkiSupportedAlgorithms> =
    LazyLock::new(|| aws_lc_rs::default_provider().signature_verification_algorithms);

impl Signed<'_> {
    /// Whether that is by way of SHA-1, for which other bytes can be made.
    pub(super) fn is_weak(&self) -> bool {
        self.algorithm == SHA1_WITH_RSA
    }

    /// Whether this key has signed them. It is without tag and length.
    pub(super) fn is_by(&self, public_key: &[u8]) -> bool {
        self.check(public_key).unwrap_or(false)
    }

    fn check(&self, public_key: &[u8]) -> Result<bool, Malformed> {
        let (kind, key) = split_key(public_key)?;
        if self.is_weak() {
            // rustls has no SHA-1. Here it says only who made the certificate, of which no more is believed for it.
            let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, key);
            return Ok(key.verify(self.bytes, self.signature).is_ok());
        }
        Ok(ALGORITHMS.all.iter().any(|algorithm| {
            algorithm.signature_alg_id().as_ref() == self.algorithm
                && algorithm.public_key_alg_id().as_ref() == kind
                && algorithm
                    .verify_signature(key, self.bytes, self.signature)
                    .is_ok()
        }))
    }
}

impl Time {
    /// `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` after (RFC 5280 §4.1.2.5).
    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        let value = from.next()?;
        let (year, rest) = match value.tag {
            UTC_TIME => {
                let (year, rest) = digits(value.content)?;
                (if year < 50 { 2000 + year } else { 1900 + year }, rest)
            }
            GENERALIZED_TIME => {
                let (century, rest) = digits(value.content)?;
                let (year, rest) = digits(rest)?;
                (100 * century + year, rest)
            }
            _ => return Err(Malformed),
        };
        let (month, rest) = digits(rest)?;
        let (day, rest) = digits(rest)?;
        let (hour, rest) = digits(rest)?;
        let (minute, rest) = digits(rest)?;
        let (second, rest) = digits(rest)?;
        let is_time = (1..=12).contains(&month)
            && (1..=31).contains(&day)
            && hour < 24
            && minute < 60
            && second < 60;
        match is_time && rest == b"Z" {
            true => Ok(Self {
                year,
                month,
                day,
                second_of_day: (hour * 60 + minute) * 60 + second,
            }),
            false => Err(Malformed),
        }
    }

    /// As in 2026-11-28.
    fn day(self) -> String {
        format!("{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }

    /// Since 1970.
    pub(super) fn seconds(self) -> i64 {
        // Years begin in March, so that the leap day is their last; eras have 400 of them.
        let (year, month) = match self.month {
            1 | 2 => (self.year - 1, self.month + 9),
            month => (self.year, month - 3),
        };
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let of_year = (153 * month + 2) / 5 + self.day - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        days * 86_400 + self.second_of_day
    }
}

/// As OpenSSL writes it: `Nov  9 14:05:06 2026 GMT`.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MONTHS: [&str; 12] = [
            "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
        ];
        let month = usize::try_from(self.month - 1).ok();
        let month = month.and_then(|at| MONTHS.get(at)).copied();
        let (minutes, second) = (self.second_of_day / 60, self.second_of_day % 60);
        write!(
            f,
            "{} {:2} {:02}:{:02}:{second:02} {} GMT",
            month.unwrap_or_default(),
            self.day,
            minutes / 60,
            minutes % 60,
            self.year
        )
    }
}

/// The number in the first two bytes, and the others.
fn digits(text: &[u8]) -> Result<(i64, &[u8]), Malformed> {
    match text {
        [tens @ b'0'..=b'9', ones @ b'0'..=b'9', rest @ ..] => {
            Ok((i64::from(tens - b'0') * 10 + i64::from(ones - b'0'), rest))
        }
        _ => Err(Malformed),
    }
}

fn ip(bytes: &[u8]) -> Option<String> {
    if let Ok(bytes) = <[u8; 4]>::try_from(bytes) {
        return Some(Ipv4Addr::from(bytes).to_string());
    }
    let bytes = <[u8; 16]>::try_from(bytes).ok()?;
    Some(Ipv6Addr::from(bytes).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(tag: u8, text: &[u8]) -> Result<Time, Malformed> {
        let length = u8::try_from(text.len()).unwrap();
        Time::read(&mut Reader::new(&[&[tag, length], text].concat()))
    }

    #[test]
    fn times_are_seconds_since_1970() {
        for (tag, text, seconds, day) in [
            (UTC_TIME, &b"700101000000Z"[..], 0, "1970-01-01"),
            (UTC_TIME, b"491231235959Z", 2_524_607_999, "2049-12-31"),
            (UTC_TIME, b"500101000000Z", -631_152_000, "1950-01-01"),
            (UTC_TIME, b"000229120000Z", 951_825_600, "2000-02-29"),
            (
                GENERALIZED_TIME,
                b"20500101000000Z",
                2_524_608_000,
                "2050-01-01",
            ),
            (
                GENERALIZED_TIME,
                b"99991231235959Z",
                253_402_300_799,
                "9999-12-31",
            ),
            (
                GENERALIZED_TIME,
                b"21000301000000Z",
                4_107_542_400,
                "2100-03-01",
            ),
        ] {
            let time = time(tag, text).unwrap();
            assert_eq!((time.seconds(), time.day()), (seconds, day.to_owned()));
        }
    }

    #[test]
    fn an_invalid_time_is_malformed() {
        for text in [
            &b"701301000000Z"[..],
            b"700100000000Z",
            b"700101240000Z",
            b"700101000000",
            b"7001010000Z",
            b"70010100000aZ",
        ] {
            assert!(time(UTC_TIME, text).is_err());
        }
        assert!(time(INTEGER, b"700101000000Z").is_err());
    }
}
