//! Which caller gets which connection: the pool's decisions, without sockets and clocks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::time::Instant;

use super::keep::Age;
use super::options::PoolOptions;

/// Decides which caller gets which connection. `K` is a key, `C` is a connection, `W` reaches a waiter.
///
/// A key's *open* connections are those at rest, those lent and those being dialed. What is true between
/// calls, beside the caps:
///
/// - A key with waiters has none at rest.
/// - A key with waiters is at its cap, or the total is reached and none at all is at rest.
///
/// So a later waiter never overtakes, and each permit that becomes free goes to the first in the queue that may
/// use it.
#[derive(Debug)]
pub(super) struct Core<K, C, W> {
    options: PoolOptions,
    keys: HashMap<K, Shelf<C, W>>,
    /// Keys that wait for the total, by the ticket of their first waiter.
    short_of_total: BTreeMap<Ticket, K>,
    open: usize,
    resting: usize,
    waiting: usize,
    next_ticket: Ticket,
    /// Connections that the caller must drop, outside of its lock.
    closing: Vec<C>,
    expired: u64,
}

/// A place in the queue; lower ones are served first.
pub(super) type Ticket = u64;

#[derive(Debug)]
struct Shelf<C, W> {
    /// The one used last is at the back.
    resting: VecDeque<Resting<C>>,
    waiters: BTreeMap<Ticket, W>,
    open: usize,
}

/// A connection at rest.
#[derive(Debug)]
struct Resting<C> {
    connection: C,
    /// When it is too old to be used again.
    until: Instant,
}

/// What a caller gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ask<C> {
    /// One that was at rest.
    Reuse(C),
    /// A permit, to dial a new one.
    Dial,
    /// Nothing now: to wait is next.
    Wait,
}

/// What a waiter gets.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Grant<C> {
    /// A connection that was given back.
    Reuse(C),
    /// A permit, to dial a new one.
    Dial,
}

impl<K: Hash + Eq + Clone, C, W> Core<K, C, W> {
    pub(super) fn new(options: PoolOptions) -> Self {
        Self {
            options,
            keys: HashMap::new(),
            short_of_total: BTreeMap::new(),
            open: 0,
            resting: 0,
            waiting: 0,
            next_ticket: 0,
            closing: Vec::new(),
            expired: 0,
        }
    }

    /// Somebody wants a connection.
    pub(super) fn ask(&mut self, key: &K, now: Instant) -> Ask<C> {
        while let Some(shelf) = self.keys.get_mut(key)
            && let Some(resting) = shelf.resting.pop_back()
        {
            self.resting -= 1;
            if now < resting.until {
                return Ask::Reuse(resting.connection);
            }
            shelf.open -= 1;
            self.open -= 1;
            self.expired += 1;
            self.closing.push(resting.connection);
        }
        if self.reserve(key) {
            Ask::Dial
        } else {
            Ask::Wait
        }
    }

    /// A connection that was at rest turned out to be useless: its caller gets another one, or its permit.
    pub(super) fn replace(&mut self, key: &K, now: Instant) -> Ask<C> {
        let Some(shelf) = self.keys.get_mut(key) else {
            return Ask::Dial;
        };
        // No waiter is served with the permits that become free here: some of the key were at rest.
        while let Some(resting) = shelf.resting.pop_back() {
            self.resting -= 1;
            shelf.open -= 1;
            self.open -= 1;
            if now < resting.until {
                return Ask::Reuse(resting.connection);
            }
            self.expired += 1;
            self.closing.push(resting.connection);
        }
        Ask::Dial
    }

    /// Takes a permit to dial one more connection, if there is one.
    pub(super) fn reserve(&mut self, key: &K) -> bool {
        let open = self.keys.get(key).map_or(0, |shelf| shelf.open);
        if open >= self.options.max_per_key || !self.make_room() {
            self.forget_empty(key);
            return false;
        }
        self.open += 1;
        self.shelf(key).open += 1;
        true
    }

