//! The bytes around a payload on the wire.

/// The longest header that a framing may have, in bytes; [`Framing::envelope`](super::Framing::envelope) builds it in place.
pub const MAX_HEADER_BYTES: usize = 64;

/// The longest delimiter, in bytes. One byte less is looked at again whenever more input arrives.
pub const MAX_DELIMITER_BYTES: usize = 64;

/// The bytes around a payload on the wire.
///
/// Send [`prefix`](Self::prefix), the payload from [`skip`](Self::skip) on, [`suffix`](Self::suffix).
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    pub(super) prefix: [u8; MAX_HEADER_BYTES],
    pub(super) prefix_len: u8,
    /// How many leading bytes of the payload the prefix replaces.
    pub skip: usize,
    pub(super) suffix: &'a [u8],
}

impl<'a> Envelope<'a> {
    #[inline]
    pub(super) fn empty() -> Self {
        Self {
            prefix: [0; MAX_HEADER_BYTES],
            prefix_len: 0,
            skip: 0,
            suffix: &[],
        }
    }

    pub(super) fn ending_in(suffix: &'a [u8]) -> Self {
        Self {
            suffix,
            ..Self::empty()
        }
    }

    /// The bytes before the payload.
    #[inline]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix[..usize::from(self.prefix_len)]
    }

    /// The bytes after it.
    #[inline]
    pub fn suffix(&self) -> &'a [u8] {
        self.suffix
    }

    /// How many bytes a payload of `len` bytes is on the wire.
    #[inline]
    pub(crate) fn wire_len(&self, len: usize) -> usize {
        usize::from(self.prefix_len) + (len - self.skip) + self.suffix.len()
    }

    /// Appends everything that goes over the wire for `payload`.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>, payload: &[u8]) {
        /// Nearly every prefix is as short as this: a copy of constant size needs no call.
        const SHORT: usize = 8;
        let body = &payload[self.skip..];
        let prefix_len = usize::from(self.prefix_len);
        bytes.reserve(prefix_len.max(SHORT) + body.len() + self.suffix.len());
        if prefix_len <= SHORT {
            let end = bytes.len() + prefix_len;
            bytes.extend_from_slice(&self.prefix[..SHORT]);
            bytes.truncate(end);
        } else {
            bytes.extend_from_slice(self.prefix());
        }
        bytes.extend_from_slice(body);
        if !self.suffix.is_empty() {
            bytes.extend_from_slice(self.suffix);
        }
    }
}
