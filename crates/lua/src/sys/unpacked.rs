//! Packed values on their way into a state: they are made on Lua's stack, in one step.

use std::cell::Cell;
use std::ffi::c_int;
use std::ptr::without_provenance_mut;

use mlua::state::RawLua;
use mlua::{FromLuaMulti, IntoLuaMulti, Lua, MultiValue, ffi, lua_State};

use crate::packed::{DEEPEST, Packed};

/// Bytes whose values are pushed onto the stack.
#[derive(Debug)]
pub(crate) struct Unpacked<'a> {
    bytes: &'a [u8],
    is_refused: &'a Cell<bool>,
}

impl<'a> Unpacked<'a> {
    /// These values. The flag is set if they cannot be made: the bytes are not what packing makes, or there is no memory.
    pub(crate) fn new(bytes: &'a [u8], is_refused: &'a Cell<bool>) -> Self {
        Self { bytes, is_refused }
    }

    fn refused<T>(&self, status: c_int) -> mlua::Result<T> {
        self.is_refused.set(true);
        Err(match status {
            ffi::LUA_ERRMEM => mlua::Error::MemoryError("not enough memory".to_owned()),
            _ => mlua::Error::StackError,
        })
    }
}

impl IntoLuaMulti for Unpacked<'_> {
    fn into_lua_multi(self, lua: &Lua) -> mlua::Result<MultiValue> {
        lua.exec_raw_lua(|raw| {
            // SAFETY: what was pushed is on the top, and is popped in the end.
            unsafe {
                let top = ffi::lua_gettop(raw.state());
                let count = self.push_into_stack_multi(raw)?;
                let values = match ffi::lua_checkstack(raw.state(), 1) {
                    0 => Err(mlua::Error::StackError),
                    _ => MultiValue::from_stack_multi(count, raw),
                };
                ffi::lua_settop(raw.state(), top);
                values
            }
        })
    }

    unsafe fn push_into_stack_multi(self, lua: &RawLua) -> mlua::Result<c_int> {
        let state = lua.state();
        let mut reading = Reading {
            bytes: self.bytes,
            is_malformed: false,
        };
        // SAFETY: the function gets the address of `reading`, which lives until it returns. In the end there are its values on the stack, or
        // nothing.
        unsafe {
            if ffi::lua_checkstack(state, 3) == 0 {
                return self.refused(ffi::LUA_ERRMEM);
            }
            let top = ffi::lua_gettop(state);
            ffi::lua_pushcfunction(state, push_all);
            ffi::lua_pushlightuserdata(state, (&raw mut reading).cast());
            let status = ffi::lua_pcall(state, 1, ffi::LUA_MULTRET, 0);
            if status != ffi::LUA_OK || reading.is_malformed {
                ffi::lua_settop(state, top);
                return self.refused(status);
            }
            Ok(ffi::lua_gettop(state) - top)
        }
    }
}

struct Reading<'a> {
    bytes: &'a [u8],
    is_malformed: bool,
}

/// Room on the stack is made for this many values at a time.
const ROOM: c_int = 8;

/// Returns the values of the bytes that it is given the address of.
unsafe extern "C-unwind" fn push_all(state: *mut lua_State) -> c_int {
    // SAFETY: it is called with the address of a `Reading`, as above. Lua raises an error where it has no memory: nothing here needs to be
    // dropped then.
    unsafe {
        let reading = &mut *ffi::lua_touserdata(state, 1).cast::<Reading<'_>>();
        ffi::lua_settop(state, 0);
        let mut count = 0;
        while !reading.bytes.is_empty() {
            let has_room = count % ROOM != 0 || ffi::lua_checkstack(state, ROOM) != 0;
            if !has_room || !matches!(push(state, &mut reading.bytes, 0), Pushed::Value(_)) {
                reading.is_malformed = true;
                return 0;
            }
            count += 1;
        }
        count
    }
}

enum Pushed {
    /// A value, and whether a table may have it as a key.
    Value(bool),
    /// Nothing: it was an end.
    End,
    /// Nothing of use.
    Malformed,
}

/// Pushes the next value.
///
/// # Safety
/// Lua calls what calls it, and nothing of that needs to be dropped. The stack has room for a value.
unsafe fn push(state: *mut lua_State, bytes: &mut &[u8], depth: usize) -> Pushed {
    let Some(packed) = Packed::take(bytes) else {
        return Pushed::Malformed;
    };
    // SAFETY: as the caller says. The bytes of a text are copied.
    unsafe {
        match packed {
            Packed::Nil => {
                ffi::lua_pushnil(state);
                return Pushed::Value(false);
            }
            Packed::Flag(flag) => ffi::lua_pushboolean(state, flag.into()),
            Packed::Integer(number) => ffi::lua_pushinteger(state, number),
            Packed::Number(number) => {
                ffi::lua_pushnumber(state, number);
                return Pushed::Value(!number.is_nan());
            }
            Packed::Text(text) => {
                ffi::lua_pushlstring(state, text.as_ptr().cast(), text.len());
            }
            Packed::Pointer(address) => {
                ffi::lua_pushlightuserdata(state, without_provenance_mut(address));
            }
            Packed::Table if depth < DEEPEST => return push_table(state, bytes, depth + 1),
            Packed::Table => return Pushed::Malformed,
            Packed::End => return Pushed::End,
        }
    }
    Pushed::Value(true)
}

/// Pushes a table whose elements are next.
///
/// # Safety
/// As with [`push`].
unsafe fn push_table(state: *mut lua_State, bytes: &mut &[u8], depth: usize) -> Pushed {
    // SAFETY: as the caller says, and room is made for what is on the stack beside: a key and a value. A key is neither nil nor NaN.
    unsafe {
        if ffi::lua_checkstack(state, 4) == 0 {
            return Pushed::Malformed;
        }
        ffi::lua_createtable(state, 0, 0);
        for index in 1.. {
            match push(state, bytes, depth) {
                Pushed::Value(_) => ffi::lua_rawseti(state, -2, index),
                Pushed::End => break,
                Pushed::Malformed => return Pushed::Malformed,
            }
        }
        loop {
            match push(state, bytes, depth) {
                Pushed::Value(true) => {}
                Pushed::End => return Pushed::Value(true),
                _ => return Pushed::Malformed,
            }
            match push(state, bytes, depth) {
                Pushed::Value(_) => ffi::lua_rawset(state, -3),
                _ => return Pushed::Malformed,
            }
        }
    }
}
