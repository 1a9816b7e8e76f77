//! Compiled Lua code that states use where it is: instructions and lines are in memory once, however many states run them.

use std::ffi::CString;

use mlua::{Function, Lua, ffi};

/// What a function was compiled to.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// Lua reads instructions where they are, so that the beginning is aligned as they are.
    words: Box<[u64]>,
    /// The bytes of it that are used.
    size: usize,
    name: CString,
}

impl Compiled {
    /// The code of a function with a chunk's name as Lua has it, with or without names and lines for errors and for debugging.
    pub(crate) fn new(function: &Function, name: &str, has_lines: bool) -> Self {
        let bytes = function.dump(!has_lines);
        let words = bytes.chunks(8).map(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            u64::from_ne_bytes(word)
        });
        Self {
            words: words.collect(),
            size: bytes.len(),
            // A name with a zero would be cut there, too.
            name: CString::new(name).unwrap_or_default(),
        }
    }

    /// The bytes that it takes, about.
    pub(crate) fn size(&self) -> usize {
        self.size
    }

    /// The function in a state.
    ///
    /// # Errors
    /// There is no memory.
    ///
    /// # Safety
    /// The code lives longer than the state.
    pub(super) unsafe fn load(&self, lua: &Lua) -> mlua::Result<Function> {
        // SAFETY: Lua has made the code itself, and may use it where it is as long as the caller says. It leaves a function or an error on
        // the stack.
        unsafe {
            lua.exec_raw((), |state| {
                let status = ffi::luaL_loadbufferx(
                    state,
                    self.words.as_ptr().cast(),
                    self.size,
                    self.name.as_ptr(),
                    c"B".as_ptr(),
                );
                if status != ffi::LUA_OK {
                    ffi::lua_error(state);
                }
            })
        }
    }
}

/// The function of code that lives as long as the process.
///
/// # Errors
/// There is no memory.
pub(crate) fn load_static(lua: &Lua, code: &'static Compiled) -> mlua::Result<Function> {
    // SAFETY: it lives for ever.
    unsafe { code.load(lua) }
}
