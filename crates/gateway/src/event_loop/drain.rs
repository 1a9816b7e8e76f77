//! The sessions and relays that a loop closes one after the other.

use crate::event_loop::pace::Pace;
use crate::ids::{ListenerId, RelayRef, SessionRef, UdpRelayRef};

/// Sessions and relays that close one after the other.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) number: u64,
    pub(crate) pace: Pace,
    pub(crate) members: Vec<Leaver>,
    /// How many of them were told to close.
    pub(crate) told: usize,
    /// The listeners whose connections close; without a list, all.
    pub(crate) listeners: Option<Vec<ListenerId>>,
    /// Connections that came after this one stay.
    pub(crate) last: u64,
    /// When sessions with a message in progress are cut off, in the loop's milliseconds.
    pub(crate) end: u64,
}

impl Drain {
    /// Whether connections of a listener close.
    pub(crate) fn is_of(&self, listener: ListenerId) -> bool {
        let listeners = self.listeners.as_ref();
        listeners.is_none_or(|listeners| listeners.contains(&listener))
    }

    /// A connection is relayed from now on, and may have been a member by its id.
    pub(crate) fn follow(&mut self, (id, listener): (u64, ListenerId), relay: RelayRef) {
        if id <= self.last && self.is_of(listener) {
            self.members.push(Leaver::Relay(relay));
        }
    }
}

/// One that is to close.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaver {
    Session(SessionRef),
    Relay(RelayRef),
    UdpRelay(UdpRelayRef),
}
