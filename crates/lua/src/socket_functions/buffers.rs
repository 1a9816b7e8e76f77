//! What scripts use that handle messages of sockets themselves.

use std::cell::RefCell;
use std::rc::Rc;

use mlua::IntoLuaMulti;
use mlua::{AnyUserData, Function, Lua, LuaString, MultiValue, UserData, Value};
use moorline_actor::Payload;

use crate::closing;
use crate::held::Held;
use crate::socket::{DecodedEvent, ReadNeed, ReceiveBuffer};
use crate::state::ServiceState;

/// A buffer that a script has made.
struct ScriptBuffer(RefCell<ReceiveBuffer>);

impl UserData for ScriptBuffer {}

pub(super) fn function(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_header" => closing::function(lua, move |_, text: LuaString| {
            let bytes = text.as_bytes();
            let number = bytes
                .iter()
                .fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
            Ok(match bytes.len() {
                1..=4 => (Some(number), None),
                _ => (
                    None,
                    Some(format!("Invalid read {}", text.to_string_lossy())),
                ),
            })
        }),
        "driver_unpack" => {
            closing::function(lua, move |lua, (message, _): (Value, Option<i64>)| {
                unpack(lua, &state, &message)
            })
        }
        "driver_str2p" => closing::function(lua, move |_, text: LuaString| {
            let payload = Payload::Bytes(text.as_bytes().to_vec());
            Ok(state.held.borrow_mut().hold(payload))
        }),
        "driver_push" => closing::function(
            lua,
            move |_, (buffer, _, message, size): (AnyUserData, Value, Value, usize)| {
                let buffer = buffer.borrow::<ScriptBuffer>()?;
                let mut buffer = buffer.0.borrow_mut();
                let pushed = Held::read(&state.held, &message, |bytes| {
                    buffer.push(&bytes[..size.min(bytes.len())]);
                });
                state.held.borrow_mut().release(&message);
                Ok(pushed.map(|()| buffer.len()))
            },
        ),
        _ => taking(lua, name),
    }
}

fn taking(lua: &Lua, name: &str) -> mlua::Result<Function> {
    match name {
        "driver_buffer" => closing::function(lua, |_, ()| {
            Ok(ScriptBuffer(RefCell::new(ReceiveBuffer::default())))
        }),
        "driver_pop" => closing::function(
            lua,
            |lua, (buffer, _, size): (AnyUserData, Value, usize)| {
                let (taken, left) = {
                    let buffer = buffer.borrow::<ScriptBuffer>()?;
                    let mut buffer = buffer.0.borrow_mut();
                    let need = ReadNeed::Bytes(size);
                    let taken = (size > 0).then(|| buffer.take(&need)).flatten();
                    (taken, buffer.len())
                };
                let taken = taken.map(|taken| lua.create_string(taken)).transpose()?;
                Ok((taken, left))
            },
        ),
        "driver_readline" => closing::function(
            lua,
            |lua, (buffer, pool, separator): (AnyUserData, Value, LuaString)| {
                let buffer = buffer.borrow::<ScriptBuffer>()?;
                let mut buffer = buffer.0.borrow_mut();
                buffer.scan_again();
                // Without a pool it is a question.
                if !pool.is_table() {
                    let is_there = buffer.find(&separator.as_bytes()).is_some();
                    return Ok(is_there.then_some(Value::Boolean(true)));
                }
                let line = buffer.take(&ReadNeed::Line(separator.as_bytes()[..].into()));
                let line = line.map(|line| lua.create_string(line)).transpose()?;
                Ok(line.map(Value::String))
            },
        ),
        "driver_readall" => closing::function(lua, |lua, (buffer, _): (AnyUserData, Value)| {
            let all = buffer.borrow::<ScriptBuffer>()?.0.borrow_mut().take_all();
            lua.create_string(all)
        }),
        _ => closing::function(lua, |_, (buffer, _): (AnyUserData, Value)| {
            buffer.borrow::<ScriptBuffer>()?.0.borrow_mut().take_all();
            Ok(())
        }),
    }
}

/// Number, id, number of the event, and its text; for data a message that the script holds from now on.
fn unpack(lua: &Lua, state: &ServiceState, message: &Value) -> mlua::Result<MultiValue> {
    let decoded = Held::read(&state.held, message, |message| {
        let event = DecodedEvent::new(message)?;
        Some((
            (event.number, event.id, event.detail),
            event.bytes.to_vec(),
            event.from.to_vec(),
        ))
    });
    let Some((head, bytes, from)) = decoded.flatten() else {
        return MultiValue::new().into_lua_multi(lua);
    };
    match head.0 {
        1 => {
            let (pointer, _) = state.held.borrow_mut().hold(Payload::Bytes(bytes));
            (head.0, head.1, head.2, pointer).into_lua_multi(lua)
        }
        6 => {
            let (pointer, _) = state.held.borrow_mut().hold(Payload::Bytes(bytes));
            let from = lua.create_string(from)?;
            (head.0, head.1, head.2, pointer, from).into_lua_multi(lua)
        }
        _ => {
            let text = lua.create_string(bytes)?;
            (head.0, head.1, head.2, text).into_lua_multi(lua)
        }
    }
}
