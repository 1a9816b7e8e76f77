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

impl Certificate<'_> {
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
