//! The chunks of a thread, their owners, and the places in them.

use std::alloc::{Layout, alloc, dealloc};
use std::mem::{replace, size_of};
use std::ptr::null_mut;

/// Bytes of a chunk, and its alignment.
pub(super) const CHUNK: usize = 32 << 10;
/// The chunks of a region.
pub(super) const CHUNKS: usize = 32;
/// The largest place. What is larger is seldom, and a header is small beside it.
pub(super) const LARGEST: usize = 2048;
/// Free chunks above which regions without anything else go back to the process.
pub(super) const KEPT: usize = 2 * CHUNKS;
pub(super) const CLASSES: usize = 32 + 16 + 16 + 16;

/// Chunks whose places are given to the same states: to one, or to all small ones of the thread.
#[derive(Debug)]
pub(super) struct ChunkSet {
    /// For each class of sizes, the chunks with free places.
    open: [*mut Chunk; CLASSES],
    /// How many there are.
    pub(super) count: usize,
}

#[derive(Debug)]
pub(super) struct Chunks {
    /// Those of all small states.
    pub(super) common: *mut ChunkSet,
    /// Chunks that have no size at the moment.
    free: *mut Chunk,
    pub(super) free_count: usize,
    /// The one with chunks that never had a size. The others have none of those.
    newest: *mut Region,
    pub(super) others: Vec<*mut Region>,
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
    /// Whose it is.
    set: *mut ChunkSet,
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
pub(super) struct Region {
    memory: *mut u8,
    /// Chunks that have had a size. The others are behind them.
    touched: usize,
    /// Chunks that have one.
    used: usize,
    /// Its place in the list of the others.
    index: usize,
}

/// The class of a size from 1 to `LARGEST`: steps are 8 bytes, later a sixteenth of the size at most.
pub(super) const fn class(size: usize) -> usize {
    match size {
        0..=256 => size.saturating_sub(1) / 8,
        257..=512 => 32 + (size - 257) / 16,
        513..=1024 => 48 + (size - 513) / 32,
        _ => 64 + (size - 1025) / 64,
    }
}

/// The size of a class's places.
pub(super) const fn size_of_class(class: usize) -> usize {
    match class {
        0..32 => (class + 1) * 8,
        32..48 => 256 + (class - 31) * 16,
        48..64 => 512 + (class - 47) * 32,
        _ => 1024 + (class - 63) * 64,
    }
}

impl Default for ChunkSet {
    fn default() -> Self {
        Self {
            open: [null_mut(); CLASSES],
            count: 0,
        }
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Self {
            common: Box::into_raw(Box::default()),
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

impl ChunkSet {
    /// A free place of a class, or null.
    pub(super) fn take(&mut self, class: usize) -> *mut u8 {
        let chunk = self.open[class];
        if chunk.is_null() {
            return null_mut();
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

    /// A free place of a larger class, up to twice as large; or null.
    pub(super) fn take_larger(&mut self, class: usize) -> *mut u8 {
        let largest = 2 * size_of_class(class);
        let larger = (class + 1..CLASSES).take_while(|class| size_of_class(*class) <= largest);
        let mut open = larger.filter(|class| !self.open[*class].is_null());
        open.next().map_or(null_mut(), |class| self.take(class))
    }
}

impl Chunks {
    /// Gives a set another chunk for a class. False if the process has no memory.
    ///
    /// # Safety
    /// The set is valid, and stays so until it has no chunk any more.
    pub(super) unsafe fn add_to(&mut self, set: *mut ChunkSet, class: usize) -> bool {
        let chunk = self.new_chunk();
        if chunk.is_null() {
            return false;
        }
        // SAFETY: the chunk is valid, and nobody else's: its header may be written. The set is valid, as the caller says.
        unsafe {
            (*chunk).size = size_of_class(class);
            (*chunk).set = set;
            (*set).count += 1;
            link(&mut (*set).open[class], chunk);
        }
        true
    }

    /// Takes a place back.
    ///
    /// # Safety
    /// It was given out by a set of these chunks, and nobody refers to it.
    pub(super) unsafe fn give_back(&mut self, place: *mut u8) {
        let chunk = place
            .map_addr(|address| address & !(CHUNK - 1))
            .cast::<Chunk>();
        // SAFETY: a place lies in a chunk that is aligned to its size, so that the header is at this address. It has room for an address:
        // the smallest place is as large as one. The set of a chunk is valid as long as it has the chunk.
        unsafe {
            let was_full = (*chunk).is_full();
            let returned = place.cast::<Returned>();
            (*returned).next = (*chunk).returned;
            (*chunk).returned = returned;
            (*chunk).used -= 1;
            let open = &raw mut (*(*chunk).set).open[class((*chunk).size)];
            if was_full {
                link(&mut *open, chunk);
            }
            // The last open one of a size stays: the next value may be of this size again.
            if (*chunk).used == 0 && !((*chunk).previous.is_null() && (*chunk).next.is_null()) {
                unlink(&mut *open, chunk);
                self.free_chunk(chunk);
            }
        }
    }

    /// Takes all chunks of a set back.
    ///
    /// # Safety
    /// The set is valid, and has given out nothing that was not given back.
    pub(super) unsafe fn release(&mut self, set: *mut ChunkSet) {
        for class in 0..CLASSES {
            // SAFETY: as the caller says: the chunks that are left are open, valid and unused.
            unsafe {
                let open = &raw mut (*set).open[class];
                while !(*open).is_null() {
                    let chunk = *open;
                    unlink(&mut *open, chunk);
                    self.free_chunk(chunk);
                }
            }
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
                set: null_mut(),
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
    /// It is valid, its set too, and it is in no list.
    unsafe fn free_chunk(&mut self, chunk: *mut Chunk) {
        // SAFETY: as the caller says. A region lives as long as its chunks; those before the newest one have touched all of theirs, so that
        // each chunk of one without a used chunk is in the list of free ones.
        unsafe {
            (*(*chunk).set).count -= 1;
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
        // SAFETY: it was made by a box, and its chunks are gone.
        drop(unsafe { Box::from_raw(self.common) });
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
