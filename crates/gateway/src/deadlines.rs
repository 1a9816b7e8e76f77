//! Waits for a peer that count whatever the app does: for it to take output, and for the rest after it has half-closed.
//!
//! Idleness does not count while a handler works. These two do: a handler may itself wait for the peer, in `send` for
//! instance, and neither would ever end.

use std::time::Duration;

use super::event_loop::Loop;
use super::session::{Phase, Session};
use super::table::Key;
use crate::config::Listener;
use crate::session_id::SessionId;
use crate::wire::CloseReason;

/// Why a session is closed that has taken no output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Untaken {
    /// For `send_timeout`.
    Slow,
    /// For `idle_timeout`, in which nothing else passed either.
    Idle,
}

impl Untaken {
    /// When a session whose output is queued will have waited for too long, and what that is called.
    fn due(session: &Session, listener: &Listener) -> Option<(u64, Self)> {
        let after = |since: u64, timeout: Duration| since + timeout.as_millis() as u64;
        let slow = listener.send_timeout;
        let slow = slow.map(|timeout| (after(session.sent_at, timeout), Self::Slow));
        let is_kept = session.kept || session.paused;
        let idle = listener.idle_timeout.filter(|_| !is_kept).map(|timeout| {
            let since = session.sent_at.max(session.received_at);
            (after(since, timeout), Self::Idle)
        });
        slow.into_iter().chain(idle).min_by_key(|(at, _)| *at)
    }
}

impl Loop {
    /// Output is queued: from now on its peer must take some of it in time.
    pub(super) fn watch_output(&mut self, key: Key) {
        let session = &mut self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        if !session.watches_output
            && let Some((at, _)) = Untaken::due(session, listener)
        {
            session.watches_output = true;
            let id = session.id;
            self.push_output_timer(at, key, id);
        }
    }

    /// The timers of a session's waits were taken away: by other timeouts they are set again.
    pub(super) fn watch_waits_anew(&mut self, key: Key) {
        self.table[key].watches_output = false;
        if self.table[key].outbound.is_some() {
            self.watch_output(key);
        }
        let session = &self.table[key];
        if let Some(since) = session.half_closed_at {
            let listener = &self.config.listeners[usize::from(session.listener)];
            let at = since.max(session.sent_at) + listener.half_close_timeout.as_millis() as u64;
            let id = session.id;
            self.push_half_close_timer(at, key, id);
        }
    }

    /// Output was queued when this was set; perhaps it still is.
    pub(super) fn check_output(&mut self, key: Key, id: u64) {
        let Some(session) = self.table.at(key).filter(|session| session.id == id) else {
            return;
        };
        let listener = &self.config.listeners[usize::from(session.listener)];
        let due = Untaken::due(session, listener);
        let (Phase::Open, Some(outbound), Some((at, why))) =
            (session.phase, &session.outbound, due)
        else {
            self.table[key].watches_output = false;
            return;
        };
        if at > self.clock.ms {
            self.push_output_timer(at, key, id);
            return;
        }
        let reason = match why {
            Untaken::Slow => CloseReason::Slow,
            Untaken::Idle => CloseReason::Idle,
        };
        tracing::warn!(
            session = %SessionId::from(id), listener = %listener.name, peer = %session.peer,
            queued = outbound.bytes, in_hand = session.in_hand(), %reason,
            "session closed: its peer takes no output, {} is reached",
            match why {
                Untaken::Slow => "send_timeout",
                Untaken::Idle => "idle_timeout",
            }
        );
        self.finish(key, reason);
    }

    /// The peer has half-closed, or its connection broke: what is left to be done for it must go on.
    pub(super) fn watch_half_closed(&mut self, key: Key) {
        let now = self.clock.ms;
        let session = &mut self.table[key];
        if session.half_closed_at.is_none() && session.phase == Phase::Open {
            session.half_closed_at = Some(now);
            let listener = &self.config.listeners[usize::from(session.listener)];
            let at = now + listener.half_close_timeout.as_millis() as u64;
            let id = session.id;
            self.push_half_close_timer(at, key, id);
        }
    }

    /// A half-closed session has had time to go on.
    pub(super) fn check_half_closed(&mut self, key: Key, id: u64) {
        let Some(session) = self.table.at(key).filter(|session| session.id == id) else {
            return;
        };
        let (Phase::Open, Some(since)) = (session.phase, session.half_closed_at) else {
            return;
        };
        let listener = &self.config.listeners[usize::from(session.listener)];
        let timeout = listener.half_close_timeout.as_millis() as u64;
        // An app that has paused it will come back to it.
        let since = match session.paused {
            true => self.clock.ms,
            false => since.max(session.sent_at),
        };
        if since + timeout > self.clock.ms {
            self.push_half_close_timer(since + timeout, key, id);
            return;
        }
        tracing::warn!(
            session = %SessionId::from(id), listener = %listener.name, peer = %session.peer,
            in_hand = session.in_hand(), reason = %CloseReason::Peer,
            "session closed: its peer has half-closed, and for half_close_timeout nothing was done for it"
        );
        self.finish(key, CloseReason::Peer);
    }
}
