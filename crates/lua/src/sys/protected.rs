//! Functions of Lua's library that go on after an error of the script: they look whether its message is to end.
//!
//! In a finalizer Lua calls no hooks after such an error, so that a loop around it would go on for ever.

use std::ffi::c_int;
use std::sync::OnceLock;

use mlua::{Lua, Table, ffi, lua_State};

use super::{break_on, note};

/// Lua's own functions, the same in all states.
static PCALL: OnceLock<ffi::lua_CFunction> = OnceLock::new();
static XPCALL: OnceLock<ffi::lua_CFunction> = OnceLock::new();
static LOAD: OnceLock<ffi::lua_CFunction> = OnceLock::new();
static CLOSE: OnceLock<ffi::lua_CFunction> = OnceLock::new();

/// Puts them in the place of Lua's own.
///
/// # Errors
/// There is no memory.
pub(super) fn install(lua: &Lua, coroutine: &Table) -> mlua::Result<()> {
    let globals = lua.globals();
    replace(lua, &globals, "pcall", &PCALL, pcall)?;
    replace(lua, &globals, "xpcall", &XPCALL, xpcall)?;
    replace(lua, &globals, "load", &LOAD, load)?;
    replace(lua, coroutine, "close", &CLOSE, close)
}

fn replace(
    lua: &Lua,
    library: &Table,
    name: &str,
    own: &OnceLock<ffi::lua_CFunction>,
    by: ffi::lua_CFunction,
) -> mlua::Result<()> {
    let function: mlua::Value = library.raw_get(name)?;
    // SAFETY: a value is on the stack, which is only looked at; and `by` keeps to the stack that Lua gives it.
    let by = unsafe {
        let mut found = None;
        lua.exec_raw::<()>(function, |state| {
            found = ffi::lua_tocfunction(state, -1);
            ffi::lua_settop(state, 0);
        })?;
        if let Some(found) = found {
            own.get_or_init(|| found);
        }
        lua.create_c_function(by)?
    };
    library.raw_set(name, by)
}

/// Calls Lua's own function, then looks.
///
/// # Safety
/// Lua has called a function that stands in for `own`.
unsafe fn call(own: &OnceLock<ffi::lua_CFunction>, state: *mut lua_State) -> c_int {
    let Some(own) = own.get() else { return 0 };
    // SAFETY: the stack is as Lua has made it for `own`. Nothing here needs to be dropped if it raises an error or yields; if it yields, Lua
    // goes on in `own`.
    unsafe {
        let count = own(state);
        break_on(state);
        count
    }
}

unsafe extern "C-unwind" fn pcall(state: *mut lua_State) -> c_int {
    // SAFETY: as is said there.
    unsafe { call(&PCALL, state) }
}

unsafe extern "C-unwind" fn xpcall(state: *mut lua_State) -> c_int {
    // SAFETY: as is said there.
    unsafe { call(&XPCALL, state) }
}

unsafe extern "C-unwind" fn load(state: *mut lua_State) -> c_int {
    // SAFETY: as is said there.
    unsafe { call(&LOAD, state) }
}

/// `coroutine.close`, which notes that what the coroutine was about to close runs on it.
unsafe extern "C-unwind" fn close(state: *mut lua_State) -> c_int {
    // SAFETY: the arguments are on the stack, which has room for more values. A coroutine at rest is closed without an error being raised:
    // it is a value that stays behind.
    unsafe {
        let coroutine = ffi::lua_tothread(state, 1);
        if coroutine.is_null() || coroutine == state || !is_at_rest(coroutine) {
            return call(&CLOSE, state);
        }
        let before = note(coroutine);
        let status = ffi::lua_closethread(coroutine, state);
        note(before);
        ffi::lua_pushboolean(state, (status == ffi::LUA_OK).into());
        if status == ffi::LUA_OK {
            return 1;
        }
        ffi::lua_xmove(coroutine, state, 1);
        break_on(state);
        2
    }
}

/// Whether it waits, has not begun, or has ended.
///
/// # Safety
/// It lives.
unsafe fn is_at_rest(coroutine: *mut lua_State) -> bool {
    // SAFETY: as the caller says. Zero is a valid `lua_Debug`, which Lua fills.
    unsafe {
        if ffi::lua_status(coroutine) != ffi::LUA_OK {
            return true;
        }
        let mut frame: ffi::lua_Debug = std::mem::zeroed();
        ffi::lua_getstack(coroutine, 0, &raw mut frame) == 0
    }
}
