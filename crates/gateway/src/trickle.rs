//! Peers that begin a message and then send it byte by byte, to hold what a message holds.
//!
//! While a session has an unfinished message, each window of time must bring it what `min_receive_rate` asks
//! for. A session that the engine itself does not read is not measured.

use super::event_loop::Loop;
use super::session::Session;
use super::table::Key;
use crate::control::Limit;
use crate::session_id::SessionId;
use crate::wire::CloseReason;

/// How long one measurement takes, in milliseconds: longer than a lost packet's first retransmissions.
const WINDOW_MS: u64 = 3000;

/// One measurement of one session.
#[derive(Debug)]
pub(super) struct Trickle {
    /// When it began, in the loop's milliseconds.
    since: u64,
    /// Bytes that had been received by then.
    bytes: u64,
    /// Messages that had been received by then.
    messages: u64,
    /// The engine did not read it for a part of the time.
    was_held: bool,
}

impl Trickle {
    fn begin(session: &Session, now: u64) -> Self {
        Self {
            since: now,
            bytes: received(session),
            messages: session.messages,
            was_held: session.is_held(),
        }
    }

    /// Whether the peer has kept to the rate, or there is a reason why it could not.
    fn passes(&self, session: &Session, now: u64, rate: u64) -> bool {
        let came = received(session).saturating_sub(self.bytes);
        let due = u128::from(rate) * u128::from(now - self.since) / 1000;
        u128::from(came) >= due
            || session.messages != self.messages
            || self.was_held
            || session.is_held()
    }
}

/// What has come, with what is still encrypted.
fn received(session: &Session) -> u64 {
    let sealed = session.tls.as_ref().map_or(0, |tls| tls.unfinished());
    session.bytes_in + sealed as u64
}

impl Loop {
    /// Measures a session that is owed the rest of a message, where its listener asks for that.
    pub(super) fn watch_trickle(&mut self, key: Key) {
        let now = self.clock.ms;
        let session = &mut self.table[key];
        let is_held = session.is_held();
        if let Some(trickle) = &mut session.trickle {
            trickle.was_held |= is_held;
            return;
        }
        let listener = &self.config.listeners[usize::from(session.listener)];
        if listener.min_receive_rate.is_some() {
            session.trickle = Some(Box::new(Trickle::begin(session, now)));
            let id = session.id;
            self.push_trickle_timer(now + WINDOW_MS, key, id);
        }
    }

    /// A measurement is over.
    pub(super) fn check_trickle(&mut self, key: Key, id: u64) {
        let now = self.clock.ms;
        let Some(session) = self.table.at(key).filter(|session| session.id == id) else {
            return;
        };
        let listener = &self.config.listeners[usize::from(session.listener)];
        let Some(rate) = listener.min_receive_rate else {
            self.table[key].trickle = None;
            return;
        };
        let Some(trickle) = &session.trickle else {
            return;
        };
        if !session.is_owed_input() {
            // The next message that comes in parts is measured again.
            self.table[key].trickle = None;
        } else if trickle.passes(session, now, rate) {
            let session = &mut self.table[key];
            session.trickle = Some(Box::new(Trickle::begin(session, now)));
            self.push_trickle_timer(now + WINDOW_MS, key, id);
        } else {
            tracing::warn!(
                session = %SessionId::from(id), listener = %listener.name, peer = %session.peer, rate,
                reason = %CloseReason::Slow, "session closed: its message comes slower than min_receive_rate"
            );
            self.count_limit(Limit::MinReceiveRate);
            self.finish(key, CloseReason::Slow);
        }
    }
}
