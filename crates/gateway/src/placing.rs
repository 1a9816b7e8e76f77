//! Which process has a session, and how it changes.
//!
//! One rule serves reload, crash, changed worker counts and dispatch by message: a session changes process
//! only when none of its messages is partly in a ring or undone and its open hook has ended there; while it waits for
//! that it is not read.

use std::sync::atomic::Ordering;

use moorline_ipc::Header;

use super::Report;
use super::event_loop::Loop;
use super::memory::Class;
use super::processes::{Slot, Standing};
use super::session::{Phase, Session};
use super::table::Key;
use crate::control::{ProcessId, Role};
use crate::wire::{ADOPTED, Belongings, FromProcess, Opening, ToProcess};

/// What two records take beside their payloads, in bytes, and more.
const RECORD_ROOM: usize = 256;

impl Loop {
    /// Sees to it that a process has the session and knows of it. False: it waits for one, or for room.
    pub(super) fn place(&mut self, key: Key) -> bool {
        if self.table[key].moving && !self.leave(key) {
            // A message that has begun to go to this process goes there to its end, and nothing behind it.
            return self.table[key].is_mid_message();
        }
        let session = &mut self.table[key];
        if session.process.is_some() {
            return true;
        }
        let Some(at) = self.slots[usize::from(session.slot)].process else {
            return self.place_elsewhere(key);
        };
        let adopted = session.adopted;
        let header = Header {
            kind: ToProcess::Open as u8,
            aux: if adopted { ADOPTED } else { 0 },
            session: session.id,
            ..Header::default()
        };
        let opening = self.opening(key, adopted);
        if self.processes[usize::from(at)]
            .producer
            .push(&header, &[&opening])
            .is_err()
        {
            self.park(key, at);
            return false;
        }
        self.processes[usize::from(at)].sessions += 1;
        let session = &mut self.table[key];
        session.process = Some(at);
        session.opening = true;
        session.adopted = true;
        session.told_full = session.full;
        self.mark_dirty(at);
        true
    }

    /// The session's slot has no process. Where each message has its own slot, another one is chosen; else the session waits.
    fn place_elsewhere(&mut self, key: Key) -> bool {
        let session = &self.table[key];
        let dispatch = self.config.listeners[usize::from(session.listener)].dispatch;
        let slot = self.choose_slot(dispatch, Some(session.slot));
        if self.slots[usize::from(slot)].process.is_some() {
            self.enter_slot(key, slot);
            return self.place(key);
        }
        let session = &mut self.table[key];
        if !session.parked {
            session.parked = true;
            self.is_restless = true;
            let slot = &mut self.slots[usize::from(session.slot)];
            slot.waiters.push_back((key, session.id));
        }
        false
    }

    /// What a process is told of the session when it begins there.
    pub(super) fn opening(&self, key: Key, adopted: bool) -> Vec<u8> {
        let session = &self.table[key];
        let opening = Opening {
            listener: session.listener,
            adopted,
            full: session.full,
            peer: session.peer.clone(),
            connected_at: session.connected_at,
            belongings: session.belongings(),
            tls: session.tls.as_deref().map(super::tls::facts),
        };
        // Plain values only: there is nothing in it that could fail to be written.
        postcard::to_stdvec(&opening).unwrap_or_default()
    }

    /// Takes the session away from its process, if nothing of it is there. False: not yet.
    fn leave(&mut self, key: Key) -> bool {
        let session = &self.table[key];
        let Some(at) = session.process else {
            self.table[key].moving = false;
            return true;
        };
        let process = &mut self.processes[usize::from(at)];
        if session.opening
            || session.in_hand() > 0
            || session.is_mid_message()
            || process
                .partials
                .contains_key(&(FromProcess::Send as u8, session.id))
        {
            return false;
        }
        let header = Header {
            kind: ToProcess::Moved as u8,
            session: session.id,
            ..Header::default()
        };
        if process.producer.push(&header, &[]).is_err() {
            self.park(key, at);
            return false;
        }
        process.sessions -= 1;
        self.mark_dirty(at);
        let session = &mut self.table[key];
        session.process = None;
        session.moving = false;
        true
    }

    /// Puts a session on the list of those that wait for room in a process's ring.
    pub(super) fn park(&mut self, key: Key, at: u16) {
        let session = &mut self.table[key];
        if !session.parked {
            session.parked = true;
            let waiter = (key, session.id);
            self.processes[usize::from(at)].waiters.push_back(waiter);
            self.block(at);
        }
        self.mark_dirty(at);
    }

    /// A session was taken off the list it was parked on. False: it is gone, and its place may be another's.
    pub(super) fn unpark(&mut self, key: Key, id: u64) -> bool {
        let is_here = self.table.at(key).is_some_and(|session| session.id == id);
        if is_here {
            self.table[key].parked = false;
        }
        is_here
    }

