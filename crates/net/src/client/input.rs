//! A client's way in: bytes that were received and not yet delivered.

use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::link::Link;
use crate::framing::{Decoded, Decoder, Framing, FramingError};
use crate::scratch;

/// The most bytes of one read.
const READ_BYTES: usize = 64 * 1024;

/// So much of the buffer is kept while nothing is there, in bytes: small messages come into it without an allocation.
const KEPT_BYTES: usize = 4 * 1024;

/// An unfinished message of this size is read on where it lies; a shorter one goes through the thread's scratch buffer,
/// so that a client that waits owns none.
const LONG_TAIL_BYTES: usize = READ_BYTES / 2;

/// With less room than this more is allocated, in bytes: small reads cost as much as large ones.
const LEAST_ROOM_BYTES: usize = 8 * 1024;

/// Up to this size a message is copied out, to a page with others. That costs no more than sharing the buffer, and a
/// caller who keeps one for long keeps a page and not the buffer.
const SMALL_BYTES: usize = 512;

/// The size of a page for small messages, in bytes.
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
                    // The same page again if no message in it is kept.
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

    /// The first `bytes` as they are, whatever the framing, if that many are here.
    pub(super) fn take_exact(&mut self, bytes: usize) -> Option<Bytes> {
        if self.unread.len() < bytes {
            return None;
        }
        // The decoder's memory of them is not valid any more.
        self.decoder = Decoder::new();
        self.need = 0;
        Some(self.unread.split_to(bytes).freeze())
    }

    /// Reads more. Zero: the peer has ended.
    pub(super) fn poll_fill(
        &mut self,
        connection: &mut Link,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.unread.is_empty() && self.unread.capacity() > KEPT_BYTES {
            // A wait for a message is of no use.
            self.unread = BytesMut::new();
        }
        let room = self.unread.capacity() - self.unread.len();
        if self.unread.len() > LONG_TAIL_BYTES || room >= LEAST_ROOM_BYTES {
            if room < LEAST_ROOM_BYTES {
                // Grows with the received bytes, not with the announced ones.
                self.unread.reserve(READ_BYTES.max(self.unread.len()));
            }
            let read = pin!(connection.read_buf(&mut self.unread));
            return Poll::Ready(ready!(read.poll(cx)));
        }
        scratch::with(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(Pin::new(connection).poll_read(cx, &mut buffer))?;
            if buffer.remaining() == 0 {
                // Much comes: the next read spares the copy.
                self.unread.reserve(2 * READ_BYTES);
            }
            self.unread.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }

    /// Starts again for another connection.
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

#[cfg(test)]
mod tests {
    use super::*;

    use std::future::poll_fn;
    use std::io::Write;
    use std::net::{TcpListener, TcpStream};

    use crate::dial::Dialer;

    #[tokio::test]
    async fn a_client_that_waits_keeps_no_buffer_however_much_has_come_before() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut peer, _) = listener.accept().unwrap();
        let mut connection = Link::Own(Dialer::from_socket(stream).unwrap());
        let framing = Framing::Line { max: 1 << 20 };
        let mut input = Input::default();
        for size in [10, 1000, 300_000, 10] {
            let writes = std::thread::spawn(move || {
                peer.write_all(&vec![b'x'; size]).unwrap();
                peer.write_all(b"\n").unwrap();
                peer
            });
            while input.take_message(&framing).unwrap().is_none() {
                let read = poll_fn(|cx| input.poll_fill(&mut connection, cx)).await;
                assert!(read.unwrap() > 0);
            }
            peer = writes.join().unwrap();
            let waits = poll_fn(|cx| Poll::Ready(input.poll_fill(&mut connection, cx))).await;
            assert!(waits.is_pending());
            assert!(
                input.unread.capacity() <= KEPT_BYTES,
                "{} bytes after a message of {size}",
                input.unread.capacity()
            );
        }
    }
}
