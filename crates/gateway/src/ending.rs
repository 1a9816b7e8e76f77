//! How sessions end: by the peer, by the app, by a limit, by time, with the engine.
//!
//! An end has three steps: nothing more is read and output is flushed (`Ending`), the socket is closed and
//! the process told (`Ended`), and, where the peer may still be sending, the socket stays a moment without a
//! session so that a reset does not destroy what the peer has not read yet (`Lingering`).

use std::collections::BTreeSet;
use std::ops::Bound;
use std::time::Duration;

use moorline_net::Framing;
use rustc_hash::FxHashSet;
use rustix::io::Errno;

use super::Report;
use super::accept::unix_ms;
use super::drain::Order;
use super::event_loop::Loop;
use super::memory::{Class, TLS_BYTES};
use super::processes::Untold;
use super::session::{Phase, Session};
use super::table::{Key, Table};
use crate::config::Config;
use crate::control::LoopCounter;
use crate::session_id::SessionId;
use crate::wire::{CloseReason, FromProcess, ToProcess};

/// How long a closed socket waits for its peer to close too, as nginx's lingering_close does.
const LINGER_MS: u64 = 2_000;

/// How long the peer of a session that is ending may read nothing of what is still queued for it.
const FLUSH_MS: u64 = 30_000;
/// Timers that are looked at for each new one, whether their session is gone: two, so that those that are left over stay
/// fewer than the others without a stall to find them.
const LOOKED_AT: usize = 2;
/// Timers that run in one turn: many sessions may have been accepted in one moment.
const TIMERS_PER_TURN: usize = 256;
/// How long after the end of its handler a session that was idle meanwhile may wait for its next message, in milliseconds.
const GRACE_MS: u64 = 100;

/// What is to happen at some time. Entries are not taken back: what is due is looked at again.
#[derive(Debug, Default)]
pub(super) struct Timers {
    queue: BTreeSet<(u64, Timer)>,
    /// How far the look for those of sessions that are gone has got.
    looked_at: Option<(u64, Timer)>,
    /// Those that run now; empty between turns.
    running: Vec<Timer>,
    /// Listeners that will be looked at again.
    accepting: FxHashSet<u16>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    /// Has this session been idle for too long?
    Idle(Key, u64),
    /// Has the output of this session, which is ending, got stuck?
    Flush(Key, u64),
    /// Has this session's TLS handshake still not ended?
    Handshake(Key, u64),
    /// Has this session's unfinished message come fast enough?
    Trickle(Key, u64),
    /// Has the peer of this session taken some of its output?
    Output(Key, u64),
    /// Has this session, which its peer has half-closed, gone on?
    HalfClose(Key, u64),
    /// Let go of this socket.
    Linger(Key, u64),
    /// Accept from this listener again.
    Accept(u16),
    /// Tasks that waited for one slot may be for any now.
    Tasks,
    /// The next sessions of the drain of this number are to close.
    Drain(u64),
    /// Stopping takes too long.
    Stop,
}

impl Timers {
    /// When the next is due, in the loop's milliseconds.
    pub(super) fn next(&self) -> Option<u64> {
        self.queue.first().map(|(at, _)| *at)
    }
    /// A task that is for one slot alone may be for any from then on.
    pub(super) fn give_tasks_again(&mut self, at: u64) {
        self.push(at, Timer::Tasks);
    }

    pub(super) fn drain_again(&mut self, at: u64, number: u64) {
        self.push(at, Timer::Drain(number));
    }

    pub(super) fn accept_again(&mut self, at: u64, listener: u16) {
        if self.accepting.insert(listener) {
            self.push(at, Timer::Accept(listener));
        }
    }

    /// Whether it is not yet time to look at this listener again.
    pub(super) fn pauses(&self, listener: u16) -> bool {
        self.accepting.contains(&listener)
    }

    fn push(&mut self, at: u64, timer: Timer) {
        self.queue.insert((at, timer));
    }

    /// Looks at some timers, and forgets those of sessions that are gone.
    fn prune(&mut self, table: &Table) {
        for _ in 0..LOOKED_AT {
            let from = self.looked_at.map_or(Bound::Unbounded, Bound::Excluded);
            self.looked_at = self.queue.range((from, Bound::Unbounded)).next().copied();
            let Some(entry) = self.looked_at else { return };
            let is_gone = |(key, id)| table.at(key).is_none_or(|session| session.id != id);
            if entry.1.session().is_some_and(is_gone) {
                self.queue.remove(&entry);
            }
        }
    }

