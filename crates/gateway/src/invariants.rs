//! What must hold between two turns of a loop. Debug builds check it; the tests with a scripted loop do so after every
//! turn.

mod relays;

use std::collections::VecDeque;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::event_loop::Loop;
use crate::ids::{ProcessKey, SessionKey, SessionRef};
use crate::memory::{Class, TLS_BYTES};
use crate::processes::pending_close::PendingClose;
use crate::processes::process::Standing;
use crate::session::{Phase, Session};
use crate::transfer::{Asker, Transfer};
use moorline_protocol::control::LoopCounter;
use moorline_protocol::wire::{CloseReason, ToProcess};

/// Sessions that a running debug build checks in each turn, on average: it must stay usable with thousands of them.
const SESSIONS_PER_TURN: usize = 64;

impl Loop {
    /// Checks the invariants, in a debug build, and rarely enough to stay fast.
    pub(crate) fn check_invariants_sometimes(&mut self) {
        if !cfg!(debug_assertions) {
            return;
        }
        self.unchecked_turns += 1;
        let members = self.sessions.len() + self.relays.len() + self.udp_relays.len();
        if self.unchecked_turns * SESSIONS_PER_TURN >= members {
            self.unchecked_turns = 0;
            self.check_invariants();
        }
    }

    /// # Panics
    /// One of them does not hold: the loop's state is wrong, and the gateway must not continue with it.
    pub(crate) fn check_invariants(&self) {
        self.check_bytes();
        self.check_counts();
        self.check_pulses();
        self.check_relays();
        self.check_udp_relays();
        let lists = self.check_lists();
        for session in self.sessions.iter() {
            assert!(
                session.is_watched(),
                "nobody waits for room in its socket: {session:?}"
            );
            if lists.wakes(session) {
                continue;
            }
            if let Some(reason) = self.is_forgotten(session) {
                panic!("nothing will wake a session that {reason}: {session:?}");
            }
        }
    }

    /// The counted bytes are the held ones.
    fn check_bytes(&self) {
        let sessions = || self.sessions.iter();
        let processes = || self.tools.processes.iter().map(|(_, process)| process);
        let memory = &self.tools.memory;
        let received = |session: &Session| match session.phase {
            // An ended session keeps its TLS state until its process is told.
            Phase::Ended(_) | Phase::Lingering => session.received() - session.transport.unopened(),
            _ => session.received(),
        };
        let queued = |session: &Session| session.output.queue.as_ref().map_or(0, |queue| queue.own);
        let state = |session: &Session| session.app.state.as_ref().map_or(0, |it| it.held());
        let compressed = |session: &Session| session.compression.as_ref().map_or(0, |it| it.held());
        let sealed = sessions()
            .filter(|session| session.transport.tls.is_some())
            .count();
        let parts = processes().map(|process| {
            let parts = process.partials.values();
            parts.map(|message| message.bytes.len()).sum::<usize>()
        });
        let relays = self.relayed_bytes();
        let expected = [
            (
                Class::Received,
                sessions().map(received).sum::<usize>() + relays.unopened,
            ),
            (
                Class::Queued,
                sessions().map(queued).sum::<u64>() as usize + relays.kept,
            ),
            (
                Class::State,
                sessions().map(state).sum::<usize>() + self.groups.bytes(),
            ),
            (Class::Tls, (sealed + relays.encrypted) * TLS_BYTES),
            (
                Class::Compression,
                sessions().map(compressed).sum::<usize>() + self.tools.scratch.codecs.held(),
            ),
            (Class::Parts, parts.sum()),
            (Class::Broadcasts, self.groups.waiting_bytes()),
            (Class::Tasks, self.tasks.bytes()),
            (Class::Transfers, self.transfers()),
        ];
        for (class, bytes) in expected {
            assert_eq!(
                memory.of(class),
                bytes as u64,
                "bytes counted as {class:?} (left), and held (right)"
            );
        }
        let all = Class::ALL.iter().map(|class| memory.of(*class));
        assert_eq!(memory.total(), all.sum::<u64>());
    }

