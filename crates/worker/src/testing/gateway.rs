//! The gateway of a scripted engine: its sessions, and what it gives the app's process. `requests` does what that asks for.

mod events;
mod exchanges;
mod requests;
mod session;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_ipc::{Header, Producer};

use crate::app::{CloseReason, Peer};
use crate::config::{Config, OnCrash, OnError};
use crate::wire::accept::Verdict;
use crate::wire::{ADOPTED, Closing, ERRED, FAILED, FIRST, LAST, Opening, SessionData, ToProcess};
use events::History;
use exchanges::ScriptedExchange;
pub(super) use exchanges::{AnswerEnd, SessionAnswer};
use session::{Given, Scripted};

/// The one listener.
const LISTENER: u16 = 0;

/// All that outlives the app's process.
pub(super) struct Gateway {
    config: Config,
    pub(super) sessions: BTreeMap<u64, Scripted>,
    groups: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// The events that groups keep.
    histories: BTreeMap<Vec<u8>, History>,
    last_event: u64,
    /// The generation that serves.
    serving: u32,
    /// The records on their way to each generation.
    outgoing: BTreeMap<u32, VecDeque<(Header, Vec<u8>)>>,
    /// The received parts of messages that come in parts.
    partials: BTreeMap<(u32, u8, u64), Vec<u8>>,
    files: BTreeMap<(u32, u64), OwnedFd>,
    /// Tasks in progress, by their numbers here: the process that asked, and its number.
    tasks: BTreeMap<u64, (u32, u64)>,
    last_task: u64,
    last_session: u64,
    pub(super) exchanges: BTreeMap<u64, ScriptedExchange>,
    last_exchange: u64,
    /// What the app has said to requests for sessions.
    verdicts: BTreeMap<u64, Verdict>,
}

