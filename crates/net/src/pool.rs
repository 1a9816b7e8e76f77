//! Connections that are kept and lent again.

mod core;
mod counters;
mod error;
mod key;
mod options;
mod pooled;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

pub use counters::PoolCounters;
pub use error::PoolError;
pub use key::PoolKey;
pub use options::{PoolOptions, Stray, Unanswered};
pub use pooled::Pooled;

use self::core::{Ask, Core, Grant, Ticket};
use self::counters::Counts;
use self::pooled::{Kept, Permit};
use crate::liveness::Liveness;
use crate::resolve::Resolver;

/// The shortest pause between two looks for connections that are too old.
const REAP_PAUSE: Duration = Duration::from_millis(20);

/// Keeps connections and lends them again.
///
/// Each is looked at before it is lent: one that the peer has closed is replaced, one on which bytes came that nobody
/// asked for is treated as [`PoolOptions::stray`] says. None is lent that the peer may be about to close: see
/// [`PoolOptions::max_idle`] and [`lead`](PoolOptions::lead).
///
/// A window remains: a request fails, as it would not on a fresh connection, if the peer closes after the look and
/// before the request arrives. A peer that keeps to `max_idle` gets there only when this machine and the way to it pause
/// for longer than `lead`: `examples/pool_reuse.rs` finds no such request in a million with a lead of 100 ms, up to one
/// with 25 ms on a machine that is compiling beside, and some 200 with the look alone. A peer that closes sooner than
/// `max_idle` says has the whole window of the look. Such a request is the caller's to repeat or not.
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
    shared: Arc<Shared>,
}

/// What the handles and the lent connections of a pool share.
pub(crate) struct Shared {
    options: PoolOptions,
    resolver: Option<Arc<dyn Resolver>>,
    state: Mutex<Held>,
    counts: Counts,
    /// This, for what outlives the caller.
    this: Weak<Shared>,
}

struct Held {
    core: Core<PoolKey, Kept, Waiter>,
    /// To whom an id belongs; entries of keys that the core has forgotten mean nothing.
    ids: HashMap<String, PoolKey>,
    /// A task closes connections when they are too old.
    reaping: bool,
}

/// Somebody who waits.
struct Waiter {
    key: PoolKey,
    handed: oneshot::Sender<Handed>,
}

/// A permit, and the connection in it if there is one.
struct Handed {
    permit: Permit,
    kept: Option<Kept>,
}

impl Pool {
    /// A pool with these options, which resolves names as the system does.
    pub fn new(options: PoolOptions) -> Self {
        Self::build(options, None)
    }

    /// A pool with these options and this resolver.
    pub fn with_resolver(options: PoolOptions, resolver: Arc<dyn Resolver>) -> Self {
        Self::build(options, Some(resolver))
    }

    fn build(options: PoolOptions, resolver: Option<Arc<dyn Resolver>>) -> Self {
        let shared = Arc::new_cyclic(|this| Shared {
            state: Mutex::new(Held {
                core: Core::new(options.clone()),
                ids: HashMap::new(),
                reaping: false,
            }),
            options,
            resolver,
            counts: Counts::default(),
            this: this.clone(),
        });
        Self { shared }
    }

