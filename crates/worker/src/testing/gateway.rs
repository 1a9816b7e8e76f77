//! The gateway of a scripted engine: what it knows of sessions, and how it answers the app's process.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::time::{SystemTime, UNIX_EPOCH};

use moorline_ipc::{Header, Producer};

use crate::app::{CloseReason, Peer};
use crate::clock;
use crate::config::{Config, OnCrash, OnError};
use crate::wire::{
    ADOPTED, Answer, Closing, DONE, ERRED, FAILED, FIRST, FORCE, FileSpan, FromProcess, LAST,
    Opening, Question, SessionData, SessionFacts, TEXT, ToProcess, WHOLE,
};

/// The one listener.
const LISTENER: u16 = 0;

/// All that outlives the app's process.
pub(super) struct Gateway {
    config: Config,
    pub(super) sessions: BTreeMap<u64, Scripted>,
    groups: BTreeMap<Vec<u8>, BTreeSet<u64>>,
    /// The generation that serves.
    serving: u32,
    /// What is on its way to each generation.
    outgoing: BTreeMap<u32, VecDeque<(Header, Vec<u8>)>>,
    /// Of messages that come in parts, those that have.
    partials: BTreeMap<(u32, u8, u64), Vec<u8>>,
    files: BTreeMap<(u32, u64), OwnedFd>,
    /// Tasks in progress: by their numbers here, who has asked and under which number.
    tasks: BTreeMap<u64, (u32, u64)>,
    last_task: u64,
    last_session: u64,
}

/// A session, and what its peer would see.
pub(super) struct Scripted {
    peer: Peer,
    connected_at: u64,
    data: SessionData,
    /// Its open hook has ended.
    is_open: bool,
    last_sequence: u64,
    /// Messages that were delivered and are not done.
    undone: VecDeque<Given>,
    /// Messages that wait because it is paused.
    waiting: VecDeque<(Vec<u8>, bool)>,
    inbox: VecDeque<Vec<u8>>,
    inbox_bytes: u64,
    is_full: bool,
    /// Why it has ended, and the WebSocket close code.
    pub(super) end: Option<(CloseReason, u16)>,
    messages: u64,
    received: u64,
    sent: u64,
}

struct Given {
    sequence: u64,
    bytes: Vec<u8>,
    is_text: bool,
    attempt: u32,
}

impl Gateway {
    pub(super) fn new(config: Config) -> Self {
        Self {
            config,
            sessions: BTreeMap::new(),
            groups: BTreeMap::new(),
            serving: 0,
            outgoing: BTreeMap::new(),
            partials: BTreeMap::new(),
            files: BTreeMap::new(),
            tasks: BTreeMap::new(),
            last_task: 0,
            last_session: 0,
        }
    }

