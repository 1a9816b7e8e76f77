//! Why a match fails as a call, and how its caller gets to know.

use std::rc::Rc;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Value};
use moorline_lpeg::MatchError;

use super::shared::LpegShared;
use crate::module;

/// An error of a match.
#[derive(Debug)]
pub(super) enum LpegFault {
    /// Of ours: the text gets the place of the call.
    Text(String),
    /// A function of the script's has raised it. It goes on as it is.
    Raised(Value),
    Lua(mlua::Error),
}

impl From<mlua::Error> for LpegFault {
    fn from(error: mlua::Error) -> Self {
        Self::Lua(error)
    }
}

impl From<MatchError> for LpegFault {
    fn from(error: MatchError) -> Self {
        Self::Text(error.to_string())
    }
}

/// Gets a function that returns an error and its level, or two times nil and its values.
const RAISING: &str = "local f = ...
local function raised(failure, level, ...)
	if level then
		error(failure, level)
	end
	return ...
end
return function(...)
	return raised(f(...))
end";

/// A function of Lua that raises its faults.
pub(super) fn raising<F>(lua: &Lua, shared: &Rc<LpegShared>, function: F) -> mlua::Result<Function>
where
    F: Fn(&Lua, &LpegShared, MultiValue) -> Result<Vec<Value>, LpegFault> + 'static,
{
    let shared = Rc::clone(shared);
    let checked = lua.create_function(move |lua, arguments: MultiValue| {
        let fault = match function(lua, &shared, arguments) {
            Ok(values) => {
                let nils = [Value::Nil, Value::Nil];
                return Ok(nils.into_iter().chain(values).collect());
            }
            Err(fault) => fault,
        };
        match fault {
            LpegFault::Text(text) => (text, 2).into_lua_multi(lua),
            LpegFault::Raised(value) => (value, 0).into_lua_multi(lua),
            // There may be no memory for a text.
            LpegFault::Lua(error @ mlua::Error::MemoryError(_)) => Err(error),
            LpegFault::Lua(error) => (module::text(&error), 2).into_lua_multi(lua),
        }
    })?;
    lua.load(RAISING).set_name("=lpeg").call(checked)
}