    /// Bytes that are on their way to processes.
    fn transfers(&self) -> usize {
        let held = |transfers: &VecDeque<Transfer>| -> usize {
            transfers.iter().map(Transfer::held).sum()
        };
        let processes = self.tools.processes.iter();
        let to_processes =
            processes.map(|(_, process)| held(&process.transfers) + process.closings_held());
        let to_slots = self.tools.processes.slots.iter().map(|slot| {
            let pending = slot.pending.iter().map(PendingClose::held);
            held(&slot.transfers) + pending.sum::<usize>()
        });
        to_processes.chain(to_slots).sum()
    }

    /// The counts of slots and processes match the table.
    fn check_counts(&self) {
        let processes = &self.tools.processes;
        let mut by_slot = vec![0; processes.slots.len()];
        let mut by_process: FxHashMap<ProcessKey, Counts> = FxHashMap::default();
        for session in self.sessions.iter() {
            if session.phase != Phase::Lingering {
                by_slot[session.placement.slot.index()] += 1;
            }
            if let Some(at) = session.placement.process() {
                let counts = by_process.entry(at).or_default();
                counts.sessions += 1;
                counts.in_hand += session.input.window.in_hand() as usize;
            }
            let queues = session.output.queue.iter();
            for from in queues.flat_map(|queue| queue.file_owners()) {
                if self.is_alive(from) {
                    by_process.entry(from.at).or_default().files += 1;
                }
            }
        }
        let full = self.sessions.iter();
        let full = full.filter(|it| it.output.level.is_full() && !it.has_ended());
        let counted = self.tools.cx.counters.get(LoopCounter::Full as usize);
        assert_eq!(counted, full.count() as u64, "sessions that are full");
        assert!(
            self.exchanges.are_looked_after(),
            "a request is with no process, and waits for none"
        );
        let slots = processes.slots.iter();
        let counted: Vec<usize> = slots.map(|slot| slot.sessions).collect();
        assert_eq!(counted, by_slot, "sessions of each slot");
        for (at, _) in processes.iter() {
            self.check_process(at, by_process.remove(&at).unwrap_or_default());
        }
        assert!(
            processes.knows_task_workers(),
            "the list of those that serve tasks"
        );
        assert!(
            by_process.is_empty(),
            "sessions are with processes that are gone: {by_process:?}"
        );
    }

    /// The counts of one process match the table, and it is on the lists that it belongs to.
    fn check_process(&self, at: ProcessKey, mut found: Counts) {
        let process = &self.tools.processes[at];
        let unheard = |kind: ToProcess| {
            let transfers = process.transfers.iter();
            transfers.filter(|it| it.header.kind == kind as u8).count()
        };
        assert_eq!(process.drained_waiting, unheard(ToProcess::Drained));
        found.files += self.files.early_of(process.id) + unheard(ToProcess::FileDone);
        let counted = Counts {
            sessions: process.sessions,
            in_hand: process.in_hand,
            files: process.ledger.files(),
        };
        assert_eq!(
            process.exchanges,
            self.exchanges.of(at),
            "requests of process {}",
            process.id
        );
        if process.standing != Standing::Broken {
            assert_eq!(
                process.ledger.broadcasts(),
                self.groups.under_way_of(process.id)
                    + process.events
                    + unheard(ToProcess::BroadcastDone),
                "broadcasts of process {} under way",
                process.id
            );
            assert_eq!(counted, found, "what process {} has", process.id);
        }
        let needs_room = process.is_waited_for();
        assert!(
            process.is_blocked || !needs_room,
            "nothing looks for room in the ring of process {}",
            process.id
        );
        let (found, says) = self.tools.processes.listed(at);
        assert_eq!(
            found, says,
            "how often process {} is on the lists, and should be: polled, blocked, dirty, told",
            process.id
        );
    }

