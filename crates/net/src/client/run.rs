//! A client on its loop: its events go to the handler.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Buf;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::task::coop::{Unconstrained, unconstrained};
use tokio::time::{Sleep, sleep, sleep_until};

use super::attempts::{AttemptsPhase, DialVerdict, Owed};
use super::error::{CloseReason, StreamError};
use super::handler::Handler;
use super::input::Cut;
use super::link::Link;
use super::sender::Wanted;
use super::state::Client;
use crate::connection::Connection;
use crate::dial::{ConnectCause, ConnectError};
use crate::framing::FramingError;
use crate::liveness::Liveness;
use crate::scratch::{self, SCRATCH_BYTES};

/// After this many turns other tasks of the loop have theirs.
const TURNS: usize = 32;

/// An unfinished message of this size is read on where it lies; a shorter one is put in front of the scratch
/// buffer.
const LONG_TAIL_BYTES: usize = SCRATCH_BYTES / 2;

/// The shortest time between two ticks: a timer's resolution. With none, ticks would be all that the loop does.
const SHORTEST_TICK: Duration = Duration::from_millis(1);

impl Client {
    /// Runs the client with a handler, as [`start`](Self::start) does, but within this future.
    ///
    /// It is ready when the client was closed, or lost for good. Cancel-safe: dropping the future ends the calls;
    /// the client keeps its connection, and can be run again or awaited. Needs a tokio runtime with I/O and time.
    pub async fn run<H: Handler>(&mut self, handler: &mut H) {
        let period = self.options.tick.max(SHORTEST_TICK);
        let mut run = Run {
            client: self,
            handler,
            tick: Box::pin(unconstrained(sleep(period))),
            timer: None,
            dial: None,
            half_closed: None,
            told_full: false,
        };
        run.begin();
        poll_fn(|cx| run.poll(cx)).await;
    }
}

/// A client on its loop.
struct Run<'a, H> {
    client: &'a mut Client,
    handler: &'a mut H,
    /// However much the task has read and written before it is looked at.
    tick: Pin<Box<Unconstrained<Sleep>>>,
    /// The next attempt's time.
    timer: Option<Pin<Box<Sleep>>>,
    dial: Option<PendingDial>,
    /// The peer has ended its sending, and the client stays open.
    half_closed: Option<HalfClosed>,
    /// The handler knows the client as full.
    told_full: bool,
}

/// How long a client stays open after its peer's half-close.
struct HalfClosed {
    timer: Pin<Box<Sleep>>,
    /// [`Output::writes`](super::output::Output::writes) when the timer was set.
    writes: u64,
}

type PendingDial = Pin<Box<dyn Future<Output = Result<Connection, ConnectError>> + Send>>;

/// The next action after a step.
enum DriveStep {
    /// Another one.
    Again,
    /// Nothing until something happens.
    Wait,
    /// Nothing ever.
    End,
}

