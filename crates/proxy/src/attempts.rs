//! What one connection has tried on its way to a peer.

/// What one connection has tried on its way to a peer. It is needed until the connection is made or given up.
#[derive(Debug, Clone)]
pub struct Attempts {
    /// When the first one began, in milliseconds.
    pub(crate) began: u64,
    pub(crate) made: u32,
    /// Those before it began anew.
    earlier: u32,
    pub(crate) tried: Tried,
    /// No primary was left: it stays with the backups.
    pub(crate) is_with_backups: bool,
    /// Where hashing has got to.
    pub(crate) hash: HashWay,
    /// Draws of random peers that could not be used.
    pub(crate) draws: u8,
}

/// Where the hashing of one key has got to.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct HashWay {
    pub(crate) misses: u8,
    /// How often the key was hashed.
    pub(crate) rounds: u32,
    /// The sum of those hashes, or a place on the ring.
    pub(crate) at: Option<u32>,
}

impl Attempts {
    /// Begins now. The time for all attempts counts from here.
    pub fn new(now: u64) -> Self {
        Self {
            began: now,
            made: 0,
            earlier: 0,
            tried: Tried::default(),
            is_with_backups: false,
            hash: HashWay::default(),
            draws: 0,
        }
    }

    /// How many peers it was given.
    pub fn made(&self) -> u32 {
        self.earlier + self.made
    }

    /// Begins anew, with all peers and the whole time, since the peer that it got is gone later.
    pub fn renew(&mut self, now: u64) {
        *self = Self {
            earlier: self.made(),
            ..Self::new(now)
        };
    }
}

/// A set of peers by their places. Up to 64 need no memory of their own.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tried {
    low: u64,
    high: Vec<u64>,
    /// Which peers had which places.
    era: u64,
}

impl Tried {
    /// Forgets the places that have got other peers since the last call. `born`: the era in which a place got its peer.
    pub(crate) fn keep_up(&mut self, era: u64, born: impl Fn(usize) -> u64) {
        if self.era == era {
            return;
        }
        let words = std::iter::once(&mut self.low).chain(&mut self.high);
        for (word, bits) in words.enumerate() {
            for bit in 0..64 {
                let has_another = *bits >> bit & 1 == 1 && born(word * 64 + bit) > self.era;
                *bits &= !(u64::from(has_another) << bit);
            }
        }
        self.era = era;
    }

    pub(crate) fn has(&self, place: usize) -> bool {
        let word = match place / 64 {
            0 => self.low,
            word => self.high.get(word - 1).copied().unwrap_or(0),
        };
        word >> (place % 64) & 1 == 1
    }

    pub(crate) fn insert(&mut self, place: usize) {
        let word = match place / 64 {
            0 => &mut self.low,
            word => {
                if self.high.len() < word {
                    self.high.resize(word, 0);
                }
                &mut self.high[word - 1]
            }
        };
        *word |= 1 << (place % 64);
    }
}
