//! How a byte stream is cut into messages.
//!
//! Sans-io: a [`Decoder`] looks at the bytes that were received and says what they are; an [`Envelope`]
//! says what to put around a payload that is sent. Neither copies a payload, save for the parts of a
//! fragmented WebSocket message, and neither allocates by a size that a peer has merely announced.

#[cfg(feature = "codec")]
mod codec;
mod delimiter;
pub(crate) mod fields;
mod guess;
mod length;
mod line;
#[cfg(feature = "websocket")]
pub mod websocket;

use std::fmt;

use serde::{Deserialize, Serialize};

#[cfg(feature = "codec")]
pub use codec::{CodecError, FramingCodec};
pub use delimiter::Delimiter;
pub use guess::{Guess, guess};
pub use length::{Counts, Endian, Length};
#[cfg(feature = "websocket")]
pub use websocket::ControlFrame;

/// The longest header that a framing may have, in bytes; [`Framing::envelope`] builds it in place.
pub const MAX_HEADER_BYTES: usize = 64;

/// The longest delimiter, in bytes. One byte less is looked at again whenever more input arrives.
pub const MAX_DELIMITER_BYTES: usize = 64;

/// How a byte stream is cut into messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Framing {
    /// What arrives is delivered as it arrives.
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

    /// What to put around a payload of `len` bytes that begins with `head`.
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

fn check_max(max: u64) -> Result<(), InvalidFraming> {
    match max {
        0 => Err(InvalidFraming::MaxTooSmall { least: 1 }),
        _ => Ok(()),
    }
}

fn check_size(len: usize, max: u64) -> Result<(), EncodeError> {
    let size = len as u64;
    if size > max {
        return Err(EncodeError::TooLarge { size, max });
    }
    Ok(())
}

/// What stands around a payload on the wire.
///
/// To be sent: [`prefix`](Self::prefix), the payload from [`skip`](Self::skip) on, [`suffix`](Self::suffix).
#[derive(Debug, Clone)]
pub struct Envelope<'a> {
    prefix: [u8; MAX_HEADER_BYTES],
    prefix_len: u8,
    /// How many leading bytes of the payload the prefix replaces.
    pub skip: usize,
    suffix: &'a [u8],
}

impl<'a> Envelope<'a> {
    #[inline]
    fn empty() -> Self {
        Self {
            prefix: [0; MAX_HEADER_BYTES],
            prefix_len: 0,
            skip: 0,
            suffix: &[],
        }
    }

    fn ending_in(suffix: &'a [u8]) -> Self {
        Self {
            suffix,
            ..Self::empty()
        }
    }

    /// What goes before the payload.
    #[inline]
    pub fn prefix(&self) -> &[u8] {
        &self.prefix[..usize::from(self.prefix_len)]
    }

