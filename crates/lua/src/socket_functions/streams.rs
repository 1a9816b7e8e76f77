//! Reading, writing, closing.

use std::rc::Rc;
use std::sync::atomic::Ordering;

use mlua::{Function, IntoLuaMulti, Lua, MultiValue, Table, Value};
use socket2::SockRef;

use super::with_outgoing;
use crate::closing;
use crate::pack::pack;
use crate::socket::{
    OwnedSocket, ReadNeed, ReadStart, SendPriority, SharedSocket, SocketKind, local_of, peer_of,
    peer_text,
};
use crate::socket_messages::outcome_values;
use crate::state::ServiceState;
use moorline_actor::{Kind, Payload};

pub(super) fn function(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_read" => closing::function(lua, move |lua, (id, size): (u32, Option<usize>)| {
            let need = size.map_or(ReadNeed::Any, ReadNeed::Bytes);
            let session = state.port.next_session();
            let started = state.sockets.borrow_mut().read(id, need, session);
            // Two values, whatever there is: their list is made only where there is something else.
            if let Ok(ReadStart::Waits) = started {
                return Ok((Value::Nil, Value::Integer(session.into()), None));
            }
            let mut values = read_values(lua, &state, id, session, started)?.into_iter();
            let mut next = || values.next().unwrap_or(Value::Nil);
            Ok((next(), next(), values.next()))
        }),
        "socket_readline" => {
            closing::function(lua, move |lua, (id, separator): (u32, mlua::LuaString)| {
                read(
                    lua,
                    &state,
                    id,
                    ReadNeed::Line(separator.as_bytes()[..].into()),
                )
            })
        }
        "socket_readall" => {
            closing::function(lua, move |lua, id| read(lua, &state, id, ReadNeed::All))
        }
        "socket_block" => {
            closing::function(lua, move |lua, id| read(lua, &state, id, ReadNeed::Block))
        }
        "socket_write" => writing(lua, state, SendPriority::High),
        "socket_lwrite" => writing(lua, state, SendPriority::Low),
        _ => changing(lua, state, name),
    }
}

/// What is read; or `nil` and the session of the answer; or `nil`, `nil` and what is wrong.
fn read(lua: &Lua, state: &ServiceState, id: u32, need: ReadNeed) -> mlua::Result<MultiValue> {
    let session = state.port.next_session();
    let started = state.sockets.borrow_mut().read(id, need, session);
    read_values(lua, state, id, session, started)
}

fn read_values(
    lua: &Lua,
    state: &ServiceState,
    id: u32,
    session: u32,
    started: Result<ReadStart, String>,
) -> mlua::Result<MultiValue> {
    match started {
        Ok(ReadStart::Done(outcome)) => {
            let values = outcome_values(lua, outcome, &[]);
            values.inspect_err(|_| {
                if let Some(socket) = state.sockets.borrow_mut().socket(id) {
                    socket.lose();
                }
            })
        }
        Ok(ReadStart::Waits) => (Value::Nil, session).into_lua_multi(lua),
        Err(why) => (Value::Nil, Value::Nil, why).into_lua_multi(lua),
    }
}

fn writing(lua: &Lua, state: Rc<ServiceState>, priority: SendPriority) -> mlua::Result<Function> {
    closing::function(
        lua,
        move |_, (id, data, size): (u32, Value, Option<usize>)| {
            if let Some(foreign) = state.process.foreign_socket(id) {
                let sent = with_outgoing(&state, &data, size, |bytes| (foreign.send)(id, &bytes));
                return Ok(match sent {
                    Ok(is_taken) => (Some(is_taken), None),
                    Err(why) => (None, Some(why)),
                });
            }
            let mut sockets = state.sockets.borrow_mut();
            let foreign;
            let socket = match sockets.socket(id) {
                Some(socket) => Some(&*socket.shared),
                None => {
                    foreign = state.process.sockets.find(id);
                    foreign.as_deref()
                }
            };
            let written = with_outgoing(&state, &data, size, |bytes| {
                socket.is_some_and(|socket| socket.write(bytes, None, priority))
            });
            Ok(match written {
                Ok(is_taken) => (Some(is_taken), None),
                Err(why) => (None, Some(why)),
            })
        },
    )
}

