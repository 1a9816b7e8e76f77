//! What moves a client while it is awaited or run.

use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use super::attempts::{Owed, Phase};
use super::error::CloseReason;
use super::sender::{Orders, Standing, Wanted};
use super::{Client, StreamError};

impl Client {
    /// Reads more, and writes what waits meanwhile. Zero: the end, the peer's or one that a sender wants.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        self.drive(cx);
        match self.wanted {
            Wanted::Nothing => {}
            Wanted::Close => {
                self.wanted = Wanted::Nothing;
                self.begin_closing(CloseReason::ByUs);
            }
            Wanted::CloseNow => {
                self.end();
                return Poll::Ready(Ok(0));
            }
            Wanted::Reconnect => {
                self.wanted = Wanted::Nothing;
                return Poll::Ready(Err(self.broke(StreamError::NotConnected)));
            }
        }
        if self.closing.is_some() {
            // What did not reach the peer is logged as lost.
            let _ = ready!(self.poll_closing(cx));
            self.end();
            return Poll::Ready(Ok(0));
        }
        let Some(connection) = &mut self.connection else {
            return Poll::Ready(Err(StreamError::NotConnected));
        };
        match self.input.poll_fill(connection, cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(self.broke(error.into()))),
            // What could be read in spite of a failed write has been.
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

    /// Takes what senders left, and writes what waits.
    #[inline]
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
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
            wanted,
            half_close,
            pause,
        } = shared.take(self.output.watermarks.is_full());
        self.output.queue.append(&mut messages);
        let queued = self.output.queue.unwritten();
        self.output.watermarks.update(queued);
        self.wanted = self.wanted.max(wanted);
        self.paused = pause.unwrap_or(self.paused);
        if half_close {
            self.output.want_end();
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

    /// Whether the senders, if there are any, know on which side of its watermarks the queue is.
    pub(super) fn knows_watermark(&self) -> bool {
        self.shared.is_none() || self.told_full == self.output.watermarks.is_full()
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
        if self.connection.take().is_none() {
            return;
        }
        self.attempts.lost(self.attempts.attempt(), Instant::now());
        self.clear();
    }

    /// Everything ends. Says what the latest attempt is owed.
    pub(super) fn end(&mut self) -> Option<Owed> {
        self.connection = None;
        let owed = self.attempts.end();
        self.wanted = Wanted::Nothing;
        self.clear();
        owed
    }

    /// Begins anew for another connection.
    pub(super) fn clear(&mut self) {
        self.closing = None;
        self.input.restart();
        self.undelivered = false;
        let keeps = self.options.keeps_unsent() && self.attempts.phase() != Phase::Idle;
        let lost = self.output.restart(keeps);
        if lost.messages > 0 {
            tracing::warn!(
                address = self.address.as_ref().map(tracing::field::display),
                messages = lost.messages,
                bytes = lost.bytes,
                "messages that waited to be sent are lost with their connection"
            );
        }
        self.tell_senders();
    }

    /// Whether messages are taken without a connection: before the first one, and where they are kept.
    pub(super) fn accepts(&self) -> bool {
        let first = self.started && self.attempts.attempt() <= 1;
        match self.attempts.phase() {
            Phase::Connected => true,
            Phase::Idle | Phase::Dialing if first => true,
            Phase::Dialing | Phase::Waiting(_) => self.options.keeps_unsent(),
            Phase::Idle => false,
        }
    }

    pub(super) fn tell_senders(&mut self) {
        self.told_full = self.output.watermarks.is_full();
        if let Some(shared) = &self.shared {
            shared.tell(Standing {
                connected: self.connection.is_some(),
                attempt: self.attempts.attempt(),
                accepts: self.accepts(),
                full: self.told_full,
            });
        }
    }
}
