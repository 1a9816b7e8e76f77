//! The functions about sockets that the Lua modules stand on.
//!
//! Those that can fail return `nil` and a reason behind what they return else; the Lua modules raise it where the script called them.

mod buffers;
mod datagrams;
mod opening;
mod streams;

use std::borrow::Cow;
use std::rc::Rc;

use mlua::{Function, Lua, Value};
use moorline_actor::Payload;

use crate::socket::SocketMode;
use crate::state::ServiceState;

/// The function with a name, or none.
pub(crate) fn function(
    lua: &Lua,
    state: &Rc<ServiceState>,
    name: &str,
) -> mlua::Result<Option<Function>> {
    let state = state.clone();
    let function = match name {
        "socket_connect" | "socket_listen" | "socket_bind" | "socket_start" | "socket_resolve"
        | "socket_split" => opening::function(lua, state, name),
        "socket_read" | "socket_readline" | "socket_readall" | "socket_block" | "socket_write"
        | "socket_lwrite" | "socket_close" | "socket_shutdown" | "socket_abandon"
        | "socket_hold" | "socket_release" | "socket_withdraw" | "socket_pause"
        | "socket_limit" | "socket_take" | "socket_finish" | "socket_state" | "socket_nodelay"
        | "socket_info" => streams::function(lua, state, name),
        "socket_udp" | "socket_udp_peer" | "socket_sendto" | "socket_udp_address" => {
            datagrams::function(lua, state, name)
        }
        "socket_header" | "driver_buffer" | "driver_push" | "driver_pop" | "driver_readall"
        | "driver_readline" | "driver_clear" | "driver_str2p" | "driver_unpack" => {
            buffers::function(lua, state, name)
        }
        _ => return Ok(None),
    };
    function.map(Some)
}

fn mode(is_raw: Option<bool>) -> SocketMode {
    match is_raw {
        Some(true) => SocketMode::Raw,
        _ => SocketMode::Buffered,
    }
}

/// The bytes that a script wants to send: a string, a number, a table of strings, or a message that it holds, and its size. Those of a
/// string are borrowed for the time of `send`.
fn with_outgoing<R>(
    state: &ServiceState,
    data: &Value,
    size: Option<usize>,
    send: impl FnOnce(Cow<'_, [u8]>) -> R,
) -> Result<R, String> {
    match data {
        Value::String(text) => Ok(send(Cow::Borrowed(&text.as_bytes()))),
        Value::Integer(number) => Ok(send(Cow::Owned(number.to_string().into_bytes()))),
        Value::Number(number) => Ok(send(Cow::Owned(number.to_string().into_bytes()))),
        Value::Table(parts) => {
            let mut all = Vec::new();
            for (index, part) in parts.sequence_values::<Value>().enumerate() {
                match part {
                    Ok(Value::String(text)) => all.extend_from_slice(&text.as_bytes()),
                    _ => return Err(format!("Invalid strings : {} is no string", index + 1)),
                }
            }
            Ok(send(Cow::Owned(all)))
        }
        Value::LightUserData(_) => {
            let payload = state.held.borrow_mut().take(data);
            let mut bytes = match payload {
                Some(Payload::Bytes(bytes)) => bytes,
                Some(Payload::Shared(bytes)) => bytes.to_vec(),
                Some(Payload::Failure(text)) => text.as_bytes().to_vec(),
                Some(_) => Vec::new(),
                None => return Err("the message was sent or dropped before".to_owned()),
            };
            bytes.truncate(size.unwrap_or(usize::MAX));
            Ok(send(Cow::Owned(bytes)))
        }
        other => Err(format!(
            "a {} cannot be written: give a string, a table of strings, or a message and its size",
            other.type_name()
        )),
    }
}
