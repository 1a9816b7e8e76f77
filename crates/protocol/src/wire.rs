//! The meaning of the records in the rings between a gateway loop and one process.
//!
//! A ring carries records of a kind, flags, a session and a payload (`ipc::Header`); this file names the kinds and the
//! meaning of each field. Each side checks what the other one writes: an unknown kind is garbage, a record for an
//! unknown session is dropped and counted.

pub mod accept;
pub mod event;
pub mod exchange;
mod question;

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

pub use question::{Answer, GroupPlace, Question, SessionFacts, SessionGroups, UNKNOWN_PLACE};

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
/// On `Done`: the handler panicked. On `Close`: so did the session's open hook. On `TaskDone`: the task failed, the payload says why.
pub const FAILED: u8 = 16;
/// On `Close`: the queue for the peer is discarded, not flushed.
pub const FORCE: u8 = 32;
/// On `Done`: the handler returned an error. On `Close`: so did the session's open hook.
pub const ERRED: u8 = 64;

/// On `FromProcess::Send`: its sender goes on while the session is full. Without it, it waits.
pub const PUSHED: u8 = 128;

/// In `aux` of `ToProcess::Open`: the session was with another process before.
pub const ADOPTED: u16 = 1;

/// In `aux` of `ToProcess::Post`, beside the slot that it comes from: that is the slot of a task worker.
pub const FROM_TASK: u16 = 1 << 15;

/// The largest post, task or result, in bytes.
pub const LARGEST_TRANSFER: u64 = 64 * 1024 * 1024;
/// The size of a locker, in bytes. It travels with a session's opening, which is one record, and a record is at most a
/// quarter of a ring: this leaves room even in the smallest ring.
pub const LARGEST_LOCKER: usize = 8 * 1024;
/// The largest locker with its tag: one byte, and the version of a value.
pub const LARGEST_STATE: usize = LARGEST_LOCKER + 5;
/// The most bytes of messages that the gateway keeps of a session for an app that has not used them.
pub const MOST_INPUT: usize = 1024 * 1024;
/// The most of them in one record: as a locker, it has room even in the smallest ring.
pub const INPUT_PART: usize = LARGEST_LOCKER;
/// The longest label of a session, in bytes.
pub const LONGEST_LABEL: usize = 64;
/// The longest text of a WebSocket close, in bytes: with its code it fills a control frame (RFC 6455 §5.5).
pub const LONGEST_CLOSE_TEXT: usize = 123;
/// The largest message to a group, in bytes.
pub const LARGEST_BROADCAST: usize = 4 * 1024 * 1024;
/// Sessions that one broadcast may leave out.
pub const MOST_LEFT_OUT: usize = 1024;
/// The longest key that a session is bound to, and the longest name of a group, in bytes: its length is one byte.
pub const LONGEST_NAME: usize = 255;

/// Gateway loop → process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum ToProcess {
    /// `session` begins here. `aux`: [`ADOPTED`] or 0. Payload: [`Opening`] (postcard).
    Open = 1,
    /// A message, or a part of one. `sequence`: counts the session's messages from 1; `time`: when it
    /// was received, in nanoseconds of `CLOCK_MONOTONIC`. Flags: FIRST, LAST, TEXT.
    Message = 2,
    /// `session` has ended. `aux`: [`CloseReason`]. Payload: [`Closing`] (postcard).
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
    /// `session`, named in a record of this process, does not exist (any more).
    Unknown = 12,
    /// The answer to question number `session` of this process. Flags: FIRST, LAST. Payload: [`Answer`] (postcard).
    Answer = 13,
    /// File number `session` of this process is sent, or given up: its credit returns. With FAILED there was no descriptor
    /// left for it, and it was never [`FileHere`](Self::FileHere).
    FileDone = 14,
    /// Every member here has been sent broadcast number `session` of this process: its credit returns.
    BroadcastDone = 15,
    /// The descriptor of file number `session` of this process is here: now its record may come.
    FileHere = 16,
    /// A request asks for `session`, which does not exist yet. Payload: [`accept::Asking`] (postcard). Always in one record.
    Accept = 17,
    /// A plain HTTP request, numbered `session` by the gateway. `time`: as on `Message`. Flags: FIRST, LAST. Payload:
    /// [`exchange::write_request`].
    Request = 18,
    /// The client has taken as much of the answer to request `session` as `sequence` says, in bytes that count as
    /// [`exchange::ANSWER_WINDOW`] says.
    BodyTaken = 19,
    /// The client of request `session` has left: no answer is needed. It is ended all the same, with LAST.
    RequestGone = 20,
    /// The event that is broadcast number `session` of this process has its place among all events, and all loops will have it
    /// before anything that this process writes from now on. With FAILED there was no memory for it.
    EventTaken = 21,
}

