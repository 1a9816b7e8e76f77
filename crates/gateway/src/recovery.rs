//! What becomes of a process's sessions when it dies.
//!
//! First its ring is emptied: what it published counts. Then the gateway looks up, in what it remembers itself of all that it
//! wrote for the process, what it never took; that goes to the next one. Only the payloads of messages and posts are read
//! from the ring, where the dead one may have changed them: they were in its hands. What it took and did not finish was in hand, and follows the listener's
//! `on_crash`. A message that was in hand when a process died is a suspect: its next delivery has the worker
//! to itself, as far as other suspects go, so that the one that kills is found out.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use moorline_ipc::Header;
use rustc_hash::{FxHashMap, FxHashSet};

use super::event_loop::Loop;
use super::memory::Class;
use super::parcels;
use super::processes::Parcel;
use super::session::{Inbound, Kept, Phase};
use super::table::Key;
use crate::config::{Config, OnCrash, OnError};
use crate::control::{LoopCounter, ProcessId, Role};
use crate::session_id::SessionId;
use crate::wire::{ADOPTED, CloseReason, FAILED, LAST, TEXT, ToProcess, WHOLE};

/// The WebSocket close code for what is wrong on this side (RFC 6455 §7.4.1).
const INTERNAL_ERROR: u16 = 1011;

/// Ends of sessions that wait for a worker in one slot to take them, while one after the other dies before it does. Beyond it
/// the oldest are forgotten.
const MOST_UNTOLD: usize = 65_536;

/// How a process died.
#[derive(Debug, Clone, Copy)]
pub(super) struct Death {
    /// By a fault, while it polled this session's handler.
    pub(super) culprit: Option<u64>,
    /// Killed at `max_wait` of a reload.
    pub(super) forced: bool,
}

/// What a dead process had not taken from one session.
#[derive(Default)]
struct Untaken {
    /// It had not even been told of the session; whether that would have been as an adopted one.
    opening: Option<bool>,
    /// Messages whose last part it had not taken.
    count: u32,
    /// Those of them that lie whole in the ring.
    whole: Vec<Kept>,
}

impl Loop {
    /// A process has died.
    pub(super) fn bury(&mut self, id: ProcessId, death: Death) {
        let Some(at) = self
            .processes
            .iter()
            .find(|(_, process)| process.id == id)
            .map(|(at, _)| at as u16)
        else {
            return;
        };
        self.take_last_records(at);
        self.files.drop_of(id);
        let mut process = self.processes.remove(usize::from(at));
        self.remove_chime(&process.chime);
        self.dirty.retain(|listed| *listed != at);
        self.polled.retain(|listed| *listed != at);
        self.blocked.retain(|listed| *listed != at);
        self.told.retain(|listed| *listed != at);
        self.is_restless = true;
        for (_, message) in process.partials.drain() {
            self.memory.release(Class::Parts, message.bytes.len());
        }
        for slot in &mut self.slots {
            if slot.process == Some(at) {
                slot.process = None;
                slot.empty_since = Some(self.clock.ms);
            }
        }
        self.tell_all_in_hand();
        let mut untaken = self.collect_untaken(&mut process);
        let keys: Vec<_> = self
            .table
            .iter()
            .filter(|(_, session)| session.process == Some(at))
            .map(|(key, _)| key)
            .collect();
        for key in keys {
            let untaken = untaken
                .sessions
                .remove(&self.table[key].id)
                .unwrap_or_default();
            self.bereave(key, untaken, death, &process.rules);
        }
        for (key, id) in std::mem::take(&mut process.waiters) {
            if self.unpark(key, id) {
                self.schedule(key);
            }
        }
        self.return_posts(&mut process);
        self.note_task_workers();
        self.reassign_tasks(at, &process, &untaken.tasks, death);
        let unsent = process.parcels.iter().map(Parcel::held).sum();
        self.memory.release(Class::Transfers, unsent);
        // Its slot may have another process already, which takes over what it was not told.
        for at in 0..self.slots.len() {
            if !self.slots[at].parcels.is_empty() || !self.slots[at].untold.is_empty() {
                self.rouse_slot(at);
            }
        }
    }

