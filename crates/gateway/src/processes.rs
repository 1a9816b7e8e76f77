//! The processes that a loop serves, their slots, and the lists of those with work to do.

pub(crate) mod dispatch;
mod kept;
pub(crate) mod ledger;
pub(crate) mod pending_close;
pub(crate) mod process;
pub(crate) mod slot;

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::atomic::Ordering;

use bytes::Bytes;
use moorline_ipc::{Header, SleepFence};
use slab::Slab;

use crate::commands::Report;
use crate::cx::Cx;
use crate::ids::{ProcessKey, SlotId};
use crate::memory::{Class, Memory};
use crate::processes::dispatch::{Slots, Turns};
use crate::processes::process::{Process, Standing};
use crate::processes::slot::Slot;
use crate::session::Session;
use crate::transfer::{Asker, Transfer};
use moorline_config::Dispatch;
use moorline_protocol::control::{LoopCounter, ProcessId, Role};
use moorline_protocol::wire::{FIRST, LAST, ToProcess};

/// The processes of one loop.
pub(crate) struct Processes {
    list: Slab<Process>,
    /// Never empty: a slot exists before its first process.
    pub(crate) slots: Vec<Slot>,
    /// The next slot of dispatch in turn.
    turns: Turns,
    /// Processes with unpublished records.
    dirty: Vec<ProcessKey>,
    /// Processes whose rings are read in each turn. The others know that the loop sleeps, and ring.
    polled: Vec<ProcessKey>,
    /// Processes with something that waits for room in their rings.
    blocked: VecDeque<ProcessKey>,
    /// Processes that were told the ends of sessions, and may not have taken them.
    told: Vec<ProcessKey>,
    /// Processes that serve tasks.
    task_workers: Vec<ProcessKey>,
    /// There are checks to do that nothing wakes the loop for.
    pub(crate) is_restless: bool,
    /// How often a session began to wait for room in a ring since that was last noted.
    pub(crate) parks: u64,
}

impl Processes {
    /// No process yet, and this many slots.
    pub(crate) fn new(slots: usize, turns: Turns) -> Self {
        Self {
            list: Slab::new(),
            // Connections come before the first worker does.
            slots: (0..slots.max(1)).map(|_| Slot::default()).collect(),
            turns,
            dirty: Vec::new(),
            polled: Vec::new(),
            blocked: VecDeque::new(),
            told: Vec::new(),
            task_workers: Vec::new(),
            is_restless: false,
            parks: 0,
        }
    }

    /// The key of the next process.
    pub(crate) fn next_key(&self) -> ProcessKey {
        ProcessKey(self.list.vacant_key() as u16)
    }

    pub(crate) fn insert(&mut self, process: Process) {
        self.list.insert(process);
    }

    /// Takes out a process that has died.
    pub(crate) fn remove(&mut self, at: ProcessKey) -> Process {
        let process = self.list.remove(at.index());
        self.dirty.retain(|listed| *listed != at);
        self.polled.retain(|listed| *listed != at);
        self.blocked.retain(|listed| *listed != at);
        self.told.retain(|listed| *listed != at);
        self.note_task_workers();
        process
    }

