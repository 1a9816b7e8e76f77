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

    /// One that begins with this seed, however small it is.
    pub fn seeded(seed: u64) -> Self {
        // The steps of splitmix64, which spread a seed's few bits over all.
        let mut bits = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Random((bits ^ (bits >> 31)) | 1)
    }

    /// Another generator, for another thread.
    pub fn split(&mut self) -> Self {
        Random(self.number() | 1)
    }

    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    pub fn within(&mut self, range: Range<usize>) -> usize {
        range.start + (self.number() % (range.end - range.start) as u64) as usize
    }

    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        (0..count).map(|_| self.number() as u8).collect()
    }
}
