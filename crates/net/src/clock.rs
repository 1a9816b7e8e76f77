//! The time, and times to come, however long the wait.

use std::time::{Duration, Instant};

/// A wait that is longer ends after a year: nothing here waits so long, and every clock can hold it.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// The runtime's clock, which tests may stop.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The time after so long a wait.
pub(crate) fn later(start: Instant, wait: Duration) -> Instant {
    start + wait.min(LONGEST)
}