    /// Reads what the dead process had not taken.
    fn collect_untaken(&mut self, process: &mut super::processes::Process) -> AllUntaken {
        let mut found: FxHashMap<u64, Untaken> = FxHashMap::default();
        let mut parcels_left = Vec::new();
        let mut partly = FxHashSet::default();
        let mut tasks = FxHashSet::default();
        let slot = if let Role::Worker(slot) = process.role {
            Some(slot)
        } else {
            None
        };
        let result = process
            .producer
            .untaken(&mut |header: Header, payload: &[u8]| {
                match ToProcess::from_u8(header.kind) {
                    Some(ToProcess::Open) => {
                        let untaken = found.entry(header.session).or_default();
                        untaken.opening = Some(header.aux == ADOPTED);
                    }
                    Some(ToProcess::Message) => {
                        let untaken = found.entry(header.session).or_default();
                        if header.flags & LAST != 0 {
                            untaken.count += 1;
                        }
                        if header.flags & WHOLE == WHOLE {
                            untaken.whole.push(Kept {
                                sequence: header.sequence as u32,
                                time: header.time,
                                text: header.flags & TEXT != 0,
                                deaths: 0,
                                bytes: payload.to_vec(),
                            });
                        }
                    }
                    Some(ToProcess::Post) => {
                        // A post of which the first parts were taken is lost with them; its credit returns below.
                        parcels::gather(&mut parcels_left, &mut partly, header, payload);
                    }
                    Some(ToProcess::Task) if header.flags & LAST != 0 => {
                        tasks.insert(header.session);
                    }
                    _ => {}
                }
            });
        if let Err(corrupt) = result {
            tracing::error!(process = process.id, %corrupt, "a dead process left its ring in disorder");
        }
        let place = slot
            .map(usize::from)
            .filter(|slot| *slot < self.slots.len())
            .unwrap_or_default();
        if let Some(slot) = self.slots.get_mut(place) {
            // Of those that nobody ever knew of nobody needs to be told.
            let was_known = |id: u64| found.get(&id).is_none_or(|it| it.opening != Some(false));
            self.memory
                .release(Class::Transfers, process.closings_held());
            for untold in process.untold().filter(|it| was_known(it.id)) {
                self.memory.hold(Class::Transfers, untold.held());
                slot.untold.push_back(untold);
            }
            let beyond = slot.untold.len().saturating_sub(MOST_UNTOLD);
            if beyond > 0 {
                tracing::warn!(
                    slot = place,
                    sessions = beyond,
                    "no worker took the ends of these sessions: their close hooks do not run"
                );
                let forgotten = slot.untold.drain(..beyond);
                let bytes = forgotten.map(|untold| untold.held()).sum();
                self.memory.release(Class::Transfers, bytes);
            }
            // What was pushed in part only is still among the parcels, whole.
            parcels_left
                .retain(|parcel| !partly.contains(&(parcel.header.aux, parcel.header.session)));
            for mut parcel in parcels_left {
                let name = (parcel.header.aux, parcel.header.session);
                parcel.post = process.posts.remove(&name);
                // Of one that it says is done nobody waits for the end.
                if parcel.post.is_some() {
                    self.memory.hold(Class::Transfers, parcel.held());
                    slot.parcels.push_back(parcel);
                }
            }
            let is_post = |parcel: &Parcel| parcel.header.kind == ToProcess::Post as u8;
            let (posts, others): (VecDeque<_>, VecDeque<_>) =
                process.parcels.drain(..).partition(is_post);
            process.parcels = others;
            for mut parcel in posts {
                process
                    .posts
                    .remove(&(parcel.header.aux, parcel.header.session));
                parcel.offset = 0;
                slot.parcels.push_back(parcel);
            }
        }
        AllUntaken {
            sessions: found,
            tasks,
        }
    }

