//! The memory of a thread's Lua states. Lua names the size of what it gives back, so that nothing here has a header.
//!
//! A region is a large piece of the process's memory. It is cut into chunks, and a chunk into places of one size. A chunk is aligned to its
//! size, so that the address of a place leads to it. What is larger than the largest place is the process's allocator's.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::UnsafeCell;
use std::mem::{replace, size_of};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::rc::Rc;

/// Bytes of a chunk, and its alignment.
const CHUNK: usize = 32 << 10;
/// The chunks of a region.
const CHUNKS: usize = 32;
/// The largest place. What is larger is seldom, and a header is small beside it.
const LARGEST: usize = 2048;
/// Free chunks above which regions without anything else go back to the process.
const KEPT: usize = 2 * CHUNKS;
/// The alignment of what is larger than the largest place. In a chunk it is that of Lua's own values, 8.
const ALIGN: usize = 16;
const CLASSES: usize = 32 + 16 + 16 + 16;

thread_local! {
    static POOL: Rc<Pool> = Rc::default();
}

/// One for each thread that has states. Each state has a reference to it, so that it lives longer than what it has given out.
#[derive(Debug, Default)]
pub(super) struct Pool(UnsafeCell<Chunks>);

#[derive(Debug)]
struct Chunks {
    /// For each class of sizes, the chunks with free places.
    open: [*mut Chunk; CLASSES],
    /// Chunks that have no size at the moment.
    free: *mut Chunk,
    free_count: usize,
    /// The one with chunks that never had a size. The others have none of those.
    newest: *mut Region,
    others: Vec<*mut Region>,
}

/// The beginning of a chunk. The places are behind it.
#[derive(Debug)]
struct Chunk {
    /// The size of its places.
    size: usize,
    /// Places that were given back: each holds the address of the next one.
    returned: *mut Returned,
    /// Bytes from the beginning to the first place that was never given out.
    untouched: usize,
    /// Places that are given out.
    used: usize,
    region: *mut Region,
    /// Its neighbours in its list: of open chunks, or of free ones.
    previous: *mut Chunk,
    next: *mut Chunk,
}

#[derive(Debug)]
struct Returned {
    next: *mut Returned,
}

#[derive(Debug)]
struct Region {
    memory: *mut u8,
    /// Chunks that have had a size. The others are behind them.
    touched: usize,
    /// Chunks that have one.
    used: usize,
    /// Its place in the list of the others.
    index: usize,
}

impl Pool {
    pub(super) fn of_this_thread() -> Rc<Self> {
        // A state that is made while the thread ends has one of its own.
        POOL.try_with(Rc::clone).unwrap_or_default()
    }

    /// Gives out memory, changes its size, takes it back: a size is 0 where there is none. Null if the process has no memory; then
    /// nothing has changed.
    ///
    /// # Safety
    /// `place` comes from this function of this pool with this size, and was not given back. The caller has no reference to it.
    pub(super) unsafe fn resize(&self, place: *mut u8, old: usize, new: usize) -> *mut u8 {
        // SAFETY: a pool stays on its thread, and nothing that is called from here calls it: there is no other reference.
        let chunks = unsafe { &mut *self.0.get() };
        // SAFETY: as the caller says: what is small and what is large is told by the size each time.
        unsafe {
            match (old, new) {
                (0, 1..=LARGEST) => chunks.take(new),
                (0, _) => large(new),
                (1..=LARGEST, 0) => {
                    chunks.give_back(place);
                    null_mut()
                }
                (_, 0) => {
                    dealloc(place, layout(old));
                    null_mut()
                }
                (1..=LARGEST, 1..=LARGEST) if class(old) == class(new) => place,
                _ if old > LARGEST && new > LARGEST => realloc(place, layout(old), new),
                _ => chunks.moved(place, old, new),
            }
        }
    }
}

fn layout(size: usize) -> Layout {
    // Lua asks for less than half of all addresses: the other sizes are refused before.
    Layout::from_size_align(size, ALIGN).unwrap_or(Layout::new::<u8>())
}

