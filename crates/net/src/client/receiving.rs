//! Receives for an awaited client.

use std::future::poll_fn;
use std::task::{Context, Poll, ready};

use bytes::Bytes;

use super::error::StreamError;
use super::state::Client;

impl Client {
    /// The next whole message; with raw framing, what is there. `None`: the peer has ended its sending, at the end
    /// of a message, or a [`Sender`](super::Sender) has closed the client.
    ///
    /// Cancel-safe: nothing is lost. After an error the connection is closed. The bytes share the memory that they were
    /// received in; copy small ones that you keep for long.
    #[inline]
    pub async fn receive_message(&mut self) -> Result<Option<Bytes>, StreamError> {
        // Most have come with an earlier one.
        let message = match self.input.take_message(&self.options.framing) {
            Ok(None) => poll_fn(|cx| self.poll_message(cx)).await?,
            Ok(message) => message,
            Err(error) => return Err(self.broke(error.into())),
        };
        if message.is_some() {
            self.note_received();
        }
        Ok(message)
    }

    /// The next whole message, none of which is here yet.
    pub(super) fn poll_message(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<Bytes>, StreamError>> {
        while ready!(self.poll_fill(cx))? > 0 {
            match self.input.take_message(&self.options.framing) {
                Ok(None) => {}
                Ok(message) => return Poll::Ready(Ok(message)),
                Err(error) => return Poll::Ready(Err(self.broke(error.into()))),
            }
        }
        Poll::Ready(match self.input.unread.len() as u64 {
            0 => Ok(None),
            unfinished => Err(self.broke(StreamError::EndOfFile { unfinished })),
        })
    }

    /// The next `bytes` bytes, whatever the framing. Cancel-safe: nothing is lost. They are no message: of a framed
    /// client on a lent connection, say when all has come with [`mark_answered`](Self::mark_answered).
    ///
    /// If the peer ends before, that is [`StreamError::EndOfFile`].
    pub async fn receive_exact(&mut self, bytes: usize) -> Result<Bytes, StreamError> {
        poll_fn(|cx| {
            loop {
                if let Some(taken) = self.input.take_exact(bytes) {
                    return Poll::Ready(Ok(taken));
                }
                if ready!(self.poll_fill(cx))? == 0 {
                    let unfinished = self.input.unread.len() as u64;
                    return Poll::Ready(Err(self.broke(StreamError::EndOfFile { unfinished })));
                }
            }
        })
        .await
    }

    /// Received bytes that were not taken, at least one; none if the peer has ended. This does not take them.
    /// Cancel-safe.
    pub async fn peek(&mut self) -> Result<&[u8], StreamError> {
        if self.input.unread.is_empty() {
            poll_fn(|cx| self.poll_fill(cx)).await?;
        }
        Ok(&self.input.unread)
    }
}
