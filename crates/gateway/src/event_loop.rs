//! One event loop of the gateway: a thread that owns its sessions and takes turns.
//!
//! Sockets are registered once, edge-triggered for both directions, in one epoll set, with the loop's doorbell and
//! the chime of each process beside them. There is no runtime and no task under it: a wake-up costs one system call, an idle session
//! nothing. What needs a runtime (HTTP, the control channel) lives on the gateway's main thread.
//!
//! A turn takes records from every ring, then events, then what was left over from earlier turns; all it
//! wrote into rings is published at its end. Work is capped everywhere, so that no session and no process
//! keeps the others waiting.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use moorline_ipc::{Chime, Doorbell, Scoreboard, SleepFence};
use moorline_net::tls::server::ServerTls;
use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use slab::Slab;
use tokio::sync::mpsc;

use super::accept::{Arrival, Socket, Sockets};
use super::admission::AcceptGate;
use super::budget::Budget;
use super::drain::Drain;
use super::files::Files;
use super::groups::Groups;
use super::invariants;
use super::memory::Memory;
use super::parcels::Tasks;
use super::processes::{Process, Slot};
use super::session::Phase;
use super::table::{Key, Table};
use super::vitals::Census;
use super::{Command, Inbox, Report, Shared};
use crate::config::Config;
use crate::control::{BEAT, LoopCounter};
use crate::wire::CloseReason;

/// Sessions that change process in one turn.
const MOVES_PER_TURN: usize = 256;
/// From so many events in one turn on the loop is busy: it fetches more before it wakes anybody, because each
/// wake-up of a process on the same core costs as much as several messages.
const BUSY: usize = 2;
/// Turns in a row that may end without publishing.
const GATHERING_TURNS: u32 = 16;
/// Events taken from the kernel at once.
const EVENTS: usize = 512;
/// The scratch buffer that all sessions of a loop are read into, in bytes: a message of 64 KiB and what stands around it
/// come in one read.
pub(super) const SCRATCH: usize = 80 * 1024;
/// How often a loop looks again at what nothing wakes it for: a retiring process that takes its last records, a
/// slot that stays empty, a suspect's turn that another loop holds.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// The mark of a listener among the tokens of events; its place in the configuration is beside it.
const LISTENER: u64 = u64::MAX << 32;
/// The token of the loop's doorbell: no session has that place.
const DOORBELL: u64 = (u64::MAX - 1) << 32;
/// The mark of a process's chime; its place in the loop's list is beside it.
const CHIME: u64 = (u64::MAX - 2) << 32;

/// What a loop is made of.
pub(super) struct Parts {
    pub(super) index: u8,
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    /// What wakes it for commands.
    pub(super) doorbell: Arc<Doorbell>,
    pub(super) counters: Scoreboard,
    pub(super) last_serial: u64,
    pub(super) sockets: Vec<(u16, Socket)>,
    pub(super) peers: Vec<Inbox>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    pub(super) tls: Arc<[Option<ServerTls>]>,
}

