//! The state that the handles and the lent connections of a pool share.

use std::collections::HashMap;
use std::fmt;
use std::future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::core::{Ask, Core, Grant, Ticket};
use super::counters::{PoolCounters, PoolCounts};
use super::error::PoolError;
use super::keep::{Age, Keep};
use super::key::PoolKey;
use super::lent::{Home, Kept, Lent, Permit};
use super::options::{PoolOptions, Stray};
use super::waiting::{Handed, Waiter, WaiterQueue, Waiting};
use super::watch::PoolWatch;
use crate::clock::now;
use crate::dial::{ConnectError, Dialer};
use crate::liveness::Liveness;
use crate::resolve::Resolver;

pub(crate) use super::waiting::Turn;

/// The shortest pause between two looks for connections that are too old.
const REAP_PAUSE: Duration = Duration::from_millis(20);

/// The state that the handles and the lent connections of a pool share.
pub(crate) struct PoolShared<C: Keep> {
    options: PoolOptions,
    resolver: Option<Arc<dyn Resolver>>,
    state: Mutex<Held<C>>,
    counts: PoolCounts,
    /// Unset while the system has no descriptor for it: then a connection is looked at when it is lent, no sooner.
    watch: OnceLock<PoolWatch>,
    /// This, for what outlives the caller.
    this: Weak<PoolShared<C>>,
}

struct Held<C: Keep> {
    core: Core<PoolKey, Kept<C>, Waiter<C>>,
    /// The key that an id belongs to; entries of keys that the core has forgotten mean nothing.
    ids: HashMap<String, PoolKey>,
    /// The number of the next connection that is watched.
    next_watched: u64,
    /// A task closes connections when they are too old, or their peer has ended.
    reaping: bool,
    /// Its drop ends that task.
    alive: Option<oneshot::Sender<()>>,
}

impl<C: Keep> PoolShared<C> {
    pub(crate) fn new(options: PoolOptions, resolver: Option<Arc<dyn Resolver>>) -> Arc<Self> {
        Arc::new_cyclic(|this| Self {
            state: Mutex::new(Held {
                core: Core::new(options.clone()),
                ids: HashMap::new(),
                next_watched: 0,
                reaping: false,
                alive: None,
            }),
            options,
            resolver,
            counts: PoolCounts::default(),
            watch: OnceLock::new(),
            this: this.clone(),
        })
    }

    /// The dialer of a key's connections.
    pub(crate) fn dialer(&self, key: &PoolKey) -> Dialer {
        let dialer = key.dialer().clone();
        match &self.resolver {
            Some(resolver) => dialer.with_resolver(resolver.clone()),
            None => dialer,
        }
    }

    /// Somebody wants a connection.
    pub(crate) fn ask(self: &Arc<Self>, key: &PoolKey) -> Result<Turn<C>, PoolError> {
        let mut held = self.lock();
        held.claim_id(key, &self.options)?;
        let permit = || Permit::new(self.this.clone(), key.clone());
        let turn = match held.core.ask(key, now()) {
            Ask::Reuse(kept) => Turn::Now(Handed {
                permit: permit(),
                kept: Some(kept),
            }),
            Ask::Dial => Turn::Now(Handed {
                permit: permit(),
                kept: None,
            }),
            Ask::Wait => Turn::Later(self.queue(&mut held, key)?),
        };
        let closing = held.core.take_closing();
        drop(held);
        drop(closing);
        Ok(turn)
    }

    /// Lends the connection that was handed over, or another one at rest if that is useless. Otherwise returns the
    /// permit to dial one.
    pub(crate) fn lend(&self, handed: Handed<C>) -> Result<Lent<C>, Permit<C>> {
        let Handed { permit, mut kept } = handed;
        while let Some(found) = kept {
            match self.look(found) {
                Ok(Kept {
                    connection, age, ..
                }) => return Ok(Lent::new(permit, connection, age)),
                Err(()) => kept = self.replace(&permit),
            }
        }
        Err(permit)
    }

    /// Lends the dialed connection. The dial began at this time.
    pub(crate) fn dialed(
        &self,
        permit: Permit<C>,
        dialed: Result<(Instant, C), ConnectError>,
    ) -> Result<Lent<C>, PoolError> {
        match dialed {
            Ok((born, connection)) => {
                self.counts.fresh.add();
                Ok(Lent::new(permit, connection, Age { born, used: born }))
            }
            Err(error) => {
                self.counts.failed.add();
                Err(error.into())
            }
        }
    }