impl<H: Handler> Run<'_, H> {
    fn begin(&mut self) {
        self.client.started = true;
        if self.client.is_connected() {
            self.call(|handler, client| handler.connected(client));
        } else {
            self.dial();
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..TURNS {
            match self.step(cx) {
                DriveStep::Again => {}
                DriveStep::End => return Poll::Ready(()),
                DriveStep::Wait if self.poll_tick(cx) => {}
                DriveStep::Wait => return Poll::Pending,
            }
        }
        // A peer that never pauses does not keep it from ticking.
        self.poll_tick(cx);
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Tells the handler that a tick is due. False: none is.
    fn poll_tick(&mut self, cx: &mut Context<'_>) -> bool {
        if self.tick.as_mut().poll(cx).is_pending() {
            return false;
        }
        let period = self.client.options.tick.max(SHORTEST_TICK);
        self.tick.set(unconstrained(sleep(period)));
        if let Err(error) = self.look_for_errors() {
            self.lose(CloseReason::Broken(error.into()));
        }
        self.call(|handler, client| handler.tick(client));
        true
    }

    /// Finds out that a connection broke where it is not read.
    fn look_for_errors(&self) -> io::Result<()> {
        let client = &*self.client;
        let is_unread = client.paused || self.half_closed.is_some();
        match &client.connection {
            // One that closes is read.
            Some(connection) if is_unread && client.closing.is_none() => connection.take_error(),
            _ => Ok(()),
        }
    }

    fn step(&mut self, cx: &mut Context<'_>) -> DriveStep {
        self.client.attend(cx);
        match std::mem::take(&mut self.client.wanted) {
            Wanted::Nothing => {}
            // A closing client does not reconnect.
            Wanted::Reconnect if self.is_closing_by_us() => {}
            Wanted::Reconnect => {
                self.replace();
                return DriveStep::Again;
            }
            Wanted::Close if self.client.is_connected() => {
                self.client.begin_closing(CloseReason::ByUs);
            }
            Wanted::Close | Wanted::CloseNow => return self.end(CloseReason::ByUs),
        }
        match self.client.attempts.phase() {
            AttemptsPhase::Idle => self.end(CloseReason::ByUs),
            AttemptsPhase::Waiting(until) => {
                let timer = self
                    .timer
                    .get_or_insert_with(|| Box::pin(sleep_until(until.into())));
                if timer.as_mut().poll(cx).is_pending() {
                    return DriveStep::Wait;
                }
                self.dial();
                DriveStep::Again
            }
            AttemptsPhase::Dialing => self.poll_dial(cx),
            AttemptsPhase::Connected => self.poll_connection(cx),
        }
    }

    /// A new attempt begins.
    fn dial(&mut self) {
        self.timer = None;
        self.client.attempts.begin();
        self.client.tell_senders();
        let target = self.client.target();
        let dialer = self.client.dialer.clone();
        self.dial = Some(Box::pin(async move { dialer.connect(&target?).await }));
    }

    fn poll_dial(&mut self, cx: &mut Context<'_>) -> DriveStep {
        let Some(dial) = &mut self.dial else {
            // Its caller has stopped waiting for it.
            self.dial();
            return DriveStep::Again;
        };
        let Poll::Ready(dialed) = dial.as_mut().poll(cx) else {
            return DriveStep::Wait;
        };
        self.dial = None;
        let client = &mut *self.client;
        let attempt = client.attempts.attempt();
        let verdict = client
            .attempts
            .dialed(attempt, dialed.is_ok(), Instant::now());
        match (verdict, dialed) {
            (DialVerdict::Connected, Ok(connection)) => {
                client.connection = Some(Link::Own(connection));
                client.tell_senders();
                self.call(|handler, client| handler.connected(client));
            }
            (DialVerdict::Failed, Err(error)) => {
                if error.is_permanent() {
                    client.attempts.give_up();
                }
                client.clear();
                self.call(|handler, client| handler.error(client, &error));
            }
            _ => {}
        }
        DriveStep::Again
    }

    fn poll_connection(&mut self, cx: &mut Context<'_>) -> DriveStep {
        let _ = self.client.write(cx);
        if self.tell_watermark() {
            return DriveStep::Again;
        }
        if self.client.closing.is_some() {
            return self.poll_closing(cx);
        }
        if self.half_closed.is_some() && self.client.output.broken.is_none() {
            return self.poll_half_closed(cx);
        }
        let read = match self.poll_paused(cx) {
            Poll::Ready(Ok(())) => self.poll_read(cx),
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
            Poll::Pending => Poll::Pending,
        };
        let unfinished = self.client.input.unread.len() as u64;
        let error = match read {
            Poll::Ready(Ok(0)) | Poll::Pending if self.client.output.broken.is_some() => {
                // Everything that could be read in spite of a failed write has been read.
                self.client.output.broken.take()
            }
            Poll::Ready(Ok(0)) if unfinished > 0 => Some(StreamError::EndOfFile { unfinished }),
            Poll::Ready(Ok(0)) => {
                self.ended_by_peer();
                None
            }
            Poll::Ready(Ok(_)) => None,
            Poll::Ready(Err(error)) => Some(error.after(unfinished)),
            Poll::Pending => return DriveStep::Wait,
        };
        if let Some(error) = error {
            self.lose(CloseReason::Broken(error));
        }
        DriveStep::Again
    }

    /// The peer has ended its sending, at the end of a message.
    fn ended_by_peer(&mut self) {
        let Some(timeout) = self.client.options.half_closed_timeout else {
            return self.client.begin_closing(CloseReason::ByPeer);
        };
        self.half_closed = Some(HalfClosed {
            timer: Box::pin(sleep(timeout)),
            writes: self.client.output.writes,
        });
        self.call(|handler, client| handler.half_closed(client));
    }

    /// Waits for the handler's answers.
    fn poll_half_closed(&mut self, cx: &mut Context<'_>) -> DriveStep {
        let client = &mut *self.client;
        let (Some(half_closed), Some(timeout)) =
            (&mut self.half_closed, client.options.half_closed_timeout)
        else {
            return DriveStep::Again;
        };
        while half_closed.timer.as_mut().poll(cx).is_ready() {
            // The timer is put off only when it fires: that is cheaper than with each write.
            if half_closed.writes == client.output.writes {
                client.begin_closing(CloseReason::ByPeer);
                return DriveStep::Again;
            }
            half_closed.writes = client.output.writes;
            half_closed.timer.set(sleep(timeout));
        }
        DriveStep::Wait
    }

    /// Ready: read now, because it is not paused, or the peer has ended and no message lies before its end.
    fn poll_paused(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.client.paused {
            return Poll::Ready(Ok(()));
        }
        let Some(connection) = &mut self.client.connection else {
            return Poll::Ready(Ok(()));
        };
        if self.client.undelivered {
            return Poll::Pending;
        }
        match ready!(connection.poll_liveness(cx)) {
            Liveness::Dead(error) => Poll::Ready(error.map_or(Ok(()), Err)),
            // More is not asked for: what comes behind these bytes can wait for them.
            Liveness::Quiet | Liveness::Stray => Poll::Pending,
        }
    }

    /// Reads once, and delivers whole messages. Zero: the peer has ended.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, StreamError>> {
        let tail = self.client.input.unread.len();
        if self.client.undelivered {
            self.client.undelivered = false;
            self.deliver_unread()?;
            return Poll::Ready(Ok(tail));
        }
        if tail > LONG_TAIL_BYTES {
            let Client {
                connection, input, ..
            } = &mut *self.client;
            let Some(connection) = connection else {
                return Poll::Ready(Err(StreamError::NotConnected));
            };
            let read = ready!(input.poll_fill(connection, cx))?;
            self.deliver_unread()?;
            return Poll::Ready(Ok(read));
        }
        scratch::with(|scratch| self.poll_read_into(scratch, cx))
    }

    /// Reads behind the tail, which is put in front of the scratch buffer.
    fn poll_read_into(
        &mut self,
        scratch: &mut [u8],
        cx: &mut Context<'_>,
    ) -> Poll<Result<usize, StreamError>> {
        let Client {
            connection, input, ..
        } = &mut *self.client;
        let Some(connection) = connection else {
            return Poll::Ready(Err(StreamError::NotConnected));
        };
        let tail = input.unread.len();
        let mut buffer = ReadBuf::new(&mut scratch[tail..]);
        ready!(Pin::new(connection).poll_read(cx, &mut buffer))?;
        let read = buffer.filled().len();
        if read == 0 {
            return Poll::Ready(Ok(0));
        }
        let mut unread = std::mem::take(&mut input.unread);
        scratch[..tail].copy_from_slice(&unread);
        unread.clear();
        let consumed = self.deliver(&mut scratch[..tail + read])?;
        let rest = &scratch[consumed..tail + read];
        if !rest.is_empty() {
            unread.extend_from_slice(rest);
            self.client.input.unread = unread;
        }
        Poll::Ready(Ok(read))
    }

    /// Delivers what lies unread.
    fn deliver_unread(&mut self) -> Result<(), FramingError> {
        let mut unread = std::mem::take(&mut self.client.input.unread);
        let consumed = self.deliver(&mut unread)?;
        unread.advance(consumed);
        if !unread.is_empty() {
            self.client.input.unread = unread;
        }
        Ok(())
    }

    /// Delivers the whole messages that `input` begins with, and says how many bytes they were.
    fn deliver(&mut self, input: &mut [u8]) -> Result<usize, FramingError> {
        let mut consumed = 0;
        let was_corked = std::mem::replace(&mut self.client.output.corked, true);
        let delivered = loop {
            if consumed == input.len() {
                break Ok(consumed);
            }
            let client = &mut *self.client;
            if client.paused || client.wanted != Wanted::Nothing {
                client.undelivered = true;
                break Ok(consumed);
            }
            match client
                .input
                .cut(&client.options.framing, &mut input[consumed..])
            {
                Ok(Cut::Message(range, bytes)) => {
                    let message = &input[consumed + range.start..consumed + range.end];
                    client.note_received();
                    self.handler.message(client, message);
                    consumed += bytes;
                }
                Ok(Cut::Incomplete) => break Ok(consumed),
                Err(error) => break Err(error),
            }
        };
        self.client.output.corked = was_corked;
        delivered
    }

    /// Tells the handler when a watermark was passed since it was last told.
    fn tell_watermark(&mut self) -> bool {
        let is_full = self.client.output.watermarks.is_full();
        if is_full == self.told_full {
            return false;
        }
        self.told_full = is_full;
        if is_full {
            self.call(|handler, client| handler.full(client));
        } else {
            self.call(|handler, client| handler.drained(client));
        }
        true
    }

    fn poll_closing(&mut self, cx: &mut Context<'_>) -> DriveStep {
        let Poll::Ready(closed) = self.client.poll_closing(cx) else {
            return DriveStep::Wait;
        };
        let by_us = self.is_closing_by_us();
        let reason = match (closed, self.client.closing.take()) {
            (Err(error), _) => CloseReason::Broken(error),
            (Ok(()), Some(closing)) => closing.reason,
            (Ok(()), None) => CloseReason::ByUs,
        };
        if by_us {
            return self.end(reason);
        }
        self.lose(reason);
        DriveStep::Again
    }

    fn is_closing_by_us(&self) -> bool {
        let closing = self.client.closing.as_ref();
        closing.is_some_and(|closing| matches!(closing.reason, CloseReason::ByUs))
    }

    /// The connection is lost; the handler learns it once the connection is closed.
    fn lose(&mut self, reason: CloseReason) {
        self.timer = None;
        self.half_closed = None;
        self.client.lose();
        self.told_full = self.client.output.watermarks.is_full();
        self.call(|handler, client| handler.closed(client, &reason));
    }

    /// A new attempt takes the place of whatever was.
    fn replace(&mut self) {
        self.timer = None;
        self.dial = None;
        match self.client.attempts.phase() {
            AttemptsPhase::Connected => self.lose(CloseReason::Replaced),
            AttemptsPhase::Dialing => self.abandon(),
            AttemptsPhase::Idle | AttemptsPhase::Waiting(_) => {}
        }
        // The handler may have wanted the end meanwhile.
        if self.client.wanted < Wanted::Close {
            self.dial();
        }
    }

    /// The attempt that runs is given up.
    fn abandon(&mut self) {
        let now = Instant::now();
        let attempt = self.client.attempts.attempt();
        self.client.attempts.dialed(attempt, false, now);
        let error = self.client.refusal(ConnectCause::Closed);
        self.call(|handler, client| handler.error(client, &error));
    }

    /// Everything ends: the report that is due for the latest attempt is made.
    fn end(&mut self, reason: CloseReason) -> DriveStep {
        self.timer = None;
        self.dial = None;
        self.client.started = false;
        match self.client.end() {
            Some(Owed::Closed) => self.call(|handler, client| handler.closed(client, &reason)),
            Some(Owed::Error) => {
                let error = self.client.refusal(ConnectCause::Closed);
                self.call(|handler, client| handler.error(client, &error));
            }
            None => {}
        }
        self.client.wanted = Wanted::Nothing;
        DriveStep::End
    }

    /// Calls the handler; what it sends goes out once it has returned.
    fn call(&mut self, tell: impl FnOnce(&mut H, &mut Client)) {
        let was_corked = std::mem::replace(&mut self.client.output.corked, true);
        tell(self.handler, self.client);
        self.client.output.corked = was_corked;
    }
}

impl<H> Drop for Run<'_, H> {
    fn drop(&mut self) {
        self.client.started = false;
        self.client.output.corked = false;
        // A dial that is given up leaves no attempt behind.
        if self.client.attempts.phase() == AttemptsPhase::Dialing {
            self.client.end();
        }
        if std::thread::panicking() {
            tracing::error!(
                address = self.client.address.as_ref().map(tracing::field::display),
                "a client's handler panicked: the client is closed"
            );
        }
    }
}
