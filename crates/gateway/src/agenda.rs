//! What a loop does next, and when.

use std::collections::VecDeque;

use crate::ids::{ListenerId, SessionKey, SessionRef};
use crate::session::Session;
use crate::session::link::Interest;
use crate::shared::Shared;
use crate::timers::Timers;
use crate::wheel::Wheel;

/// The work that waits.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Sessions to service in the next turn.
    pub(crate) work: VecDeque<SessionRef>,
    /// Sessions to check because their process retires or the engine stops, a few each turn.
    pub(crate) sweep: VecDeque<SessionRef>,
    /// Sessions that wait for the next step of their handshake.
    pub(crate) handshakes: VecDeque<(SessionRef, ListenerId)>,
    pub(crate) first_requests: FirstRequests,
    /// Sessions whose socket did not take all output. Before the loop waits, it asks the poller to report room in them.
    pub(crate) full: Vec<SessionRef>,
    pub(crate) timers: Timers,
    /// When the peers of sessions are looked after.
    pub(crate) pulses: Wheel<SessionKey>,
}

/// First requests of connections that came with many others: a turn answers a few, and hears all sessions between them.
#[derive(Debug, Default)]
pub(crate) struct FirstRequests {
    pub(crate) waiting: VecDeque<SessionRef>,
    /// How many were answered in this turn.
    answered: usize,
}

/// First requests that are answered in one turn. Each takes some 10 µs.
const FIRST_REQUESTS_PER_TURN: usize = 16;

impl FirstRequests {
    /// Whether one more waits for a later turn.
    fn is_full(&mut self) -> bool {
        let is_full = self.answered == FIRST_REQUESTS_PER_TURN || !self.waiting.is_empty();
        self.answered += usize::from(!is_full);
        is_full
    }

    /// The next one of those that wait, if this turn answers another.
    pub(crate) fn next(&mut self) -> Option<SessionRef> {
        if self.answered == FIRST_REQUESTS_PER_TURN {
            return None;
        }
        let next = self.waiting.pop_front()?;
        self.answered += 1;
        Some(next)
    }

    /// The turn is over. True: others wait.
    pub(crate) fn end_turn(&mut self) -> bool {
        self.answered = 0;
        !self.waiting.is_empty()
    }
}

impl Agenda {
    /// Whether a connection's first request waits for a later turn.
    pub(crate) fn puts_off(&mut self, session: &mut Session) -> bool {
        if session.listed.scheduled {
            return true;
        }
        let is_put_off = self.first_requests.is_full();
        if is_put_off {
            session.listed.scheduled = true;
            self.first_requests.waiting.push_back(session.name());
        }
        is_put_off
    }

    /// Puts a session on the list for the next turn.
    pub(crate) fn schedule(&mut self, session: &mut Session) {
        if !session.listed.scheduled {
            session.listed.scheduled = true;
            self.work.push_back(session.name());
        }
    }

    /// Output is queued: room in the session's socket is waited for, from now on.
    pub(crate) fn await_room(&mut self, session: &mut Session) {
        if session.transport.watched == Interest::Input {
            session.transport.watched = Interest::Both;
            self.full.push(session.name());
        }
    }

    /// Queues a session for the next step of its handshake.
    pub(crate) fn await_handshake(&mut self, session: &mut Session, shared: &Shared) {
        if !session.listed.scheduled {
            session.listed.scheduled = true;
            shared.door(session.listener).wait();
            self.handshakes
                .push_back((session.name(), session.listener));
        }
    }
}
