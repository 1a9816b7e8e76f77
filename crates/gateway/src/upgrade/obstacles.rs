//! What keeps a loop from going to another process.

use crate::event_loop::Loop;
use crate::obstacles::{Obstacle, Obstacles};
use crate::session::{Phase, Session};

impl Loop {
    /// What keeps it from going to another process.
    pub(crate) fn obstacles(&self) -> Obstacles {
        let mut found = Obstacles::default();
        for session in self.sessions.iter() {
            if let Some(what) = obstacle(session) {
                found.note(what, 1);
            }
        }
        let processes = self.tools.processes.iter();
        let leaving = processes.filter(|(_, process)| process.is_leaving(&self.tools.cx.config));
        found.note(Obstacle::Leaving, leaving.count() as u64);
        found.note(Obstacle::Files, self.files.len() as u64);
        found.note(Obstacle::Relays, self.relays.len() as u64);
        found.note(Obstacle::Datagrams, self.udp_relays.len() as u64);
        found.note(Obstacle::Requests, self.exchanges.len() as u64);
        let drains = self.drain.is_some() || self.tools.cx.is_stopping();
        found.note(Obstacle::Drains, u64::from(drains));
        found
    }
}

fn obstacle(session: &Session) -> Option<Obstacle> {
    let (transport, output) = (&session.transport, &session.output);
    let notes = session.notes.as_deref();
    if transport.tls.is_some() {
        return Some(Obstacle::Tls);
    }
    let compression = session.compression.as_ref();
    if compression.is_some_and(|it| it.has_context()) {
        return Some(Obstacle::Compressed);
    }
    if session.input.decoder.scanned().is_none() {
        return Some(Obstacle::Parts);
    }
    if output.queue.as_ref().is_some_and(|it| !it.is_plain()) {
        return Some(Obstacle::Files);
    }
    if notes.is_some_and(|it| !it.can_move()) && session.has_begun() {
        return Some(Obstacle::Limited);
    }
    match session.phase {
        Phase::Announced | Phase::Preread | Phase::Handshake | Phase::Relayed => {
            Some(Obstacle::Beginning)
        }
        // What a proxy or a client has said goes with the connection's first request.
        Phase::Request | Phase::Asking { .. } if notes.is_some() => Some(Obstacle::Beginning),
        _ => None,
    }
}
