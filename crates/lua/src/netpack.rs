//! The functions of `skynet.netpack`.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::{AnyUserData, Function, IntoLuaMulti, Lua, MultiValue, UserData, Value};
use moorline_actor::Payload;

use crate::closing;
use crate::held::Held;
use crate::module::failure;
use crate::packets::{PacketQueue, Packets};
use crate::socket::DecodedEvent;
use crate::state::ServiceState;

/// A queue that a script hands back with each message.
struct ScriptPackets(RefCell<PacketQueue>);

impl UserData for ScriptPackets {}

/// The function with a name, or none.
pub(crate) fn function(
    lua: &Lua,
    state: &Rc<ServiceState>,
    name: &str,
) -> mlua::Result<Option<Function>> {
    let state = state.clone();
    let function = match name {
        "netpack_filter" => closing::function(
            lua,
            move |lua, (queue, message, _): (Value, Value, Value)| {
                filter(lua, &state, queue, &message)
            },
        ),
        "netpack_pop" => closing::function(lua, move |lua, queue: Option<AnyUserData>| {
            let Some(queue) = queue else {
                return Ok(MultiValue::new());
            };
            let packet = queue.borrow::<ScriptPackets>()?.0.borrow_mut().pop();
            match packet {
                None => Ok(MultiValue::new()),
                Some((id, packet)) => {
                    let (pointer, size) = state.hold(Payload::Bytes(packet)).map_err(failure)?;
                    (id, pointer, size).into_lua_multi(lua)
                }
            }
        }),
        "netpack_pack" => closing::function(lua, move |_, (data, size): (Value, Option<usize>)| {
            let packed = Held::read(&state.held, &data, |bytes| {
                pack(&bytes[..size.unwrap_or(bytes.len()).min(bytes.len())])
            });
            Ok(
                match packed
                    .ok_or_else(|| "a string is packed".to_owned())
                    .flatten()
                {
                    Ok(packet) => {
                        let (pointer, size) =
                            state.hold(Payload::Bytes(packet)).map_err(failure)?;
                        (pointer, Some(size), None)
                    }
                    Err(why) => (Value::Nil, None, Some(why)),
                },
            )
        }),
        "netpack_clear" => closing::function(lua, |_, queue: Option<AnyUserData>| {
            if let Some(queue) = queue {
                queue.borrow::<ScriptPackets>()?.0.borrow_mut().clear();
            }
            Ok(())
        }),
        "netpack_tostring" => {
            closing::function(lua, move |lua, (message, size): (Value, Option<usize>)| {
                let text = Held::read(&state.held, &message, |bytes| {
                    lua.create_string(&bytes[..size.unwrap_or(bytes.len()).min(bytes.len())])
                });
                state.held.borrow_mut().release(&message);
                text.transpose()
            })
        }
        _ => return Ok(None),
    };
    function.map(Some)
}

/// A packet with its head.
fn pack(bytes: &[u8]) -> Result<Vec<u8>, String> {
    let length = u16::try_from(bytes.len())
        .map_err(|_| format!("Invalid size (too long) of data : {}", bytes.len()))?;
    Ok([&length.to_be_bytes(), bytes].concat())
}

/// The queue, what has happened, and to which socket.
fn filter(
    lua: &Lua,
    state: &ServiceState,
    queue: Value,
    message: &Value,
) -> mlua::Result<MultiValue> {
    let queue = match queue {
        Value::UserData(queue) => queue,
        _ => lua.create_userdata(ScriptPackets(RefCell::default()))?,
    };
    let found = {
        let packets = queue.borrow::<ScriptPackets>()?;
        Held::read(&state.held, message, |message| {
            let event = DecodedEvent::new(message)?;
            let mut packets = packets.0.borrow_mut();
            let received = match event.number {
                1 => packets.receive(event.id, event.bytes),
                3 | 5 => {
                    packets.forget(event.id);
                    Packets::None
                }
                _ => Packets::None,
            };
            let head = (event.number, event.id, event.detail);
            Some((
                head,
                received,
                String::from_utf8_lossy(event.bytes).into_owned(),
            ))
        })
    };
    let Some(((number, id, detail), received, text)) = found.flatten() else {
        return queue.into_lua_multi(lua);
    };
    match (number, received) {
        (1, Packets::One(packet)) => {
            let (pointer, size) = state.hold(Payload::Bytes(packet)).map_err(failure)?;
            (queue, "data", id, pointer, size).into_lua_multi(lua)
        }
        (1, Packets::More) => (queue, "more").into_lua_multi(lua),
        (2, _) => (queue, "init", id, text, detail).into_lua_multi(lua),
        (3, _) => (queue, "close", id).into_lua_multi(lua),
        (4, _) => (queue, "open", detail, text).into_lua_multi(lua),
        (5, _) => (queue, "error", id, text).into_lua_multi(lua),
        (7, _) => (queue, "warning", id, detail).into_lua_multi(lua),
        _ => queue.into_lua_multi(lua),
    }
}
