//! Groups of sessions, and the messages to all members of a group.
//!
//! Each loop knows its own members. A broadcast comes once for each loop and is fanned out here. It is framed once for
//! each framing, and the queues of slow members share the frame. One turn serves a limited number of members, so that
//! other sessions do not wait. A member that is sent something else meanwhile first gets the earlier broadcasts, so one
//! worker's messages keep their order.

mod changes;
mod kept;
mod message;
mod resumption;

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use moorline_ipc::Header;
use moorline_net::{Framing, framing::MAX_HEADER_BYTES};
use rustc_hash::FxHashMap;
use slab::Slab;

use crate::codecs::{Codecs, Sharing};
use crate::ids::{ListenerId, ProcessKey, SessionRef};
use crate::memory::{Class, GROUP_BYTES, Memory};
use crate::output::compress::sharing;
use crate::output::event::Shown;
use crate::output::write::{UNBOUNDED, is_too_long, write_shared};
use crate::processes::ledger::Request;
use crate::session::frame::Frame;
use crate::session::{End, Kind, Session};
use crate::shared::hub::Receipt;
use crate::tools::Tools;
use crate::transfer::Asker;
use moorline_protocol::control::{LoopCounter, ProcessId};
use moorline_protocol::session_id::SessionId;
use moorline_protocol::wire::{LARGEST_BROADCAST, LONGEST_NAME, MOST_LEFT_OUT, TEXT, ToProcess};

use changes::GroupLog;
pub(crate) use kept::KeptGroups;
use message::{Message, Origin};
pub(crate) use resumption::split_join;

/// Groups that a session may be in.
const MOST_GROUPS: usize = 256;
/// Members in one answer: a few bytes each, and up to 64 more with a label.
const IDS: usize = 1024;

/// The groups of one loop.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    by_name: FxHashMap<Box<[u8]>, u64>,
    groups: FxHashMap<u64, Group>,
    /// The number of the last group that was made, never used again.
    last_group: u64,
    /// Broadcasts that have not reached every member, oldest first.
    under_way: VecDeque<Broadcast>,
    /// The number of the last one.
    last_broadcast: u64,
    /// The number of the last that was taken from the hub of all loops.
    pub(crate) taken: u64,
    /// This loop has sent something through that hub, and the others are not woken yet.
    pub(crate) has_sent: bool,
    /// What has reached all members of all loops.
    pub(crate) ended: Vec<Receipt>,
    /// A timer looks after the histories.
    pub(crate) watches_histories: bool,
    /// When it does so next, in the loop's milliseconds.
    pub(crate) histories_due: u64,
    log: GroupLog,
}

#[derive(Debug, Serialize, Deserialize)]
struct Group {
    name: Box<[u8]>,
    /// A member keeps its place as long as it stays.
    #[serde(with = "crate::kept::slab")]
    members: Slab<Member>,
}

