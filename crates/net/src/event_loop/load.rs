//! The share of time that a loop is not asleep, as a decaying average.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The time after which 63 % of the load comes from what happened since: a burst shows soon, a hiccup does not.
const MEMORY: Duration = Duration::from_secs(1);

/// The bits of the published word: 47 of microseconds (four years), 1 of state, 16 of load.
const LOAD_BITS: u32 = 16;
const FULL: f64 = ((1_u32 << LOAD_BITS) - 1) as f64;
const AWAKE: u64 = 1 << LOAD_BITS;

/// Written by its loop alone, read by anybody, without locks.
#[derive(Debug)]
pub(super) struct LoadMeter {
    started: Instant,
    /// The bits of the exact average at the latest change, for its owner alone.
    average: AtomicU64,
    /// When the state last changed, what it is, and the average then: one word, so that it is read whole.
    published: AtomicU64,
}

impl LoadMeter {
    /// The meter of a loop that is awake and has done nothing yet.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            started: now,
            average: AtomicU64::new(0.0_f64.to_bits()),
            published: AtomicU64::new(AWAKE),
        }
    }

    /// The loop falls asleep.
    pub(super) fn sleep(&self, now: Instant) {
        self.change(now, 0);
    }

    /// The loop wakes.
    pub(super) fn wake(&self, now: Instant) {
        self.change(now, AWAKE);
    }

    /// The load, from 0 to 1.
    pub(super) fn at(&self, now: Instant) -> f64 {
        let published = self.published.load(Ordering::Relaxed);
        let average = (published & (AWAKE - 1)) as f64 / FULL;
        self.decayed(average, published, now)
    }

    /// Whether the loop is awake.
    pub(super) fn is_awake(&self) -> bool {
        self.published.load(Ordering::Relaxed) & AWAKE != 0
    }

    fn change(&self, now: Instant, state: u64) {
        let published = self.published.load(Ordering::Relaxed);
        let average = f64::from_bits(self.average.load(Ordering::Relaxed));
        let average = self.decayed(average, published, now);
        self.average.store(average.to_bits(), Ordering::Relaxed);
        let shown = (average * FULL).round() as u64;
        let stamp = self.microseconds(now) << (LOAD_BITS + 1);
        self.published
            .store(stamp | state | shown, Ordering::Relaxed);
    }

    /// The present value of `average`, in the state that began when it was published.
    fn decayed(&self, average: f64, published: u64, now: Instant) -> f64 {
        let since = published >> (LOAD_BITS + 1);
        let passed = self.microseconds(now).saturating_sub(since) as f64 / 1e6;
        let target = if published & AWAKE != 0 { 1.0 } else { 0.0 };
        let forgotten = -(-passed / MEMORY.as_secs_f64()).exp_m1();
        (average + (target - average) * forgotten).clamp(0.0, 1.0)
    }

    fn microseconds(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.started).as_micros() as u64;
        since & ((1 << (u64::BITS - LOAD_BITS - 1)) - 1)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_loop_that_only_sleeps_has_no_load() {
        let start = Instant::now();
        let meter = LoadMeter::new(start);
        meter.sleep(start);
        assert_eq!(meter.at(start + 60 * MEMORY), 0.0);
    }

    #[test]
    fn a_loop_that_never_sleeps_is_fully_loaded() {
        let start = Instant::now();
        let meter = LoadMeter::new(start);
        assert!(meter.at(start + 10 * MEMORY) > 0.99);
        assert!(meter.is_awake());
    }

    #[test]
    fn short_naps_count_as_much_as_long_ones() {
        let start = Instant::now();
        let meter = LoadMeter::new(start);
        let mut now = start;
        // A quarter of the time awake, in slices far shorter than the published load can tell apart.
        while now < start + 8 * MEMORY {
            now += Duration::from_micros(10);
            meter.sleep(now);
            now += Duration::from_micros(30);
            meter.wake(now);
        }
        assert!((meter.at(now) - 0.25).abs() < 0.01, "{}", meter.at(now));
    }

    #[test]
    fn work_is_forgotten() {
        let start = Instant::now();
        let meter = LoadMeter::new(start);
        meter.sleep(start + 5 * MEMORY);
        assert!(meter.at(start + 5 * MEMORY) > 0.99);
        assert!(meter.at(start + 6 * MEMORY) < 0.4);
        assert!(meter.at(start + 12 * MEMORY) < 0.001);
    }

    proptest! {
        #[test]
        fn load_is_a_share_whatever_happens(naps in prop::collection::vec((any::<bool>(), 0_u32..100_000), 0..50)) {
            let start = Instant::now();
            let meter = LoadMeter::new(start);
            let mut now = start;
            for (sleeps, after) in naps {
                now += MS * after / 10;
                if sleeps { meter.sleep(now) } else { meter.wake(now) }
                prop_assert!((0.0..=1.0).contains(&meter.at(now)));
                // A clock read earlier on another core.
                prop_assert!((0.0..=1.0).contains(&meter.at(now - MS * (after % 2))));
            }
        }
    }
}
