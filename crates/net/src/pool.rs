//! Connections that are kept and lent again.
//!
//! [`PoolShared`] is what all pools have in common, whatever their connections are: those of a runtime, and those of
//! [blocking clients](crate::blocking::Pool).

mod core;
mod counters;
mod error;
mod keep;
mod key;
mod lent;
mod options;
mod pooled;
mod shared;
mod waiting;
mod watch;

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;

pub use counters::PoolCounters;
pub use error::PoolError;
#[cfg(feature = "blocking")]
pub(crate) use keep::Keep;
pub use key::PoolKey;
#[cfg(feature = "blocking")]
pub(crate) use lent::Lent;
pub(crate) use lent::Permit;
pub use options::{PoolOptions, Stray, Unanswered};
pub use pooled::Pooled;
pub(crate) use shared::{PoolShared, Turn};

use crate::connection::Connection;
use crate::resolve::Resolver;

/// Keeps connections and lends them again.
///
/// A connection that its peer closes while it is at rest is closed at once, and each one is checked again before it is
/// lent. One that received unexpected bytes is treated as [`PoolOptions::stray`] says. A connection that the peer may
/// be about to close is not lent: see [`PoolOptions::max_idle`] and [`lead`](PoolOptions::lead).
///
/// A window remains: a request fails, as it would not on a fresh connection, if the peer closes after the look and
/// before the request arrives. A peer that keeps to `max_idle` gets there only when this machine and the way to it pause
/// for longer than `lead`: `examples/pool_reuse.rs` finds no such request in a million with a lead of 100 ms, up to one
/// with 25 ms on a machine that is compiling beside, and some 200 with the look alone. A peer that closes sooner than
/// `max_idle` says has the whole window of the look. Such a request is the caller's to repeat or not.
///
/// A [`Client`](crate::Client) speaks in messages [on](crate::Client::on) a lent connection.
///
/// Clones share the connections. When the last is dropped, those at rest are closed; lent ones stay usable and are
/// closed when they are given back. A connection belongs to the runtime that it was dialed on; lend across runtimes
/// only if all of them live as long as the pool.
///
/// ```no_run
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::{DialOptions, Pool, PoolKey, PoolOptions};
/// use tokio::io::{AsyncReadExt, AsyncWriteExt};
///
/// let pool = Pool::new(PoolOptions::default());
/// let key = PoolKey::new("tcp://127.0.0.1:6379".parse()?, DialOptions::default());
/// let mut connection = pool.borrow(&key).await?;
/// connection.write_all(b"PING\r\n").await?;
/// let mut answer = [0; 7];
/// connection.read_exact(&mut answer).await?;
/// drop(connection); // the next one to borrow gets it
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Arc<PoolShared<Connection>>,
}

impl Pool {
    /// A pool with these options, which resolves names as the system does.
    pub fn new(options: PoolOptions) -> Self {
        let shared = PoolShared::new(options, None);
        Self { shared }
    }

    /// A pool with these options and this resolver.
    pub fn with_resolver(options: PoolOptions, resolver: Arc<dyn Resolver>) -> Self {
        let shared = PoolShared::new(options, Some(resolver));
        Self { shared }
    }

    /// Lends a connection: one at rest, or a fresh one, or whichever comes first while all are in use. The first caller
    /// is served first.
    ///
    /// Takes at most [`PoolOptions::max_wait`] and then the deadline of the dial. Cancel-safe: dropping the future
    /// leaves the queue or ends the dial, and loses no connection.
    ///
    /// # Errors
    ///
    /// [`PoolError::Connect`] if a fresh one was needed and could not be made; `Timeout` and `Full` if all are in
    /// use; `IdTaken` at once.
    pub async fn borrow(&self, key: &PoolKey) -> Result<Pooled, PoolError> {
        let handed = match self.shared.ask(key)? {
            Turn::Now(handed) => handed,
            Turn::Later(waiting) => waiting.handed().await?,
        };
        match self.shared.lend(handed) {
            Ok(lent) => Ok(Pooled::new(lent)),
            Err(permit) => self.dial(permit).await,
        }
    }

    /// Opens connections until `count` of `key` are at rest, as far as the caps allow, and says how many were
    /// opened. Those that are made are kept even if another one fails; then the first error is returned.
    ///
    /// Cancel-safe: dropping the future ends the dials that run.
    pub async fn warm(&self, key: &PoolKey, count: usize) -> Result<usize, PoolError> {
        let permits = self.shared.reserve(key, count)?;
        // All are held until the end: otherwise the next one would replace one at rest.
        let dialed = join_all(permits.into_iter().map(|permit| self.dial(permit))).await;
        let opened: Result<Vec<Pooled>, PoolError> = dialed.into_iter().collect();
        opened.map(|opened| opened.len())
    }

    /// Closes the connections at rest.
    pub fn clear(&self) {
        self.shared.clear();
    }

    /// What the pool has done, and what it holds.
    pub fn counters(&self) -> PoolCounters {
        self.shared.counters()
    }

    async fn dial(&self, permit: Permit<Connection>) -> Result<Pooled, PoolError> {
        let dialer = self.shared.dialer(permit.key());
        let dialed = dialer.connect(permit.key().address()).await;
        // The peer's clocks cannot have started before the dial.
        let dialed = dialed.map(|connection| (connection.timeline().started(), connection));
        Ok(Pooled::new(self.shared.dialed(permit, dialed)?))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Pool", f)
    }
}
