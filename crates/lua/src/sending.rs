//! What the module sends: requests, answers, and what others have sent.

use std::rc::Rc;

use mlua::{Function, Lua, Value};
use moorline_actor::{Kind, Payload, SendError, ServiceId};

use crate::closing;
use crate::pack::{PackError, PackedArguments};
use crate::state::ServiceState;

/// A value; or `nil` and a reason, which `skynet.lua` raises where the script called it.
pub(crate) type Outcome = (Value, Option<String>);

pub(crate) fn refused(why: impl ToString) -> Outcome {
    (Value::Nil, Some(why.to_string()))
}

pub(crate) fn accepted(value: Value) -> Outcome {
    (value, None)
}

fn unsent(error: SendError) -> Outcome {
    match error {
        SendError::Gone(to) => refused(format!("call to invalid address {to}")),
        SendError::Full(to) => refused(format!("the mailbox of {to} is full")),
    }
}

/// The service that a script names.
pub(crate) fn address(state: &ServiceState, value: &Value) -> Option<ServiceId> {
    match value {
        Value::Integer(number) => u32::try_from(*number).ok().map(ServiceId::from_number),
        Value::Number(number) if number.fract() == 0.0 && *number >= 0.0 => {
            Some(ServiceId::from_number(*number as u32))
        }
        Value::String(name) => {
            let name = name.to_str().ok()?;
            match name.strip_prefix(':') {
                Some(number) => u32::from_str_radix(number, 16)
                    .ok()
                    .map(ServiceId::from_number),
                None => state.port.find(&name),
            }
        }
        _ => None,
    }
}

fn no_address(value: &Value) -> Outcome {
    let text = value.to_string().unwrap_or_default();
    refused(format!("call to invalid address {text}"))
}

/// Receiver, kind, values.
type Addressed = (Value, u8, PackedArguments);

/// A function that sends.
pub(crate) fn sending(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "call" => closing::function(lua, move |_, (to, kind, values): Addressed| {
            let session = state.port.next_session();
            Ok(packed(&state, &to, kind, session, values.0))
        }),
        "send" => closing::function(lua, move |_, (to, kind, values): Addressed| {
            Ok(packed(&state, &to, kind, 0, values.0))
        }),
        "reply" => closing::function(
            lua,
            move |_, (to, session, values): (_, _, PackedArguments)| {
                let to = ServiceId::from_number(to);
                Ok(match values.0 {
                    Ok(bytes) => answered(&state, to, session, Payload::Bytes(bytes)),
                    Err(error) => refused(error),
                })
            },
        ),
        "respond" => closing::function(
            lua,
            move |_, (to, session, message, _): (_, _, Value, Value)| {
                let to = ServiceId::from_number(to);
                Ok(match taken(&state, &message) {
                    Ok(payload) => answered(&state, to, session, payload),
                    Err(why) => refused(why),
                })
            },
        ),
        "fail" => closing::function(
            lua,
            move |_, (source, session, why): (u32, u32, Option<Value>)| {
                let why = why.as_ref().and_then(Value::as_string);
                let why = why.map(|why| why.to_string_lossy().into());
                let payload = why.map_or(Payload::Empty, Payload::Failure);
                let to = ServiceId::from_number(source);
                Ok(state.port.send(to, Kind::ERROR, session, payload).is_ok())
            },
        ),
        _ => sending_raw(lua, state, name),
    }
}

/// The message that a script hands over, or why it is none.
fn taken(state: &ServiceState, message: &Value) -> Result<Payload, String> {
    let payload = state.held.borrow_mut().take(message);
    payload.ok_or_else(|| match message {
        Value::LightUserData(_) => "the message was sent or dropped before".to_owned(),
        other => format!("invalid param {}", other.type_name()),
    })
}

/// Sends what is packed already.
fn sending_raw(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "rawcall" => closing::function(lua, move |_, (to, kind, message, _): (_, _, _, Value)| {
            let session = state.port.next_session();
            let outcome = held(&state, &to, kind, session, &message);
            if !outcome.0.is_nil() {
                state.raw_calls.borrow_mut().insert(session);
            }
            Ok(outcome)
        }),
        "rawsend" => closing::function(lua, move |_, (to, kind, message, _): (_, _, _, Value)| {
            Ok(held(&state, &to, kind, 0, &message))
        }),
        _ => closing::function(lua, move |_, message: Redirected| {
            Ok(redirect(&state, message))
        }),
    }
}

/// Receiver, sender, kind, session, message, size.
type Redirected = (Value, Value, u8, Option<u32>, Value, Value);

/// The first kind that is the core's own.
const OWN_KINDS: u8 = Kind::TYPED.0;

fn redirect(state: &ServiceState, (to, source, kind, session, message, _): Redirected) -> Outcome {
    if kind >= OWN_KINDS {
        return refused(format!("{kind} is no kind of messages of scripts"));
    }
    let payload = match taken(state, &message) {
        Ok(payload) => payload,
        Err(why) => return refused(why),
    };
    let source = address(state, &source).unwrap_or(ServiceId::NONE);
    let (kind, session) = (Kind(kind), session.unwrap_or(0));
    let to = address(state, &to).unwrap_or(ServiceId::NONE);
    if state
        .port
        .forward(to, source, kind, session, payload)
        .is_ok()
    {
        return accepted(Value::Integer(session.into()));
    }
    if session != 0 && !kind.is_answer() {
        // Its sender waits for an answer that nobody else gives.
        let _ = state
            .port
            .forward(source, to, Kind::ERROR, session, Payload::Empty);
    }
    accepted(Value::Nil)
}

fn answered(state: &ServiceState, to: ServiceId, session: u32, payload: Payload) -> Outcome {
    let sent = state.port.send(to, Kind::RESPONSE, session, payload);
    accepted(Value::Boolean(sent.is_ok()))
}

/// Sends packed values. Returns the session of a call, `true` for what is only sent.
fn packed(
    state: &ServiceState,
    to: &Value,
    kind: u8,
    session: u32,
    values: Result<Vec<u8>, PackError>,
) -> Outcome {
    match (address(state, to), values) {
        (_, Err(error)) => refused(error),
        (Some(to), Ok(bytes)) => sent(state, to, kind, session, Payload::Bytes(bytes)),
        // As with a service that is gone: what is only sent is dropped.
        (None, _) if session == 0 => accepted(Value::Nil),
        (None, _) => no_address(to),
    }
}

fn held(state: &ServiceState, to: &Value, kind: u8, session: u32, message: &Value) -> Outcome {
    match (address(state, to), taken(state, message)) {
        (_, Err(why)) => refused(why),
        (Some(to), Ok(payload)) => sent(state, to, kind, session, payload),
        (None, _) if session == 0 => accepted(Value::Nil),
        (None, _) => no_address(to),
    }
}

fn sent(state: &ServiceState, to: ServiceId, kind: u8, session: u32, payload: Payload) -> Outcome {
    match state.port.send(to, Kind(kind), session, payload) {
        Ok(()) if session == 0 => accepted(Value::Boolean(true)),
        Ok(()) => accepted(Value::Integer(session.into())),
        Err(SendError::Gone(_)) if session == 0 => accepted(Value::Nil),
        Err(error) => unsent(error),
    }
}
