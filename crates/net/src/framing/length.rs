//! Messages with a length field in a header.

use serde::{Deserialize, Serialize};

use super::decoded::Decoded;
use super::envelope::{Envelope, MAX_HEADER_BYTES};
use super::error::{EncodeError, FramingError, InvalidFraming};
use crate::setters::setters;

/// A length field.
///
/// A packet is a header and what follows it. The header reaches to the end of the field, or further with
/// [`Counts::From`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Length {
    /// Its width: 1, 2, 4 or 8 bytes.
    pub width: u8,
    /// Its byte order.
    pub endian: Endian,
    /// Where it begins, in bytes from the packet's first.
    pub offset: u32,
    /// What its value counts.
    pub counts: Counts,
    /// The largest packet, in bytes, its header included.
    pub max: u64,
    /// The app sees and sends whole packets; the field is set right when they are sent. Otherwise the
    /// app sees what follows the header, and the header is built when sending.
    pub keep_header: bool,
}

/// What a length field counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Counts {
    /// The bytes after the field.
    Payload,
    /// The whole packet, the field and what stands before it included.
    Message,
    /// All bytes of the packet from this one on, the first being 0. If that is behind the field, the header
    /// reaches to there.
    From(u32),
}

/// A byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Endian {
    /// Most significant byte first.
    Big,
    /// Least significant byte first.
    Little,
}

impl Default for Length {
    /// 32 bits, most significant first, at the packet's beginning, counting what follows; at most 2 MiB.
    fn default() -> Self {
        Self {
            width: 4,
            endian: Endian::Big,
            offset: 0,
            counts: Counts::Payload,
            max: 2 << 20,
            keep_header: false,
        }
    }
}

setters! {
    Length {
        width: u8,
        endian: Endian,
        offset: u32,
        counts: Counts,
        max: u64,
        keep_header: bool,
    }
}

impl Length {
    pub(super) fn validate(&self) -> Result<(), InvalidFraming> {
        if !matches!(self.width, 1 | 2 | 4 | 8) {
            return Err(InvalidFraming::Width(self.width));
        }
        let header = self.header() as u64;
        if header > MAX_HEADER_BYTES as u64 {
            return Err(InvalidFraming::HeaderTooLong { header });
        }
        if !self.keep_header && !self.is_length_alone() {
            return Err(InvalidFraming::HeaderNotBuildable);
        }
        if self.max <= header {
            return Err(InvalidFraming::MaxTooSmall { least: header + 1 });
        }
        Ok(())
    }

    #[inline]
    pub(super) fn max_message(&self) -> u64 {
        if self.keep_header {
            self.max_packet()
        } else {
            self.max_packet().saturating_sub(self.header() as u64)
        }
    }

    /// The largest packet, in bytes: the allowed size, and what the field can express.
    #[inline]
    fn max_packet(&self) -> u64 {
        self.counted_from()
            .saturating_add(self.max_value())
            .min(self.max)
    }

    #[inline]
    pub(super) fn decode(&self, input: &[u8]) -> Result<Decoded, FramingError> {
        let field = self.offset as usize;
        let Some(value) = self.read(input.get(field..).unwrap_or_default()) else {
            return Ok(Decoded::Incomplete {
                need: field + self.field_width(),
            });
        };
        let header = self.header();
        let size = value.saturating_add(self.counted_from());
        if size > self.max {
            return Err(FramingError::TooLarge {
                size,
                max: self.max,
            });
        }
        if size < header as u64 {
            return Err(FramingError::TooSmall {
                size,
                header: header as u64,
            });
        }
        // On a machine whose memory cannot hold it, it never becomes complete.
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if input.len() < size {
            return Ok(Decoded::Incomplete { need: size });
        }
        Ok(Decoded::Message {
            start: if self.keep_header { 0 } else { header },
            end: size,
            consumed: size,
            text: false,
        })
    }

