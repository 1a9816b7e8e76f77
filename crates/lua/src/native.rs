//! Which modules are written in Rust.

use std::rc::Rc;

use mlua::{Lua, Table};

use crate::state::ServiceState;
use crate::{bson, clients, crypt, lpeg, md5, mongo, refused, secrets, shared, sproto, stm, tls};

/// The table of a module with this name, or none.
pub(crate) fn module(
    lua: &Lua,
    state: &Rc<ServiceState>,
    name: &str,
) -> Option<mlua::Result<Table>> {
    Some(match name {
        "bson" => bson::module(lua),
        "skynet.crypt" | "client.crypt" => crypt::module(lua),
        "lpeg" => lpeg::module(lua, state),
        "md5" | "md5.core" => md5::module(lua),
        "moorline.clients" => clients::module(lua, state),
        "moorline.secrets" => secrets::module(lua),
        "skynet.mongo.driver" => mongo::module(lua),
        "ltls.c" => tls::module(lua, state),
        "ltls.init.c" => tls::init_module(lua),
        "skynet.sharedata.core" => shared::module(lua, state),
        "skynet.stm" => stm::module(lua, state),
        "sproto.core" => sproto::module(lua, state),
        "sprotoparser" => sproto::parser_module(lua),
        _ => return refused::module(lua, name),
    })
}
