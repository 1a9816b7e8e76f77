//! Connections that are kept and lent again to blocking clients.

use std::fmt;
use std::sync::Arc;

use super::client::Client;
use super::connecting::{Connecting, refuse};
use super::link::{Dialed, Link};
use super::options::ClientOptions;
use crate::dial::ConnectCause;
use crate::pool::{Lent, Permit, PoolCounters, PoolError, PoolKey, PoolOptions, PoolShared, Turn};
use crate::resolve::Resolver;

/// Keeps connections and lends them again, as clients that block.
///
/// It is [`Pool`](crate::Pool) without a runtime: the same options, keys, caps, looks and counters. Connections at rest
/// are looked after by the thread that dials for all blocking clients.
///
/// Clones share the connections. When the last is dropped, those at rest are closed; lent ones stay usable and are
/// closed when they are given back.
///
/// ```no_run
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// use moorline_net::blocking::{ClientOptions, Pool};
/// use moorline_net::{DialOptions, PoolKey, PoolOptions};
///
/// let pool = Pool::new(PoolOptions::default());
/// let key = PoolKey::new("tcp://127.0.0.1:6379".parse()?, DialOptions::default());
/// let mut client = pool.borrow(&key, ClientOptions::default())?;
/// client.send(b"PING\r\n")?;
/// let answer = client.receive_until(b"\r\n", 1024)?;
/// drop(client); // the next one to borrow gets its connection
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    shared: Arc<PoolShared<Dialed>>,
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

    /// Lends a client: on a connection at rest, or a fresh one, or whichever comes first while all are in use. The
    /// first caller is served first. The key says how it is dialed, in place of `options.dial`.
    ///
    /// Blocks for at most [`PoolOptions::max_wait`] and then the deadline of the dial.
    ///
    /// Dropping the client gives its connection back if it is clean, and closes it otherwise. It is clean if no call
    /// has failed or run out of time, all that was received is taken, the sending was not ended, and as many messages
    /// were received as were sent, or more: see [`Client::mark_answered`].
    ///
    /// # Errors
    ///
    /// [`PoolError::Connect`] if a fresh one was needed and could not be made, or if the options make no sense;
    /// `Timeout` and `Full` if all are in use; `IdTaken` at once.
    pub fn borrow(&self, key: &PoolKey, options: ClientOptions) -> Result<Client, PoolError> {
        let refused = |reason| refuse(key.address(), ConnectCause::Invalid(reason));
        options.check().map_err(refused)?;
        let handed = match self.shared.ask(key)? {
            Turn::Now(handed) => handed,
            Turn::Later(waiting) => waiting.handed_blocking()?,
        };
        let lent = match self.shared.lend(handed) {
            Ok(lent) => lent,
            Err(permit) => self.begin(permit)?.wait()?,
        };
        Ok(Client::new(Link::Lent(Box::new(lent)), options))
    }

    /// Opens connections until `count` of `key` are at rest, as far as the caps allow, and says how many were
    /// opened. Those that are made are kept even if another one fails; then the first error is returned.
    ///
    /// They are dialed at once. Blocks for at most the deadline of a dial.
    pub fn warm(&self, key: &PoolKey, count: usize) -> Result<usize, PoolError> {
        let permits = self.shared.reserve(key, count)?;
        let dials: Vec<_> = permits
            .into_iter()
            .map(|permit| self.begin(permit))
            .collect();
        // All are held until the end: otherwise the next one would replace one at rest.
        let dialed: Vec<_> = dials.into_iter().map(|dial| dial?.wait()).collect();
        let opened: Result<Vec<_>, PoolError> = dialed.into_iter().collect();
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

    fn begin(&self, permit: Permit<Dialed>) -> Result<PooledDial, PoolError> {
        let dialer = self.shared.dialer(permit.key());
        match Connecting::begin(permit.key().address(), ClientOptions::default(), dialer) {
            Ok(connecting) => Ok(PooledDial {
                shared: self.shared.clone(),
                permit,
                connecting,
            }),
            Err(error) => Err(match self.shared.dialed(permit, Err(error)) {
                Err(error) => error,
                Ok(_) => unreachable!("an error stays one"),
            }),
        }
    }
}

/// A dial that a pool has permitted.
struct PooledDial {
    shared: Arc<PoolShared<Dialed>>,
    permit: Permit<Dialed>,
    connecting: Connecting,
}

impl PooledDial {
    fn wait(self) -> Result<Lent<Dialed>, PoolError> {
        let dialed = self.connecting.finish();
        // The peer's clocks cannot have started before the dial.
        let born = |dialed: Dialed| (dialed.timeline.started(), dialed);
        self.shared.dialed(self.permit, dialed.map(born))
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.describe("Pool", f)
    }
}
