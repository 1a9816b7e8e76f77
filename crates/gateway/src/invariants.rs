//! What must hold between two turns of a loop, whatever has happened. Debug builds check it; the tests with a scripted
//! loop do so after every turn.

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use super::event_loop::Loop;
use super::memory::{Class, TLS_BYTES};
use super::processes::{Parcel, Standing, Untold};
use super::session::{Phase, Session};
use super::table::Key;
use crate::wire::{CloseReason, FromProcess, ToProcess};

/// Sessions that a running debug build looks at for each turn, on average: it must stay usable with thousands of them.
const SESSIONS_PER_TURN: usize = 64;

/// When a debug build looks next.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    turns: usize,
}

impl Loop {
    /// Checks the invariants, in a debug build and not so often that it would be slow.
    pub(super) fn check_invariants_sometimes(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.invariants.turns += 1;
        if self.invariants.turns * SESSIONS_PER_TURN >= self.table.len() {
            self.invariants.turns = 0;
            self.check_invariants();
        }
    }

    /// # Panics
    /// One of them does not hold: the loop's state is wrong, and the gateway must not go on with it.
    pub(super) fn check_invariants(&self) {
        self.check_bytes();
        self.check_counts();
        let lists = self.check_lists();
        for (key, session) in self.table.iter() {
            if lists.wakes(key, session) {
                continue;
            }
            if let Some(reason) = self.is_forgotten(session) {
                panic!("nothing will wake a session that {reason}: {session:?}");
            }
        }
    }

    /// The bytes that are counted are those that are held.
    fn check_bytes(&self) {
        let sessions = || self.table.iter().map(|(_, session)| session);
        let received = |session: &Session| match session.phase {
            // An ended session keeps what encrypts it, for its process to be told of.
            Phase::Ended(_) | Phase::Lingering => session.received() - session.unopened(),
            _ => session.received(),
        };
        let queued = |session: &Session| session.outbound.as_ref().map_or(0, |queue| queue.own);
        let state = |session: &Session| session.extras.as_ref().map_or(0, |it| it.held());
        let sealed = sessions().filter(|session| session.tls.is_some()).count();
        let parts = self.processes.iter().map(|(_, process)| {
            let parts = process.partials.values();
            parts.map(|message| message.bytes.len()).sum::<usize>()
        });
        let expected = [
            (Class::Received, sessions().map(received).sum::<usize>()),
            (Class::Queued, sessions().map(queued).sum::<u64>() as usize),
            (
                Class::State,
                sessions().map(state).sum::<usize>() + self.groups.bytes(),
            ),
            (Class::Tls, sealed * TLS_BYTES),
            (Class::Parts, parts.sum()),
            (Class::Broadcasts, self.groups.waiting_bytes()),
            (Class::Tasks, self.tasks.bytes()),
            (Class::Transfers, self.transfers()),
        ];
        for (class, bytes) in expected {
            assert_eq!(
                self.memory.of(class),
                bytes as u64,
                "bytes counted as {class:?} (left), and held (right)"
            );
        }
        let all = Class::ALL.iter().map(|class| self.memory.of(*class));
        assert_eq!(self.memory.total(), all.sum::<u64>());
    }

    /// Bytes that are on their way to processes.
    fn transfers(&self) -> usize {
        let parcels = |parcels: &VecDeque<Parcel>| parcels.iter().map(Parcel::held).sum::<usize>();
        let to_processes = self
            .processes
            .iter()
            .map(|(_, process)| parcels(&process.parcels) + process.closings_held());
        let to_slots = self.slots.iter().map(|slot| {
            let untold = slot.untold.iter().map(Untold::held);
            parcels(&slot.parcels) + untold.sum::<usize>()
        });
        to_processes.chain(to_slots).sum()
    }

