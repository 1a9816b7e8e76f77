//! The sessions and relays that a loop closes one after the other.

use crate::event_loop::pace::Pace;
use crate::ids::{RelayRef, SessionRef, UdpRelayRef};

/// Sessions and relays that close one after the other.
#[derive(Debug)]
pub(crate) struct Drain {
    pub(crate) number: u64,
    pub(crate) pace: Pace,
    pub(crate) members: Vec<Leaver>,
    /// How many of them were told to close.
    pub(crate) told: usize,
    /// When sessions with a message in progress are cut off, in the loop's milliseconds.
    pub(crate) end: u64,
}

/// One that is to close.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leaver {
    Session(SessionRef),
    Relay(RelayRef),
    UdpRelay(UdpRelayRef),
}
