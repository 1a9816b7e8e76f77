//! What a Lua state has taken of memory, and how much it may.

use std::cell::Cell;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::rc::Rc;

use mlua::{Lua, ffi};

use super::pool::{PoolShare, Room};

/// The memory of one state.
#[derive(Debug)]
pub(crate) struct StateMemory {
    used: Cell<usize>,
    /// Bytes of Rust's that count as the state's.
    charged: Cell<usize>,
    /// Timers that are set. Each is charged for.
    timers: Cell<u32>,
    /// Bytes that its sockets have received and nobody has read. They count apart.
    received: Cell<usize>,
    /// 0 if there is none.
    limit: Cell<usize>,
    share: PoolShare,
}

impl Default for StateMemory {
    fn default() -> Self {
        Self {
            used: Cell::default(),
            charged: Cell::default(),
            timers: Cell::default(),
            received: Cell::default(),
            limit: Cell::default(),
            share: PoolShare::of_this_thread(),
        }
    }
}

impl StateMemory {
    /// That of a state. None if the state is not an [`OwnedState`](super::OwnedState).
    fn of(lua: &Lua) -> Option<Rc<Self>> {
        // SAFETY: the pointer beside our own `resize` is that of a `StateMemory` in an `Rc`, which lives at least as long as the state. Its
        // count rises for what is returned.
        lua.exec_raw_lua(|raw| unsafe {
            let mut memory: *mut c_void = null_mut();
            let function = ffi::lua_getallocf(raw.state(), &raw mut memory);
            if !std::ptr::fn_addr_eq(function, resize as ffi::lua_Alloc) {
                return None;
            }
            let memory = memory.cast_const().cast::<Self>();
            Rc::increment_strong_count(memory);
            Some(Rc::from_raw(memory))
        })
    }

    /// Bytes of all values, without what each place is larger than its value.
    pub(crate) fn used(&self) -> usize {
        self.used.get()
    }

    /// How many bytes it may have, if that is limited.
    pub(crate) fn limit(&self) -> Option<usize> {
        Some(self.limit.get()).filter(|limit| *limit > 0)
    }

    /// Counts a timer that is set.
    ///
    /// # Errors
    /// It is above the limit, also when garbage is collected.
    pub(crate) fn add_timer(&self, lua: &Lua) -> mlua::Result<()> {
        self.make_room(lua, BYTES_A_TIMER)?;
        self.timers.set(self.timers.get() + 1);
        self.charged.set(self.charged.get() + BYTES_A_TIMER);
        Ok(())
    }

    /// A timer is over.
    pub(crate) fn remove_timer(&self) {
        // A script may send itself what looks like one.
        if let Some(left) = self.timers.get().checked_sub(1) {
            self.timers.set(left);
            self.charged.set(self.charged.get() - BYTES_A_TIMER);
        }
    }

    /// Collects garbage if this many bytes more are above the limit.
    fn make_room(&self, lua: &Lua, more: usize) -> mlua::Result<()> {
        // The first collection ends values of Rust's, the second frees them.
        for _ in 0..2 {
            if !self.has_room(more) {
                lua.gc_collect()?;
            }
        }
        match self.has_room(more) {
            true => Ok(()),
            false => Err(mlua::Error::RuntimeError("not enough memory".to_owned())),
        }
    }

    /// Whether this many bytes more are within the limit.
    fn has_room(&self, more: usize) -> bool {
        let limit = self.limit.get();
        let all = self.used.get() + self.charged.get();
        limit == 0 || all.saturating_add(more) <= limit
    }

    /// Whether it is above nine tenths of the limit with some bytes more.
    pub(crate) fn is_nearly_full(&self, more: usize) -> bool {
        let limit = self.limit.get();
        let all = self.used.get() + self.charged.get();
        limit > 0 && all.saturating_add(more) > limit / 10 * 9
    }

    /// Counts what its sockets have received and nobody has read: a number of bytes instead of another one.
    pub(crate) fn count_received(&self, before: usize, now: usize) {
        self.received.set(self.received.get() - before + now);
    }

    /// How many bytes its sockets may hold: as many as it may have besides.
    pub(crate) fn most_received(&self) -> usize {
        self.limit().unwrap_or(usize::MAX)
    }

    /// How many bytes its sockets hold.
    pub(crate) fn received(&self) -> usize {
        self.received.get()
    }

    /// Sets how many bytes the state may have, or 0 for any number. From there on it gets no more: Lua collects garbage and raises an error.
    /// Tells what it was before.
    pub(crate) fn set_limit(&self, bytes: usize) -> usize {
        self.limit.replace(bytes)
    }
}

/// What a timer takes, about.
const BYTES_A_TIMER: usize = 32;

/// Memory of Rust's that counts as a state's, until this is dropped. Lua's own figures leave it out.
#[derive(Debug, Default)]
pub(crate) struct Charge {
    /// None in a state without a count.
    memory: Option<Rc<StateMemory>>,
    bytes: usize,
}

impl Charge {
    /// A charge of a state for this many bytes.
    ///
    /// # Errors
    /// They are above its limit, also when garbage is collected.
    pub(crate) fn new(lua: &Lua, bytes: usize) -> mlua::Result<Self> {
        let mut charge = Self {
            memory: StateMemory::of(lua),
            bytes: 0,
        };
        charge.resize(lua, bytes)?;
        Ok(charge)
    }

    /// Changes the number of bytes.
    ///
    /// # Errors
    /// As with [`new`](Self::new). Then nothing has changed.
    pub(crate) fn resize(&mut self, lua: &Lua, bytes: usize) -> mlua::Result<()> {
        let Some(memory) = &self.memory else {
            return Ok(());
        };
        if let Some(more) = bytes.checked_sub(self.bytes).filter(|more| *more > 0) {
            memory.make_room(lua, more)?;
        }
        memory
            .charged
            .set(memory.charged.get() - self.bytes + bytes);
        self.bytes = bytes;
        Ok(())
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let Some(memory) = &self.memory {
            memory.charged.set(memory.charged.get() - self.bytes);
        }
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
    let is_above = limit > 0 && after + memory.charged.get() > limit;
    if new > old && (is_too_large || is_above) {
        return null_mut();
    }
    if new == 0 && old == 0 {
        return null_mut();
    }
    if after == 0 {
        // The last of it is what the handler of a signal looks at.
        super::leave_state();
    }
    let room = Room { used, limit };
    // SAFETY: the place comes from this share, which is that of the state for all of its life, with this size.
    let found = unsafe { memory.share.resize(place.cast(), old, new, room) };
    if !found.is_null() || new == 0 {
        memory.used.set(after);
    }
    found.cast()
}