    /// Somebody was told to wait, and does. `None` if the queue is full.
    pub(super) fn wait(&mut self, key: &K, waiter: W) -> Option<Ticket> {
        if self.waiting >= self.options.max_waiting {
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting += 1;
        self.unlist(key);
        self.keys
            .entry(key.clone())
            .or_insert_with(Shelf::empty)
            .waiters
            .insert(ticket, waiter);
        self.list(key);
        Some(ticket)
    }

    /// A waiter goes away with nothing. Without effect if it has been granted something.
    pub(super) fn leave(&mut self, key: &K, ticket: Ticket) {
        self.unlist(key);
        let Some(shelf) = self.keys.get_mut(key) else {
            return;
        };
        if shelf.waiters.remove(&ticket).is_some() {
            self.waiting -= 1;
        }
        self.list(key);
        self.forget_empty(key);
    }

    /// A lent or new connection comes to rest, or goes to a waiter.
    pub(super) fn give_back(
        &mut self,
        key: &K,
        connection: C,
        age: Age,
        now: Instant,
    ) -> Option<(W, Grant<C>)> {
        let until = self.options.usable_until(age);
        if now >= until {
            self.expired += 1;
            self.closing.push(connection);
            return self.free(key);
        }
        let first = self.keys.get(key).and_then(Shelf::first_waiter);
        // The longest waiter is first, even if it cannot use this connection: it can use its permit.
        let other = self.short_of_total.first_key_value();
        if let Some((ticket, other)) = other
            && first.is_none_or(|first| *ticket < first)
            && other != key
        {
            self.closing.push(connection);
            return self.free(key);
        }
        if first.is_some() {
            let waiter = self.take_first_waiter(key)?;
            return Some((waiter, Grant::Reuse(connection)));
        }
        let most = self.options.max_idle_per_key;
        let shelf = self.shelf(key);
        shelf.resting.push_back(Resting { connection, until });
        if shelf.resting.len() <= most {
            self.resting += 1;
            return None;
        }
        if let Some(oldest) = shelf.resting.pop_front() {
            self.closing.push(oldest.connection);
        }
        // No caller waits for the total: one connection was at rest.
        self.free(key)
    }

    /// A lent connection, or a permit to dial one, is gone.
    pub(super) fn free(&mut self, key: &K) -> Option<(W, Grant<C>)> {
        self.unlist(key);
        self.open -= 1;
        self.shelf(key).open -= 1;
        self.list(key);
        self.forget_empty(key);
        let (_, next) = self.short_of_total.first_key_value()?;
        let next = next.clone();
        if self.open >= self.options.max_total {
            return None;
        }
        let waiter = self.take_first_waiter(&next)?;
        self.unlist(&next);
        self.open += 1;
        self.shelf(&next).open += 1;
        self.list(&next);
        Some((waiter, Grant::Dial))
    }

    /// Removes connections that are too old, and says when to look again.
    pub(super) fn expire(&mut self, now: Instant) -> Option<Instant> {
        let mut next: Option<Instant> = None;
        let gone = self.take_out(|resting| {
            let is_old = now >= resting.until;
            if !is_old {
                next = Some(next.map_or(resting.until, |next| next.min(resting.until)));
            }
            is_old
        });
        self.expired += gone as u64;
        next
    }

    /// Takes out those at rest that turn out to be useless.
    pub(super) fn discard(&mut self, mut is_useless: impl FnMut(&mut C) -> bool) {
        self.take_out(|resting| is_useless(&mut resting.connection));
    }

    /// Takes out all that are at rest.
    pub(super) fn clear(&mut self) {
        self.take_out(|_| true);
    }

    /// Removes some of those at rest, and says how many. No caller waits for what becomes free: some were at rest.
    fn take_out(&mut self, mut is_to_go: impl FnMut(&mut Resting<C>) -> bool) -> usize {
        let Self { keys, closing, .. } = self;
        let before = closing.len();
        keys.retain(|_, shelf| {
            for _ in 0..shelf.resting.len() {
                let Some(mut resting) = shelf.resting.pop_front() else {
                    break;
                };
                if is_to_go(&mut resting) {
                    shelf.open -= 1;
                    closing.push(resting.connection);
                } else {
                    shelf.resting.push_back(resting);
                }
            }
            !shelf.is_empty()
        });
        let gone = closing.len() - before;
        self.resting -= gone;
        self.open -= gone;
        gone
    }

    /// The latest connection of `key` at rest.
    pub(super) fn newest_resting(&mut self, key: &K) -> Option<&mut C> {
        let shelf = self.keys.get_mut(key)?;
        let newest = shelf.resting.back_mut()?;
        Some(&mut newest.connection)
    }

    /// The connections that must be dropped.
    pub(super) fn take_closing(&mut self) -> Vec<C> {
        std::mem::take(&mut self.closing)
    }

    /// Whether anything of `key` is open or waited for.
    pub(super) fn knows(&self, key: &K) -> bool {
        self.keys.contains_key(key)
    }

    /// How many connections are lent, at rest or being dialed.
    pub(super) fn open(&self) -> usize {
        self.open
    }

    /// How many are at rest.
    pub(super) fn resting(&self) -> usize {
        self.resting
    }

    /// How many of `key` are at rest.
    pub(super) fn resting_of(&self, key: &K) -> usize {
        self.keys.get(key).map_or(0, |shelf| shelf.resting.len())
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many were taken out for their age.
    pub(super) fn expired(&self) -> u64 {
        self.expired
    }

    /// Whether another connection may be opened; one at rest under another key gives way, the oldest first.
    fn make_room(&mut self) -> bool {
        if self.open < self.options.max_total {
            return true;
        }
        // Only at the total's cap, and over keys, not connections.
        let oldest = self
            .keys
            .iter()
            .filter_map(|(key, shelf)| Some((shelf.resting.front()?.until, key)))
            .min_by_key(|(until, _)| *until);
        let Some(key) = oldest.map(|(_, key)| key.clone()) else {
            return false;
        };
        let shelf = self.shelf(&key);
        shelf.open -= 1;
        if let Some(resting) = shelf.resting.pop_front() {
            self.closing.push(resting.connection);
        }
        self.resting -= 1;
        self.open -= 1;
        self.forget_empty(&key);
        true
    }

    fn take_first_waiter(&mut self, key: &K) -> Option<W> {
        self.unlist(key);
        let (_, waiter) = self.shelf(key).waiters.pop_first()?;
        self.waiting -= 1;
        self.list(key);
        Some(waiter)
    }

    /// Takes a key out of the list of those that wait for the total, before it changes.
    fn unlist(&mut self, key: &K) {
        if let Some(first) = self.keys.get(key).and_then(Shelf::first_waiter) {
            self.short_of_total.remove(&first);
        }
    }

    /// Puts it back, if that is what it still waits for.
    fn list(&mut self, key: &K) {
        let Some(shelf) = self.keys.get(key) else {
            return;
        };
        if shelf.open < self.options.max_per_key
            && let Some(first) = shelf.first_waiter()
        {
            self.short_of_total.insert(first, key.clone());
        }
    }

    fn shelf(&mut self, key: &K) -> &mut Shelf<C, W> {
        self.keys.entry(key.clone()).or_insert_with(Shelf::empty)
    }

    /// A key that nothing is open or waited for under takes no memory.
    fn forget_empty(&mut self, key: &K) {
        if self.keys.get(key).is_some_and(Shelf::is_empty) {
            self.keys.remove(key);
        }
    }
}

impl<C, W> Shelf<C, W> {
    fn empty() -> Self {
        Self {
            resting: VecDeque::new(),
            waiters: BTreeMap::new(),
            open: 0,
        }
    }

    fn first_waiter(&self) -> Option<Ticket> {
        self.waiters.first_key_value().map(|(ticket, _)| *ticket)
    }

    fn is_empty(&self) -> bool {
        self.open == 0 && self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests;
