//! The actions of a session's timer.

use hyper::StatusCode;

use crate::entry::{EntryRefusal, log_refusal, newcomer};
use crate::input::failed_handshake::refused;
use crate::input::hello::check_hello;
use crate::input::request::give_up_asking;
use crate::output::reply::refuse;
use crate::output::write::farewell;
use crate::session::{End, Phase, Session, Timer};
use crate::timeouts::{GOING_AWAY, Stuck, flush_due, flush_timeout, idle_at};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_protocol::control::Limit;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::CloseReason;

/// How long after a look at a session that waits for its process the next one comes, in milliseconds.
const LOOK_AGAIN_MS: u64 = 1000;

/// A session may have been idle for too long.
///
/// # Errors
/// It was idle for too long.
pub(crate) fn check_idle(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.phase != Phase::Open {
        return Ok(());
    }
    if session.app.is_paused || session.app.is_kept {
        session.meters.idle_timer = Timer::Unset;
        return Ok(());
    }
    let Some(at) = idle_at(session, &tools.cx) else {
        return Ok(());
    };
    if at > tools.cx.clock.ms {
        tools.agenda.timers.set(at, Alarm::Idle(session.name()));
        return Ok(());
    }
    // A session whose message is being worked on is not idle, only slow.
    if session.is_worked_for() {
        session.meters.idle_timer = Timer::Unset;
        return Ok(());
    }
    if session.has_unread_input() {
        // It is read when its process has taken more, or there is more memory.
        let again = tools.cx.clock.ms + LOOK_AGAIN_MS;
        tools.agenda.timers.set(again, Alarm::Idle(session.name()));
        return Ok(());
    }
    farewell(session, GOING_AWAY, tools);
    Err(End::Now(CloseReason::Idle))
}

/// A closing session had enough time to send its output.
///
/// # Errors
/// Its peer has taken none of it for too long.
pub(crate) fn check_flush(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    let (Phase::Ending(reason) | Phase::Refused(reason)) = session.phase else {
        return Ok(());
    };
    if reason == CloseReason::Stopped && session.output.queue.is_none() {
        session.output.timer = Timer::Unset;
        return Ok(());
    }
    let listener = tools.cx.listener(session.listener);
    let at = flush_due(session, listener, 0);
    if at > tools.cx.clock.ms {
        tools.agenda.timers.set(at, Alarm::Flush(session.name()));
        return Ok(());
    }
    let (_, timeout) = flush_timeout(listener);
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
        queued = session.output.queued(), in_progress = session.input.window.in_hand(), reason = %CloseReason::Slow,
        "session closed: its peer takes no output while it is closing, {timeout} is reached"
    );
    Err(End::Now(CloseReason::Slow))
}

/// A handshake may have taken too long.
///
/// # Errors
/// It has not ended in time.
pub(crate) fn check_handshake(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    // The answer to a refused request has the time for closing.
    if session.has_begun() || matches!(session.phase, Phase::Refused(_)) {
        return Ok(());
    }
    if matches!(session.phase, Phase::TurnedAway(_)) {
        return Err(End::Now(CloseReason::Limit));
    }
    if session.phase == Phase::Preread {
        return check_hello(session, tools);
    }
    tools.cx.count_limit(Limit::HandshakeTimeout);
    if session.phase == Phase::Handshake {
        let reason = "it has taken longer than handshake_timeout";
        return Err(refused(session, reason, tools));
    }
    let listener = tools.cx.listener(session.listener);
    if matches!(session.phase, Phase::Asking { .. }) {
        tracing::warn!(
            listener = %listener.name, peer = %session.peer, reason = %CloseReason::Handshake,
            "request refused: the app has not decided within handshake_timeout"
        );
        give_up_asking(session, tools);
        let why = "the app has not decided in time";
        let answer = (StatusCode::SERVICE_UNAVAILABLE, why);
        refuse(session, answer, CloseReason::Handshake, tools);
        return Ok(());
    }
    tracing::info!(
        listener = %listener.name, peer = %session.peer, reason = %CloseReason::Handshake,
        "connection closed: its handshake or request has taken longer than handshake_timeout"
    );
    log_refusal(&newcomer(session), EntryRefusal::UNPARSED, &tools.cx);
    Err(End::Now(CloseReason::Handshake))
}

/// Output was queued when this timer was set; perhaps it still is.
///
/// # Errors
/// Its peer has taken none of it for too long.
pub(crate) fn check_output(session: &mut Session, tools: &mut Tools) -> Result<(), End> {
    if session.phase != Phase::Open {
        // A timer for the closing has taken over.
        return Ok(());
    }
    let listener = tools.cx.listener(session.listener);
    let due = Stuck::due(session, listener, 0);
    let (Some(queue), Some((at, why))) = (&session.output.queue, due) else {
        session.output.timer = Timer::Unset;
        return Ok(());
    };
    if at > tools.cx.clock.ms {
        tools.agenda.timers.set(at, Alarm::Output(session.name()));
        return Ok(());
    }
    let (reason, timeout) = match why {
        Stuck::Slow => (CloseReason::Slow, "send_timeout"),
        Stuck::Idle => (CloseReason::Idle, "idle_timeout"),
    };
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
        queued = queue.bytes, in_progress = session.input.window.in_hand(), %reason,
        "session closed: its peer takes no output, {timeout} is reached"
    );
    Err(End::Now(reason))
}

/// A half-closed session had enough time. While its input is left in its socket because its process is behind, the time
/// counts from what that process last took: it ends sooner or later, even if the process takes nothing any more.
///
/// # Errors
/// It has had no progress.
pub(crate) fn check_half_closed(session: &Session, tools: &mut Tools) -> Result<(), End> {
    let (Phase::Open, Some(since)) = (session.phase, session.meters.half_closed_at) else {
        return Ok(());
    };
    let listener = tools.cx.listener(session.listener);
    let timeout = listener.half_close_timeout.as_millis() as u64;
    let now = tools.cx.clock.ms;
    // Also while the app has paused it: the app need not resume it.
    let mut since = since.max(session.meters.sent_at);
    if session.listed.parked
        && session.has_unread_input()
        && let Some(at) = session.placement.process()
    {
        since = since.max(tools.processes[at].took_at());
    }
    if since + timeout > now {
        let alarm = Alarm::HalfClose(session.name());
        tools.agenda.timers.set(since + timeout, alarm);
        return Ok(());
    }
    tracing::warn!(
        session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
        in_progress = session.input.window.in_hand(), reason = %CloseReason::Peer,
        "session closed: no progress for half_close_timeout after its peer half-closed it"
    );
    Err(End::Now(CloseReason::Peer))
}