    /// One session has lost its process.
    fn bereave(&mut self, key: Key, untaken: Untaken, death: Death, rules: &Config) {
        self.clear_suspect(key);
        let session = &mut self.table[key];
        // Those that its messages were delivered by: whether they are kept depends on it.
        let listener = &rules.listeners[usize::from(session.listener)];
        let in_hand = session.in_hand();
        // A claim of the dead one's ring, so it is held against what was delivered.
        let never_taken = untaken.count.min(in_hand);
        let taken = in_hand - never_taken;
        session.process = None;
        session.opening = false;
        session.moving = false;
        session.told_full = false;
        session.adopted = untaken.opening.unwrap_or(true) || session.done > 0;
        session.window_bytes = 0;
        session.sent = session.done;
        if !matches!(session.phase, Phase::Open | Phase::Ending(_)) {
            self.schedule(key);
            return;
        }
        let (on_crash, attempts, name) =
            (listener.on_crash, listener.attempts, listener.name.clone());
        let inbound = session.inbound.get_or_insert_default();
        let held_before: usize = inbound.queue.iter().map(|kept| kept.bytes.len()).sum();
        requeue(
            inbound,
            untaken.whole,
            session.done.wrapping_add(taken),
            taken,
            on_crash,
        );
        let mut kills = false;
        if on_crash == OnCrash::Redeliver {
            for kept in inbound
                .queue
                .iter_mut()
                .take(taken as usize)
                .enumerate()
                .filter_map(|(place, kept)| {
                    // A fault counts against the message that was being polled, any other death against all in hand.
                    let counts = death
                        .culprit
                        .is_none_or(|culprit| culprit == session.id && place == 0);
                    counts.then_some(kept)
                })
            {
                kept.deaths += 1;
                kills |= kept.deaths >= attempts;
            }
        }
        let held_after: usize = inbound.queue.iter().map(|kept| kept.bytes.len()).sum();
        if inbound.queue.is_empty() {
            session.inbound = None;
        }
        let id = session.id;
        self.memory.change(Class::Received, held_before, held_after);
        if taken > 0 {
            if death.forced {
                self.count(LoopCounter::ReloadForced, u64::from(taken));
            }
            match on_crash {
                OnCrash::Redeliver if !kills => {
                    self.count(LoopCounter::Redelivered, u64::from(taken))
                }
                OnCrash::Drop => {
                    self.count(LoopCounter::Dropped, u64::from(taken));
                    tracing::warn!(session = %SessionId::from(id), listener = %name, messages = taken, "messages lost: their worker died with them in hand");
                }
                OnCrash::Close | OnCrash::Redeliver => {
                    self.close_by_crash(key, "its worker died with its message in hand");
                    return;
                }
            }
        }
        self.watch_when_done(key);
        self.schedule(key);
    }