    /// What slots and processes count is what the table says.
    fn check_counts(&self) {
        let mut by_slot = vec![0; self.slots.len()];
        let mut by_process: FxHashMap<u16, (usize, usize, usize)> = FxHashMap::default();
        for (_, session) in self.table.iter() {
            if session.phase != Phase::Lingering {
                by_slot[usize::from(session.slot)] += 1;
            }
            if let Some(at) = session.process {
                let counts = by_process.entry(at).or_default();
                counts.0 += 1;
                counts.1 += session.in_hand() as usize;
            }
            for from in session
                .outbound
                .iter()
                .flat_map(|queue| queue.file_owners())
            {
                if self.is_alive(from) {
                    by_process.entry(from.0).or_default().2 += 1;
                }
            }
        }
        let counted: Vec<usize> = self.slots.iter().map(|slot| slot.sessions).collect();
        assert_eq!(counted, by_slot, "sessions of each slot");
        for (at, process) in &self.processes {
            let found = by_process.remove(&(at as u16)).unwrap_or_default();
            let mut found = found;
            found.2 += self.files.early_of(process.id);
            let unheard = |kind: ToProcess| {
                let parcels = process.parcels.iter();
                parcels.filter(|it| it.header.kind == kind as u8).count()
            };
            found.2 += unheard(ToProcess::FileDone);
            let counted = (process.sessions, process.in_hand, process.ledger.files());
            if process.standing != Standing::Broken {
                assert_eq!(
                    process.ledger.broadcasts(),
                    self.groups.under_way_of(process.id) + unheard(ToProcess::BroadcastDone),
                    "broadcasts of process {} under way",
                    process.id
                );
                assert_eq!(
                    counted, found,
                    "sessions, messages in hand and files of process {}",
                    process.id
                );
            }
            let needs_room = !process.parcels.is_empty() || !process.waiters.is_empty();
            assert!(
                process.is_blocked || !needs_room,
                "nothing looks for room in the ring of process {}",
                process.id
            );
            let is_it = |listed: &&u16| usize::from(**listed) == at;
            let polled = self.polled.iter().filter(is_it).count();
            let blocked = self.blocked.iter().filter(is_it).count();
            assert_eq!(
                (polled, blocked),
                (
                    usize::from(process.is_polled),
                    usize::from(process.is_blocked)
                ),
                "how often process {} is on the lists, and should be",
                process.id
            );
            assert_eq!(
                process.has_closings(),
                self.told.contains(&(at as u16)),
                "process {} was told of the ends of sessions",
                process.id
            );
            assert_eq!(
                process.dirty,
                self.dirty.contains(&(at as u16)),
                "process {} has unpublished records",
                process.id
            );
        }
        assert!(
            self.knows_task_workers(),
            "the list of those that serve tasks"
        );
        assert!(
            by_process.is_empty(),
            "sessions are with processes that are gone: {by_process:?}"
        );
    }

    fn is_alive(&self, from: (u16, u32, u64)) -> bool {
        let process = self.processes.get(usize::from(from.0));
        process.is_some_and(|process| process.id == from.1)
    }

    /// No session is twice on a list, and each knows whether it is on one.
    fn check_lists(&self) -> Lists {
        let mut lists = Lists::default();
        let scheduled = self.work.iter().chain(&self.handshakes);
        for (key, id) in scheduled.filter(|(key, id)| self.is_here(*key, *id)) {
            assert!(
                lists.scheduled.insert(*key),
                "session {id} is scheduled twice"
            );
        }
        let swept = self
            .sweep
            .iter()
            .filter(|(key, id)| self.is_here(*key, *id));
        lists.swept.extend(swept.map(|(key, _)| *key));
        let for_room = self.processes.iter().flat_map(|(_, it)| &it.waiters);
        let for_process = self.slots.iter().flat_map(|slot| &slot.waiters);
        for (key, id) in for_room.chain(for_process) {
            if self.is_here(*key, *id) {
                assert!(lists.parked.insert(*key), "session {id} is parked twice");
            }
        }
        for (at, slot) in self.slots.iter().enumerate() {
            assert!(
                slot.process.is_none() || slot.waiters.is_empty(),
                "sessions wait for a process of slot {at}, which has one"
            );
            let is_in_want = slot.empty_since.is_some() && !slot.waiters.is_empty()
                || slot.suspect.is_none() && !slot.suspects.is_empty()
                || slot.process.is_some() && !slot.untold.is_empty();
            assert!(
                self.is_restless || !is_in_want,
                "nothing looks after what waits for slot {at}"
            );
            for (key, id) in &slot.suspects {
                if self.is_here(*key, *id) {
                    assert!(
                        lists.suspects.insert(*key),
                        "session {id} is suspected twice"
                    );
                }
            }
            if let Some(id) = slot.suspect {
                let key = self.table.find(id);
                let is_there = key.is_some_and(|key| usize::from(self.table[key].slot) == at);
                assert!(is_there, "slot {at} waits for session {id}, which is gone");
            }
        }
        for key in self.budget.held_back_keys() {
            if self.is_here(key.0, key.1) {
                assert!(lists.held_back.insert(key.0), "held back twice: {}", key.1);
            }
        }
        for (key, session) in self.table.iter() {
            let is_on = [
                session.scheduled,
                session.parked,
                session.held_back && session.phase == Phase::Open,
            ];
            let found = [
                lists.scheduled.contains(&key),
                lists.parked.contains(&key),
                lists.held_back.contains(&key) && session.phase == Phase::Open,
            ];
            assert_eq!(
                is_on, found,
                "scheduled, parked, held back: what the session says (left), and the lists (right): {session:?}"
            );
        }
        lists
    }