/// One event loop.
pub(super) struct Loop {
    pub(super) index: u8,
    pub(super) config: Arc<Config>,
    pub(super) shared: Arc<Shared>,
    pub(super) counters: Scoreboard,
    pub(super) sockets: Sockets,
    /// The inbox of every loop, this one's too.
    pub(super) peers: Vec<Inbox>,
    pub(super) reports: mpsc::UnboundedSender<Report>,
    epoll: OwnedFd,
    doorbell: Arc<Doorbell>,
    pub(super) clock: Clock,
    pub(super) table: Table,
    pub(super) processes: Slab<Process>,
    /// Never empty: a slot is there before its first process.
    pub(super) slots: Vec<Slot>,
    pub(super) tasks: Tasks,
    pub(super) files: Files,
    pub(super) groups: Groups,
    pub(super) budget: Budget,
    pub(super) census: Option<Census>,
    pub(super) drain: Option<Drain>,
    /// Processes with unpublished records.
    pub(super) dirty: Vec<u16>,
    /// Processes whose rings are looked into in each turn. The others know that the loop sleeps, and ring.
    pub(super) polled: Vec<u16>,
    /// Processes in whose rings something waits for room.
    pub(super) blocked: VecDeque<u16>,
    /// Processes that were told of the ends of sessions, and may not have taken that.
    pub(super) told: Vec<u16>,
    /// There is something to look after that nothing wakes the loop for.
    pub(super) is_restless: bool,
    /// Sessions to be serviced in the next turn.
    pub(super) work: VecDeque<(Key, u64)>,
    /// Sessions to be looked at because their process retires or all end, a few each turn.
    pub(super) sweep: VecDeque<(Key, u64)>,
    pub(super) scratch: Vec<u8>,
    pub(super) accept_gate: AcceptGate,
    /// What each listener shows who connects now.
    pub(super) tls: Arc<[Option<ServerTls>]>,
    /// Sessions that wait for the next step of their handshake.
    pub(super) handshakes: VecDeque<(Key, u64)>,
    /// Scratch space for what is received encrypted; as large as `scratch` if any listener has TLS.
    pub(super) cipher: Vec<u8>,
    /// … and for what is sent so.
    pub(super) sealed: Vec<u8>,
    /// Scratch space for a small frame that is sent.
    pub(super) frame: Vec<u8>,
    pub(super) timers: super::ending::Timers,
    /// Where round-robin has got to.
    pub(super) round: usize,
    /// The same for messages of sessions that there are.
    pub(super) message_round: usize,
    /// When stopping must be over, in the loop's milliseconds.
    pub(super) stop_at: Option<u64>,
    /// `Report::Empty` was sent.
    pub(super) is_empty: bool,
    pub(super) memory: Memory,
    events: Vec<epoll::Event>,
    /// Turns since records were last published.
    gathering: u32,
    pub(super) invariants: invariants::Schedule,
}

/// What the loop does after a turn.
pub(super) enum Next {
    /// There is more to do now.
    Go,
    /// Nothing before this time, unless something wakes it.
    Sleep(Option<Instant>),
}

/// The loop's clock, read once a turn.
pub(super) struct Clock {
    started: Instant,
    /// A test says what time it is.
    #[cfg(test)]
    is_scripted: bool,
    /// Milliseconds since the loop began.
    pub(super) ms: u64,
    /// Nanoseconds of `CLOCK_MONOTONIC`.
    pub(super) ns: u64,
}

impl Clock {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            #[cfg(test)]
            is_scripted: false,
            ms: 0,
            ns: 0,
        }
    }

    /// It is so late from now on, until it is said otherwise.
    #[cfg(test)]
    pub(super) fn set(&mut self, ms: u64) {
        self.is_scripted = true;
        self.ms = ms;
        self.ns = ms * 1_000_000;
    }

    /// The time within a turn.
    pub(super) fn now(&self) -> Instant {
        #[cfg(test)]
        if self.is_scripted {
            return self.at(self.ms);
        }
        Instant::now()
    }

    fn tick(&mut self) {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        self.ns = (now.tv_sec as u64) * 1_000_000_000 + now.tv_nsec as u64;
        self.ms = self.started.elapsed().as_millis() as u64;
    }

    fn at(&self, ms: u64) -> Instant {
        self.started + Duration::from_millis(ms)
    }
}

impl Loop {
    /// Runs until the process ends.
    pub(super) fn run(parts: Parts, inbox: Receiver<Command>) -> io::Result<()> {
        let mut this = Self::new(parts)?;
        loop {
            this.clock.tick();
            this.count(LoopCounter::Beats, 1);
            while let Ok(command) = inbox.try_recv() {
                this.obey(command);
            }
            let next = this.turn();
            this.check_invariants_sometimes();
            this.wait(next)?;
        }
    }