/// # Safety
/// The size is not 0.
unsafe fn large(size: usize) -> *mut u8 {
    // SAFETY: as the caller says.
    unsafe { alloc(layout(size)) }
}

/// The class of a size from 1 to `LARGEST`: steps are 8 bytes, later a sixteenth of the size at most.
const fn class(size: usize) -> usize {
    match size {
        0..=256 => size.saturating_sub(1) / 8,
        257..=512 => 32 + (size - 257) / 16,
        513..=1024 => 48 + (size - 513) / 32,
        _ => 64 + (size - 1025) / 64,
    }
}

/// The size of a class's places.
const fn size_of_class(class: usize) -> usize {
    match class {
        0..32 => (class + 1) * 8,
        32..48 => 256 + (class - 31) * 16,
        48..64 => 512 + (class - 47) * 32,
        _ => 1024 + (class - 63) * 64,
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            open: [null_mut(); CLASSES],
            free: null_mut(),
            free_count: 0,
            newest: null_mut(),
            others: Vec::new(),
        }
    }
}

impl Chunk {
    fn is_full(&self) -> bool {
        self.returned.is_null() && self.untouched + self.size > CHUNK
    }
}

impl Chunks {
    /// A place for a size from 1 to `LARGEST`, or null.
    fn take(&mut self, size: usize) -> *mut u8 {
        let class = class(size);
        let mut chunk = self.open[class];
        if chunk.is_null() {
            chunk = self.new_chunk();
            if chunk.is_null() {
                return null_mut();
            }
            // SAFETY: the chunk is valid, and nobody else's: its header may be written.
            unsafe {
                (*chunk).size = size_of_class(class);
                link(&mut self.open[class], chunk);
            }
        }
        // SAFETY: an open chunk is valid and has a free place: one that was returned, or one between `untouched` and its end. That one is
        // in the chunk's own memory.
        unsafe {
            let returned = (*chunk).returned;
            let place = if returned.is_null() {
                let place = chunk.cast::<u8>().add((*chunk).untouched);
                (*chunk).untouched += (*chunk).size;
                place
            } else {
                (*chunk).returned = (*returned).next;
                returned.cast()
            };
            (*chunk).used += 1;
            if (*chunk).is_full() {
                unlink(&mut self.open[class], chunk);
            }
            place
        }
    }

    /// Takes a place back.
    ///
    /// # Safety
    /// It was given out by `take`, and nobody refers to it.
    unsafe fn give_back(&mut self, place: *mut u8) {
        let chunk = place
            .map_addr(|address| address & !(CHUNK - 1))
            .cast::<Chunk>();
        // SAFETY: a place lies in a chunk that is aligned to its size, so that the header is at this address. It has room for an address:
        // the smallest place is as large as one.
        unsafe {
            let was_full = (*chunk).is_full();
            let returned = place.cast::<Returned>();
            (*returned).next = (*chunk).returned;
            (*chunk).returned = returned;
            (*chunk).used -= 1;
            let open = &mut self.open[class((*chunk).size)];
            if was_full {
                link(open, chunk);
            }
            // The last open one of a size stays: the next value may be of this size again.
            if (*chunk).used == 0 && !((*chunk).previous.is_null() && (*chunk).next.is_null()) {
                unlink(open, chunk);
                self.free_chunk(chunk);
            }
        }
    }

    /// Moves what is in a place to one of another size, small or large. Null if there is none, and nothing is moved.
    ///
    /// # Safety
    /// As with [`Pool::resize`]; neither size is 0.
    unsafe fn moved(&mut self, place: *mut u8, old: usize, new: usize) -> *mut u8 {
        // SAFETY: as the caller says. The two do not overlap, since both are given out.
        unsafe {
            let found = match new {
                1..=LARGEST => self.take(new),
                _ => large(new),
            };
            if found.is_null() {
                if new < old {
                    // Lua cannot go on if something does not get smaller.
                    if old > LARGEST {
                        handle_alloc_error(layout(new));
                    }
                    return place;
                }
                return found;
            }
            copy_nonoverlapping(place, found, old.min(new));
            match old {
                1..=LARGEST => self.give_back(place),
                _ => dealloc(place, layout(old)),
            }
            found
        }
    }