    /// Permits to dial what is missing to `count` at rest, as far as the caps allow.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        key: &PoolKey,
        count: usize,
    ) -> Result<Vec<Permit<C>>, PoolError> {
        let mut held = self.lock();
        held.claim_id(key, &self.options)?;
        let count = count.min(self.options.max_idle_per_key);
        let missing = count.saturating_sub(held.core.resting_of(key));
        let permits = (0..missing)
            .map_while(|_| {
                held.core
                    .reserve(key)
                    .then(|| Permit::new(self.this.clone(), key.clone()))
            })
            .collect();
        let closing = held.core.take_closing();
        drop(held);
        drop(closing);
        Ok(permits)
    }

    /// Closes the connections at rest.
    pub(crate) fn clear(&self) {
        let closing = {
            let mut held = self.lock();
            held.core.clear();
            held.core.take_closing()
        };
        drop(closing);
    }

    pub(crate) fn counters(&self) -> PoolCounters {
        let counts = &self.counts;
        let held = self.lock();
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

    pub(crate) fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(name)
            .field("options", &self.options)
            .field("counters", &self.counters())
            .finish_non_exhaustive()
    }

    /// Takes a place in the queue.
    fn queue(self: &Arc<Self>, held: &mut Held<C>, key: &PoolKey) -> Result<Waiting<C>, PoolError> {
        let (sender, receiver) = oneshot::channel();
        self.counts.waited.add();
        let waiter = Waiter {
            key: key.clone(),
            handed: sender,
        };
        let Some(ticket) = held.core.wait(key, waiter) else {
            self.counts.refused.add();
            return Err(PoolError::Full {
                address: key.address().to_string(),
                waiting: held.core.waiting(),
            });
        };
        Ok(Waiting {
            shared: self.clone(),
            key: key.clone(),
            ticket,
            receiver,
        })
    }

    /// Gives back a connection that may be lent, closes one that may not.
    fn look(&self, mut kept: Kept<C>) -> Result<Kept<C>, ()> {
        if kept.watched.take().is_some()
            && let Some(watch) = self.watch()
        {
            watch.remove(&kept.connection);
        }
        if self.is_useless(&mut kept.connection) {
            return Err(());
        }
        self.counts.reused.add();
        kept.connection.mark_reused();
        Ok(kept)
    }

    /// Whether a connection may not be lent any more; counts and logs why.
    fn is_useless(&self, connection: &mut C) -> bool {
        match connection.liveness() {
            Liveness::Quiet => false,
            Liveness::Dead(_) => {
                self.counts.dead.add();
                true
            }
            Liveness::Stray if self.options.stray == Stray::Close => {
                self.counts.stray.add();
                let peer = connection.peer();
                tracing::warn!(
                    ?peer,
                    "closed an idle connection: the peer sent unexpected bytes"
                );
                true
            }
            Liveness::Stray => {
                self.counts.stray.add();
                let peer = connection.peer();
                tracing::debug!(
                    ?peer,
                    "kept an idle connection: the peer sent unexpected bytes"
                );
                false
            }
        }
    }

    /// A connection of the permit was useless: another one at rest, if there is one.
    fn replace(&self, permit: &Permit<C>) -> Option<Kept<C>> {
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

    fn lock(&self) -> MutexGuard<'_, Held<C>> {
        // Nothing in there panics halfway; a panic elsewhere leaves it whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self) -> Option<&PoolWatch> {
        if let Some(watch) = self.watch.get() {
            return Some(watch);
        }
        match PoolWatch::new() {
            Ok(watch) => Some(self.watch.get_or_init(|| watch)),
            Err(error) => {
                tracing::debug!(%error, "cannot watch an idle connection");
                None
            }
        }
    }

    /// Watches the connection of `key` that became idle last, unless it is watched already.
    fn watch_newest(&self, held: &mut Held<C>, key: &PoolKey) {
        let Some(watch) = self.watch() else { return };
        let Some(newest) = held.core.newest_resting(key) else {
            return;
        };
        if newest.watched.is_none() && watch.add(&newest.connection, held.next_watched).is_ok() {
            newest.watched = Some(held.next_watched);
            held.next_watched += 1;
        }
    }

    /// Closes connections when they are too old or their peer has ended, on a runtime. Without one the next to borrow
    /// or give back does it.
    ///
    /// Not under the lock: a runtime that ends drops what it is given at once, and [`Reaper`] takes the lock then.
    fn start_to_reap(&self, gone: oneshot::Receiver<()>) {
        let reaper = Reaper {
            shared: self.this.clone(),
            events: None,
        };
        if let Some(runtime) = C::runtime() {
            runtime.spawn(reap(reaper, gone));
        }
    }

    /// Closes connections at rest that have received something and are useless now.
    fn discard(&self, came: &[u64]) {
        let closing = {
            let mut held = self.lock();
            held.core.discard(|kept| {
                let has_come = kept.watched.is_some_and(|number| came.contains(&number));
                has_come && self.is_useless_at_rest(&mut kept.connection)
            });
            held.core.take_closing()
        };
        drop(closing);
    }

    /// Like [`is_useless`](Self::is_useless); tolerated stray bytes are logged when the connection is lent.
    fn is_useless_at_rest(&self, connection: &mut C) -> bool {
        match (connection.liveness(), self.options.stray) {
            (Liveness::Quiet, _) | (Liveness::Stray, Stray::Keep) => false,
            (Liveness::Dead(_), _) | (Liveness::Stray, Stray::Close) => self.is_useless(connection),
        }
    }
}

