//! The answers to requests that a loop gives itself: the session begins, or it does not.

use std::time::SystemTime;

use hyper::StatusCode;
use moorline_net::framing::websocket;

use crate::memory::Class;
use crate::output::write::write_raw;
use crate::session::{Cut, End, Phase, Session};
use crate::timeouts::watch_closing;
use crate::tools::Tools;
use moorline_protocol::control::Limit;
use moorline_protocol::wire::CloseReason;

/// When a client should try again, in seconds. Those that were turned away in the same moment return in the course of
/// [`SPREAD`].
const RETRY_AFTER: u64 = 5;
const SPREAD: u64 = 10;

/// Further fields of a head: names and values.
pub(crate) type Fields = [(String, String)];

/// A web page that was let through: it may read what the session sends (WHATWG Fetch, "CORS protocol").
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) origin: &'a str,
    /// Also if the request had cookies: the page was named, and not let through as any would be.
    pub(crate) with_cookies: bool,
}

/// What the server has chosen of what a client offers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chosen<'a> {
    pub(crate) protocol: Option<&'a str>,
    pub(crate) extension: Option<&'a str>,
}

/// Says that the session begins. `key` is the client's.
///
/// # Errors
/// As for [`write_raw`].
pub(crate) fn welcome(
    session: &mut Session,
    key: &str,
    chosen: Chosen<'_>,
    fields: &Fields,
    tools: &mut Tools,
) -> Result<(), End> {
    let mut head = String::with_capacity(160);
    head.push_str(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
    );
    head.push_str("Sec-WebSocket-Accept: ");
    head.push_str(&websocket::accept_key(key));
    head.push_str("\r\n");
    if let Some(protocol) = chosen.protocol {
        push_field(&mut head, "Sec-WebSocket-Protocol", protocol);
    }
    if let Some(extension) = chosen.extension {
        push_field(&mut head, "Sec-WebSocket-Extensions", extension);
    }
    for (name, value) in fields {
        push_field(&mut head, name, value);
    }
    head.push_str("\r\n");
    write_raw(session, head.as_bytes(), tools)
}

/// Says that a session of server-sent events begins.
///
/// # Errors
/// As for [`write_raw`].
pub(crate) fn begin_events(
    session: &mut Session,
    chunked: bool,
    page: Option<Page<'_>>,
    fields: &Fields,
    tools: &mut Tools,
) -> Result<(), End> {
    let mut head = String::with_capacity(256);
    head.push_str("HTTP/1.1 200 OK\r\nConnection: close\r\n");
    push_field(&mut head, "Content-Type", "text/event-stream");
    push_field(&mut head, "X-Content-Type-Options", "nosniff");
    // Proxies keep no part of it back.
    push_field(&mut head, "X-Accel-Buffering", "no");
    let has = |name: &str| {
        let mut names = fields.iter().map(|(name, _)| name);
        names.any(|its| its.eq_ignore_ascii_case(name))
    };
    if !has("cache-control") {
        push_field(&mut head, "Cache-Control", "no-store, no-transform");
    }
    if chunked {
        push_field(&mut head, "Transfer-Encoding", "chunked");
    }
    if !has("vary") {
        push_field(&mut head, "Vary", "Origin");
    }
    if let Some(page) = page
        && !has("access-control-allow-origin")
    {
        push_field(&mut head, "Access-Control-Allow-Origin", page.origin);
        if page.with_cookies && !has("access-control-allow-credentials") {
            push_field(&mut head, "Access-Control-Allow-Credentials", "true");
        }
    }
    push_date(&mut head);
    let has_own = |name: &str| name.eq_ignore_ascii_case("content-type");
    for (name, value) in fields.iter().filter(|(name, _)| !has_own(name)) {
        push_field(&mut head, name, value);
    }
    head.push_str("\r\n");
    write_raw(session, head.as_bytes(), tools)
}

/// Says that no session begins, and why. The connection closes behind it, for this reason.
pub(crate) fn refuse(
    session: &mut Session,
    (status, why): (StatusCode, &str),
    reason: CloseReason,
    tools: &mut Tools,
) {
    tracing::info!(
        listener = %tools.cx.listener(session.listener).name, peer = %session.peer, %reason, status = status.as_u16(), error = why,
        "request for a session refused"
    );
    let kind = [("Content-Type".into(), "text/plain; charset=utf-8".into())];
    refuse_with(session, status, &kind, why.as_bytes(), reason, tools);
}

/// The same with this body and these fields of the head.
pub(crate) fn refuse_with(
    session: &mut Session,
    status: StatusCode,
    fields: &Fields,
    body: &[u8],
    reason: CloseReason,
    tools: &mut Tools,
) {
    let mut head = format!(
        "HTTP/1.1 {} {}\r\nConnection: close\r\nContent-Length: {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Refused"),
        body.len()
    );
    push_date(&mut head);
    for (name, value) in fields {
        push_field(&mut head, name, value);
    }
    head.push_str("\r\n");
    let mut answer = head.into_bytes();
    answer.extend_from_slice(body);
    forget_input(session, tools);
    // If it cannot be sent the connection ends all the same.
    let _ = write_raw(session, &answer, tools);
    session.phase = Phase::Refused(reason);
    watch_closing(session, tools);
    tools.agenda.schedule(session);
}

/// Refuses a request because of this limit.
pub(crate) fn turn_away(session: &mut Session, limit: Limit, tools: &mut Tools) {
    let retry_after = RETRY_AFTER + session.id % SPREAD;
    let (status, why) = match limit {
        Limit::SessionsPerAddress => (
            StatusCode::TOO_MANY_REQUESTS,
            "too many connections from this address",
        ),
        _ => (StatusCode::SERVICE_UNAVAILABLE, "no room for now"),
    };
    refuse_with(
        session,
        status,
        &[
            ("Content-Type".into(), "text/plain; charset=utf-8".into()),
            ("Retry-After".into(), retry_after.to_string()),
        ],
        why.as_bytes(),
        CloseReason::Limit,
        tools,
    );
}

/// Nothing that its peer has sent is used any more.
fn forget_input(session: &mut Session, tools: &mut Tools) {
    let tail = std::mem::take(&mut session.input.tail);
    tools.memory.release(Class::Received, tail.len());
    session.input.cut = Cut::Exhausted;
}

/// RFC 9110 §6.6.1.
fn push_date(head: &mut String) {
    push_field(head, "Date", &httpdate::fmt_http_date(SystemTime::now()));
}

fn push_field(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.push_str(value);
    head.push_str("\r\n");
}
