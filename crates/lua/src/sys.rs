//! What mlua offers as unsafe only: a Lua state with the `debug` library, as scripts expect it.

use mlua::{Lua, LuaOptions, StdLib};

/// A state with all standard libraries.
#[expect(unsafe_code, reason = "mlua calls a state with `debug` unsafe")]
pub(crate) fn new_state() -> Lua {
    // SAFETY: a script could break the state by `debug` (`debug.setmetatable` and `debug.upvaluejoin` of what Rust made) or by a C module.
    // A script is code of the operator's, as a C module is: it may do what the process may. Nothing is shared with another state.
    unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().catch_rust_panics(true)) }
}