    /// A chunk that nobody uses, in no list and without a size; or null.
    fn new_chunk(&mut self) -> *mut Chunk {
        let chunk = match self.free.is_null() {
            true => self.untouched_chunk(),
            false => self.free,
        };
        if chunk.is_null() {
            return chunk;
        }
        // SAFETY: the chunk and its region are valid, and nobody else's.
        unsafe {
            if chunk == self.free {
                unlink(&mut self.free, chunk);
                self.free_count -= 1;
            }
            (*(*chunk).region).used += 1;
            (*chunk).returned = null_mut();
            (*chunk).untouched = size_of::<Chunk>();
        }
        chunk
    }

    /// A chunk that never had a size, or null.
    fn untouched_chunk(&mut self) -> *mut Chunk {
        // SAFETY: the newest region is valid, if there is one. The chunk lies in it, since `touched` is below `CHUNKS`.
        unsafe {
            if (self.newest.is_null() || (*self.newest).touched == CHUNKS) && !self.add_region() {
                return null_mut();
            }
            let region = self.newest;
            let chunk = (*region).memory.add((*region).touched * CHUNK);
            let chunk = chunk.cast::<Chunk>();
            (*region).touched += 1;
            chunk.write(Chunk {
                size: 0,
                returned: null_mut(),
                untouched: 0,
                used: 0,
                region,
                previous: null_mut(),
                next: null_mut(),
            });
            chunk
        }
    }

    /// Makes a newest region. False if the process has no memory.
    fn add_region(&mut self) -> bool {
        // SAFETY: the size is not 0.
        let memory = unsafe { alloc(REGION) };
        if memory.is_null() {
            return false;
        }
        let region = Box::into_raw(Box::new(Region {
            memory,
            touched: 0,
            used: 0,
            index: 0,
        }));
        let before = replace(&mut self.newest, region);
        if !before.is_null() {
            // SAFETY: regions are valid until they are given back.
            unsafe { (*before).index = self.others.len() };
            self.others.push(before);
        }
        true
    }

    /// Puts a chunk that has nothing into the list of free ones, and gives its region back if there is more than enough.
    ///
    /// # Safety
    /// It is in no list.
    unsafe fn free_chunk(&mut self, chunk: *mut Chunk) {
        // SAFETY: as the caller says. A region lives as long as its chunks; those before the newest one have touched all of theirs, so that
        // each chunk of one without a used chunk is in the list of free ones.
        unsafe {
            link(&mut self.free, chunk);
            self.free_count += 1;
            let region = (*chunk).region;
            (*region).used -= 1;
            if (*region).used > 0 || region == self.newest || self.free_count <= KEPT {
                return;
            }
            for index in 0..CHUNKS {
                let chunk = (*region).memory.add(index * CHUNK);
                unlink(&mut self.free, chunk.cast());
            }
            self.free_count -= CHUNKS;
            let index = (*region).index;
            self.others.swap_remove(index);
            if let Some(moved) = self.others.get(index) {
                (**moved).index = index;
            }
            free_region(region);
        }
    }
}

impl Drop for Chunks {
    fn drop(&mut self) {
        let newest = Some(self.newest).filter(|region| !region.is_null());
        for region in self.others.drain(..).chain(newest) {
            // SAFETY: no state has a reference to the pool any more, so that nothing in the region is used.
            unsafe { free_region(region) };
        }
    }
}

/// The memory of a region.
const REGION: Layout = match Layout::from_size_align(CHUNK * CHUNKS, CHUNK) {
    Ok(layout) => layout,
    Err(_) => panic!("a power of two, and far from the largest size"),
};