    /// Gives a session another slot. It changes process when it can.
    pub(super) fn change_slot(&mut self, key: Key, slot: u16) {
        let session = &mut self.table[key];
        if session.slot == slot {
            return;
        }
        session.moving = session.process.is_some();
        self.enter_slot(key, slot);
        self.place(key);
    }

    /// Counts a session to another slot.
    fn enter_slot(&mut self, key: Key, slot: u16) {
        // Its suspect may be out: others there would wait for the end of it, which is heard of in the new slot.
        self.clear_suspect(key);
        let session = &mut self.table[key];
        let before = &mut self.slots[usize::from(session.slot)];
        before.leave(&self.shared.slots[usize::from(session.slot)]);
        // It may be waiting there for a process; the new slot has its own list.
        if session.process.is_none()
            && let Some(place) = before.waiters.iter().position(|(waiter, _)| *waiter == key)
        {
            before.waiters.remove(place);
            session.parked = false;
        }
        // … and its suspect message waits for its turn there.
        before.suspects.remove(&(key, session.id));
        session.slot = slot;
        self.slots[usize::from(slot)].enter(&self.shared.slots[usize::from(slot)]);
    }

    /// From now on these processes serve, and the others give up what they have.
    pub(super) fn activate(&mut self, workers: u16, serving: &[ProcessId]) {
        let workers = usize::from(workers).max(1);
        while self.slots.len() < workers {
            self.slots.push(Slot::default());
        }
        for slot in &mut self.slots {
            slot.process = None;
        }
        let mut new = Vec::new();
        for (at, process) in &mut self.processes {
            if process.standing == Standing::Broken {
                continue;
            }
            if serving.contains(&process.id) {
                if process.standing != Standing::Serving {
                    process.serve_by(self.config.clone());
                    new.push(at as u16);
                }
                if let Role::Worker(slot) = process.role
                    && let Some(slot) = self.slots.get_mut(usize::from(slot))
                {
                    slot.process = Some(at as u16);
                }
            } else if process.standing == Standing::Serving {
                process.standing = Standing::Retiring;
            }
        }
        // What they have written before rang no bell.
        for at in new {
            self.poll(at);
        }
        for at in 0..self.slots.len() {
            let slot = &mut self.slots[at];
            if slot.process.is_some() {
                slot.empty_since = None;
                self.rouse_slot(at);
            } else {
                slot.empty_since.get_or_insert(self.clock.ms);
                // Those that are bound to no slot may go to another one now.
                for (key, id) in std::mem::take(&mut slot.waiters) {
                    if self.unpark(key, id) {
                        self.sweep.push_back((key, id));
                    }
                }
            }
        }
        self.sweep_moved(workers);
        self.note_task_workers();
        self.give_tasks();
        // Those that retire, and slots that are empty.
        self.is_restless = true;
        self.tell_all_in_hand();
        // The main thread lives as long as the process.
        let _ = self.reports.send(Report::Activated(self.index));
    }

    /// Marks the sessions that must move, and queues them to be looked at.
    fn sweep_moved(&mut self, workers: usize) {
        let mut moved = Vec::new();
        for (key, session) in self.table.iter() {
            if matches!(session.phase, Phase::Lingering) {
                continue;
            }
            let retires = session.process.is_some_and(|at| {
                self.processes
                    .get(usize::from(at))
                    .is_none_or(|process| process.standing != Standing::Serving)
            });
            let home = self.home_of(session, workers);
            let goes = home.is_some_and(|home| home != session.slot)
                || usize::from(session.slot) >= workers;
            if retires || goes {
                moved.push((key, session.id, goes, home));
            }
        }
        for (key, id, goes, home) in moved {
            if goes {
                let slot = home.unwrap_or_else(|| self.emptiest(workers));
                self.enter_slot(key, slot);
            }
            let session = &mut self.table[key];
            session.moving = session.process.is_some();
            self.sweep.push_back((key, id));
        }
        while self.slots.len() > workers {
            let Some(mut slot) = self.slots.pop() else {
                break;
            };
            slot.tell_in_hand(0, &self.shared.slots[self.slots.len()]);
            if slot.suspect.is_some()
                && let Some(holder) = self.shared.suspects.get(self.slots.len())
            {
                holder.store(0, Ordering::Release);
            }
            let heir = self.emptiest(workers);
            let heir = &mut self.slots[usize::from(heir)];
            heir.parcels.extend(slot.parcels);
            heir.untold.extend(slot.untold);
            for (key, id) in slot.waiters {
                if self.unpark(key, id) {
                    self.schedule(key);
                }
            }
            for (key, id) in slot.suspects {
                self.sweep.push_back((key, id));
            }
        }
        for at in 0..self.slots.len() {
            if !self.slots[at].parcels.is_empty() {
                self.rouse_slot(at);
            }
        }
    }

    fn emptiest(&self, slots: usize) -> u16 {
        let slots = slots.min(self.slots.len());
        (0..slots)
            .min_by_key(|at| (self.slots[*at].process.is_none(), self.slots[*at].sessions))
            .unwrap_or_default() as u16
    }

