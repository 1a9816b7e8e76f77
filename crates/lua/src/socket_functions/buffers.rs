//! What scripts use that handle messages of sockets themselves.

use std::rc::Rc;

use mlua::IntoLuaMulti;
use mlua::{AnyUserData, Function, Lua, LuaString, MultiValue, UserData, Value};
use moorline_actor::Payload;

use crate::closing;
use crate::held::Held;
use crate::module::failure;
use crate::socket::{DecodedEvent, ReadNeed, ReceiveBuffer};
use crate::state::ServiceState;
use crate::sys::Charge;

/// A buffer that a script has made, which counts as memory of the script's.
#[derive(Default)]
struct ScriptBuffer {
    buffer: ReceiveBuffer,
    charge: Charge,
}

impl UserData for ScriptBuffer {}

impl ScriptBuffer {
    fn new(lua: &Lua) -> mlua::Result<Self> {
        let charge = Charge::new(lua, 0)?;
        Ok(Self {
            charge,
            ..Self::default()
        })
    }

    fn push(&mut self, lua: &Lua, bytes: &[u8]) -> mlua::Result<usize> {
        let all = self.buffer.len() + bytes.len();
        self.charge.resize(lua, all)?;
        self.buffer.push(bytes);
        Ok(all)
    }

    fn take(&mut self, lua: &Lua, need: &ReadNeed) -> mlua::Result<Option<LuaString>> {
        let taken = match need {
            ReadNeed::All => Some(self.buffer.take_all()),
            need => self.buffer.take(need),
        };
        self.charge.resize(lua, self.buffer.len())?;
        taken.map(|taken| lua.create_string(taken)).transpose()
    }
}

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
            state.hold(payload).map_err(failure)
        }),
        "driver_push" => closing::function(
            lua,
            move |lua, (buffer, _, message, size): (AnyUserData, Value, Value, usize)| {
                let mut buffer = buffer.borrow_mut::<ScriptBuffer>()?;
                let pushed = Held::read(&state.held, &message, |bytes| {
                    buffer.push(lua, &bytes[..size.min(bytes.len())])
                });
                state.held.borrow_mut().release(&message);
                pushed.transpose()
            },
        ),
        _ => taking(lua, name),
    }
}

fn taking(lua: &Lua, name: &str) -> mlua::Result<Function> {
    match name {
        "driver_buffer" => closing::function(lua, |lua, ()| ScriptBuffer::new(lua)),
        "driver_pop" => closing::function(
            lua,
            |lua, (buffer, _, size): (AnyUserData, Value, usize)| {
                let mut buffer = buffer.borrow_mut::<ScriptBuffer>()?;
                let taken = match size {
                    0 => None,
                    size => buffer.take(lua, &ReadNeed::Bytes(size))?,
                };
                Ok((taken, buffer.buffer.len()))
            },
        ),
        "driver_readline" => closing::function(
            lua,
            |lua, (buffer, pool, separator): (AnyUserData, Value, LuaString)| {
                let mut buffer = buffer.borrow_mut::<ScriptBuffer>()?;
                buffer.buffer.scan_again();
                // Without a pool it is a question.
                if !pool.is_table() {
                    let is_there = buffer.buffer.find(&separator.as_bytes()).is_some();
                    return Ok(is_there.then_some(Value::Boolean(true)));
                }
                let line = ReadNeed::Line(separator.as_bytes()[..].into());
                Ok(buffer.take(lua, &line)?.map(Value::String))
            },
        ),
        "driver_readall" => closing::function(lua, |lua, (buffer, _): (AnyUserData, Value)| {
            let mut buffer = buffer.borrow_mut::<ScriptBuffer>()?;
            buffer.take(lua, &ReadNeed::All)
        }),
        _ => closing::function(lua, |lua, (buffer, _): (AnyUserData, Value)| {
            let mut buffer = buffer.borrow_mut::<ScriptBuffer>()?;
            buffer.buffer.clear();
            buffer.charge.resize(lua, 0)
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
            let (pointer, _) = state.hold(Payload::Bytes(bytes)).map_err(failure)?;
            (head.0, head.1, head.2, pointer).into_lua_multi(lua)
        }
        6 => {
            let (pointer, _) = state.hold(Payload::Bytes(bytes)).map_err(failure)?;
            let from = lua.create_string(from)?;
            (head.0, head.1, head.2, pointer, from).into_lua_multi(lua)
        }
        _ => {
            let text = lua.create_string(bytes)?;
            (head.0, head.1, head.2, text).into_lua_multi(lua)
        }
    }
}
