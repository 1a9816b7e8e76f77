//! The questions of a process to a loop, and their answers.

use serde::{Deserialize, Serialize};

use super::{Peer, SessionTls};

/// From a process, one record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Question {
    /// The facts of this session.
    Session(u64),
    /// The sessions, from this place of the loop's table on.
    Sessions(u32),
    /// The members of this group, from this place of its list on.
    Members(Vec<u8>, u32),
    /// What has changed of groups behind the first `after` changes of this log. A process that knows none asks for a log 0.
    GroupChanges {
        /// The log, as it was told before.
        log: u64,
        /// How many changes of it are known.
        after: u64,
    },
    /// The sessions that are in groups, from this place of the loop's table on.
    Memberships(u32),
}

/// From a loop, in as many records as needed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Nothing, if there is no such session.
    Session(Option<SessionFacts>),
    /// Some sessions, and the place to continue from; none after the last.
    Sessions(Vec<SessionFacts>, Option<u32>),
    /// Some members, by their ids, with their labels, and the place to continue from.
    Members(Vec<(u64, Vec<u8>)>, Option<u32>),
    /// How sessions are in groups now, of which something has changed.
    GroupChanges {
        /// The log: another gateway has another one.
        log: u64,
        /// How many changes there were, with these.
        until: u64,
        /// There are more.
        has_more: bool,
        /// `None`: the log does not reach back so far. All memberships are to be asked for, and then what has changed since.
        changes: Option<Vec<GroupPlace>>,
    },
    /// Some sessions with their labels and groups, and the place to continue from.
    Memberships(Vec<SessionGroups>, Option<u32>),
}

/// How a session is in a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupPlace {
    /// The group.
    pub group: Vec<u8>,
    /// The session.
    pub session: u64,
    /// The session's label; `None` if it is not in the group.
    pub label: Option<Vec<u8>>,
}

/// A session's groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionGroups {
    /// The session.
    pub session: u64,
    /// Its label; empty if it has none.
    pub label: Vec<u8>,
    /// The groups.
    pub groups: Vec<Vec<u8>>,
}

/// The place of no listener.
pub const UNKNOWN_PLACE: u16 = u16::MAX;

/// A loop's facts of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionFacts {
    /// The session's id.
    pub id: u64,
    /// The listener, by its place in the configuration; [`UNKNOWN_PLACE`] if the process does not know it.
    pub listener: u16,
    /// The other end.
    pub peer: Peer,
    /// When it was accepted, milliseconds since the Unix epoch.
    pub connected_at: u64,
    /// When something was last received, in the same unit; when it was accepted, if nothing was.
    pub received_at: u64,
    /// When something was last sent, in the same unit.
    pub sent_at: u64,
    /// The worker slot it belongs to.
    pub worker: u16,
    /// The key that it is bound to, or empty.
    pub key: Vec<u8>,
    /// Its label; empty if it has none.
    pub label: Vec<u8>,
    /// It is not read.
    pub paused: bool,
    /// It is not closed for being idle.
    pub kept: bool,
    /// Messages received.
    pub messages: u64,
    /// Bytes received.
    pub received: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes queued for it.
    pub queued: u64,
    /// The result of its TLS handshake, if it is encrypted. In a list it comes without the certificate.
    pub tls: Option<Box<SessionTls>>,
}

impl SessionFacts {
    /// The form for a list: a page of sessions stays small.
    pub fn among_others(mut self) -> Self {
        if let Some(tls) = &mut self.tls {
            tls.certificate = None;
        }
        self
    }
}