    /// Lends a connection: one at rest, or a fresh one, or whichever comes first while all are in use. Who asks first
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
        let Handed { permit, mut kept } = handed;
        while let Some(found) = kept {
            match self.look(found) {
                Ok(alive) => return Ok(Pooled::reused(permit, alive)),
                Err(()) => kept = self.shared.replace(&permit),
            }
        }
        self.dial(permit).await
    }

    /// Opens connections until `count` of `key` are at rest, as far as the caps allow, and says how many were
    /// opened. Those that are made are kept even if another one fails; then the first error is returned.
    ///
    /// Cancel-safe: dropping the future ends the dials that run.
    pub async fn warm(&self, key: &PoolKey, count: usize) -> Result<usize, PoolError> {
        let permits = self.shared.reserve(key, count)?;
        // All are held until the end: one that rests already would give way to the next.
        let dialed = join_all(permits.into_iter().map(|permit| self.dial(permit))).await;
        let opened: Result<Vec<Pooled>, PoolError> = dialed.into_iter().collect();
        opened.map(|opened| opened.len())
    }

    /// Closes the connections at rest.
    pub fn clear(&self) {
        let closing = {
            let mut held = self.shared.lock();
            held.core.clear();
            held.core.take_closing()
        };
        drop(closing);
    }

    /// What the pool has done, and what it holds.
    pub fn counters(&self) -> PoolCounters {
        let counts = &self.shared.counts;
        let held = self.shared.lock();
        PoolCounters {
            fresh: counts.fresh.now(),
            failed: counts.failed.now(),
            reused: counts.reused.now(),
            dead: counts.dead.now(),
            stray: counts.stray.now(),
            expired: held.core.expired(),
            dropped: counts.dropped.now(),
            waited: counts.waited.now(),
            refused: counts.refused.now(),
            open: held.core.open(),
            idle: held.core.resting(),
            waiting: held.core.waiting(),
        }
    }

    /// Gives back a connection that may be lent, closes one that may not.
    fn look(&self, mut kept: Kept) -> Result<Kept, ()> {
        let counts = &self.shared.counts;
        match kept.connection.liveness() {
            Liveness::Quiet => {}
            Liveness::Dead => {
                counts.dead.add();
                return Err(());
            }
            Liveness::Stray => {
                counts.stray.add();
                let peer = kept.connection.peer();
                if self.shared.options.stray == Stray::Close {
                    tracing::warn!(?peer, "bytes came on a connection at rest: closed");
                    return Err(());
                }
                tracing::debug!(?peer, "bytes came on a connection at rest: kept");
            }
        }
        counts.reused.add();
        kept.connection.mark_reused();
        Ok(kept)
    }

    async fn dial(&self, permit: Permit) -> Result<Pooled, PoolError> {
        let counts = &self.shared.counts;
        let mut dialer = permit.key().dialer().clone();
        if let Some(resolver) = &self.shared.resolver {
            dialer = dialer.with_resolver(resolver.clone());
        }
        match dialer.connect(permit.key().address()).await {
            Ok(connection) => {
                counts.fresh.add();
                Ok(Pooled::fresh(permit, connection))
            }
            Err(error) => {
                counts.failed.add();
                Err(error.into())
            }
        }
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("options", &self.shared.options)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }
}

impl Held {
    /// Checks that the key's id, if it has one, belongs to it, and takes it if it belongs to nobody.
    fn claim_id(&mut self, key: &PoolKey, options: &PoolOptions) -> Result<(), PoolError> {
        let Some(id) = key.id() else {
            return Ok(());
        };
        match self.ids.get(id) {
            Some(owner) if owner == key => return Ok(()),
            Some(owner) if self.core.knows(owner) => {
                return Err(PoolError::IdTaken {
                    id: id.to_owned(),
                    address: owner.address().to_string(),
                });
            }
            _ => {}
        }
        if self.ids.len() > 2 * options.max_total.saturating_add(options.max_waiting) {
            let Self { core, ids, .. } = self;
            ids.retain(|_, owner| core.knows(owner));
        }
        self.ids.insert(id.to_owned(), key.clone());
        Ok(())
    }

    /// Takes a place in the queue.
    fn queue(&mut self, shared: &Arc<Shared>, key: &PoolKey) -> Result<Waiting, PoolError> {
        let (sender, receiver) = oneshot::channel();
        shared.counts.waited.add();
        let waiter = Waiter {
            key: key.clone(),
            handed: sender,
        };
        let Some(ticket) = self.core.wait(key, waiter) else {
            shared.counts.refused.add();
            return Err(PoolError::Full {
                address: key.address().to_string(),
                waiting: self.core.waiting(),
            });
        };
        Ok(Waiting {
            shared: shared.clone(),
            key: key.clone(),
            ticket,
            receiver,
        })
    }
}

/// When somebody is served.
enum Turn {
    Now(Handed),
    Later(Waiting),
}

/// A place in the queue. Dropping it leaves the queue.
struct Waiting {
    shared: Arc<Shared>,
    key: PoolKey,
    ticket: Ticket,
    receiver: oneshot::Receiver<Handed>,
}

