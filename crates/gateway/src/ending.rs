//! How a session ends.
//!
//! An end has three steps: nothing more is read and output is flushed (`Ending`), the socket is closed and
//! the process told (`Ended`), and, where the peer may still be sending, the socket stays a moment without a
//! session so that a reset does not destroy what the peer has not read yet (`Lingering`).

use hyper::StatusCode;
use moorline_net::watermark::Level;
use rustix::io::Errno;
use rustix::net::{RecvFlags, Shutdown};

use crate::cx::{Cx, unix_ms};
use crate::facts::{closing, opening};
use crate::groups::Groups;
use crate::input::cut::{discard_uncut, note_unfinished};
use crate::input::request::give_up_asking;
use crate::memory::{Class, TLS_BYTES};
use crate::output::flush::drop_output;
use crate::output::reply::refuse;
use crate::output::sealing::close_sealed;
use crate::output::watermarks::{set_level, tell_other_senders};
use crate::output::write::farewell;
use crate::placement::place;
use crate::processes::pending_close::PendingClose;
use crate::session::{End, Farewell, Phase, Session};
use crate::shared::admission::Counted;
use crate::suspects::clear_suspect;
use crate::timeouts::{watch_closing, watch_half_closed};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_protocol::control::LoopCounter;
use moorline_protocol::flight::FlightKind;
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{CloseReason, FromProcess, ToProcess};

/// How long a closed socket waits for its peer to close too, as nginx's lingering_close does.
const LINGER_MS: u64 = 2_000;
/// Reads of what the peer of a closed session still sends, in one turn.
const LINGERING_READS: usize = 16;

/// The state of a session after an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Left {
    /// It stays in the table.
    Session,
    /// It must be removed from the table.
    Nothing,
    /// It never was more than a connection: it must be removed, and nobody is told.
    Connection(Onward),
}

/// What becomes of a connection that is no session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Onward {
    /// It is closed.
    Closed,
    /// It speaks HTTP.
    Http,
    /// It is relayed to a peer of its listener's upstream.
    Relay,
}

/// Ends a session as a step has asked for. The one place that acts on an [`End`].
pub(crate) fn act(session: &mut Session, end: End, groups: &mut Groups, tools: &mut Tools) {
    match end {
        End::Now(reason) => finish(session, reason, groups, tools),
        End::WhenFlushed(reason) => end_when_flushed(session, reason, groups, tools),
        End::Broken(error) => break_off(session, error, groups, tools),
    }
}

/// The connection broke.
fn break_off(session: &mut Session, error: Errno, groups: &mut Groups, tools: &mut Tools) {
    tracing::debug!(session = %SessionId::from(session.id), %error, "connection broke");
    let delivers = tools.cx.listener(session.listener).deliver_after_close;
    // The kernel has found out before a ping did.
    let is_vanished = matches!(
        error,
        Errno::TIMEDOUT | Errno::HOSTUNREACH | Errno::NETUNREACH
    );
    if !delivers || session.phase != Phase::Open {
        let reason = match is_vanished {
            true => CloseReason::Vanished,
            false => CloseReason::Peer,
        };
        finish(session, reason, groups, tools);
        return;
    }
    // The bytes received before are read to their end. Then the session ends like one whose peer has finished.
    session.transport.link.break_off();
    session.input.readable = true;
    session.app.is_paused = false;
    set_level(session, Level::Drained, tools);
    tell_other_senders(session, ToProcess::Drained, tools);
    drop_output(session, tools);
    watch_half_closed(session, tools);
    tools.agenda.schedule(session);
}

/// No more is read; the session ends once its output is flushed.
fn end_when_flushed(
    session: &mut Session,
    reason: CloseReason,
    groups: &mut Groups,
    tools: &mut Tools,
) {
    match session.phase {
        Phase::Open => {
            session.phase = Phase::Ending(reason);
            watch_closing(session, tools);
            tools.agenda.schedule(session);
        }
        Phase::Announced
        | Phase::Preread
        | Phase::Handshake
        | Phase::Request
        | Phase::Relayed
        | Phase::TurnedAway(_) => {
            finish(session, reason, groups, tools);
        }
        Phase::Asking { .. } => {
            give_up_asking(session, tools);
            let answer = (StatusCode::SERVICE_UNAVAILABLE, "ask again later");
            refuse(session, answer, reason, tools);
        }
        Phase::Refused(_) => {}
        Phase::Ending(_) | Phase::Ended(_) | Phase::Lingering => {}
    }
}

