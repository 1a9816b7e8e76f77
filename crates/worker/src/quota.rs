//! How much a process may handle before it asks for its replacement.

use std::cell::Cell;

use tokio::sync::Notify;

/// Above this limit each process adds a random number to it, so that processes that began together do not leave together;
/// below it there is nothing worth spreading.
const SPREAD_FROM: u64 = 10;

/// The rest of `max_requests`.
pub(super) struct Quota {
    limit: Cell<u64>,
    is_spent: Notify,
    /// The app has asked.
    is_asked: Cell<bool>,
}

impl Quota {
    /// `draw` gives a number from zero to its argument.
    pub(super) fn new(max_requests: Option<u64>, draw: impl FnOnce(u64) -> u64) -> Self {
        let limit = match max_requests {
            Some(max) if max > SPREAD_FROM => max.saturating_add(draw(max / 2)),
            Some(max) => max,
            None => u64::MAX,
        };
        Self {
            limit: Cell::new(limit),
            is_spent: Notify::new(),
            is_asked: Cell::new(false),
        }
    }

    /// This many have been handled so far.
    pub(super) fn note(&self, requests: u64) {
        if requests >= self.limit.get() {
            // Reported once: from now on the supervisor must act.
            self.limit.set(u64::MAX);
            tracing::info!(
                requests,
                "max_requests reached: this process will be replaced"
            );
            self.is_spent.notify_one();
        }
    }

    /// The app asks for a replacement.
    pub(crate) fn spend(&self) {
        if !self.is_asked.replace(true) {
            tracing::info!("the app asks for the replacement of this process");
            self.is_spent.notify_one();
        }
    }

    /// Waits until the limit is reached. Cancel-safe.
    pub(super) async fn spent(&self) {
        self.is_spent.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_draws_up_to_half_more_above_ten() {
        let limit = |max, drawn: fn(u64) -> u64| Quota::new(max, drawn).limit.get();
        assert_eq!(limit(Some(100), |most| most), 150);
        assert_eq!(limit(Some(100), |_| 0), 100);
        assert_eq!(limit(Some(10), |most| most), 10);
        assert_eq!(limit(None, |most| most), u64::MAX);
    }
}
