//! Connecting, listening, taking over.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::rc::Rc;

use mlua::{Function, Lua};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use socket2::{Domain, Protocol, Socket, Type};

use super::mode;
use crate::closing;
use crate::foreign::ForeignListening;
use crate::output::log;
use crate::socket::{SocketKind, SocketMode, Started, io_text, local_of, split_host_port};
use crate::state::ServiceState;
use crate::sys::duplicate;

/// Connections that wait to be accepted, if the script does not say: as skynet has it.
const BACKLOG: i32 = 32;

pub(super) fn function(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_connect" => closing::function(
            lua,
            move |_, (host, port, is_raw): (String, u16, Option<bool>)| {
                let session = state.port.next_session();
                let dialer = state.process.dialer.clone();
                let id = state.sockets.borrow_mut().connect(
                    &state.socket_place(),
                    (dialer, host, port),
                    mode(is_raw),
                    session,
                );
                Ok((id, session))
            },
        ),
        "socket_listen" => closing::function(
            lua,
            move |_, (ip, port, backlog, is_raw): (String, u16, Option<i32>, Option<bool>)| {
                let bound = listen(&state, &ip, port, backlog.unwrap_or(BACKLOG), is_raw);
                let port = bound.as_ref().map(|(_, address)| address.port()).ok();
                Ok(match bound {
                    Ok((id, address)) => (Some(id), address.ip().to_string(), port),
                    Err(why) => (None, why, port),
                })
            },
        ),
        "socket_bind" => closing::function(lua, move |_, (number, is_raw): (i32, Option<bool>)| {
            Ok(match bind(&state, number, is_raw) {
                Ok(id) => (Some(id), None),
                Err(error) => (None, Some(io_text(&error))),
            })
        }),
        "socket_start" => closing::function(lua, move |_, (id, is_raw): (u32, Option<bool>)| {
            Ok(start(&state, id, is_raw))
        }),
        "socket_resolve" => closing::function(lua, move |_, host: String| {
            let session = state.port.next_session();
            let mut sockets = state.sockets.borrow_mut();
            sockets.look_up(&state.socket_place(), host, session);
            Ok(session)
        }),
        _ => closing::function(lua, move |_, (text, port): (String, Option<i64>)| {
            Ok(match split(&text, port) {
                Ok((host, port)) => {
                    let is_address = host.parse::<IpAddr>().is_ok();
                    (Some(host), Some(port), Some(is_address), None)
                }
                Err(why) => (None, None, None, Some(why)),
            })
        }),
    }
}

/// The number; or nil and what is wrong; or nil, nil, and the session of the answer.
fn start(
    state: &ServiceState,
    id: u32,
    is_raw: Option<bool>,
) -> (Option<u32>, Option<String>, Option<u32>) {
    let session = state.port.next_session();
    let (place, mode) = (state.socket_place(), mode(is_raw));
    let mut sockets = state.sockets.borrow_mut();
    match sockets.start(&place, id, mode, session) {
        Started::Failed(why) if mode == SocketMode::Raw => {
            sockets.refuse(&place, id, why.clone());
            (None, Some(why), None)
        }
        Started::Done => (Some(id), None, None),
        Started::Later => (None, None, Some(session)),
        Started::Failed(why) => (None, Some(why), None),
    }
}

/// A host and a port.
fn split(text: &str, port: Option<i64>) -> Result<(String, u16), String> {
    let port = port.map(u16::try_from).transpose();
    let port = port.map_err(|_| format!("Invalid address {text}."))?;
    split_host_port(text, port)
}

fn listen(
    state: &ServiceState,
    ip: &str,
    port: u16,
    backlog: i32,
    is_raw: Option<bool>,
) -> Result<(u32, SocketAddr), String> {
    let ip: IpAddr = ip.parse().map_err(|_| format!("{ip} is no address"))?;
    if let Some(functions) = state.process.foreign_streams() {
        let (id, address) = (state.process.sockets.number(), SocketAddr::new(ip, port));
        match (functions.listen)(id, address) {
            ForeignListening::Program => {
                let mut sockets = state.sockets.borrow_mut();
                let place = state.socket_place();
                sockets.listen_foreign(&place, id, (functions, address), mode(is_raw));
                return Ok((id, address));
            }
            ForeignListening::Service(None) => {}
            ForeignListening::Service(Some(line)) => log(state.port.id(), line.as_bytes()),
            ForeignListening::Refused(why) => return Err(format!("Listen error: {why}")),
        }
    }
    let open = || {
        let address = SocketAddr::new(ip, port);
        let kind = Type::STREAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&address.into())?;
        socket.listen(backlog)?;
        let local = local_of(&socket).unwrap_or(address);
        std::io::Result::Ok((OwnedFd::from(socket), local))
    };
    let (listener, local) = open().map_err(|error| format!("Listen error: {}", io_text(&error)))?;
    let mut sockets = state.sockets.borrow_mut();
    let id = sockets.listen(&state.socket_place(), listener, mode(is_raw));
    Ok((id, local))
}

/// Takes in a descriptor that the process has. The script's own number for it stays open.
fn bind(state: &ServiceState, number: i32, is_raw: Option<bool>) -> std::io::Result<u32> {
    let descriptor = duplicate(number)?;
    let flags = fcntl_getfl(&descriptor)?;
    fcntl_setfl(&descriptor, flags | OFlags::NONBLOCK)?;
    let mut sockets = state.sockets.borrow_mut();
    sockets.adopt(
        &state.socket_place(),
        descriptor,
        SocketKind::Bound,
        mode(is_raw),
    )
}
