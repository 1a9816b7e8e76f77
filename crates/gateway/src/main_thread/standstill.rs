//! A gateway that stands still: it hands everything over, or has taken everything from another.

use tokio::sync::OwnedRwLockWriteGuard;

use crate::clock::Clock;

/// A gateway that stands still.
#[derive(Debug)]
pub(crate) struct Standstill {
    /// No file is taken.
    _no_files: OwnedRwLockWriteGuard<()>,
    /// Since when no session is read, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) since_ns: u64,
    /// Loops that do not go on yet.
    pub(super) waiting: usize,
    /// The sessions that it has taken from another gateway; none if it has those that it had.
    pub(super) taken: Option<u64>,
}

impl Standstill {
    pub(super) fn begin(no_files: OwnedRwLockWriteGuard<()>, loops: usize) -> Self {
        Self {
            _no_files: no_files,
            since_ns: Clock::shared_now_ns(),
            waiting: loops,
            taken: None,
        }
    }

    /// It has taken everything from a gateway that stands still since then.
    pub(super) fn after(
        no_files: OwnedRwLockWriteGuard<()>,
        loops: usize,
        (since_ns, sessions): (u64, u64),
    ) -> Self {
        Self {
            since_ns,
            taken: Some(sessions),
            ..Self::begin(no_files, loops)
        }
    }
}
