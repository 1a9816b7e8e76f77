//! How long a session may be idle, take no output, or stay half-closed: the timers that watch it.
//!
//! Idleness does not count while a handler works. The other two do: a handler may itself wait for the peer, in `send` for
//! instance, and neither would ever end.

use std::time::Duration;

use crate::cx::Cx;
use crate::session::{Kind, Phase, Session, Timer};
use crate::timers::Alarm;
use crate::tools::Tools;
use moorline_config::Listener;
use moorline_protocol::wire::CloseReason;

/// The WebSocket close code for a session that goes away (RFC 6455 §7.4.1).
pub(crate) const GOING_AWAY: u16 = 1001;

/// How long after the end of its handler a session that was idle meanwhile may wait for its next message, in milliseconds.
const GRACE_MS: u64 = 100;

/// How long the peer of a session that is closing may take nothing of its output, where the listener has no
/// `send_timeout`.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a connection for which there is no room has for its request: few of them may wait at the same time.
const TURNED_AWAY_TIMEOUT: Duration = Duration::from_secs(2);

/// Watches a session for idleness, and its peer for signs of life, if its listener asks for that.
pub(crate) fn watch_idle(session: &Session, tools: &mut Tools) {
    watch_peer(session, tools);
    if let Some(at) = idle_at(session, &tools.cx) {
        tools.agenda.timers.set(at, Alarm::Idle(session.name()));
    }
}

/// Looks after the session's peer when it has been silent for long enough, or should have answered.
pub(crate) fn watch_peer(session: &Session, tools: &mut Tools) {
    let pulses = &mut tools.agenda.pulses;
    let Some(ping) = tools.cx.listener(session.listener).liveness.ping else {
        pulses.remove(session.key);
        return;
    };
    let interval = ping.interval.as_millis() as u64;
    let at = match session.meters.asked {
        None => session.meters.received_at + interval,
        // It may have answered long before the end of that time, and is silent again.
        Some(asked) => {
            let now = tools.cx.clock.ms;
            let timeout = ping.timeout.as_millis() as u64;
            now + timeout.saturating_sub(asked.since(now)).min(interval)
        }
    };
    pulses.set(session.key, at);
}

/// When the session will have been idle for too long, if nothing passes until then.
pub(crate) fn idle_at(session: &Session, cx: &Cx) -> Option<u64> {
    let listener = cx.listener(session.listener);
    let meters = &session.meters;
    let after = |since: u64, timeout: Option<Duration>| Some(since + timeout?.as_millis() as u64);
    // A client of events says nothing.
    let is_heard = !matches!(session.kind, Kind::Events { .. });
    let receive_timeout = listener.receive_timeout.filter(|_| is_heard);
    [
        after(
            meters.received_at.max(meters.sent_at),
            listener.idle_timeout,
        ),
        after(meters.received_at, receive_timeout),
        after(meters.sent_at, listener.send_timeout),
    ]
    .into_iter()
    .flatten()
    .min()
}

/// Idleness counts (again) from now on.
pub(crate) fn watch_again(session: &mut Session, tools: &mut Tools) {
    let now = tools.cx.clock.ms;
    session.meters.received_at = now;
    session.meters.sent_at = now;
    if session.meters.idle_timer == Timer::Unset {
        session.meters.idle_timer = Timer::Set;
        watch_idle(session, tools);
    }
}

/// The last message of the session in progress may have ended: then its idleness counts again.
pub(crate) fn watch_when_done(session: &mut Session, tools: &mut Tools) {
    if session.meters.idle_timer == Timer::Set
        || session.is_worked_for()
        || session.app.is_paused
        || session.app.is_kept
    {
        return;
    }
    session.meters.idle_timer = Timer::Set;
    if let Some(at) = idle_at(session, &tools.cx) {
        let at = at.max(tools.cx.clock.ms + GRACE_MS);
        tools.agenda.timers.set(at, Alarm::Idle(session.name()));
    }
}

/// Watches a handshake for slowness.
pub(crate) fn watch_handshake(session: &Session, tools: &mut Tools) {
    let timeout = tools.cx.listener(session.listener).handshake_timeout;
    let at = tools.cx.clock.ms + timeout.as_millis() as u64;
    let alarm = Alarm::Handshake(session.name());
    tools.agenda.timers.set(at, alarm);
}

/// Watches a connection that is turned away: it has less time for its request than others.
pub(crate) fn watch_turned_away(session: &Session, tools: &mut Tools) {
    let timeout = tools.cx.listener(session.listener).handshake_timeout;
    let timeout = timeout.min(TURNED_AWAY_TIMEOUT);
    let at = tools.cx.clock.ms + timeout.as_millis() as u64;
    let alarm = Alarm::Handshake(session.name());
    tools.agenda.timers.set(at, alarm);
}