/// # Safety
/// It is valid, and nobody refers to it or its memory.
unsafe fn free_region(region: *mut Region) {
    // SAFETY: as the caller says. Both were made in `add_region`.
    unsafe {
        dealloc((*region).memory, REGION);
        drop(Box::from_raw(region));
    }
}

/// Puts a chunk at the beginning of a list.
///
/// # Safety
/// It is valid and in no list; those in the list are valid.
unsafe fn link(list: &mut *mut Chunk, chunk: *mut Chunk) {
    // SAFETY: as the caller says.
    unsafe {
        (*chunk).previous = null_mut();
        (*chunk).next = *list;
        if !list.is_null() {
            (**list).previous = chunk;
        }
    }
    *list = chunk;
}

/// Takes a chunk out of its list.
///
/// # Safety
/// It is in the list, and those in the list are valid.
unsafe fn unlink(list: &mut *mut Chunk, chunk: *mut Chunk) {
    // SAFETY: as the caller says.
    unsafe {
        let (previous, next) = ((*chunk).previous, (*chunk).next);
        match previous.is_null() {
            true => *list = next,
            false => (*previous).next = next,
        }
        if !next.is_null() {
            (*next).previous = previous;
        }
        (*chunk).previous = null_mut();
        (*chunk).next = null_mut();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let (pool, mut sizes) = (Pool::default(), Sizes(7));
        let mut given: Vec<Given> = Vec::new();
        for round in 0..60_000_usize {
            // It grows, and then shrinks.
            let is_taken = sizes.next(100) < if round < 30_000 { 60 } else { 30 };
            let largest = if sizes.next(50) == 0 { 5000 } else { 300 };
            let size = 1 + sizes.next(largest);
            // SAFETY: each place is resized with its size and used no more after it was given back.
            unsafe {
                if is_taken || given.is_empty() {
                    let (place, mark) = (pool.resize(null_mut(), 0, size), round as u8);
                    assert!(!place.is_null() && place.addr() % 8 == 0);
                    given.push(Given { place, size, mark });
                    given[given.len() - 1].fill();
                } else {
                    let index = sizes.next(given.len());
                    let one = &mut given[index];
                    assert!(one.is_whole(one.size));
                    if sizes.next(3) == 0 {
                        one.place = pool.resize(one.place, one.size, size);
                        assert!(one.is_whole(one.size.min(size)));
                        one.size = size;
                        one.fill();
                    } else {
                        pool.resize(one.place, one.size, 0);
                        given.swap_remove(index);
                    }
                }
            }
        }
        for one in given {
            assert!(one.is_whole(one.size));
            // SAFETY: as above.
            unsafe { pool.resize(one.place, one.size, 0) };
        }
    }

    #[test]
    fn regions_go_back_to_the_process_when_what_was_in_them_is_gone() {
        let pool = Pool::default();
        let regions = || {
            // SAFETY: nothing else looks at the pool.
            let chunks = unsafe { &*pool.0.get() };
            (chunks.others.len(), chunks.free_count)
        };
        let places: Vec<*mut u8> = (0..200_000)
            // SAFETY: it takes, and needs nothing.
            .map(|_| unsafe { pool.resize(null_mut(), 0, 64) })
            .collect();
        let (full, _) = regions();
        assert!(full >= 11, "{full}");
        for place in places {
            // SAFETY: each is given back once.
            unsafe { pool.resize(place, 64, 0) };
        }
        let (left, free) = regions();
        assert!(
            left <= KEPT / CHUNKS && free <= KEPT + CHUNKS,
            "{left} {free}"
        );
    }

    #[test]
    fn a_place_that_is_given_back_is_used_again() {
        let pool = Pool::default();
        // SAFETY: a place is used no more after it was given back.
        unsafe {
            let first = pool.resize(null_mut(), 0, 40);
            let _second = pool.resize(null_mut(), 0, 40);
            pool.resize(first, 40, 0);
            assert_eq!(pool.resize(null_mut(), 0, 33), first);
            assert_eq!(pool.resize(first, 33, 40), first);
        }
    }
}
