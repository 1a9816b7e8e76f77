//! What the records in the rings mean: the vocabulary between a gateway loop and one process.
//!
//! A ring carries records of a kind, flags, a session and a payload (`ipc::Header`); this file names
//! the kinds and says what each field holds. Both sides treat what the other writes as a claim to be
//! checked: an unknown kind is garbage, a session that is not known is dropped and counted.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// The record is the first part of its message.
pub const FIRST: u8 = 1;
/// The record is the last part of its message. A message in one record has both flags.
pub const LAST: u8 = 2;
/// A message in one record.
pub const WHOLE: u8 = FIRST | LAST;
/// The payload is UTF-8 text (WebSocket); without it, bytes.
pub const TEXT: u8 = 4;
/// On `FromProcess::Send`: the handler that sent this has also ended. `sequence` and `time` are then as on `Done`.
pub const DONE: u8 = 8;
/// On `Done`: the handler panicked or returned an error. On `TaskDone`: the task failed, the payload says why.
pub const FAILED: u8 = 16;
/// On `Close`: what is queued for the peer is thrown away, not flushed.
pub const FORCE: u8 = 32;

/// Gateway loop → process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ToProcess {
    /// `session` begins here. Payload: [`Opening`] (postcard).
    Open = 1,
    /// A message, or a part of one. `sequence`: counts the session's messages from 1; `time`: when it
    /// was received, in nanoseconds of `CLOCK_MONOTONIC`. Flags: FIRST, LAST, TEXT.
    Message = 2,
    /// `session` has ended. `aux`: [`CloseReason`].
    Close = 3,
    /// `session`'s outbound queue is over its high watermark.
    Full = 4,
    /// … and is under its low one again.
    Drained = 5,
    /// `session` has moved to another process: forget it, run no hook.
    Moved = 6,
    /// A datagram. `aux`: listener; `time`: as on `Message`. Payload: one byte with the length of the
    /// sender's address, the address (postcard of [`Peer`]), the bytes. Always in one record.
    Datagram = 7,
    /// A post from worker slot `aux`. `session`: a number the sender chose, for `PostDone`. Flags: FIRST, LAST.
    Post = 8,
    /// The post numbered `session`, which this process sent to slot `aux`, has been handled (or, with FAILED,
    /// could not be): its credit returns.
    PostDone = 9,
    /// Task numbered `session` (chosen by the gateway), for a task worker. `sequence`: the attempt, from 1. Flags: FIRST, LAST.
    Task = 10,
    /// Task numbered `session` (as this process numbered it) has ended. Flags: FIRST, LAST, FAILED. Payload: the result, or why it failed.
    TaskDone = 11,
    /// `session`, named in a record that this process sent, does not exist (any more).
    Unknown = 12,
}

/// Process → gateway loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FromProcess {
    /// A message for `session`, or a part of one. Flags: FIRST, LAST, TEXT, DONE (on the last part only).
    Send = 1,
    /// The handler of message `sequence` of `session` has ended. `time`: that message's size in bytes. Flags: FAILED.
    Done = 2,
    /// The app closes `session`. Flags: FORCE. `aux`: the WebSocket close code, 0 for 1000.
    Close = 3,
    /// A datagram to send from listener `aux`. Payload as on `ToProcess::Datagram`.
    SendTo = 4,
    /// A post to worker slot `aux`, numbered `session` by this process. Flags: FIRST, LAST.
    Post = 5,
    /// The post numbered `session` from slot `aux` has been handled.
    PostDone = 6,
    /// A task numbered `session` by this process. Flags: FIRST, LAST.
    Task = 7,
    /// Task numbered `session` (by the gateway) has ended. Flags: FIRST, LAST, FAILED.
    TaskDone = 8,
}

impl ToProcess {
    /// The kind with this number, if there is one.
    pub fn from_u8(kind: u8) -> Option<Self> {
        use ToProcess::*;
        [
            Open, Message, Close, Full, Drained, Moved, Datagram, Post, PostDone, Task, TaskDone,
            Unknown,
        ]
        .get(usize::from(kind).wrapping_sub(1))
        .copied()
    }
}

impl FromProcess {
    /// The kind with this number, if there is one.
    pub fn from_u8(kind: u8) -> Option<Self> {
        use FromProcess::*;
        [Send, Done, Close, SendTo, Post, PostDone, Task, TaskDone]
            .get(usize::from(kind).wrapping_sub(1))
            .copied()
    }
}

/// The other end of a session or datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// An internet address.
    Ip(SocketAddr),
    /// A Unix socket, which seldom has a name of its own.
    Unix,
    /// Not known in this process: the session has never been with it. Never in a record.
    Unknown,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

/// The address that a datagram's payload begins with, and its bytes.
pub fn split_datagram(payload: &[u8]) -> Option<(Peer, &[u8])> {
    let (&length, rest) = payload.split_first()?;
    let (address, bytes) = rest.split_at_checked(usize::from(length))?;
    Some((postcard::from_bytes(address).ok()?, bytes))
}

/// What a process is told about a session that begins there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The listener, by its place in the configuration.
    pub listener: u16,
    /// False for a new connection; true for one that another process served before.
    pub adopted: bool,
    /// Its outbound queue is over the high watermark now.
    pub full: bool,
    /// The other end.
    pub peer: Peer,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub connected_at: u64,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u16)]
pub enum CloseReason {
    /// The peer closed it, or its connection broke.
    Peer = 1,
    /// The app closed it.
    Server = 2,
    /// Nothing was received or sent for the listener's `idle_timeout`.
    Idle = 3,
    /// The peer read too slowly: its queue passed `hard_limit`.
    Slow = 4,
    /// The memory budget was exhausted.
    Memory = 5,
    /// The engine stops.
    Stopped = 6,
    /// The worker died, or its handler failed, with a message of this session in hand.
    Crash = 7,
    /// What it sent breaks the listener's framing.
    Framing = 8,
    /// The gateway died.
    GatewayLost = 9,
    /// The listener's or the engine's limits leave no room for it.
    Limit = 10,
}

impl CloseReason {
    /// The reason with this number, if there is one.
    pub fn from_u16(reason: u16) -> Option<Self> {
        use CloseReason::*;
        [
            Peer,
            Server,
            Idle,
            Slow,
            Memory,
            Stopped,
            Crash,
            Framing,
            GatewayLost,
            Limit,
        ]
        .get(usize::from(reason).wrapping_sub(1))
        .copied()
    }

    /// The word used in logs and `status`.
    pub fn as_str(self) -> &'static str {
        match self {
            CloseReason::Peer => "peer",
            CloseReason::Server => "server",
            CloseReason::Idle => "idle",
            CloseReason::Slow => "slow",
            CloseReason::Memory => "memory",
            CloseReason::Stopped => "stopped",
            CloseReason::Crash => "crash",
            CloseReason::Framing => "framing",
            CloseReason::GatewayLost => "gateway_lost",
            CloseReason::Limit => "limit",
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
