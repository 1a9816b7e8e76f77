//! When the gateway is woken although a turn goes on.
//!
//! What handlers have sent is shown when they end, so a loop that is awake takes it. One that sleeps is woken once for each
//! turn, because a wake-up costs a system call. A handler that keeps the thread would hold back what others have sent: so a
//! loop is woken, too, when the turn has run for a millisecond. A slow handler is not known before it has been slow. After
//! one, loops are woken before each handler for a while, so that the next slow one holds back nothing.

use std::cell::Cell;

/// A turn runs for so long, in nanoseconds, before loops are woken.
const LONG: u64 = 1_000_000;
/// Loops are woken so often, at most, for each [`LONG`] that a handler took: at 2 µs each they take 3 % of that time.
const WAKES: u64 = 16;
/// No more than this are saved up.
const MOST_WAKES: u64 = 4096;

#[derive(Debug, Default)]
pub(super) struct Pace {
    /// When it was first looked at the clock since the last wake-up, in nanoseconds; 0: not yet.
    since: Cell<u64>,
    /// The wake-ups that are left of those that slow handlers have earned.
    wakes: Cell<u64>,
}

impl Pace {
    /// A handler has ended, or the next one begins. True: wake the loops that sleep now.
    #[inline]
    pub(super) fn is_due(&self, now: u64) -> bool {
        let since = self.since.get();
        let ran = match since {
            0 => 0,
            since => now.saturating_sub(since),
        };
        if ran < LONG && self.wakes.get() == 0 {
            if since == 0 {
                self.since.set(now);
            }
            return false;
        }
        self.spend(ran);
        self.since.set(now);
        true
    }

    #[cold]
    fn spend(&self, ran: u64) {
        let earned = ran / LONG * WAKES;
        let wakes = self.wakes.get().saturating_add(earned).min(MOST_WAKES);
        self.wakes.set(wakes.saturating_sub(1));
    }

    /// The turn is over, and everything is published.
    #[inline]
    pub(super) fn rest(&self) {
        self.since.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: u64 = 1000;

    #[test]
    fn quick_handlers_wake_no_loop_within_a_millisecond() {
        let pace = Pace::default();
        let due: Vec<u64> = (1..=2500).filter(|us| pace.is_due(us * US)).collect();
        // Each of these has earned wake-ups for those that follow.
        assert_eq!(due[..3], [1001, 1002, 1003]);
        assert_eq!(due.len(), 32);
    }

    #[test]
    fn time_between_turns_does_not_count() {
        let pace = Pace::default();
        for turn in 1..100 {
            let begins = turn * 50_000 * US;
            assert!(!pace.is_due(begins));
            assert!(!pace.is_due(begins + 900 * US));
            pace.rest();
        }
    }

    #[test]
    fn after_a_slow_handler_the_next_ones_are_not_held_back() {
        let pace = Pace::default();
        assert!(!pace.is_due(1));
        assert!(pace.is_due(100_000 * US), "the slow one has ended");
        assert!(pace.is_due(100_001 * US), "a quick one has ended");
        pace.rest();
        assert!(pace.is_due(900_000 * US), "the first of another turn");
    }
}