/// Why a session is closed whose peer takes no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stuck {
    /// For `send_timeout`.
    Slow,
    /// For `idle_timeout`: nothing else passed in that time either.
    Idle,
}

impl Stuck {
    /// When an open session will have waited for too long, if its output was queued then at the latest, and the name of
    /// that timeout.
    pub(crate) fn due(
        session: &Session,
        listener: &Listener,
        queued_at: u64,
    ) -> Option<(u64, Self)> {
        let meters = &session.meters;
        let after = |since: u64, timeout: Duration| since + timeout.as_millis() as u64;
        let sent_at = meters.sent_at.max(queued_at);
        let slow = listener.send_timeout;
        let slow = slow.map(|timeout| (after(sent_at, timeout), Self::Slow));
        let is_kept = session.app.is_kept || session.app.is_paused;
        let idle = listener.idle_timeout.filter(|_| !is_kept).map(|timeout| {
            let since = sent_at.max(meters.received_at);
            (after(since, timeout), Self::Idle)
        });
        slow.into_iter().chain(idle).min_by_key(|(at, _)| *at)
    }
}

/// When a closing session will have waited for too long, if its output was queued then at the latest.
pub(crate) fn flush_due(session: &Session, listener: &Listener, queued_at: u64) -> u64 {
    let (timeout, _) = flush_timeout(listener);
    session.meters.sent_at.max(queued_at) + timeout.as_millis() as u64
}

/// How long the peer of a closing session may take nothing of its output, and the name of that timeout. Nothing passes to
/// or from such a session but its output, so it is idle, too.
pub(crate) fn flush_timeout(listener: &Listener) -> (Duration, &'static str) {
    let slow = match listener.send_timeout {
        Some(timeout) => (timeout, "send_timeout"),
        None => (FLUSH_TIMEOUT, "the limit of 30 s"),
    };
    match listener.idle_timeout {
        Some(idle) if idle < slow.0 => (idle, "idle_timeout"),
        _ => slow,
    }
}

/// Output is queued: from now on its peer must take some of it in time.
pub(crate) fn watch_output(session: &mut Session, tools: &mut Tools) {
    if session.output.timer == Timer::Set {
        return;
    }
    let now = tools.cx.clock.ms;
    let listener = tools.cx.listener(session.listener);
    let (at, alarm) = match session.phase {
        Phase::Open => {
            let Some((at, _)) = Stuck::due(session, listener, now) else {
                return;
            };
            (at, Alarm::Output(session.name()))
        }
        Phase::Ending(_) | Phase::Refused(_) => {
            let at = flush_due(session, listener, now);
            (at, Alarm::Flush(session.name()))
        }
        Phase::Announced
        | Phase::Preread
        | Phase::Handshake
        | Phase::Request
        | Phase::Relayed
        | Phase::Asking { .. }
        | Phase::TurnedAway(_)
        | Phase::Ended(_)
        | Phase::Lingering => return,
    };
    session.output.timer = Timer::Set;
    tools.agenda.timers.set(at, alarm);
}

/// The session closes: from now on its output has the time for closing. The same holds for the rest of a message that
/// the app has begun to send; a handler has `max_wait` while the engine stops or drains.
pub(crate) fn watch_closing(session: &mut Session, tools: &mut Tools) {
    session.output.timer = Timer::Unset;
    if session.output.queue.is_some() || session.phase != Phase::Ending(CloseReason::Stopped) {
        watch_output(session, tools);
    }
}

/// The timers of a session's waits were removed: they are set again by the new timeouts.
pub(crate) fn watch_waits_anew(session: &mut Session, tools: &mut Tools) {
    if session.phase != Phase::Open {
        watch_closing(session, tools);
        return;
    }
    if session.meters.idle_timer == Timer::Set {
        watch_idle(session, tools);
    }
    watch_peer(session, tools);
    session.output.timer = Timer::Unset;
    if session.output.queue.is_some() {
        watch_output(session, tools);
    }
    if let Some(since) = session.meters.half_closed_at {
        let timeout = tools.cx.listener(session.listener).half_close_timeout;
        let at = since.max(session.meters.sent_at) + timeout.as_millis() as u64;
        let alarm = Alarm::HalfClose(session.name());
        tools.agenda.timers.set(at, alarm);
    }
}

/// The peer has half-closed, or its connection broke: the remaining work for it must continue.
pub(crate) fn watch_half_closed(session: &mut Session, tools: &mut Tools) {
    if session.meters.half_closed_at.is_some() || session.phase != Phase::Open {
        return;
    }
    let now = tools.cx.clock.ms;
    session.meters.half_closed_at = Some(now);
    let timeout = tools.cx.listener(session.listener).half_close_timeout;
    let at = now + timeout.as_millis() as u64;
    let alarm = Alarm::HalfClose(session.name());
    tools.agenda.timers.set(at, alarm);
}
