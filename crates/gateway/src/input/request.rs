//! The first request on a connection of an HTTP listener: it becomes a session here, or goes to the thread that
//! speaks HTTP.

use rustix::net::RecvFlags;

use crate::ids::ProcessKey;
use crate::input::proxied::look_behind;
use crate::input::read::receive_from;
use crate::memory::Class;
use crate::output::compress::agree;
use crate::output::reply::{Chosen, Fields, Page, begin_events, refuse, welcome};
use crate::rules::{RESUME, check_host, check_page, choose_protocol};
use crate::session::{Cut, End, Kind, Phase, Session};
use crate::session_request::{HEAD_BYTES, Head, SessionRequest, Wants, head_length, read_head};
use crate::timeouts::watch_idle;
use crate::tls::Read;
use crate::tools::Tools;
use moorline_config::{Listener, Origins};
use moorline_protocol::wire::{CloseReason, ToProcess};

/// Where a connection's first request has got to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FirstRequest {
    /// More of it must come.
    Waits,
    /// Its session has begun, or it was refused, or an app decides about it.
    Decided,
    /// It asks for something else than a session.
    Other,
    /// Its client has left, and there is no whole request.
    Left,
}

/// Reads the first request of a connection, and begins its session if it asks for one.
///
/// # Errors
/// The answer, or one of TLS's own, could not be sent.
pub(crate) fn read_request(session: &mut Session, tools: &mut Tools) -> Result<FirstRequest, End> {
    let before = session.input.tail.len();
    let mut scratch = std::mem::take(&mut tools.scratch.received);
    let mut own = Vec::new();
    let buffer = match before < HEAD_BYTES {
        true => &mut scratch[..],
        // What came with a TLS handshake may be long: nothing more is read behind it.
        false => {
            own.resize(before, 0);
            &mut own[..]
        }
    };
    buffer[..before].copy_from_slice(&session.input.tail);
    let (step, from, length) = read_and_look(session, buffer, tools);
    let rest = match session.phase {
        // Its tail was freed.
        Phase::Refused(_) => &[][..],
        _ => &buffer[from..length],
    };
    let before = session.input.tail.len();
    tools.memory.change(Class::Received, before, rest.len());
    session.input.tail = rest.to_vec();
    session.input.cut = match rest.is_empty() || matches!(step, Ok(FirstRequest::Waits)) {
        true => Cut::Exhausted,
        false => Cut::Pending,
    };
    tools.scratch.received = scratch;
    step
}

/// Where the request has got to, and which part of `buffer` is not used up. The session's tail is at its front.
fn read_and_look(
    session: &mut Session,
    buffer: &mut [u8],
    tools: &mut Tools,
) -> (Result<FirstRequest, End>, usize, usize) {
    let mut length = session.input.tail.len();
    let mut seen = match session.input.cut {
        Cut::Pending => 0,
        Cut::Exhausted => length,
    };
    loop {
        if seen < length && may_be_whole(&buffer[..length], seen) {
            let listener = tools.cx.listener(session.listener);
            match read_head(&buffer[..length.min(HEAD_BYTES)], listener) {
                Head::Unfinished => {}
                Head::Session(mut request) if !tools.cx.is_stopping() => {
                    let (decided, used) = decide(session, &mut request, tools);
                    return (decided.map(|()| FirstRequest::Decided), used, length);
                }
                Head::Wrong((status, why)) => {
                    refuse(session, (status, why), CloseReason::Handshake, tools);
                    return (Ok(FirstRequest::Decided), length, length);
                }
                Head::Other | Head::Session(_) => return (Ok(FirstRequest::Other), 0, length),
            }
        }
        seen = length;
        if length >= HEAD_BYTES {
            return (Ok(FirstRequest::Other), 0, length);
        }
        if !session.input.readable {
            return (Ok(FirstRequest::Waits), 0, length);
        }
        let (read, answered) = receive_from(session, &mut buffer[length..], tools);
        match (read, answered) {
            (_, Err(end)) => return (Err(end), 0, length),
            (Read::Bytes { bytes, has_more }, _) => {
                session.meters.bytes_in += bytes as u64;
                session.input.readable = has_more;
                length += bytes;
            }
            (Read::Nothing, _) => session.input.readable = false,
            (Read::End | Read::Broken(_), _) => return (Ok(FirstRequest::Left), 0, length),
        }
    }
}

/// Whether it is worth while to look at the head again, of which this number of bytes was looked at: a head that comes
/// byte by byte is read twice.
fn may_be_whole(received: &[u8], seen: usize) -> bool {
    if seen == 0 {
        return true;
    }
    let fresh = &received[seen.saturating_sub(3)..];
    fresh.windows(2).any(|it| it == b"\n\n") || fresh.windows(3).any(|it| it == b"\n\r\n")
}

/// Decides about a request, or leaves it to the app. Returns how much of it is used up: nothing, if the app is to see it.
fn decide(
    session: &mut Session,
    request: &mut SessionRequest<'_>,
    tools: &mut Tools,
) -> (Result<(), End>, usize) {
    if !look_behind(session, request, tools) {
        return (Ok(()), request.length);
    }
    let rules = &tools.cx.listener(session.listener).requests;
    if let Err(refusal) = check_host(rules, request.host) {
        refuse(session, refusal, CloseReason::Handshake, tools);
        return (Ok(()), request.length);
    }
    let process = tools.processes[session.placement.slot].process;
    if process.is_none_or(|at| tools.processes[at].is_asked) {
        session.phase = Phase::Asking { deaths: 0 };
        return (Ok(()), 0);
    }
    (begin_by_rules(session, request, tools), request.length)
}

