//! What a Lua state has taken of memory, and how much it may.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::rc::Rc;

use super::pool::Pool;

/// The memory of one state.
#[derive(Debug)]
pub(crate) struct StateMemory {
    used: Cell<usize>,
    /// 0 if there is none.
    limit: Cell<usize>,
    pool: Rc<Pool>,
}

impl Default for StateMemory {
    fn default() -> Self {
        Self {
            used: Cell::default(),
            limit: Cell::default(),
            pool: Pool::of_this_thread(),
        }
    }
}

impl StateMemory {
    /// Bytes of all values, without what each place is larger than its value.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// How many bytes it may have, if that is limited.
    pub(crate) fn limit(&self) -> Option<usize> {
        Some(self.limit.get()).filter(|limit| *limit > 0)
    }

    /// Whether it is above nine tenths of the limit with some bytes more.
    pub(crate) fn is_nearly_full(&self, more: usize) -> bool {
        let limit = self.limit.get();
        limit > 0 && self.used.get().saturating_add(more) > limit / 10 * 9
    }

    /// Sets how many bytes the state may have, or 0 for any number. From there on it gets no more: Lua collects garbage and raises an error.
    /// Tells what it was before.
    pub(crate) fn set_limit(&self, bytes: usize) -> usize {
        self.limit.replace(bytes)
    }
}

/// A state's way to its memory.
///
/// # Safety
/// `memory` is a [`StateMemory`] of this thread. Lua calls it with places that it got here, and their sizes; without a place `old` is no
/// size.
pub(super) unsafe extern "C" fn resize(
    memory: *mut c_void,
    place: *mut c_void,
    old: usize,
    new: usize,
) -> *mut c_void {
    // SAFETY: as the caller says. It has only cells.
    let memory = unsafe { &*memory.cast::<StateMemory>() };
    let old = if place.is_null() { 0 } else { old };
    let used = memory.used.get();
    // Lua's counter of its own has a sign, and so have sizes in Rust.
    let is_too_large = new > isize::MAX as usize - used;
    let after = used - old + new.min(isize::MAX as usize);
    let limit = memory.limit.get();
    if new > old && (is_too_large || (limit > 0 && after > limit)) {
        return null_mut();
    }
    if new == 0 && old == 0 {
        return null_mut();
    }
    if after == 0 {
        // The last of it is what the handler of a signal looks at.
        super::leave_state();
    }
    // SAFETY: the place comes from this pool, which is that of the state for all of its life, with this size.
    let found = unsafe { memory.pool.resize(place.cast(), old, new) };
    if !found.is_null() || new == 0 {
        memory.used.set(after);
    }
    found.cast()
}