    /// A peer connects.
    pub(super) fn connect(&mut self, peer: Peer) -> u64 {
        self.last_session += 1;
        let id = self.last_session;
        let session = Scripted {
            peer,
            connected_at: unix_ms(),
            data: SessionData::default(),
            is_open: false,
            last_sequence: 0,
            undone: VecDeque::new(),
            waiting: VecDeque::new(),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            is_full: false,
            end: None,
            messages: 0,
            received: 0,
            sent: 0,
        };
        self.sessions.insert(id, session);
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

    /// What the peer receives next.
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

    /// No session has an open hook or a message in progress.
    pub(super) fn is_idle(&self) -> bool {
        let mut living = self.sessions.values().filter(|it| it.end.is_none());
        living.all(|session| session.is_open && session.undone.is_empty())
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
        }
        for id in self.connected() {
            if !has_died {
                let header = header(ToProcess::Moved, id);
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

    /// Writes what is on its way to this generation into its ring. True if there was something.
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

    /// Does what a record from this generation asks for.
    pub(super) fn take(&mut self, from: u32, header: &Header, payload: Vec<u8>) {
        let Some(kind) = FromProcess::from_u8(header.kind) else {
            return;
        };
        let id = header.session;
        match kind {
            FromProcess::Send
            | FromProcess::Post
            | FromProcess::Task
            | FromProcess::TaskDone
            | FromProcess::Broadcast => {
                if let Some(whole) = self.assemble(from, header, payload) {
                    self.take_whole(from, kind, header, whole);
                }
            }
            FromProcess::Done => self.done(id, header.sequence, header.flags),
            FromProcess::Close => {
                let reason = match header.flags {
                    flags if flags & FAILED != 0 => CloseReason::Crash,
                    flags if flags & ERRED != 0 => CloseReason::Error,
                    _ => CloseReason::Server,
                };
                if header.flags & FORCE != 0
                    && let Some(session) = self.sessions.get_mut(&id)
                {
                    session.inbox.clear();
                }
                self.end(id, reason, header.aux);
            }
            FromProcess::Ask => self.answer(from, id, &payload),
            FromProcess::File => self.send_file(from, header, &payload),
            FromProcess::Opened => {
                if let Some(session) = self.living(id) {
                    session.is_open = true;
                }
            }
            // There is no datagram listener, and posts to oneself do not come here.
            FromProcess::SendTo | FromProcess::PostDone => {}
            _ => self.note(from, kind, id, payload),
        }
    }

    fn take_whole(&mut self, from: u32, kind: FromProcess, header: &Header, whole: Vec<u8>) {
        match kind {
            FromProcess::Send => {
                self.show(from, header.session, whole);
                if header.flags & DONE != 0 {
                    self.done(header.session, header.sequence, 0);
                }
            }
            FromProcess::Broadcast => self.broadcast(from, header.session, &whole),
            FromProcess::Task => {
                self.last_task += 1;
                self.tasks.insert(self.last_task, (from, header.session));
                let header = Header {
                    sequence: 1,
                    ..self::header(ToProcess::Task, self.last_task)
                };
                self.give(from, header, whole);
            }
            FromProcess::TaskDone => {
                if let Some((asked, number)) = self.tasks.remove(&header.session) {
                    let header = Header {
                        flags: FIRST | header.flags & FAILED,
                        ..self::header(ToProcess::TaskDone, number)
                    };
                    self.give(asked, header, whole);
                }
            }
            _ => {}
        }
    }

    /// What an app asks to be noted of a session.
    fn note(&mut self, from: u32, kind: FromProcess, id: u64, payload: Vec<u8>) {
        let serving = self.serving;
        let Some(session) = self.living(id) else {
            return self.unknown(from, id);
        };
        let data = &mut session.data;
        match kind {
            FromProcess::KeepState if from == serving => data.state = payload,
            FromProcess::Pause => data.paused = true,
            FromProcess::Resume => {
                data.paused = false;
                self.deliver(id);
            }
            FromProcess::Keep => data.kept = true,
            FromProcess::Unkeep => data.kept = false,
            FromProcess::Bind => data.key = payload,
            FromProcess::SetLabel => data.label = payload,
            FromProcess::Join => {
                self.groups.entry(payload).or_default().insert(id);
            }
            FromProcess::Leave => {
                if let Some(members) = self.groups.get_mut(&payload) {
                    members.remove(&id);
                }
            }
            _ => {}
        }
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

    fn broadcast(&mut self, from: u32, number: u64, payload: &[u8]) {
        if let Some((name, left_out, message)) = split_broadcast(payload) {
            let members = self.groups.get(name).cloned().unwrap_or_default();
            for id in members.difference(&left_out) {
                self.show(from, *id, message.to_vec());
            }
        }
        let header = header(ToProcess::BroadcastDone, number);
        self.give(from, header, Vec::new());
    }

    fn answer(&mut self, from: u32, number: u64, question: &[u8]) {
        let Ok(question) = postcard::from_bytes(question) else {
            return;
        };
        let facts = |id: &u64| Some(self.sessions.get(id)?.facts(*id)).filter(|_| self.lives(*id));
        let answer = match question {
            Question::Session(id) => Answer::Session(facts(&id)),
            Question::Sessions(_) => {
                Answer::Sessions(self.sessions.keys().filter_map(facts).collect(), None)
            }
            Question::Members(name, _) => {
                let members = self.groups.get(&name).into_iter().flatten();
                let label = |id| (id, self.sessions[&id].data.label.clone());
                Answer::Members(members.copied().map(label).collect(), None)
            }
        };
        let header = header(ToProcess::Answer, number);
        self.give(from, header, encoded(&answer));
    }

    /// A process has passed the descriptor of a file.
    pub(super) fn take_file(&mut self, from: u32, name: &[u8], files: Vec<OwnedFd>) {
        let name = name.try_into().map(u128::from_le_bytes);
        let (Ok(name), Some(file)) = (name, files.into_iter().next()) else {
            return;
        };
        // The lower half is the number.
        let number = name as u64;
        self.files.insert((from, number), file);
        let header = header(ToProcess::FileHere, number);
        self.give(from, header, Vec::new());
    }

    fn send_file(&mut self, from: u32, header: &Header, span: &[u8]) {
        let (number, id) = (header.sequence, header.session);
        if let Some(file) = self.files.remove(&(from, number))
            && let Ok(span) = postcard::from_bytes::<FileSpan>(span)
        {
            let mut bytes = vec![0; span.length as usize];
            match std::fs::File::from(file).read_exact_at(&mut bytes, span.offset) {
                Ok(()) => self.show(from, id, bytes),
                // It has become shorter.
                Err(_) => self.end(id, CloseReason::Error, 0),
            }
        }
        let header = self::header(ToProcess::FileDone, number);
        self.give(from, header, Vec::new());
    }

    /// A session begins in the process that serves.
    fn open(&mut self, id: u64, adopted: bool) {
        let Some(session) = self.living(id) else {
            return;
        };
        session.is_open = false;
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
            ..header(ToProcess::Open, id)
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

    /// Gives once more what is not done.
    fn redeliver(&mut self, id: u64) {
        let Some(session) = self.living(id) else {
            return;
        };
        let again: Vec<_> = session.undone.iter().map(|it| it.record(id)).collect();
        for (header, bytes) in again {
            self.give(self.serving, header, bytes);
        }
    }

    /// The whole of a message, with its last part.
    fn assemble(&mut self, from: u32, header: &Header, payload: Vec<u8>) -> Option<Vec<u8>> {
        if header.flags & WHOLE == WHOLE {
            return Some(payload);
        }
        let key = (from, header.kind, header.session);
        let partial = self.partials.entry(key).or_default();
        partial.extend_from_slice(&payload);
        (header.flags & LAST != 0)
            .then(|| self.partials.remove(&key))
            .flatten()
    }

    fn tell(&mut self, kind: ToProcess, id: u64) {
        self.give(self.serving, header(kind, id), Vec::new());
    }

    fn unknown(&mut self, to: u32, id: u64) {
        self.give(to, header(ToProcess::Unknown, id), Vec::new());
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

impl Scripted {
    fn facts(&self, id: u64) -> SessionFacts {
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
    fn record(&self, id: u64) -> (Header, Vec<u8>) {
        let header = Header {
            flags: FIRST | if self.is_text { TEXT } else { 0 },
            sequence: self.sequence,
            time: clock::now(),
            ..header(ToProcess::Message, id)
        };
        (header, self.bytes.clone())
    }
}

/// The header of a whole record, or of the first part of one.
fn header(kind: ToProcess, session: u64) -> Header {
    let flags = match kind {
        ToProcess::Message | ToProcess::Post | ToProcess::Task | ToProcess::Answer => FIRST,
        _ => 0,
    };
    Header {
        kind: kind as u8,
        flags,
        session,
        ..Header::default()
    }
}

/// The group, who is left out, and the message.
fn split_broadcast(payload: &[u8]) -> Option<(&[u8], BTreeSet<u64>, &[u8])> {
    let (&length, rest) = payload.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (&count, rest) = rest.split_first_chunk()?;
    let (ids, message) = rest.split_at_checked(usize::from(u16::from_le_bytes(count)) * 8)?;
    let ids = ids.chunks_exact(8).filter_map(|id| id.try_into().ok());
    Some((name, ids.map(u64::from_le_bytes).collect(), message))
}

/// Plain values only: there is nothing in them that could fail to be written.
fn encoded<T: serde::Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).unwrap_or_default()
}

fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}
