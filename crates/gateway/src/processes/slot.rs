//! A worker slot: which process serves it, and what waits for one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::Ordering;

use serde::{Deserialize, Serialize};

use crate::ids::{ProcessKey, SessionRef};
use crate::processes::pending_close::PendingClose;
use crate::shared::SlotLoad;
use crate::transfer::Transfer;

/// A worker slot, as a loop sees it.
#[derive(Debug, Default, Clone, Serialize, Deserialize)]
pub(crate) struct Slot {
    /// The process that serves it.
    pub(crate) process: Option<ProcessKey>,
    /// When it lost its process, in the loop's milliseconds.
    pub(crate) empty_since: Option<u64>,
    /// Sessions that belong here.
    #[serde(skip)]
    pub(crate) sessions: usize,
    /// Messages in progress here, as the other loops know it.
    #[serde(skip)]
    in_hand_told: usize,
    /// Sessions that wait for a process to serve it, with their ids.
    pub(crate) waiters: VecDeque<SessionRef>,
    /// Sessions whose next message was in progress when a process died. Only one of these is delivered at a time.
    pub(crate) suspects: BTreeSet<SessionRef>,
    /// The session whose suspect message is out now.
    pub(crate) suspect: Option<u64>,
    /// Posts that wait for a process to serve it.
    pub(crate) transfers: VecDeque<Transfer>,
    /// Sessions that ended while their process died, before it took the end.
    pub(crate) pending: VecDeque<PendingClose>,
}

impl Slot {
    /// One more session belongs here. `load` is the load of all loops together for this slot.
    pub(crate) fn enter(&mut self, load: &SlotLoad) {
        self.sessions += 1;
        load.sessions.fetch_add(1, Ordering::Relaxed);
    }

    /// A session does not belong here any more.
    pub(crate) fn leave(&mut self, load: &SlotLoad) {
        self.sessions -= 1;
        load.sessions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Tells the other loops how many messages are in progress here.
    pub(crate) fn tell_in_hand(&mut self, in_hand: usize, load: &SlotLoad) {
        let told = std::mem::replace(&mut self.in_hand_told, in_hand);
        if told != in_hand {
            // The sum wraps around, and comes out right.
            let change = in_hand.wrapping_sub(told);
            load.in_hand.fetch_add(change, Ordering::Relaxed);
        }
    }

    /// Messages that the other loops have in progress here.
    pub(crate) fn in_hand_elsewhere(&self, load: &SlotLoad) -> usize {
        let all = load.in_hand.load(Ordering::Relaxed);
        all.wrapping_sub(self.in_hand_told)
    }
}
