//! Whether this process serves yet, and whether it is the leader.
//!
//! Until its generation is committed the gateway does not read what a process writes into its rings, so all of it waits
//! there. The gateway ensures that for any process; this file is what an honest one does meanwhile. Timers do not fire,
//! calls that can wait do so, and `start`, for which the commit itself waits, gets an error instead of a wait without
//! end.

use std::cell::Cell;

use tokio::sync::watch;

/// How far the process has come.
pub(crate) struct Commitment {
    is_committed: Cell<bool>,
    /// The app's `start` hook is being polled.
    is_in_start: Cell<bool>,
    /// It has not ended.
    is_starting: Cell<bool>,
    serves: watch::Sender<bool>,
    leads: watch::Sender<bool>,
}

impl Default for Commitment {
    fn default() -> Self {
        Self {
            is_committed: Cell::new(false),
            is_in_start: Cell::new(false),
            is_starting: Cell::new(false),
            serves: watch::Sender::new(false),
            leads: watch::Sender::new(false),
        }
    }
}

impl Commitment {
    #[inline]
    pub(crate) fn is_committed(&self) -> bool {
        self.is_committed.get()
    }

    /// Its generation serves from now on.
    pub(super) fn commit(&self) {
        if !self.is_committed.replace(true) {
            self.serves.send_replace(true);
        }
    }

    /// Waits until it serves. Cancel-safe.
    pub(crate) async fn committed(&self) {
        if !self.is_committed() {
            until(&self.serves, true).await;
        }
    }

    /// The same, but not in `start`.
    pub(crate) async fn committed_after_start(&self) {
        if !self.is_in_start.get() {
            self.committed().await;
        }
    }

    /// Whether a wait for the commit would never end, because the commit waits for the caller.
    pub(crate) fn is_deadlocked(&self) -> bool {
        self.is_in_start.get() && !self.is_committed()
    }

    /// Whether the `start` hook runs, and may wait for the caller: a task that it has spawned.
    pub(crate) fn is_starting(&self) -> bool {
        self.is_starting.get() && !self.is_committed()
    }

    /// Notes that the `start` hook has begun, or has ended.
    pub(super) fn set_starting(&self, is_starting: bool) {
        self.is_starting.set(is_starting);
    }

    /// Notes that `poll` polls the `start` hook.
    pub(super) fn in_start<T>(&self, poll: impl FnOnce() -> T) -> T {
        self.is_in_start.set(true);
        let polled = poll();
        self.is_in_start.set(false);
        polled
    }

    pub(super) fn lead(&self, leads: bool) {
        self.leads.send_replace(leads);
    }

    pub(crate) fn leads(&self) -> bool {
        *self.leads.borrow() && self.is_committed()
    }

    /// Waits until this process is the leader, or is not. Cancel-safe.
    pub(crate) async fn until_leads(&self, leads: bool) {
        until(&self.leads, leads).await;
    }
}

async fn until(state: &watch::Sender<bool>, wanted: bool) {
    // The sender is lent here, so it cannot be gone.
    let _ = state.subscribe().wait_for(|is| *is == wanted).await;
}
