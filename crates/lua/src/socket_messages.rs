//! What happens to sockets, told to scripts.

use std::cell::RefCell;
use std::time::{Duration, Instant};

use mlua::{IntoLua, IntoLuaMulti, Lua, MultiValue, Value};
use moorline_actor::{Kind, Payload};

use crate::output;
use crate::socket::{
    ReadOutcome, Received, SCRATCH_BYTES, ServiceStep, SocketEvent, SocketMode, SocketStep,
    address_bytes,
};
use crate::state::{RAW, ServiceState};

/// The kind that skynet calls `PTYPE_SOCKET`.
const SOCKET: i64 = 6;

/// Steps of one socket between two looks at the others …
const STEPS: usize = 32;
/// … and their time: a step may have thousands of messages.
const LONGEST: Duration = Duration::from_micros(500);

thread_local! {
    /// What the loop's sockets are read into.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Tells the script what has happened to the socket with this number.
pub(crate) fn deliver(lua: &Lua, state: &ServiceState, id: u32) {
    let mut scratch = SCRATCH.take();
    scratch.resize(SCRATCH_BYTES, 0);
    deliver_steps(lua, state, id, &mut scratch);
    SCRATCH.set(scratch);
}

fn deliver_steps(lua: &Lua, state: &ServiceState, id: u32, scratch: &mut [u8]) {
    let mut begun = None;
    for step in 0..STEPS {
        // Most have a message and nothing behind it: they take no look at the clock.
        if step > 1 && begun.get_or_insert_with(Instant::now).elapsed() >= LONGEST {
            break;
        }
        let (next, is_waiting) = {
            let mut sockets = state.sockets.borrow_mut();
            let next = sockets.poll(&state.socket_place(), id, scratch);
            (next, sockets.is_waiting(id))
        };
        let Some(next) = next else {
            return;
        };
        if let Err(error) = tell(lua, state, id, next, scratch) {
            // There is no memory for what was received.
            let text = output::error_text(&error);
            return output::log(state.port.id(), text.as_bytes());
        }
        if is_waiting || state.is_exiting.get() {
            return;
        }
    }
    state.port.waker(id).wake();
}

/// Hands a step to the script's dispatcher, if the script has to learn of it.
fn tell(
    lua: &Lua,
    state: &ServiceState,
    id: u32,
    step: ServiceStep,
    scratch: &[u8],
) -> mlua::Result<()> {
    if let ServiceStep::Socket(_, SocketStep::Answer(session, ReadOutcome::Data(data))) = &step
        && let Received::Scratch(size) = data
    {
        let head = (i64::from(Kind::RESPONSE.0), i64::from(*session), 0);
        if state.call_dispatch_text(head, &scratch[..*size]) {
            return Ok(());
        }
    }
    let values = step_values(lua, state, id, step, scratch)?;
    let pointer = values.get(3).filter(|value| value.is_light_userdata());
    let pointer = pointer.cloned();
    if !values.is_empty() {
        state.call_dispatch(None, values);
    }
    if let Some(pointer) = pointer {
        state.held.borrow_mut().release(&pointer);
    }
    Ok(())
}

/// The values for the script's dispatcher; none if it has to learn nothing.
fn step_values(
    lua: &Lua,
    state: &ServiceState,
    id: u32,
    step: ServiceStep,
    scratch: &[u8],
) -> mlua::Result<MultiValue> {
    match step {
        ServiceStep::Socket(_, SocketStep::Gone) => Ok(MultiValue::new()),
        ServiceStep::Socket(_, SocketStep::Log(line)) => {
            output::log(state.port.id(), line.as_bytes());
            Ok(MultiValue::new())
        }
        ServiceStep::Socket(_, SocketStep::Answer(session, outcome)) => {
            let values = outcome_values(lua, outcome, scratch);
            let mut values = match values {
                Ok(values) => values,
                Err(error) => {
                    output::log(state.port.id(), output::error_text(&error).as_bytes());
                    if let Some(socket) = state.sockets.borrow_mut().socket(id) {
                        socket.lose();
                    }
                    // The coroutine goes on, as at the end of a stream.
                    (false, "", "not enough memory").into_lua_multi(lua)?
                }
            };
            let head = [i64::from(Kind::RESPONSE.0), i64::from(session), 0];
            head.into_iter()
                .rev()
                .for_each(|value| values.push_front(Value::Integer(value)));
            Ok(values)
        }
        ServiceStep::Socket(SocketMode::Buffered, SocketStep::Event(event)) => {
            event_values(lua, id, &event)
        }
        ServiceStep::Socket(SocketMode::Raw, SocketStep::Event(event)) => {
            let message = Payload::Bytes(event.encode(id));
            let (pointer, size) = state.held.borrow_mut().hold(message);
            (SOCKET + RAW, 0, 0, pointer, size).into_lua_multi(lua)
        }
        ServiceStep::Addresses(session, Ok(addresses)) => {
            (i64::from(Kind::RESPONSE.0), session, 0, addresses).into_lua_multi(lua)
        }
        ServiceStep::Addresses(session, Err(why)) => {
            (i64::from(Kind::ERROR.0), session, 0, why).into_lua_multi(lua)
        }
    }
}

/// What a reading coroutine gets.
pub(crate) fn outcome_values(
    lua: &Lua,
    outcome: ReadOutcome,
    scratch: &[u8],
) -> mlua::Result<MultiValue> {
    match outcome {
        ReadOutcome::Data(Received::Scratch(size)) => {
            lua.create_string(&scratch[..size])?.into_lua_multi(lua)
        }
        ReadOutcome::Data(Received::Own(bytes)) => lua.create_string(bytes)?.into_lua_multi(lua),
        ReadOutcome::Over(rest) => (false, lua.create_string(rest)?).into_lua_multi(lua),
        ReadOutcome::NoMemory(why) => (false, "", why).into_lua_multi(lua),
        ReadOutcome::State(state) => state.into_lua_multi(lua),
        ReadOutcome::Opened(Ok(id)) => id.into_lua_multi(lua),
        ReadOutcome::Opened(Err(why)) => (Value::Nil, why).into_lua_multi(lua),
    }
}

fn event_values(lua: &Lua, id: u32, event: &SocketEvent) -> mlua::Result<MultiValue> {
    let from = match event {
        SocketEvent::Datagram(_, from) => Value::String(lua.create_string(address_bytes(*from))?),
        _ => Value::Nil,
    };
    let bytes = lua.create_string(event.bytes())?.into_lua(lua)?;
    (
        SOCKET,
        0,
        0,
        event.number(),
        id,
        event.detail(),
        bytes,
        from,
    )
        .into_lua_multi(lua)
}