    fn is_here(&self, key: Key, id: u64) -> bool {
        self.table.at(key).is_some_and(|session| session.id == id)
    }

    /// Why a session that is on no list should be on one.
    fn is_forgotten(&self, session: &Session) -> Option<&'static str> {
        let is_sent_to = session.process.is_some_and(|at| {
            let parts = (FromProcess::Send as u8, session.id);
            self.processes[usize::from(at)]
                .partials
                .contains_key(&parts)
        });
        let is_broken = session
            .process
            .is_some_and(|at| self.processes[usize::from(at)].standing == Standing::Broken);
        let is_flushed = session.outbound.is_none() && !is_sent_to;
        match session.phase {
            // A death follows, and with it all sessions of the process are looked at.
            _ if is_broken => None,
            Phase::Handshake | Phase::Lingering => None,
            Phase::Ended(_) => Some("has ended, and its process does not know"),
            Phase::Ending(reason)
                if is_flushed
                    && (reason != CloseReason::Stopped
                        || (session.in_hand() == 0 && session.inbound.is_none())) =>
            {
                Some("has only to be closed")
            }
            Phase::Ending(_) => None,
            Phase::Open => self.is_forgotten_while_open(session, is_sent_to),
        }
    }

    fn is_forgotten_while_open(&self, session: &Session, is_sent_to: bool) -> Option<&'static str> {
        let is_idle = session.in_hand() == 0 && !session.is_mid_message() && !is_sent_to;
        let Some(at) = session.process else {
            return Some("has no process");
        };
        if session.moving {
            let is_free = is_idle && !session.opening;
            return is_free.then_some("could go to its new process");
        }
        let standing = self.processes[usize::from(at)].standing;
        if standing != Standing::Serving && standing != Standing::Retiring {
            return Some("is with a process that does not serve");
        }
        if session.full != session.told_full {
            return Some("has passed a watermark, and its process does not know");
        }
        if session.outbound.as_ref().is_some_and(|queue| queue.again) {
            return Some("has output that the socket would take");
        }
        let next = session.inbound.as_ref().and_then(|inbound| inbound.next());
        if let Some(kept) = next {
            // A suspect waits until nothing else of its session is in hand.
            let is_alone = kept.deaths == 0 || session.in_hand() == 0;
            let is_free =
                session.is_mid_message() || (is_alone && session.window_takes(kept.bytes.len()));
            return is_free.then_some("has a message that its process could take");
        }
        if session.holds_input() {
            return None;
        }
        if !session.tail.is_empty() && !session.starved {
            return Some("has input that was not cut");
        }
        if session.readable && !session.ended_input && !session.held_back {
            return Some("has input that was not read");
        }
        if session.ended_input && is_idle && session.outbound.is_none() {
            return Some("has come to its end");
        }
        None
    }
}

/// The sessions on each of the loop's lists.
#[derive(Debug, Default)]
struct Lists {
    scheduled: FxHashSet<Key>,
    swept: FxHashSet<Key>,
    parked: FxHashSet<Key>,
    suspects: FxHashSet<Key>,
    held_back: FxHashSet<Key>,
}

impl Lists {
    /// Whether the session is looked at by itself: in the next turn, when there is room, or when its turn comes.
    fn wakes(&self, key: Key, session: &Session) -> bool {
        let is_suspect = self.suspects.contains(&key) && session.waits();
        self.scheduled.contains(&key)
            || self.swept.contains(&key)
            || self.parked.contains(&key)
            || is_suspect
    }
}