/// Process → gateway loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum FromProcess {
    /// A message for `session`, or a part of one. Flags: FIRST, LAST, TEXT, DONE (on the last part only).
    Send = 1,
    /// The handler of message `sequence` of `session` has ended. `time`: that message's size in bytes. Flags: FAILED, ERRED.
    Done = 2,
    /// The app closes `session`, or its open hook has failed. Flags: FORCE, FAILED, ERRED. `aux`: the WebSocket close code, 0 for 1000. Payload: the text
    /// of the WebSocket close, UTF-8 of at most [`LONGEST_CLOSE_TEXT`] bytes.
    Close = 3,
    /// A datagram to send from listener `aux`. Payload as on `ToProcess::Datagram`.
    SendTo = 4,
    /// A post to worker slot `aux`, numbered `session` by this process. Flags: FIRST, LAST.
    Post = 5,
    /// The post numbered `session` from slot `aux` has been handled.
    PostDone = 6,
    /// A task numbered `session` by this process. `aux`: the task slot it is for + 1, or 0 for any. Flags: FIRST, LAST.
    Task = 7,
    /// Task numbered `session` (by the gateway) has ended. Flags: FIRST, LAST, FAILED.
    TaskDone = 8,
    /// `session`'s locker is this payload from now on; without one it has none. Only from the process that has it.
    KeepState = 9,
    /// `session` is not read from now on.
    Pause = 10,
    /// … is read again.
    Resume = 11,
    /// `session` is not closed for being idle from now on.
    Keep = 12,
    /// … is again, counted from now.
    Unkeep = 13,
    /// `session` is bound to the key in the payload; without one to none.
    Bind = 14,
    /// Question number `session` of this process. Payload: [`Question`] (postcard). Always in one record.
    Ask = 15,
    /// A file for `session`, as one message. Its descriptor has gone through another channel, under the number in
    /// `sequence`, and is [there](ToProcess::FileHere). Payload: [`FileSpan`] (postcard).
    File = 16,
    /// `session` joins the group that the payload names.
    Join = 17,
    /// … leaves it.
    Leave = 18,
    /// Broadcast number `session` of this process. Flags: FIRST, LAST, TEXT. Payload: one byte with the length of the group's
    /// name, the name, two bytes with the number of sessions left out, their ids, the message; little-endian. An event
    /// (`aux` is [`event::EVENT`]) goes to one loop only, which gives it to all; instead of the message there is one byte with the
    /// number of loops, how far this process had written to each (eight bytes), and the event.
    Broadcast = 19,
    /// The open hook of `session` has ended: from now on it may move to another process.
    Opened = 20,
    /// `session` has the label in the payload; without one it has none.
    SetLabel = 21,
    /// What the app says to the request for `session`. Payload: [`accept::Verdict`] (postcard). Always in one record.
    Accepted = 22,
    /// The answer to request `session`, or its head. Flags: LAST if no [`Body`](Self::Body) follows; FAILED: the hook has
    /// failed, or nobody waits for it, and there is no payload. Payload: [`exchange::write_answer_head`]. Always in one record.
    Respond = 23,
    /// A further piece of the answer to request `session`. Flags: LAST; FAILED, on the last only: the body is broken off.
    Body = 24,
    /// A group keeps its last events from now on. Payload: their number, in four little-endian bytes, and the group's name.
    KeepEvents = 25,
    /// `session` joins a group and gets what its client missed. Payload: one byte with the length of the group's name, the name,
    /// the id of the last event that the client has, or nothing if it has none.
    JoinAfter = 26,
    /// The process has this of `session`'s messages and has not used it: behind what is kept so already it is the first message
    /// of the next process. Only from the process that has it. Beyond [`MOST_INPUT`] it is as [`LoseInput`](Self::LoseInput).
    KeepInput = 27,
    /// Nothing of `session`'s messages is kept so any more.
    DropInput = 28,
    /// The process has more than can be kept, up to the next [`DropInput`](Self::DropInput): the next process is told that it is lost.
    LoseInput = 29,
}

