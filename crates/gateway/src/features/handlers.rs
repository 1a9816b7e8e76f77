//! Reports of a process about its handlers for a session: a message is done, the open hook has ended, the session
//! should be closed.

use moorline_ipc::Header;
use moorline_net::framing::websocket::close_frame;

use crate::cx::Cx;
use crate::ids::ProcessKey;
use crate::memory::Class;
use crate::output::event::last_chunk;
use crate::output::write::{farewell, write_raw};
use crate::session::{End, Kind, Phase, Session};
use crate::suspects::clear_suspect;
use crate::timeouts::watch_when_done;
use crate::tools::Tools;
use moorline_config::{OnCrash, OnError};
use moorline_protocol::control::LoopCounter;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{CloseReason, ERRED, FAILED, FORCE};

/// The WebSocket close codes for a normal end, and for an error on this side (RFC 6455 §7.4.1).
const NORMAL: u16 = 1000;
const INTERNAL_ERROR: u16 = 1011;

/// Why a record about a handler cannot be acted on any further.
pub(crate) enum Refused {
    /// The session ends.
    Ends(End),
    /// The process wrote a record that makes no sense.
    Garbage(String),
}

impl From<End> for Refused {
    fn from(end: End) -> Self {
        Self::Ends(end)
    }
}

/// A handler has ended.
///
/// # Errors
/// The message was not in progress, or the session ends because its handler failed.
pub(crate) fn done(
    session: &mut Session,
    at: ProcessKey,
    header: &Header,
    tools: &mut Tools,
) -> Result<(), Refused> {
    if session.placement.process() != Some(at) {
        return Ok(());
    }
    let window = &session.input.window;
    if window.in_hand() == 0 || header.sequence != u64::from(window.done.wrapping_add(1)) {
        return Err(Refused::Garbage(format!(
            "message {} of session {} was not in progress",
            header.sequence, header.session
        )));
    }
    tools.processes[at].in_hand -= 1;
    if header.flags & (FAILED | ERRED) == 0 {
        end_message(session, header, tools);
        return Ok(());
    }
    match judge(session, at, header.flags, tools) {
        Verdict::Again => Ok(()),
        Verdict::Done => {
            end_message(session, header, tools);
            Ok(())
        }
        Verdict::Ends(end) => {
            end_message(session, header, tools);
            Err(end.into())
        }
    }
}

/// The oldest message in progress is done.
fn end_message(session: &mut Session, header: &Header, tools: &mut Tools) {
    let meters = &mut session.meters;
    meters.half_closed_at = meters.half_closed_at.map(|_| tools.cx.clock.ms);
    let input = &mut session.input;
    input.window.end_one(header.time);
    let done = input.window.done;
    if let Some(kept) = &mut input.kept
        && kept.delivered > 0
        && kept.queue.front().is_some_and(|kept| kept.sequence == done)
    {
        let first = kept.queue.pop_front();
        kept.delivered -= 1;
        if kept.queue.is_empty() {
            input.kept = None;
        }
        let bytes = first.map_or(0, |kept| kept.bytes.len());
        tools.memory.release(Class::Received, bytes);
    }
    clear_suspect(session, tools);
    watch_when_done(session, tools);
    let input = &session.input;
    let is_idle = session.phase == Phase::Open
        && !session.placement.is_moving()
        && !input.readable
        && !session.transport.link.is_read()
        && input.kept.is_none()
        && !input.is_uncut();
    if !is_idle {
        tools.agenda.schedule(session);
    }
}

/// What happens to a message whose handler has failed.
enum Verdict {
    /// It is delivered once more.
    Again,
    /// It is done.
    Done,
    /// It is done, and its session ends.
    Ends(End),
}

