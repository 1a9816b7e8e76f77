//! How often a wrong token may be shown.

use std::time::Duration;

/// Wrong tokens that may be shown at once.
const BURST: u32 = 10;
/// Another one may be shown each time this has passed.
const PAUSE: Duration = Duration::from_secs(2);

/// How often a wrong token may be shown, by all together: what comes through a tunnel has one address.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// When all of them may be shown again.
    full_at: Duration,
}

impl Attempts {
    /// Whether a token is looked at now.
    pub(super) fn may_try(&self, now: Duration) -> bool {
        self.full_at.saturating_sub(now) <= PAUSE * (BURST - 1)
    }

    /// A wrong one was shown.
    pub(super) fn has_failed(&mut self, now: Duration) {
        self.full_at = self.full_at.max(now) + PAUSE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_wrong_tokens_may_be_shown_and_then_one_each_two_seconds() {
        let mut attempts = Attempts::default();
        let mut now = Duration::from_secs(100);
        for _ in 0..BURST {
            assert!(attempts.may_try(now));
            attempts.has_failed(now);
        }
        for _ in 0..3 {
            assert!(!attempts.may_try(now));
            now += PAUSE - Duration::from_millis(1);
            assert!(!attempts.may_try(now));
            now += Duration::from_millis(1);
            assert!(attempts.may_try(now));
            attempts.has_failed(now);
        }
        now += PAUSE * BURST;
        assert!((0..BURST).all(|_| {
            let may_try = attempts.may_try(now);
            attempts.has_failed(now);
            may_try
        }));
        assert!(!attempts.may_try(now));
    }
}
