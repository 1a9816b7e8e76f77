//! A lent connection, and the permit that it counts as.

use std::ops::{Deref, DerefMut};
use std::sync::Weak;

use super::keep::{Age, Keep};
use super::key::PoolKey;
use super::options::{PoolOptions, Unanswered};
use crate::clock::now;

/// A pool, as the connections that it has lent know it.
pub(super) trait Home<C: Keep>: Send + Sync {
    fn options(&self) -> &PoolOptions;

    /// A connection was not kept.
    fn count_dropped(&self);

    /// A permit becomes free, with the connection in it if that may be lent again.
    fn give_back(&self, key: PoolKey, kept: Option<Kept<C>>);
}

/// A connection as it is kept.
#[derive(Debug)]
pub(crate) struct Kept<C> {
    pub(super) connection: C,
    pub(super) age: Age,
    /// Under which number it is watched while it is at rest.
    pub(super) watched: Option<u64>,
}

/// A connection that is lent. Dropping it gives it back, or closes it if it may not be lent again.
///
/// Its user reports here what it read and wrote.
#[derive(Debug)]
pub(crate) struct Lent<C: Keep> {
    /// Taken in `drop` and `into_inner` alone, with the connection.
    permit: Option<Permit<C>>,
    connection: Option<C>,
    age: Age,
    /// Written to or waited on since the last byte was read.
    unanswered: bool,
    /// Messages sent, less those received.
    owed: u64,
    poisoned: bool,
}

impl<C: Keep> Lent<C> {
    pub(super) fn new(permit: Permit<C>, connection: C, age: Age) -> Self {
        Self {
            permit: Some(permit),
            connection: Some(connection),
            age,
            unanswered: false,
            owed: 0,
            poisoned: false,
        }
    }

    /// It is not to be lent again.
    pub(crate) fn poison(&mut self) {
        self.poisoned = true;
    }

    /// Bytes were written.
    pub(crate) fn wrote(&mut self) {
        self.age.used = now();
        self.unanswered = true;
    }

    /// Bytes were read.
    pub(crate) fn read(&mut self) {
        self.age.used = now();
        self.unanswered = false;
    }

    /// Bytes are waited for.
    pub(crate) fn waits(&mut self) {
        self.unanswered = true;
    }

    /// Messages were sent.
    pub(crate) fn asked(&mut self, messages: u64) {
        self.owed += messages;
    }

    /// A message was received. One sent message may have several answers.
    pub(crate) fn answered(&mut self) {
        self.owed = self.owed.saturating_sub(1);
    }

    /// Nothing more comes that was asked for.
    pub(crate) fn mark_answered(&mut self) {
        self.unanswered = false;
        self.owed = 0;
    }

    /// Takes the connection out of the pool, whose caps no longer count it.
    pub(crate) fn into_inner(mut self) -> C {
        self.connection
            .take()
            .expect("it is taken only by what consumes `self`")
    }
}

impl<C: Keep> Drop for Lent<C> {
    fn drop(&mut self) {
        let (Some(permit), Some(connection)) = (self.permit.take(), self.connection.take()) else {
            return;
        };
        let Some(shared) = permit.pool.upgrade() else {
            return;
        };
        let is_unanswered = self.unanswered || self.owed > 0;
        let refused = self.poisoned
            || std::thread::panicking()
            || is_unanswered && shared.options().unanswered == Unanswered::Close;
        if refused {
            shared.count_dropped();
            // Before its permit is free, so that the cap holds for descriptors, too.
            drop(connection);
            drop(permit);
            return;
        }
        let kept = Kept {
            connection,
            age: self.age,
            watched: None,
        };
        shared.give_back(permit.into_key(), Some(kept));
    }
}

impl<C: Keep> Deref for Lent<C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
            .as_ref()
            .expect("it is taken only by what consumes `self`")
    }
}

impl<C: Keep> DerefMut for Lent<C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection
            .as_mut()
            .expect("it is taken only by what consumes `self`")
    }
}

/// A place among the connections that a pool may open. Dropping it makes it free.
#[derive(Debug)]
pub(crate) struct Permit<C: Keep> {
    pool: Weak<dyn Home<C>>,
    /// `None` once it is somebody else's.
    key: Option<PoolKey>,
}

impl<C: Keep> Permit<C> {
    pub(super) fn new(pool: Weak<dyn Home<C>>, key: PoolKey) -> Self {
        Self {
            pool,
            key: Some(key),
        }
    }

    pub(crate) fn key(&self) -> &PoolKey {
        self.key.as_ref().expect("it is taken by `into_key` alone")
    }

    /// The key; somebody else makes the permit free.
    pub(super) fn into_key(mut self) -> PoolKey {
        self.key.take().expect("it is taken here alone")
    }
}

impl<C: Keep> Drop for Permit<C> {
    fn drop(&mut self) {
        if let Some(key) = self.key.take()
            && let Some(shared) = self.pool.upgrade()
        {
            shared.give_back(key, None);
        }
    }
}