/// A handler has failed, and the worker lives.
fn judge(session: &mut Session, at: ProcessKey, flags: u8, tools: &mut Tools) -> Verdict {
    if !matches!(
        session.phase,
        Phase::Open | Phase::Ending(CloseReason::Stopped)
    ) {
        return Verdict::Done;
    }
    let rules = &tools.processes[at].rules.listeners[session.listener.index()];
    let (on_error, on_crash, attempts) = (rules.on_error, rules.on_crash, rules.attempts);
    if flags & FAILED == 0 {
        return match on_error {
            OnError::Close => {
                close_by_error(session, tools).map_or_else(Verdict::Ends, |()| Verdict::Done)
            }
            _ => Verdict::Done,
        };
    }
    match on_crash {
        OnCrash::Drop => {
            tools.cx.count(LoopCounter::Dropped, 1);
            Verdict::Done
        }
        OnCrash::Close => Verdict::Ends(crashed(session, "its handler panicked", &tools.cx)),
        OnCrash::Redeliver => redeliver(session, at, attempts, tools),
    }
}

fn redeliver(session: &mut Session, at: ProcessKey, attempts: u32, tools: &mut Tools) -> Verdict {
    let behind = session.input.window.in_hand() as usize - 1;
    let Some(inbound) = &mut session.input.kept else {
        return Verdict::Done;
    };
    let Some(kept) = inbound.queue.front_mut() else {
        return Verdict::Done;
    };
    kept.deaths += 1;
    if kept.deaths >= attempts {
        return Verdict::Ends(crashed(session, "its handler panicked", &tools.cx));
    }
    tools.processes[at].in_hand -= behind;
    // The worker skips the following messages until it sees this one again, so the order stays.
    inbound.delivered = 0;
    inbound.offset = 0;
    session.input.window.take_back();
    clear_suspect(session, tools);
    tools.cx.count(LoopCounter::Redelivered, 1);
    tools.agenda.schedule(session);
    Verdict::Again
}

/// An open hook has ended.
pub(crate) fn opened(session: &mut Session, at: ProcessKey, tools: &mut Tools) {
    if session.placement.process() == Some(at) && session.has_begun() {
        session.placement.opened();
        if session.placement.is_moving() {
            tools.agenda.schedule(session);
        }
    }
}

/// The app closes a session, with this text for a WebSocket. The caller has sent it the earlier broadcasts.
///
/// # Errors
/// How it ends.
pub(crate) fn close_for_app(
    session: &mut Session,
    header: &Header,
    text: &str,
    tools: &mut Tools,
) -> Result<(), End> {
    if header.flags & ERRED != 0 {
        return close_by_error(session, tools);
    }
    if session.phase != Phase::Open {
        return Ok(());
    }
    let framing = &tools.cx.listener(session.listener).framing;
    let written = match session.kind {
        Kind::Events { chunked } => write_raw(session, last_chunk(chunked), tools),
        kind if kind.is_websocket(framing) => {
            let code = if header.aux == 0 { NORMAL } else { header.aux };
            write_raw(session, close_frame(code, text).as_bytes(), tools)
        }
        _ => Ok(()),
    };
    if let Err(end @ End::Now(_)) = written {
        return Err(end);
    }
    Err(End::WhenFlushed(CloseReason::Server))
}

/// Whether the app ends the session at once, with its messages in progress.
pub(crate) fn close_at_once(session: &Session, header: &Header, cx: &Cx) -> Result<(), End> {
    if header.flags & FAILED != 0 {
        return Err(crashed(session, "its open hook panicked", cx));
    }
    if header.flags & FORCE != 0 {
        return Err(End::Now(CloseReason::Server));
    }
    Ok(())
}

/// A session ends because of a crash.
pub(crate) fn crashed(session: &Session, why: &str, cx: &Cx) -> End {
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %cx.listener(session.listener).name, peer = %session.peer,
        reason = %CloseReason::Crash, "session closed: {why}"
    );
    cx.count(LoopCounter::ClosedByCrash, 1);
    End::Now(CloseReason::Crash)
}

/// A handler or the open hook returned an error: the session ends when its output so far is flushed.
fn close_by_error(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.phase != Phase::Open {
        return Ok(());
    }
    let listener = tools.cx.listener(session.listener);
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
        reason = %CloseReason::Error, "session closed: its handler returned an error"
    );
    farewell(session, INTERNAL_ERROR, tools);
    Err(End::WhenFlushed(CloseReason::Error))
}