    /// What goes after it.
    #[inline]
    pub fn suffix(&self) -> &'a [u8] {
        self.suffix
    }

    /// How many bytes a payload of `len` bytes is on the wire.
    #[inline]
    pub(crate) fn wire_len(&self, len: usize) -> usize {
        usize::from(self.prefix_len) + (len - self.skip) + self.suffix.len()
    }

    /// Appends all that goes over the wire for `payload`.
    #[inline]
    pub(crate) fn append_to(&self, bytes: &mut Vec<u8>, payload: &[u8]) {
        /// Nearly every prefix is as short as this: copying so many at once needs no call.
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

/// Cuts one session's byte stream into messages.
///
/// It keeps no input: the caller holds what is not yet consumed and shows it again, grown, after
/// [`Decoded::Incomplete`]. One decoder serves one stream and one framing.
#[derive(Debug, Default)]
pub struct Decoder(State);

#[derive(Debug, Default)]
enum State {
    /// At the beginning of a message, and nothing is known of it.
    #[default]
    Fresh,
    /// So many bytes of the input hold no end of the message.
    Scanned(usize),
    /// Some fragments of a WebSocket message are here.
    #[cfg(feature = "websocket")]
    Fragments(Box<websocket::Assembly>),
    /// All of them are, and wait to be taken.
    #[cfg(feature = "websocket")]
    Assembled(Vec<u8>),
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what the first bytes of `input` are: those received and not yet consumed.
    ///
    /// After everything but [`Decoded::Incomplete`] the caller drops `consumed` bytes, which are never
    /// none, and calls again. The payload of a WebSocket message is unmasked in place. After an error
    /// the stream has no next message; the session is to be closed.
    #[inline]
    pub fn decode(&mut self, framing: &Framing, input: &mut [u8]) -> Result<Decoded, FramingError> {
        match framing {
            Framing::Length(length) => length.decode(input),
            Framing::Raw => Ok(decode_raw(input)),
            Framing::Delimiter(delimiter) => {
                self.scan(input, |input, from| delimiter.scan(input, from))
            }
            Framing::Line { max } => self.scan(input, |input, from| line::scan(input, from, *max)),
            #[cfg(feature = "websocket")]
            Framing::WebSocket { max } => websocket::decode(&mut self.0, *max, input),
        }
    }

    /// The message that [`Decoded::Assembled`] announced; empty if there is none.
    #[cfg(feature = "websocket")]
    pub fn take_assembled(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.0) {
            State::Assembled(payload) => payload,
            other => {
                self.0 = other;
                Vec::new()
            }
        }
    }

    /// How many bytes of memory it holds for messages that are not delivered yet.
    pub fn buffered(&self) -> usize {
        match &self.0 {
            State::Fresh | State::Scanned(_) => 0,
            #[cfg(feature = "websocket")]
            State::Fragments(assembly) => assembly.buffered(),
            #[cfg(feature = "websocket")]
            State::Assembled(payload) => payload.capacity(),
        }
    }

    /// Looks for the end of a message from where the last call left off.
    #[inline]
    fn scan(
        &mut self,
        input: &[u8],
        search: impl FnOnce(&[u8], usize) -> Result<Option<Decoded>, FramingError>,
    ) -> Result<Decoded, FramingError> {
        let from = match self.0 {
            State::Scanned(bytes) => bytes.min(input.len()),
            _ => 0,
        };
        match search(input, from)? {
            Some(decoded) => {
                self.0 = State::Fresh;
                Ok(decoded)
            }
            None => {
                self.0 = State::Scanned(input.len());
                Ok(Decoded::Incomplete {
                    need: input.len() + 1,
                })
            }
        }
    }
}

fn decode_raw(input: &[u8]) -> Decoded {
    if input.is_empty() {
        return Decoded::Incomplete { need: 1 };
    }
    Decoded::Message {
        start: 0,
        end: input.len(),
        consumed: input.len(),
        text: false,
    }
}

/// What the first bytes of the input are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decoded {
    /// A message: `input[start..end]`.
    Message {
        /// Where it begins.
        start: usize,
        /// Where it ends.
        end: usize,
        /// How much of the input is done with.
        consumed: usize,
        /// A WebSocket text message, which is UTF-8.
        text: bool,
    },
    /// The last fragment of a WebSocket message; [`Decoder::take_assembled`] gives the whole.
    #[cfg(feature = "websocket")]
    Assembled {
        /// How much of the input is done with.
        consumed: usize,
        /// A text message, which is UTF-8.
        text: bool,
    },
    /// Something to be answered: a WebSocket ping, with the pong.
    #[cfg(feature = "websocket")]
    Reply {
        /// How much of the input is done with.
        consumed: usize,
        /// What to send, as it is.
        bytes: ControlFrame,
    },
    /// Nothing to do: a fragment was kept, or a pong arrived.
    #[cfg(feature = "websocket")]
    Nothing {
        /// How much of the input is done with.
        consumed: usize,
    },
    /// The peer closes the WebSocket: send the reply, flush, end. Whatever follows is to be ignored.
    #[cfg(feature = "websocket")]
    Close {
        /// How much of the input is done with.
        consumed: usize,
        /// What to send, as it is.
        reply: ControlFrame,
        /// The peer's status code, if it gave one.
        code: Option<u16>,
    },
    /// More bytes are wanted; nothing is consumed.
    Incomplete {
        /// How long the input must be, at least, to get further: more than it is.
        ///
        /// A peer's word, within the framing's `max`: no size to allocate by before the bytes arrive.
        need: usize,
    },
}

/// Why a stream cannot be cut any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FramingError {
    /// A length field makes the packet smaller than its header.
    TooSmall {
        /// What the length field makes of it, in bytes.
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
    WebSocket(websocket::Violation),
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
    /// It is to be a whole packet, and is shorter than the header.
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
        /// What `max` must be, at least.
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

#[cfg(all(any(test, fuzzing), feature = "websocket"))]
pub(crate) mod properties;
#[cfg(all(test, feature = "websocket"))]
mod tests;
