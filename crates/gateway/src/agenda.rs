//! What a loop does next, and when.

use std::collections::VecDeque;

use crate::ids::{ListenerId, SessionKey, SessionRef};
use crate::session::Session;
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
    pub(crate) timers: Timers,
    /// When the peers of sessions are looked after.
    pub(crate) pulses: Wheel<SessionKey>,
}

impl Agenda {
    /// Puts a session on the list for the next turn.
    pub(crate) fn schedule(&mut self, session: &mut Session) {
        if !session.listed.scheduled {
            session.listed.scheduled = true;
            self.work.push_back(session.name());
        }
    }

    /// Queues a session for the next step of its handshake.
    pub(crate) fn await_handshake(&mut self, session: &mut Session, shared: &Shared) {
        if !session.listed.scheduled {
            session.listed.scheduled = true;
            shared.admissions[session.listener.index()].wait();
            self.handshakes
                .push_back((session.name(), session.listener));
        }
    }
}