    fn is_alive(&self, from: Asker) -> bool {
        let process = self.tools.processes.get(from.at);
        process.is_some_and(|process| process.id == from.process)
    }

    /// No session is twice on a list, and each knows whether it is on one.
    fn check_lists(&self) -> Lists {
        let mut lists = Lists::default();
        let (agenda, processes) = (&self.tools.agenda, &self.tools.processes);
        let handshakes = agenda.handshakes.iter().map(|(name, _)| name);
        let requests = agenda.first_requests.waiting.iter();
        for name in agenda.work.iter().chain(handshakes).chain(requests) {
            self.note_once(name, &mut lists.scheduled, "scheduled");
        }
        let swept = agenda.sweep.iter().filter(|name| self.is_here(**name));
        lists.swept.extend(swept.map(|name| name.key));
        let for_room = processes.iter().flat_map(|(_, it)| &it.waiters);
        let for_process = processes.slots.iter().flat_map(|slot| &slot.waiters);
        let for_answers = processes.iter().flat_map(|(_, it)| &it.askers);
        for name in for_room.chain(for_process).chain(for_answers) {
            self.note_once(name, &mut lists.parked, "parked");
        }
        self.check_slots(&mut lists);
        for name in self.tools.throttle.held_back() {
            self.note_once(name, &mut lists.held_back, "held back");
        }
        for session in self.sessions.iter() {
            let (listed, key) = (&session.listed, session.key);
            let is_on = [
                listed.scheduled,
                listed.parked,
                listed.held_back && session.phase == Phase::Open,
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

    /// The peers of all sessions that are pinged are looked after, and nobody else's.
    fn check_pulses(&self) {
        let pulses = &self.tools.agenda.pulses;
        let mut found = 0;
        for session in self.sessions.iter() {
            let link = session.transport.link;
            let is_pinged = self
                .tools
                .cx
                .listener(session.listener)
                .liveness
                .ping
                .is_some()
                && session.phase == Phase::Open
                && !link.is_read()
                && !link.is_broken();
            found += usize::from(pulses.has(session.key));
            assert!(
                pulses.has(session.key) || !is_pinged,
                "nobody looks after its peer: {session:?}"
            );
        }
        assert_eq!(found, pulses.len(), "peers that are looked after");
    }

    /// Every wait for a slot has something that ends it.
    fn check_slots(&self, lists: &mut Lists) {
        let processes = &self.tools.processes;
        for (at, slot) in processes.slots.iter().enumerate() {
            assert!(
                slot.process.is_none() || slot.waiters.is_empty(),
                "sessions wait for a process of slot {at}, which has one"
            );
            let is_in_want = slot.empty_since.is_some() && !slot.waiters.is_empty()
                || slot.suspect.is_none() && !slot.suspects.is_empty()
                || slot.process.is_some() && !slot.pending.is_empty();
            assert!(
                processes.is_restless || !is_in_want,
                "nothing looks after what waits for slot {at}"
            );
            for name in &slot.suspects {
                self.note_once(name, &mut lists.suspects, "suspected");
            }
            if let Some(id) = slot.suspect {
                let session = self.sessions.find(id).map(|key| &self.sessions[key]);
                let is_there = session.is_some_and(|it| it.placement.slot.index() == at);
                assert!(is_there, "slot {at} waits for session {id}, which is gone");
            }
        }
    }

    /// A living session is on a list, for the first time.
    fn note_once(&self, name: &SessionRef, list: &mut FxHashSet<SessionKey>, what: &str) {
        if self.is_here(*name) {
            assert!(list.insert(name.key), "session {} is {what} twice", name.id);
        }
    }

    fn is_here(&self, name: SessionRef) -> bool {
        self.sessions.named(name).is_some()
    }

    /// Why a session that is on no list should be on one.
    fn is_forgotten(&self, session: &Session) -> Option<&'static str> {
        let processes = &self.tools.processes;
        let is_sent_to = processes.are_sending_to(session);
        let process = session.placement.process();
        let is_broken = process.is_some_and(|at| processes[at].standing == Standing::Broken);
        let is_flushed = session.output.queue.is_none() && !is_sent_to;
        match session.phase {
            // A death follows, and then all sessions of the process are checked.
            _ if is_broken => None,
            Phase::Announced
            | Phase::Preread
            | Phase::Handshake
            | Phase::Request
            | Phase::TurnedAway(_)
            | Phase::Lingering => None,
            Phase::Relayed => Some("belongs to the relays"),
            Phase::Asking { .. } => {
                let is_asked = session.placement.process().is_some();
                (!is_asked).then_some("has not been asked about")
            }
            Phase::Ended(_) => Some("has ended, and its process does not know"),
            Phase::Ending(reason)
                if is_flushed
                    && (reason != CloseReason::Stopped
                        || (session.input.window.in_hand() == 0
                            && session.input.kept.is_none())) =>
            {
                Some("has only to be closed")
            }
            Phase::Refused(_) if session.output.queue.is_none() => Some("has only to be closed"),
            Phase::Ending(_) | Phase::Refused(_) => None,
            Phase::Open => self.is_forgotten_while_open(session, is_sent_to),
        }
    }

    /// Why nothing will wake an open session, if nothing will.
    fn is_forgotten_while_open(&self, session: &Session, is_sent_to: bool) -> Option<&'static str> {
        let is_idle =
            session.input.window.in_hand() == 0 && !session.input.is_mid_message() && !is_sent_to;
        let Some(at) = session.placement.process() else {
            return Some("has no process");
        };
        if session.placement.is_moving() {
            let is_free = is_idle && !session.placement.is_opening();
            return is_free.then_some("could go to its new process");
        }
        let standing = self.tools.processes[at].standing;
        if standing != Standing::Serving && standing != Standing::Retiring {
            return Some("is with a process that does not serve");
        }
        if session.output.level != session.output.told {
            return Some("has passed a watermark, and its process does not know");
        }
        if session.output.goes_on() {
            return Some("has output that the socket would take");
        }
        let input = &session.input;
        let next = input.kept.as_ref().and_then(|kept| kept.next());
        if let Some(kept) = next {
            // A suspect waits until no other message of its session is in progress.
            let is_alone = kept.deaths == 0 || input.window.in_hand() == 0;
            let is_free =
                input.is_mid_message() || (is_alone && input.window.takes(kept.bytes.len()));
            return is_free.then_some("has a message that its process could take");
        }
        if session.holds_input() {
            return None;
        }
        if input.is_uncut() {
            return Some("has input that was not cut");
        }
        if input.readable && !session.transport.link.is_read() && !session.listed.held_back {
            return Some("has input that was not read");
        }
        if session.transport.link.is_read() && is_idle && session.output.queue.is_none() {
            return Some("is over");
        }
        None
    }
}

/// The counts of a process: sessions, messages in progress, and files under way.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    sessions: usize,
    in_hand: usize,
    files: usize,
}

/// The sessions on each of the loop's lists.
#[derive(Debug, Default)]
struct Lists {
    scheduled: FxHashSet<SessionKey>,
    swept: FxHashSet<SessionKey>,
    parked: FxHashSet<SessionKey>,
    suspects: FxHashSet<SessionKey>,
    held_back: FxHashSet<SessionKey>,
}

impl Lists {
    /// Whether the session is looked at by itself: in the next turn, when there is room, or when its turn comes.
    fn wakes(&self, session: &Session) -> bool {
        let key = session.key;
        let is_suspect = self.suspects.contains(&key) && session.input.waits();
        self.scheduled.contains(&key)
            || self.swept.contains(&key)
            || self.parked.contains(&key)
            || is_suspect
    }
}
