//! Whether Lua calls the hooks of a coroutine.
//!
//! It does not while a finalizer or a hook runs, and has no function to change that. It says so in a byte of the coroutine, whose place
//! depends on the version of Lua. The version is pinned, and the place is looked at before it is used: if Lua changes it, such a finalizer is
//! named without its stack, and cannot be broken.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use mlua::{ffi, lua_State};

/// Bytes before the byte: a pointer, a type and a mark.
const PLACE: usize = size_of::<usize>() + 2;

/// The byte is where it is expected.
static IS_FOUND: AtomicBool = AtomicBool::new(false);

thread_local! {
    static SEEN: Cell<Option<u8>> = const { Cell::new(None) };
}

/// Looks whether the byte is where it is expected: it is 1, 0 in a hook, and 1 again.
pub(super) fn find() {
    // SAFETY: the state is nobody else's. A coroutine is larger than the place. The function that is called takes and returns nothing.
    unsafe {
        let state = ffi::luaL_newstate();
        if state.is_null() {
            return;
        }
        let before = place(state).read();
        SEEN.set(None);
        ffi::lua_sethook(state, Some(look), ffi::LUA_MASKCALL, 0);
        ffi::lua_pushcfunction(state, nothing);
        let status = ffi::lua_pcall(state, 0, 0, 0);
        let seen = (before, SEEN.take(), place(state).read());
        IS_FOUND.store(
            status == ffi::LUA_OK && seen == (1, Some(0), 1),
            Ordering::Release,
        );
        ffi::lua_close(state);
    }
}

unsafe extern "C-unwind" fn look(state: *mut lua_State, _: *mut ffi::lua_Debug) {
    // SAFETY: as above.
    SEEN.set(Some(unsafe { place(state).read() }));
}

unsafe extern "C-unwind" fn nothing(_: *mut lua_State) -> std::ffi::c_int {
    0
}

/// # Safety
/// The coroutine lives.
unsafe fn place(state: *mut lua_State) -> *mut u8 {
    // SAFETY: it is larger than that.
    unsafe { state.cast::<u8>().add(PLACE) }
}

/// Lets hooks be called, also in a finalizer or a hook. Also a handler of a signal may call it.
///
/// # Safety
/// The coroutine lives, and belongs to this thread.
pub(super) unsafe fn allow(state: *mut lua_State) {
    if IS_FOUND.load(Ordering::Acquire) {
        // SAFETY: as the caller says, and the byte is the flag. Lua takes 1 for it at any time: it sets it to what it was at the end of a
        // finalizer, of a hook and of a protected call.
        unsafe { place(state).write_volatile(1) };
    }
}

/// Whether hooks are called: not in a finalizer or in a hook.
///
/// # Safety
/// The coroutine lives.
pub(super) unsafe fn are_allowed(state: *mut lua_State) -> bool {
    // SAFETY: as above.
    IS_FOUND.load(Ordering::Acquire) && unsafe { place(state).read_volatile() } != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_version_of_lua_has_the_flag_where_it_is_expected() {
        find();
        assert!(IS_FOUND.load(Ordering::Acquire));
    }
}
