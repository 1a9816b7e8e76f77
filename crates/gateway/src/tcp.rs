//! The options by which the kernel finds out that the peer of a TCP connection has vanished.
//!
//! A connection has those that its listening socket had when it was made, so accepting one costs no call.

use std::os::fd::OwnedFd;
use std::time::Duration;

use moorline_config::Liveness;
use rustix::io;
use rustix::net::AddressFamily;
use rustix::net::sockopt::{
    set_socket_keepalive, set_tcp_keepcnt, set_tcp_keepidle, set_tcp_keepintvl,
    set_tcp_user_timeout, socket_domain,
};

/// Probes that fit into the time of silence before the first one.
const PROBES: u32 = 4;

/// Sets them on a listening socket or on that of a session. Other sockets than those of TCP have none.
pub(crate) fn set_on(socket: &OwnedFd, liveness: &Liveness) {
    if socket_domain(socket) == Ok(AddressFamily::UNIX) {
        return;
    }
    if let Err(error) = try_set_on(socket, liveness) {
        tracing::warn!(%error, "the kernel refuses tcp_keepalive or tcp_user_timeout");
    }
}

/// Sets them on a new socket of TCP, which has none of them.
pub(crate) fn set_on_new(socket: &OwnedFd, liveness: &Liveness) {
    if liveness.keepalive.is_none() && liveness.user_timeout.is_none() {
        return;
    }
    if let Err(error) = try_set_on(socket, liveness) {
        tracing::warn!(%error, "the kernel refuses tcp_keepalive or tcp_user_timeout");
    }
}

fn try_set_on(socket: &OwnedFd, liveness: &Liveness) -> io::Result<()> {
    if let Some(idle) = liveness.keepalive {
        set_tcp_keepidle(socket, idle)?;
        set_tcp_keepintvl(socket, (idle / PROBES).max(Duration::from_secs(1)))?;
        set_tcp_keepcnt(socket, PROBES)?;
    }
    set_socket_keepalive(socket, liveness.keepalive.is_some())?;
    let timeout = liveness.user_timeout.unwrap_or_default();
    set_tcp_user_timeout(
        socket,
        u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX),
    )
}
