//! What moves a client while it is awaited or run.

use std::future::poll_fn;
use std::pin::pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use super::attempts::{AttemptsPhase, Owed};
use super::error::{CloseReason, SendError, StreamError};
use super::link::Link;
use super::sender::{Intake, Orders, Standing, Wanted};
use super::state::Client;
use crate::framing::Framing;

/// How the connection of an awaited client is over.
pub(super) enum Over {
    /// A sender has closed it, or the owner. An error: something may not have reached the peer.
    Closed(Result<(), StreamError>),
    /// It is lost, or there is none.
    Lost(StreamError),
}

impl Client {
    /// Reads more, and writes the queue meanwhile. Zero: the end, of the peer or by order of a sender.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        match self.poll_over(cx) {
            Poll::Pending if self.closing.is_some() => return Poll::Pending,
            Poll::Pending => {}
            // Bytes that did not reach the peer were logged as lost.
            Poll::Ready(Over::Closed(_)) => return Poll::Ready(Ok(0)),
            Poll::Ready(Over::Lost(error)) => return Poll::Ready(Err(error)),
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(StreamError::NotConnected));
        };
        match self.input.poll_fill(connection, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broke(error.into()))),
            // Everything that could be read in spite of a failed write has been read.
            Poll::Ready(Ok(0)) | Poll::Pending if self.output.broken.is_some() => {
                let error = self
                    .output
                    .broken
                    .take()
                    .unwrap_or(StreamError::NotConnected);
                Poll::Ready(Err(self.broke(error)))
            }
            read => read.map_err(StreamError::from),
        }
    }

    /// Writes what waits, and does what senders want of the connection of an awaited client. Ready: that is over.
    #[inline]
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        self.drive(cx);
        if self.wanted != Wanted::Nothing
            && let Some(over) = self.obey()
        {
            return Poll::Ready(over);
        }
        if self.closing.is_some() {
            let closed = ready!(self.poll_closing(cx));
            self.end();
            return Poll::Ready(Over::Closed(closed));
        }
        match self.connection {
            Some(_) => Poll::Pending,
            None => Poll::Ready(Over::Lost(StreamError::NotConnected)),
        }
    }

    /// Carries out the orders for the connection.
    #[cold]
    fn obey(&mut self) -> Option<Over> {
        match std::mem::take(&mut self.wanted) {
            Wanted::Nothing => None,
            Wanted::Close => {
                if self.connection.is_some() {
                    self.begin_closing(CloseReason::ByUs);
                    return None;
                }
                self.end();
                Some(Over::Closed(Ok(())))
            }
            Wanted::CloseNow => {
                let unsent = self.connection.is_some() && !self.output.is_idle();
                self.end();
                Some(Over::Closed(match unsent {
                    true => Err(StreamError::Closed),
                    false => Ok(()),
                }))
            }
            // A closing client does not reconnect.
            Wanted::Reconnect if self.closing.is_some() => None,
            Wanted::Reconnect => Some(Over::Lost(self.broke(StreamError::NotConnected))),
        }
    }

    /// Does something else, such as looking for a file, until a sender closes the client.
    pub(super) async fn unless_over<F: Future>(&mut self, work: F) -> Result<F::Output, SendError> {
        let mut work = pin!(work);
        poll_fn(|cx| {
            match self.poll_over(cx) {
                Poll::Pending if self.closing.is_some() => return Poll::Pending,
                Poll::Pending => {}
                Poll::Ready(Over::Closed(_)) => return Poll::Ready(Err(SendError::Closing)),
                Poll::Ready(Over::Lost(_)) => self.intake().check()?,
            }
            work.as_mut().poll(cx).map(Ok)
        })
        .await
    }

    /// Nothing more is accepted; what senders have queued goes out before the end.
    pub(super) fn want_end(&mut self) {
        let is_news = self.output.want_end();
        // First, so that nothing is queued behind what is taken.
        self.tell_senders();
        if !is_news {
            return;
        }
        if let Some(shared) = &self.shared {
            self.output.queue.append(&mut shared.take_messages());
            let queued = self.output.queue.unwritten();
            self.output.watermarks.update(queued);
        }
    }

    /// Takes what senders left, and writes what waits.
    #[inline]
    fn drive(&mut self, cx: &mut Context<'_>) {
        if self.shared.is_some() {
            self.attend(cx);
        }
        if !self.output.is_idle() {
            let _ = self.write(cx);
        }
    }

    /// Takes what senders left.
    pub(super) fn attend(&mut self, cx: &mut Context<'_>) {
        let Some(shared) = &self.shared else { return };
        let knows = |waker: &Waker| waker.will_wake(cx.waker());
        if !self.registered.as_ref().is_some_and(knows) {
            shared.register(cx.waker());
            self.registered = Some(cx.waker().clone());
        }
        if !self.knows_watermark() {
            self.tell_senders();
        }
        let Some(shared) = &self.shared else { return };
        if !shared.is_pending() {
            return;
        }
        let Orders {
            mut messages,
            asked,
            wanted,
            half_close,
            pause,
        } = shared.take(self.output.is_full());
        self.note_sent(asked);
        self.output.queue.append(&mut messages);
        let queued = self.output.queue.unwritten();
        self.output.watermarks.update(queued);
        let is_dialing = self.attempts.phase() == AttemptsPhase::Dialing;
        if !(wanted == Wanted::Reconnect && is_dialing) {
            self.wanted = self.wanted.max(wanted);
        }
        self.paused = pause.unwrap_or(self.paused);
        if half_close {
            self.want_end();
        }
        if !self.knows_watermark() {
            self.tell_senders();
        }
    }

    /// Writes what waits. Ready: nothing does.
    pub(super) fn write(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(());
        };
        let written = self.output.poll_write(connection, cx);
        if !self.knows_watermark() {
            // Room for senders; what they have for it is taken at once.
            self.tell_senders();
            self.attend(cx);
            if let Some(connection) = &mut self.connection {
                return self.output.poll_write(connection, cx);
            }
        }
        written
    }

    /// Whether the senders, if there are any, know whether there is room in the queue.
    pub(super) fn knows_watermark(&self) -> bool {
        self.shared.is_none() || self.told_full == self.output.is_full()
    }

    /// The connection is closed because of an error, which is returned.
    #[cold]
    pub(super) fn broke(&mut self, error: StreamError) -> StreamError {
        let error = error.after(self.input.unread.len() as u64);
        self.lose();
        error
    }

    /// The connection, if there is one, is closed and counts as lost.
    pub(super) fn lose(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        connection.poison();
        drop(connection);
        self.attempts.lost(self.attempts.attempt(), Instant::now());
        self.paused = false;
        if self.wanted == Wanted::Reconnect {
            self.wanted = Wanted::Nothing;
        }
        self.clear();
    }

    /// A connection that a pool lends goes back, if it is clean.
    pub(super) fn give_back(&mut self) {
        let has_orders = self.has_orders() || self.wanted != Wanted::Nothing;
        let is_clean = self.input.unread.is_empty() && self.output.is_clean() && !has_orders;
        if let Some(Link::Lent(_)) = &self.connection
            && is_clean
        {
            self.connection = None;
        }
    }

    /// Messages were sent, or wait to be. The bytes of raw ones are judged by themselves.
    pub(super) fn note_sent(&mut self, messages: u64) {
        if let Some(connection) = &mut self.connection
            && self.options.framing != Framing::Raw
        {
            connection.asked(messages);
        }
    }

    /// A message was received.
    #[inline]
    pub(super) fn note_received(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.answered();
        }
    }

    /// Everything ends. Says what the latest attempt is owed.
    pub(super) fn end(&mut self) -> Option<Owed> {
        if let Some(mut connection) = self.connection.take() {
            connection.poison();
        }
        let owed = self.attempts.end();
        self.paused = false;
        self.wanted = Wanted::Nothing;
        self.clear();
        owed
    }

    /// Starts again for another connection.
    pub(super) fn clear(&mut self) {
        self.closing = None;
        self.input.restart();
        self.undelivered = false;
        let keeps = self.options.keeps_unsent() && self.attempts.phase() != AttemptsPhase::Idle;
        if let Some(shared) = &self.shared
            && !keeps
        {
            self.output.queue.append(&mut shared.take_messages());
        }
        let lost = self.output.restart(keeps);
        if lost.messages > 0 {
            tracing::warn!(
                address = self.address.as_ref().map(tracing::field::display),
                messages = lost.messages,
                bytes = lost.bytes,
                "queued messages were lost with their connection"
            );
        }
        self.tell_senders();
    }

    /// Whether messages are taken. Without a connection they are before the first one, and where they are kept.
    pub(super) fn intake(&self) -> Intake {
        let first = self.started && self.attempts.attempt() <= 1;
        let has_use = match self.attempts.phase() {
            AttemptsPhase::Connected => self.connection.is_some() && self.closing.is_none(),
            AttemptsPhase::Idle | AttemptsPhase::Dialing if first => true,
            AttemptsPhase::Dialing | AttemptsPhase::Waiting(_) => self.options.keeps_unsent(),
            AttemptsPhase::Idle => false,
        };
        match (has_use, self.output.is_open()) {
            (true, true) => Intake::Open,
            (true, false) => Intake::Ended,
            (false, _) => Intake::None,
        }
    }

    pub(super) fn tell_senders(&mut self) {
        self.told_full = self.output.is_full();
        if let Some(shared) = &self.shared {
            shared.tell(Standing {
                alive: self.started || self.attempts.phase() != AttemptsPhase::Idle,
                connected: self.connection.is_some(),
                attempt: self.attempts.attempt(),
                intake: self.intake(),
                full: self.told_full,
            });
        }
    }

    /// Whether there is something to be done before more is sent.
    #[inline]
    pub(super) fn has_orders(&self) -> bool {
        self.closing.is_some()
            || self
                .shared
                .as_ref()
                .is_some_and(|shared| shared.is_pending())
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.started = false;
        self.give_back();
        self.end();
    }
}