    pub(crate) fn get(&self, at: ProcessKey) -> Option<&Process> {
        self.list.get(at.index())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (ProcessKey, &Process)> {
        let list = self.list.iter();
        list.map(|(at, process)| (ProcessKey(at as u16), process))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (ProcessKey, &mut Process)> {
        let list = self.list.iter_mut();
        list.map(|(at, process)| (ProcessKey(at as u16), process))
    }

    /// The place of the process of this id.
    pub(crate) fn find(&self, id: ProcessId) -> Option<ProcessKey> {
        let mut list = self.list.iter();
        let found = list.find(|(_, process)| process.id == id);
        found.map(|(at, _)| ProcessKey(at as u16))
    }

    /// The process that asked, if it still lives.
    pub(crate) fn asker(&mut self, asker: Asker) -> Option<&mut Process> {
        let process = self.list.get_mut(asker.at.index());
        process.filter(|process| process.id == asker.process)
    }

    pub(crate) fn slot_ids(&self) -> impl Iterator<Item = SlotId> + use<> {
        (0..self.slots.len() as u16).map(SlotId)
    }

    /// Whether a process is sending the session a message in parts.
    pub(crate) fn are_sending_to(&self, session: &Session) -> bool {
        let process = session.placement.process();
        process.is_some_and(|at| self[at].is_sending_to(session.id))
    }

    /// Reads a process's ring from now on, until the loop sleeps.
    pub(crate) fn poll(&mut self, at: ProcessKey) {
        // It may have died since it rang.
        let Some(process) = self.list.get_mut(at.index()) else {
            return;
        };
        if process.is_heard() && !std::mem::replace(&mut process.is_polled, true) {
            self.polled.push(at);
            if let Some(consumer) = &mut process.consumer {
                consumer.awake();
            }
        }
    }

    /// Processes whose rings are read.
    pub(crate) fn polled(&self) -> &[ProcessKey] {
        &self.polled
    }

    /// Tells the processes whose rings were read that this loop sleeps. False: one has a record.
    pub(crate) fn fall_asleep(&mut self) -> bool {
        for at in &self.polled {
            if let Some(consumer) = &mut self.list[at.index()].consumer {
                consumer.announce_sleep();
            }
        }
        let fence = SleepFence::new();
        let list = &mut self.list;
        self.polled.retain(|at| {
            let process = &mut list[at.index()];
            let is_heard = process.is_heard();
            let consumer = process.consumer.as_mut();
            process.is_polled =
                is_heard && consumer.is_some_and(|consumer| !consumer.stays_asleep(&fence));
            process.is_polled
        });
        self.polled.is_empty()
    }

    /// Whether some process has unpublished records, or does not ring for what it answers.
    pub(crate) fn is_spoken_with(&self) -> bool {
        !self.dirty.is_empty() || !self.polled.is_empty()
    }

    /// Notes that a process has unpublished records; many are published at once.
    pub(crate) fn mark_dirty(&mut self, at: ProcessKey) {
        let process = &mut self.list[at.index()];
        if !std::mem::replace(&mut process.dirty, true) {
            self.dirty.push(at);
        }
        if process.is_ripe() {
            process.publish();
        }
    }

    /// Publishes all pushed records.
    pub(crate) fn publish(&mut self) {
        while let Some(at) = self.dirty.pop() {
            let process = &mut self.list[at.index()];
            process.dirty = false;
            process.publish();
            // It answers soon, and need not ring then.
            self.poll(at);
        }
    }

    /// How often processes were woken since the last call.
    pub(crate) fn take_wakes(&mut self) -> u64 {
        let processes = self.list.iter_mut();
        processes.map(|(_, it)| std::mem::take(&mut it.wakes)).sum()
    }

    /// Something waits for room in a process's ring.
    pub(crate) fn block(&mut self, at: ProcessKey) {
        let process = &mut self.list[at.index()];
        if !std::mem::replace(&mut process.is_blocked, true) {
            self.blocked.push_back(at);
        }
    }

    /// How many processes have something that waits for room in their rings.
    pub(crate) fn blocked(&self) -> usize {
        self.blocked.len()
    }

    /// The next process of them, removed from the list.
    pub(crate) fn next_blocked(&mut self) -> Option<ProcessKey> {
        let at = self.blocked.pop_front()?;
        self.list[at.index()].is_blocked = false;
        Some(at)
    }

    /// Puts it on the list again if something still waits for room in its ring.
    pub(crate) fn block_if_waited_for(&mut self, at: ProcessKey) {
        let process = &self.list[at.index()];
        if process.is_waited_for() {
            self.block(at);
        }
    }

    /// Asks to be woken when there is room for the sessions that wait for it. True: there is room, continue at once.
    ///
    /// After the last push of a turn, for sessions that have begun to wait since the list was worked through.
    pub(crate) fn waiters_have_room(&mut self) -> bool {
        let mut have_room = false;
        for at in &self.blocked {
            let process = &mut self.list[at.index()];
            if !process.waiters.is_empty() || !process.owed.is_empty() {
                have_room |= process.has_room_for_waiters();
            }
        }
        have_room
    }

    /// Puts a session on the list of those that wait for room in a process's ring.
    pub(crate) fn park(&mut self, session: &mut Session, at: ProcessKey) {
        if !session.listed.parked {
            session.listed.parked = true;
            self.parks += 1;
            self.list[at.index()].waiters.push_back(session.name());
            self.block(at);
        }
        self.mark_dirty(at);
    }

    /// A session's close was pushed to a process, and is kept until it has taken that.
    pub(crate) fn note_told(&mut self, at: ProcessKey) {
        if !self.told.contains(&at) {
            self.told.push(at);
        }
    }

    /// Forgets the ends of sessions that processes have taken.
    pub(crate) fn forget_taken_closings(&mut self, memory: &mut Memory) {
        let list = &mut self.list;
        self.told.retain(|at| {
            let process = &mut list[at.index()];
            memory.release(Class::Transfers, process.forget_taken_closings());
            process.has_closings()
        });
    }

    /// Sends the records that wait for room in a process's ring. True: none waits any more.
    pub(crate) fn forward_transfers(&mut self, at: ProcessKey, memory: &mut Memory) -> bool {
        let process = &mut self.list[at.index()];
        let mut pushed = false;
        while let Some(transfer) = process.transfers.front_mut() {
            let left = transfer.bytes.len() - transfer.offset;
            let length = process.producer.next_part(left);
            let mut header = transfer.header;
            header.flags |= if transfer.offset == 0 { FIRST } else { 0 }
                | if length == left { LAST } else { 0 };
            let part = &transfer.bytes[transfer.offset..transfer.offset + length];
            if process.producer.push(&header, &[part]).is_err() {
                if pushed {
                    process.publish();
                }
                if process.producer.wait_for_room(length) {
                    return self.forward_transfers(at, memory);
                }
                self.block(at);
                return false;
            }
            pushed = true;
            transfer.offset += length;
            if length == left {
                let (header, held) = (transfer.header, transfer.held());
                process.drained_waiting -= usize::from(transfer.is_drained());
                process.transfers.pop_front();
                process.ledger.answered(&header);
                memory.release(Class::Transfers, held);
            }
        }
        if pushed {
            self.mark_dirty(at);
        }
        true
    }

    /// Sends a process a record that waits for room if there is none.
    pub(crate) fn transfer(
        &mut self,
        at: ProcessKey,
        header: Header,
        bytes: Bytes,
        memory: &mut Memory,
    ) {
        let transfer = Transfer {
            header,
            bytes,
            offset: 0,
            post: None,
        };
        memory.hold(Class::Transfers, transfer.held());
        let process = &mut self.list[at.index()];
        process.drained_waiting += usize::from(transfer.is_drained());
        process.transfers.push_back(transfer);
        self.forward_transfers(at, memory);
    }

    /// Answers a process's request, if it still lives.
    pub(crate) fn answer(
        &mut self,
        asker: Asker,
        kind: ToProcess,
        flags: u8,
        bytes: Bytes,
        memory: &mut Memory,
    ) {
        if self.asker(asker).is_none() {
            return;
        }
        let header = Header {
            kind: kind as u8,
            flags,
            session: asker.number,
            ..Header::default()
        };
        self.transfer(asker.at, header, bytes, memory);
    }

    /// A record for a session that does not exist is counted, and its sender is told.
    pub(crate) fn discard(&mut self, at: ProcessKey, session: u64, cx: &Cx) {
        cx.count(LoopCounter::Discarded, 1);
        // It is sent only if there is room.
        if self.list[at.index()].tell(ToProcess::Unknown, session) {
            self.mark_dirty(at);
        }
    }

    /// The process is not trusted any more.
    pub(crate) fn break_with(&mut self, at: ProcessKey, reason: String, cx: &Cx) {
        let process = &mut self.list[at.index()];
        process.standing = Standing::Broken;
        cx.report(Report::Garbage(process.id, reason));
        self.note_task_workers();
    }

    /// Other processes serve than before.
    pub(crate) fn note_task_workers(&mut self) {
        self.task_workers = self.serving_tasks().collect();
    }

    /// The processes that serve tasks.
    pub(crate) fn task_workers(&self) -> &[ProcessKey] {
        &self.task_workers
    }

    fn serving_tasks(&self) -> impl Iterator<Item = ProcessKey> {
        let serving = self.iter().filter(|(_, process)| {
            process.standing == Standing::Serving && matches!(process.role, Role::Task(_))
        });
        serving.map(|(at, _)| at)
    }

    /// Whether a slot has a process that does not answer.
    pub(crate) fn is_silent(&self, slot: SlotId) -> bool {
        let process = self[slot].process;
        process.is_some_and(|at| self[at].is_silent)
    }

    /// The slot for a new session, or for the next message of a session that is in `now`.
    pub(crate) fn choose_slot(
        &mut self,
        dispatch: Dispatch,
        now: Option<SlotId>,
        cx: &Cx,
    ) -> SlotId {
        let loads = Loads {
            list: &self.list,
            slots: &self.slots,
            cx,
        };
        self.turns.choose(dispatch, now, &loads)
    }

    /// Tells the other loops how many messages are in progress in each slot: another process may serve it.
    pub(crate) fn tell_all_in_hand(&mut self, cx: &Cx) {
        for slot in self.slot_ids() {
            self.tell_in_hand(slot, cx);
        }
    }

    /// Tells the other loops how many messages are in progress where that may have changed: in the slots of the visited
    /// processes.
    pub(crate) fn tell_polled_in_hand(&mut self, cx: &Cx) {
        for at in 0..self.polled.len() {
            let at = self.polled[at];
            let Role::Worker(slot) = self[at].role else {
                continue;
            };
            let served = self.slots.get(usize::from(slot));
            if served.is_some_and(|slot| slot.process == Some(at)) {
                self.tell_in_hand(SlotId(slot), cx);
            }
        }
    }

    fn tell_in_hand(&mut self, slot: SlotId, cx: &Cx) {
        if cx.is_alone() {
            return;
        }
        let in_hand = self.in_hand_here(slot);
        self[slot].tell_in_hand(in_hand, &cx.shared.slots[slot.index()]);
    }

    /// This loop's messages in progress in a slot.
    fn in_hand_here(&self, slot: SlotId) -> usize {
        let process = self[slot].process;
        process.map_or(0, |at| self[at].in_hand + self[at].exchanges)
    }

    /// Messages and requests that all loops have in progress in a slot, in other loops as of their last turns.
    pub(crate) fn in_hand(&self, slot: SlotId, cx: &Cx) -> usize {
        let load = &cx.shared.slots[slot.index()];
        self.in_hand_here(slot) + self[slot].in_hand_elsewhere(load)
    }

    /// How often a process is on each of the lists, and whether it is marked so: polled, blocked, dirty, told.
    pub(crate) fn listed(&self, at: ProcessKey) -> ([usize; 4], [usize; 4]) {
        let process = &self[at];
        let is_it = |listed: &&ProcessKey| **listed == at;
        let found = [
            self.polled.iter().filter(is_it).count(),
            self.blocked.iter().filter(is_it).count(),
            self.dirty.iter().filter(is_it).count(),
            self.told.iter().filter(is_it).count(),
        ];
        let says = [
            process.is_polled,
            process.is_blocked,
            process.dirty,
            process.has_closings(),
        ];
        (found, says.map(usize::from))
    }

    /// Whether the list of those that serve tasks is right.
    pub(crate) fn knows_task_workers(&self) -> bool {
        self.serving_tasks().eq(self.task_workers.iter().copied())
    }
}

/// The loads that dispatch compares.
struct Loads<'a> {
    list: &'a Slab<Process>,
    slots: &'a [Slot],
    cx: &'a Cx,
}

impl Loads<'_> {
    fn process(&self, slot: SlotId) -> Option<&Process> {
        let at = self.slots[slot.index()].process?;
        Some(&self.list[at.index()])
    }
}

