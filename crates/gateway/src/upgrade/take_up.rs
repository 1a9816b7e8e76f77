//! A loop that goes on with what another process has had.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::vec::IntoIter;

use moorline_ipc::Doorbell;
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;

use super::ReadHead;
use crate::clock::Clock;
use crate::commands::{Report, TakenUp};
use crate::event_loop::activity::Activity;
use crate::event_loop::{Loop, Parts};
use crate::features::tasks::Tasks;
use crate::ids::{MAX_SLOTS, ProcessKey, SessionRef};
use crate::memory::Class;
use crate::notes::KeptNotes;
use crate::processes::process::{KeptProcess, Process, ProcessLinks, Standing};
use crate::processes::slot::Slot;
use crate::session::frame::Frame;
use crate::session::link::Interest;
use crate::session::table::Table;
use crate::session::{Phase, Session};
use crate::timeouts::watch_peer;
use moorline_protocol::control::ProcessId;

/// Places in a table that nobody asks about.
const MOST_PLACES: u64 = 1 << 16;

/// What another process has had, as it came.
#[derive(Debug)]
pub(crate) struct Inheritance {
    pub(crate) bytes: Vec<u8>,
    pub(crate) descriptors: Vec<OwnedFd>,
    /// What wakes each process.
    pub(crate) doorbells: FxHashMap<ProcessId, Arc<Doorbell>>,
}

#[derive(Deserialize)]
#[cfg_attr(test, derive(serde::Serialize))]
pub(crate) struct TakenFrame(#[serde(with = "crate::kept::bytes")] Vec<u8>);

/// Whether it has a socket, the session, which frames its queue shares, and its notes.
pub(crate) type KeptSession = (bool, Session, Vec<u32>, Option<KeptNotes>);

/// It is not what a loop of this version can have had.
fn wrong(what: &str) -> io::Error {
    let text = format!("the present gateway's state is not understood: {what}");
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads one part after the other.
struct Reader<'a> {
    bytes: &'a [u8],
    descriptors: IntoIter<OwnedFd>,
}

impl<'a> Reader<'a> {
    fn part<T: Deserialize<'a>>(&mut self) -> io::Result<T> {
        let (part, rest) =
            postcard::take_from_bytes(self.bytes).map_err(|error| wrong(&error.to_string()))?;
        self.bytes = rest;
        Ok(part)
    }

    fn descriptor(&mut self) -> io::Result<OwnedFd> {
        let next = self.descriptors.next();
        next.ok_or_else(|| wrong("a descriptor is missing"))
    }
}

impl Loop {
    /// The same for a thread of its own: it reports whether it could, and stands still.
    pub(crate) fn take_up_and_report(parts: Parts, inherited: Inheritance) -> Option<Self> {
        let (index, reports) = (parts.index, parts.reports.clone());
        let (this, report) = match Self::take_up(parts, inherited) {
            Ok(mut this) => {
                this.stands = true;
                let processes = this.tools.processes.iter();
                let going_on = this.sessions.iter().filter(|it| !it.has_ended());
                let taken = TakenUp {
                    sessions: going_on.count() as u64,
                    held: this.tools.memory.held(),
                    marks: processes.map(|(_, it)| (it.id, it.marks())).collect(),
                };
                (Some(this), Ok(taken))
            }
            Err(error) => (None, Err(error.to_string())),
        };
        // The main thread ends only with the process.
        let _ = reports.send(Report::TakenUp(index, report));
        this
    }

    /// A loop that goes on with what another process has had. It does nothing before its first turn.
    ///
    /// # Errors
    /// That cannot be the state of a loop, or the system lacks something.
    pub(crate) fn take_up(parts: Parts, inherited: Inheritance) -> io::Result<Self> {
        let mut this = Self::new(parts)?;
        let mut reader = Reader {
            bytes: &inherited.bytes,
            descriptors: inherited.descriptors.into_iter(),
        };
        let kept: ReadHead = reader.part()?;
        let tasks: Tasks = reader.part()?;
        if kept.index != this.tools.cx.index {
            return Err(wrong("the loops are in another order"));
        }
        this.tools.cx.clock =
            Clock::resume(kept.started_ns).ok_or_else(|| wrong("its clock is ahead"))?;
        this.groups = kept.groups.take_up().ok_or_else(|| wrong("groups"))?;
        this.groups.taken = this.tools.cx.shared.hub.last();
        this.take_up_processes(&kept.processes, &inherited.doorbells, &mut reader)?;
        this.tools.processes.take_up_slots(kept.slots, kept.turns)?;
        let frames = this.take_up_frames(kept.frames, &mut reader)?;
        this.take_up_sessions((kept.last_serial, kept.sessions), &frames, &mut reader)?;
        if !reader.bytes.is_empty() || reader.descriptors.next().is_some() {
            return Err(wrong("there is more than there should be"));
        }
        this.tasks = tasks;
        this.tasks.take_up(&mut this.tools)?;
        let agenda = &mut this.tools.agenda;
        agenda.work.extend(kept.work);
        agenda.sweep.extend(kept.sweep);
        this.tools.throttle.take_up(kept.held_back);
        for (at, alarm) in kept.timers {
            if alarm.session().is_some() {
                this.tools.agenda.timers.set(at, alarm);
            }
        }
        if this.tools.cx.shared.hub.histories() > 0 {
            this.watch_histories();
        }
        this.check_lists_taken_up()?;
        this.count_taken_up();
        this.activity = Activity::after(&this.tools.cx);
        Ok(this)
    }

