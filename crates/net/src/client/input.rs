//! A client's way in: what was received and not yet delivered.

use std::io;
use std::ops::Range;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::connection::Connection;
use crate::framing::{Decoded, Decoder, Framing, FramingError};

/// What one read may bring, in bytes.
const READ_BYTES: usize = 64 * 1024;

/// With less room than this more is made, in bytes: small reads cost as much as large ones.
const LEAST_ROOM_BYTES: usize = 8 * 1024;

/// Up to this size a message is copied out, to a page with others: that is no dearer than sharing the buffer, and
/// who keeps one for long keeps a page and not the buffer.
const SMALL_BYTES: usize = 512;

/// What small messages share, in bytes.
const PAGE_BYTES: usize = 4 * 1024;

/// A client's way in.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) unread: BytesMut,
    /// The free part of a page for small messages.
    page: BytesMut,
    decoder: Decoder,
    /// With fewer bytes than this there is no message yet.
    need: usize,
}

/// What the decoder found.
pub(super) enum Cut {
    /// A message, and how many bytes are done with.
    Message(Range<usize>, usize),
    /// Nothing yet.
    Incomplete,
}

impl Input {
    /// The next message, if it is whole.
    #[inline]
    pub(super) fn take_message(
        &mut self,
        framing: &Framing,
    ) -> Result<Option<Bytes>, FramingError> {
        if self.unread.is_empty() {
            return Ok(None);
        }
        let Self {
            unread,
            page,
            decoder,
            need,
        } = self;
        match cut(decoder, need, framing, unread)? {
            Cut::Incomplete => Ok(None),
            Cut::Message(range, consumed) if range.len() <= SMALL_BYTES => {
                if page.capacity() < range.len() {
                    // The same page again if nobody has kept anything of it.
                    page.reserve(PAGE_BYTES);
                }
                page.extend_from_slice(&unread[range]);
                let message = page.split().freeze();
                if consumed == unread.len() {
                    unread.clear();
                } else {
                    unread.advance(consumed);
                }
                Ok(Some(message))
            }
            Cut::Message(range, consumed) => {
                let mut message = unread.split_to(consumed);
                message.truncate(range.end);
                message.advance(range.start);
                Ok(Some(message.freeze()))
            }
        }
    }

    /// Looks for a message at the beginning of `input`: all that was received and not consumed.
    #[inline]
    pub(super) fn cut(&mut self, framing: &Framing, input: &mut [u8]) -> Result<Cut, FramingError> {
        cut(&mut self.decoder, &mut self.need, framing, input)
    }

    /// The first `bytes` as they are, whatever the framing, if so many are here.
    pub(super) fn take_exact(&mut self, bytes: usize) -> Option<Bytes> {
        if self.unread.len() < bytes {
            return None;
        }
        // What the decoder remembers of them holds no longer.
        self.decoder = Decoder::new();
        self.need = 0;
        Some(self.unread.split_to(bytes).freeze())
    }

    /// Reads more. Zero: the peer has ended.
    #[inline]
    pub(super) fn poll_fill(
        &mut self,
        connection: &mut Connection,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.unread.capacity() - self.unread.len() < LEAST_ROOM_BYTES {
            // Grows with what has come, not with what was announced.
            self.unread.reserve(READ_BYTES.max(self.unread.len()));
        }
        let read = pin!(connection.read_buf(&mut self.unread));
        Poll::Ready(ready!(read.poll(cx)))
    }

    /// Begins anew for another connection.
    pub(super) fn restart(&mut self) {
        *self = Self::default();
    }
}

#[inline]
fn cut(
    decoder: &mut Decoder,
    need: &mut usize,
    framing: &Framing,
    input: &mut [u8],
) -> Result<Cut, FramingError> {
    if input.len() < *need {
        return Ok(Cut::Incomplete);
    }
    match decoder.decode(framing, input)? {
        Decoded::Message {
            start,
            end,
            consumed,
            ..
        } => {
            *need = 0;
            Ok(Cut::Message(start..end, consumed))
        }
        Decoded::Incomplete { need: least } => {
            *need = least;
            Ok(Cut::Incomplete)
        }
        // WebSocket's alone, which clients refuse.
        Decoded::Assembled { .. }
        | Decoded::Reply { .. }
        | Decoded::Nothing { .. }
        | Decoded::Close { .. } => Ok(Cut::Incomplete),
    }
}
