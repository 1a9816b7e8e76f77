//! Which modules are written in Rust.

use mlua::{Lua, Table};

use crate::{crypt, md5};

/// The table of a module with this name, or none.
pub(crate) fn module(lua: &Lua, name: &str) -> Option<mlua::Result<Table>> {
    Some(match name {
        "skynet.crypt" | "client.crypt" => crypt::module(lua),
        "md5" | "md5.core" => md5::module(lua),
        _ => return None,
    })
}
