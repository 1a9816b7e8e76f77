//! Whose connection it is, and whose request: what trusted proxies say.

use hyper::StatusCode;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::entry::{
    EntryRefusal, EntryRefused, is_allowed, log_refusal, newcomer, note_denied, note_tickets,
    take_tickets,
};
use crate::forwarded::{OPEN_QUOTE, forwarded, trusts};
use crate::host::is_host_and_port;
use crate::input::hello::watch_hello;
use crate::output::reply::{refuse, turn_away};
use crate::placement::go_to_address;
use crate::proxy_header::fields;
use crate::proxy_header::{self, Announced, LONGEST, ProxyHeader};
use crate::session::{Phase, Session};
use crate::session_request::SessionRequest;
use crate::shared::admission::{Address, Counted};
use crate::timeouts::{watch_idle, watch_turned_away};
use crate::tools::Tools;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::{CloseReason, Peer};

/// What has come of the header of the PROXY protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Announcement {
    /// All of it: the connection goes on in its next phase.
    Whole,
    /// More of it must come.
    Waits,
    /// Nothing that lets the connection go on.
    Wrong,
}

/// Reads the header of the PROXY protocol, and nothing behind it.
pub(crate) fn hear_proxy(session: &mut Session, tools: &mut Tools) -> Announcement {
    let Some(socket) = &session.transport.socket else {
        return Announcement::Wrong;
    };
    // What is behind it may be for TLS: it stays in the socket.
    let seen = &mut tools.scratch.received[..LONGEST];
    let header = match rustix::net::recv(socket, &mut *seen, RecvFlags::PEEK) {
        Ok((1.., bytes)) => proxy_header::read(&seen[..bytes]),
        Err(Errno::AGAIN | Errno::INTR) => ProxyHeader::Unfinished,
        // Many check in this way whether somebody listens.
        Ok(_) | Err(_) => return Announcement::Wrong,
    };
    let (length, origin) = match header {
        ProxyHeader::Unfinished if session.transport.link.is_hung_up() => {
            log_refusal(&newcomer(session), EntryRefusal::UNPARSED, &tools.cx);
            return Announcement::Wrong;
        }
        ProxyHeader::Unfinished => {
            session.input.readable = false;
            return Announcement::Waits;
        }
        ProxyHeader::Whole { length, origin } => (length, origin),
        ProxyHeader::Wrong(why) => {
            tracing::warn!(
                listener = %tools.cx.listener(session.listener).name, peer = %session.peer, error = why,
                reason = %CloseReason::Handshake, "connection closed: its proxy must say whose it is, see `proxy_protocol`"
            );
            log_refusal(&newcomer(session), EntryRefusal::UNPARSED, &tools.cx);
            tools.cx.count_closed(CloseReason::Handshake);
            return Announcement::Wrong;
        }
    };
    if rustix::net::recv(socket, &mut seen[..length], RecvFlags::empty()).is_err() {
        return Announcement::Wrong;
    }
    session.meters.bytes_in += length as u64;
    let settings = tools.cx.listener(session.listener);
    if settings.uses.header {
        session.notes.get_or_insert_default().header = Some(seen[..length].into());
    }
    if let Announced::Client(client) = origin
        && trusts(&settings.proxies, &session.peer)
    {
        let proxy = std::mem::replace(&mut session.peer, Peer::Ip(client));
        if settings.uses.announced
            && let Some((_, server)) = fields::ends(&seen[..length])
        {
            session.notes.get_or_insert_default().server = Some(server);
        }
        if settings.uses.connection {
            session.notes.get_or_insert_default().connection = Some(proxy);
        }
        go_to_address(session, tools);
    }
    begin(session, origin, tools)
}

