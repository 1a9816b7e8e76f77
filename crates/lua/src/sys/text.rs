//! A text on its way into a state: it is made on Lua's stack, and nowhere else.

use std::cell::Cell;
use std::ffi::c_int;

use mlua::state::RawLua;
use mlua::{IntoLua, Lua, Value, ffi, lua_State};

/// Bytes that are pushed onto the stack as a text.
#[derive(Debug)]
pub(crate) struct StackText<'a> {
    bytes: &'a [u8],
    is_refused: &'a Cell<bool>,
}

impl<'a> StackText<'a> {
    /// These bytes. The flag is set if there is no memory for the text.
    pub(crate) fn new(bytes: &'a [u8], is_refused: &'a Cell<bool>) -> Self {
        Self { bytes, is_refused }
    }
}

impl IntoLua for StackText<'_> {
    fn into_lua(self, lua: &Lua) -> mlua::Result<Value> {
        let text = lua.create_string(self.bytes);
        self.is_refused.set(text.is_err());
        text.map(Value::String)
    }

    unsafe fn push_into_stack(self, lua: &RawLua) -> mlua::Result<()> {
        let state = lua.state();
        let mut bytes = self.bytes;
        // SAFETY: the function gets the address of `bytes`, which lives until it returns. In the end there is its value on the stack, or
        // nothing.
        unsafe {
            if ffi::lua_checkstack(state, 2) == 0 {
                self.is_refused.set(true);
                return Err(mlua::Error::StackError);
            }
            ffi::lua_pushcfunction(state, push_text);
            ffi::lua_pushlightuserdata(state, (&raw mut bytes).cast());
            if ffi::lua_pcall(state, 1, 1, 0) != ffi::LUA_OK {
                // The error's value.
                ffi::lua_pop(state, 1);
                self.is_refused.set(true);
                return Err(mlua::Error::MemoryError("not enough memory".to_owned()));
            }
        }
        Ok(())
    }
}

/// Returns a text of the bytes that it is given the address of.
unsafe extern "C-unwind" fn push_text(state: *mut lua_State) -> c_int {
    // SAFETY: it is called with the address of bytes, as above. Lua copies them, or raises an error where it has no memory: nothing here
    // needs to be dropped then.
    unsafe {
        let bytes = *ffi::lua_touserdata(state, 1).cast::<&[u8]>();
        ffi::lua_pushlstring(state, bytes.as_ptr().cast(), bytes.len());
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::OwnedState;

    #[test]
    fn a_text_arrives_as_it_is_and_without_memory_nothing_is_called() {
        let lua = OwnedState::new(1 << 20).expect("there is memory");
        let length = lua.load("calls = 0 return function(text, ...) calls = calls + 1 return #text, select('#', ...) end");
        let length: mlua::Function = length.eval().expect("it is made");
        let is_refused = Cell::new(false);
        let call = |bytes: &[u8]| length.call::<(usize, usize)>(StackText::new(bytes, &is_refused));
        for size in [0, 1, 128, 64 << 10] {
            assert_eq!(call(&vec![0xff; size]).ok(), Some((size, 0)));
        }
        assert!(!is_refused.get());
        let call =
            |bytes: &[u8]| length.call::<(usize, usize)>((StackText::new(bytes, &is_refused), 7));
        assert_eq!(call(b"x").ok(), Some((1, 1)));
        assert!(call(&vec![0; 2 << 20]).is_err());
        assert!(is_refused.get());
        let calls: usize = lua.load("return calls").eval().expect("it is a number");
        assert_eq!(calls, 5);
    }
}
