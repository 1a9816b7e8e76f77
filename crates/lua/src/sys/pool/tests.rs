use super::chunks::{CHUNKS, CLASSES, KEPT};
use super::*;

const FREE: Room = Room { used: 0, limit: 0 };

/// That of a pool of its own.
fn share() -> PoolShare {
    PoolShare {
        pool: Rc::default(),
        own: Cell::new(null_mut()),
        large: Cell::new(0),
    }
}

/// Numbers that look random, the same each time.
struct Sizes(u64);

impl Sizes {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005) + 1;
        (self.0 >> 33) as usize % below
    }
}

struct Given {
    place: *mut u8,
    size: usize,
    mark: u8,
}

impl Given {
    fn fill(&self) {
        // SAFETY: the place has this size.
        unsafe { self.place.write_bytes(self.mark, self.size) };
    }

    fn is_whole(&self, size: usize) -> bool {
        // SAFETY: as above, or it has been moved with at least this size.
        let bytes = unsafe { std::slice::from_raw_parts(self.place, size) };
        bytes.iter().all(|byte| *byte == self.mark)
    }
}

#[test]
fn a_size_fits_its_class_and_the_class_is_not_much_larger() {
    for size in 1..=LARGEST {
        let place = size_of_class(class(size));
        assert!(place >= size && place - size < 8.max(size / 15), "{size}");
        assert_eq!(class(place), class(size));
    }
    assert_eq!(class(LARGEST), CLASSES - 1);
}

#[test]
fn what_is_written_into_a_place_stays_there_until_it_is_given_back() {
    let (pool, mut sizes) = (share(), Sizes(7));
    let mut given: Vec<Given> = Vec::new();
    for round in 0..60_000_usize {
        // It grows, and then shrinks.
        let is_taken = sizes.next(100) < if round < 30_000 { 60 } else { 30 };
        let largest = if sizes.next(50) == 0 { 5000 } else { 300 };
        let size = 1 + sizes.next(largest);
        // SAFETY: each place is resized with its size and used no more after it was given back.
        unsafe {
            if is_taken || given.is_empty() {
                let (place, mark) = (pool.resize(null_mut(), 0, size, FREE), round as u8);
                assert!(!place.is_null() && place.addr() % 8 == 0);
                given.push(Given { place, size, mark });
                given[given.len() - 1].fill();
            } else {
                let index = sizes.next(given.len());
                let one = &mut given[index];
                assert!(one.is_whole(one.size));
                if sizes.next(3) == 0 {
                    one.place = pool.resize(one.place, one.size, size, FREE);
                    assert!(one.is_whole(one.size.min(size)));
                    one.size = size;
                    one.fill();
                } else {
                    pool.resize(one.place, one.size, 0, FREE);
                    given.swap_remove(index);
                }
            }
        }
    }
    for one in given {
        assert!(one.is_whole(one.size));
        // SAFETY: as above.
        unsafe { pool.resize(one.place, one.size, 0, FREE) };
    }
}

#[test]
fn regions_go_back_to_the_process_when_what_was_in_them_is_gone() {
    let pool = share();
    let regions = || {
        // SAFETY: nothing else looks at the pool.
        let chunks = unsafe { &*pool.pool.0.get() };
        (chunks.others.len(), chunks.free_count)
    };
    let places: Vec<*mut u8> = (0..200_000)
        // SAFETY: it takes, and needs nothing.
        .map(|_| unsafe { pool.resize(null_mut(), 0, 64, FREE) })
        .collect();
    let (full, _) = regions();
    assert!(full >= 11, "{full}");
    for place in places {
        // SAFETY: each is given back once.
        unsafe { pool.resize(place, 64, 0, FREE) };
    }
    let (left, free) = regions();
    assert!(
        left <= KEPT / CHUNKS && free <= KEPT + CHUNKS,
        "{left} {free}"
    );
}

#[test]
fn a_place_that_is_given_back_is_used_again() {
    let pool = share();
    // SAFETY: a place is used no more after it was given back.
    unsafe {
        let first = pool.resize(null_mut(), 0, 40, FREE);
        let _second = pool.resize(null_mut(), 0, 40, FREE);
        pool.resize(first, 40, 0, FREE);
        assert_eq!(pool.resize(null_mut(), 0, 33, FREE), first);
        assert_eq!(pool.resize(first, 33, 40, FREE), first);
    }
}

/// What a state with a limit holds, and what its values are.
struct Limited {
    share: PoolShare,
    used: usize,
    limit: usize,
}

impl Limited {
    fn new(limit: usize) -> Self {
        let share = share();
        Self {
            share,
            used: 0,
            limit,
        }
    }

