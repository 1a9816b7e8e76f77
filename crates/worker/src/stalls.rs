//! Stall reports: which handler is stuck, since when and where.
//!
//! A handler that keeps the process's one thread (it computes, or is blocked in a system call) is found by another
//! thread that checks for signs of life (`watcher`). A handler that awaits something for longer than `wait_after` is
//! found by the loop itself (`waits`). Either way the stuck thread or future only notes addresses. A thread for that
//! purpose (`reporter`) turns them into names (`symbols`, `frames`), logs the report and sends it to the supervisor,
//! once in a while for each place. Nothing is ended or stopped.
//!
//! A start hook is reported when half of `start_timeout` is over, so that the error at the end can name the reason.
//!
//! Without a stall a message has no cost of its own: a sign of life is one store a turn. The thread takes 0.3 ms of CPU
//! a second, busy or idle, at a `stall_after` of a second.

mod frames;
mod reporter;
mod symbols;
mod waits;
mod watcher;

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::task::Waker;
use std::time::Duration;

use moorline_ipc::Marks;

use crate::control::START_HOOK;
use crate::wire::exchange::NO_SESSION;

pub(super) use symbols::Symbols;
pub(super) use waits::{Limits, Waits};
pub(super) use watcher::{Watched, watch};

/// Reports that may wait until they are written: usually as many as a worker has sessions that wait for the same thing.
/// Further ones at the same moment are only counted.
const WAITING_REPORTS: usize = 256;

/// The hooks of an app, as reports name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Hook {
    Message,
    Start,
    Open,
    Close,
    Full,
    Drained,
    Datagram,
    Post,
    Task,
    Timer,
    Stop,
    Serving,
    Accept,
    Request,
    Call,
}

impl Hook {
    pub(super) const ALL: [Self; 15] = [
        Self::Message,
        Self::Start,
        Self::Open,
        Self::Close,
        Self::Full,
        Self::Drained,
        Self::Datagram,
        Self::Post,
        Self::Task,
        Self::Timer,
        Self::Stop,
        Self::Serving,
        Self::Accept,
        Self::Request,
        Self::Call,
    ];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Start => START_HOOK,
            Self::Open => "open",
            Self::Accept => "accept",
            Self::Request => "request",
            Self::Close => "close",
            Self::Full => "full",
            Self::Drained => "drained",
            Self::Datagram => "datagram",
            Self::Post => "post",
            Self::Task => "task",
            Self::Call => "call",
            Self::Timer => "timer",
            Self::Stop => "stop",
            Self::Serving => "serving",
        }
    }
}

/// The state of the loop that the watcher reads.
#[derive(Default)]
pub(super) struct Pulse {
    /// Rises with each sign of life.
    beats: AtomicU64,
    /// The loop waits for events.
    is_asleep: AtomicBool,
    /// The hook that is being polled, unless it is the usual one: its number + 1, for `Hook::Message` 0.
    hook: AtomicU8,
    /// The session whose handler the watcher has reported and that may still be waiting; 0: none.
    reported: AtomicU64,
    /// Stalls that were found and not reported to the watcher.
    unwritten: AtomicU64,
    /// The start hook has not ended.
    is_starting: AtomicBool,
    /// The notes about the sessions that are being polled, one for each loop of the gateway.
    marks: Mutex<Vec<Marks>>,
    /// The ring task, whose turn is a sign of life.
    ring_task: OnceLock<Waker>,
}

impl Pulse {
    pub(super) fn beat(&self) {
        // The loop is the only writer.
        let beats = self.beats.load(Ordering::Relaxed);
        self.beats.store(beats.wrapping_add(1), Ordering::Relaxed);
    }

    /// The start hook begins or ends.
    pub(super) fn set_starting(&self, is_starting: bool) {
        self.is_starting.store(is_starting, Ordering::Relaxed);
    }

    pub(super) fn falls_asleep(&self) {
        self.is_asleep.store(true, Ordering::Relaxed);
    }

    pub(super) fn awakes(&self) {
        self.is_asleep.store(false, Ordering::Relaxed);
        self.beat();
    }

    /// Notes which hook `poll` polls.
    pub(super) fn during<T>(&self, hook: Hook, poll: impl FnOnce() -> T) -> T {
        let number = match hook {
            Hook::Message => 0,
            other => other as u8 + 1,
        };
        let before = self.hook.swap(number, Ordering::Relaxed);
        let polled = poll();
        self.hook.store(before, Ordering::Relaxed);
        polled
    }

    pub(super) fn follow(&self, marks: Vec<Marks>) {
        *self.marks.lock().unwrap_or_else(PoisonError::into_inner) = marks;
    }

    /// Sets the ring task, which is asked for turns from now on. A process has only one.
    pub(super) fn asks(&self, ring_task: &Waker) {
        let _ = self.ring_task.set(ring_task.clone());
    }

    /// Asks for a sign of life.
    fn ask(&self) {
        if let Some(ring_task) = self.ring_task.get() {
            ring_task.wake_by_ref();
        }
    }

    /// The hook that is being polled, if it is not a session's message.
    pub(super) fn polled_beside_messages(&self) -> Option<Hook> {
        let number = self.hook.load(Ordering::Relaxed);
        Hook::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The hook that is being polled, and its session.
    pub(super) fn polled(&self) -> (Option<Hook>, Option<u64>) {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let mut polled = marks.iter().map(Marks::polling);
        let session = polled.find(|&id| !matches!(id, 0 | NO_SESSION));
        let hook = match self.hook.load(Ordering::Relaxed) {
            0 => session.map(|_| Hook::Message),
            number => Hook::ALL.get(usize::from(number) - 1).copied(),
        };
        (hook, session)
    }
}

/// A handler that was found to wait for too long.
pub(super) struct Waited {
    hook: Hook,
    session: Option<u64>,
    since: Duration,
    /// The places it waits at.
    stacks: Vec<Vec<usize>>,
    /// The compiler's name for the handler's future.
    future: &'static str,
}

type Reports = SyncSender<Waited>;