impl Group {
    /// Bytes that it holds without its members: its name is stored twice.
    fn bytes(&self) -> usize {
        GROUP_BYTES + 2 * self.name.len()
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Member {
    name: SessionRef,
    /// The broadcasts up to this number were sent to it, or are older than it.
    seen: u64,
    /// It got what came through the hub up to this number when it joined.
    after: u64,
}

/// What the frame of a broadcast depends on.
type Shape = (ListenerId, Kind, Option<Sharing>);

impl Member {
    /// Whether it was not sent the broadcast of this number, with this one in the hub.
    #[inline]
    fn lacks(&self, number: u64, event: u64) -> bool {
        self.seen < number && self.after < event
    }
}

#[derive(Debug)]
struct Broadcast {
    group: u64,
    number: u64,
    /// Its number in the hub of all loops; what did not come from there has the highest.
    event: u64,
    origin: Origin,
    message: Message,
    /// The place in the group's list to continue from.
    place: usize,
    /// The frames for the listeners met so far, and for each way of compression.
    frames: Vec<(Shape, Option<Rc<Frame>>)>,
}

impl Groups {
    /// No broadcast is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Bytes of the messages of broadcasts that are under way.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.under_way.iter().map(|it| it.message.held()).sum()
    }

    /// Some members of a group from this place on, and the place to continue from.
    pub(crate) fn page(&self, name: &[u8], from: u32) -> (Vec<u64>, Option<u32>) {
        let Some(group) = self
            .by_name
            .get(name)
            .and_then(|group| self.groups.get(group))
        else {
            return (Vec::new(), None);
        };
        let (from, capacity) = (from as usize, group.members.capacity());
        let end = from.saturating_add(IDS).min(capacity);
        let ids = (from..end).filter_map(|at| group.members.get(at));
        let next = (end < capacity).then_some(end as u32);
        (ids.map(|member| member.name.id).collect(), next)
    }

    fn member(&mut self, group: u64, place: u32) -> Option<&mut Member> {
        self.groups.get_mut(&group)?.members.get_mut(place as usize)
    }

    /// Takes a member out of a group; with the last one the group goes. Returns the bytes that it held then.
    fn remove(&mut self, number: u64, place: u32) -> usize {
        let Some(group) = self.groups.get_mut(&number) else {
            return 0;
        };
        if let Some(member) = group.members.try_remove(place as usize) {
            self.log.note(&group.name, member.name.id);
        }
        if !group.members.is_empty() {
            return 0;
        }
        self.groups.remove(&number).map_or(0, |group| {
            self.by_name.remove(&group.name);
            group.bytes()
        })
    }

    /// Bytes of all groups, without their members.
    pub(crate) fn bytes(&self) -> usize {
        self.groups.values().map(Group::bytes).sum()
    }
}

impl Groups {
    /// Broadcasts of this process that have not reached every member. Its events count elsewhere.
    pub(crate) fn under_way_of(&self, process: ProcessId) -> usize {
        let is_its =
            |it: &&Broadcast| matches!(it.origin, Origin::Process(from) if from.process == process);
        self.under_way.iter().filter(is_its).count()
    }
}

/// Reads the beginning of what a process sends to a group: the group's name, the ids of the sessions to leave out, sorted, and
/// the rest.
pub(crate) fn split_group(bytes: &[u8]) -> Option<(&[u8], Vec<u64>, &[u8])> {
    let (length, rest) = bytes.split_first()?;
    let (name, rest) = rest.split_at_checked(usize::from(*length))?;
    let (count, rest) = rest.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    let (ids, message) = rest.split_at_checked(count * size_of::<u64>())?;
    let ids = ids.as_chunks().0.iter();
    let mut left_out: Vec<u64> = ids.map(|id| u64::from_le_bytes(*id)).collect();
    left_out.sort_unstable();
    Some((name, left_out, message)).filter(|_| name.len() <= LONGEST_NAME && count <= MOST_LEFT_OUT)
}

/// The next step of fanning out.
pub(crate) enum NextMember {
    /// No broadcast is under way.
    Quiet,
    /// The place is empty, or the broadcast is over.
    Nobody,
    /// This member gets the oldest broadcast next.
    Member(SessionRef),
}

impl Groups {
    /// A session joins a group.
    pub(crate) fn join(&mut self, session: &mut Session, name: &[u8], tools: &mut Tools) {
        self.enter(session, name, tools);
    }

    /// A session joins a group. `None`: it is a member, or in too many groups.
    fn enter(
        &mut self,
        session: &mut Session,
        name: &[u8],
        tools: &mut Tools,
    ) -> Option<&mut Member> {
        let number = self.number(name, &mut tools.memory);
        let joined = session.app.groups();
        let is_in = joined.iter().any(|(group, _)| *group == number);
        if is_in {
            return None;
        }
        if joined.len() >= MOST_GROUPS {
            tracing::warn!(
                session = %SessionId::from(session.id),
                "not joined: a session is in {MOST_GROUPS} groups at the most"
            );
            tools.cx.count(LoopCounter::Discarded, 1);
            // Removes the group again if it was made for this.
            let freed = self.remove(number, u32::MAX);
            tools.memory.release(Class::State, freed);
            return None;
        }
        let group = self.groups.get_mut(&number)?;
        self.log.note(name, session.id);
        let place = group.members.insert(Member {
            name: session.name(),
            seen: self.last_broadcast,
            after: 0,
        });
        let (before, after) = session
            .app
            .change(|state| state.groups.push((number, place as u32)));
        tools.memory.change(Class::State, before, after);
        group.members.get_mut(place)
    }

    /// The number of the group of this name. Makes the group if it does not exist.
    fn number(&mut self, name: &[u8], memory: &mut Memory) -> u64 {
        if let Some(number) = self.by_name.get(name) {
            return *number;
        }
        self.last_group += 1;
        self.by_name.insert(name.into(), self.last_group);
        let group = Group {
            name: name.into(),
            members: Slab::new(),
        };
        memory.hold(Class::State, group.bytes());
        self.groups.insert(self.last_group, group);
        self.last_group
    }