    fn take_up_processes(
        &mut self,
        places: &[ProcessKey],
        doorbells: &FxHashMap<ProcessId, Arc<Doorbell>>,
        reader: &mut Reader<'_>,
    ) -> io::Result<()> {
        let mut processes = Vec::new();
        for at in places {
            let kept: KeptProcess = reader.part()?;
            let is_sound = usize::from(at.0) < 4 * MAX_SLOTS
                && !matches!(kept.standing, Standing::Retiring | Standing::Released);
            let doorbell = doorbells.get(&kept.id).filter(|_| is_sound);
            let links = ProcessLinks {
                region: reader.descriptor()?,
                chime: reader.descriptor()?,
                doorbell: doorbell.ok_or_else(|| wrong("a process"))?.clone(),
                rules: self.tools.cx.config.clone(),
            };
            let process = kept.take_up(links)?;
            self.poller.watch_process(*at, &process.chime)?;
            processes.push((*at, process));
        }
        let taken = self.tools.processes.take_up(processes);
        taken.ok_or_else(|| wrong("two processes in one place"))
    }

    /// What several queues share is shared again, and counted once.
    fn take_up_frames(
        &mut self,
        count: u32,
        reader: &mut Reader<'_>,
    ) -> io::Result<Vec<Rc<Frame>>> {
        let mut frames = Vec::new();
        for _ in 0..count {
            let TakenFrame(bytes) = reader.part()?;
            frames.push(Frame::new(bytes, self.tools.memory.frames()));
        }
        Ok(frames)
    }

    fn take_up_sessions(
        &mut self,
        (last_serial, count): (u64, u32),
        frames: &[Rc<Frame>],
        reader: &mut Reader<'_>,
    ) -> io::Result<()> {
        let mut sessions = Vec::new();
        for _ in 0..count {
            let (has_socket, mut session, shares, notes): KeptSession = reader.part()?;
            if let Some(notes) = notes {
                let notes = notes.take_up(&self.tools.cx.shared.limits);
                let notes = notes.ok_or_else(|| wrong("a session, its limits"))?;
                session.notes = Some(Box::new(notes));
            }
            if has_socket {
                session.transport.socket = Some(reader.descriptor()?);
            }
            let shares = shares.iter().map(|at| frames.get(*at as usize).cloned());
            let is_queue_sound = match &mut session.output.queue {
                Some(queue) => queue.take_up(shares),
                None => shares.len() == 0,
            };
            if !is_queue_sound {
                return Err(wrong("a session, its output"));
            }
            self.take_up_session(&session)?;
            sessions.push(session);
        }
        let index = self.tools.cx.index;
        // Each had a descriptor once.
        let places = self.tools.cx.shared.descriptors().max(MOST_PLACES);
        let node = self.sessions.node();
        let table = Table::resume((node, index, last_serial), sessions, places);
        self.sessions = table.ok_or_else(|| wrong("two sessions in one place"))?;
        let members = self.sessions.iter().map(|it| it.app.groups().len());
        if members.sum::<usize>() != self.groups.members() {
            return Err(wrong("the members of a group"));
        }
        Ok(())
    }

    /// Checks what a session says of itself, counts what it holds, and waits for what its socket brings.
    fn take_up_session(&mut self, session: &Session) -> io::Result<()> {
        let tools = &mut self.tools;
        let listeners = &tools.cx.config.listeners;
        let Some(listener) = listeners.get(session.listener.index()) else {
            return Err(wrong("a session of no listener"));
        };
        let is_stream = !listener.is_datagram();
        // One that lingers belongs to no slot any more.
        let is_placed = session.phase == Phase::Lingering
            || session.placement.slot.index() < tools.processes.slots.len();
        let process = session.placement.process();
        let is_served = process.is_none_or(|at| tools.processes.get(at).is_some());
        let has_socket = session.transport.socket.is_some();
        let is_gone = matches!(session.phase, Phase::Ended(_));
        let groups = session.app.groups();
        let distinct: FxHashSet<_> = groups.iter().map(|(group, _)| *group).collect();
        let are_members = groups.iter().all(|it| self.groups.has(*it, session.id))
            && distinct.len() == groups.len();
        let has_phase = !matches!(
            session.phase,
            Phase::Announced | Phase::Preread | Phase::Handshake | Phase::Relayed
        );
        let checks = [
            (is_stream && is_placed, "its place"),
            (is_served, "its process"),
            (has_socket || is_gone, "its socket"),
            (are_members, "its groups"),
            (has_phase, "its phase"),
            (session.input.is_sound(), "its input"),
            (session.meters.are_sound(), "its times"),
        ];
        if let Some((_, what)) = checks.iter().find(|(is_sound, _)| !is_sound) {
            return Err(wrong(&format!("a session, {what}")));
        }
        if let Some(at) = process {
            let process = &mut tools.processes[at];
            process.sessions += 1;
            process.in_hand += session.input.window.in_hand() as usize;
        }
        let door = tools.cx.shared.door(session.listener);
        door.readmit(&session.peer, session.counted, session.has_ended());
        if !std::ptr::eq(door, &tools.cx.shared.admissions[session.listener.index()]) {
            tools.cx.shared.admissions[session.listener.index()].join();
        }
        let own = session.output.queue.as_ref().map_or(0, |it| it.own);
        let state = session.app.state.as_ref().map_or(0, |it| it.held());
        tools.memory.hold(Class::Received, session.received());
        tools.memory.hold(Class::Queued, own as usize);
        let compression = session.compression.as_ref().map_or(0, |it| it.held());
        tools.memory.hold(Class::State, state);
        tools.memory.hold(Class::Compression, compression);
        self.watch_taken_up(session)
    }