impl ToProcess {
    /// The kind of this number, if there is one.
    pub fn from_u8(kind: u8) -> Option<Self> {
        use ToProcess::*;
        Some(match kind {
            1 => Open,
            2 => Message,
            3 => Close,
            4 => Full,
            5 => Drained,
            6 => Moved,
            7 => Datagram,
            8 => Post,
            9 => PostDone,
            10 => Task,
            11 => TaskDone,
            12 => Unknown,
            13 => Answer,
            14 => FileDone,
            15 => BroadcastDone,
            16 => FileHere,
            17 => Accept,
            18 => Request,
            19 => BodyTaken,
            20 => RequestGone,
            21 => EventTaken,
            _ => return None,
        })
    }
}

impl FromProcess {
    /// The kind of this number, if there is one.
    pub fn from_u8(kind: u8) -> Option<Self> {
        use FromProcess::*;
        Some(match kind {
            1 => Send,
            2 => Done,
            3 => Close,
            4 => SendTo,
            5 => Post,
            6 => PostDone,
            7 => Task,
            8 => TaskDone,
            9 => KeepState,
            10 => Pause,
            11 => Resume,
            12 => Keep,
            13 => Unkeep,
            14 => Bind,
            15 => Ask,
            16 => File,
            17 => Join,
            18 => Leave,
            19 => Broadcast,
            20 => Opened,
            21 => SetLabel,
            22 => Accepted,
            23 => Respond,
            24 => Body,
            25 => KeepEvents,
            26 => JoinAfter,
            27 => KeepInput,
            28 => DropInput,
            29 => LoseInput,
            _ => return None,
        })
    }
}

/// The other end of a session or datagram.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Peer {
    /// An internet address.
    Ip(SocketAddr),
    /// A Unix socket. One that sends datagrams has no name here, and cannot be answered.
    Unix,
    /// A Unix socket of this path; an abstract one begins with a NUL byte. Of datagrams only.
    UnixNamed(#[serde(with = "path_bytes")] PathBuf),
    /// Unknown in this process, because the session has never been with it. Never in a record.
    Unknown,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Peer::Ip(address) => address.fmt(f),
            Peer::Unix => f.write_str("unix"),
            Peer::UnixNamed(path) => match path.as_os_str().as_bytes() {
                [0, name @ ..] => write!(f, "unix:@{}", name.escape_ascii()),
                _ => write!(f, "unix:{}", path.display()),
            },
            Peer::Unknown => f.write_str("unknown"),
        }
    }
}

/// A path need not be UTF-8.
mod path_bytes {
    use std::ffi::OsString;
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    use std::path::{Path, PathBuf};

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
        path.as_os_str().as_bytes().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<PathBuf, D::Error> {
        Vec::deserialize(from).map(|bytes| OsString::from_vec(bytes).into())
    }
}

/// The address that a datagram's payload begins with, and its bytes.
pub fn split_datagram(payload: &[u8]) -> Option<(Peer, &[u8])> {
    let (&length, rest) = payload.split_first()?;
    let (address, bytes) = rest.split_at_checked(usize::from(length))?;
    Some((postcard::from_bytes(address).ok()?, bytes))
}