    /// A session leaves a group. The caller has sent it the earlier broadcasts.
    pub(crate) fn leave(&mut self, session: &mut Session, name: &[u8], memory: &mut Memory) {
        let Some(number) = self.by_name.get(name).copied() else {
            return;
        };
        let mut left = None;
        let (before, after) = session.app.change(|state| {
            let at = state.groups.iter().position(|(group, _)| *group == number);
            left = at.map(|at| state.groups.swap_remove(at));
        });
        memory.change(Class::State, before, after);
        if let Some((number, place)) = left {
            let freed = self.remove(number, place);
            memory.release(Class::State, freed);
        }
    }

    /// A session has ended.
    pub(crate) fn leave_all(&mut self, session: &mut Session, memory: &mut Memory) {
        if session.app.state.is_none() {
            return;
        }
        let mut left = Vec::new();
        let (before, after) = session
            .app
            .change(|state| left = std::mem::take(&mut state.groups));
        memory.change(Class::State, before, after);
        for (number, place) in left {
            let freed = self.remove(number, place);
            memory.release(Class::State, freed);
        }
    }

    /// A process sends something to a group.
    ///
    /// # Errors
    /// It is not a broadcast, or there are too many.
    pub(crate) fn broadcast(
        &mut self,
        at: ProcessKey,
        header: &Header,
        bytes: &[u8],
        tools: &mut Tools,
    ) -> Result<(), String> {
        let parsed = split_group(bytes).filter(|(.., message)| message.len() <= LARGEST_BROADCAST);
        let Some((name, left_out, message)) = parsed else {
            return Err("a malformed broadcast".to_owned());
        };
        let process = &mut tools.processes[at];
        let from = Asker {
            at,
            process: process.id,
            number: header.session,
        };
        let held = message.len() + size_of_val(left_out.as_slice());
        process.ledger.open(Request::Broadcast(held))?;
        let Some(group) = self.by_name.get(name).copied() else {
            broadcast_done(from, held, tools);
            return Ok(());
        };
        self.last_broadcast += 1;
        self.under_way.push_back(Broadcast {
            group,
            number: self.last_broadcast,
            event: u64::MAX,
            origin: Origin::Process(from),
            message: Message::Own {
                bytes: message.to_vec(),
                text: header.flags & TEXT != 0,
                left_out,
            },
            place: 0,
            frames: Vec::new(),
        });
        tools.memory.hold(Class::Broadcasts, held);
        Ok(())
    }

    /// The next member that gets the oldest broadcast.
    pub(crate) fn next_member(&mut self, tools: &mut Tools) -> NextMember {
        let Some(broadcast) = self.under_way.front_mut() else {
            return NextMember::Quiet;
        };
        let group = self.groups.get_mut(&broadcast.group);
        let Some(group) = group.filter(|group| broadcast.place < group.members.capacity()) else {
            let held = broadcast.message.held();
            let over = self.under_way.pop_front();
            tools.memory.release(Class::Broadcasts, held);
            match over.map(|over| over.origin) {
                Some(Origin::Process(from)) => broadcast_done(from, held, tools),
                Some(Origin::Hub(receipt)) => self.ended.extend(Arc::into_inner(receipt)),
                None => {}
            }
            return NextMember::Nobody;
        };
        let member = group.members.get_mut(broadcast.place);
        broadcast.place += 1;
        match member.filter(|member| member.lacks(broadcast.number, broadcast.event)) {
            Some(member) => {
                member.seen = broadcast.number;
                NextMember::Member(member.name)
            }
            None => NextMember::Nobody,
        }
    }

    /// Sends a session its waiting broadcasts, before something else.
    ///
    /// # Errors
    /// The session ends, as one of them could not be sent.
    #[inline]
    pub(crate) fn catch_up(&mut self, session: &mut Session, tools: &mut Tools) -> Result<(), End> {
        if self.is_quiet() {
            return Ok(());
        }
        self.catch_up_now(session, tools)
    }

    #[cold]
    fn catch_up_now(&mut self, session: &mut Session, tools: &mut Tools) -> Result<(), End> {
        let joined = session.app.groups().to_vec();
        for at in 0..self.under_way.len() {
            let broadcast = &self.under_way[at];
            let (group, number, event) = (broadcast.group, broadcast.number, broadcast.event);
            let place = joined.iter().find(|(joined, _)| *joined == group);
            let Some(member) = place.and_then(|(group, place)| self.member(*group, *place)) else {
                continue;
            };
            if member.name.key == session.key && member.lacks(number, event) {
                member.seen = number;
                self.send(at, session, tools)?;
            }
        }
        Ok(())
    }

