//! The clock of a loop, and the one that all loops share.

use std::time::{Duration, Instant};

/// The loop's clock, read once a turn.
pub(crate) struct Clock {
    started: Instant,
    started_ns: u64,
    /// A test sets the time.
    #[cfg(test)]
    is_scripted: bool,
    /// Milliseconds since the loop began.
    pub(crate) ms: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) ns: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            started_ns: monotonic_ns(),
            #[cfg(test)]
            is_scripted: false,
            ms: 0,
            ns: 0,
        }
    }

    /// The clock of another process that has begun at this time, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn resume(started_ns: u64) -> Option<Self> {
        let ns = monotonic_ns();
        let passed = Duration::from_nanos(ns.checked_sub(started_ns)?);
        Some(Self {
            started: Instant::now().checked_sub(passed)?,
            started_ns,
            #[cfg(test)]
            is_scripted: false,
            ms: passed.as_millis() as u64,
            ns,
        })
    }

    /// When it has begun, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn started_ns(&self) -> u64 {
        self.started_ns
    }

    /// The time is this until the test sets another.
    #[cfg(test)]
    pub(crate) fn set(&mut self, ms: u64) {
        self.is_scripted = true;
        self.ms = ms;
        self.ns = ms * 1_000_000;
    }

    /// Milliseconds of a clock that all loops share.
    pub(crate) fn shared_ms(&self) -> u64 {
        self.ns / 1_000_000
    }

    /// The same, read now.
    pub(crate) fn shared_now() -> u64 {
        monotonic_ns() / 1_000_000
    }

    /// The time of all processes, in nanoseconds of `CLOCK_MONOTONIC`.
    pub(crate) fn shared_now_ns() -> u64 {
        monotonic_ns()
    }

    /// Nanoseconds of `CLOCK_MONOTONIC`, read now.
    pub(crate) fn precise_ns(&self) -> u64 {
        #[cfg(test)]
        if self.is_scripted {
            return self.ns;
        }
        monotonic_ns()
    }

    /// How long ago a time of [`precise_ns`](Self::precise_ns) was.
    pub(crate) fn since(&self, ns: u64) -> Duration {
        Duration::from_nanos(self.precise_ns().saturating_sub(ns))
    }

    /// The time within a turn.
    pub(crate) fn now(&self) -> Instant {
        #[cfg(test)]
        if self.is_scripted {
            return self.at(self.ms);
        }
        Instant::now()
    }

    pub(crate) fn tick(&mut self) {
        self.ns = monotonic_ns();
        self.ms = (self.ns - self.started_ns) / 1_000_000;
    }

    pub(crate) fn at(&self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms)
    }
}

fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64
}