impl Waiting {
    async fn handed(mut self) -> Result<Handed, PoolError> {
        let waited = self.shared.options.max_wait;
        match tokio::time::timeout(waited, &mut self.receiver).await {
            Ok(Ok(handed)) => Ok(handed),
            // The queue holds the sender until it is used; an end without is a wait in vain, too.
            Ok(Err(_)) | Err(_) => {
                self.shared.counts.refused.add();
                Err(PoolError::Timeout {
                    address: self.key.address().to_string(),
                    waited,
                })
            }
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.shared.lock().core.leave(&self.key, self.ticket);
        // What was handed over at this very moment is not lost.
        self.receiver.close();
        if let Ok(handed) = self.receiver.try_recv() {
            let (key, kept) = handed.into_parts();
            self.shared.give_back(key, kept);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Held> {
        // Nothing in there panics halfway; a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Somebody wants a connection.
    fn ask(self: &Arc<Self>, key: &PoolKey) -> Result<Turn, PoolError> {
        let mut held = self.lock();
        held.claim_id(key, &self.options)?;
        let turn = match held.core.ask(key, now()) {
            Ask::Reuse(kept) => Turn::Now(Handed::new(self, key, Some(kept))),
            Ask::Dial => Turn::Now(Handed::new(self, key, None)),
            Ask::Wait => Turn::Later(held.queue(self, key)?),
        };
        let closing = held.core.take_closing();
        drop(held);
        drop(closing);
        Ok(turn)
    }

    /// Permits to dial what is missing to `count` at rest, as far as the caps allow.
    fn reserve(self: &Arc<Self>, key: &PoolKey, count: usize) -> Result<Vec<Permit>, PoolError> {
        let mut held = self.lock();
        held.claim_id(key, &self.options)?;
        let count = count.min(self.options.max_idle_per_key);
        let missing = count.saturating_sub(held.core.resting_of(key));
        let permits = (0..missing)
            .map_while(|_| {
                held.core
                    .reserve(key)
                    .then(|| Permit::new(self, key.clone()))
            })
            .collect();
        let closing = held.core.take_closing();
        drop(held);
        drop(closing);
        Ok(permits)
    }

    /// A connection of the permit was useless: another one at rest, if there is one.
    fn replace(&self, permit: &Permit) -> Option<Kept> {
        let mut held = self.lock();
        let asked = held.core.replace(permit.key(), now());
        let closing = held.core.take_closing();
        drop(held);
        drop(closing);
        match asked {
            Ask::Reuse(kept) => Some(kept),
            Ask::Dial | Ask::Wait => None,
        }
    }

    /// A permit becomes free, with the connection in it if that may be lent again.
    fn give_back(&self, key: PoolKey, kept: Option<Kept>) {
        let mut given = Some((key, kept));
        while let Some((key, kept)) = given.take() {
            let mut held = self.lock();
            let grant = match kept {
                Some(kept) => {
                    let age = kept.age;
                    held.core.give_back(&key, kept, age, now())
                }
                None => held.core.free(&key),
            };
            let closing = held.core.take_closing();
            let starts_to_reap = !held.reaping && held.core.resting() > 0;
            held.reaping |= starts_to_reap;
            drop(held);
            drop(closing);
            if starts_to_reap {
                self.start_to_reap();
            }
            let Some((waiter, grant)) = grant else {
                return;
            };
            let handed = Handed {
                permit: Permit::of(self.this.clone(), waiter.key),
                kept: match grant {
                    Grant::Reuse(kept) => Some(kept),
                    Grant::Dial => None,
                },
            };
            // Whoever stopped waiting at this very moment takes nothing along.
            given = waiter.handed.send(handed).err().map(Handed::into_parts);
        }
    }

    /// Closes connections when they are too old, on this runtime. Without one the next to borrow or give back
    /// does it.
    ///
    /// Not under the lock: a runtime that ends drops what it is given at once, and [`Reaper`] takes the lock then.
    fn start_to_reap(&self) {
        let reaper = Reaper(self.this.clone());
        if let Ok(runtime) = Handle::try_current() {
            runtime.spawn(reap(reaper));
        }
    }
}

impl Handed {
    fn new(shared: &Arc<Shared>, key: &PoolKey, kept: Option<Kept>) -> Self {
        Self {
            permit: Permit::new(shared, key.clone()),
            kept,
        }
    }

    fn into_parts(self) -> (PoolKey, Option<Kept>) {
        (self.permit.into_key(), self.kept)
    }
}

async fn reap(mut reaper: Reaper) {
    loop {
        let looked = now();
        let next = {
            let Some(shared) = reaper.0.upgrade() else {
                return;
            };
            let mut held = shared.lock();
            let next = held.core.expire(looked);
            let closing = held.core.take_closing();
            if next.is_none() {
                // Under the lock: what comes to rest from here on starts another one.
                held.reaping = false;
            }
            drop(held);
            drop(closing);
            next
        };
        let Some(next) = next else {
            reaper.0 = Weak::new();
            return;
        };
        tokio::time::sleep_until(next.max(looked + REAP_PAUSE).into()).await;
    }
}

/// Says so when the task ends before its work does, be it that its runtime ends or that there is none. Points nowhere
/// once the work is done.
struct Reaper(Weak<Shared>);

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(shared) = self.0.upgrade() {
            shared.lock().reaping = false;
        }
    }
}

/// The runtime's clock, as timelines have it.
fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
