//! Groups of sessions, and what is sent to all of a group.
//!
//! Each loop knows its own members. A broadcast comes once for each loop and is fanned out here: framed once for each
//! framing, shared by the queues of those who cannot take it yet, to so many members in a turn, so that other
//! sessions do not wait. Who is sent something of its own meanwhile is first given the broadcasts before it, so
//! one worker's messages keep their order.

use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::Deref;
use std::rc::Rc;

use moorline_ipc::Header;
use moorline_net::{Framing, framing::MAX_HEADER_BYTES};
use rustc_hash::FxHashMap;
use rustix::io::Errno;
use slab::Slab;

use super::event_loop::Loop;
use super::ledger::Request;
use super::memory::{Class, GROUP_BYTES};
use super::session::Phase;
use super::table::Key;
use crate::control::{LoopCounter, ProcessId};
use crate::session_id::SessionId;
use crate::wire::{CloseReason, LARGEST_BROADCAST, LONGEST_NAME, MOST_LEFT_OUT, TEXT, ToProcess};

/// Members looked at in one turn. A send over TCP costs 5 to 15 µs, so this stays under a millisecond, and the turn's own
/// cost is a small part of it.
const MEMBERS_PER_TURN: usize = 64;
/// Groups that a session may be in.
const MOST_GROUPS: usize = 256;
/// Members in one answer: a few bytes each, one record.
const IDS: usize = 1024;

/// The groups of one loop.
#[derive(Debug, Default)]
pub(super) struct Groups {
    by_name: FxHashMap<Box<[u8]>, u64>,
    groups: FxHashMap<u64, Group>,
    /// The number of the last group that was made, never used again.
    last_group: u64,
    /// Broadcasts that have not reached every member, oldest first.
    under_way: VecDeque<Broadcast>,
    /// The number of the last one.
    last_broadcast: u64,
    shared: Rc<Cell<u64>>,
}

#[derive(Debug)]
struct Group {
    name: Box<[u8]>,
    /// A member keeps its place as long as it stays.
    members: Slab<Member>,
}

impl Group {
    /// Bytes that it holds without its members: its name is there twice.
    fn bytes(&self) -> usize {
        GROUP_BYTES + 2 * self.name.len()
    }
}

#[derive(Debug)]
struct Member {
    key: Key,
    id: u64,
    /// Broadcasts up to this number it was sent, or they were before its time.
    seen: u64,
}

#[derive(Debug)]
struct Broadcast {
    group: u64,
    number: u64,
    from: (u16, ProcessId, u64),
    message: Vec<u8>,
    text: bool,
    /// The ids of those it is not for, sorted.
    left_out: Vec<u64>,
    /// The place in the group's list from where on to go on.
    place: usize,
    /// As it looks for the listeners met so far.
    frames: Vec<(u16, Option<Rc<Frame>>)>,
}

/// A message as it is sent, once for all that it is sent to.
#[derive(Debug)]
pub(super) struct Frame {
    bytes: Vec<u8>,
    shared: Rc<Cell<u64>>,
}

impl Frame {
    fn new(bytes: Vec<u8>, shared: &Rc<Cell<u64>>) -> Rc<Self> {
        shared.set(shared.get() + bytes.len() as u64);
        Rc::new(Self {
            bytes,
            shared: shared.clone(),
        })
    }
}

impl Deref for Frame {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        let held = self.shared.get();
        self.shared.set(held - self.bytes.len() as u64);
    }
}

impl Groups {
    /// No broadcast is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.is_empty()
    }

    /// Bytes of the messages of broadcasts that are under way.
    pub(super) fn waiting_bytes(&self) -> usize {
        self.under_way.iter().map(Broadcast::held).sum()
    }

    /// Bytes of broadcasts, each counted once.
    pub(super) fn shared_bytes(&self) -> u64 {
        self.shared.get()
    }

    /// Some members of a group from this place on, and where to go on.
    pub(super) fn page(&self, name: &[u8], from: u32) -> (Vec<u64>, Option<u32>) {
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
        (ids.map(|member| member.id).collect(), next)
    }

    fn member(&mut self, group: u64, place: u32) -> Option<&mut Member> {
        self.groups.get_mut(&group)?.members.get_mut(place as usize)
    }

    /// Takes a member out of a group; with the last one the group goes. Returns the bytes that it held then.
    fn remove(&mut self, number: u64, place: u32) -> usize {
        let Some(group) = self.groups.get_mut(&number) else {
            return 0;
        };
        group.members.try_remove(place as usize);
        if !group.members.is_empty() {
            return 0;
        }
        self.groups.remove(&number).map_or(0, |group| {
            self.by_name.remove(&group.name);
            group.bytes()
        })
    }

    /// Bytes of all groups, without their members.
    pub(super) fn bytes(&self) -> usize {
        self.groups.values().map(Group::bytes).sum()
    }
}

