//! A timing wheel: when each of many sessions or relays is looked at again, to a tick, at a few bytes for each.

/// The length of a tick, in milliseconds: short against the shortest time that a ping may wait.
const TICK_MS: u64 = 128;
/// Ticks of one round. What is further away comes up once a round, and is set again.
const SLOTS: usize = 256;
const WORDS: usize = SLOTS / u64::BITS as usize;
/// An empty slot keeps room for this many: a burst that has passed holds no memory.
const KEPT: usize = 16;

/// When those of a table are looked at again, each at most once.
#[derive(Debug)]
pub(crate) struct Wheel<K> {
    slots: Vec<Vec<K>>,
    /// A bit for each slot that has some.
    filled: [u64; WORDS],
    /// Where each is, by its place in the table.
    places: Vec<Place>,
    /// The tick before which all slots are empty.
    reached: u64,
    count: usize,
}

/// Where one is on the wheel.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// [`NOWHERE`]: it is not on the wheel.
    slot: u16,
    index: u32,
}

const NOWHERE: u16 = u16::MAX;

impl<K: Copy + Into<u32>> Wheel<K> {
    /// Looks at one not before this time, in the loop's milliseconds, or earlier if that is further away than a
    /// round. An earlier time of it is forgotten.
    pub(crate) fn set(&mut self, key: K, at: u64) {
        self.remove(key);
        if self.slots.is_empty() {
            self.slots.resize_with(SLOTS, Vec::new);
        }
        let places = &mut self.places;
        let index = place_of(key);
        if places.len() <= index {
            let nowhere = Place {
                slot: NOWHERE,
                index: 0,
            };
            places.resize(index + 1, nowhere);
        }
        let tick = at.div_ceil(TICK_MS);
        let tick = tick.clamp(self.reached + 1, self.reached + SLOTS as u64 - 1);
        let slot = (tick % SLOTS as u64) as usize;
        places[index] = Place {
            slot: slot as u16,
            index: self.slots[slot].len() as u32,
        };
        self.slots[slot].push(key);
        self.filled[slot / 64] |= 1 << (slot % 64);
        self.count += 1;
    }

    /// Looks at one no more.
    pub(crate) fn remove(&mut self, key: K) {
        let Some(place) = self.places.get_mut(place_of(key)) else {
            return;
        };
        let (at, index) = (usize::from(place.slot), place.index as usize);
        if place.slot == NOWHERE {
            return;
        }
        place.slot = NOWHERE;
        let slot = &mut self.slots[at];
        slot.swap_remove(index);
        if let Some(moved) = slot.get(index) {
            self.places[place_of(*moved)].index = index as u32;
        }
        self.count -= 1;
        if slot.is_empty() {
            self.filled[at / 64] &= !(1 << (at % 64));
            slot.shrink_to(KEPT);
        }
    }

    /// One whose time has come, which is taken off the wheel.
    pub(crate) fn due(&mut self, now: u64) -> Option<K> {
        let now = now / TICK_MS;
        let first = self.first().filter(|tick| *tick <= now);
        self.reached = self.reached.max(first.unwrap_or(now));
        let slot = (first? % SLOTS as u64) as usize;
        let key = *self.slots[slot].last()?;
        self.remove(key);
        Some(key)
    }

    /// When the next is due, in the loop's milliseconds.
    pub(crate) fn next(&self) -> Option<u64> {
        self.first().map(|tick| tick * TICK_MS)
    }

    /// Whether one is on it.
    pub(crate) fn has(&self, key: K) -> bool {
        let place = self.places.get(place_of(key));
        place.is_some_and(|place| place.slot != NOWHERE)
    }

    /// How many are on it.
    pub(crate) fn len(&self) -> usize {
        self.count
    }

    /// The tick of the first slot that has some.
    fn first(&self) -> Option<u64> {
        if self.count == 0 {
            return None;
        }
        let from = (self.reached % SLOTS as u64) as usize;
        let (word, bit) = (from / 64, from % 64);
        let here = self.filled[word] >> bit;
        if here != 0 {
            return Some(self.reached + u64::from(here.trailing_zeros()));
        }
        (1..=WORDS).find_map(|step| {
            let bits = self.filled[(word + step) % WORDS];
            let distance = (step * 64 - bit) as u64 + u64::from(bits.trailing_zeros());
            (bits != 0).then_some(self.reached + distance)
        })
    }
}

fn place_of(key: impl Into<u32>) -> usize {
    key.into() as usize
}

impl<K> Default for Wheel<K> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            filled: [0; WORDS],
            places: Vec::new(),
            reached: 0,
            count: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use fastrand::Rng;

    use super::*;
    use crate::ids::SessionKey;

    #[test]
    fn each_comes_up_once_at_its_time_or_after_a_round() {
        let seed = fastrand::u64(..);
        let mut rng = Rng::with_seed(seed);
        let (mut wheel, mut expected) = (Wheel::default(), BTreeMap::new());
        let mut now = 1_000;
        assert_eq!(wheel.due(now), None);
        for _ in 0..20_000 {
            let key = SessionKey(rng.u32(0..200));
            match rng.u32(0..10) {
                0..4 => {
                    let at = now + rng.u64(0..60_000);
                    wheel.set(key, at);
                    expected.insert(key.0, (at, now));
                }
                4 => {
                    wheel.remove(key);
                    expected.remove(&key.0);
                }
                _ => now += rng.u64(0..400),
            }
            while let Some(key) = wheel.due(now) {
                let (at, set_at) = expected.remove(&key.0).expect("it was set");
                // A time is counted in rounds from the last look, which may be 400 ms ago.
                let round = set_at - 400 + (SLOTS as u64 - 3) * TICK_MS;
                assert!(at.min(round) <= now, "seed {seed}: {at} at {now}");
            }
            let late = |(at, _): &(u64, u64)| at + 2 * TICK_MS <= now;
            assert!(!expected.values().any(late), "seed {seed}: missed at {now}");
            assert_eq!(wheel.len(), expected.len());
            let next = wheel.next().unwrap_or(u64::MAX);
            assert!(next > now, "seed {seed}");
        }
    }

    #[test]
    fn a_burst_that_has_passed_holds_no_memory() {
        let mut wheel = Wheel::default();
        (0..10_000).for_each(|key| wheel.set(SessionKey(key), 5_000));
        let mut many = 0;
        while wheel.due(6_000).is_some() {
            many += 1;
        }
        assert_eq!((many, wheel.len(), wheel.next()), (10_000, 0, None));
        let kept: usize = wheel.slots.iter().map(Vec::capacity).sum();
        assert!(kept <= KEPT);
    }
}
