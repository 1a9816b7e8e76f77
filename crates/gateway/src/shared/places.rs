//! A value for each listener, by its place: a list that grows while others read it.

use std::ops::Index;
use std::sync::OnceLock;

/// Entries that are made together.
const BLOCK: usize = 256;
/// Blocks: a place has 16 bits.
const BLOCKS: usize = 256;

/// A list whose entries stay where they are, so that threads read it without a lock while it grows.
#[derive(Debug)]
pub(crate) struct Places<T> {
    blocks: Box<[OnceLock<Box<[T]>>]>,
}

impl<T: Default> Places<T> {
    /// At least this many, with their default values.
    pub(crate) fn new(count: usize) -> Self {
        let places = Self {
            blocks: (0..BLOCKS).map(|_| OnceLock::new()).collect(),
        };
        places.grow(count);
        places
    }

    /// Grows to at least this many, up to the most there can be.
    pub(crate) fn grow(&self, count: usize) {
        for block in self.blocks.iter().take(count.div_ceil(BLOCK)) {
            block.get_or_init(|| (0..BLOCK).map(|_| T::default()).collect());
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        let blocks = self.blocks.iter().map_while(OnceLock::get);
        blocks.flat_map(|block| block.iter())
    }

    pub(crate) fn get(&self, at: usize) -> Option<&T> {
        self.blocks.get(at / BLOCK)?.get()?.get(at % BLOCK)
    }
}

impl<T: Default> Index<usize> for Places<T> {
    type Output = T;

    /// Panics at a place that it has not grown to: as with any list, the caller knows the place from its maker.
    fn index(&self, at: usize) -> &T {
        match self.get(at) {
            Some(entry) => entry,
            None => panic!("place {at} of a list that has not grown so far"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn places_stay_where_they_are_while_their_number_grows() {
        let places: Places<AtomicU64> = Places::new(3);
        places[2].store(7, Ordering::Relaxed);
        assert!(places.get(300).is_none());
        places.grow(301);
        places[300].store(8, Ordering::Relaxed);
        places.grow(1);
        assert_eq!(places[2].load(Ordering::Relaxed), 7);
        assert_eq!(places[300].load(Ordering::Relaxed), 8);
        places.grow(usize::MAX);
        assert_eq!(places[65_535].load(Ordering::Relaxed), 0);
        assert!(places.get(65_536).is_none());
    }
}