impl Groups {
    /// Broadcasts of this process that have not reached every member.
    pub(super) fn under_way_of(&self, process: ProcessId) -> usize {
        let under_way = self.under_way.iter();
        under_way.filter(|it| it.from.1 == process).count()
    }
}

impl Broadcast {
    /// Bytes that it holds.
    fn held(&self) -> usize {
        self.message.len() + self.left_out.len() * size_of::<u64>()
    }

    /// Reads what a process has sent.
    fn parse(bytes: &[u8]) -> Option<(&[u8], Vec<u64>, &[u8])> {
        let (length, rest) = bytes.split_first()?;
        let (name, rest) = rest.split_at_checked(usize::from(*length))?;
        let (count, rest) = rest.split_first_chunk::<2>()?;
        let count = usize::from(u16::from_le_bytes(*count));
        let (ids, message) = rest.split_at_checked(count * size_of::<u64>())?;
        let mut left_out: Vec<u64> = ids
            .as_chunks()
            .0
            .iter()
            .map(|id| u64::from_le_bytes(*id))
            .collect();
        left_out.sort_unstable();
        Some((name, left_out, message)).filter(|_| {
            name.len() <= LONGEST_NAME
                && count <= MOST_LEFT_OUT
                && message.len() <= LARGEST_BROADCAST
        })
    }
}

impl Loop {
    /// A session joins a group.
    pub(super) fn join(&mut self, key: Key, name: &[u8]) {
        let session = &self.table[key];
        let id = session.id;
        let groups = &mut self.groups;
        let number = match groups.by_name.get(name) {
            Some(number) => *number,
            None => {
                groups.last_group += 1;
                groups.by_name.insert(name.into(), groups.last_group);
                let group = Group {
                    name: name.into(),
                    members: Slab::new(),
                };
                self.memory.hold(Class::State, group.bytes());
                groups.groups.insert(groups.last_group, group);
                groups.last_group
            }
        };
        let joined = session
            .extras
            .as_ref()
            .map_or(&[][..], |extras| &extras.groups);
        let is_in = joined.iter().any(|(group, _)| *group == number);
        if is_in || joined.len() >= MOST_GROUPS {
            if !is_in {
                tracing::warn!(
                    session = %SessionId::from(id),
                    "not joined: a session is in {MOST_GROUPS} groups at the most"
                );
                self.count(LoopCounter::Discarded, 1);
                // A group that was made for it goes again.
                let freed = self.groups.remove(number, u32::MAX);
                self.memory.release(Class::State, freed);
            }
            return;
        }
        let seen = groups.last_broadcast;
        let Some(group) = groups.groups.get_mut(&number) else {
            return;
        };
        let place = group.members.insert(Member { key, id, seen }) as u32;
        self.change_extras(key, |extras| extras.groups.push((number, place)));
    }

    /// A session leaves a group. What was broadcast before it still gets.
    pub(super) fn leave_group(&mut self, key: Key, name: &[u8]) {
        self.catch_up(key);
        let Some(number) = self.groups.by_name.get(name).copied() else {
            return;
        };
        let mut left = None;
        self.change_extras(key, |extras| {
            let at = extras.groups.iter().position(|(group, _)| *group == number);
            left = at.map(|at| extras.groups.swap_remove(at));
        });
        if let Some((number, place)) = left {
            let freed = self.groups.remove(number, place);
            self.memory.release(Class::State, freed);
        }
    }

    /// A session has ended.
    pub(super) fn leave_all(&mut self, key: Key) {
        if self.table[key].extras.is_some() {
            let mut left = Vec::new();
            self.change_extras(key, |extras| left = std::mem::take(&mut extras.groups));
            for (number, place) in left {
                let freed = self.groups.remove(number, place);
                self.memory.release(Class::State, freed);
            }
        }
    }

    /// A process sends something to a group.
    pub(super) fn broadcast(
        &mut self,
        at: u16,
        header: &Header,
        bytes: &[u8],
    ) -> Result<(), String> {
        let Some((name, left_out, message)) = Broadcast::parse(bytes) else {
            return Err("a broadcast that is none".to_owned());
        };
        let process = &mut self.processes[usize::from(at)];
        let from = (at, process.id, header.session);
        let held = message.len() + size_of_val(left_out.as_slice());
        process.ledger.open(Request::Broadcast(held))?;
        let groups = &mut self.groups;
        let Some(group) = groups.by_name.get(name).copied() else {
            self.broadcast_done(from, held);
            return Ok(());
        };
        groups.last_broadcast += 1;
        groups.under_way.push_back(Broadcast {
            group,
            number: groups.last_broadcast,
            from,
            message: message.to_vec(),
            text: header.flags & TEXT != 0,
            left_out,
            place: 0,
            frames: Vec::new(),
        });
        self.memory.hold(Class::Broadcasts, held);
        Ok(())
    }

