//! What a certificate says of those that it issues (RFC 5280 §4.2.1.3, §4.2.1.9).

use super::certificate::Certificate;
use super::der::{BIT_STRING, BOOLEAN, INTEGER, Malformed, Reader, SEQUENCE};
use super::purpose::Purpose;

/// 2.5.29.15.
const KEY_USAGE: &[u8] = &[0x55, 0x1d, 0x0f];
/// 2.5.29.19.
const BASIC_CONSTRAINTS: &[u8] = &[0x55, 0x1d, 0x13];
/// Bits of the first byte of the key usage: signatures, keys for keys, and key agreement, one of which TLS needs.
const SERVES: u8 = 0x80 | 0x20 | 0x08;
const ASKS: u8 = 0x80 | 0x08;
const SIGNS_CERTIFICATES: u8 = 0x04;
const SIGNS_LISTS: u8 = 0x02;

/// What a trusted certificate may do as an issuer, as OpenSSL judges that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IssuerRights {
    /// The most issuers that may be between it and a peer's certificate; `None` if it is no issuer.
    most_below: Option<usize>,
    issues_servers: bool,
    issues_clients: bool,
    pub(super) signs_lists: bool,
}

impl IssuerRights {
    /// One that cannot be read is no issuer.
    pub(super) fn of(der: &[u8]) -> Self {
        match Certificate::read(der) {
            Ok(certificate) => Self::of_root(&certificate),
            Err(Malformed) => Self {
                most_below: None,
                issues_servers: false,
                issues_clients: false,
                signs_lists: false,
            },
        }
    }

    fn of_root(root: &Certificate<'_>) -> Self {
        let is_for = |purpose| root.is_for(purpose) == Ok(true);
        Self {
            most_below: root.most_below_root().unwrap_or(None),
            issues_servers: is_for(Purpose::Server),
            issues_clients: is_for(Purpose::Client),
            signs_lists: root.may_sign_lists(),
        }
    }

    /// Whether it may issue certificates for this, with this number of issuers below it.
    pub(super) fn permit(&self, purpose: Purpose, issuers_below: usize) -> bool {
        let is_for = match purpose {
            Purpose::Server => self.issues_servers,
            Purpose::Client => self.issues_clients,
        };
        is_for && self.most_below.is_some_and(|most| issuers_below <= most)
    }
}

impl Certificate<'_> {
    /// As [`most_issuers_below`](Self::most_issuers_below), for a root. Old ones do not say that they are issuers: they are of
    /// version 1 and their own issuers, or say what their keys are for.
    fn most_below_root(&self) -> Result<Option<usize>, Malformed> {
        if !self.may(SIGNS_CERTIFICATES) {
            return Ok(None);
        }
        if self.extension(BASIC_CONSTRAINTS)?.is_some() {
            return self.most_issuers_below();
        }
        let is_old = self.is_version_1() && self.subject().0 == self.issuer();
        let is_issuer = is_old || self.extension(KEY_USAGE)?.is_some();
        Ok(is_issuer.then_some(usize::MAX))
    }

    /// Whether it may issue a certificate that has this number of issuers below this one.
    pub(super) fn may_issue(&self, issuers_below: usize) -> bool {
        let most = self.most_issuers_below().unwrap_or(None);
        most.is_some_and(|most| issuers_below <= most) && self.may(SIGNS_CERTIFICATES)
    }

    /// Whether it may be a peer's own in TLS, as OpenSSL judges that by the key usage.
    pub(super) fn may_be_shown_by(&self, purpose: Purpose) -> bool {
        self.may(match purpose {
            Purpose::Server => SERVES,
            Purpose::Client => ASKS,
        })
    }

    /// Whether it may sign lists of revoked certificates.
    pub(super) fn may_sign_lists(&self) -> bool {
        self.may(SIGNS_LISTS)
    }

    /// The most issuers that may be between it and a peer's certificate; `None` if it is no issuer.
    fn most_issuers_below(&self) -> Result<Option<usize>, Malformed> {
        let Some(constraints) = self.extension(BASIC_CONSTRAINTS)? else {
            return Ok(None);
        };
        let mut constraints = Reader::new(constraints).expect(SEQUENCE)?.reader();
        match constraints.next_if(BOOLEAN)? {
            Some(is_issuer) if is_issuer.content != [0] => {}
            _ => return Ok(None),
        }
        match constraints.next_if(INTEGER)?.map(|most| most.content) {
            None => Ok(Some(usize::MAX)),
            Some([most @ ..0x80]) => Ok(Some(usize::from(*most))),
            Some(_) => Err(Malformed),
        }
    }

    /// Whether its key may be used in one of these ways. One that does not say is for everything.
    fn may(&self, usage: u8) -> bool {
        let Ok(usages) = self.extension(KEY_USAGE) else {
            return false;
        };
        let Some(usages) = usages else {
            return true;
        };
        let bits = Reader::new(usages).expect(BIT_STRING);
        bits.is_ok_and(|bits| matches!(bits.content, [_, first, ..] if first & usage != 0))
    }
}
