//! A framing as the codec of `tokio_util::codec::Framed`.

use std::fmt;
use std::io;

use bytes::{Bytes, BytesMut};
use tokio_util::codec;

use super::decoded::Decoded;
use super::decoder::Decoder;
use super::error::{EncodeError, FramingError, InvalidFraming};
use super::kinds::Framing;

/// A framing as the codec of [`tokio_util::codec::Framed`]: it gives messages as [`Bytes`], and takes anything that is a
/// slice of bytes.
///
/// It keeps no bytes itself. A message shares the memory that it was received in.
///
/// ```
/// # async fn example(stream: tokio::net::TcpStream) -> Result<(), Box<dyn std::error::Error>> {
/// use futures_util::{SinkExt, StreamExt};
/// use moorline_net::Framing;
/// use moorline_net::framing::FramingCodec;
/// use tokio_util::codec::Framed;
///
/// let lines = FramingCodec::new(Framing::Line { max: 4096 })?;
/// let mut framed = Framed::new(stream, lines);
/// framed.send("hello").await?;
/// while let Some(message) = framed.next().await {
///     println!("{} bytes", message?.len());
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct FramingCodec {
    framing: Framing,
    decoder: Decoder,
    /// With fewer bytes than this there is no message yet.
    need: usize,
}

/// Why a [`FramingCodec`] cannot decode or encode.
#[derive(Debug)]
#[non_exhaustive]
pub enum CodecError {
    /// The stream beneath failed.
    Io(io::Error),
    /// The received bytes do not fit the framing: the stream has no next message.
    Decode(FramingError),
    /// The message does not fit the framing. Nothing was written.
    Encode(EncodeError),
}

impl FramingCodec {
    /// A codec at the beginning of a stream.
    ///
    /// # Errors
    /// [`InvalidFraming`] if the framing makes no sense. The WebSocket framing is refused: pings need answers, which a
    /// codec cannot send.
    pub fn new(framing: Framing) -> Result<Self, InvalidFraming> {
        framing.validate()?;
        #[cfg(feature = "websocket")]
        if let Framing::WebSocket { .. } = framing {
            return Err(InvalidFraming::NeedsReplies);
        }
        Ok(Self {
            framing,
            decoder: Decoder::new(),
            need: 0,
        })
    }

    /// The framing.
    pub fn framing(&self) -> &Framing {
        &self.framing
    }
}

/// A clone is at the beginning of a stream.
impl Clone for FramingCodec {
    fn clone(&self) -> Self {
        Self {
            framing: self.framing.clone(),
            decoder: Decoder::new(),
            need: 0,
        }
    }
}

impl codec::Decoder for FramingCodec {
    type Item = Bytes;
    type Error = CodecError;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, CodecError> {
        if input.len() < self.need {
            return Ok(None);
        }
        match self.decoder.decode(&self.framing, input)? {
            Decoded::Message {
                start,
                end,
                consumed,
                ..
            } => {
                self.need = 0;
                let packet = input.split_to(consumed).freeze();
                Ok(Some(packet.slice(start..end)))
            }
            Decoded::Incomplete { need } => {
                self.need = need;
                Ok(None)
            }
            // WebSocket's alone, which `new` refuses.
            _ => Ok(None),
        }
    }
}

impl<T: AsRef<[u8]>> codec::Encoder<T> for FramingCodec {
    type Error = CodecError;

    fn encode(&mut self, message: T, output: &mut BytesMut) -> Result<(), CodecError> {
        let message = message.as_ref();
        let envelope = self.framing.wrap(message, false)?;
        output.reserve(envelope.wire_len(message.len()));
        output.extend_from_slice(envelope.prefix());
        output.extend_from_slice(&message[envelope.skip..]);
        output.extend_from_slice(envelope.suffix());
        Ok(())
    }
}

impl From<io::Error> for CodecError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<FramingError> for CodecError {
    fn from(error: FramingError) -> Self {
        Self::Decode(error)
    }
}

impl From<EncodeError> for CodecError {
    fn from(error: EncodeError) -> Self {
        Self::Encode(error)
    }
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(f),
            Self::Decode(error) => error.fmt(f),
            Self::Encode(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for CodecError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            Self::Decode(error) => Some(error),
            Self::Encode(error) => Some(error),
        }
    }
}
