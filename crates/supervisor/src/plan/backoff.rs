//! How long to wait before something that has died is started again.

use std::time::Duration;

/// A process that was ready for less than this died young. It is long enough to catch a crash loop at start-up, and
/// short enough that killing a worker every second does not slow its replacement down.
const YOUNG: Duration = Duration::from_millis(500);
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

/// At once, then after 100 ms, doubling to 5 s for as long as it dies young.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Backoff {
    deaths: u32,
}

impl Backoff {
    /// The wait after a death; `ready_for` is how long it had been ready, if it ever was.
    pub(super) fn after_death(&mut self, ready_for: Option<Duration>) -> Duration {
        if ready_for.is_some_and(|lived| lived >= YOUNG) {
            self.deaths = 0;
        }
        let deaths = self.deaths;
        self.deaths = self.deaths.saturating_add(1);
        match deaths {
            0 => Duration::ZERO,
            // 100 ms · 2^6 is over the longest.
            _ => LONGEST.min(FIRST * (1 << (deaths - 1).min(6))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_at_once_then_doubles_to_five_seconds() {
        let mut backoff = Backoff::default();
        let waits = [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000].map(Duration::from_millis);
        assert_eq!(waits.map(|_| backoff.after_death(None)), waits);
    }

    #[test]
    fn a_life_long_enough_forgets_the_deaths_before() {
        let mut backoff = Backoff::default();
        for _ in 0..5 {
            backoff.after_death(Some(Duration::from_millis(10)));
        }
        assert_eq!(
            backoff.after_death(Some(Duration::from_secs(1))),
            Duration::ZERO
        );
        assert_eq!(backoff.after_death(Some(Duration::from_millis(1))), FIRST);
    }
}
