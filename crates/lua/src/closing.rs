//! The end of a Lua state: finalizers of the script run while it closes, when functions of Rust can use nothing of it any more.

use std::cell::Cell;

use mlua::{FromLuaMulti, Function, IntoLuaMulti, Lua, Table};

use crate::sys::Running;

thread_local! {
    static IS_CLOSING: Cell<bool> = const { Cell::new(false) };
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

/// Makes a function of Rust for scripts, which refuses to work while its state closes: a script may have kept it for a finalizer.
///
/// # Errors
/// There is no memory.
pub fn function<A, R, F>(lua: &Lua, function: F) -> mlua::Result<Function>
where
    A: FromLuaMulti,
    R: IntoLuaMulti,
    F: Fn(&Lua, A) -> mlua::Result<R> + 'static,
{
    lua.create_function(move |lua, arguments: A| {
        refuse()?;
        function(lua, arguments)
    })
}

/// Stands behind a state in what owns it: it is dropped when the state has closed.
#[derive(Debug, Default)]
pub(crate) struct Closing(Option<Running>);

impl Closing {
    /// The state is about to be dropped: from here on functions of Rust refuse to work, until this is dropped. Finalizers are watched as
    /// messages are.
    pub(crate) fn begin(&mut self, lua: &Lua, running: Running) {
        // Functions that were made are made again when a script asks for them, which is refused then.
        let package: mlua::Result<Table> = lua.globals().get("package");
        let loaded = package.and_then(|package| package.get::<Table>("loaded"));
        if let Ok(core) = loaded.and_then(|loaded| loaded.get::<Table>("moorline.core")) {
            let _ = core.clear();
        }
        running.is_closing();
        self.0 = Some(running);
        IS_CLOSING.set(true);
    }
}

impl Drop for Closing {
    fn drop(&mut self) {
        IS_CLOSING.set(false);
    }
}
