//! The memory of a thread's Lua states. Lua names the size of what it gives back, so that nothing here has a header.
//!
//! A region is a large piece of the process's memory. It is cut into chunks, and a chunk into places of one size. A chunk is aligned to its
//! size, so that the address of a place leads to it. What is larger than the largest place is the process's allocator's.
//!
//! Small states share chunks, so that each costs little. A state that is larger has chunks of its own: what it holds of the process can be
//! told, and bounded. One that keeps a value here and there has chunks with little in them. When they are as large as its limit together,
//! though its values are not, each further value is the process's allocator's, too: a script does not fail before its values are at the
//! limit, unless what it holds is at twice the limit.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error, realloc};
use std::cell::{Cell, UnsafeCell};
use std::ptr::{copy_nonoverlapping, null_mut};
use std::rc::Rc;

use rustc_hash::FxHashMap;

mod chunks;
#[cfg(test)]
mod tests;

use chunks::{CHUNK, ChunkSet, Chunks, LARGEST, class, size_of_class};

/// The alignment of what is larger than the largest place. In a chunk it is that of Lua's own values, 8.
const ALIGN: usize = 16;
/// A state with more bytes of values gets chunks of its own, or with more than a quarter of its limit …
const OWN_FROM: usize = 1 << 20;
/// … but none with less: a chunk for each class is much beside that.
const LEAST_OWN: usize = 128 << 10;
/// What a value by itself costs besides its bytes, about: the allocator's header, and its place in the list.
const SINGLE: usize = 48;

thread_local! {
    static POOL: Rc<Pool> = Rc::default();
}

/// One for each thread that has states. Each state has a reference to it, so that it lives longer than what it has given out.
#[derive(Debug, Default)]
struct Pool(UnsafeCell<Chunks>);

/// What one state has of its thread's pool.
#[derive(Debug)]
pub(super) struct PoolShare {
    pool: Rc<Pool>,
    /// Null for a small state.
    own: Cell<*mut OwnChunks>,
    /// Bytes of values that are larger than the largest place.
    large: Cell<usize>,
}

/// What a state has for itself.
#[derive(Debug, Default)]
struct OwnChunks {
    set: ChunkSet,
    /// Values that are in no chunk though they are small, and the bytes of each.
    singles: FxHashMap<usize, usize>,
    single_bytes: usize,
}

/// What a state has, and may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Bytes of values.
    pub(super) used: usize,
    /// The most of them, or 0 for any number.
    pub(super) limit: usize,
}

impl OwnChunks {
    fn held(&self) -> usize {
        self.set.count * CHUNK + self.single_bytes
    }
}

impl Room {
    /// From how many bytes on the state gets chunks of its own.
    fn own_from(self) -> usize {
        match self.limit {
            0 => OWN_FROM,
            limit => (limit / 4).clamp(LEAST_OWN, OWN_FROM),
        }
    }

    fn is_unlimited(self) -> bool {
        self.limit == 0
    }
}

impl PoolShare {
    pub(super) fn of_this_thread() -> Self {
        Self {
            // A state that is made while the thread ends has one of its own.
            pool: POOL.try_with(Rc::clone).unwrap_or_default(),
            own: Cell::new(null_mut()),
            large: Cell::new(0),
        }
    }

    /// Gives out memory, changes its size, takes it back: a size is 0 where there is none. Null if the process has no memory, or if the
    /// state would hold more than twice its limit; then nothing has changed.
    ///
    /// # Safety
    /// `place` comes from this function of this share with this size, and was not given back. The caller has no reference to it.
    pub(super) unsafe fn resize(
        &self,
        place: *mut u8,
        old: usize,
        new: usize,
        room: Room,
    ) -> *mut u8 {
        // SAFETY: a pool stays on its thread, and nothing that is called from here calls it: there is no other reference.
        let chunks = unsafe { &mut *self.pool.0.get() };
        // SAFETY: as the caller says: what is small and what is large is told by the size each time.
        unsafe {
            match (old, new) {
                (0, 1..=LARGEST) => self.take(chunks, new, room, false),
                (0, _) => self.take_large(new, room),
                (1..=LARGEST, 0) => {
                    self.give_back(chunks, place);
                    null_mut()
                }
                (_, 0) => {
                    self.give_back_large(place, old);
                    null_mut()
                }
                (1..=LARGEST, 1..=LARGEST) if class(old) == class(new) => place,
                _ if old > LARGEST && new > LARGEST => self.resize_large(place, old, new, room),
                _ => self.moved(chunks, place, old, new, room),
            }
        }
    }

    /// A place for a size from 1 to `LARGEST`, or null. One that is needed is there if the process has memory.
    fn take(&self, chunks: &mut Chunks, size: usize, room: Room, is_needed: bool) -> *mut u8 {
        let class = class(size);
        // SAFETY: both sets are valid: one as long as the chunks, the other one as long as this.
        let found = unsafe {
            match self.own.get() {
                own if own.is_null() => (*chunks.common).take(class),
                own => (*own).set.take(class),
            }
        };
        match found.is_null() {
            true => self.take_more(chunks, class, room, is_needed),
            false => found,
        }
    }

