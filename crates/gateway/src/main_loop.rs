//! One event loop of the gateway: a thread that owns its sessions and takes turns.
//!
//! Sockets are registered edge-triggered for input, and for output once they did not take all of it; listeners are
//! level-triggered. One epoll set has them all, with the loop's doorbell and the chime of each process beside them. There is
//! no runtime and no task under it: a wake-up costs one system call, an idle session nothing. What needs a runtime (HTTP, the
//! control channel) lives on the gateway's main thread.
//!
//! A turn takes records from every ring, then events, then what was left over from earlier turns; all it
//! wrote into rings is published at its end. Work is capped everywhere, so that no session and no process
//! keeps the others waiting.

mod due;
mod lists;
mod orders;

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use moorline_protocol::control::{BEAT, LoopCounter};
use moorline_protocol::wire::CloseReason;
use rustix::io::Errno;

use crate::commands::Command;
use crate::ending::{Left, Onward, act};
use crate::event_loop::gathering::Gathering;
use crate::event_loop::{Loop, Parts};
use crate::features::broadcasts::fan_out;
use crate::ids::{ProcessKey, SessionKey, SessionRef};
use crate::input::direct::needs;
use crate::input::handshake::{HANDSHAKES_PER_TURN, shake_hands};
use crate::memory::Class;
use crate::output::flush::flush;
use crate::output::watermarks::tell_owed;
use crate::poller::{Readiness, Source};
use crate::processes::process::Process;
use crate::service::service;
use crate::session::table::Table;
use crate::session::{End, Phase, Session};
use crate::timeouts::watch_half_closed;
use crate::tools::Tools;
use crate::upgrade::take_up::Inheritance;

/// Sessions that change process in one turn.
const MOVES_PER_TURN: usize = 256;
/// With this number of events in one turn the loop is busy: it fetches more before it wakes a process, because each
/// wake-up on the same core costs as much as several messages.
const BUSY: usize = 2;
/// How often a loop looks again at what nothing wakes it for: a retiring process that takes its last records, a
/// slot that stays empty, a suspect's turn that another loop holds.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What the loop does after a turn.
pub(crate) enum Next {
    /// There is more to do now.
    Go,
    /// Nothing before this time, unless something wakes it.
    Sleep(Option<Instant>),
}

impl Loop {
    /// Runs until the process ends.
    pub(crate) fn run(
        parts: Parts,
        commands: Receiver<Command>,
        inherited: Option<Inheritance>,
    ) -> io::Result<()> {
        let mut this = match inherited {
            Some(inherited) => match Self::take_up_and_report(parts, inherited) {
                Some(this) => this,
                // The main thread knows, and ends the process.
                None => loop {
                    std::thread::park();
                },
            },
            None => Self::new(parts)?,
        };
        loop {
            if this.stands {
                this.stand(&commands);
                if !this.stands {
                    this.catch_up()?;
                }
            }
            this.tools.cx.clock.tick();
            this.tools.cx.count(LoopCounter::Beats, 1);
            this.obey_all(&commands);
            if this.stands {
                continue;
            }
            let next = this.turn();
            this.check_invariants_sometimes();
            this.wait(next)?;
        }
    }

    /// Waits for something to do, and fetches the events.
    fn wait(&mut self, next: Next) -> io::Result<()> {
        let timeout = match next {
            Next::Go => Duration::ZERO,
            // It wakes to give a sign of life, if for nothing else.
            Next::Sleep(until) => until.map_or(BEAT, |until| {
                let now = self.tools.cx.clock.now();
                until.saturating_duration_since(now).min(BEAT)
            }),
        };
        self.fetch_events(timeout)
    }

    /// Fetches the events that come until this time has passed.
    pub(crate) fn fetch_events(&mut self, timeout: Duration) -> io::Result<()> {
        for at in 0..self.tools.agenda.full.len() {
            self.watch_output(self.tools.agenda.full[at]);
        }
        self.tools.agenda.full.clear();
        self.poller.fetch(timeout)
    }

