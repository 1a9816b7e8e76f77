//! Which thread looks a name up: an idle one, a new one, one that is about to finish, or none.

use std::time::{Duration, Instant};

/// The most threads of a family. Each holds some KiB of stack while it waits; as many silent servers at once are an outage.
pub const MAX_THREADS: usize = 256;
/// This many threads are reserved for names that were answered lately. So hanging look-ups of other names, however
/// many, do not keep a program from the servers that it works with.
pub(super) const RESERVED_THREADS: usize = 32;
/// This many serve every name.
pub(super) const COMMON_THREADS: usize = MAX_THREADS - RESERVED_THREADS;
/// The most names that wait for a thread, some hundred bytes each: a burst of a healthy program, which a server
/// nearby answers in a millisecond each.
pub const MAX_QUEUED: usize = 16 * 1024;
/// All threads are stuck when none has begun or ended a look-up for this long. A name without a cached answer takes
/// some tenths of a second.
pub(super) const STUCK_AFTER: Duration = Duration::from_millis(500);

/// Counts threads and queued names, and decides.
#[derive(Debug)]
pub(super) struct Admission {
    /// The most threads.
    most: usize,
    threads: usize,
    idle: usize,
    queued: usize,
    /// When a thread last began or ended a look-up.
    moved: Instant,
}

/// The fate of a look-up. All but `Refused` are queued, and threads take them in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Wake an idle thread.
    Wake,
    /// Start a thread; it counts already.
    Start,
    /// The next thread that ends its work takes it.
    Wait,
    /// No thread gets on.
    Refused,
}

impl Admission {
    pub(super) fn new(most: usize, now: Instant) -> Self {
        Self {
            most,
            threads: 0,
            idle: 0,
            queued: 0,
            moved: now,
        }
    }

    /// Another name should be looked up.
    pub(super) fn admit(&mut self, now: Instant) -> Admitted {
        // Idle threads that were woken for a name still count as idle until they have taken it.
        let admitted = if self.idle > self.queued {
            Admitted::Wake
        } else if self.queued >= MAX_QUEUED {
            // If no more threads can be started, that also holds below the most.
            return Admitted::Refused;
        } else if self.threads < self.most {
            self.threads += 1;
            Admitted::Start
        } else if now.saturating_duration_since(self.moved) < STUCK_AFTER {
            Admitted::Wait
        } else {
            return Admitted::Refused;
        };
        self.queued += 1;
        admitted
    }

    /// Whether a thread would come to another name at once.
    pub(super) fn has_room(&self) -> bool {
        self.idle > self.queued || self.threads < self.most && self.queued < MAX_QUEUED
    }

    /// The most threads.
    pub(super) fn most(&self) -> usize {
        self.most
    }

    /// A thread takes a name from the queue.
    pub(super) fn taken(&mut self, now: Instant) {
        self.queued -= 1;
        self.moved = now;
    }

    /// A thread has ended a look-up.
    pub(super) fn ended(&mut self, now: Instant) {
        self.moved = now;
    }

    /// A thread has nothing to do.
    pub(super) fn idle(&mut self) {
        self.idle += 1;
    }

    /// It looks again.
    pub(super) fn woken(&mut self) {
        self.idle -= 1;
    }

    /// A thread ends, or could not be started.
    pub(super) fn gone(&mut self) {
        self.threads -= 1;
    }

    pub(super) fn threads(&self) -> usize {
        self.threads
    }
}
