//! What a TLS client asks for, before a peer is chosen for its connection.

use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::client_hello::{self, FirstBytes};
use crate::entry::{EntryRefusal, log_refusal, newcomer};
use crate::input::server::go_to_server;
use crate::memory::Class;
use crate::session::{End, Session};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_config::Preread;
use moorline_protocol::wire::CloseReason;

/// Looks at the first bytes, and takes them once they are a whole hello, or none. True: the connection can be relayed.
///
/// # Errors
/// It ends: the hello is too long, or its client has left.
pub(crate) fn hear_hello(session: &mut Session, tools: &mut Tools) -> Result<bool, End> {
    // A reload may have taken `preread` away, or put it where TLS ends.
    let preread = tools.cx.listener(session.listener).stream.preread;
    let (Some(preread), None) = (preread, &session.transport.tls) else {
        return Ok(true);
    };
    let Some(socket) = &session.transport.socket else {
        return Err(End::Now(CloseReason::Handshake));
    };
    let most = preread.buffer as usize;
    // What is not whole stays in the socket.
    let seen = &mut tools.scratch.received[..most];
    let bytes = match rustix::net::recv(socket, &mut *seen, RecvFlags::PEEK) {
        Ok((1.., bytes)) => bytes,
        Err(Errno::AGAIN | Errno::INTR) => 0,
        // Many check in this way whether somebody listens.
        Ok(_) | Err(_) => return Err(End::Now(CloseReason::Peer)),
    };
    match client_hello::read(&seen[..bytes]) {
        FirstBytes::Unfinished(least) if least > most => {
            return Err(refused(
                session,
                "it is longer than `preread` allows",
                tools,
            ));
        }
        FirstBytes::Unfinished(_) if session.transport.link.is_hung_up() => {
            return Err(refused(session, "its client has left", tools));
        }
        FirstBytes::Unfinished(_) => {
            session.input.readable = false;
            return Ok(false);
        }
        FirstBytes::Hello(hello) => go_to_server(session, hello, tools)?,
        FirstBytes::Other => {}
    }
    let Some(socket) = &session.transport.socket else {
        return Err(End::Now(CloseReason::Handshake));
    };
    let seen = &mut tools.scratch.received[..bytes];
    if rustix::net::recv(socket, seen, RecvFlags::empty()).is_err() {
        return Err(End::Now(CloseReason::Peer));
    }
    session.take_received(tools.scratch.received[..bytes].to_vec());
    tools.memory.hold(Class::Received, bytes);
    Ok(true)
}

/// From now on the hello must come whole in time.
pub(crate) fn watch_hello(session: &mut Session, tools: &mut Tools) {
    session.meters.received_at = tools.cx.clock.ms;
    set_timer(session, tools);
}

fn set_timer(session: &Session, tools: &mut Tools) {
    if let Some(at) = due(session, tools) {
        tools
            .agenda
            .timers
            .set(at, Alarm::Handshake(session.name()));
    }
}

/// When the hello must have come whole, in the loop's milliseconds.
fn due(session: &Session, tools: &Tools) -> Option<u64> {
    let Preread { timeout, .. } = tools.cx.listener(session.listener).stream.preread?;
    Some(session.meters.received_at + timeout.as_millis() as u64)
}

/// A hello may have taken too long.
///
/// # Errors
/// It has.
pub(crate) fn check_hello(session: &Session, tools: &mut Tools) -> Result<(), End> {
    if due(session, tools).is_some_and(|at| at > tools.cx.clock.ms) {
        // The timer is an earlier one, for the header of a proxy.
        set_timer(session, tools);
        return Ok(());
    }
    Err(refused(
        session,
        "it has not come whole within the `timeout` of `preread`",
        tools,
    ))
}

/// A hello has no end, or none in time.
fn refused(session: &Session, why: &str, tools: &Tools) -> End {
    tracing::info!(
        listener = %tools.cx.listener(session.listener).name, client = %session.peer, status = 400, reason = "unparsed",
        "connection closed: the hello of its TLS cannot be read: {why}"
    );
    log_refusal(&newcomer(session), EntryRefusal::UNPARSED, &tools.cx);
    End::Now(CloseReason::Handshake)
}
