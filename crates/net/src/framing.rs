//! How a byte stream is cut into messages.
//!
//! Sans-io: a [`Decoder`] looks at the received bytes and reports what they are; an [`Envelope`] says what to put
//! around a payload that is sent. Neither copies a payload, except the parts of a fragmented WebSocket message, and
//! neither allocates by a size that a peer has only announced.

#[cfg(feature = "codec")]
mod codec;
mod control_frame;
mod decoded;
mod decoder;
mod delimiter;
mod envelope;
mod error;
pub(crate) mod fields;
mod guess;
mod kept;
mod kinds;
mod length;
mod line;
#[cfg(feature = "websocket")]
pub mod websocket;

#[cfg(feature = "codec")]
pub use codec::{CodecError, FramingCodec};
pub use control_frame::ControlFrame;
pub use decoded::Decoded;
pub use decoder::Decoder;
pub use delimiter::Delimiter;
pub use envelope::{Envelope, MAX_DELIMITER_BYTES, MAX_HEADER_BYTES};
pub use error::{EncodeError, FramingError, InvalidFraming};
pub use guess::{Guess, guess};
pub use kept::{KeptDecoder, KeptMessageKind};
pub use kinds::Framing;
pub use length::{Counts, Endian, Length};

#[cfg(all(any(test, fuzzing), feature = "websocket"))]
pub(crate) mod invariants;
#[cfg(all(test, feature = "websocket"))]
mod tests;
