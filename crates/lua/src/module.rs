//! Modules whose functions are written in Rust.

use std::fmt::Display;

use crate::closing;
use mlua::{FromLuaMulti, Function, IntoLua, IntoLuaMulti, Lua, MultiValue, Table, Value};

/// The table of a module while it is filled.
///
/// An error of a function is a text with the place where the script called it, as a function of Lua's own library raises it: scripts
/// match on texts, and on what mlua raises they cannot.
pub(crate) struct Module<'a> {
    lua: &'a Lua,
    table: Table,
    raising: Function,
}

/// Gets a function that returns a failure, or nil and its values.
const RAISING: &str = "local f = ...
local function raised(failure, ...)
	if failure then
		error(failure, 2)
	end
	return ...
end
return function(...)
	return raised(f(...))
end";

impl<'a> Module<'a> {
    pub(crate) fn new(lua: &'a Lua) -> mlua::Result<Self> {
        Ok(Self {
            lua,
            table: lua.create_table()?,
            raising: lua.load(RAISING).set_name("=module").into_function()?,
        })
    }

    /// Adds a value.
    pub(crate) fn value(self, name: &str, value: impl IntoLua) -> mlua::Result<Self> {
        self.table.raw_set(name, value)?;
        Ok(self)
    }

    /// Adds a function.
    pub(crate) fn function<A, R, F>(self, name: &'static str, function: F) -> mlua::Result<Self>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti,
        F: Fn(&Lua, A) -> mlua::Result<R> + 'static,
    {
        let raising = self.raise(name, function)?;
        self.value(name, raising)
    }

    /// A function that is not in the table. The name is that of its complaints.
    pub(crate) fn raise<A, R, F>(&self, name: &'static str, function: F) -> mlua::Result<Function>
    where
        A: FromLuaMulti,
        R: IntoLuaMulti,
        F: Fn(&Lua, A) -> mlua::Result<R> + 'static,
    {
        let checked = self.lua.create_function(move |lua, values: MultiValue| {
            closing::refuse()?;
            let returned = A::from_lua_args(values, 1, Some(name), lua)
                .and_then(|arguments| function(lua, arguments))
                .and_then(|returned| returned.into_lua_multi(lua));
            match returned {
                Ok(mut returned) => {
                    returned.push_front(Value::Nil);
                    Ok(returned)
                }
                // There may be no memory for a text.
                Err(error @ mlua::Error::MemoryError(_)) => Err(error),
                Err(error) => (text(&error), ()).into_lua_multi(lua),
            }
        })?;
        self.raising.call(checked)
    }

    pub(crate) fn into_table(self) -> Table {
        self.table
    }
}

/// An error with this text.
pub(crate) fn failure(text: impl Display) -> mlua::Error {
    mlua::Error::RuntimeError(text.to_string())
}

/// What a script gets as the text of an error.
pub(crate) fn text(error: &mlua::Error) -> String {
    match error {
        mlua::Error::RuntimeError(text) => text.clone(),
        mlua::Error::CallbackError { cause, .. } => text(cause),
        mlua::Error::BadArgument { to, pos, cause, .. } => {
            let to = to.as_deref().unwrap_or("?");
            let why = match &**cause {
                mlua::Error::FromLuaConversionError { from, to, .. } => {
                    format!("{} expected, got {}", lua_type(to), lua_type(from))
                }
                cause => text(cause),
            };
            format!("bad argument #{pos} to '{to}' ({why})")
        }
        other => other.to_string(),
    }
}

/// Lua's name of a type of ours.
fn lua_type(name: &str) -> &str {
    match name {
        "String" | "&str" | "LuaString" => "string",
        "integer" | "i64" | "u64" | "i32" | "u32" | "u16" | "u8" | "usize" | "f64" => "number",
        "Table" => "table",
        "Function" => "function",
        "bool" => "boolean",
        "lightuserdata" | "AnyUserData" => "userdata",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_a_text_with_the_place_of_the_call() {
        let lua = Lua::new();
        let table = Module::new(&lua)
            .and_then(|module| {
                module.function("half", |_, number: i64| match number % 2 {
                    0 => Ok(number / 2),
                    _ => Err(failure("it is odd")),
                })
            })
            .expect("it is made")
            .into_table();
        lua.globals().set("m", table).expect("it is set");
        let script = "local ok, odd = pcall(function() local x = m.half(3) return x end)
            local _, none = pcall(function() local x = m.half('x') return x end)
            return m.half(4), odd, none";
        let (half, odd, none): (i64, String, String) = lua
            .load(script)
            .set_name("=script")
            .eval()
            .expect("it runs");
        assert_eq!(half, 2);
        assert_eq!(odd, "script:1: it is odd");
        assert_eq!(
            none,
            "script:2: bad argument #1 to 'half' (number expected, got string)"
        );
    }
}
