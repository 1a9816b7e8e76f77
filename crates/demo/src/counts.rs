//! What the visitors count together.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Serialize;

/// For how long back the longest wait is told.
const LATELY: Duration = Duration::from_secs(10);

/// What the visitors count, each for itself.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    is_over: AtomicBool,
    pub(crate) open: AtomicU64,
    pub(crate) closed: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) heard: AtomicU64,
    pub(crate) lost: AtomicU64,
    pub(crate) doubled: AtomicU64,
    pub(crate) on_their_way: AtomicU64,
    pub(crate) build: AtomicU32,
    waits: Mutex<Vec<(Instant, Duration)>>,
}

/// The counts at one moment.
#[derive(Debug, Serialize)]
pub(crate) struct Counted {
    visitors: u16,
    open: u64,
    /// Connections that have ended while the demo ran.
    closed: u64,
    /// Attempts to connect that have failed.
    failed: u64,
    heard: u64,
    lost: u64,
    doubled: u64,
    /// Messages that were said, and not heard by their own senders yet.
    on_their_way: u64,
    build: u32,
    /// The middle one, and the longest, of the waits for a visitor's own message lately.
    wait_ms: [f64; 2],
}

impl Counts {
    /// All leave from now on.
    pub(crate) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// The counts now, of this number of visitors.
    pub(crate) fn at_once(&self, visitors: u16) -> Counted {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            visitors,
            open: of(&self.open),
            closed: of(&self.closed),
            failed: of(&self.failed),
            heard: of(&self.heard),
            lost: of(&self.lost),
            doubled: of(&self.doubled),
            on_their_way: of(&self.on_their_way),
            build: self.build.load(Ordering::Relaxed),
            wait_ms: self.waits().map(|wait| wait.as_secs_f64() * 1000.0),
        }
    }

    /// A visitor has heard its own message after this time.
    pub(crate) fn note_wait(&self, wait: Duration) {
        let mut waits = self.waits.lock().unwrap_or_else(|it| it.into_inner());
        let now = Instant::now();
        waits.retain(|(at, _)| now.duration_since(*at) < LATELY);
        waits.push((now, wait));
    }

    /// The middle one, and the longest, lately.
    fn waits(&self) -> [Duration; 2] {
        let waits = self.waits.lock().unwrap_or_else(|it| it.into_inner());
        let lately = waits.iter().filter(|(at, _)| at.elapsed() < LATELY);
        let mut lately: Vec<_> = lately.map(|(_, wait)| *wait).collect();
        lately.sort_unstable();
        let middle = lately.get(lately.len() / 2).copied();
        [middle, lately.last().copied()].map(Option::unwrap_or_default)
    }
}
