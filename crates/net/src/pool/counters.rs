//! What a pool has done.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a pool has done, and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct PoolCounters {
    /// Connections that were dialed.
    pub fresh: u64,
    /// Dials that failed.
    pub failed: u64,
    /// Times that one was lent again.
    pub reused: u64,
    /// Found closed by the peer, at rest or when they were to be lent again.
    pub dead: u64,
    /// Found with unexpected bytes, while idle or when they were to be lent again.
    pub stray: u64,
    /// Closed for their age.
    pub expired: u64,
    /// Not kept when they were given back: poisoned, failed, or with an answer under way.
    pub dropped: u64,
    /// Times that somebody had to wait.
    pub waited: u64,
    /// How many of these timed out, or found the queue full.
    pub refused: u64,
    /// Connections lent, at rest and being dialed, now.
    pub open: usize,
    /// Connections at rest, now.
    pub idle: usize,
    /// Callers that wait now.
    pub waiting: usize,
}

#[derive(Debug, Default)]
pub(super) struct PoolCounts {
    pub(super) fresh: Count,
    pub(super) failed: Count,
    pub(super) reused: Count,
    pub(super) dead: Count,
    pub(super) stray: Count,
    pub(super) dropped: Count,
    pub(super) waited: Count,
    pub(super) refused: Count,
}

#[derive(Debug, Default)]
pub(super) struct Count(AtomicU64);

impl Count {
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
