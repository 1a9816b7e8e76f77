//! Messages from other loops.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use crate::id::ServiceId;
use crate::message::Message;

/// What other threads hand to a loop, and how they wake it.
pub(crate) struct Inbox<L> {
    letters: Mutex<Vec<Letter<L>>>,
    is_asleep: AtomicBool,
    bell: Notify,
}

/// One thing handed over.
pub(crate) enum Letter<L> {
    /// A message for a service there.
    Message(ServiceId, Message),
    /// A service to make.
    Launch(L),
    /// A service to end.
    Kill(ServiceId),
    /// A service wants to know when another one ends.
    Watch {
        service: ServiceId,
        watcher: ServiceId,
    },
    /// Nothing: the loop is to look whether the system stops.
    Look,
}

impl<L> Inbox<L> {
    pub(crate) fn new() -> Self {
        Self {
            letters: Mutex::default(),
            is_asleep: AtomicBool::new(false),
            bell: Notify::new(),
        }
    }

    /// Hands one letter over.
    pub(crate) fn put(&self, letter: Letter<L>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.push(letter);
        drop(letters);
        self.wake();
    }

    /// The same, unless this number of letters or more is there. Tells whether it did.
    pub(crate) fn put_within(&self, letter: Letter<L>, most: usize) -> bool {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        if letters.len() >= most {
            return false;
        }
        letters.push(letter);
        drop(letters);
        self.wake();
        true
    }

    /// Hands a batch over with one wake-up, and leaves it empty.
    pub(crate) fn put_all(&self, batch: &mut Vec<Letter<L>>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        letters.append(batch);
        drop(letters);
        self.wake();
    }

    /// Swaps what is there for an empty list.
    pub(crate) fn take(&self, into: &mut Vec<Letter<L>>) {
        let mut letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *letters, into);
    }

    /// Wakes the loop, if it sleeps. Cheap if it does not.
    pub(crate) fn wake(&self) {
        // A sender takes the lock first, and the sleeper looks under the lock after it has set the flag: one of the two sees the other.
        if self.is_asleep.load(Ordering::SeqCst) && self.is_asleep.swap(false, Ordering::SeqCst) {
            self.bell.notify_one();
        }
    }

    /// Waits until somebody wakes the loop. Returns at once if there is a letter.
    pub(crate) async fn sleep(&self) {
        self.is_asleep.store(true, Ordering::SeqCst);
        let is_empty = {
            let letters = self.letters.lock().unwrap_or_else(PoisonError::into_inner);
            letters.is_empty()
        };
        if is_empty {
            self.bell.notified().await;
        }
        self.is_asleep.store(false, Ordering::SeqCst);
    }
}

impl<L> fmt::Debug for Inbox<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}
