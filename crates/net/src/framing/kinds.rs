//! The kinds of framing, and how each one sends.

use serde::{Deserialize, Serialize};

use super::delimiter::Delimiter;
use super::envelope::{Envelope, MAX_HEADER_BYTES};
use super::error::{EncodeError, InvalidFraming, check_max, check_size};
use super::length::Length;
use super::line;
#[cfg(feature = "websocket")]
use super::websocket;

/// How a byte stream is cut into messages.
///
/// ```
/// use moorline_net::{Framing, Length};
///
/// let lines = Framing::Line { max: 64 << 10 };
/// assert!(lines.validate().is_ok());
/// // A length of four bytes in network order, then the message.
/// let packets = Framing::Length(Length::default());
/// assert_eq!(packets.name(), "length");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Framing {
    /// Bytes are delivered as they arrive.
    Raw,
    /// A length field in a header.
    Length(Length),
    /// Messages end with a delimiter.
    Delimiter(Delimiter),
    /// Messages end with a line feed. One carriage return before it is dropped too.
    Line {
        /// The longest line, in bytes, without its end.
        max: u64,
    },
    /// RFC 6455, the server's side, after the handshake.
    #[cfg(feature = "websocket")]
    WebSocket {
        /// The largest message, in bytes, all its fragments together.
        max: u64,
    },
}

impl Framing {
    /// The largest message that passes, in bytes as the app sees it; in both directions.
    pub fn max_message(&self) -> u64 {
        match self {
            Self::Raw => u64::MAX,
            Self::Length(length) => length.max_message(),
            Self::Delimiter(delimiter) => delimiter.max,
            Self::Line { max } => *max,
            #[cfg(feature = "websocket")]
            Self::WebSocket { max } => *max,
        }
    }

    /// Its name, as a configuration has it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Length(_) => "length",
            Self::Delimiter(_) => "delimiter",
            Self::Line { .. } => "line",
            #[cfg(feature = "websocket")]
            Self::WebSocket { .. } => "websocket",
        }
    }

    /// The size of a header that alone says how long its message is, in bytes, where the app sees only what follows it.
    #[inline]
    pub fn length_header(&self) -> Option<usize> {
        match self {
            Self::Length(length) if !length.keep_header => Some(length.header()),
            _ => None,
        }
    }

    /// The key of a listener that sets the largest message.
    pub fn limit_key(&self) -> &'static str {
        match self {
            #[cfg(feature = "websocket")]
            Self::WebSocket { .. } => "max_message",
            _ => "max",
        }
    }

    /// Checks that the parts fit each other. What configures a framing calls this once.
    ///
    /// A framing that fails here never panics in use, but cuts in no useful way.
    pub fn validate(&self) -> Result<(), InvalidFraming> {
        match self {
            Self::Raw => Ok(()),
            Self::Length(length) => length.validate(),
            Self::Delimiter(delimiter) => delimiter.validate(),
            Self::Line { max } => check_max(*max),
            #[cfg(feature = "websocket")]
            Self::WebSocket { max } => check_max(*max),
        }
    }

    /// The envelope of a payload of `len` bytes that begins with `head`.
    ///
    /// `head` holds the payload's first [`MAX_HEADER_BYTES`], or all of a shorter one. `text` matters to
    /// WebSocket alone: the payload goes out as text, and the caller answers for its being UTF-8.
    #[inline]
    #[cfg_attr(
        not(feature = "websocket"),
        expect(unused_variables, reason = "only WebSocket has text")
    )]
    pub fn envelope<'a>(
        &'a self,
        head: &[u8],
        len: usize,
        text: bool,
    ) -> Result<Envelope<'a>, EncodeError> {
        match self {
            Self::Raw => Ok(Envelope::empty()),
            Self::Length(length) => length.envelope(head, len),
            Self::Delimiter(delimiter) => {
                check_size(len, delimiter.max)?;
                Ok(Envelope::ending_in(delimiter.suffix()))
            }
            Self::Line { max } => {
                check_size(len, *max)?;
                Ok(Envelope::ending_in(&[line::END]))
            }
            #[cfg(feature = "websocket")]
            Self::WebSocket { max } => {
                check_size(len, *max)?;
                Ok(websocket::envelope(len, text))
            }
        }
    }
}

impl Framing {
    /// What to put around a whole payload. Like [`envelope`](Self::envelope), and refuses a payload that contains the end
    /// that would be put after it: the peer would take it for several messages. A delimiter that the app sends itself
    /// ([`Delimiter::keep`]) is the app's, as often as it sends it.
    #[inline]
    pub fn wrap<'a>(&'a self, payload: &[u8], text: bool) -> Result<Envelope<'a>, EncodeError> {
        let head = &payload[..payload.len().min(MAX_HEADER_BYTES)];
        let envelope = self.envelope(head, payload.len(), text)?;
        let early = match self {
            Self::Line { .. } => memchr::memchr(line::END, payload),
            Self::Delimiter(delimiter) => delimiter.early_end(payload),
            _ => None,
        };
        match early {
            None => Ok(envelope),
            Some(at) => Err(EncodeError::ContainsEnd { at: at as u64 }),
        }
    }
}

impl Framing {
    /// How many messages the peer takes a payload for that [`wrap`](Self::wrap) has admitted, one that it leaves
    /// unfinished among them.
    #[inline]
    pub(crate) fn messages_in(&self, payload: &[u8]) -> u64 {
        match self {
            Self::Delimiter(delimiter) if delimiter.keep => delimiter.messages_in(payload),
            _ => 1,
        }
    }
}
