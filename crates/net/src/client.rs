//! A dialed connection that is looked after: framing, watermarks, reconnecting, callbacks.
//!
//! [`Client`] is used in one of two ways. Awaited: [`connect`](Client::connect), [`send`](Client::send),
//! [`receive_message`](Client::receive_message), [`close`](Client::close). Or started with a [`Handler`], which is
//! called when something happens, and given the same client to answer with. From elsewhere, a [`Sender`] reaches
//! either.

mod attempts;
mod closing;
mod cork;
mod drive;
mod error;
mod file;
mod handler;
mod input;
mod link;
mod options;
mod output;
mod pipe;
mod queue;
mod run;
mod running;
mod sender;
mod stream;
mod watermarks;

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;

pub use cork::Corked;
pub use error::{CloseReason, SendError, StreamError};
pub use handler::Handler;
pub use options::{ClientOptions, Reconnect, Unsent};
pub use running::Running;
pub use sender::{FileSource, Sender};

use crate::address::Address;
use crate::connection::Connection;
use crate::dial::{ConnectCause, ConnectError, Dialer, Timeline};
use crate::framing::Framing;
#[cfg(feature = "pool")]
use crate::pool::Pooled;
use crate::resolve::Resolver;
use attempts::{Attempts, Phase};
use closing::Closing;
use drive::Over;
use input::Input;
use link::Link;
use output::Output;
use sender::{Shared, Wanted};

/// A larger raw payload is cut into pieces of this size, so that a slow peer does not make a copy of all of it
/// wait.
const RAW_PIECE_BYTES: usize = 64 * 1024;

/// A dialed connection that is looked after.
///
/// Awaited, it does nothing by itself: what the socket did not take at once is sent while `receive_message`, `send`,
/// `flush` or `close` is awaited. Dropping it closes the connection at once, and what waits is lost; one that a pool lends
/// [goes back](Self::on) if it is clean.
#[derive(Debug)]
pub struct Client {
    /// `None`: the connection was given, and cannot be made again.
    address: Option<Address>,
    options: Arc<ClientOptions>,
    dialer: Dialer,
    attempts: Attempts,
    connection: Option<Link>,
    input: Input,
    output: Output,
    /// Once there are senders.
    shared: Option<Arc<Shared>>,
    /// Whom the senders wake.
    registered: Option<Waker>,
    /// The senders know the client as full.
    told_full: bool,
    wanted: Wanted,
    /// The connection is being closed.
    closing: Option<Closing>,
    paused: bool,
    /// There may be whole messages among the unread bytes of a handler.
    undelivered: bool,
    /// A handler runs, and dials if need be.
    started: bool,
}

impl Client {
    /// A client of the server at `address`, not yet connected.
    pub fn new(address: Address, options: ClientOptions) -> Self {
        Self::build(Some(address), None, options)
    }

    /// A client of a connection that was made elsewhere. It cannot be made again once it is lost.
    pub fn from_connection(connection: Connection, options: ClientOptions) -> Self {
        Self::build(None, Some(Link::Own(connection)), options)
    }