impl Gateway {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            groups: BTreeMap::new(),
            histories: BTreeMap::new(),
            last_event: 0,
            serving: 0,
            outgoing: BTreeMap::new(),
            partials: BTreeMap::new(),
            files: BTreeMap::new(),
            tasks: BTreeMap::new(),
            last_task: 0,
            last_session: 0,
            exchanges: BTreeMap::new(),
            last_exchange: 0,
            verdicts: BTreeMap::new(),
        }
    }

    /// A peer connects.
    pub(super) fn connect(&mut self, peer: Peer) -> u64 {
        self.last_session += 1;
        let id = self.last_session;
        self.sessions.insert(id, Scripted::new(peer));
        self.open(id, false);
        id
    }

    /// A peer sends a message.
    pub(super) fn send(&mut self, id: u64, bytes: Vec<u8>, is_text: bool) {
        let Some(session) = self.living(id) else {
            return;
        };
        session.messages += 1;
        session.received += bytes.len() as u64;
        session.waiting.push_back((bytes, is_text));
        self.deliver(id);
    }

    /// Messages of this session that the app has not taken or not done.
    pub(super) fn in_progress(&self, id: u64) -> usize {
        let session = self.sessions.get(&id);
        session.map_or(0, |session| session.undone.len() + session.waiting.len())
    }

    /// The next message for the peer.
    pub(super) fn receive(&mut self, id: u64) -> Option<Vec<u8>> {
        let low = self.listener().low_watermark;
        let session = self.sessions.get_mut(&id)?;
        let message = session.inbox.pop_front()?;
        session.inbox_bytes -= message.len() as u64;
        if session.is_full && session.inbox_bytes <= low && session.end.is_none() {
            session.is_full = false;
            self.tell(ToProcess::Drained, id);
        }
        Some(message)
    }

    /// A session ends.
    pub(super) fn end(&mut self, id: u64, reason: CloseReason, code: u16) {
        let Some(session) = self.living(id) else {
            return;
        };
        session.end = Some((reason, code));
        session.undone.clear();
        session.waiting.clear();
        let closing = Closing {
            received_at: unix_ms(),
            sent_at: unix_ms(),
            paused: session.data.paused,
            kept: session.data.kept,
            messages: session.messages,
            received: session.received,
            sent: session.sent,
            code: 0,
            text: String::new(),
        };
        for members in self.groups.values_mut() {
            members.remove(&id);
        }
        let header = Header {
            kind: ToProcess::Close as u8,
            aux: reason as u16,
            session: id,
            ..Header::default()
        };
        self.give(self.serving, header, encoded(&closing));
    }

    /// All that are connected.
    pub(super) fn connected(&self) -> Vec<u64> {
        let living = self.sessions.iter().filter(|(_, it)| it.end.is_none());
        living.map(|(id, _)| *id).collect()
    }

    /// No session has an open hook or a message in progress, and no request has.
    pub(super) fn is_idle(&self) -> bool {
        let mut living = self.sessions.values().filter(|it| it.end.is_none());
        living.all(|session| session.is_open && session.undone.is_empty())
            && !self.has_open_exchanges()
    }

    /// This generation serves from now on, and every session moves to it. `has_died` says that the one before is gone:
    /// then what it had in progress follows `on_crash`.
    pub(super) fn serve(&mut self, generation: u32, has_died: bool) {
        let before = std::mem::replace(&mut self.serving, generation);
        self.outgoing.insert(generation, VecDeque::new());
        if has_died {
            self.outgoing.remove(&before);
            self.partials.clear();
            self.files.clear();
            self.tasks.clear();
            self.break_off(before);
        }
        for id in self.connected() {
            if !has_died {
                let header = header_of(ToProcess::Moved, id);
                self.give(before, header, Vec::new());
            } else if self.crashes(id) {
                // The next process runs its close hook.
                self.open(id, true);
                self.end(id, CloseReason::Crash, 0);
                continue;
            }
            self.open(id, true);
            self.redeliver(id);
            self.deliver(id);
        }
    }

    /// Whether a session ends with the process that has died.
    fn crashes(&mut self, id: u64) -> bool {
        let (on_crash, attempts) = (self.listener().on_crash, self.listener().attempts);
        let Some(session) = self.living(id) else {
            return false;
        };
        match on_crash {
            OnCrash::Close => !session.undone.is_empty(),
            OnCrash::Drop => {
                session.undone.clear();
                false
            }
            OnCrash::Redeliver => {
                let first = session.undone.front_mut();
                first.is_some_and(|first| {
                    first.attempt += 1;
                    first.attempt > attempts
                })
            }
        }
    }

    /// Writes waiting records to this generation into its ring. True if there were some.
    pub(super) fn flush(&mut self, generation: u32, producer: &mut Producer) -> bool {
        let Some(outgoing) = self.outgoing.get_mut(&generation) else {
            return false;
        };
        let mut has_given = false;
        while let Some((header, payload)) = outgoing.front_mut() {
            let max = producer.max_payload();
            let is_last = payload.len() <= max;
            let part = &payload[..payload.len().min(max)];
            if is_last {
                header.flags |= LAST;
            }
            if producer.push(header, &[part]).is_err() {
                break;
            }
            has_given = true;
            match is_last {
                true => drop(outgoing.pop_front()),
                false => {
                    header.flags &= !FIRST;
                    payload.drain(..max);
                }
            }
        }
        has_given
    }

    /// A message for the peer.
    fn show(&mut self, from: u32, id: u64, message: Vec<u8>) {
        let (high, hard) = (self.listener().high_watermark, self.listener().hard_limit);
        let Some(session) = self.living(id) else {
            return self.unknown(from, id);
        };
        session.sent += message.len() as u64;
        session.inbox_bytes += message.len() as u64;
        session.inbox.push_back(message);
        if session.inbox_bytes > hard {
            self.end(id, CloseReason::Slow, 0);
        } else if session.inbox_bytes > high && !session.is_full {
            session.is_full = true;
            self.tell(ToProcess::Full, id);
        }
    }

    fn done(&mut self, id: u64, sequence: u64, flags: u8) {
        let (on_crash, on_error) = (self.listener().on_crash, self.listener().on_error);
        let Some(session) = self.living(id) else {
            return;
        };
        let failed = flags & FAILED != 0;
        if failed && on_crash != OnCrash::Drop {
            if self.crashes(id) {
                self.end(id, CloseReason::Crash, 0);
            } else {
                self.redeliver(id);
            }
            return;
        }
        session.undone.retain(|given| given.sequence != sequence);
        if flags & ERRED != 0 && on_error == OnError::Close {
            self.end(id, CloseReason::Error, 0);
        }
    }

    /// A session begins in the process that serves.
    fn open(&mut self, id: u64, adopted: bool) {
        let Some(session) = self.living(id) else {
            return;
        };
        session.is_open = false;
        let input = std::mem::take(&mut session.input);
        if !input.is_empty() {
            session.waiting.push_front((input, false));
        }
        let data = Some(&session.data).filter(|data| **data != SessionData::default());
        let opening = Opening {
            listener: LISTENER,
            adopted,
            full: session.is_full,
            peer: session.peer.clone(),
            connected_at: session.connected_at,
            data: data.cloned().map(Box::new),
            tls: None,
        };
        let header = Header {
            aux: if adopted { ADOPTED } else { 0 },
            ..header_of(ToProcess::Open, id)
        };
        self.give(self.serving, header, encoded(&opening));
    }

    /// Gives the messages that wait, unless the session is paused.
    fn deliver(&mut self, id: u64) {
        while let Some(session) = self.living(id).filter(|session| !session.data.paused)
            && let Some((bytes, is_text)) = session.waiting.pop_front()
        {
            session.last_sequence += 1;
            let given = Given {
                sequence: session.last_sequence,
                bytes,
                is_text,
                attempt: 1,
            };
            let (header, bytes) = given.record(id);
            session.undone.push_back(given);
            self.give(self.serving, header, bytes);
        }
    }

    /// Sends again what is not done.
    fn redeliver(&mut self, id: u64) {
        let Some(session) = self.living(id) else {
            return;
        };
        let again: Vec<_> = session.undone.iter().map(|it| it.record(id)).collect();
        for (header, bytes) in again {
            self.give(self.serving, header, bytes);
        }
    }

    fn tell(&mut self, kind: ToProcess, id: u64) {
        self.give(self.serving, header_of(kind, id), Vec::new());
    }

    fn unknown(&mut self, to: u32, id: u64) {
        self.give(to, header_of(ToProcess::Unknown, id), Vec::new());
    }

    fn give(&mut self, to: u32, header: Header, payload: Vec<u8>) {
        if let Some(outgoing) = self.outgoing.get_mut(&to) {
            outgoing.push_back((header, payload));
        }
    }

    fn living(&mut self, id: u64) -> Option<&mut Scripted> {
        let session = self.sessions.get_mut(&id)?;
        session.end.is_none().then_some(session)
    }

    fn lives(&self, id: u64) -> bool {
        self.sessions.get(&id).is_some_and(|it| it.end.is_none())
    }

    fn listener(&self) -> &crate::config::Listener {
        // The engine's own configuration names one.
        &self.config.listeners[usize::from(LISTENER)]
    }
}

/// The header of a whole record, or of the first part of one.
fn header_of(kind: ToProcess, session: u64) -> Header {
    let flags = match kind {
        ToProcess::Message
        | ToProcess::Post
        | ToProcess::Task
        | ToProcess::Request
        | ToProcess::Answer => FIRST,
        _ => 0,
    };
    Header {
        kind: kind as u8,
        flags,
        session,
        ..Header::default()
    }
}

/// Plain values only: there is nothing in them that could fail to be written.
fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
