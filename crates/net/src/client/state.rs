//! A client's state: making one, and looking at it.

use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;

use super::attempts::Attempts;
use super::closing::Closing;
use super::input::Input;
use super::link::Link;
use super::options::ClientOptions;
use super::output::Output;
use super::sender::{ClientShared, Sender, Wanted};
use crate::address::Address;
use crate::connection::Connection;
use crate::dial::Dialer;
#[cfg(feature = "pool")]
use crate::pool::Pooled;
use crate::resolve::Resolver;

/// A connection with framing, watermarks, reconnection and callbacks.
///
/// Awaited, it does nothing by itself: what the socket did not take at once is sent while `receive_message`, `send`,
/// `flush` or `close` is awaited. Dropping it closes the connection at once, and what waits is lost; one that a pool lends
/// [goes back](Self::on) if it is clean.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::{Client, ClientOptions, Framing};
///
/// let lines = ClientOptions::framed(Framing::Line { max: 4096 });
/// let mut client = Client::new("tcp://127.0.0.1:7000".parse()?, lines);
/// client.connect().await?;
/// client.send(b"question").await?;
/// let answer = client.receive_message().await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Client {
    /// `None`: the connection was given, and cannot be made again.
    pub(super) address: Option<Address>,
    pub(super) options: Arc<ClientOptions>,
    pub(super) dialer: Dialer,
    pub(super) attempts: Attempts,
    pub(super) connection: Option<Link>,
    pub(super) input: Input,
    pub(super) output: Output,
    /// Set once there are senders.
    pub(super) shared: Option<Arc<ClientShared>>,
    /// The task that senders wake.
    pub(super) registered: Option<Waker>,
    /// The senders know the client as full.
    pub(super) told_full: bool,
    pub(super) wanted: Wanted,
    /// The connection is being closed.
    pub(super) closing: Option<Closing>,
    pub(super) paused: bool,
    /// There may be whole messages among the unread bytes of a handler.
    pub(super) undelivered: bool,
    /// A handler runs, and dials if need be.
    pub(super) started: bool,
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

    /// Stops reading for a [`Handler`](super::Handler), so that its system slows down a fast peer. The handler still
    /// learns the peer's end, unless messages lie before it. The next connection is read again.
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
            .get_or_insert_with(|| Arc::new(ClientShared::new(options)))
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

    /// The options of the client.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// For a connection that a pool lends: all answers have come, however many messages that were. See
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
