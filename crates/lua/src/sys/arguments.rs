//! Values read where they are, on Lua's stack: nothing is made for them, neither in Lua nor in Rust.

use std::ffi::{c_int, c_void};
use std::marker::PhantomData;
use std::slice;

use mlua::state::RawLua;
use mlua::{FromLuaMulti, Lua, MultiValue, ffi, lua_State};

/// What is made of the arguments of a call.
pub(crate) trait ReadArguments: Sized {
    /// Made of values on the stack. None if it takes more than a look to read them.
    fn read(values: &Seen<'_>) -> Option<Self>;

    /// Made of any values.
    fn from_values(values: &MultiValue) -> Self;
}

/// The arguments of a function of Rust from some place on, as what is made of them.
#[derive(Debug)]
pub(crate) struct Arguments<T>(pub(crate) T);

impl<T: ReadArguments> FromLuaMulti for Arguments<T> {
    fn from_lua_multi(values: MultiValue, _: &Lua) -> mlua::Result<Self> {
        Ok(Self(T::from_values(&values)))
    }

    unsafe fn from_stack_multi(count: c_int, lua: &RawLua) -> mlua::Result<Self> {
        let state = lua.state();
        // SAFETY: mlua calls it with this number of values on the top of the stack of the state that runs.
        let seen = unsafe {
            Seen {
                state,
                first: ffi::lua_gettop(state) - count + 1,
                count,
                stack: PhantomData,
            }
        };
        if let Some(read) = T::read(&seen) {
            return Ok(Self(read));
        }
        // SAFETY: as above. What was looked at is still where it was.
        let values = unsafe { MultiValue::from_stack_multi(count, lua)? };
        Ok(Self(T::from_values(&values)))
    }
}

/// Values on the stack.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    state: *mut lua_State,
    first: c_int,
    count: c_int,
    stack: PhantomData<&'a lua_State>,
}

/// A value on the stack, which no code of a script's has a say in.
pub(crate) enum SeenValue<'a> {
    Nil,
    Flag(bool),
    Integer(i64),
    Number(f64),
    Text(&'a [u8]),
    /// A light userdata.
    Pointer(*mut c_void),
    /// A table without a metatable.
    Table(SeenTable<'a>),
}

/// A table on the stack.
pub(crate) struct SeenTable<'a> {
    state: *mut lua_State,
    /// Its place from the stack's beginning.
    index: c_int,
    stack: PhantomData<&'a lua_State>,
}

impl Seen<'_> {
    /// Shows each value. None as soon as `each` says so, or at a value that takes more than a look.
    pub(crate) fn for_each(&self, mut each: impl FnMut(SeenValue<'_>) -> Option<()>) -> Option<()> {
        for index in self.first..self.first + self.count {
            // SAFETY: the values are on the stack while `self` lives, which is for the time of a call.
            each(unsafe { look(self.state, index)? })?;
        }
        Some(())
    }
}

impl SeenTable<'_> {
    /// Shows each pair: first the elements from 1 on that Lua keeps in order. None as with [`Seen::for_each`].
    pub(crate) fn for_each(
        &self,
        mut each: impl FnMut(SeenValue<'_>, SeenValue<'_>) -> Option<()>,
    ) -> Option<()> {
        let state = self.state;
        // SAFETY: the table is on the stack while `self` lives. There is room for a key, a value, and the metatable of one of them. Nothing
        // changes the table, since nothing here runs code of a script: `lua_next` gets its own keys, and raises no error. In the end the
        // stack is as it was.
        unsafe {
            if ffi::lua_checkstack(state, 4) == 0 {
                return None;
            }
            let top = ffi::lua_gettop(state);
            ffi::lua_pushnil(state);
            while ffi::lua_next(state, self.index) != 0 {
                let pair = look(state, top + 1).zip(look(state, top + 2));
                let shown = pair.and_then(|(key, value)| each(key, value));
                if shown.is_none() {
                    ffi::lua_settop(state, top);
                    return None;
                }
                ffi::lua_settop(state, top + 1);
            }
        }
        Some(())
    }
}

/// The value at a place on the stack. None if it takes more than a look.
///
/// # Safety
/// There is such a value, and it stays there as long as what is returned. The stack has room for one more.
unsafe fn look<'a>(state: *mut lua_State, index: c_int) -> Option<SeenValue<'a>> {
    // SAFETY: as the caller says. None of the calls raises an error or makes something: a string is asked for its bytes only if it is one.
    unsafe {
        Some(match ffi::lua_type(state, index) {
            ffi::LUA_TNIL => SeenValue::Nil,
            ffi::LUA_TBOOLEAN => SeenValue::Flag(ffi::lua_toboolean(state, index) != 0),
            ffi::LUA_TNUMBER if ffi::lua_isinteger(state, index) != 0 => {
                SeenValue::Integer(ffi::lua_tointeger(state, index))
            }
            ffi::LUA_TNUMBER => SeenValue::Number(ffi::lua_tonumber(state, index)),
            ffi::LUA_TSTRING => {
                let mut length = 0;
                let text = ffi::lua_tolstring(state, index, &raw mut length);
                SeenValue::Text(slice::from_raw_parts(text.cast(), length))
            }
            ffi::LUA_TLIGHTUSERDATA => SeenValue::Pointer(ffi::lua_touserdata(state, index)),
            ffi::LUA_TTABLE if ffi::lua_getmetatable(state, index) == 0 => {
                SeenValue::Table(SeenTable {
                    state,
                    index,
                    stack: PhantomData,
                })
            }
            ffi::LUA_TTABLE => {
                ffi::lua_pop(state, 1);
                return None;
            }
            _ => return None,
        })
    }
}
