//! Connects an awaited client.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Instant;

use super::attempts::AttemptsPhase;
use super::link::Link;
use super::sender::Wanted;
use super::state::Client;
use crate::address::Address;
use crate::dial::{ConnectCause, ConnectError};
#[cfg(feature = "websocket")]
use crate::framing::Framing;

impl Client {
    /// Connects. One attempt; [`reconnect`](Self::reconnect) makes several.
    ///
    /// A connected client is an error, [`ConnectCause::AlreadyConnected`], and stays undisturbed. So is one that a
    /// [`Sender`](super::Sender) closes meanwhile, [`ConnectCause::Closed`]; it stays closed. Cancel-safe: the attempt ends without
    /// a trace.
    pub async fn connect(&mut self) -> Result<(), ConnectError> {
        if self.connection.is_some() {
            return Err(self.refusal(ConnectCause::AlreadyConnected));
        }
        // Earlier orders were about another connection.
        self.wanted = Wanted::Nothing;
        if let Some(shared) = &self.shared {
            shared.forget_orders();
        }
        self.dial().await
    }

    /// Replaces the connection, if there still is one, by a new one. With [`ClientOptions::reconnect`](super::ClientOptions::reconnect) it waits
    /// for the back-off, and dials until an attempt succeeds or it gives up; the last error is told. One that is
    /// [permanent](ConnectError::is_permanent) is told at once.
    ///
    /// Cancel-safe: the client is then not connected.
    pub async fn reconnect(&mut self) -> Result<(), ConnectError> {
        self.lose();
        loop {
            if let AttemptsPhase::Waiting(until) = self.attempts.phase() {
                let wait = tokio::time::sleep_until(until.into());
                self.unless_closed(wait).await?;
            }
            let dialed = self.dial().await;
            match (dialed, self.attempts.phase()) {
                (Err(error), AttemptsPhase::Waiting(_)) => tracing::debug!(%error, "reconnecting"),
                (dialed, _) => return dialed,
            }
        }
    }

    pub(super) async fn dial(&mut self) -> Result<(), ConnectError> {
        let address = self.target()?;
        self.attempts.begin();
        self.tell_senders();
        let attempt = self.attempts.attempt();
        let dialer = self.dialer.clone();
        let this = Dialing(self);
        let dialed = this.0.unless_closed(dialer.connect(&address)).await?;
        let client = &mut *this.0;
        client
            .attempts
            .dialed(attempt, dialed.is_ok(), Instant::now());
        if dialed.as_ref().is_err_and(ConnectError::is_permanent) {
            client.attempts.give_up();
        }
        let connected = dialed.map(|connection| client.connection = Some(Link::Own(connection)));
        client.tell_senders();
        connected
    }

    /// Does something without a connection, until a sender closes the client.
    pub(super) async fn unless_closed<F: Future>(
        &mut self,
        work: F,
    ) -> Result<F::Output, ConnectError> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            self.attend(cx);
            match std::mem::take(&mut self.wanted) {
                // A new connection is on its way.
                Wanted::Nothing | Wanted::Reconnect => work.as_mut().poll(cx).map(Ok),
                Wanted::Close | Wanted::CloseNow => {
                    self.end();
                    Poll::Ready(Err(self.refusal(ConnectCause::Closed)))
                }
            }
        })
        .await
    }

    /// The address, if it can be dialed with these options.
    pub(super) fn target(&self) -> Result<Address, ConnectError> {
        let invalid = |reason: String| Err(self.refusal(ConnectCause::Invalid(reason)));
        let Some(address) = &self.address else {
            return invalid("this connection was given, it cannot be made again".into());
        };
        match &self.options.framing {
            #[cfg(feature = "websocket")]
            Framing::WebSocket { .. } => {
                invalid("the WebSocket framing is the server's side: use another".into())
            }
            framing => match framing.validate() {
                Ok(()) => Ok(address.clone()),
                Err(problem) => invalid(problem.to_string()),
            },
        }
    }

    pub(super) fn refusal(&self, cause: ConnectCause) -> ConnectError {
        let address = self.address.as_ref().map(ToString::to_string);
        ConnectError::before_dial(address.unwrap_or_default(), cause)
    }
}

/// A client while it is awaited to connect. Dropped before it has, it leaves no attempt behind.
struct Dialing<'a>(&'a mut Client);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        let Self(client) = self;
        if client.attempts.phase() == AttemptsPhase::Dialing {
            client.attempts.abandon(Instant::now());
            client.tell_senders();
        }
    }
}
