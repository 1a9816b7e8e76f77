//! Cuts a stream into messages.

use super::decoded::{Decoded, DecoderState};
use super::error::FramingError;
use super::kept::KeptDecoder;
use super::kinds::Framing;
use super::line;
#[cfg(feature = "websocket")]
use super::websocket;

/// Cuts one session's byte stream into messages.
///
/// It keeps no input: the caller holds the unconsumed bytes and shows them again with more behind them after
/// [`Decoded::Incomplete`]. One decoder serves one stream and one framing.
///
/// ```
/// use moorline_net::{Decoded, Decoder, Framing};
///
/// let lines = Framing::Line { max: 1024 };
/// let mut input = b"one\ntw".to_vec();
/// let mut decoder = Decoder::new();
/// let decoded = decoder.decode(&lines, &mut input).unwrap();
/// let Decoded::Message { start, end, consumed, .. } = decoded else {
///     panic!("a line is there");
/// };
/// assert_eq!(&input[start..end], b"one");
/// input.drain(..consumed);
/// assert!(matches!(decoder.decode(&lines, &mut input), Ok(Decoded::Incomplete { .. })));
/// ```
#[derive(Debug, Default)]
pub struct Decoder(DecoderState);

impl Decoder {
    /// A decoder at the beginning of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// A decoder of a stream that another one has begun to cut: what [`keep`](Self::keep) of that one has returned. `None`: it
    /// cannot have been that.
    pub fn resume(kept: KeptDecoder) -> Option<Self> {
        kept.into_state().map(Self)
    }

    /// What it knows beside its input, with a copy of its fragments. `None` if it holds an assembled message: take that first.
    pub fn keep(&self) -> Option<KeptDecoder> {
        KeptDecoder::of(&self.0)
    }

    /// The number of bytes of the input that it has searched for the end of the next message in vain. `None` if it holds an assembled
    /// message: take that first.
    pub fn scanned(&self) -> Option<usize> {
        match &self.0 {
            DecoderState::Fresh => Some(0),
            DecoderState::Scanned(bytes) => Some(*bytes),
            #[cfg(feature = "websocket")]
            DecoderState::Fragments(_) => Some(0),
            #[cfg(feature = "websocket")]
            DecoderState::Assembled(_) => None,
        }
    }

    /// Reports what the first bytes of `input` are: bytes that were received and not yet consumed.
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
            Framing::WebSocket { max } => websocket::decode(&mut self.0, *max, input, None),
        }
    }

    /// The same for a WebSocket of messages of up to `max` bytes whose handshake agreed on permessage-deflate.
    ///
    /// A compressed message is [`Decoded::Assembled`]. It is decompressed when it is whole, by `inflater`, which another
    /// decoder may use between two calls if it is one without context takeover.
    #[cfg(feature = "websocket")]
    pub fn decode_deflated(
        &mut self,
        max: u64,
        input: &mut [u8],
        inflater: &mut websocket::deflate::Inflater,
    ) -> Result<Decoded, FramingError> {
        websocket::decode(&mut self.0, max, input, Some(inflater))
    }

    /// The message that [`Decoded::Assembled`] announced; empty if there is none.
    #[cfg(feature = "websocket")]
    pub fn take_assembled(&mut self) -> Vec<u8> {
        match std::mem::take(&mut self.0) {
            DecoderState::Assembled(payload) => payload,
            other => {
                self.0 = other;
                Vec::new()
            }
        }
    }

    /// How many bytes of memory it holds for messages that are not delivered yet.
    pub fn buffered(&self) -> usize {
        match &self.0 {
            DecoderState::Fresh | DecoderState::Scanned(_) => 0,
            #[cfg(feature = "websocket")]
            DecoderState::Fragments(assembly) => assembly.buffered(),
            #[cfg(feature = "websocket")]
            DecoderState::Assembled(payload) => payload.capacity(),
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
            DecoderState::Scanned(bytes) => bytes.min(input.len()),
            _ => 0,
        };
        match search(input, from)? {
            Some(decoded) => {
                self.0 = DecoderState::Fresh;
                Ok(decoded)
            }
            None => {
                self.0 = DecoderState::Scanned(input.len());
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