    /// A session's socket did not take all of its output.
    fn watch_output(&mut self, name: SessionRef) {
        let Some(session) = self.sessions.named_mut(name) else {
            return;
        };
        let Some(socket) = &session.transport.socket else {
            return;
        };
        if let Err(error) = self.poller.watch_output(name, socket.as_fd()) {
            tracing::warn!(%error, "cannot wait for room in a socket");
            let end = End::Now(CloseReason::Limit);
            act(session, end, &mut self.groups, &mut self.tools);
        }
    }

    /// One turn.
    pub(crate) fn turn(&mut self) -> Next {
        let tools = &mut self.tools;
        tools.processes.forget_taken_closings(&mut tools.memory);
        self.look_at_memory();
        let is_busy = self.hear_rings();
        let mut more = false;
        for at in 0..self.tools.processes.polled().len() {
            more |= self.take_records(self.tools.processes.polled()[at]);
        }
        self.pass_on_events();
        // Before others fill the room that they wait for.
        self.rouse_waiters();
        self.take_events();
        let requests_wait = self.answer_first_requests();
        self.work();
        self.work_for_relays();
        let handshakes_wait = self.run_handshakes();
        fan_out(&mut self.groups, &mut self.sessions, &mut self.tools);
        self.end_receipts();
        self.relieve_if_asked();
        let timers_wait = self.run_timers();
        // What the next look queues waits for the next turn, which is not for now: `look_again` says when.
        let agenda = &self.tools.agenda;
        let has_work = more
            || handshakes_wait
            || requests_wait
            || timers_wait
            || !agenda.work.is_empty()
            || !agenda.sweep.is_empty()
            || self.relays.has_work()
            || !self.groups.is_quiet()
            || self.events_wait();
        let has_work = self.go_on_counting() || has_work;
        let look_again = self.look_after_processes() || self.is_watchful();
        let has_reason = is_busy && self.tools.processes.is_spoken_with();
        if has_reason && self.gathering.goes_on(self.tools.cx.clock.ns) {
            return Next::Go;
        }
        self.gathering = Gathering::default();
        self.tools.processes.publish();
        self.report_counters();
        let processes = &mut self.tools.processes;
        if has_work || processes.waiters_have_room() || !processes.fall_asleep() {
            return Next::Go;
        }
        let Tools { cx, agenda, .. } = &self.tools;
        let looks = [self.relays.looks.next(), self.udp_relays.looks.next()];
        let timers = [agenda.timers.next(), agenda.pulses.next()];
        let timer = timers.into_iter().chain(looks).flatten().min();
        let timer = timer.map(|ms| cx.clock.at(ms));
        let again = look_again.then(|| cx.clock.now() + LOOK_AGAIN);
        Next::Sleep([timer, again].into_iter().flatten().min())
    }

    /// Others may make room, and nothing wakes this loop when they do.
    fn is_watchful(&self) -> bool {
        self.pressure.is_watchful() || !self.tools.throttle.held_back().is_empty()
    }

    /// Looks into the rings of those that have rung. True: the events that were fetched are many; however many have rung,
    /// that counts as one.
    pub(crate) fn hear_rings(&mut self) -> bool {
        let mut rings = 0;
        for at in 0..self.poller.count() {
            match self.poller.event(at).0 {
                Source::Process(process) => self.tools.processes.poll(process),
                Source::Doorbell => {}
                Source::Listener(_)
                | Source::Session(..)
                | Source::Relay(..)
                | Source::UdpRelay(..) => continue,
            }
            rings += 1;
        }
        self.poller.count() + 1 - rings.max(1) >= BUSY
    }

