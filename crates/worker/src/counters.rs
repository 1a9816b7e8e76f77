//! The counts that this process writes to the scoreboard.

use std::cell::Cell;
use std::rc::Rc;

use moorline_ipc::Scoreboard;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::{MissedTickBehavior, interval};

use crate::control::{BEAT, ProcessCounter};
use crate::flight::{FlightKind, FlightLog};

/// The number of buckets of the histogram of waiting times.
const QUEUED_BUCKETS: usize = 32;

/// The process's row of the scoreboard, and the waits for its hooks to end.
pub(crate) struct Counters {
    scoreboard: Scoreboard,
    running: Cell<u64>,
    timers: Cell<u64>,
    /// Posts among the handled messages, which `max_requests` does not count.
    posts: Cell<u64>,
    /// The last turn of the ring task has left the rings empty.
    is_emptied: Cell<bool>,
    /// Notified whenever something ends that a stop may wait for, but only once somebody waits.
    progress: Notify,
    is_awaited: Cell<bool>,
}

impl Counters {
    pub(super) fn new(scoreboard: Scoreboard) -> Self {
        Self {
            scoreboard,
            running: Cell::new(0),
            timers: Cell::new(0),
            posts: Cell::new(0),
            is_emptied: Cell::new(false),
            progress: Notify::new(),
            is_awaited: Cell::new(false),
        }
    }

    pub(crate) fn add(&self, counter: ProcessCounter) {
        self.scoreboard.add(counter as usize, 1);
    }

    /// Gives signs of life, as long as the process's thread takes turns.
    pub(super) async fn beat(&self, flight: &FlightLog) {
        let mut beat = interval(BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut handled, mut failed) = (0, 0);
        loop {
            beat.tick().await;
            self.add(ProcessCounter::Beats);
            let since = |last: &mut u64, counter: ProcessCounter| {
                let now = self.scoreboard.get(counter as usize);
                now.saturating_sub(std::mem::replace(last, now))
            };
            let messages = since(&mut handled, ProcessCounter::Handled);
            let failures = since(&mut failed, ProcessCounter::Failures);
            if messages > 0 || failures > 0 {
                flight.note(FlightKind::Handled, 0, failures, messages);
            }
        }
    }

    pub(super) fn set_sessions(&self, sessions: usize) {
        self.scoreboard
            .set(ProcessCounter::Sessions as usize, sessions as u64);
        self.progressed();
    }

    /// A hook begins.
    #[inline]
    pub(crate) fn begin(&self) {
        self.set_running(self.running.get() + 1);
    }

    /// A hook has ended.
    #[inline]
    pub(crate) fn end(&self) {
        self.set_running(self.running.get() - 1);
        self.progressed();
    }

    /// A timer that a stop waits for, until the returned value is dropped.
    pub(crate) fn pending_timer(self: &Rc<Self>) -> PendingTimer {
        self.timers.set(self.timers.get() + 1);
        PendingTimer(self.clone())
    }

    /// The hooks that run.
    pub(super) fn running(&self) -> u64 {
        self.running.get()
    }

    /// No hook runs and no timer is waited for.
    pub(super) fn is_idle(&self) -> bool {
        self.running.get() == 0 && self.timers.get() == 0
    }

    /// Counts a handled message, and how long it has waited.
    #[inline]
    pub(super) fn handle(&self, queued_ns: u64) {
        self.add(ProcessCounter::Handled);
        self.scoreboard
            .add(ProcessCounter::QueuedNs as usize, queued_ns);
        let bits = (u64::BITS - (queued_ns / 1000).leading_zeros()) as usize;
        self.scoreboard.add(
            ProcessCounter::Queued as usize + bits.min(QUEUED_BUCKETS - 1),
            1,
        );
    }

    /// Counts a handled post, and how long it has waited.
    pub(super) fn handle_post(&self, queued_ns: u64) {
        self.posts.set(self.posts.get() + 1);
        self.handle(queued_ns);
    }

    /// Messages, datagrams and tasks handled so far.
    pub(super) fn requests(&self) -> u64 {
        let handled = self.scoreboard.get(ProcessCounter::Handled as usize);
        handled.saturating_sub(self.posts.get())
    }

    /// A turn of the ring task has ended; true: with empty rings.
    pub(super) fn turn_ends(&self, is_emptied: bool) {
        self.is_emptied.set(is_emptied);
        self.scoreboard.set(
            ProcessCounter::LogLinesDropped as usize,
            crate::log::dropped(),
        );
        self.progressed();
    }

    /// What is in the rings now must be taken before [`is_emptied`](Self::is_emptied) is true again.
    pub(super) fn look_again(&self) {
        self.is_emptied.set(false);
    }

    /// The last look found the rings empty.
    pub(super) fn is_emptied(&self) -> bool {
        self.is_emptied.get()
    }

    /// Something has happened that a stop may wait for.
    #[inline]
    fn progressed(&self) {
        if self.is_awaited.get() {
            self.progress.notify_waiters();
        }
    }

    /// Whatever happens after this call ends the wait.
    pub(super) fn progress(&self) -> Notified<'_> {
        self.is_awaited.set(true);
        self.progress.notified()
    }

    #[inline]
    fn set_running(&self, running: u64) {
        self.running.set(running);
        self.scoreboard
            .set(ProcessCounter::InProgress as usize, running);
    }
}

/// A timer that a stop waits for.
pub(crate) struct PendingTimer(Rc<Counters>);

impl Drop for PendingTimer {
    fn drop(&mut self) {
        self.0.timers.set(self.0.timers.get() - 1);
        self.0.progressed();
    }
}
