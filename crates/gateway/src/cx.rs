//! The environment of a loop: its number, the configuration, the clock, its counters, and the threads beside it.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_ipc::Scoreboard;
use moorline_net::tls::server::ServerTls;
use tokio::sync::mpsc;

use crate::clock::Clock;
use crate::commands::{Inbox, Report};
use crate::ids::{ListenerId, SlotId};
use crate::shared::Shared;
use crate::shared::admission::Counted;
use moorline_config::{Config, Listener};
use moorline_protocol::control::{Limit, ListenerCounter, LoopCounter};
use moorline_protocol::flight::{FlightKind, FlightLog};
use moorline_protocol::wire::{CloseReason, Peer};
use moorline_proxy::{Maps, ServerNames};

/// The environment of a loop. Lent as `&Cx`: no step on a session changes it.
pub(crate) struct Cx {
    /// The loop's number.
    pub(crate) index: u8,
    pub(crate) config: Arc<Config>,
    /// The maps that its texts mean.
    pub(crate) maps: Arc<Maps>,
    /// The servers behind its listeners.
    pub(crate) servers: Arc<ServerNames>,
    /// The TLS state of each listener for new connections.
    pub(crate) tls: Arc<[Option<ServerTls>]>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) clock: Clock,
    pub(crate) counters: Scoreboard,
    /// Its last events, for the supervisor.
    pub(crate) flight: FlightLog,
    /// The inbox of every loop, this one's too.
    pub(crate) peers: Vec<Inbox>,
    pub(crate) reports: mpsc::UnboundedSender<Report>,
    pub(crate) stop: Stop,
}

/// How far the engine's end has got in this loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It serves.
    No,
    /// It closes its sessions, until this time in the loop's milliseconds.
    Until(u64),
    /// It has nothing left, and the main thread knows.
    Empty,
}

impl Cx {
    pub(crate) fn listener(&self, id: ListenerId) -> &Listener {
        &self.config.listeners[id.index()]
    }

    /// A single loop has nobody to tell.
    pub(crate) fn is_alone(&self) -> bool {
        self.peers.len() < 2
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stop != Stop::No
    }

    /// Whether the engine only relays, or serves files: nobody handles a session.
    pub(crate) fn has_no_workers(&self) -> bool {
        self.config.workers.count == 0
    }

    /// Tells the main thread, which lives as long as the process.
    pub(crate) fn report(&self, report: Report) {
        let _ = self.reports.send(report);
    }

    /// Counts some more of something.
    #[inline]
    pub(crate) fn count(&self, counter: LoopCounter, amount: u64) {
        self.counters.add(counter as usize, amount);
    }

    /// Counts some more of something of a listener.
    #[inline]
    pub(crate) fn count_of(&self, listener: ListenerId, counter: ListenerCounter, amount: u64) {
        if let Some(place) = counter.of(listener.0) {
            self.counters.add(place, amount);
        }
    }

    /// Counts bytes that were sent to a client.
    #[inline]
    pub(crate) fn count_sent(&self, listener: ListenerId, bytes: u64) {
        self.count_of(listener, ListenerCounter::Sent, bytes);
    }

    /// A connection is relayed from now on.
    pub(crate) fn note_relay(&self, listener: ListenerId) {
        self.count(LoopCounter::RelaysBegun, 1);
        self.count_of(listener, ListenerCounter::Accepted, 1);
        self.enters(listener);
    }

    /// Another session or relay of a listener is in a table of the loop.
    pub(crate) fn enters(&self, listener: ListenerId) {
        self.count_of(listener, ListenerCounter::Sessions, 1);
    }

    /// It is there no longer.
    pub(crate) fn leaves(&self, listener: ListenerId) {
        if let Some(place) = ListenerCounter::Sessions.of(listener.0) {
            self.counters.sub(place, 1);
        }
    }

    /// Whether connections wait at a listener that there is no descriptor or memory for.
    pub(crate) fn note_paused(&self, listener: ListenerId, is_paused: bool) {
        if let Some(place) = ListenerCounter::Paused.of(listener.0)
            && self.counters.get(place) != u64::from(is_paused)
        {
            self.counters.set(place, is_paused.into());
        }
    }

    /// The listener at this place is another one from now on, and begins at 0. Sessions of the old one are gone.
    pub(crate) fn begin_counting(&self, listener: ListenerId) {
        self.note_paused(listener, false);
        for counter in ListenerCounter::ALL {
            if counter != ListenerCounter::Sessions
                && let Some(place) = counter.of(listener.0)
            {
                self.counters.set(place, 0);
            }
        }
    }

    /// Counts the address of a connection that was on its way while a reload has begun to count addresses.
    pub(crate) fn count_address(&self, listener: ListenerId, peer: &Peer, counted: &mut Counted) {
        if self.listener(listener).max_sessions_per_address.is_some() {
            self.shared.admissions[listener.index()].count(peer, counted);
        }
    }

    /// Counts the end of a session.
    pub(crate) fn count_closed(&self, reason: CloseReason) {
        let place = LoopCounter::Closed as usize + reason as usize - 1;
        self.counters.add(place, 1);
    }

    /// A session has begun.
    pub(crate) fn note_begun(&self, listener: ListenerId, slot: SlotId, session: u64) {
        self.count(LoopCounter::Accepted, 1);
        self.count_of(listener, ListenerCounter::Accepted, 1);
        let slot = u64::from(slot.0);
        self.flight
            .note(FlightKind::Opened, listener.0, session, slot);
    }

    /// Whether a connection to this listener is a session from its beginning.
    pub(crate) fn begins_at_once(&self, listener: ListenerId) -> bool {
        let listener = self.listener(listener);
        !listener.is_http() && !listener.is_relay()
    }

    /// Counts that a limit was reached once more.
    pub(crate) fn count_limit(&self, limit: Limit) {
        let place = LoopCounter::Limits as usize + limit as usize;
        self.counters.add(place, 1);
    }
}

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_millis() as u64
}