impl Slots for Loads<'_> {
    fn count(&self) -> usize {
        self.slots.len()
    }

    fn is_served(&self, slot: SlotId) -> bool {
        self.slots[slot.index()].process.is_some()
    }

    fn is_silent(&self, slot: SlotId) -> bool {
        self.process(slot).is_some_and(|process| process.is_silent)
    }

    /// In other loops as of their last turns.
    fn in_hand(&self, slot: SlotId) -> usize {
        let process = self.process(slot);
        let here = process.map_or(0, |process| process.in_hand + process.exchanges);
        let load = &self.cx.shared.slots[slot.index()];
        here + self.slots[slot.index()].in_hand_elsewhere(load)
    }

    fn sessions(&self, slot: SlotId) -> usize {
        let load = &self.cx.shared.slots[slot.index()];
        load.sessions.load(Ordering::Relaxed)
    }
}

impl Index<ProcessKey> for Processes {
    type Output = Process;

    #[inline]
    fn index(&self, at: ProcessKey) -> &Process {
        &self.list[at.index()]
    }
}

impl IndexMut<ProcessKey> for Processes {
    #[inline]
    fn index_mut(&mut self, at: ProcessKey) -> &mut Process {
        &mut self.list[at.index()]
    }
}

impl Index<SlotId> for Processes {
    type Output = Slot;

    #[inline]
    fn index(&self, slot: SlotId) -> &Slot {
        &self.slots[slot.index()]
    }
}

impl IndexMut<SlotId> for Processes {
    #[inline]
    fn index_mut(&mut self, slot: SlotId) -> &mut Slot {
        &mut self.slots[slot.index()]
    }
}