    /// Acts on the events that were fetched. Those left in the set come with the next wait, at once.
    pub(crate) fn take_events(&mut self) {
        for at in 0..self.poller.count() {
            match self.poller.event(at) {
                (Source::Listener(listener), _) => self.listener_is_ready(listener),
                (Source::Session(key, id), readiness) => {
                    self.socket_is_ready(key, id, readiness);
                }
                (Source::Relay(tag), readiness) => self.relay_is_ready(tag, readiness),
                (Source::UdpRelay(key, serial), _) => self.udp_relay_is_ready(key, serial),
                // They were heard at once.
                (Source::Process(_) | Source::Doorbell, _) => {}
            }
        }
        self.poller.clear();
    }

    fn socket_is_ready(&mut self, key: SessionKey, id: u32, readiness: Readiness) {
        // An event may be older than the session that has its place now.
        let session = self.sessions.at_mut(key);
        let Some(session) = session.filter(|session| session.id as u32 == id) else {
            return;
        };
        let (groups, tools) = (&mut self.groups, &mut self.tools);
        if readiness.is_hung_up() {
            session.transport.link.hang_up();
            watch_half_closed(session, tools);
        }
        if readiness.is_readable() {
            session.input.readable = true;
        }
        if session.output.queue.is_some()
            && readiness.is_writable()
            && let Err(end) = flush(session, tools)
        {
            act(session, end, groups, tools);
        }
        if readiness.is_broken() && session.app.is_paused {
            // Nobody reads it, so nothing else would say so.
            act(session, End::Broken(broken_by(session)), groups, tools);
        }
        if session.phase == Phase::Request && tools.agenda.puts_off(session) {
            return;
        }
        let mut left = service(session, groups, tools);
        if readiness.is_broken() && matches!(session.phase, Phase::Asking { .. }) {
            left = Left::Connection(Onward::Closed);
        }
        self.after_service(key, left);
    }

    /// Does for a session whatever can be done now. It may be gone afterwards.
    pub(crate) fn service(&mut self, key: SessionKey) {
        let session = &mut self.sessions[key];
        let left = service(session, &mut self.groups, &mut self.tools);
        self.after_service(key, left);
    }

    fn after_service(&mut self, key: SessionKey, left: Left) {
        match left {
            Left::Session => {}
            Left::Nothing => self.forget(key),
            Left::Connection(onward) => self.let_on(key, onward),
        }
        self.relieve_if_asked();
    }

    /// Takes a session out of the table.
    fn forget(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.remove(key) else {
            return;
        };
        let Tools {
            cx, memory, agenda, ..
        } = &mut self.tools;
        cx.leaves(session.listener);
        let state = session.app.state.as_ref();
        memory.release(Class::State, state.map_or(0, |state| state.held()));
        agenda.pulses.remove(key);
        match session.has_ended() {
            true => cx.shared.let_go(session.listener, session.counted),
            false => cx
                .shared
                .release(session.listener, &session.peer, session.counted),
        }
    }

    /// Services the sessions that are due, and looks at some of those that are to be looked at.
    fn work(&mut self) {
        for _ in 0..self.tools.agenda.work.len() {
            let Some(name) = self.tools.agenda.work.pop_front() else {
                break;
            };
            if let Some(session) = self.sessions.named_mut(name) {
                session.listed.scheduled = false;
                let left = service(session, &mut self.groups, &mut self.tools);
                self.after_service(name.key, left);
            }
        }
        for _ in 0..MOVES_PER_TURN {
            let Some(name) = self.tools.agenda.sweep.pop_front() else {
                break;
            };
            // It may be scheduled as well, and stays so.
            if self.sessions.named(name).is_some() {
                self.service(name.key);
            }
        }
    }

    /// Answers some of the first requests that wait. True: others wait.
    fn answer_first_requests(&mut self) -> bool {
        while let Some(name) = self.tools.agenda.first_requests.next() {
            if let Some(session) = self.sessions.named_mut(name) {
                session.listed.scheduled = false;
                self.service(name.key);
            }
        }
        self.tools.agenda.first_requests.end_turn()
    }