fn changing(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_close" => closing::function(lua, move |_, id| {
            if let Some(foreign) = state.process.foreign_socket(id) {
                (foreign.close)(id);
                return Ok(());
            }
            let mut sockets = state.sockets.borrow_mut();
            sockets.close(&state.socket_place(), id);
            Ok(())
        }),
        "socket_shutdown" => closing::function(lua, move |_, id| {
            if let Some(foreign) = state.process.foreign_socket(id) {
                (foreign.close)(id);
            }
            if let Some(socket) = state.process.sockets.find(id) {
                socket.shut_down();
            }
            Ok(())
        }),
        "socket_abandon" => closing::function(lua, move |lua, id| {
            let session = state
                .sockets
                .borrow_mut()
                .abandon(&state.socket_place(), id);
            if let Some(session) = session {
                let over = pack(&(false, "").into_lua_multi(lua)?).unwrap_or_default();
                let (me, payload) = (state.port.id(), Payload::Bytes(over));
                // Answers are taken by every mailbox.
                let _ = state.port.send(me, Kind::RESPONSE, session, payload);
            }
            Ok(())
        }),
        "socket_withdraw" => closing::function(lua, move |_, session| {
            let mut sockets = state.sockets.borrow_mut();
            sockets.withdraw(&state.socket_place(), session);
            Ok(())
        }),
        "socket_finish" => closing::function(lua, move |_, id| {
            if let Some(socket) = state.process.sockets.find(id) {
                socket.finish();
            }
            Ok(())
        }),
        // False if there is nothing to hold: only connections of the embedding program go on in another process.
        "socket_hold" => closing::function(lua, move |_, id| {
            let socket = state.process.sockets.find(id);
            let io = socket.as_ref().and_then(|socket| socket.foreign.as_ref());
            Ok(io.is_some_and(|io| io.hold()))
        }),
        "socket_release" => closing::function(lua, move |_, id| {
            let socket = state.process.sockets.find(id);
            if let Some(io) = socket.as_ref().and_then(|socket| socket.foreign.as_ref()) {
                io.release();
                (io.functions.progress)(id);
            }
            Ok(())
        }),
        _ => asking(lua, state, name),
    }
}

fn asking(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_pause" => closing::function(lua, move |_, id| {
            let mut sockets = state.sockets.borrow_mut();
            if let Some(socket) = sockets.socket(id) {
                socket.pause();
            } else if let Some(listener) = sockets.listener(id) {
                listener.is_paused = true;
            }
            Ok(())
        }),
        "socket_limit" => closing::function(lua, move |_, (id, limit)| {
            let mut sockets = state.sockets.borrow_mut();
            Ok(sockets
                .socket(id)
                .map(|socket| socket.limit = limit)
                .is_some())
        }),
        "socket_nodelay" => closing::function(lua, move |_, id| {
            let socket = state.process.sockets.find(id);
            if let Some(descriptor) = socket.and_then(|socket| socket.descriptor()) {
                // Datagrams are never delayed.
                let _ = SockRef::from(&descriptor).set_tcp_nodelay(true);
            }
            Ok(())
        }),
        // What is there, or nothing and whether the stream is over.
        "socket_take" => closing::function(lua, move |lua, id| {
            let taken = {
                let mut sockets = state.sockets.borrow_mut();
                sockets.socket(id).map(OwnedSocket::take_now)
            };
            let (taken, is_over) = taken.unwrap_or((None, true));
            let taken = taken.map(|taken| lua.create_string(taken)).transpose()?;
            Ok((taken, is_over))
        }),
        "socket_state" => closing::function(lua, move |_, id| {
            let mut sockets = state.sockets.borrow_mut();
            if sockets.listener(id).is_some() {
                return Ok(Some("listening"));
            }
            Ok(sockets.socket(id).map(|socket| {
                match (socket.is_connected(), socket.is_connecting()) {
                    (true, _) => "connected",
                    (_, true) => "connecting",
                    _ => "disconnected",
                }
            }))
        }),
        _ => closing::function(lua, move |lua, ()| {
            let list = state.process.sockets.list();
            let tables = list.iter().map(|socket| describe(lua, socket));
            tables.collect::<mlua::Result<Vec<_>>>()
        }),
    }
}

/// A socket as `netstat` shows it.
fn describe(lua: &Lua, socket: &SharedSocket) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.set("id", socket.id)?;
    table.set("address", socket.owner().number())?;
    let descriptor = socket.descriptor();
    let local = descriptor.as_ref().and_then(local_of).map(peer_text);
    let (received, sent) = (
        socket.received.load(Ordering::Relaxed),
        socket.sent.load(Ordering::Relaxed),
    );
    if socket.kind == SocketKind::Listener {
        table.set("type", "LISTEN")?;
        table.set("accept", received)?;
        table.set("sock", local)?;
        return Ok(table);
    }
    table.set(
        "type",
        match socket.kind {
            _ if socket.is_closing() => "CLOSING",
            SocketKind::Datagram => "UDP",
            SocketKind::Bound => "BIND",
            _ => "TCP",
        },
    )?;
    table.set("read", received)?;
    table.set("write", sent)?;
    table.set("wbuffer", socket.queued())?;
    table.set("reading", !socket.is_silent())?;
    table.set("writing", socket.queued() > 0)?;
    let peer = socket
        .peer()
        .or_else(|| descriptor.as_ref().and_then(peer_of));
    let foreign = socket.foreign.as_ref().map(|io| io.peer.clone());
    table.set("peer", peer.map(peer_text).or(foreign))?;
    Ok(table)
}