    fn due(&mut self, now: u64) -> Option<Timer> {
        self.queue.first().filter(|(at, _)| *at <= now)?;
        self.queue.pop_first().map(|(_, timer)| timer)
    }
}

impl Timer {
    /// The session that it is for.
    fn session(self) -> Option<(Key, u64)> {
        match self {
            Timer::Idle(key, id)
            | Timer::Flush(key, id)
            | Timer::Handshake(key, id)
            | Timer::Trickle(key, id)
            | Timer::Output(key, id)
            | Timer::HalfClose(key, id)
            | Timer::Linger(key, id) => Some((key, id)),
            Timer::Accept(_) | Timer::Tasks | Timer::Drain(_) | Timer::Stop => None,
        }
    }
}

impl Loop {
    /// Does what is due, a turn's share of it. True: there may be more.
    pub(super) fn run_timers(&mut self) -> bool {
        // What is due again at once waits for the next turn.
        let mut running = std::mem::take(&mut self.timers.running);
        while running.len() < TIMERS_PER_TURN
            && let Some(timer) = self.timers.due(self.clock.ms)
        {
            running.push(timer);
        }
        let may_be_more = running.len() == TIMERS_PER_TURN;
        for timer in running.drain(..) {
            match timer {
                Timer::Idle(key, id) => self.check_idle(key, id),
                Timer::Flush(key, id) => self.check_flush(key, id),
                Timer::Handshake(key, id) => self.check_handshake(key, id),
                Timer::Trickle(key, id) => self.check_trickle(key, id),
                Timer::Output(key, id) => self.check_output(key, id),
                Timer::HalfClose(key, id) => self.check_half_closed(key, id),
                Timer::Linger(key, id) => {
                    if self.table.at(key).is_some_and(|session| session.id == id) {
                        self.forget(key);
                    }
                }
                Timer::Accept(listener) => {
                    self.timers.accepting.remove(&listener);
                    self.listener_is_ready(listener);
                }
                Timer::Tasks => {
                    self.tasks.is_timed = false;
                    self.give_tasks();
                }
                Timer::Drain(number) => self.go_on_draining(number),
                Timer::Stop => self.end_all(),
            }
        }
        self.timers.running = running;
        may_be_more
    }

    /// Watches a new session for idleness, if its listener asks for it.
    pub(super) fn start_timer(&mut self, key: Key) {
        if let Some(at) = self.idle_at(key) {
            self.timers.prune(&self.table);
            let id = self.table[key].id;
            self.timers.push(at, Timer::Idle(key, id));
        }
    }

    /// Listeners have other timeouts than before: their sessions are watched by these.
    pub(super) fn watch_by_new_timeouts(&mut self, has_changed: impl Fn(u16) -> bool) {
        let table = &self.table;
        let is_affected =
            |session: &Session| session.phase == Phase::Open && has_changed(session.listener);
        // Each session has one timer of each kind: those that were set by the old timeouts go.
        self.timers.queue.retain(|(_, timer)| match timer {
            Timer::Idle(key, id) | Timer::Output(key, id) | Timer::HalfClose(key, id) => !table
                .at(*key)
                .is_some_and(|session| session.id == *id && is_affected(session)),
            _ => true,
        });
        let affected = table.iter().filter(|(_, session)| is_affected(session));
        let keys: Vec<_> = affected.map(|(key, _)| key).collect();
        for key in keys {
            if !self.table[key].unwatched {
                self.start_timer(key);
            }
            self.watch_waits_anew(key);
        }
    }

    /// Idleness counts (again) from now on.
    pub(super) fn watch_again(&mut self, key: Key) {
        let now = self.clock.ms;
        let session = &mut self.table[key];
        session.received_at = now;
        session.sent_at = now;
        if std::mem::take(&mut session.unwatched) {
            self.start_timer(key);
        }
    }

    /// Nothing of the session may be in hand any more: then its idleness counts again.
    pub(super) fn watch_when_done(&mut self, key: Key) {
        let session = &mut self.table[key];
        if session.unwatched && !session.is_worked_for() && !session.paused && !session.kept {
            session.unwatched = false;
            let id = session.id;
            if let Some(at) = self.idle_at(key) {
                let at = at.max(self.clock.ms + GRACE_MS);
                self.timers.push(at, Timer::Idle(key, id));
            }
        }
    }

