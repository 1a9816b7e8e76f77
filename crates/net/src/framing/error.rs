//! Why bytes or a message do not fit a framing.

use std::fmt;

use super::envelope::{MAX_DELIMITER_BYTES, MAX_HEADER_BYTES};
#[cfg(feature = "websocket")]
use super::websocket::violation::Violation;

/// Why a stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// A length field makes the packet smaller than its header.
    TooSmall {
        /// The length that the field claims, in bytes.
        size: u64,
        /// The header's size, in bytes.
        header: u64,
    },
    /// A message is announced that is larger than allowed.
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The largest allowed.
        max: u64,
    },
    /// The end of a message did not come in time.
    Unended {
        /// The largest message allowed, in bytes.
        max: u64,
    },
    /// A WebSocket frame that breaks RFC 6455.
    #[cfg(feature = "websocket")]
    WebSocket(Violation),
}

#[cfg(feature = "websocket")]
impl FramingError {
    /// The status code to close a WebSocket with (RFC 6455 §7.4.1).
    pub fn websocket_close_code(&self) -> u16 {
        match self {
            Self::TooLarge { .. } => 1009,
            Self::WebSocket(violation) => violation.close_code(),
            Self::TooSmall { .. } | Self::Unended { .. } => 1002,
        }
    }
}

impl fmt::Display for FramingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooSmall { size, header } => write!(
                f,
                "the length field makes a packet of {size} bytes, its header alone has {header}"
            ),
            Self::TooLarge { size, max } => {
                write!(
                    f,
                    "a message of {size} bytes is announced, and the largest may have {max}"
                )
            }
            Self::Unended { max } => write!(
                f,
                "no end of the message came within the {max} bytes that are allowed"
            ),
            #[cfg(feature = "websocket")]
            Self::WebSocket(violation) => violation.fmt(f),
        }
    }
}

impl std::error::Error for FramingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket(violation) => Some(violation),
            _ => None,
        }
    }
}

/// Why a payload cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// It is larger than the framing allows.
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The largest allowed.
        max: u64,
    },
    /// It should be a whole packet, and is shorter than the header.
    NoHeader {
        /// Its size, in bytes.
        size: u64,
        /// The header's size, in bytes.
        header: u64,
    },
    /// It contains what ends a message.
    ContainsEnd {
        /// Where, in bytes from its beginning.
        at: u64,
    },
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLarge { size, max } => {
                write!(
                    f,
                    "a message of {size} bytes is too large: the framing allows {max}"
                )
            }
            Self::NoHeader { size, header } => write!(
                f,
                "a packet of {size} bytes has no room for its header of {header}: send whole packets"
            ),
            Self::ContainsEnd { at } => write!(
                f,
                "the message contains the end of a message at byte {at}: send each part by itself, or use a length framing"
            ),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why a framing makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidFraming {
    /// A length field has 1, 2, 4 or 8 bytes.
    Width(u8),
    /// The header is too long.
    HeaderTooLong {
        /// Its size, in bytes.
        header: u64,
    },
    /// A header that holds more than the length cannot be built when sending.
    HeaderNotBuildable,
    /// A delimiter without bytes, or with too many.
    DelimiterLength(usize),
    /// A codec cannot send the replies that the WebSocket framing needs.
    #[cfg(feature = "websocket")]
    NeedsReplies,
    /// Not even the smallest message passes.
    MaxTooSmall {
        /// The least value that `max` must have.
        least: u64,
    },
}

impl fmt::Display for InvalidFraming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Width(width) => {
                write!(f, "a length field of {width} bytes: write 1, 2, 4 or 8")
            }
            Self::HeaderTooLong { header } => write!(
                f,
                "a header of {header} bytes: at most {MAX_HEADER_BYTES} are allowed"
            ),
            Self::HeaderNotBuildable => f.write_str(
                "the header holds more than the length, so it cannot be built when sending: \
                 keep the header, or begin it with the length and nothing else",
            ),
            Self::DelimiterLength(0) => f.write_str("an empty delimiter: write at least one byte"),
            Self::DelimiterLength(bytes) => write!(
                f,
                "a delimiter of {bytes} bytes: at most {MAX_DELIMITER_BYTES} are allowed"
            ),
            #[cfg(feature = "websocket")]
            Self::NeedsReplies => f.write_str(
                "the websocket framing needs replies, which a codec cannot send: let the engine serve it",
            ),
            Self::MaxTooSmall { least } => {
                write!(
                    f,
                    "no message passes such a maximum: write at least {least}"
                )
            }
        }
    }
}

impl std::error::Error for InvalidFraming {}

#[cfg(feature = "websocket")]
impl From<Violation> for FramingError {
    fn from(violation: Violation) -> Self {
        Self::WebSocket(violation)
    }
}

pub(super) fn check_max(max: u64) -> Result<(), InvalidFraming> {
    match max {
        0 => Err(InvalidFraming::MaxTooSmall { least: 1 }),
        _ => Ok(()),
    }
}

pub(super) fn check_size(len: usize, max: u64) -> Result<(), EncodeError> {
    let size = len as u64;
    if size > max {
        return Err(EncodeError::TooLarge { size, max });
    }
    Ok(())
}