impl<C: Keep> Home<C> for PoolShared<C> {
    fn options(&self) -> &PoolOptions {
        &self.options
    }

    fn count_dropped(&self) {
        self.counts.dropped.add();
    }

    fn give_back(&self, key: PoolKey, kept: Option<Kept<C>>) {
        let mut given = Some((key, kept));
        while let Some((key, kept)) = given.take() {
            let mut held = self.lock();
            let grant = match kept {
                Some(kept) => {
                    let age = kept.age;
                    let grant = held.core.give_back(&key, kept, age, now());
                    self.watch_newest(&mut held, &key);
                    grant
                }
                None => held.core.free(&key),
            };
            let closing = held.core.take_closing();
            let starts_to_reap = !held.reaping && held.core.resting() > 0;
            let gone = starts_to_reap.then(|| {
                let (alive, gone) = oneshot::channel();
                held.reaping = true;
                held.alive = Some(alive);
                gone
            });
            drop(held);
            drop(closing);
            if let Some(gone) = gone {
                self.start_to_reap(gone);
            }
            let Some((waiter, grant)) = grant else {
                return;
            };
            let handed = Handed {
                permit: Permit::new(self.this.clone(), waiter.key),
                kept: match grant {
                    Grant::Reuse(kept) => Some(kept),
                    Grant::Dial => None,
                },
            };
            // A caller that stopped waiting at this very moment takes nothing along.
            given = waiter.handed.send(handed).err().map(Handed::into_parts);
        }
    }
}

impl<C: Keep> WaiterQueue<C> for PoolShared<C> {
    fn leave(&self, key: &PoolKey, ticket: Ticket) {
        self.lock().core.leave(key, ticket);
    }

    fn time_out(&self, key: &PoolKey) -> PoolError {
        self.counts.refused.add();
        PoolError::Timeout {
            address: key.address().to_string(),
            waited: self.options.max_wait,
        }
    }
}

impl<C: Keep> Held<C> {
    /// Checks that the key's id, if it has one, belongs to it, and takes it if it is free.
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
}

/// Ends when nothing is at rest any more, and when the pool has gone.
async fn reap<C: Keep>(mut reaper: Reaper<C>, mut gone: oneshot::Receiver<()>) {
    let mut is_logged = false;
    loop {
        let looked = now();
        let next = {
            let Some(shared) = reaper.shared.upgrade() else {
                return;
            };
            if let Err(error) = reaper.register(&shared)
                && !std::mem::replace(&mut is_logged, true)
            {
                tracing::debug!(%error, "cannot watch idle connections: trying again");
            }
            let mut held = shared.lock();
            let next = held.core.expire(looked);
            let closing = held.core.take_closing();
            if next.is_none() {
                // Under the lock: what comes to rest from here on starts another one, and a runtime takes the same
                // descriptor only once.
                reaper.events = None;
                held.reaping = false;
            }
            drop(held);
            drop(closing);
            next
        };
        let Some(next) = next else {
            reaper.shared = Weak::new();
            return;
        };
        let old = tokio::time::sleep_until(next.max(looked + REAP_PAUSE).into());
        tokio::select! {
            () = old => {}
            _ = &mut gone => return,
            came = came(reaper.events.as_ref()) => {
                if let Some(shared) = reaper.shared.upgrade() {
                    shared.discard(&came);
                }
            }
        }
    }
}

/// Waits for something to come on connections at rest, and says on which.
async fn came(events: Option<&AsyncFd<PoolWatch>>) -> Vec<u64> {
    let Some(events) = events else {
        return future::pending().await;
    };
    loop {
        let Ok(mut readable) = events.readable().await else {
            // The runtime ends.
            return future::pending().await;
        };
        let came = events.get_ref().take();
        if !came.is_empty() {
            // There may be more: it is still readable.
            return came;
        }
        readable.clear_ready();
    }
}

/// Logs that the task ended before its work, because its runtime ended or there is none. Empty once the work is done.
struct Reaper<C: Keep> {
    shared: Weak<PoolShared<C>>,
    /// Where its runtime tells that something has come. None until that has worked.
    events: Option<AsyncFd<PoolWatch>>,
}

impl<C: Keep> Reaper<C> {
    /// Has its runtime tell when something comes, unless it does.
    fn register(&mut self, shared: &PoolShared<C>) -> io::Result<()> {
        if self.events.is_none()
            && let Some(watch) = shared.watch()
        {
            self.events = Some(watch.on_runtime()?);
        }
        Ok(())
    }
}

impl<C: Keep> Drop for Reaper<C> {
    fn drop(&mut self) {
        self.events = None;
        if let Some(shared) = self.shared.upgrade() {
            shared.lock().reaping = false;
        }
    }
}

#[cfg(test)]
mod tests;