    pub(super) fn new(parts: Parts) -> io::Result<Self> {
        // Connections come before the first worker does.
        let slots = usize::from(parts.config.workers.count).max(1);
        let budget = Budget::new(&parts.config);
        let mut this = Self {
            index: parts.index,
            accept_gate: AcceptGate::new(&parts.config.listeners),
            table: Table::new(parts.index, parts.last_serial),
            config: parts.config,
            shared: parts.shared,
            counters: parts.counters,
            sockets: Sockets::default(),
            peers: parts.peers,
            reports: parts.reports,
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            doorbell: parts.doorbell,
            clock: Clock::new(),
            processes: Slab::new(),
            slots: (0..slots).map(|_| Slot::default()).collect(),
            tasks: Tasks::default(),
            files: Files::default(),
            groups: Groups::default(),
            budget,
            census: None,
            drain: None,
            dirty: Vec::new(),
            polled: Vec::new(),
            blocked: VecDeque::new(),
            told: Vec::new(),
            is_restless: false,
            work: VecDeque::new(),
            sweep: VecDeque::new(),
            scratch: vec![0; SCRATCH],
            handshakes: VecDeque::new(),
            cipher: Vec::new(),
            sealed: Vec::new(),
            tls: Arc::default(),
            frame: Vec::new(),
            timers: Default::default(),
            // Each loop begins elsewhere, so that few sessions spread as well as many.
            round: usize::from(parts.index),
            message_round: usize::from(parts.index),
            stop_at: None,
            is_empty: false,
            memory: Memory::default(),
            events: Vec::with_capacity(EVENTS),
            gathering: 0,
            invariants: Default::default(),
        };
        this.show(parts.tls);
        this.register_doorbell()?;
        for (listener, socket) in parts.sockets {
            this.listen(listener, socket)?;
        }
        Ok(this)
    }

    /// Waits for something to do, and fetches the events.
    fn wait(&mut self, next: Next) -> io::Result<()> {
        let timeout = match next {
            Next::Go => Duration::ZERO,
            // It wakes to give a sign of life, if for nothing else.
            Next::Sleep(until) => until.map_or(BEAT, |until| {
                until.saturating_duration_since(self.clock.now()).min(BEAT)
            }),
        };
        self.fetch(timeout)
    }

