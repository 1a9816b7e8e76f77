//! Where `require` looks at last: modules in C, and the older names of modules.
//!
//! One function replaces Lua's two searchers of modules in C, so a state needs no more functions than before. Its code is Lua, which is
//! compiled when a script asks for such a module.

use mlua::{Function, Lua, MultiValue, Table};

use crate::builtin::current_name;

/// Puts it in the place of Lua's searchers of modules in C: the last two.
pub(crate) fn install(lua: &Lua, searchers: &Table) -> mlua::Result<()> {
    let count = searchers.raw_len();
    let of_file: Function = searchers.raw_get(count - 1)?;
    let of_package: Function = searchers.raw_get(count)?;
    searchers.raw_remove(count)?;
    let search = lua.create_function(move |lua, name: String| {
        let current = current_name(&name);
        lua.load(include_str!("../lua/last_searcher.lua"))
            .set_name("=require")
            .call::<MultiValue>((&of_file, &of_package, name, current))
    })?;
    searchers.raw_set(count - 1, search)
}
