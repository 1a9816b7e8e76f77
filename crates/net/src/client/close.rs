//! Closes a client's connection: what waits is sent, then the peer's end is waited for.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, sleep_until};

use super::closing::{Closing, PeerSide};
use super::error::{CloseReason, StreamError};
use super::link::Link;
use super::sender::Wanted;
use super::state::Client;
use crate::clock::later;
use crate::scratch;
use crate::sys;

/// After this many reads the loop's other tasks have their turn.
const READS: usize = 16;

/// A peer that has acknowledged everything and has sent nothing for this long is not awaited any longer: many never end
/// before they are told to. It is longer than a packet takes around the world.
const QUIET: Duration = Duration::from_millis(500);

impl Client {
    /// Ends the sending once the queue is sent: the peer reads an end of file. Receiving continues.
    ///
    /// Cancel-safe: it still happens while something else is awaited.
    pub async fn half_close(&mut self) -> Result<(), StreamError> {
        self.want_end();
        self.flush().await
    }

    /// Closes the connection: sends the queue, then waits for the peer's end, all within
    /// [`ClientOptions::close_deadline`](super::ClientOptions::close_deadline). Bytes that the peer sends meanwhile are
    /// discarded. Without that wait the system would reset the connection, and the peer could lose the last bytes.
    ///
    /// A peer whose system has acknowledged everything and that sends nothing for 500 ms is not waited for any longer.
    ///
    /// An error means that something may not have reached the peer; the connection is closed in any case. Cancel-safe:
    /// if it is dropped before it is ready, the next call continues the closing, or dropping the client ends it.
    pub async fn close(&mut self) -> Result<(), StreamError> {
        if self.connection.is_none() {
            self.close_now();
            return Ok(());
        }
        self.begin_closing(CloseReason::ByUs);
        self.flush().await
    }

    /// Closes the connection now; the queue is lost. In a [`Handler`](super::Handler) the call returns first, then
    /// `closed` is called. Does not block.
    pub fn close_now(&mut self) {
        if self.started {
            self.wanted = Wanted::CloseNow;
        } else {
            self.end();
        }
    }

    /// Closes a client with a [`Handler`](super::Handler) once its queue is sent, at the latest after
    /// [`ClientOptions::close_deadline`](super::ClientOptions::close_deadline). Returns at once; `closed` is called
    /// later. Without a handler see [`close`](Self::close).
    pub fn start_close(&mut self) {
        self.wanted = self.wanted.max(Wanted::Close);
    }

    /// Replaces the connection of a client with a [`Handler`](super::Handler) by a new one. Returns at once. Without a handler see
    /// [`reconnect`](Self::reconnect).
    pub fn start_reconnect(&mut self) {
        self.wanted = self.wanted.max(Wanted::Reconnect);
    }

    /// Like [`half_close`](Self::half_close), but returns at once.
    pub fn start_half_close(&mut self) {
        self.want_end();
    }

    /// The connection should be closed once the queue is sent and the peer has ended. A deadline that runs already
    /// stays.
    pub(super) fn begin_closing(&mut self, reason: CloseReason) {
        if let Some(closing) = &mut self.closing {
            closing.reason = reason;
            return;
        }
        let now = Instant::now();
        let deadline = later(now.into_std(), self.options.close_deadline).into();
        self.closing = Some(Closing {
            peer: match &reason {
                CloseReason::ByPeer => PeerSide::Ended,
                _ => PeerSide::Open,
            },
            reason,
            deadline,
            heard: now,
            timer: Box::pin(sleep_until(deadline.min(now + QUIET))),
        });
        self.want_end();
        self.input.restart();
        self.undelivered = false;
    }

    /// Ready once the connection can be closed. An error means that something may not have reached the peer.
    pub(super) fn poll_closing(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        // Reading first: a peer that waits for room to send may read nothing until then.
        let read = self.poll_discard(cx);
        let written = self.write(cx);
        if let Some(error) = self.output.broken.take() {
            return Poll::Ready(Err(error));
        }
        match read {
            Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) if written.is_ready() => return Poll::Ready(Ok(())),
            _ => {}
        }
        let Some(closing) = &mut self.closing else {
            return Poll::Ready(Ok(()));
        };
        while closing.timer.as_mut().poll(cx).is_ready() {
            let now = Instant::now();
            let is_quiet = now >= closing.heard + QUIET;
            let unacknowledged = self.connection.as_ref().map(sys::unacknowledged);
            let has_arrived = written.is_ready() && matches!(unacknowledged, Some(Ok(0)) | None);
            if has_arrived && (is_quiet || now >= closing.deadline) {
                return Poll::Ready(Ok(()));
            }
            if now >= closing.deadline {
                return Poll::Ready(Err(StreamError::TimedOut(io::ErrorKind::TimedOut.into())));
            }
            let again = if is_quiet { now } else { closing.heard } + QUIET;
            closing.timer.as_mut().reset(again.min(closing.deadline));
        }
        Poll::Pending
    }

    /// Throws away what the peer sends. Ready: it has ended its sending.
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
        let (Some(connection), Some(closing)) = (&mut self.connection, &mut self.closing) else {
            return Poll::Ready(Ok(()));
        };
        if closing.peer == PeerSide::Ended {
            return Poll::Ready(Ok(()));
        }
        let mut reads = 0;
        let ended = scratch::with(|scratch| poll_discard(connection, scratch, &mut reads, cx));
        if reads > 0 {
            closing.heard = Instant::now();
        }
        if ended.is_ready() {
            closing.peer = PeerSide::Ended;
        }
        ended
    }
}

fn poll_discard(
    connection: &mut Link,
    scratch: &mut [u8],
    reads: &mut usize,
    cx: &mut Context<'_>,
) -> Poll<Result<(), StreamError>> {
    while *reads < READS {
        let mut buffer = ReadBuf::new(scratch);
        match ready!(Pin::new(&mut *connection).poll_read(cx, &mut buffer)) {
            Ok(()) if buffer.filled().is_empty() => return Poll::Ready(Ok(())),
            Ok(()) => *reads += 1,
            Err(error) => {
                return Poll::Ready(match error.into() {
                    // Without the closing message of TLS, which is not needed any more.
                    StreamError::EndOfFile { .. } => Ok(()),
                    error => Err(error),
                });
            }
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