    /// Serves a few handshakes. True: others wait.
    fn run_handshakes(&mut self) -> bool {
        for _ in 0..HANDSHAKES_PER_TURN {
            let Some((name, listener)) = self.tools.agenda.handshakes.pop_front() else {
                return false;
            };
            self.tools.cx.shared.door(listener).begin();
            let Some(session) = self.sessions.named_mut(name) else {
                continue;
            };
            session.listed.scheduled = false;
            let (groups, tools) = (&mut self.groups, &mut self.tools);
            let is_over = match session.phase {
                Phase::Handshake => shake_hands(session, tools),
                _ => Ok(true),
            };
            match is_over {
                Ok(true) => self.service(name.key),
                Ok(false) => {}
                Err(end) => act(session, end, groups, tools),
            }
        }
        !self.tools.agenda.handshakes.is_empty()
    }

    /// Wakes sessions and transfers that waited for room in a ring.
    fn rouse_waiters(&mut self) {
        for _ in 0..self.tools.processes.blocked() {
            let Some(at) = self.tools.processes.next_blocked() else {
                return;
            };
            self.rouse_waiters_of(at);
            self.tools.processes.block_if_waited_for(at);
        }
    }

    fn rouse_waiters_of(&mut self, at: ProcessKey) {
        let tools = &mut self.tools;
        tools.processes[at].note_progress(tools.cx.clock.ms);
        tell_owed(at, &mut self.sessions, &mut tools.processes);
        if !tools.processes.forward_transfers(at, &mut tools.memory) {
            return;
        }
        for turn in 0..self.tools.processes[at].waiters.len() {
            let process = &mut self.tools.processes[at];
            if !process.has_room_for_waiters() && (turn > 0 || !may_go(process, &self.sessions)) {
                break;
            }
            let Some(name) = process.waiters.pop_front() else {
                break;
            };
            if let Some(session) = self.sessions.named_mut(name) {
                session.listed.parked = false;
                self.service(name.key);
            }
            self.tools.processes[at].one_has_gone();
        }
    }

    /// Goes on counting the sessions that wait for processes that do not answer. True: the rest is for the next turn.
    fn go_on_counting(&mut self) -> bool {
        let Some(census) = self.census.take() else {
            return false;
        };
        let Tools { cx, processes, .. } = &self.tools;
        self.census = census.go_on(&self.sessions, processes, cx);
        self.census.is_some()
    }

    /// Publishes the counters of this loop; once a turn.
    fn report_counters(&mut self) {
        let Tools {
            cx,
            memory,
            processes,
            ..
        } = &mut self.tools;
        let counters = &cx.counters;
        let sessions = self.sessions.len();
        counters.set(LoopCounter::Sessions as usize, sessions as u64);
        let relays = self.relays.len() + self.udp_relays.len();
        counters.set(LoopCounter::Relays as usize, relays as u64);
        counters.set(LoopCounter::BufferedBytes as usize, memory.held());
        counters.set(LoopCounter::Requests as usize, self.exchanges.len() as u64);
        let last_serial = self.sessions.last_serial();
        counters.set(LoopCounter::LastSerial as usize, last_serial);
        for class in Class::ALL {
            let place = LoopCounter::Held as usize + class as usize;
            counters.set(place, memory.held_of(class));
        }
        if cx.index == 0 {
            self.activity.note_lost_lines(cx);
        }
        self.activity.note(processes, cx);
        processes.tell_polled_in_hand(cx);
        cx.shared.loads[usize::from(cx.index)].store(sessions + relays, Ordering::Relaxed);
    }
}

/// Whether the first session that waits for room in a process's ring goes on although the process is behind.
fn may_go(process: &mut Process, sessions: &Table) -> bool {
    let first = process.waiters.front();
    let session = first.and_then(|name| sessions.named(*name));
    let needs = session.map_or(0, |session| needs(session, &process.producer));
    process.lets_one_go(needs)
}

/// Why a connection broke.
fn broken_by(session: &Session) -> Errno {
    let socket = session.transport.socket.as_ref();
    let error = socket.map(rustix::net::sockopt::socket_error);
    match error {
        Some(Ok(Err(error))) => error,
        _ => Errno::CONNRESET,
    }
}