    pub(super) fn close_by_crash(&mut self, key: Key, why: &str) {
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
            reason = %CloseReason::Crash, "session closed: {why}"
        );
        self.count(LoopCounter::ClosedByCrash, 1);
        self.finish(key, CloseReason::Crash);
    }

    /// A handler or the open hook returned an error: the session ends when what was sent to it before is flushed.
    pub(super) fn close_by_error(&mut self, key: Key) {
        let session = &self.table[key];
        if session.phase != Phase::Open {
            return;
        }
        let listener = &self.config.listeners[usize::from(session.listener)];
        tracing::warn!(
            session = %SessionId::from(session.id), listener = %listener.name, peer = %session.peer,
            reason = %CloseReason::Error, "session closed: its handler returned an error"
        );
        self.farewell(key, INTERNAL_ERROR);
        self.end(key, CloseReason::Error);
    }

    /// A handler has ended badly, and the worker lives. True: its message is not done.
    pub(super) fn forgive(&mut self, key: Key, flags: u8) -> bool {
        let session = &mut self.table[key];
        let rules = match session.process {
            Some(at) => self.processes[usize::from(at)].rules.clone(),
            None => self.config.clone(),
        };
        let listener = &rules.listeners[usize::from(session.listener)];
        if !matches!(
            session.phase,
            Phase::Open | Phase::Ending(CloseReason::Stopped)
        ) {
            return false;
        }
        if flags & FAILED == 0 {
            if listener.on_error == OnError::Close {
                self.close_by_error(key);
            }
            return false;
        }
        match listener.on_crash {
            OnCrash::Drop => {
                self.count(LoopCounter::Dropped, 1);
                false
            }
            OnCrash::Close => {
                self.close_by_crash(key, "its handler panicked");
                false
            }
            OnCrash::Redeliver => {
                let attempts = listener.attempts;
                let behind = session.in_hand() as usize - 1;
                let Some(inbound) = &mut session.inbound else {
                    return false;
                };
                let Some(kept) = inbound.queue.front_mut() else {
                    return false;
                };
                kept.deaths += 1;
                if kept.deaths >= attempts {
                    self.close_by_crash(key, "its handler panicked");
                    return false;
                }
                if let Some(at) = session.process {
                    let process = &mut self.processes[usize::from(at)];
                    process.in_hand -= behind;
                }
                // The worker skips what follows until it sees this one again, so the order stays.
                inbound.delivered = 0;
                inbound.offset = 0;
                session.sent = session.done;
                session.window_bytes = 0;
                self.clear_suspect(key);
                self.count(LoopCounter::Redelivered, 1);
                self.schedule(key);
                true
            }
        }
    }

    /// Whether the session's suspect message may go out now. If not, its turn will come.
    pub(super) fn takes_suspect(&mut self, key: Key) -> bool {
        let session = &self.table[key];
        let (id, place) = (session.id, usize::from(session.slot));
        if session.in_hand() > 0 {
            return false;
        }
        let slot = &mut self.slots[place];
        if slot.suspect == Some(id) {
            return true;
        }
        let mine = u32::from(self.index) + 1;
        let free = slot.suspect.is_none()
            && self.shared.suspects.get(place).is_some_and(|holder| {
                holder
                    .compare_exchange(0, mine, Ordering::AcqRel, Ordering::Relaxed)
                    .is_ok()
            });
        if free {
            slot.suspect = Some(id);
        } else if slot.suspects.insert((key, id)) {
            self.is_restless = true;
        }
        free
    }

    /// The session's suspect message is done with, one way or the other.
    pub(super) fn clear_suspect(&mut self, key: Key) {
        let session = &self.table[key];
        let place = usize::from(session.slot);
        let Some(slot) = self
            .slots
            .get_mut(place)
            .filter(|slot| slot.suspect == Some(session.id))
        else {
            return;
        };
        slot.suspect = None;
        if let Some(holder) = self.shared.suspects.get(place) {
            holder.store(0, Ordering::Release);
        }
        if let Some(next) = slot.suspects.pop_first() {
            self.sweep.push_back(next);
            // That one may have no need any more.
            self.is_restless = true;
        }
    }
}

/// What a dead process had not taken.
struct AllUntaken {
    sessions: FxHashMap<u64, Untaken>,
    /// The tasks whose last part it had not taken, by their numbers: it had not begun them.
    tasks: FxHashSet<u64>,
}

/// Puts a session's undone messages back into its queue, in order; those in hand only if they are to be redelivered.
fn requeue(
    inbound: &mut Inbound,
    whole: Vec<Kept>,
    first_untaken: u32,
    taken: u32,
    on_crash: OnCrash,
) {
    if on_crash == OnCrash::Redeliver {
        // All that is undone is kept here, in order.
    } else {
        // Of the delivered ones only those that travelled in parts are kept here; what was in hand goes.
        let delivered: Vec<Kept> = inbound.queue.drain(..inbound.delivered).collect();
        let mut back: Vec<Kept> = delivered
            .into_iter()
            .chain(whole)
            .filter(|kept| {
                taken == 0
                    || kept.sequence.wrapping_sub(first_untaken).wrapping_sub(1) < u32::MAX / 2
            })
            .collect();
        back.sort_by_key(|kept| kept.sequence.wrapping_sub(first_untaken));
        for kept in back.into_iter().rev() {
            inbound.queue.push_front(kept);
        }
    }
    inbound.delivered = 0;
    inbound.offset = 0;
}
