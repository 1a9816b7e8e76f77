//! Datagrams.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::rc::Rc;

use mlua::{Function, Lua, LuaString, Value};
use socket2::{Domain, Socket, Type};

use super::{mode, with_outgoing};
use crate::closing;
use crate::socket::{SendPriority, SocketKind, address_in, io_text, local_of};
use crate::state::ServiceState;

/// What a datagram socket is made with: an address to bind it to and one to send to, each an IP and a port.
type DatagramPlan = (
    Option<String>,
    Option<u16>,
    Option<String>,
    Option<u16>,
    Option<bool>,
);

pub(super) fn function(lua: &Lua, state: Rc<ServiceState>, name: &str) -> mlua::Result<Function> {
    match name {
        "socket_udp" => closing::function(lua, move |_, plan: DatagramPlan| {
            Ok(match open(&state, plan) {
                Ok(id) => (Some(id), None),
                Err(why) => (None, Some(why)),
            })
        }),
        "socket_udp_peer" => {
            closing::function(lua, move |_, (id, ip, port): (u32, String, u16)| {
                let (Some(socket), Ok(ip)) = (state.process.sockets.find(id), ip.parse()) else {
                    return Ok(false);
                };
                let to = SocketAddr::new(ip, port);
                let own = socket.descriptor().and_then(local_of);
                // An address of the other family cannot be reached by it.
                let fits = socket.kind == SocketKind::Datagram
                    && own.is_some_and(|own| own.is_ipv4() == to.is_ipv4());
                if fits {
                    socket.set_peer(to);
                }
                Ok(fits)
            })
        }
        "socket_sendto" => closing::function(
            lua,
            move |_, (id, to, data, size): (u32, LuaString, Value, Option<usize>)| {
                let Some(to) = address_in(&to.as_bytes()) else {
                    return Ok((None, Some("Invalid udp address".to_owned())));
                };
                let socket = state.process.sockets.find(id);
                let written = with_outgoing(&state, &data, size, |bytes| {
                    let socket = socket.filter(|socket| socket.kind == SocketKind::Datagram);
                    socket.is_some_and(|socket| socket.write(bytes, Some(to), SendPriority::High))
                });
                Ok(match written {
                    Ok(is_taken) => (Some(is_taken), None),
                    Err(why) => (None, Some(why)),
                })
            },
        ),
        _ => closing::function(lua, move |_, address: LuaString| {
            Ok(match address_in(&address.as_bytes()) {
                Some(address) => (Some(address.ip().to_string()), Some(address.port())),
                None => (None, None),
            })
        }),
    }
}

fn open(state: &ServiceState, plan: DatagramPlan) -> Result<u32, String> {
    let (ip, port, peer_ip, peer_port, is_raw) = plan;
    let parse = |ip: &str| {
        ip.parse::<IpAddr>()
            .map_err(|_| format!("{ip} is no address"))
    };
    let peer = peer_ip.as_deref().map(parse).transpose()?;
    let peer = peer.map(|ip| SocketAddr::new(ip, peer_port.unwrap_or(0)));
    let ip = ip.as_deref().map(parse).transpose()?;
    let family = ip.or(peer.map(|peer| peer.ip()));
    let local = SocketAddr::new(
        ip.unwrap_or(Ipv4Addr::UNSPECIFIED.into()),
        port.unwrap_or(0),
    );
    let make = || {
        let domain = match family {
            Some(IpAddr::V6(_)) => Domain::IPV6,
            _ => Domain::IPV4,
        };
        let socket = Socket::new(domain, Type::DGRAM.nonblocking().cloexec(), None)?;
        if ip.is_some() || port.is_some() {
            socket.set_reuse_address(true)?;
            socket.bind(&local.into())?;
        }
        if let Some(peer) = peer {
            socket.connect(&peer.into())?;
        }
        std::io::Result::Ok(socket)
    };
    let socket = make().map_err(|error| io_text(&error))?;
    let mut sockets = state.sockets.borrow_mut();
    let adopted = sockets.adopt(
        &state.socket_place(),
        socket.into(),
        SocketKind::Datagram,
        mode(is_raw),
    );
    adopted.map_err(|error| io_text(&error))
}
