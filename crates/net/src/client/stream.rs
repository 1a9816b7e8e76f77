//! A client as the `Stream` and `Sink` of its messages.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::{Sink, Stream};

use super::drive::Over;
use super::error::{CloseReason, SendError, StreamError};
use super::state::Client;

/// The messages that are received, as [`receive_message`](Client::receive_message) gives them.
///
/// Polling also writes what waits to be sent. The stream ends with the peer's end of sending, when a
/// [`Sender`](super::Sender) closes the client, after an error, and while there is no connection. After
/// [`connect`](Client::connect) or [`reconnect`](Client::reconnect) it goes on.
impl Stream for Client {
    type Item = Result<Bytes, StreamError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let client = self.get_mut();
        if client.connection.is_none() {
            return Poll::Ready(None);
        }
        let received = match client.input.take_message(&client.options.framing) {
            Ok(None) => ready!(client.poll_message(cx)),
            Ok(message) => Ok(message),
            Err(error) => Err(client.broke(error.into())),
        };
        if let Ok(Some(_)) = received {
            client.note_received();
        }
        Poll::Ready(received.transpose())
    }
}

/// Messages to send, as [`send`](Client::send) takes them.
///
/// `poll_ready` waits while the client is full. `start_send` takes one message of any size that the framing allows, so
/// up to one message more than [`ClientOptions::buffer`](super::ClientOptions::buffer) may wait. `poll_flush` is
/// [`flush`](Client::flush) and `poll_close` is [`close`](Client::close).
impl<T: AsRef<[u8]>> Sink<T> for Client {
    type Error = SendError;

    fn poll_ready(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let client = self.get_mut();
        match client.poll_over(cx) {
            Poll::Pending if client.closing.is_some() => return Poll::Pending,
            Poll::Pending => {}
            Poll::Ready(Over::Closed(_)) => return Poll::Ready(Err(SendError::Closing)),
            // Perhaps it is kept for the next connection.
            Poll::Ready(Over::Lost(_)) => client.intake().check()?,
        }
        if client.connection.is_none() && client.output.is_full() {
            let queued = client.queued();
            return Poll::Ready(Err(SendError::Full { queued }));
        }
        match client.output.is_full() && client.output.broken.is_none() {
            true => Poll::Pending,
            false => Poll::Ready(Ok(())),
        }
    }

    fn start_send(self: Pin<&mut Self>, message: T) -> Result<(), SendError> {
        let client = self.get_mut();
        let message = message.as_ref();
        if client.output.is_full() {
            let queued = client.queued();
            return Err(SendError::Full { queued });
        }
        match client.try_send(message) {
            // `poll_ready` has seen room for a message, and this one is large.
            Err(SendError::Full { .. }) => {
                client
                    .output
                    .queue_past_full(&client.options.framing, message)?;
                client.note_sent(client.options.framing.messages_in(message));
                Ok(())
            }
            sent => sent,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        self.get_mut().poll_flushed(cx).map_err(SendError::Broken)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), SendError>> {
        let client = self.get_mut();
        if client.connection.is_none() {
            client.close_now();
            return Poll::Ready(Ok(()));
        }
        client.begin_closing(CloseReason::ByUs);
        client.poll_flushed(cx).map_err(SendError::Broken)
    }
}