    /// Sends the broadcast in this place of the list to one session.
    ///
    /// # Errors
    /// The session ends, as it could not be sent.
    pub(crate) fn send(
        &mut self,
        at: usize,
        session: &mut Session,
        tools: &mut Tools,
    ) -> Result<(), End> {
        let broadcast = &mut self.under_way[at];
        if !session.takes_output() || broadcast.message.leaves_out(session.id) {
            return Ok(());
        }
        let Tools {
            cx,
            memory,
            scratch,
            ..
        } = &mut *tools;
        let framing = &cx.listener(session.listener).framing;
        let sharing = sharing(session, broadcast.message.len(), cx);
        let known = broadcast
            .frames
            .iter()
            .find(|((listener, kind, other), _)| {
                *kind == session.kind
                    && *other == sharing
                    && cx.listener(*listener).framing == *framing
            });
        let frame = match known {
            Some((_, frame)) => frame.clone(),
            None => {
                let before = scratch.codecs.held();
                let shown = broadcast.message.shown(session.kind);
                let framing = match session.kind {
                    Kind::Resumable => &UNBOUNDED,
                    _ => framing,
                };
                let is_too_long = session.kind != Kind::Framed
                    && is_too_long(&shown, cx.listener(session.listener));
                let frame = match is_too_long {
                    true => too_long(),
                    false => frame_of(&shown, framing, sharing, &mut scratch.codecs),
                };
                let after = scratch.codecs.held();
                memory.change(Class::Compression, before, after);
                let frame = frame.map(|bytes| Frame::new(bytes, memory.frames()));
                let shape = (session.listener, session.kind, sharing);
                let known = (shape, frame.clone());
                broadcast.frames.push(known);
                frame
            }
        };
        if sharing.is_some()
            && let Some(compression) = &mut session.compression
        {
            compression.forget();
        }
        match frame {
            Some(frame) => write_shared(session, frame, tools),
            None => {
                tools.cx.count(LoopCounter::Discarded, 1);
                Ok(())
            }
        }
    }
}

/// There was no memory for a broadcast.
///
/// # Errors
/// There are too many.
pub(crate) fn refuse_broadcast(
    at: ProcessKey,
    header: &Header,
    tools: &mut Tools,
) -> Result<(), String> {
    let process = &mut tools.processes[at];
    let from = Asker {
        at,
        process: process.id,
        number: header.session,
    };
    process.ledger.open(Request::Broadcast(0))?;
    broadcast_done(from, 0, tools);
    Ok(())
}

/// A broadcast of this many bytes has reached all its members.
pub(crate) fn broadcast_done(from: Asker, bytes: usize, tools: &mut Tools) {
    let Some(sender) = tools.processes.asker(from) else {
        return;
    };
    sender.ledger.carried(Request::Broadcast(bytes));
    let (processes, memory) = (&mut tools.processes, &mut tools.memory);
    processes.answer(
        from,
        ToProcess::BroadcastDone,
        0,
        bytes::Bytes::new(),
        memory,
    );
}

/// A message has become too long for some members.
fn too_long() -> Option<Vec<u8>> {
    tracing::warn!(
        "a broadcast is not sent to some of its group: as it is shown to them it is over hard_limit"
    );
    None
}

/// What members are sent, as it goes over the wire; none if their framing cannot carry it.
fn frame_of(
    shown: &Shown<'_>,
    framing: &Framing,
    sharing: Option<Sharing>,
    codecs: &mut Codecs,
) -> Option<Vec<u8>> {
    let (message, text) = match shown {
        Shown::Message(message, text) => (message, *text),
        Shown::Raw(bytes) => return Some(bytes.clone()),
    };
    let deflated = sharing.and_then(|sharing| codecs.frame(message, text, sharing));
    deflated.or_else(|| encode(framing, message, text))
}

/// A message as this framing sends it; none if it cannot.
fn encode(framing: &Framing, message: &[u8], text: bool) -> Option<Vec<u8>> {
    let head = &message[..message.len().min(MAX_HEADER_BYTES)];
    let envelope = framing.envelope(head, message.len(), text);
    let envelope = envelope
        .inspect_err(
            |error| tracing::warn!(%error, "a broadcast cannot be sent to some of its group"),
        )
        .ok()?;
    let payload = message.get(envelope.skip..).unwrap_or_default();
    Some([envelope.prefix(), payload, envelope.suffix()].concat())
}
