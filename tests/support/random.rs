//! Random numbers that can be repeated: the seed is printed, so that a failing run shows it.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

/// A xorshift generator: good enough for pacing and sizes.
pub struct Random(u64);

impl Random {
    /// Seeded by `MOORLINE_TEST_SEED` if that is set, else by the clock.
    pub fn new() -> Self {
        let seed = std::env::var("MOORLINE_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                SystemTime::now()
                    .duration_since(UNIX_EPOCH)
                    .map_or(1, |now| now.as_nanos() as u64)
            });
        println!("MOORLINE_TEST_SEED={seed}");
        Random(seed | 1)
    }

    /// Another generator, for another thread.
    pub fn split(&mut self) -> Self {
        Random(self.next() | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.next() % (range.end - range.start) as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.next() as u8).collect()
    }
}
