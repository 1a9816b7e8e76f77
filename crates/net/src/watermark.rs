//! Where a queue is between its watermarks: a decision without a queue, for any owner of one.

use serde::{Deserialize, Serialize};

/// Where a queue is: full over the high watermark, until it is at or under the low one.
///
/// ```
/// use moorline_net::watermark::Level;
///
/// let level = Level::default();
/// assert_eq!(level.after(900, 800, 200), Level::Full);
/// assert_eq!(Level::Full.after(500, 800, 200), Level::Full);
/// assert_eq!(Level::Full.after(200, 800, 200), Level::Drained);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Level {
    /// It takes more.
    #[default]
    Drained,
    /// It was over the high watermark, and has not been at or under the low one since.
    Full,
}

impl Level {
    /// The level once `queued` bytes are in the queue.
    #[inline]
    #[must_use]
    pub fn after(self, queued: u64, high: u64, low: u64) -> Self {
        match self {
            Level::Drained if queued > high => Level::Full,
            Level::Full if queued <= low => Level::Drained,
            level => level,
        }
    }

    /// Whether the queue is full.
    #[inline]
    #[must_use]
    pub fn is_full(self) -> bool {
        self == Level::Full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_full_over_the_high_watermark_until_it_is_at_the_low_one() {
        let mut level = Level::default();
        for (queued, expected) in [
            (800, Level::Drained),
            (801, Level::Full),
            (201, Level::Full),
            (200, Level::Drained),
            (800, Level::Drained),
        ] {
            level = level.after(queued, 800, 200);
            assert_eq!(level, expected, "{queued} bytes queued");
        }
    }
}