    /// Fetches the events that come until this time has passed.
    pub(super) fn fetch(&mut self, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec {
            tv_sec: timeout.as_secs() as i64,
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        self.events.clear();
        match epoll::wait(
            &self.epoll,
            rustix::buffer::spare_capacity(&mut self.events),
            Some(&timeout),
        ) {
            Ok(_) | Err(Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether there are events that were fetched and not looked at.
    #[cfg(test)]
    pub(super) fn has_events(&self) -> bool {
        !self.events.is_empty()
    }

    /// One turn.
    pub(super) fn turn(&mut self) -> Next {
        self.forget_taken_closings();
        self.look_at_memory();
        let is_busy = self.hear_rings();
        let mut more = false;
        for at in 0..self.polled.len() {
            more |= self.take_records(self.polled[at]);
        }
        self.take_events();
        self.rouse_waiters();
        for _ in 0..self.work.len() {
            let Some((key, id)) = self.work.pop_front() else {
                break;
            };
            self.service_scheduled(key, id);
        }
        for _ in 0..MOVES_PER_TURN {
            let Some((key, id)) = self.sweep.pop_front() else {
                break;
            };
            // It may be scheduled as well, and stays so.
            if self.table.at(key).is_some_and(|session| session.id == id) {
                self.service(key);
            }
        }
        let handshakes_wait = self.run_handshakes();
        self.fan_out();
        let timers_wait = self.run_timers();
        // What the next look queues waits for the next turn, which is not for now: `look_again` says when.
        let has_work = more
            || self.go_on_counting()
            || handshakes_wait
            || timers_wait
            || !self.work.is_empty()
            || !self.sweep.is_empty()
            || !self.groups.is_quiet();
        let look_again = self.look_after_processes() || self.budget.is_watchful();
        if is_busy && self.gathering < GATHERING_TURNS {
            self.gathering += 1;
            return Next::Go;
        }
        self.gathering = 0;
        while let Some(at) = self.dirty.pop() {
            let process = &mut self.processes[usize::from(at)];
            process.dirty = false;
            process.publish();
            // It answers soon, and need not ring then.
            self.poll(at);
        }
        self.report_counters();
        if has_work || self.waiters_have_room() || !self.fall_asleep() {
            return Next::Go;
        }
        let timer = self.timers.next().map(|ms| self.clock.at(ms));
        let again = look_again.then(|| self.clock.now() + LOOK_AGAIN);
        Next::Sleep([timer, again].into_iter().flatten().min())
    }

    /// Looks into the rings of those that have rung. True: the events that were fetched are many; however many have rung,
    /// that counts as one.
    fn hear_rings(&mut self) -> bool {
        let mut rings = 0;
        for at in 0..self.events.len() {
            let token = self.events[at].data;
            match token.u64() & LISTENER {
                CHIME => self.poll(token.u64() as u16),
                DOORBELL => {}
                _ => continue,
            }
            rings += 1;
        }
        self.events.len() + 1 - rings.max(1) >= BUSY
    }

    /// Acts on the events that were fetched. Those left in the set come with the next wait, at once.
    fn take_events(&mut self) {
        let mut events = std::mem::take(&mut self.events);
        for event in events.drain(..) {
            let token = event.data.u64();
            match token & LISTENER {
                LISTENER => self.listener_is_ready(token as u16),
                // They were heard at once.
                CHIME | DOORBELL => {}
                _ => self.socket_is_ready(token, event.flags),
            }
        }
        self.events = events;
    }

    fn socket_is_ready(&mut self, token: u64, flags: epoll::EventFlags) {
        let key = Key((token >> 32) as u32);
        // An event may be older than the session that has its place now.
        let Some(session) = self
            .table
            .at(key)
            .filter(|session| session.id as u32 == token as u32)
        else {
            return;
        };
        let flushes = session.outbound.is_some() && flags.contains(epoll::EventFlags::OUT);
        let session = &mut self.table[key];
        let over = epoll::EventFlags::RDHUP | epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(over) {
            session.hangup = true;
            self.watch_half_closed(key);
        }
        let session = &mut self.table[key];
        if flags.intersects(over | epoll::EventFlags::IN) {
            session.readable = true;
        }
        if flushes {
            self.flush(key);
        }
        let broken = epoll::EventFlags::HUP | epoll::EventFlags::ERR;
        if flags.intersects(broken) && self.table.at(key).is_some_and(|session| session.paused) {
            // Nobody reads it, so nothing else would say so.
            self.break_off(key, Errno::CONNRESET);
        }
        self.service(key);
    }

    /// Registers a session's socket, for good.
    pub(super) fn register(&mut self, key: Key, socket: BorrowedFd<'_>) -> io::Result<()> {
        let token = u64::from(key.0) << 32 | u64::from(self.table[key].id as u32);
        let flags = epoll::EventFlags::IN
            | epoll::EventFlags::OUT
            | epoll::EventFlags::RDHUP
            | epoll::EventFlags::ET;
        epoll::add(&self.epoll, socket, epoll::EventData::new_u64(token), flags)?;
        Ok(())
    }

    /// Shows this to who connects from now on.
    pub(super) fn show(&mut self, tls: Arc<[Option<ServerTls>]>) {
        if self.cipher.is_empty() && tls.iter().any(Option::is_some) {
            self.cipher = vec![0; SCRATCH];
        }
        self.tls = tls;
    }

    fn register_doorbell(&mut self) -> io::Result<()> {
        let token = epoll::EventData::new_u64(DOORBELL);
        epoll::add(&self.epoll, &*self.doorbell, token, Chime::EDGE)?;
        Ok(())
    }

    /// Hears a process from now on.
    fn register_chime(&self, chime: &Chime, at: usize) -> io::Result<()> {
        let token = epoll::EventData::new_u64(CHIME | at as u64);
        epoll::add(&self.epoll, chime, token, Chime::EDGE)?;
        Ok(())
    }

    /// Hears a process no more. A child of it may still hold its doorbell, and what is not taken out of the set would go on
    /// being told of rings.
    pub(super) fn remove_chime(&self, chime: &Chime) {
        // An error means that it was not in the set.
        let _ = epoll::delete(&self.epoll, chime);
    }

    /// Takes a listener's socket, and waits for what comes in there. What waits there already is heard of, too.
    pub(super) fn listen(&mut self, listener: u16, socket: Socket) -> io::Result<()> {
        self.stop_listening(listener);
        self.sockets.put(listener, socket);
        if let Some(socket) = self.sockets.waited_for(listener) {
            let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
            let token = epoll::EventData::new_u64(LISTENER | u64::from(listener));
            epoll::add(&self.epoll, socket, token, edge)?;
        }
        Ok(())
    }

    /// Lets go of a listener's socket.
    pub(super) fn stop_listening(&mut self, listener: u16) {
        if let Some(socket) = self.sockets.waited_for(listener) {
            // Others may have the socket too, and what is not taken out of the set would go on being told of it.
            let _ = epoll::delete(&self.epoll, socket);
        }
        self.sockets.take(listener);
    }

    /// Looks into a process's ring from now on, until the loop sleeps.
    pub(super) fn poll(&mut self, at: u16) {
        // It may have died since it rang.
        let Some(process) = self.processes.get_mut(usize::from(at)) else {
            return;
        };
        if process.is_heard() && !std::mem::replace(&mut process.is_polled, true) {
            self.polled.push(at);
            if let Some(consumer) = &mut process.consumer {
                consumer.awake();
            }
        }
    }

    /// Tells the processes whose rings were looked into that this loop sleeps. False: one has something.
    fn fall_asleep(&mut self) -> bool {
        for at in &self.polled {
            if let Some(consumer) = &mut self.processes[usize::from(*at)].consumer {
                consumer.announce_sleep();
            }
        }
        let fence = SleepFence::new();
        let processes = &mut self.processes;
        self.polled.retain(|at| {
            let process = &mut processes[usize::from(*at)];
            let is_heard = process.is_heard();
            let consumer = process.consumer.as_mut();
            process.is_polled =
                is_heard && consumer.is_some_and(|consumer| !consumer.stays_asleep(&fence));
            process.is_polled
        });
        self.polled.is_empty()
    }

    /// Puts a session on the list for the next turn.
    pub(super) fn schedule(&mut self, key: Key) {
        let session = &mut self.table[key];
        if !session.scheduled {
            session.scheduled = true;
            self.work.push_back((key, session.id));
        }
    }

    fn service_scheduled(&mut self, key: Key, id: u64) {
        if self.table.at(key).is_some_and(|session| session.id == id) {
            self.table[key].scheduled = false;
            self.service(key);
        }
    }

    /// Does for a session whatever can be done now. It may be gone afterwards.
    pub(super) fn service(&mut self, key: Key) {
        if self.has_ended(key) {
            return;
        }
        if self.table[key].phase == Phase::Handshake {
            self.await_handshake(key);
            return;
        }
        if self.table[key]
            .outbound
            .as_ref()
            .is_some_and(|outbound| outbound.again)
        {
            self.flush(key);
        }
        let is_placed = self.place(key);
        // Told also of one that it is to give up: a handler may wait for nothing else.
        let is_told = self.tell_watermark(key);
        if is_placed && is_told && self.forward_kept(key) {
            self.receive(key);
        }
        self.finish_if_over(key);
    }

    /// Something waits for room in a process's ring.
    pub(super) fn block(&mut self, at: u16) {
        let process = &mut self.processes[usize::from(at)];
        if !std::mem::replace(&mut process.is_blocked, true) {
            self.blocked.push_back(at);
        }
    }

    /// Wakes sessions and parcels that waited for room in a ring.
    fn rouse_waiters(&mut self) {
        for _ in 0..self.blocked.len() {
            let Some(at) = self.blocked.pop_front() else {
                return;
            };
            self.processes[usize::from(at)].is_blocked = false;
            self.rouse_waiters_of(at);
            let process = &self.processes[usize::from(at)];
            if !process.parcels.is_empty() || !process.waiters.is_empty() {
                self.block(at);
            }
        }
    }

    fn rouse_waiters_of(&mut self, at: u16) {
        if !self.forward_parcels(at) {
            return;
        }
        let at = usize::from(at);
        // A quarter of the ring: else a full ring would have all of them try after each record.
        for _ in 0..self.processes[at].waiters.len() {
            let process = &mut self.processes[at];
            if !process
                .producer
                .wait_for_room(process.producer.max_payload())
            {
                break;
            }
            let Some((key, id)) = process.waiters.pop_front() else {
                break;
            };
            if self.unpark(key, id) {
                self.service(key);
            }
        }
    }

    /// Asks to be woken when there is room for the sessions that wait for it. True: there is, go on at once.
    ///
    /// After the last push of a turn, for whoever has begun to wait since `rouse_waiters`.
    fn waiters_have_room(&mut self) -> bool {
        let mut have_room = false;
        for at in &self.blocked {
            let process = &mut self.processes[usize::from(*at)];
            if !process.waiters.is_empty() {
                have_room |= process
                    .producer
                    .wait_for_room(process.producer.max_payload());
            }
        }
        have_room
    }

    /// Notes that a process has unpublished records; many are published at once.
    pub(super) fn mark_dirty(&mut self, at: u16) {
        let process = &mut self.processes[usize::from(at)];
        if !std::mem::replace(&mut process.dirty, true) {
            self.dirty.push(at);
        }
        if process.is_ripe() {
            process.publish();
        }
    }

    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::Accepted {
                socket,
                listener,
                peer,
            } => self.open(socket, listener, peer, Arrival::Fresh),
            Command::Upgraded {
                socket,
                listener,
                peer,
                upgrade,
            } => {
                self.open(socket, listener, peer, Arrival::Upgraded(upgrade));
            }
            Command::Refused(limit) => {
                self.count_closed(CloseReason::Handshake);
                if let Some(limit) = limit {
                    self.count_limit(limit);
                }
            }
            Command::Attach {
                process,
                role,
                region,
                doorbell,
                chime,
            } => {
                let at = self.processes.vacant_key();
                let heard = self.register_chime(&chime, at);
                if heard.is_ok() {
                    let rules = self.config.clone();
                    let process = Process::new(process, role, *region, doorbell, chime, rules);
                    self.processes.insert(process);
                }
                let heard =
                    heard.map_err(|error| format!("its doorbell cannot be waited on: {error}"));
                // The main thread lives as long as the process.
                let _ = self.reports.send(Report::Attached(process, heard));
            }
            Command::Activate {
                workers,
                serving,
                setup,
            } => {
                if let Some(setup) = setup {
                    self.configure(*setup);
                }
                self.activate(workers, &serving);
            }
            Command::Show(tls) => self.show(tls),
            Command::Dead { process, death } => self.bury(process, death),
            Command::File {
                process,
                number,
                file,
            } => self.take_file(process, number, file),
            Command::Silent(processes) => self.are_silent(&processes),
            Command::Stop(order) => self.stop(&order),
            Command::Drain(order) => self.drain(&order),
            Command::List { question, place } => self.list(question, place),
        }
    }
}
