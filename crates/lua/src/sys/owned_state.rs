//! A Lua state whose memory is counted, and comes from the pool of its thread.

use std::cell::Cell;
use std::ffi::c_int;
use std::fmt;
use std::ops::Deref;
use std::ptr::{NonNull, null_mut};
use std::rc::Rc;
use std::sync::Arc;

use mlua::{Function, Lua, ffi, lua_State};

use super::compiled::Compiled;
use super::memory::{StateMemory, resize};

/// A state with all standard libraries. Dropping it closes it: finalizers run, and what Rust still holds of its values is of no use.
pub(crate) struct OwnedState {
    /// Its first thread.
    state: NonNull<lua_State>,
    /// What mlua keeps in the state.
    lua: Option<NonNull<Lua>>,
    memory: Rc<StateMemory>,
    /// Code that it uses where it is.
    code: Cell<Vec<Arc<Compiled>>>,
}

impl OwnedState {
    /// Makes a state that may have this number of bytes from then on, or any if it is 0.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn new(limit: usize) -> mlua::Result<Self> {
        let no_memory = || mlua::Error::MemoryError("not enough memory for a state".to_owned());
        let memory = Rc::new(StateMemory::default());
        // SAFETY: the memory lives longer than the state, which is closed before it is dropped.
        let state = unsafe {
            let seed = ffi::luaL_makeseed(null_mut());
            let memory = Rc::as_ptr(&memory).cast_mut();
            ffi::lua_newstate(resize, memory.cast(), seed)
        };
        // From here on the state is closed if something fails.
        let mut this = Self {
            state: NonNull::new(state).ok_or_else(no_memory)?,
            lua: None,
            memory,
            code: Cell::default(),
        };
        // SAFETY: a script could break the state by `debug` (`debug.setmetatable` and `debug.upvaluejoin` of what Rust made) or by a C
        // module. A script is code of the operator's, as a C module is: it may do what the process may. Nothing is shared with another
        // state. Nothing in the two functions needs to be dropped when they raise an error. What mlua keeps in the state lives as long as
        // the state, at the same place: a script cannot reach it but by `debug`.
        unsafe {
            // mlua finds the basic functions there; what it keeps is older than the files of `io`, and outlives them.
            protected(state, open_base).map_err(|()| no_memory())?;
            this.lua = Some(NonNull::from(Lua::get_or_init_from_ptr(state)));
            protected(state, open_all).map_err(|()| no_memory())?;
        }
        this.memory.set_limit(limit);
        Ok(this)
    }

    /// The function of compiled code, which stays as long as the state.
    ///
    /// # Errors
    /// There is no memory.
    pub(crate) fn load_compiled(&self, code: Arc<Compiled>) -> mlua::Result<Function> {
        // SAFETY: the code is dropped after the state is closed.
        let function = unsafe { code.load(self) };
        // A service has one script, and some a second one that loads it: nothing is loaded again and again.
        let mut all = self.code.take();
        all.push(code);
        self.code.set(all);
        function
    }

    /// Its first thread.
    pub(super) fn main(&self) -> *mut lua_State {
        self.state.as_ptr()
    }

    /// What it has of memory.
    pub(crate) fn memory(&self) -> &Rc<StateMemory> {
        &self.memory
    }
}

impl Deref for OwnedState {
    type Target = Lua;

    fn deref(&self) -> &Lua {
        let lua = self
            .lua
            .expect("it is set before anybody else has the state");
        // SAFETY: it lives in the state until that is closed.
        unsafe { lua.as_ref() }
    }
}

impl Drop for OwnedState {
    fn drop(&mut self) {
        // SAFETY: the state is open, and nobody runs it: it is on no other thread, and what runs it has a reference to `self`. mlua's values
        // that are left find that their state is gone.
        unsafe { ffi::lua_close(self.state.as_ptr()) };
    }
}

impl fmt::Debug for OwnedState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OwnedState").field(&self.memory).finish()
    }
}

/// Calls a function that returns nothing.
///
/// # Safety
/// The state has room for a value.
unsafe fn protected(state: *mut lua_State, function: ffi::lua_CFunction) -> Result<(), ()> {
    // SAFETY: a function without values it closes over takes no memory. The error, if there is one, is popped.
    unsafe {
        ffi::lua_pushcfunction(state, function);
        match ffi::lua_pcall(state, 0, 0, 0) {
            ffi::LUA_OK => Ok(()),
            _ => {
                ffi::lua_pop(state, 1);
                Err(())
            }
        }
    }
}

unsafe extern "C-unwind" fn open_base(state: *mut lua_State) -> c_int {
    // SAFETY: Lua calls it with room for more values.
    unsafe { ffi::luaL_requiref(state, c"_G".as_ptr(), ffi::luaopen_base, 1) };
    0
}

unsafe extern "C-unwind" fn open_all(state: *mut lua_State) -> c_int {
    // SAFETY: as above.
    unsafe { ffi::luaL_openlibs(state) };
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1 << 20;

    #[test]
    fn what_a_state_has_is_what_lua_counts_and_nothing_is_left_of_it() {
        let lua = OwnedState::new(0).expect("there is memory");
        let memory = lua.memory().clone();
        let script = "kept = {} for i = 1, 1000 do kept[i] = ('x'):rep(i) .. i end
            for i = 1, 1000, 3 do kept[i] = nil end
            collectgarbage() return collectgarbage 'count' * 1024";
        let counted: f64 = lua.load(script).eval().expect("it is Lua");
        // What the call itself takes comes and goes.
        assert!((memory.used() as f64 - counted).abs() < 4096.0);
        drop(lua);
        assert_eq!(memory.used(), 0);
    }

    #[test]
    fn a_state_at_its_limit_gets_no_more_and_goes_on_when_something_is_gone() {
        let lua = OwnedState::new(LIMIT).expect("there is memory");
        let fill = "kept = {} while true do kept[#kept + 1] = ('x'):rep(1000) .. #kept end";
        let error = lua.load(fill).exec().expect_err("there is a limit");
        assert!(error.to_string().contains("not enough memory"), "{error}");
        let used = lua.memory().used();
        assert!((LIMIT / 2..=LIMIT).contains(&used), "{used}");
        // Small and large values are refused alike.
        assert!(lua.load("return ('x'):rep(1 << 20)").exec().is_err());
        let again = "kept = nil collectgarbage() return #('x'):rep(500000)";
        assert_eq!(lua.load(again).eval::<usize>().expect("it fits"), 500_000);
        assert_eq!(lua.memory().set_limit(0), LIMIT);
        assert!(lua.load("big = ('x'):rep(4 << 20)").exec().is_ok());
    }

    #[test]
    fn values_that_outlive_their_state_are_dropped_without_harm() {
        let lua = OwnedState::new(0).expect("there is memory");
        let table = lua.create_table().expect("there is memory");
        let function = lua.create_function(|_, ()| Ok(1)).expect("it is made");
        lua.globals().set("kept", &function).expect("it is set");
        drop(lua);
        drop((table, function));
    }
}
