//! What the first bytes of a stream are, and what is known of its next message.

use super::control_frame::ControlFrame;
#[cfg(feature = "websocket")]
use super::websocket::assembly::Assembly;

/// What the first bytes of the input are.
///
/// Exhaustive on purpose: a caller has something to do in every case. The cases of WebSocket are there without the feature
/// `websocket`, too, and never happen then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    /// The last fragment of a WebSocket message; `Decoder::take_assembled` gives the whole.
    Assembled {
        /// How much of the input is done with.
        consumed: usize,
        /// A text message, which is UTF-8.
        text: bool,
    },
    /// Something to be answered: a WebSocket ping, with the pong.
    Reply {
        /// How much of the input is done with.
        consumed: usize,
        /// The bytes to send, as they are.
        bytes: ControlFrame,
    },
    /// Nothing to do: a fragment was kept, or a pong arrived.
    Nothing {
        /// How much of the input is done with.
        consumed: usize,
    },
    /// The peer closes the WebSocket: send the reply, flush, end. Ignore everything that follows.
    Close {
        /// How much of the input is done with.
        consumed: usize,
        /// The bytes to send, as they are.
        reply: ControlFrame,
        /// The peer's status code, if it gave one.
        code: Option<u16>,
        /// Where the peer's reason begins in the input: UTF-8, at most 123 bytes, often none.
        start: usize,
        /// Where it ends.
        end: usize,
    },
    /// More bytes are wanted; nothing is consumed.
    Incomplete {
        /// How long the input must be, at least, to get further: more than it is.
        ///
        /// A peer's word, within the framing's `max`: no size to allocate by before the bytes arrive.
        need: usize,
    },
}

/// What the decoder knows about the message at the beginning of the input.
#[derive(Debug, Default)]
pub(super) enum DecoderState {
    /// At the beginning of a message, and nothing is known of it.
    #[default]
    Fresh,
    /// This many bytes of the input contain no end of the message.
    Scanned(usize),
    /// Some fragments of a WebSocket message are here.
    #[cfg(feature = "websocket")]
    Fragments(Box<Assembly>),
    /// All of them are, and wait to be taken.
    #[cfg(feature = "websocket")]
    Assembled(Vec<u8>),
}