/// The peer is known.
fn begin(session: &mut Session, origin: Announced, tools: &mut Tools) -> Announcement {
    let known = newcomer(session);
    if !is_allowed(tools.cx.listener(session.listener), &session.peer) {
        note_denied(&known, tools);
        return Announcement::Wrong;
    }
    match take_tickets(&known, tools) {
        Ok(tickets) => note_tickets(&mut session.notes, tickets),
        Err(EntryRefused) => return Announcement::Wrong,
    }
    let listener = tools.cx.listener(session.listener);
    let is_encrypted = session.transport.tls.is_some();
    let is_http = listener.is_http();
    session.phase = match is_encrypted {
        true => Phase::Handshake,
        false => Phase::first(listener),
    };
    // Its requests may come from yet another proxy. What a client says that the proxy in front cannot name is its own word.
    let has_headers =
        is_http && origin != Announced::Unknown && trusts(&listener.proxies, &session.peer);
    if !has_headers && let Err(limit) = admit(session, Counted::Admitted, tools) {
        log_refusal(&newcomer(session), EntryRefusal::LIMITED, &tools.cx);
        tools.cx.count_closed(CloseReason::Limit);
        if is_encrypted || !is_http || !is_told(session, tools) {
            return Announcement::Wrong;
        }
        session.phase = Phase::TurnedAway(limit);
        watch_turned_away(session, tools);
    }
    if session.phase == Phase::Preread {
        watch_hello(session, tools);
    }
    if session.phase == Phase::Open {
        let now = tools.cx.clock.ms;
        session.meters.received_at = now;
        session.meters.sent_at = now;
        watch_idle(session, tools);
    }
    Announcement::Whole
}

/// Whether a client may be told that there is no room. It takes no room from then on.
fn is_told(session: &mut Session, tools: &Tools) -> bool {
    let shared = &tools.cx.shared;
    let is_told =
        !tools.cx.is_stopping() && shared.admissions[session.listener.index()].turn_away();
    if is_told {
        shared.release(session.listener, &session.peer, session.counted);
        session.counted = Counted::TurnedAway;
    }
    is_told
}

/// Counts a connection for its address, which is known now.
fn admit(
    session: &mut Session,
    counted: fn(Address) -> Counted,
    tools: &mut Tools,
) -> Result<(), Limit> {
    let admission = &tools.cx.shared.admissions[session.listener.index()];
    let admitted = admission.admit_address(&session.peer);
    match admitted {
        Ok(address) => {
            session.counted = counted(address);
            let (listener, peer) = (session.listener, &session.peer);
            tools.cx.count_address(listener, peer, &mut session.counted);
        }
        Err(limit) => {
            let Tools { cx, refusals, .. } = tools;
            cx.count_limit(limit);
            if let Some(unlogged) = refusals.tells(session.listener, cx.clock.ms) {
                tracing::warn!(
                    listener = %cx.listener(session.listener).name, peer = %session.peer, reason = %CloseReason::Limit, unlogged,
                    "connection of a proxy refused: {} is reached", limit.as_str()
                );
            }
        }
    }
    admitted.map(|_| ())
}

/// Looks at what trusted proxies say of a request, which may have come to their door encrypted, and for another host. From
/// the first look on, their client is the session's peer. False: the request was refused, because its address has too many
/// sessions or because it cannot be read whose it is.
pub(crate) fn look_behind(
    session: &mut Session,
    request: &mut SessionRequest<'_>,
    tools: &mut Tools,
) -> bool {
    let proxies = &tools.cx.listener(session.listener).proxies;
    match session.counted {
        Counted::Forwarded(_) => {}
        Counted::ForProxy if trusts(proxies, &session.peer) => {}
        Counted::ForProxy => return admit_or_refuse(session, Counted::Admitted, tools),
        Counted::Admitted(_) | Counted::TurnedAway => return true,
    }
    let Ok(found) = forwarded(proxies, &request.forwarded) else {
        let answer = (StatusCode::BAD_REQUEST, OPEN_QUOTE);
        refuse(session, answer, CloseReason::Handshake, tools);
        return false;
    };
    request.is_encrypted = found.is_encrypted;
    if let Some(host) = found.host.filter(|it| is_host_and_port(it.as_bytes())) {
        request.host = host;
    }
    if matches!(session.counted, Counted::Forwarded(_)) {
        return true;
    }
    if let Some(client) = found.client {
        session.peer = Peer::Ip(client);
        go_to_address(session, tools);
    }
    admit_or_refuse(session, Counted::Forwarded, tools)
}

fn admit_or_refuse(
    session: &mut Session,
    counted: fn(Address) -> Counted,
    tools: &mut Tools,
) -> bool {
    let admitted = admit(session, counted, tools);
    if let Err(limit) = admitted {
        turn_away(session, limit, tools);
    }
    admitted.is_ok()
}