    /// A client of a connection that a pool lends. It cannot be made again once it is lost: borrow another one.
    ///
    /// Dropping the client gives the connection back if it is clean, and closes it otherwise. It is clean if nothing is
    /// half-read or received and not taken, nothing waits to be sent, no end of sending was wanted, no order of a
    /// [`Sender`] is pending, and as many messages were received as were sent, or more. That last point, and a receive
    /// that was given up, do not count with [`Unanswered::Keep`](crate::Unanswered::Keep); where one answer is due to
    /// several messages, [`mark_answered`](Self::mark_answered) says that it was the last. With raw framing it is enough
    /// that something was received since the last send. [`close`](Self::close) and [`close_now`](Self::close_now) close
    /// it as ever.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use moorline_net::{Client, ClientOptions, DialOptions, Framing, Pool, PoolKey, PoolOptions};
    ///
    /// let pool = Pool::new(PoolOptions::default());
    /// let key = PoolKey::new("tcp://127.0.0.1:7000".parse()?, DialOptions::default());
    /// let lines = ClientOptions::framed(Framing::Line { max: 4096 });
    /// let mut client = Client::on(pool.borrow(&key).await?, lines);
    /// client.send(b"question").await?;
    /// let answer = client.receive_message().await?;
    /// drop(client); // the next one to borrow gets the connection
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "pool")]
    pub fn on(pooled: Pooled, options: ClientOptions) -> Self {
        Self::build(None, Some(Link::Lent(Box::new(pooled))), options)
    }

    fn build(address: Option<Address>, connection: Option<Link>, options: ClientOptions) -> Self {
        let now = Instant::now();
        let reconnect = options.reconnect.clone().filter(|_| address.is_some());
        let mut attempts = Attempts::new(reconnect, fastrand::u64(..), now);
        if connection.is_some() {
            attempts.begin();
            attempts.dialed(attempts.attempt(), true, now);
        }
        Self {
            address,
            dialer: Dialer::new(options.dial.clone()),
            attempts,
            connection,
            input: Input::default(),
            output: Output::new(&options),
            options: Arc::new(options),
            shared: None,
            registered: None,
            told_full: false,
            wanted: Wanted::Nothing,
            closing: None,
            paused: false,
            undelivered: false,
            started: false,
        }
    }

    /// Uses this dialer. [`ClientOptions::dial`] has no effect then.
    #[must_use]
    pub fn with_dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = dialer;
        self
    }

    /// Names are resolved by this one.
    #[must_use]
    pub fn with_resolver(mut self, resolver: Arc<dyn Resolver>) -> Self {
        self.dialer = self.dialer.clone().with_resolver(resolver);
        self
    }

    /// Connects. One attempt; [`reconnect`](Self::reconnect) makes several.
    ///
    /// A connected client is an error, [`ConnectCause::AlreadyConnected`], and stays undisturbed. So is one that a
    /// [`Sender`] closes meanwhile, [`ConnectCause::Closed`]; it stays closed. Cancel-safe: the attempt ends without
    /// a trace.
    pub async fn connect(&mut self) -> Result<(), ConnectError> {
        if self.connection.is_some() {
            return Err(self.refusal(ConnectCause::AlreadyConnected));
        }
        // What was ordered before is about something else.
        self.wanted = Wanted::Nothing;
        if let Some(shared) = &self.shared {
            shared.forget_orders();
        }
        self.dial().await
    }

    /// Replaces the connection, if there still is one, by a new one. With [`ClientOptions::reconnect`] it waits
    /// for the back-off, and dials until an attempt succeeds or it gives up; the last error is told. One that is
    /// [permanent](ConnectError::is_permanent) is told at once.
    ///
    /// Cancel-safe: the client is then not connected.
    pub async fn reconnect(&mut self) -> Result<(), ConnectError> {
        self.lose();
        loop {
            if let Phase::Waiting(until) = self.attempts.phase() {
                let wait = tokio::time::sleep_until(until.into());
                self.unless_closed(wait).await?;
            }
            let dialed = self.dial().await;
            match (dialed, self.attempts.phase()) {
                (Err(error), Phase::Waiting(_)) => tracing::debug!(%error, "reconnecting"),
                (dialed, _) => return dialed,
            }
        }
    }

    async fn dial(&mut self) -> Result<(), ConnectError> {
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
    async fn unless_closed<F: Future>(&mut self, work: F) -> Result<F::Output, ConnectError> {
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
    fn target(&self) -> Result<Address, ConnectError> {
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

    fn refusal(&self, cause: ConnectCause) -> ConnectError {
        let address = self.address.as_ref().map(ToString::to_string);
        ConnectError::new(
            address.unwrap_or_default(),
            None,
            cause,
            Timeline::new(Instant::now()),
        )
    }

    /// Sends a message as soon as there is room; while the client is full it waits for the low watermark.
    ///
    /// What the socket does not take at once waits in the queue. Cancel-safe: dropped before it is ready, nothing is
    /// sent; of a raw payload over 64 KiB perhaps a part. It waits as long as the peer is slow, and reads nothing
    /// meanwhile. Without a connection it does not wait.
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

    async fn send_patiently(&mut self, payload: &[u8]) -> Result<(), SendError> {
        loop {
            match self.try_send(payload) {
                Err(SendError::Full { .. }) if self.connection.is_some() => {}
                sent => return sent,
            }
            // What is over the low watermark leaves no room for this one, however long the wait.
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

    /// Whether there is something to be done before more is sent.
    #[inline]
    fn has_orders(&self) -> bool {
        self.closing.is_some()
            || self
                .shared
                .as_ref()
                .is_some_and(|shared| shared.is_pending())
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
    /// If a [`Sender`] closes the client meanwhile, it waits for that instead, and says whether all was sent.
    pub async fn flush(&mut self) -> Result<(), StreamError> {
        poll_fn(|cx| self.poll_flushed(cx)).await
    }

    fn poll_flushed(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamError>> {
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

    /// The next whole message; with raw framing, what is there. `None`: the peer has ended its sending, at the end
    /// of a message, or a [`Sender`] has closed the client.
    ///
    /// Cancel-safe: nothing is lost. After an error the connection is closed. The bytes share the memory that they
    /// were received in; who keeps small ones for long should copy them.
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
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamError>> {
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

    /// What has been received and not taken, at least one byte of it; nothing if the peer has ended. It is not
    /// taken by this. Cancel-safe.
    pub async fn peek(&mut self) -> Result<&[u8], StreamError> {
        if self.input.unread.is_empty() {
            poll_fn(|cx| self.poll_fill(cx)).await?;
        }
        Ok(&self.input.unread)
    }

    /// Ends the sending once what waits is sent: the peer reads an end of file. Receiving goes on.
    ///
    /// Cancel-safe: it happens nevertheless, while something else is awaited.
    pub async fn half_close(&mut self) -> Result<(), StreamError> {
        self.want_end();
        self.flush().await
    }

    /// Closes the connection: what waits is sent, then the peer's end is waited for, all within
    /// [`ClientOptions::close_deadline`]. What the peer sends meanwhile is thrown away; closed without that, the system
    /// would reset the connection, and the peer could lose what was sent last.
    ///
    /// A peer whose system has acknowledged everything and that sends nothing for 500 ms is not waited for any longer.
    ///
    /// An error means that something may not have reached the peer; closed it is in any case. Cancel-safe: dropped
    /// before it is ready, the closing goes on with the next call, or ends when the client is dropped.
    pub async fn close(&mut self) -> Result<(), StreamError> {
        if self.connection.is_none() {
            self.close_now();
            return Ok(());
        }
        self.begin_closing(CloseReason::ByUs);
        self.flush().await
    }

    /// Closes the connection now; what waits is lost. In a [`Handler`] the call returns first, then it is told
    /// `closed`. Does not block.
    pub fn close_now(&mut self) {
        if self.started {
            self.wanted = Wanted::CloseNow;
        } else {
            self.end();
        }
    }

    /// Closes a client with a [`Handler`] once what waits is sent, at the latest after
    /// [`ClientOptions::close_deadline`]. Returns at once; `closed` is told. Without a handler see
    /// [`close`](Self::close).
    pub fn start_close(&mut self) {
        self.wanted = self.wanted.max(Wanted::Close);
    }

    /// Replaces the connection of a client with a [`Handler`] by a new one. Returns at once. Without a handler see
    /// [`reconnect`](Self::reconnect).
    pub fn start_reconnect(&mut self) {
        self.wanted = self.wanted.max(Wanted::Reconnect);
    }

    /// Like [`half_close`](Self::half_close), but returns at once.
    pub fn start_half_close(&mut self) {
        self.want_end();
    }

    /// Stops reading for a [`Handler`], so that a fast peer is slowed down by its own system. The peer's end is told
    /// nevertheless, unless messages lie before it. The next connection is read again.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Reads again.
    pub fn resume(&mut self) {
        self.paused = false;
    }

    /// A handle that sends through this client from elsewhere.
    pub fn sender(&mut self) -> Sender {
        let options = &self.options;
        let shared = self
            .shared
            .get_or_insert_with(|| Arc::new(Shared::new(options)))
            .clone();
        self.tell_senders();
        Sender { shared }
    }

    /// Whether there is a connection, as far as is known.
    pub fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The number of the latest attempt to connect; the first is 1.
    pub fn attempt(&self) -> u64 {
        self.attempts.attempt()
    }

    /// How many bytes wait to be sent.
    pub fn queued(&self) -> u64 {
        self.output.queue.unwritten()
    }

    /// What the client was told.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// Of a connection that a pool lends: all that was asked for has come, however many messages that were. See
    /// [`on`](Self::on).
    pub fn mark_answered(&mut self) {
        if let Some(connection) = &mut self.connection {
            connection.mark_answered();
        }
    }

    /// The connection, with its timeline, its addresses and its descriptor.
    pub fn connection(&self) -> Option<&Connection> {
        self.connection.as_deref()
    }

    /// Takes the connection out, also out of its pool, with the bytes that were received and not taken. What waits to be sent is lost:
    /// [`flush`](Self::flush) first.
    pub fn into_connection(mut self) -> Option<(Connection, Bytes)> {
        let connection = self.connection.take()?.into_connection();
        Some((connection, std::mem::take(&mut self.input.unread).freeze()))
    }
}

/// A client while it is awaited to connect. Dropped before it has, it leaves no attempt behind.
struct Dialing<'a>(&'a mut Client);

impl Drop for Dialing<'_> {
    fn drop(&mut self) {
        let Self(client) = self;
        if client.attempts.phase() == Phase::Dialing {
            client.attempts.abandon(Instant::now());
            client.tell_senders();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.started = false;
        self.give_back();
        self.end();
    }
}
