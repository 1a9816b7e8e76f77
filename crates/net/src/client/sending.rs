//! Sends for an awaited client.

use std::future::poll_fn;
use std::task::{Context, Poll};

use super::cork::Corked;
use super::drive::Over;
use super::error::{SendError, StreamError};
use super::sender::{self, FileSource};
use super::state::Client;
use crate::framing::Framing;

/// A larger raw payload is cut into pieces of this size, so that a slow peer does not make a copy of all of it
/// wait.
const RAW_PIECE_BYTES: usize = 64 * 1024;

impl Client {
    /// Sends a message as soon as there is room; while the client is full it waits for the low watermark.
    ///
    /// Bytes that the socket does not take at once wait in the queue. Cancel-safe: if it is dropped before it is ready,
    /// nothing is sent; of a raw payload over 64 KiB perhaps a part. It waits as long as the peer is slow, and reads
    /// nothing meanwhile. Without a connection it does not wait.
    #[inline]
    pub async fn send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if self.has_orders() {
            self.unless_over(std::future::ready(())).await?;
        }
        if payload.len() > RAW_PIECE_BYTES && self.options.framing == Framing::Raw {
            for piece in payload.chunks(RAW_PIECE_BYTES) {
                self.send_patiently(piece).await?;
            }
            return Ok(());
        }
        match self.try_send(payload) {
            Err(SendError::Full { .. }) => self.send_patiently(payload).await,
            sent => sent,
        }
    }

    pub(super) async fn send_patiently(&mut self, payload: &[u8]) -> Result<(), SendError> {
        loop {
            match self.try_send(payload) {
                Err(SendError::Full { .. }) if self.connection.is_some() => {}
                sent => return sent,
            }
            // Bytes over the low watermark leave no room for this message, however long the wait.
            let needs_all = payload.len() as u64 > self.options.buffer / 2;
            poll_fn(|cx| {
                match self.poll_over(cx) {
                    Poll::Pending if self.closing.is_some() => return Poll::Pending,
                    Poll::Pending => {}
                    Poll::Ready(Over::Closed(_)) => return Poll::Ready(Err(SendError::Closing)),
                    // Perhaps it is kept for the next connection.
                    Poll::Ready(Over::Lost(_)) => return Poll::Ready(Ok(())),
                }
                let is_full = self.output.watermarks.is_full()
                    || (needs_all && self.output.queue.unwritten() > 0);
                if is_full && self.output.broken.is_none() {
                    return Poll::Pending;
                }
                Poll::Ready(Ok(()))
            })
            .await?;
        }
    }

    /// Sends a message, or says at once why not: [`SendError::Full`] over the high watermark. Does not block.
    #[inline]
    pub fn try_send(&mut self, payload: &[u8]) -> Result<(), SendError> {
        if self.connection.is_none() {
            self.intake().check()?;
        }
        self.output
            .try_send(self.connection.as_mut(), &self.options.framing, payload)?;
        self.note_sent(self.options.framing.messages_in(payload));
        Ok(())
    }

    /// Sends `length` bytes of a file from `offset` on as one message; all that follows without a length. On a
    /// plain stream the kernel copies them.
    ///
    /// Messages that end with a delimiter or a line feed can be no files: those may contain it.
    ///
    /// It is ready once all is handed to the system. Cancel-safe: dropped before, the file is either not sent, or
    /// waits in the queue and is sent as one. Another thread waits for the disk, the loop never does.
    pub async fn send_file(
        &mut self,
        file: impl Into<FileSource>,
        offset: u64,
        length: Option<u64>,
    ) -> Result<(), SendError> {
        if self.connection.is_none() {
            self.intake().check()?;
        }
        let preparing = sender::prepare(file.into(), offset, length);
        let prepared = self.unless_over(preparing).await??;
        self.output.send_file(&self.options.framing, prepared)?;
        self.note_sent(1);
        if self.connection.is_none() {
            // It is kept for the next connection.
            return Ok(());
        }
        self.flush().await.map_err(SendError::Broken)
    }

    /// Waits until all that was sent is handed to the system. Cancel-safe.
    ///
    /// If a [`Sender`](super::Sender) closes the client meanwhile, it waits for that instead, and says whether all was sent.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_flushed(cx)).await
    }

    pub(super) fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        match self.poll_over(cx) {
            Poll::Pending if self.closing.is_some() => return Poll::Pending,
            Poll::Pending => {}
            Poll::Ready(Over::Closed(closed)) => return Poll::Ready(closed),
            Poll::Ready(Over::Lost(error)) => return Poll::Ready(Err(error)),
        }
        if let Some(error) = &self.output.broken {
            return Poll::Ready(Err(error.duplicate()));
        }
        match self.output.is_idle() {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    /// Sends only queue while the guard lives; then they go out together.
    pub fn cork(&mut self) -> Corked<'_> {
        Corked::new(self)
    }
}
