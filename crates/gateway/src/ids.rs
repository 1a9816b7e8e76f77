//! The names of a listener, a slot, a process and a session within one loop.

use moorline_protocol::wire::UNKNOWN_PLACE;
use serde::{Deserialize, Serialize};

/// A listener, by its place in the configuration. It keeps that place over reloads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ListenerId(pub(crate) u16);

/// The most worker slots there can be; the configuration is checked against it.
pub(crate) const MAX_SLOTS: usize = 512;

/// A worker slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SlotId(pub(crate) u16);

/// A process, by its place in its loop's list. The place is reused; the process's id is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct ProcessKey(pub(crate) u16);

/// A session, by its place in its loop's table. The place is reused; the session's id is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionKey(pub(crate) u32);

/// A relay, by its place in its loop's table. The place is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct RelayKey(pub(crate) u32);

/// A relay on a list that it may not outlive: its place, and the serial that says whether it still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct RelayRef {
    pub(crate) key: RelayKey,
    pub(crate) serial: u64,
}

/// A relay of datagrams, by its place in its loop's table. The place is reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UdpRelayKey(pub(crate) u32);

/// A relay of datagrams on a list that it may not outlive: its place, and the serial that says whether it still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct UdpRelayRef {
    pub(crate) key: UdpRelayKey,
    pub(crate) serial: u64,
}

/// A side of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The client, which has connected.
    Client,
    /// The peer that was chosen for it.
    Upstream,
}

impl Side {
    pub(crate) fn other(self) -> Self {
        match self {
            Side::Client => Side::Upstream,
            Side::Upstream => Side::Client,
        }
    }
}

/// A session on a list that it may not outlive: its place, and the id that says whether it still has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(crate) struct SessionRef {
    pub(crate) key: SessionKey,
    pub(crate) id: u64,
}

/// What an event of a relay's socket carries. It may be older than the relay that has this place now, and than its present
/// attempt to connect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RelayTag {
    pub(crate) key: RelayKey,
    pub(crate) side: Side,
    /// The lower bits of its serial, and of the number of the attempt.
    pub(crate) mark: u32,
}

impl RelayTag {
    /// The bits of a mark.
    pub(crate) const MARK: u32 = (1 << 31) - 1;

    /// Whether the tag of this attempt is one that no earlier attempt of the relay has had.
    pub(crate) fn tells_attempt(attempt: u32) -> bool {
        attempt <= 0xf
    }

    /// The tag of a relay's client, or of the peer of this attempt.
    pub(crate) fn new(name: RelayRef, side: Side, attempt: u32) -> Self {
        let attempt = match side {
            Side::Client => 0,
            Side::Upstream => attempt & 0xf,
        };
        let mark = ((name.serial as u32) << 4 | attempt) & Self::MARK;
        let key = name.key;
        Self { key, side, mark }
    }
}

impl ListenerId {
    /// No listener has this one.
    pub(crate) const UNKNOWN: Self = Self(UNKNOWN_PLACE);

    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl SlotId {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl ProcessKey {
    pub(crate) fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl SessionKey {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl RelayKey {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl UdpRelayKey {
    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl From<UdpRelayKey> for u32 {
    fn from(key: UdpRelayKey) -> u32 {
        key.0
    }
}

impl From<SessionKey> for u32 {
    fn from(key: SessionKey) -> u32 {
        key.0
    }
}

impl From<RelayKey> for u32 {
    fn from(key: RelayKey) -> u32 {
        key.0
    }
}