    /// A slot has a process (again): what waited for it goes on.
    pub(super) fn rouse_slot(&mut self, at: usize) {
        let slot = &mut self.slots[at];
        let Some(process) = slot.process else { return };
        let parcels = std::mem::take(&mut slot.parcels);
        let waiters = std::mem::take(&mut slot.waiters);
        let suspects: Vec<_> = slot.suspects.iter().copied().collect();
        let to = &mut self.processes[usize::from(process)];
        for parcel in parcels {
            if let Some(post) = parcel.post {
                let name = (parcel.header.aux, parcel.header.session);
                to.posts.insert(name, post);
            }
            to.parcels.push_back(parcel);
        }
        for (key, id) in waiters {
            if self.unpark(key, id) {
                self.sweep.push_back((key, id));
            }
        }
        self.sweep.extend(suspects);
        if !self.processes[usize::from(process)].parcels.is_empty() {
            self.block(process);
        }
        self.tell_untold(at);
    }

    /// Tells the slot's process of sessions whose end its predecessor was not told of.
    fn tell_untold(&mut self, at: usize) {
        let Some(process) = self.slots[at].process else {
            return;
        };
        while let Some(untold) = self.slots[at].untold.front() {
            let (open, size) = (untold.open(), untold.opening.len() + untold.closing.len());
            let to = &mut self.processes[usize::from(process)];
            if !to.producer.fits(size + RECORD_ROOM)
                || to.producer.push(&open, &[&untold.opening]).is_err()
            {
                return;
            }
            if let Some(untold) = self.slots[at].untold.pop_front() {
                // There was room for both. It stays counted until it is taken.
                to.push_close(untold);
                self.note_told(process);
            }
            self.mark_dirty(process);
        }
    }

    /// A process was told of a session's end, which is kept until it has taken that.
    pub(super) fn note_told(&mut self, at: u16) {
        if !self.told.contains(&at) {
            self.told.push(at);
        }
    }

    /// Forgets the ends of sessions that processes have taken.
    pub(super) fn forget_taken_closings(&mut self) {
        let (processes, memory) = (&mut self.processes, &mut self.memory);
        self.told.retain(|at| {
            let process = &mut processes[usize::from(*at)];
            memory.release(Class::Transfers, process.forget_taken_closings());
            process.has_closings()
        });
    }

    /// What no record and no event wakes a loop for. True: look again soon.
    pub(super) fn look_after_processes(&mut self) -> bool {
        if std::mem::take(&mut self.is_restless) {
            self.is_restless |= self.look_after_all();
        }
        let is_emptying = self.look_whether_empty();
        self.is_restless || is_emptying
    }

    /// False: there is nothing to look after any more.
    fn look_after_all(&mut self) -> bool {
        let mut again = false;
        let mut released = Vec::new();
        for (at, process) in &mut self.processes {
            if process.standing == Standing::Retiring {
                if process.is_clear() && self.tasks.is_clear_of(at as u16, process.id) {
                    process.standing = Standing::Released;
                    released.push(process.id);
                } else {
                    again = true;
                }
            }
        }
        for id in released {
            // The main thread lives as long as the process.
            let _ = self.reports.send(Report::Released(id));
        }
        for at in 0..self.slots.len() {
            again |= self.look_after_slot(at);
        }
        again
    }

    fn look_after_slot(&mut self, at: usize) -> bool {
        if !self.slots[at].untold.is_empty() && self.slots[at].process.is_some() {
            self.tell_untold(at);
        }
        let mut again = !self.slots[at].untold.is_empty();
        if self.slots[at].suspect.is_none()
            && let Some((key, id)) = self.slots[at].suspects.pop_first()
        {
            self.sweep.push_back((key, id));
            again = true;
        }
        let patience = self.config.workers.start_timeout.as_millis() as u64;
        let slot = &self.slots[at];
        let Some(since) = slot.empty_since.filter(|_| !slot.waiters.is_empty()) else {
            return again;
        };
        let other = self.emptiest(self.slots.len());
        if self.clock.ms.saturating_sub(since) > patience
            && self.slots[usize::from(other)].process.is_some()
        {
            tracing::warn!(
                slot = at,
                "no worker came up in time, its sessions go to slot {other}"
            );
            for (key, id) in std::mem::take(&mut self.slots[at].waiters) {
                if self.unpark(key, id) {
                    self.change_slot(key, other);
                    self.schedule(key);
                }
            }
        }
        true
    }
}

impl Session {
    /// What the app keeps with it.
    fn belongings(&self) -> Option<Box<Belongings>> {
        let extras = self.extras.as_deref();
        let extras = extras.filter(|extras| extras.bytes() > 0);
        (extras.is_some() || self.paused || self.kept).then(|| {
            Box::new(Belongings {
                state: extras.map_or_else(Vec::new, |extras| extras.state.clone()),
                key: extras.map_or_else(Vec::new, |extras| extras.key.clone()),
                paused: self.paused,
                kept: self.kept,
            })
        })
    }
}
