//! When a queue is full, and when it has drained.

use super::options::ClientOptions;
use crate::watermark::Level;

/// A client's queue against its buffer and its watermarks.
#[derive(Debug, Clone)]
pub(super) struct Watermarks {
    buffer: u64,
    high: u64,
    low: u64,
    level: Level,
}

impl Watermarks {
    pub(super) fn new(options: &ClientOptions) -> Self {
        let share = |percent: u64| (u128::from(options.buffer) * u128::from(percent) / 100) as u64;
        let high = options
            .high_watermark
            .unwrap_or_else(|| share(80))
            .min(options.buffer);
        Self {
            buffer: options.buffer,
            high,
            low: options.low_watermark.unwrap_or_else(|| share(25)).min(high),
            level: Level::default(),
        }
    }

    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.level.is_full()
    }

    /// Whether a message of `bytes` may join the `queued` ones. One that does not fit makes it full, so that the
    /// refused sender is told when it has drained.
    #[inline]
    pub(super) fn admits(&mut self, queued: u64, bytes: u64) -> bool {
        if self.level.is_full() {
            return false;
        }
        if queued != 0 && queued.saturating_add(bytes) > self.buffer {
            self.level = Level::Full;
            return false;
        }
        true
    }

    /// `queued` bytes are queued now.
    #[inline]
    pub(super) fn update(&mut self, queued: u64) {
        self.level = self.level.after(queued, self.high, self.low);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watermarks() -> Watermarks {
        Watermarks::new(&ClientOptions {
            buffer: 1000,
            ..ClientOptions::default()
        })
    }

    #[test]
    fn it_is_full_over_eighty_per_cent_until_twenty_five_are_left() {
        let mut watermarks = watermarks();
        for (queued, full) in [
            (800, false),
            (801, true),
            (600, true),
            (251, true),
            (250, false),
            (800, false),
        ] {
            watermarks.update(queued);
            assert_eq!(watermarks.is_full(), full, "{queued} bytes queued");
        }
    }

    #[test]
    fn a_message_larger_than_the_buffer_passes_alone() {
        let mut watermarks = watermarks();
        assert!(watermarks.admits(0, 5000));
        assert!(!watermarks.admits(1, 1000));
        assert!(watermarks.is_full(), "a refused sender is told later");
    }

    #[test]
    fn a_low_watermark_over_the_high_one_is_lowered() {
        let mut watermarks = Watermarks::new(&ClientOptions {
            buffer: 1000,
            high_watermark: Some(100),
            low_watermark: Some(500),
            ..ClientOptions::default()
        });
        watermarks.update(101);
        assert!(watermarks.is_full());
        watermarks.update(100);
        assert!(!watermarks.is_full());
    }
}
