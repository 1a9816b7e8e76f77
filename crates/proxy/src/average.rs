//! An average of measured times in which old ones count ever less.

use std::time::Duration;

/// After this time without a new one, a measured time counts half.
const HALF_LIFE_MS: f64 = 10_000.0;
/// The share of a new time when many are measured at once: one slow connection says little.
const LEAST_SHARE: f64 = 1.0 / 16.0;

/// An average of measured times in which old ones count ever less.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Average {
    micros: f64,
    /// When the last one was measured; `None`: none was.
    at: Option<u64>,
}

impl Average {
    pub(crate) fn add(&mut self, took: Duration, now: u64) {
        let sample = took.as_secs_f64() * 1e6;
        self.micros = match self.at {
            None => sample,
            Some(at) => {
                let share = (1.0 - kept(at, now)).max(LEAST_SHARE);
                self.micros + (sample - self.micros) * share
            }
        };
        self.at = Some(now);
    }

    /// Microseconds, at least 1. It falls while nothing is measured, so that a slow peer gets another chance.
    pub(crate) fn micros(&self, now: u64) -> Option<u64> {
        let at = self.at?;
        // A measured time is far below 2^64 microseconds.
        Some(((self.micros * kept(at, now)) as u64).max(1))
    }

    /// The same without that fall, as people see it.
    pub(crate) fn measured(&self) -> Option<Duration> {
        self.at.map(|_| Duration::from_micros(self.micros as u64))
    }
}

/// The share of what was measured at one time that still counts at another.
fn kept(at: u64, now: u64) -> f64 {
    (now.saturating_sub(at) as f64 / -HALF_LIFE_MS).exp2()
}
