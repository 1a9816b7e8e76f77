//! A session of a scripted engine, and the messages that its process has.

use std::collections::VecDeque;

use moorline_ipc::Header;

use super::{LISTENER, header_of, unix_ms};
use crate::app::{CloseReason, Peer};
use crate::clock;
use crate::wire::{FIRST, SessionData, SessionFacts, TEXT, ToProcess};

/// A session, and what its peer would see.
pub(in crate::testing) struct Scripted {
    pub(super) peer: Peer,
    pub(super) connected_at: u64,
    pub(super) data: SessionData,
    /// Its open hook has ended.
    pub(super) is_open: bool,
    pub(super) last_sequence: u64,
    /// Messages that were delivered and are not done.
    pub(super) undone: VecDeque<Given>,
    /// Messages that wait because it is paused.
    pub(super) waiting: VecDeque<(Vec<u8>, bool)>,
    /// What its process has not used: the first message of the next one.
    pub(super) input: Vec<u8>,
    pub(super) inbox: VecDeque<Vec<u8>>,
    pub(super) inbox_bytes: u64,
    pub(super) is_full: bool,
    /// Why it has ended, and the WebSocket close code.
    pub(in crate::testing) end: Option<(CloseReason, u16)>,
    pub(super) messages: u64,
    pub(super) received: u64,
    pub(super) sent: u64,
}

pub(super) struct Given {
    pub(super) sequence: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) is_text: bool,
    pub(super) attempt: u32,
}

impl Scripted {
    pub(super) fn new(peer: Peer) -> Self {
        Self {
            peer,
            connected_at: unix_ms(),
            data: SessionData::default(),
            is_open: false,
            last_sequence: 0,
            undone: VecDeque::new(),
            waiting: VecDeque::new(),
            input: Vec::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            is_full: false,
            end: None,
            messages: 0,
            received: 0,
            sent: 0,
        }
    }

    pub(super) fn facts(&self, id: u64) -> SessionFacts {
        SessionFacts {
            id,
            listener: LISTENER,
            peer: self.peer.clone(),
            connected_at: self.connected_at,
            received_at: self.connected_at,
            sent_at: self.connected_at,
            worker: 0,
            key: self.data.key.clone(),
            label: self.data.label.clone(),
            paused: self.data.paused,
            kept: self.data.kept,
            messages: self.messages,
            received: self.received,
            sent: self.sent,
            queued: self.inbox_bytes,
            tls: None,
        }
    }
}

impl Given {
    pub(super) fn record(&self, id: u64) -> (Header, Vec<u8>) {
        let header = Header {
            flags: FIRST | if self.is_text { TEXT } else { 0 },
            sequence: self.sequence,
            time: clock::now(),
            ..header_of(ToProcess::Message, id)
        };
        (header, self.bytes.clone())
    }
}
