//! Lists of revoked certificates (RFC 5280 §5), also of version 1, which webpki does not read.

use std::collections::HashSet;

use rustls::pki_types::UnixTime;
use webpki::{CertRevocationList, OwnedCertRevocationList};

use super::certificate::{Certificate, Signed, Time};
use super::der::{
    BIT_STRING, BOOLEAN, GENERALIZED_TIME, INTEGER, Malformed, OBJECT_IDENTIFIER, OCTET_STRING,
    Reader, SEQUENCE, UTC_TIME,
};

/// A list of revoked certificates.
pub(super) struct RevocationList {
    signed: Box<[u8]>,
    algorithm: Box<[u8]>,
    signature: Box<[u8]>,
    issuer: Box<[u8]>,
    /// Since 1970, in seconds. A list without an end holds for ever.
    times: (i64, Option<i64>),
    serials: HashSet<Box<[u8]>>,
    /// It tells of some certificates of its issuer alone, or of those of others.
    is_partial: bool,
    /// The same for webpki; `None` if that does not read it.
    webpki: Option<CertRevocationList<'static>>,
}

/// Extensions of lists, and of an entry, that change what a list means: 2.5.29.27, 28 and 29.
const DELTA: &[u8] = &[0x55, 0x1d, 0x1b];
const DISTRIBUTION_POINT: &[u8] = &[0x55, 0x1d, 0x1c];
const ENTRY_ISSUER: &[u8] = &[0x55, 0x1d, 0x1d];
/// `[0]`
const EXTENSIONS: u8 = 0xa0;

/// An issuer, as far as lists need it.
pub(super) struct ListIssuer<'a> {
    /// Without tag and length.
    pub(super) public_key: &'a [u8],
    pub(super) may_sign_lists: bool,
}

impl RevocationList {
    /// Reads those in DER, the newest ones first.
    pub(super) fn read_all(ders: &[Vec<u8>]) -> Result<Vec<Self>, String> {
        let read = |der: &Vec<u8>| Self::read(der);
        let mut lists: Vec<_> = ders.iter().map(read).collect::<Result<_, _>>()?;
        lists.sort_by_key(|list| std::cmp::Reverse(list.times.0));
        Ok(lists)
    }

    fn read(der: &[u8]) -> Result<Self, String> {
        let webpki = OwnedCertRevocationList::from_der(der);
        let list = Self::read_fields(der);
        match (list, webpki) {
            (Ok(list), webpki) if !list.is_partial || webpki.is_ok() => Ok(Self {
                webpki: webpki.ok().map(Into::into),
                ..list
            }),
            (Ok(_), Err(error)) => Err(error.to_string()),
            (Ok(_), Ok(_)) | (Err(Malformed), _) => Err("it cannot be read".to_owned()),
        }
    }

    /// RFC 5280 §5.1.
    fn read_fields(der: &[u8]) -> Result<Self, Malformed> {
        let mut whole = Reader::new(der).expect(SEQUENCE)?.reader();
        let signed = whole.expect(SEQUENCE)?;
        let algorithm = whole.expect(SEQUENCE)?.content;
        let signature = whole.expect(BIT_STRING)?.bits()?;
        let mut fields = signed.reader();
        fields.next_if(INTEGER)?;
        if fields.expect(SEQUENCE)?.content != algorithm {
            return Err(Malformed);
        }
        let issuer = fields.expect(SEQUENCE)?.content;
        let from = Time::read(&mut fields)?.seconds();
        let until = match fields.next_tag() {
            Some(UTC_TIME | GENERALIZED_TIME) => Some(Time::read(&mut fields)?.seconds()),
            _ => None,
        };
        let (mut serials, mut is_partial) = (HashSet::new(), false);
        if let Some(revoked) = fields.next_if(SEQUENCE)? {
            let mut revoked = revoked.reader();
            while !revoked.is_empty() {
                let mut entry = revoked.expect(SEQUENCE)?.reader();
                serials.insert(bare(entry.expect(INTEGER)?.content).into());
                Time::read(&mut entry)?;
                if let Some(extensions) = entry.next_if(SEQUENCE)? {
                    is_partial |= has_strange(extensions.reader())?;
                }
            }
        }
        if let Some(extensions) = fields.next_if(EXTENSIONS)? {
            is_partial |= has_strange(extensions.reader().expect(SEQUENCE)?.reader())?;
        }
        Ok(Self {
            signed: signed.whole.into(),
            algorithm: algorithm.into(),
            signature: signature.into(),
            issuer: issuer.into(),
            times: (from, until),
            serials,
            is_partial,
            webpki: None,
        })
    }

    /// All of them for webpki; `None` if it does not read one.
    pub(super) fn for_webpki(lists: &[Self]) -> Option<Vec<&CertRevocationList<'static>>> {
        lists.iter().map(|list| list.webpki.as_ref()).collect()
    }

    /// Whether the lists say that a certificate of this issuer is not revoked.
    pub(super) fn check(
        lists: &[Self],
        certificate: &Certificate<'_>,
        issuer: &ListIssuer<'_>,
        now: UnixTime,
    ) -> Result<(), webpki::Error> {
        if lists.is_empty() {
            return Ok(());
        }
        let is_of = |list: &&Self| {
            *list.issuer == *certificate.issuer() && list.is_signed_by(issuer.public_key)
        };
        let of_issuer: Vec<_> = lists.iter().filter(is_of).collect();
        if of_issuer.is_empty() {
            return Err(webpki::Error::UnknownRevocationStatus);
        }
        if !issuer.may_sign_lists {
            return Err(webpki::Error::IssuerNotCrlSigner);
        }
        let is_in = |list: &Self| list.serials.contains(bare(certificate.serial()));
        // A partial list may say that a certificate is revoked, and not that it is good.
        if of_issuer.iter().any(|list| list.is_partial && is_in(list)) {
            return Err(webpki::Error::CertRevoked);
        }
        let Some(list) = of_issuer.into_iter().find(|list| !list.is_partial) else {
            return Err(webpki::Error::UnknownRevocationStatus);
        };
        if is_in(list) {
            return Err(webpki::Error::CertRevoked);
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        match list.times.1 {
            Some(until) if seconds >= until => Err(webpki::Error::CrlExpired {
                time: now,
                next_update: UnixTime::since_unix_epoch(std::time::Duration::from_secs(
                    u64::try_from(until).unwrap_or(0),
                )),
            }),
            _ => Ok(()),
        }
    }

    fn is_signed_by(&self, public_key: &[u8]) -> bool {
        let signed = Signed {
            bytes: &self.signed,
            algorithm: &self.algorithm,
            signature: &self.signature,
        };
        !signed.is_weak() && signed.is_by(public_key)
    }
}

/// A serial number without the zeros before it.
fn bare(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// Whether some of these extensions change what a list means.
fn has_strange(mut extensions: Reader<'_>) -> Result<bool, Malformed> {
    let mut is_strange = false;
    while !extensions.is_empty() {
        let mut extension = extensions.expect(SEQUENCE)?.reader();
        let kind = extension.expect(OBJECT_IDENTIFIER)?.content;
        let is_critical = extension
            .next_if(BOOLEAN)?
            .is_some_and(|it| it.content != [0]);
        extension.expect(OCTET_STRING)?;
        is_strange |= is_critical || [DELTA, DISTRIBUTION_POINT, ENTRY_ISSUER].contains(&kind);
    }
    Ok(is_strange)
}
