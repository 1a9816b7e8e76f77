//! A client's stream joined with another one.

use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use super::Client;
use super::error::StreamError;
use super::sender::Wanted;
use crate::relay::{Relay, RelayEnd, Relayed};

impl Client {
    /// Joins this client's stream and another one both ways, once what waits is sent. What was received and not
    /// taken goes to the other one first. It ends when nothing comes from either for `idle_timeout`, if that is set.
    ///
    /// A [`Sender`](super::Sender) can end it too, with [`RelayEnd::Closed`]: at once, or once what was read is
    /// delivered and both sides have ended, at the latest after
    /// [`close_deadline`](super::ClientOptions::close_deadline). Dropping the future closes both, as it has taken them
    /// over. Does not block.
    ///
    /// # Errors
    /// [`StreamError::NotConnected`], or what this client's stream broke with while the rest was sent. Of what ends
    /// the relay later [`Relayed::end`] tells.
    pub async fn pipe_into<S: AsyncRead + AsyncWrite + Unpin>(
        mut self,
        other: S,
        idle_timeout: Option<Duration>,
    ) -> Result<Relayed, StreamError> {
        self.flush().await?;
        let Some(mut connection) = self.connection.take() else {
            return Err(StreamError::NotConnected);
        };
        // However it ends, nothing is known of what the next user would read.
        connection.poison();
        let unread = std::mem::take(&mut self.input.unread).freeze();
        // From here on senders can only close it.
        self.tell_senders();
        let mut relay = Relay::new(connection, other).with_unread(unread);
        if let Some(timeout) = idle_timeout {
            relay = relay.with_idle_timeout(timeout);
        }
        let mut deadline = None;
        let end = poll_fn(|cx| {
            self.attend(cx);
            match std::mem::take(&mut self.wanted) {
                Wanted::CloseNow => return Poll::Ready(RelayEnd::Closed),
                Wanted::Close if deadline.is_none() => {
                    relay.begin_closing();
                    deadline = Some(Box::pin(sleep(self.options.close_deadline)));
                }
                Wanted::Close | Wanted::Reconnect | Wanted::Nothing => {}
            }
            let ended = relay.poll(cx);
            let Some(deadline) = &mut deadline else {
                return ended;
            };
            if ended.is_ready() || deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(RelayEnd::Closed);
            }
            Poll::Pending
        })
        .await;
        Ok(relay.relayed(end))
    }
}
