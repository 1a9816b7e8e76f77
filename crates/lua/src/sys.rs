//! What is offered as unsafe only: a Lua state with the `debug` library, and a descriptor by its number, as scripts expect them.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};

use mlua::{Lua, LuaOptions, StdLib};

/// A state with all standard libraries.
#[expect(unsafe_code, reason = "mlua calls a state with `debug` unsafe")]
pub(crate) fn new_state() -> Lua {
    // SAFETY: a script could break the state by `debug` (`debug.setmetatable` and `debug.upvaluejoin` of what Rust made) or by a C module.
    // A script is code of the operator's, as a C module is: it may do what the process may. Nothing is shared with another state.
    unsafe { Lua::unsafe_new_with(StdLib::ALL, LuaOptions::new().catch_rust_panics(true)) }
}

/// A duplicate of the descriptor with a number.
///
/// # Errors
/// There is none with this number, or there are too many.
#[expect(
    unsafe_code,
    reason = "the standard library has no safe way from a number to a descriptor"
)]
pub(crate) fn duplicate(number: i32) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(rustix::io::Errno::BADF.into());
    }
    // SAFETY: the number is not -1, and the borrow ends with the system call, which refuses a number that is no descriptor. Nothing else
    // in the process is closed or changed by a duplicate.
    let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
    Ok(rustix::io::fcntl_dupfd_cloexec(descriptor, 3)?)
}