/// Begins a session if the listener's rules let it, or refuses it.
///
/// # Errors
/// The answer could not be sent.
pub(crate) fn begin_by_rules(
    session: &mut Session,
    request: &SessionRequest<'_>,
    tools: &mut Tools,
) -> Result<(), End> {
    let is_encrypted = is_encrypted(session, request);
    let rules = &tools.cx.listener(session.listener).requests;
    if let Err(refusal) = check_page(rules, request, is_encrypted) {
        refuse(session, refusal, CloseReason::Handshake, tools);
        return Ok(());
    }
    let with_cookies = rules.origins != Origins::Any;
    let protocol = choose_protocol(rules, &request.protocols).map(str::to_owned);
    if !is_known(request, tools.cx.listener(session.listener)) {
        let kept = request.kept();
        let (before, after) = session.app.change(|state| state.request = kept);
        tools.memory.change(Class::State, before, after);
    }
    let beginning = Beginning {
        wants: request.wants,
        page: page_of(request, with_cookies),
        protocol: protocol.as_deref(),
        extensions: &request.extensions,
        fields: &[],
    };
    begin(session, &beginning, tools)
}

/// Whether nothing of this request is worth keeping, because its listener has but one target for sessions.
pub(crate) fn is_known(request: &SessionRequest<'_>, listener: &Listener) -> bool {
    request.last_event_id.is_none() && listener.routes.only_session_path() == Some(request.target)
}

/// The web page that asks for a session, if it is one.
pub(crate) fn page_of<'a>(request: &SessionRequest<'a>, with_cookies: bool) -> Option<Page<'a>> {
    request.origin.map(|origin| Page {
        origin,
        with_cookies,
    })
}

/// Whether what the client sends is encrypted, at least up to the proxies in front.
pub(crate) fn is_encrypted(session: &Session, request: &SessionRequest<'_>) -> bool {
    let is_encrypted = session.transport.tls.is_some();
    request.is_encrypted.unwrap_or(is_encrypted)
}

/// How a session begins.
pub(crate) struct Beginning<'a> {
    pub(crate) wants: Wants<'a>,
    /// The web page that asks, if it is one.
    pub(crate) page: Option<Page<'a>>,
    pub(crate) protocol: Option<&'a str>,
    /// Those that the client offers.
    pub(crate) extensions: &'a [&'a str],
    /// Further fields of the answer.
    pub(crate) fields: &'a Fields,
}

/// Answers the request; its session begins.
///
/// # Errors
/// The answer could not be sent.
pub(crate) fn begin(
    session: &mut Session,
    beginning: &Beginning<'_>,
    tools: &mut Tools,
) -> Result<(), End> {
    let now = tools.cx.clock.ms;
    session.phase = Phase::Open;
    session.kind = match beginning.wants {
        Wants::Events { chunked } => Kind::Events { chunked },
        Wants::WebSocket { .. } if beginning.protocol == Some(RESUME) => Kind::Resumable,
        Wants::WebSocket { .. } => Kind::Framed,
    };
    session.meters.received_at = now;
    session.meters.sent_at = now;
    let slot = session.placement.slot;
    tools.cx.note_begun(session.listener, slot, session.id);
    watch_idle(session, tools);
    let Beginning {
        wants,
        page,
        protocol,
        extensions,
        fields,
    } = beginning;
    match *wants {
        Wants::WebSocket { key } => {
            let extension = agree(session, extensions, tools);
            let chosen = Chosen {
                protocol: *protocol,
                extension: extension.as_deref(),
            };
            welcome(session, key, chosen, fields, tools)
        }
        Wants::Events { chunked } => begin_events(session, chunked, *page, fields, tools),
    }
}

/// Whether a client that half-closes while an app is asked about it has left, as browsers and proxies do then: it has sent
/// nothing behind its request, and cannot even say any more that it closes (RFC 6455 §5.5.1).
pub(crate) fn has_left(session: &Session) -> bool {
    let tail = &session.input.tail;
    // The rest of a record may be shorter than any whole one.
    let has_sent_more =
        head_length(tail).is_some_and(|it| it < tail.len()) || session.transport.unopened() > 0;
    if !session.transport.link.is_hung_up() || has_sent_more {
        return false;
    }
    let Some(socket) = &session.transport.socket else {
        return true;
    };
    let mut unread = [0; SHORTEST_RECORD];
    match rustix::net::recv(socket, &mut unread, RecvFlags::PEEK) {
        Ok((bytes, _)) if session.transport.tls.is_some() => {
            bytes < SHORTEST_RECORD || unread[0] == ALERT
        }
        Ok((bytes, _)) => bytes == 0,
        Err(_) => true,
    }
}

/// The shortest record of TLS with a frame of a client in it, in bytes: the frame, the kind of its content and a tag. That
/// TLS ends takes less.
const SHORTEST_RECORD: usize = 5 + 6 + 1 + 16;
/// The type of a record with which TLS 1.2 ends (RFC 5246 §6.2.1).
const ALERT: u8 = 21;

/// The process that is asked about this request need not answer any more.
pub(crate) fn give_up_asking(session: &mut Session, tools: &mut Tools) {
    if let Some(at) = end_asking(session, tools) {
        // Without room it works on in vain.
        tools.processes[at].tell(ToProcess::Moved, session.id);
        tools.processes.mark_dirty(at);
    }
}

/// No process is asked about this request any more. Returns the one that was.
pub(crate) fn end_asking(session: &mut Session, tools: &mut Tools) -> Option<ProcessKey> {
    if !matches!(session.phase, Phase::Asking { .. }) {
        return None;
    }
    let at = session.placement.process();
    if let Some(at) = at {
        tools.processes[at].sessions -= 1;
    }
    session.placement.forget();
    at
}
