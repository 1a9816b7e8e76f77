//! How many bytes of each way of a relay may pass now.
//!
//! As in nginx, a way may have passed as many bytes as its rate allows for the time since its beginning, and one second more.

use crate::ids::Side;

/// A way that waits goes on once this part of a second's bytes may pass, so that it is not woken for each byte.
const SHARE: u64 = 20;
/// … but it waits for no more than this number of bytes.
const MOST_AT_ONCE: u64 = 256 * 1024;

/// The rates of one relay.
#[derive(Debug, Default)]
pub(crate) struct RatePace {
    pub(crate) ways: [Option<PacedWay>; 2],
}

/// The rate of one way, and what has passed of it.
#[derive(Debug)]
pub(crate) struct PacedWay {
    /// In bytes a second, not 0.
    rate: u64,
    /// In the loop's milliseconds.
    begun_at: Option<u64>,
    passed: u64,
    /// Nothing passes until then.
    waits_until: Option<u64>,
}

/// How much may pass now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RateAllowance {
    Bytes(u64),
    /// Nothing, until then.
    Later(u64),
    /// Nothing, and an alarm is set.
    Waits,
}

impl RatePace {
    /// Bytes that this side has sent have passed.
    pub(crate) fn charge(&mut self, from: Side, bytes: usize) {
        if let Some(way) = &mut self.ways[from as usize] {
            way.passed += bytes as u64;
        }
    }

    /// This side is gone: what it has sent passes at once.
    pub(crate) fn lift(&mut self, from: Side) {
        self.ways[from as usize] = None;
    }

    /// An alarm has come.
    pub(crate) fn resume(&mut self, now: u64) {
        for way in self.ways.iter_mut().flatten() {
            way.waits_until.take_if(|at| *at <= now);
        }
    }

    /// Until when what this side has sent waits.
    pub(crate) fn waits_until(&self, from: Side) -> Option<u64> {
        self.ways[from as usize].as_ref()?.waits_until
    }
}

impl PacedWay {
    pub(crate) fn new(rate: u64) -> Self {
        Self {
            rate,
            begun_at: None,
            passed: 0,
            waits_until: None,
        }
    }

    pub(crate) fn allow(&mut self, now: u64) -> RateAllowance {
        if self.waits_until.is_some() {
            return RateAllowance::Waits;
        }
        let begun_at = *self.begun_at.get_or_insert(now);
        let time = u128::from(now - begun_at) + 1000;
        let allowed = u64::try_from(u128::from(self.rate) * time / 1000).unwrap_or(u64::MAX);
        if allowed > self.passed {
            return RateAllowance::Bytes(allowed - self.passed);
        }
        let share = (self.rate / SHARE).clamp(1, MOST_AT_ONCE);
        let missing = u128::from(self.passed - allowed + share);
        let wait = (missing * 1000).div_ceil(u128::from(self.rate));
        let at = now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX));
        self.waits_until = Some(at);
        RateAllowance::Later(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The time that it takes to pass this number of bytes, as far as the rate decides.
    fn time_of(rate: u64, bytes: u64) -> u64 {
        let mut way = PacedWay::new(rate);
        let (mut now, mut left) = (5_000, bytes);
        while left > 0 {
            match way.allow(now) {
                RateAllowance::Bytes(some) => {
                    let some = some.min(left);
                    left -= some;
                    way.passed += some;
                }
                RateAllowance::Later(at) => {
                    assert!(at > now, "it goes on");
                    now = at;
                    way.waits_until = None;
                }
                RateAllowance::Waits => panic!("nothing waits"),
            }
        }
        now - 5_000
    }

    #[test]
    fn the_first_second_is_free_and_the_others_have_their_rate() {
        assert_eq!(time_of(100, 100), 0);
        for (rate, bytes) in [(100, 1_000), (1, 10), (1 << 20, 10 << 20), (7, 700)] {
            let expected = (bytes - rate) * 1000 / rate;
            let took = time_of(rate, bytes);
            let slack = 2 * 1000 / SHARE + 1000 / rate + 1;
            assert!(
                (expected..=expected + slack).contains(&took),
                "{bytes} bytes at {rate} took {took}, not {expected}"
            );
        }
    }

    #[test]
    fn a_way_that_waits_has_one_alarm_and_no_rate_overflows() {
        let mut way = PacedWay::new(10);
        way.begun_at = Some(0);
        way.passed = 100;
        let RateAllowance::Later(at) = way.allow(0) else {
            panic!("it has passed too many")
        };
        assert_eq!(at, 9_100);
        assert_eq!(way.allow(50), RateAllowance::Waits);
        let mut pace = RatePace {
            ways: [Some(way), None],
        };
        pace.resume(9_099);
        assert_eq!(pace.waits_until(Side::Client), Some(9_100));
        pace.resume(9_100);
        assert_eq!(pace.waits_until(Side::Client), None);
        let mut fast = PacedWay::new(u64::MAX);
        fast.passed = u64::MAX - 1;
        assert_eq!(fast.allow(u64::MAX), RateAllowance::Bytes(1));
    }
}