    /// The same where no chunk has a free place of the class.
    #[cold]
    fn take_more(&self, chunks: &mut Chunks, class: usize, room: Room, is_needed: bool) -> *mut u8 {
        if self.own.get().is_null() {
            if room.used <= room.own_from() {
                let common = chunks.common;
                // SAFETY: it is valid as long as the chunks.
                return unsafe {
                    chunks.add_to(common, class);
                    (*common).take(class)
                };
            }
            self.own.set(Box::into_raw(Box::default()));
        }
        // SAFETY: it is valid as long as this, and nobody else refers to it.
        let own = unsafe { &mut *self.own.get() };
        let held = own.held() + self.large.get();
        if room.is_unlimited() || held + CHUNK <= room.limit {
            // SAFETY: the set stays where it is until this is dropped, which takes its chunks away.
            unsafe { chunks.add_to(&raw mut own.set, class) };
            return own.set.take(class);
        }
        let found = own.set.take_larger(class);
        if !found.is_null() {
            return found;
        }
        let size = size_of_class(class);
        let fits = held + size + SINGLE <= 2 * room.limit;
        match fits || is_needed {
            true => own.take_single(size),
            false => null_mut(),
        }
    }

    fn give_back(&self, chunks: &mut Chunks, place: *mut u8) {
        let own = self.own.get();
        // SAFETY: the share's own part is valid, and the place was given out by it or by a set of the chunks, as `resize` says.
        unsafe {
            let is_single = !own.is_null() && !(*own).singles.is_empty();
            if !is_single || !(*own).give_back_single(place) {
                chunks.give_back(place);
            }
        }
    }

    fn take_large(&self, size: usize, room: Room) -> *mut u8 {
        if !self.has_room(size, room) {
            return null_mut();
        }
        // SAFETY: the size is not 0.
        let place = unsafe { alloc(layout(size)) };
        if !place.is_null() {
            self.large.set(self.large.get() + size);
        }
        place
    }

    /// # Safety
    /// As with [`resize`](Self::resize).
    unsafe fn resize_large(&self, place: *mut u8, old: usize, new: usize, room: Room) -> *mut u8 {
        if new > old && !self.has_room(new - old, room) {
            return null_mut();
        }
        // SAFETY: as the caller says. The size is not 0.
        let found = unsafe { realloc(place, layout(old), new) };
        if !found.is_null() {
            self.large.set(self.large.get() - old + new);
        }
        found
    }

    /// # Safety
    /// As with [`resize`](Self::resize).
    unsafe fn give_back_large(&self, place: *mut u8, size: usize) {
        self.large.set(self.large.get() - size);
        // SAFETY: as the caller says.
        unsafe { dealloc(place, layout(size)) };
    }

    /// Whether this many bytes more are within twice the limit. A state without chunks of its own holds what its values are.
    fn has_room(&self, more: usize, room: Room) -> bool {
        let own = self.own.get();
        if own.is_null() || room.is_unlimited() {
            return true;
        }
        // SAFETY: it is valid as long as this.
        let held = unsafe { (*own).held() } + self.large.get();
        held.saturating_add(more) <= 2 * room.limit
    }

    /// Moves what is in a place to one of another size, small or large. Null if there is none, and nothing is moved.
    ///
    /// # Safety
    /// As with [`resize`](Self::resize); neither size is 0.
    unsafe fn moved(
        &self,
        chunks: &mut Chunks,
        place: *mut u8,
        old: usize,
        new: usize,
        room: Room,
    ) -> *mut u8 {
        // SAFETY: as the caller says. The two do not overlap, since both are given out.
        unsafe {
            let found = match new {
                1..=LARGEST => self.take(chunks, new, room, new < old),
                _ => self.take_large(new, room),
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
                1..=LARGEST => self.give_back(chunks, place),
                _ => self.give_back_large(place, old),
            }
            found
        }
    }
}

impl OwnChunks {
    /// A place that is in no chunk, or null.
    fn take_single(&mut self, size: usize) -> *mut u8 {
        if self.singles.try_reserve(1).is_err() {
            return null_mut();
        }
        // SAFETY: the size is not 0.
        let place = unsafe { alloc(layout(size)) };
        if !place.is_null() {
            self.singles.insert(place.addr(), size);
            self.single_bytes += size + SINGLE;
        }
        place
    }

    /// Takes such a place back. False if it is in a chunk.
    ///
    /// # Safety
    /// Nobody refers to it.
    unsafe fn give_back_single(&mut self, place: *mut u8) -> bool {
        let Some(size) = self.singles.remove(&place.addr()) else {
            return false;
        };
        self.single_bytes -= size + SINGLE;
        if self.singles.is_empty() {
            self.singles = FxHashMap::default();
        }
        // SAFETY: it was made with this size, and as the caller says.
        unsafe { dealloc(place, layout(size)) };
        true
    }
}

impl Drop for PoolShare {
    fn drop(&mut self) {
        let own = self.own.get();
        if own.is_null() {
            return;
        }
        // SAFETY: the state is closed: it has given all back. The box was made in `take_more`, and nobody refers to it or its chunks then.
        unsafe {
            let chunks = &mut *self.pool.0.get();
            chunks.release(&raw mut (*own).set);
            drop(Box::from_raw(own));
        }
    }
}

fn layout(size: usize) -> Layout {
    // Lua asks for less than half of all addresses: the other sizes are refused before.
    Layout::from_size_align(size, ALIGN).unwrap_or(Layout::new::<u8>())
}