/// Ends the session if everything that its end waits for has happened.
pub(crate) fn finish_if_over(session: &mut Session, groups: &mut Groups, tools: &mut Tools) {
    let is_idle = || session.input.window.in_hand() == 0 && !session.has_input_left();
    let reason = match session.phase {
        Phase::Open if session.transport.link.is_read() && is_idle() => CloseReason::Peer,
        Phase::Ending(CloseReason::Stopped) if is_idle() => CloseReason::Stopped,
        // The last worker has died with its messages.
        Phase::Ending(CloseReason::Stopped) if is_given_up(session, tools) => CloseReason::Stopped,
        Phase::Ending(reason) if reason != CloseReason::Stopped => reason,
        Phase::Refused(reason) => {
            if session.output.queue.is_none() {
                finish(session, reason, groups, tools);
            }
            return;
        }
        _ => return,
    };
    if session.output.queue.is_some()
        || (reason != CloseReason::Server && tools.processes.are_sending_to(session))
    {
        return;
    }
    if reason == CloseReason::Stopped {
        farewell(session, tools.cx.config.engine.stop_code, tools);
    }
    if reason == CloseReason::Peer
        && let Farewell::Came(code) = session.input.farewell
    {
        session.input.farewell = Farewell::Answered(code);
        farewell(session, code, tools);
        if session.output.queue.is_some() {
            return;
        }
    }
    finish(session, reason, groups, tools);
}

/// Whether no process has the session, and none will.
fn is_given_up(session: &Session, tools: &Tools) -> bool {
    tools.cx.has_no_workers() && session.placement.process().is_none()
}

/// Closes a session even if a message of it is in progress: the engine stops, or has no workers any more.
pub(crate) fn close_unfinished(session: &mut Session, groups: &mut Groups, tools: &mut Tools) {
    if session.lives() && session.output.queue.is_none() {
        farewell(session, tools.cx.config.engine.stop_code, tools);
    }
    finish(session, CloseReason::Stopped, groups, tools);
}

/// Ends the session now and discards its queue. Its process is told in the next turn.
pub(crate) fn finish(
    session: &mut Session,
    reason: CloseReason,
    groups: &mut Groups,
    tools: &mut Tools,
) {
    if session.has_ended() {
        return;
    }
    tools
        .cx
        .shared
        .end(session.listener, &session.peer, session.counted);
    session.notes = None;
    if let Some(code) = last_word(reason)
        && session.lives()
        && session.output.queue.is_none()
    {
        farewell(session, code, tools);
    }
    let has_begun = session.has_begun();
    give_up_asking(session, tools);
    if session.output.level.is_full() {
        tools.cx.counters.sub(LoopCounter::Full as usize, 1);
    }
    session.phase = Phase::Ended(reason);
    let held = session.received();
    let kept = session.input.kept.as_ref();
    let discarded = kept.map_or(0, |kept| kept.queue.len() - kept.delivered);
    let mut uncut = std::mem::take(&mut session.input.tail);
    tools.cx.count(LoopCounter::Discarded, discarded as u64);
    if matches!(reason, CloseReason::Peer | CloseReason::Idle) {
        note_unfinished(session, &uncut, &tools.cx);
    }
    discard_uncut(session, &mut uncut, tools);
    tell_other_senders(session, ToProcess::Unknown, tools);
    // Before the queue is dropped: a response that was cut off must not look complete.
    close_sealed(session);
    drop_output(session, tools);
    groups.leave_all(session, &mut tools.memory);
    session.input.kept = None;
    session.placement.stay();
    close_socket(session, reason);
    if has_begun {
        log_access(session, &tools.cx, reason);
    }
    tools.memory.release(Class::Received, held);
    if session.counted != Counted::TurnedAway {
        tools.cx.count_closed(reason);
    }
    if has_begun || tools.cx.begins_at_once(session.listener) {
        let messages = session.meters.messages;
        let (flight, id) = (&tools.cx.flight, session.id);
        flight.note(FlightKind::Closed, reason as u16, id, messages);
    }
    clear_suspect(session, tools);
    tools.agenda.schedule(session);
}

/// The WebSocket close code for a session that ends at once for this reason, where it tells more than the end itself
/// (RFC 6455 §7.4.1, and the registry of codes).
fn last_word(reason: CloseReason) -> Option<u16> {
    match reason {
        CloseReason::Crash => Some(1011),
        CloseReason::Slow | CloseReason::Memory => Some(1013),
        _ => None,
    }
}