/// What a process learns about a session that begins there.
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
    /// What the gateway keeps of it for the app, if there is anything.
    pub data: Option<Box<SessionData>>,
    /// The result of its TLS handshake, if it is encrypted.
    pub tls: Option<Box<SessionTls>>,
}

/// The state of a session at its end, apart from its opening.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// When something was last received, milliseconds since the Unix epoch; when it was accepted, if nothing was.
    pub received_at: u64,
    /// When something was last sent, in the same unit.
    pub sent_at: u64,
    /// The app has paused it.
    pub paused: bool,
    /// The app has kept it from closing when idle.
    pub kept: bool,
    /// Messages received.
    pub messages: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// The WebSocket close code that the peer sent, or 0.
    pub code: u16,
    /// The text that came with it.
    pub text: String,
}

/// The part of a file that is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSpan {
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub length: u64,
    /// Its first bytes: a framing may look at them.
    pub head: Vec<u8>,
}

/// What the gateway keeps of a session for the app. The next process that serves the session receives it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionData {
    /// The locker; empty if there is none. At most [`LARGEST_STATE`] bytes.
    pub state: Vec<u8>,
    /// The key that it is bound to, or empty. At most [`LONGEST_NAME`] bytes.
    pub key: Vec<u8>,
    /// Its label; empty if it has none. At most [`LONGEST_LABEL`] bytes.
    pub label: Vec<u8>,
    /// What is kept of the request that it began with; empty if nothing is. At most [`accept::LARGEST_REQUEST`] bytes: the
    /// target, and a line for each field, as in the head of a request.
    pub request: Vec<u8>,
    /// It is not read.
    pub paused: bool,
    /// It is not closed for being idle.
    pub kept: bool,
    /// The process before this one had input of it that it had not used, and that is lost.
    pub is_input_lost: bool,
}

impl SessionData {
    /// Whether nothing in it is over its limit.
    pub fn is_sound(&self) -> bool {
        self.state.len() <= LARGEST_STATE
            && self.key.len() <= LONGEST_NAME
            && self.label.len() <= LONGEST_LABEL
            && self.request.len() <= accept::LARGEST_REQUEST
    }
}

/// The result of a session's TLS handshake.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SessionTls {
    /// The version, as `TLS 1.3`.
    pub version: String,
    /// The protocol that was agreed on (ALPN).
    pub alpn: Option<String>,
    /// The peer's own certificate, in DER, if it was asked for one and has one. It was verified.
    pub certificate: Option<Vec<u8>>,
    /// An earlier session was resumed: the certificate was verified then.
    pub is_resumed: bool,
}

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u16)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer closed it, or its connection broke.
    Peer = 1,
    /// The app closed it.
    Server = 2,
    /// Nothing was received or sent for the listener's `idle_timeout`.
    Idle = 3,
    /// The peer read too slowly, so that its queue passed `hard_limit`; or it sent a message slower than
    /// `min_receive_rate`.
    Slow = 4,
    /// The memory budget was exhausted.
    Memory = 5,
    /// The engine stops.
    Stopped = 6,
    /// The worker died, or its handler panicked, while it handled a message of this session.
    Crash = 7,
    /// Its bytes break the listener's framing.
    Framing = 8,
    /// The gateway died.
    GatewayLost = 9,
    /// The listener's or the engine's limits leave no room for it.
    Limit = 10,
    /// Its TLS handshake failed, or its request was refused, or one of them took longer than the listener's
    /// `handshake_timeout`.
    Handshake = 11,
    /// A handler of its returned an error.
    Error = 12,
    /// The peer answered neither the listener's pings nor, on TCP, what the kernel sent it.
    Vanished = 13,
}

impl CloseReason {
    /// The reason of this number, if there is one.
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
            Handshake,
            Error,
            Vanished,
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
            CloseReason::Handshake => "handshake",
            CloseReason::Error => "error",
            CloseReason::Vanished => "vanished",
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}