    fn take(&mut self, size: usize) -> Option<*mut u8> {
        let room = Room {
            used: self.used,
            limit: self.limit,
        };
        if self.used + size > self.limit {
            return None;
        }
        // SAFETY: it takes, and needs nothing.
        let place = unsafe { self.share.resize(null_mut(), 0, size, room) };
        if place.is_null() {
            return None;
        }
        self.used += size;
        // SAFETY: the place has this size.
        unsafe { place.write_bytes(1, size) };
        Some(place)
    }

    fn give_back(&mut self, place: *mut u8, size: usize) {
        self.used -= size;
        // SAFETY: each is given back once.
        unsafe { self.share.resize(place, size, 0, FREE) };
    }

    fn is_single(&self, place: *mut u8) -> bool {
        let own = self.share.own.get();
        // SAFETY: nothing else looks at it.
        !own.is_null() && unsafe { (*own).singles.contains_key(&place.addr()) }
    }

    /// What it has of the process for itself.
    fn held(&self) -> usize {
        let own = self.share.own.get();
        assert!(!own.is_null());
        // SAFETY: nothing else looks at it.
        unsafe { (*own).held() + self.share.large.get() }
    }
}

/// Fills a state, keeps one value of each chunk, and does so again with other sizes.
#[test]
fn a_state_that_keeps_a_value_of_each_chunk_holds_twice_its_limit_at_most() {
    for limit in [512 << 10, 4 << 20, 32 << 20] {
        let mut state = Limited::new(limit);
        let mut kept: Vec<(*mut u8, usize)> = Vec::new();
        for size in (1..=LARGEST).rev().step_by(LARGEST / 64) {
            let mut places = Vec::new();
            while let Some(place) = state.take(size) {
                places.push(place);
            }
            assert!(!places.is_empty(), "{size} of {limit}");
            assert!(state.held() <= 2 * limit, "{size} of {limit}");
            let mut last = 0;
            for place in places {
                let chunk = place.addr() / CHUNK;
                match chunk == last || state.is_single(place) {
                    true => state.give_back(place, size),
                    false => kept.push((place, size)),
                }
                last = chunk;
            }
        }
        while let Some((place, size)) = kept.pop() {
            state.give_back(place, size);
        }
        let large = state.take(limit);
        let large = large.expect("what is held does not count when it is given back");
        state.give_back(large, limit);
        // SAFETY: as above.
        let own = unsafe { &*state.share.own.get() };
        assert!(own.singles.is_empty() && own.single_bytes == 0);
        assert!(own.set.count <= CLASSES);
    }
}

#[test]
fn values_up_to_the_limit_fit_also_where_chunks_have_little_in_them() {
    let limit = 8 << 20;
    let mut state = Limited::new(limit);
    let small: Vec<_> = std::iter::from_fn(|| state.take(64)).collect();
    assert_eq!(small.len(), limit / 64);
    // One of each chunk stays.
    let mut last = 0;
    for place in small {
        if place.addr() / CHUNK == last {
            state.give_back(place, 64);
        }
        last = place.addr() / CHUNK;
    }
    // Nothing is free for these, but as many as there could be fit.
    let larger: Vec<_> = std::iter::from_fn(|| state.take(1024)).collect();
    assert!(larger.len() >= limit / 1024 * 9 / 10, "{}", larger.len());
    // A value that gets smaller has a place in any case, by itself or not.
    for place in larger {
        // SAFETY: the place has this size, and is used no more after it has moved.
        let moved = unsafe { state.share.resize(place, 1024, 40, room(&state)) };
        assert!(!moved.is_null());
        // SAFETY: as above.
        unsafe { state.share.resize(moved, 40, 0, FREE) };
    }
}

fn room(state: &Limited) -> Room {
    Room {
        used: state.used,
        limit: state.limit,
    }
}

#[test]
fn chunks_of_a_state_are_free_for_others_when_it_is_closed() {
    let mut state = Limited::new(64 << 20);
    let places: Vec<_> = (0..100_000).filter_map(|_| state.take(64)).collect();
    let pool = state.share.pool.clone();
    for place in places {
        state.give_back(place, 64);
    }
    drop(state);
    // SAFETY: nothing else looks at the pool.
    let chunks = unsafe { &*pool.0.get() };
    assert!(chunks.others.len() <= KEPT / CHUNKS && chunks.free_count <= KEPT + CHUNKS);
    // SAFETY: as above. Small states have what the first megabyte was in.
    assert!(unsafe { (*chunks.common).count } <= CLASSES);
}
