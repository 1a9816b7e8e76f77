//! Requests of the app's process to the gateway of a scripted engine.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use moorline_ipc::Header;

use super::{Gateway, encoded, header_of};
use crate::app::CloseReason;
use crate::wire::event::{EVENT, split_event};
use crate::wire::{
    Answer, DONE, ERRED, FAILED, FIRST, FORCE, FileSpan, FromProcess, LAST, Question,
    SessionGroups, ToProcess, WHOLE,
};

impl Gateway {
    /// Executes a record of this generation.
    pub(in crate::testing) fn take(&mut self, from: u32, header: &Header, payload: Vec<u8>) {
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
            FromProcess::KeepEvents => self.keep_events(&payload),
            FromProcess::JoinAfter if self.lives(id) => self.join_after(from, id, &payload),
            FromProcess::File => self.send_file(from, header, &payload),
            FromProcess::Opened => {
                if let Some(session) = self.living(id) {
                    session.is_open = true;
                }
            }
            FromProcess::Accepted | FromProcess::Respond | FromProcess::Body => {
                self.answered(kind, header, &payload);
            }
            // There is no datagram listener, and posts to oneself do not come here.
            FromProcess::SendTo | FromProcess::PostDone => {}
            _ => self.note(from, kind, id, payload),
        }
    }

    fn take_whole(&mut self, from: u32, kind: FromProcess, header: &Header, whole: Vec<u8>) {
        match kind {
            FromProcess::Send => {
                let shown = match split_event(&whole) {
                    Some(event) if header.aux == EVENT => event.data.into(),
                    _ => whole,
                };
                self.show(from, header.session, shown);
                if header.flags & DONE != 0 {
                    self.done(header.session, header.sequence, 0);
                }
            }
            FromProcess::Broadcast if header.aux == EVENT => {
                self.send_event(from, header.session, &whole);
            }
            FromProcess::Broadcast => self.broadcast(from, header.session, &whole),
            FromProcess::Task => {
                self.last_task += 1;
                self.tasks.insert(self.last_task, (from, header.session));
                let header = Header {
                    sequence: 1,
                    ..header_of(ToProcess::Task, self.last_task)
                };
                self.give(from, header, whole);
            }
            FromProcess::TaskDone => {
                if let Some((asked, number)) = self.tasks.remove(&header.session) {
                    let header = Header {
                        flags: FIRST | header.flags & FAILED,
                        ..header_of(ToProcess::TaskDone, number)
                    };
                    self.give(asked, header, whole);
                }
            }
            _ => {}
        }
    }

    /// What an app asks to be kept of a session.
    fn note(&mut self, from: u32, kind: FromProcess, id: u64, payload: Vec<u8>) {
        let serving = self.serving;
        let Some(session) = self.living(id) else {
            return self.unknown(from, id);
        };
        let data = &mut session.data;
        match kind {
            FromProcess::KeepState if from == serving => data.state = payload,
            FromProcess::KeepInput if from == serving => session.input.extend(payload),
            FromProcess::DropInput | FromProcess::LoseInput if from == serving => {
                data.is_input_lost = kind == FromProcess::LoseInput;
                session.input.clear();
            }
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

    fn broadcast(&mut self, from: u32, number: u64, payload: &[u8]) {
        if let Some((name, left_out, message)) = split_broadcast(payload) {
            let members = self.groups.get(name).cloned().unwrap_or_default();
            for id in members.difference(&left_out) {
                self.show(from, *id, message.to_vec());
            }
        }
        let header = header_of(ToProcess::BroadcastDone, number);
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
            // It has no log, so all is asked for each time.
            Question::GroupChanges { .. } => Answer::GroupChanges {
                log: 1,
                until: 0,
                has_more: false,
                changes: None,
            },
            Question::Memberships(_) => self.memberships(),
        };
        let header = header_of(ToProcess::Answer, number);
        self.give(from, header, encoded(&answer));
    }

    fn memberships(&self) -> Answer {
        let row = |id: &u64| SessionGroups {
            session: *id,
            label: self.sessions[id].data.label.clone(),
            groups: self
                .groups
                .iter()
                .filter(|(_, members)| members.contains(id))
                .map(|(name, _)| name.clone())
                .collect(),
        };
        Answer::Memberships(self.sessions.keys().map(row).collect(), None)
    }

    /// A process has passed the descriptor of a file.
    pub(in crate::testing) fn take_file(&mut self, from: u32, name: &[u8], files: Vec<OwnedFd>) {
        let name = name.try_into().map(u128::from_le_bytes);
        let (Ok(name), Some(file)) = (name, files.into_iter().next()) else {
            return;
        };
        // The lower half is the number.
        let number = name as u64;
        self.files.insert((from, number), file);
        let header = header_of(ToProcess::FileHere, number);
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
        let header = header_of(ToProcess::FileDone, number);
        self.give(from, header, Vec::new());
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
}

/// The group, the sessions that are left out, and the message.
pub(super) fn split_broadcast(payload: &[u8]) -> Option<(&[u8], BTreeSet<u64>, &[u8])> {
    let (&length, rest) = payload.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(length))?;
    let (&count, rest) = rest.split_first_chunk()?;
    let (ids, message) = rest.split_at_checked(usize::from(u16::from_le_bytes(count)) * 8)?;
    let ids = ids.chunks_exact(8).filter_map(|id| id.try_into().ok());
    Some((name, ids.map(u64::from_le_bytes).collect(), message))
}