/// Closes the socket, or only its way out if the peer may still be sending.
fn close_socket(session: &mut Session, reason: CloseReason) {
    let transport = &mut session.transport;
    // Its last byte may be behind its farewell.
    let is_read = transport.link.is_read() && session.input.farewell == Farewell::None;
    let lingers = !is_read
        && match reason {
            CloseReason::Server
            | CloseReason::Stopped
            | CloseReason::Framing
            | CloseReason::Idle
            | CloseReason::Handshake
            | CloseReason::Limit
            | CloseReason::Crash
            | CloseReason::Error => true,
            CloseReason::Peer => !transport.link.is_hung_up(),
            _ => false,
        };
    match &transport.socket {
        Some(socket) if lingers => {
            // A broken socket reports that already, and has nothing left to lose.
            let _ = rustix::net::shutdown(socket, Shutdown::Write);
        }
        _ => transport.socket = None,
    }
}

/// Does what the end of a session still needs.
pub(crate) fn go_on_ending(session: &mut Session, tools: &mut Tools) -> Left {
    match session.phase {
        Phase::Ended(reason) => match tell_end(session, reason, tools) {
            true => let_go(session, tools),
            false => Left::Session,
        },
        Phase::Lingering => drain_lingering(session, tools),
        _ => Left::Session,
    }
}

/// Tells the process that the session has ended. False: it waits for room, or for a process.
fn tell_end(session: &mut Session, reason: CloseReason, tools: &mut Tools) -> bool {
    if session.placement.process().is_none() {
        if !session.placement.is_known() || is_given_up(session, tools) {
            // No process ever knew it, or the one that did is gone and has no successor.
            return true;
        }
        if !place(session, tools) {
            // The process that must be told is not there yet.
            return false;
        }
    }
    let Some(at) = session.placement.process() else {
        return false;
    };
    // Together with its opening: if the process dies before it takes this, the next one is told both.
    let pending = PendingClose {
        id: session.id,
        reason,
        closing: closing(session, &tools.cx),
        opening: opening(session, true),
    };
    let held = pending.held();
    let process = &mut tools.processes[at];
    if !process.push_close(pending) {
        tools.processes.park(session, at);
        return false;
    }
    tools.memory.hold(Class::Transfers, held);
    process.sessions -= 1;
    process.in_hand -= session.input.window.in_hand() as usize;
    let place = (FromProcess::Send as u8, session.id);
    if let Some(dropped) = process.partials.remove(&place) {
        tools.memory.release(Class::Parts, dropped.bytes.len());
    }
    tools.processes.note_told(at);
    tools.processes.mark_dirty(at);
    true
}

/// The session has ended; its socket may linger.
fn let_go(session: &mut Session, tools: &mut Tools) -> Left {
    session.placement.leave();
    if session.transport.tls.take().is_some() {
        tools.memory.release(Class::Tls, TLS_BYTES);
    }
    if let Some(compression) = session.compression.take() {
        tools.memory.release(Class::Compression, compression.held());
    }
    // A socket that only lingers belongs to no slot, and its slot may go.
    let slot = session.placement.slot;
    tools.processes[slot].leave(&tools.cx.shared.slots[slot.index()]);
    if session.transport.socket.is_none() || tools.cx.is_stopping() {
        return Left::Nothing;
    }
    session.phase = Phase::Lingering;
    let at = tools.cx.clock.ms + LINGER_MS;
    let alarm = Alarm::Linger(session.name());
    tools.agenda.timers.set(at, alarm);
    drain_lingering(session, tools)
}

/// Discards what the peer still sends, until it closes.
fn drain_lingering(session: &mut Session, tools: &mut Tools) -> Left {
    for _ in 0..LINGERING_READS {
        let Some(socket) = &session.transport.socket else {
            break;
        };
        let scratch = &mut tools.scratch.received[..];
        match rustix::net::recv(socket, scratch, RecvFlags::empty()) {
            Ok((bytes, _)) if bytes > 0 => {}
            Err(Errno::AGAIN) => return Left::Session,
            // The peer has closed, or it sends without end and has been read for long enough.
            _ => break,
        }
    }
    Left::Nothing
}

/// One line for each session, under a target of its own, so that `access=off` in the log level turns it off.
fn log_access(session: &Session, cx: &Cx, reason: CloseReason) {
    let listener = cx.config.listeners.get(session.listener.index());
    let tls = session.transport.tls.as_ref();
    let version = tls.and_then(|tls| tls.version());
    let meters = &session.meters;
    tracing::info!(
        target: "access",
        session = %SessionId::from(session.id),
        listener = listener.map_or("", |listener| &listener.name),
        peer = %session.peer,
        tls = version.map(tracing::field::display),
        %reason,
        messages = meters.messages,
        received = meters.bytes_in,
        sent = meters.bytes_out,
        duration_ms = unix_ms().saturating_sub(meters.connected_at),
        "session closed"
    );
}