    #[inline]
    pub(super) fn envelope<'a>(
        &self,
        head: &[u8],
        len: usize,
    ) -> Result<Envelope<'a>, EncodeError> {
        let header = self.header();
        let size = len as u64;
        let packet = if self.keep_header {
            size
        } else {
            size.saturating_add(header as u64)
        };
        if packet > self.max_packet() {
            return Err(EncodeError::TooLarge {
                size,
                max: self.max_message(),
            });
        }
        let mut envelope = Envelope::empty();
        if !self.keep_header {
            // Validated: the header is the field alone.
            self.write(packet - self.counted_from(), &mut envelope.prefix);
            envelope.prefix_len = self.field_width() as u8;
            return Ok(envelope);
        }
        let field = self.offset as usize;
        let end = field + self.field_width();
        if len < header || head.len() < end || end > MAX_HEADER_BYTES {
            return Err(EncodeError::NoHeader {
                size,
                header: header as u64,
            });
        }
        let value = size - self.counted_from();
        // A packet whose field is right already goes out as it is.
        if self.read(&head[field..]) != Some(value) {
            envelope.prefix[..end].copy_from_slice(&head[..end]);
            self.write(value, &mut envelope.prefix[field..]);
            envelope.prefix_len = end as u8;
            envelope.skip = end;
        }
        Ok(envelope)
    }

    /// Whether the header holds nothing but the length, so that it can be built when sending.
    pub fn is_length_alone(&self) -> bool {
        self.offset == 0 && self.header() == self.field_width()
    }

    /// The header's size in bytes, never zero.
    #[inline]
    pub(super) fn header(&self) -> usize {
        let field_end = self.offset as usize + self.field_width();
        match self.counts {
            Counts::From(from) => field_end.max(from as usize),
            Counts::Payload | Counts::Message => field_end,
        }
    }

    /// The first byte that the value counts.
    #[inline]
    pub(super) fn counted_from(&self) -> u64 {
        match self.counts {
            Counts::Payload => u64::from(self.offset) + self.field_width() as u64,
            Counts::Message => 0,
            Counts::From(from) => u64::from(from),
        }
    }

    /// The field's width as it is used: what validation refuses counts as eight.
    #[inline]
    fn field_width(&self) -> usize {
        match self.width {
            1 | 2 | 4 => usize::from(self.width),
            _ => 8,
        }
    }

    #[inline]
    fn max_value(&self) -> u64 {
        u64::MAX >> (64 - 8 * self.field_width())
    }

    /// The value of the field that `bytes` begin with, if they hold all of it.
    #[inline]
    fn read(&self, bytes: &[u8]) -> Option<u64> {
        let value = match self.width {
            1 => u64::from(*bytes.first()?),
            2 => {
                let field = *bytes.first_chunk()?;
                u64::from(match self.endian {
                    Endian::Big => u16::from_be_bytes(field),
                    Endian::Little => u16::from_le_bytes(field),
                })
            }
            4 => {
                let field = *bytes.first_chunk()?;
                u64::from(match self.endian {
                    Endian::Big => u32::from_be_bytes(field),
                    Endian::Little => u32::from_le_bytes(field),
                })
            }
            _ => {
                let field = *bytes.first_chunk()?;
                match self.endian {
                    Endian::Big => u64::from_be_bytes(field),
                    Endian::Little => u64::from_le_bytes(field),
                }
            }
        };
        Some(value)
    }

    /// Writes a value that fits the field to the beginning of `bytes`, which have room for it.
    #[inline]
    fn write(&self, value: u64, bytes: &mut [u8]) {
        // Each width on its own is a store; a width that is known only at run time is a call.
        match (self.width, self.endian) {
            (1, _) => bytes[0] = value as u8,
            (2, Endian::Big) => bytes[..2].copy_from_slice(&(value as u16).to_be_bytes()),
            (2, Endian::Little) => bytes[..2].copy_from_slice(&(value as u16).to_le_bytes()),
            (4, Endian::Big) => bytes[..4].copy_from_slice(&(value as u32).to_be_bytes()),
            (4, Endian::Little) => bytes[..4].copy_from_slice(&(value as u32).to_le_bytes()),
            (_, Endian::Big) => bytes[..8].copy_from_slice(&value.to_be_bytes()),
            (_, Endian::Little) => bytes[..8].copy_from_slice(&value.to_le_bytes()),
        }
    }
}
