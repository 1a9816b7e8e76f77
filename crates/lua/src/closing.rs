//! The end of a Lua state: finalizers of the script run while it closes, when functions of Rust can use nothing of it any more.

use std::cell::Cell;

use mlua::{Lua, Table};

thread_local! {
    static IS_CLOSING: Cell<bool> = const { Cell::new(false) };
}

/// The state is about to be dropped: from here on functions of Rust refuse to work, until [`Closing`] is dropped.
pub(crate) fn begin(lua: &Lua) {
    // Functions that were made are made again when a script asks for them, which is refused then.
    let package: mlua::Result<Table> = lua.globals().get("package");
    let loaded = package.and_then(|package| package.get::<Table>("loaded"));
    if let Ok(core) = loaded.and_then(|loaded| loaded.get::<Table>("moorline.core")) {
        let _ = core.clear();
    }
    IS_CLOSING.set(true);
}

/// An error while a state of this thread closes.
pub(crate) fn refuse() -> mlua::Result<()> {
    match IS_CLOSING.get() {
        true => Err(mlua::Error::RuntimeError(
            "the service has ended".to_owned(),
        )),
        false => Ok(()),
    }
}

/// Stands behind a state in what owns it: it is dropped when the state has closed.
pub(crate) struct Closing;

impl Drop for Closing {
    fn drop(&mut self) {
        IS_CLOSING.set(false);
    }
}
