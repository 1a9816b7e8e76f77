//! All visitors, and what they count together.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::visitor::Visitor;

/// The stack of a visitor's thread.
const STACK_BYTES: usize = 256 << 10;
/// For how long back the longest wait is told.
const LATELY: Duration = Duration::from_secs(10);

/// The visitors. They are threads: few, and simple.
#[derive(Debug)]
pub(crate) struct Visitors {
    counts: Arc<Counts>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    count: u16,
}

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

impl Visitors {
    /// Sends this number of visitors to this listener.
    pub(crate) fn start(door: SocketAddr, count: u16) -> Self {
        let counts = Arc::new(Counts::default());
        let thread = |number| {
            let visitor = Visitor::new(number, door, Arc::clone(&counts));
            let builder = thread::Builder::new().stack_size(STACK_BYTES);
            // With fewer threads there are fewer visitors.
            builder.spawn(|| visitor.stay()).ok()
        };
        let threads: Vec<_> = (1..=count).filter_map(thread).collect();
        Self {
            count: threads.len() as u16,
            counts,
            threads: Mutex::new(threads),
        }
    }

    /// All leave, and are gone when this returns.
    pub(crate) fn leave(&self) {
        self.counts.is_over.store(true, Ordering::Relaxed);
        let mut threads = self.threads.lock().unwrap_or_else(|it| it.into_inner());
        for thread in threads.drain(..) {
            // A visitor that has panicked has left, too.
            let _ = thread.join();
        }
    }

    pub(crate) fn counted(&self) -> Counted {
        let counts = &self.counts;
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Counted {
            visitors: self.count,
            open: of(&counts.open),
            closed: of(&counts.closed),
            failed: of(&counts.failed),
            heard: of(&counts.heard),
            lost: of(&counts.lost),
            doubled: of(&counts.doubled),
            on_their_way: of(&counts.on_their_way),
            build: counts.build.load(Ordering::Relaxed),
            wait_ms: counts.waits().map(|wait| wait.as_secs_f64() * 1000.0),
        }
    }
}

impl Counts {
    pub(crate) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
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