    /// Watches a handshake for slowness.
    pub(super) fn start_handshake_timer(&mut self, key: Key) {
        self.timers.prune(&self.table);
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let at = self.clock.ms + listener.handshake_timeout.as_millis() as u64;
        self.timers.push(at, Timer::Handshake(key, session.id));
    }

    pub(super) fn push_trickle_timer(&mut self, at: u64, key: Key, id: u64) {
        self.timers.prune(&self.table);
        self.timers.push(at, Timer::Trickle(key, id));
    }

    pub(super) fn push_output_timer(&mut self, at: u64, key: Key, id: u64) {
        self.timers.prune(&self.table);
        self.timers.push(at, Timer::Output(key, id));
    }

    pub(super) fn push_half_close_timer(&mut self, at: u64, key: Key, id: u64) {
        self.timers.prune(&self.table);
        self.timers.push(at, Timer::HalfClose(key, id));
    }

    /// When the session will have been idle for too long, if nothing passes until then.
    fn idle_at(&self, key: Key) -> Option<u64> {
        let session = &self.table[key];
        let listener = &self.config.listeners[usize::from(session.listener)];
        let after =
            |since: u64, timeout: Option<Duration>| Some(since + timeout?.as_millis() as u64);
        [
            after(
                session.received_at.max(session.sent_at),
                listener.idle_timeout,
            ),
            after(session.received_at, listener.receive_timeout),
            after(session.sent_at, listener.send_timeout),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn check_idle(&mut self, key: Key, id: u64) {
        let Some(session) = self.table.at(key) else {
            return;
        };
        if session.id != id || session.phase != Phase::Open {
            return;
        }
        if session.paused || session.kept {
            self.table[key].unwatched = true;
            return;
        }
        let Some(at) = self.idle_at(key) else { return };
        if at > self.clock.ms {
            self.timers.push(at, Timer::Idle(key, id));
            return;
        }
        // A session whose message is being worked on is not idle, only slow.
        if session.is_worked_for() {
            self.table[key].unwatched = true;
            return;
        }
        self.farewell(key, 1001);
        self.finish(key, CloseReason::Idle);
    }

    /// A session that is ending waits for its peer to read; not for ever.
    fn check_flush(&mut self, key: Key, id: u64) {
        let Some(session) = self.table.at(key).filter(|session| session.id == id) else {
            return;
        };
        if !matches!(session.phase, Phase::Ending(reason) if reason != CloseReason::Stopped) {
            return;
        }
        let again = session.sent_at + FLUSH_MS;
        if again > self.clock.ms {
            self.timers.push(again, Timer::Flush(key, id));
        } else {
            self.finish(key, CloseReason::Slow);
        }
    }

    /// A WebSocket is told why; other framings have no such word.
    pub(super) fn farewell(&mut self, key: Key, code: u16) {
        let listener = &self.config.listeners[usize::from(self.table[key].listener)];
        if matches!(listener.framing, Framing::WebSocket { .. }) {
            let frame = moorline_net::framing::websocket::close_frame(code, "");
            self.write_raw(key, frame.as_bytes());
        }
    }

    /// The connection broke.
    pub(super) fn break_off(&mut self, key: Key, error: Errno) {
        tracing::debug!(session = %SessionId::from(self.table[key].id), %error, "connection broke");
        let session = &mut self.table[key];
        let delivers = self.config.listeners[usize::from(session.listener)].deliver_after_close;
        if !delivers || session.phase != Phase::Open {
            self.finish(key, CloseReason::Peer);
            return;
        }
        // What has come before is read to its end, and then the session ends as any whose peer has finished.
        session.deaf = true;
        session.hangup = true;
        session.readable = true;
        session.paused = false;
        session.full = false;
        self.tell_strangers(key, ToProcess::Drained);
        self.drop_outbound(key);
        self.watch_half_closed(key);
        self.schedule(key);
    }

    /// No more is read; the session ends once its output is flushed.
    pub(super) fn end(&mut self, key: Key, reason: CloseReason) {
        let session = &mut self.table[key];
        if session.phase == Phase::Open {
            session.phase = Phase::Ending(reason);
            let (at, id) = (self.clock.ms + FLUSH_MS, session.id);
            self.timers.push(at, Timer::Flush(key, id));
            self.schedule(key);
        } else if session.phase == Phase::Handshake {
            self.finish(key, reason);
        }
    }

    /// Ends the session if all that its end waits for has happened.
    pub(super) fn finish_if_over(&mut self, key: Key) {
        let Some(session) = self.table.at(key) else {
            return;
        };
        let is_idle = session.in_hand() == 0 && !self.has_input_left(key);
        let reason = match session.phase {
            Phase::Open if session.ended_input && is_idle => CloseReason::Peer,
            Phase::Ending(CloseReason::Stopped) if is_idle => CloseReason::Stopped,
            Phase::Ending(reason) if reason != CloseReason::Stopped => reason,
            _ => return,
        };
        let is_sent_to = session.process.is_some_and(|at| {
            self.processes[usize::from(at)]
                .partials
                .contains_key(&(FromProcess::Send as u8, session.id))
        });
        if session.outbound.is_some() || (is_sent_to && reason != CloseReason::Server) {
            return;
        }
        if reason == CloseReason::Stopped {
            self.farewell(key, self.config.engine.stop_code);
        }
        self.finish(key, reason);
    }

    /// Ends the session now. What is queued is thrown away; its process is told in the next turn.
    pub(super) fn finish(&mut self, key: Key, reason: CloseReason) {
        let session = &mut self.table[key];
        if matches!(session.phase, Phase::Ended(_) | Phase::Lingering) {
            return;
        }
        let has_begun = session.phase != Phase::Handshake;
        session.phase = Phase::Ended(reason);
        let held = session.received();
        let discarded = session
            .inbound
            .as_ref()
            .map_or(0, |inbound| inbound.queue.len() - inbound.delivered);
        let mut uncut = std::mem::take(&mut session.tail);
        self.count(LoopCounter::Discarded, discarded as u64);
        if reason == CloseReason::Peer {
            self.note_unfinished(key, &uncut);
        }
        self.discard_uncut(key, &mut uncut);
        self.tell_strangers(key, ToProcess::Unknown);
        // Before the queue goes: what is cut off must not look as if it had been all.
        self.close_sealed(key);
        self.drop_outbound(key);
        self.leave_all(key);
        let session = &mut self.table[key];
        session.inbound = None;
        session.moving = false;
        let lingers = !session.ended_input
            && matches!(
                reason,
                CloseReason::Server
                    | CloseReason::Stopped
                    | CloseReason::Framing
                    | CloseReason::Idle
                    | CloseReason::Handshake
                    | CloseReason::Error
                    | CloseReason::Peer
            )
            && !(reason == CloseReason::Peer && session.hangup);
        match &session.socket {
            Some(socket) if lingers => {
                // A socket that is broken already says so, and has nothing left to lose.
                let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
            }
            _ => session.socket = None,
        }
        if has_begun {
            log_access(session, &self.config, reason);
        }
        self.memory.change(Class::Received, held, 0);
        self.count_closed(reason);
        self.clear_suspect(key);
        self.schedule(key);
    }

    /// Counts the end of a session.
    pub(super) fn count_closed(&self, reason: CloseReason) {
        self.counters
            .add(LoopCounter::Closed as usize + reason as usize - 1, 1);
    }

    /// Whether the session is over; then what its end still needs is done.
    pub(super) fn has_ended(&mut self, key: Key) -> bool {
        match self.table[key].phase {
            Phase::Handshake | Phase::Open | Phase::Ending(_) => false,
            Phase::Ended(reason) => {
                if self.tell_end(key, reason) {
                    self.let_go(key);
                }
                true
            }
            Phase::Lingering => {
                self.drain_lingering(key);
                true
            }
        }
    }

    /// Tells the process that the session has ended. False: it waits for room, or for a process.
    fn tell_end(&mut self, key: Key, reason: CloseReason) -> bool {
        let session = &self.table[key];
        if session.process.is_none() && (!session.adopted || !self.place(key)) {
            // Nobody ever knew of it; or who is to know is not there yet.
            return !self.table[key].adopted;
        }
        let session = &self.table[key];
        let in_hand = session.in_hand();
        let Some(at) = session.process else {
            return false;
        };
        let id = session.id;
        // With its opening: should the process die before it takes this, the next one is told of both.
        let untold = Untold {
            id,
            reason,
            closing: self.closing(session),
            opening: self.opening(key, true),
        };
        let held = untold.held();
        let process = &mut self.processes[usize::from(at)];
        if !process.push_close(untold) {
            self.park(key, at);
            return false;
        }
        self.memory.hold(Class::Transfers, held);
        process.sessions -= 1;
        process.in_hand -= in_hand as usize;
        let place = (FromProcess::Send as u8, id);
        if let Some(dropped) = process.partials.remove(&place) {
            self.memory.release(Class::Parts, dropped.bytes.len());
        }
        self.note_told(at);
        self.mark_dirty(at);
        true
    }

    /// The session is no more; its socket may linger.
    fn let_go(&mut self, key: Key) {
        let session = &mut self.table[key];
        session.process = None;
        if session.tls.take().is_some() {
            self.memory.release(Class::Tls, TLS_BYTES);
        }
        // A socket that only lingers belongs to no slot, and its slot may go.
        let slot = usize::from(session.slot);
        self.slots[slot].leave(&self.shared.slots[slot]);
        if session.socket.is_none() || self.stop_at.is_some() {
            self.forget(key);
            return;
        }
        session.phase = Phase::Lingering;
        let (id, until) = (session.id, self.clock.ms + LINGER_MS);
        self.timers.push(until, Timer::Linger(key, id));
        self.drain_lingering(key);
    }

    /// Throws away what the peer still sends, until it closes.
    fn drain_lingering(&mut self, key: Key) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let mut is_over = true;
        for _ in 0..16 {
            let Some(socket) = &self.table[key].socket else {
                break;
            };
            match rustix::net::recv(socket, &mut scratch[..], rustix::net::RecvFlags::empty()) {
                Ok((bytes, _)) if bytes > 0 => {}
                Err(Errno::AGAIN) => {
                    is_over = false;
                    break;
                }
                // The peer has closed; or it sends without end, and has been heard long enough.
                _ => break,
            }
        }
        self.scratch = scratch;
        if is_over {
            self.forget(key);
        }
    }

    /// Takes a session out of the table.
    fn forget(&mut self, key: Key) {
        let Some(session) = self.table.remove(key) else {
            return;
        };
        self.memory.change(
            Class::State,
            session.extras.as_ref().map_or(0, |extras| extras.held()),
            0,
        );
        self.shared.release(session.listener, &session.peer);
    }

    /// The engine stops: nobody connects any more, and the sessions close in their turn, each when nothing of it is in hand.
    pub(super) fn stop(&mut self, order: &Order) {
        if self.stop_at.is_some() {
            return;
        }
        let until = self.clock.ms + (order.over + order.max_wait).as_millis() as u64;
        self.stop_at = Some(until);
        self.sockets.close();
        self.drain(order);
        self.timers.push(until, Timer::Stop);
    }

    /// Time is up: what is still open closes.
    fn end_all(&mut self) {
        let sessions: Vec<_> = self.table.iter().map(|(key, _)| key).collect();
        for key in sessions {
            self.close_unfinished(key);
        }
    }

    /// Closes a session although something of it is in hand.
    pub(super) fn close_unfinished(&mut self, key: Key) {
        let session = &self.table[key];
        if matches!(session.phase, Phase::Open | Phase::Ending(_)) && session.outbound.is_none() {
            self.farewell(key, self.config.engine.stop_code);
        }
        self.finish(key, CloseReason::Stopped);
    }

    /// Reports once that no session is left after `Stop`. True: look again soon.
    pub(super) fn look_whether_empty(&mut self) -> bool {
        let Some(until) = self.stop_at.filter(|_| !self.is_empty) else {
            return false;
        };
        let is_over = self.clock.ms > until + 100;
        let lives = |session: &Session| session.phase != Phase::Lingering;
        let is_told = self
            .processes
            .iter_mut()
            .all(|(_, process)| process.is_told());
        self.is_empty =
            is_over || (is_told && !self.table.iter().any(|(_, session)| lives(session)));
        if self.is_empty {
            // The main thread lives as long as the process.
            let _ = self.reports.send(Report::Empty);
        }
        !self.is_empty
    }
}

/// One line for each session, under a target of its own, so that `access=off` in the log's level is rid of them.
fn log_access(session: &Session, config: &Config, reason: CloseReason) {
    let listener = config.listeners.get(usize::from(session.listener));
    let version = session.tls.as_ref().and_then(|tls| tls.version());
    tracing::info!(
        target: "access",
        session = %SessionId::from(session.id),
        listener = listener.map_or("", |listener| &listener.name),
        peer = %session.peer,
        tls = version.map(tracing::field::display),
        %reason,
        messages = session.messages,
        received = session.bytes_in,
        sent = session.bytes_out,
        duration_ms = unix_ms().saturating_sub(session.connected_at),
        "session closed"
    );
}