    fn watch_taken_up(&mut self, session: &Session) -> io::Result<()> {
        let Some(socket) = &session.transport.socket else {
            return Ok(());
        };
        let name = session.name();
        self.poller.watch_session(name, socket.as_fd())?;
        if session.transport.watched == Interest::Both {
            self.poller.watch_output(name, socket.as_fd())?;
        }
        let link = session.transport.link;
        if session.phase == Phase::Open && !link.is_read() && !link.is_broken() {
            watch_peer(session, &mut self.tools);
        }
        Ok(())
    }

    /// Each session knows on which lists it is.
    fn check_lists_taken_up(&self) -> io::Result<()> {
        let mut lists = [const { Vec::new() }; 3];
        let processes = &self.tools.processes;
        lists[0].extend(&self.tools.agenda.work);
        for (_, process) in processes.iter() {
            lists[1].extend(process.waiters.iter().chain(&process.askers));
        }
        for slot in &processes.slots {
            lists[1].extend(&slot.waiters);
        }
        lists[2].extend(self.tools.throttle.held_back());
        let here = |name: &&SessionRef| self.sessions.named(**name).is_some();
        let lists = lists.map(|list| {
            let names: Vec<_> = list.into_iter().filter(here).map(|name| name.key).collect();
            let many = names.len();
            let names: FxHashSet<_> = names.into_iter().collect();
            (names.len() == many).then_some(names)
        });
        let [Some(scheduled), Some(parked), Some(held_back)] = lists else {
            return Err(wrong("a session is twice on a list"));
        };
        let are_right = self.sessions.iter().all(|session| {
            let (listed, key) = (&session.listed, &session.key);
            listed.scheduled == scheduled.contains(key)
                && listed.parked == parked.contains(key)
                && (listed.held_back == held_back.contains(key) || session.phase != Phase::Open)
        });
        match are_right {
            true => Ok(()),
            false => Err(wrong("the lists of sessions")),
        }
    }

    /// Counts for all loops, and what it holds of processes and slots. It looks at every ring in its first turn.
    fn count_taken_up(&mut self) {
        let tools = &mut self.tools;
        let (processes, shared) = (&mut tools.processes, &tools.cx.shared);
        for session in self.sessions.iter() {
            if session.phase != Phase::Lingering {
                let slot = session.placement.slot;
                processes[slot].enter(&shared.slots[slot.index()]);
            }
        }
        let holder = u32::from(tools.cx.index) + 1;
        for at in processes.slot_ids() {
            if processes[at].suspect.is_some() {
                let suspects = &shared.suspects[at.index()];
                suspects.store(holder, std::sync::atomic::Ordering::Release);
            }
            tools
                .memory
                .hold(Class::Transfers, held_by_slot(&processes[at]));
        }
        let places: Vec<_> = processes.iter().map(|(at, _)| at).collect();
        for at in places {
            let process = &processes[at];
            tools
                .memory
                .hold(Class::Transfers, held_by_process(process));
            let parts = process.partials.values().map(|it| it.bytes.len());
            tools.memory.hold(Class::Parts, parts.sum());
            processes.look_at_everything(at);
        }
        tools.memory.hold(Class::State, self.groups.bytes());
        tools.memory.hold(Class::Tasks, self.tasks.bytes());
        processes.tell_all_in_hand(&tools.cx);
    }
}

fn held_by_slot(slot: &Slot) -> usize {
    let transfers = slot.transfers.iter().map(|it| it.held());
    let pending = slot.pending.iter().map(|it| it.held());
    transfers.chain(pending).sum()
}

fn held_by_process(process: &Process) -> usize {
    let transfers = process.transfers.iter().map(|it| it.held());
    transfers.sum::<usize>() + process.closings_held()
}