    /// There was no memory for a broadcast.
    pub(super) fn refuse_broadcast(&mut self, at: u16, header: &Header) -> Result<(), String> {
        let process = &mut self.processes[usize::from(at)];
        let from = (at, process.id, header.session);
        process.ledger.open(Request::Broadcast(0))?;
        self.broadcast_done(from, 0);
        Ok(())
    }

    /// Takes the broadcasts further: one turn's share.
    pub(super) fn fan_out(&mut self) {
        for _ in 0..MEMBERS_PER_TURN {
            let Some(broadcast) = self.groups.under_way.front_mut() else {
                return;
            };
            let group = self.groups.groups.get_mut(&broadcast.group);
            let Some(group) = group.filter(|group| broadcast.place < group.members.capacity())
            else {
                let (from, held) = (broadcast.from, broadcast.held());
                self.groups.under_way.pop_front();
                self.memory.change(Class::Broadcasts, held, 0);
                self.broadcast_done(from, held);
                continue;
            };
            let member = group.members.get_mut(broadcast.place);
            broadcast.place += 1;
            if let Some(member) = member.filter(|member| member.seen < broadcast.number) {
                member.seen = broadcast.number;
                let key = member.key;
                self.send_broadcast(key, 0);
            }
        }
    }

    /// Sends a session the broadcasts that are for it and under way, before something else.
    #[inline]
    pub(super) fn catch_up(&mut self, key: Key) {
        if !self.groups.is_quiet() {
            self.catch_up_now(key);
        }
    }

    #[cold]
    fn catch_up_now(&mut self, key: Key) {
        let groups = |this: &Self| {
            let extras = this.table[key].extras.as_ref();
            extras
                .map(|extras| extras.groups.clone())
                .unwrap_or_default()
        };
        let joined = groups(self);
        for at in 0..self.groups.under_way.len() {
            let (group, number) = {
                let broadcast = &self.groups.under_way[at];
                (broadcast.group, broadcast.number)
            };
            let place = joined.iter().find(|(joined, _)| *joined == group);
            let Some(member) = place.and_then(|(group, place)| self.groups.member(*group, *place))
            else {
                continue;
            };
            if member.key == key && member.seen < number {
                member.seen = number;
                self.send_broadcast(key, at);
            }
        }
    }

    /// Sends the broadcast at this place of the list to one session.
    fn send_broadcast(&mut self, key: Key, at: usize) {
        let session = &self.table[key];
        let broadcast = &mut self.groups.under_way[at];
        let is_open = matches!(
            session.phase,
            Phase::Open | Phase::Ending(CloseReason::Stopped)
        );
        if !is_open || session.deaf || broadcast.left_out.binary_search(&session.id).is_ok() {
            return;
        }
        let listeners = &self.config.listeners;
        let framing = &listeners[usize::from(session.listener)].framing;
        let known = broadcast
            .frames
            .iter()
            .find(|(listener, _)| listeners[usize::from(*listener)].framing == *framing);
        let frame = match known {
            Some((_, frame)) => frame.clone(),
            None => {
                let frame = encode(framing, &broadcast.message, broadcast.text);
                let frame = frame.map(|bytes| Frame::new(bytes, &self.groups.shared));
                broadcast.frames.push((session.listener, frame.clone()));
                frame
            }
        };
        match frame {
            Some(frame) => self.write_shared(key, frame),
            None => self.count(LoopCounter::Discarded, 1),
        }
    }

    /// Sends a frame, and queues what the socket does not take.
    fn write_shared(&mut self, key: Key, frame: Rc<Frame>) {
        let mut sent = 0;
        if self.table[key].tls.is_some() {
            match self.seal_now(key, &frame) {
                Some(sealed) => sent = sealed,
                None => return,
            }
        }
        let session = &mut self.table[key];
        if session.outbound.is_none()
            && sent < frame.len()
            && let Some(socket) = &session.socket
        {
            match rustix::net::send(socket, &frame, rustix::net::SendFlags::NOSIGNAL) {
                Ok(bytes) => sent = bytes,
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(error) => {
                    self.break_off(key, error);
                    return;
                }
            }
            session.bytes_out += sent as u64;
            session.sent_at = self.clock.ms;
        }
        if sent < frame.len() {
            session.outbound.get_or_insert_default().share(frame, sent);
            self.weigh(key);
        }
    }

    /// A broadcast of so many bytes has reached all its members.
    fn broadcast_done(&mut self, (at, process, number): (u16, ProcessId, u64), bytes: usize) {
        let Some(sender) = self
            .processes
            .get_mut(usize::from(at))
            .filter(|sender| sender.id == process)
        else {
            return;
        };
        sender.ledger.carried(Request::Broadcast(bytes));
        let header = Header {
            kind: ToProcess::BroadcastDone as u8,
            session: number,
            ..Header::default()
        };
        self.parcel_to(at, header, bytes::Bytes::new());
    }
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
